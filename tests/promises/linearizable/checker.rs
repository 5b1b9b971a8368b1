//! Whether a history of several threads can be explained: whether there is an order of its calls, each at one
//! moment between its start and its end, in which one thread alone would have got the same answers.
//!
//! The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of what has
//! led nowhere ("Testing for Linearizability", 2017). As each thread makes one call at a time, what has taken place
//! is told by how far each of them is.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// A call with its answer, and when it began and ended, by a clock that never shows the same time twice.
#[derive(Clone, Debug)]
pub struct Timed<C> {
    pub start: u64,
    pub end: u64,
    pub call: C,
}

/// The calls of each thread, one after the other.
pub type History<C> = Vec<Vec<Timed<C>>>;

/// What was seen of a cut, which was made between two times.
#[derive(Clone, Debug)]
pub struct Sight<T> {
    /// All that ended before is in it.
    pub start: u64,
    /// Nothing that began after is in it.
    pub end: u64,
    pub shown: T,
}

/// `step` makes of a state what a call of a thread with this answer may leave: nothing, if it can't have had this
/// answer. `Err` shows how far the search came, and where it ended.
///
/// Each of the sights must be the state after some of the calls, with which are all that ended before one of them
/// began: a cut that is closed under causes. It need not be the state at one moment of the whole: two calls at the
/// same time may be in two generations, whichever is seen first in memory.
pub fn check<S, C, T>(
    start: S,
    history: &History<C>,
    step: impl Fn(&S, usize, &C) -> Vec<S>,
    sights: &[Sight<T>],
    shows: impl Fn(&S, &T) -> bool,
) -> Result<(), String>
where
    S: Clone + Eq + Hash + Debug,
    C: Debug,
    T: Debug,
{
    let all: usize = history.iter().map(Vec::len).sum();
    let mut open = vec![(vec![0; history.len()], start)];
    let mut known: HashSet<(Vec<usize>, S)> = open.iter().cloned().collect();
    let mut furthest = (0, open[0].clone());
    let mut unseen: Vec<&Sight<T>> = sights.iter().collect();
    while let Some((done, state)) = open.pop() {
        let count = done.iter().sum();
        if count >= furthest.0 {
            furthest = (count, (done.clone(), state.clone()));
        }
        let next = |thread: usize| history[thread].get(done[thread]);
        let first_end = (0..history.len()).filter_map(|thread| next(thread).map(|call| call.end)).min();
        let first_end = first_end.unwrap_or(u64::MAX);
        let begun = |thread: usize| done[thread].checked_sub(1).map_or(0, |last| history[thread][last].start);
        let last_start = (0..history.len()).map(begun).max().unwrap_or(0);
        unseen.retain(|sight| {
            let in_time = sight.start <= first_end && last_start <= sight.end;
            !(in_time && shows(&state, &sight.shown))
        });
        for thread in 0..history.len() {
            // What began after another one had ended comes after it.
            let Some(call) = next(thread).filter(|call| call.start < first_end) else { continue };
            let mut done = done.clone();
            done[thread] += 1;
            for state in step(&state, thread, &call.call) {
                if known.insert((done.clone(), state.clone())) {
                    open.push((done.clone(), state));
                }
            }
        }
    }
    let (count, (done, state)) = furthest;
    if count < all {
        let next: Vec<_> = history.iter().zip(&done).map(|(calls, at)| calls.get(*at)).collect();
        return Err(format!(
            "after {count} of {all} calls, with {state:?}, none of these can come next: {next:#?}"
        ));
    }
    match unseen.first() {
        Some(sight) => Err(format!("no causally closed cut is this: {sight:#?}")),
        None => Ok(()),
    }
}
