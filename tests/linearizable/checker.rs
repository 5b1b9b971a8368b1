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

/// `step` makes of a state what a call with this answer leaves, or says that it can't have had this answer.
/// `Err` shows how far the search came, and where it ended.
pub fn check<S, C>(start: S, history: &History<C>, step: impl Fn(&S, &C) -> Option<S>) -> Result<(), String>
where
    S: Clone + Eq + Hash + Debug,
    C: Debug,
{
    let all: usize = history.iter().map(Vec::len).sum();
    let mut open = vec![(vec![0; history.len()], start)];
    let mut known: HashSet<(Vec<usize>, S)> = open.iter().cloned().collect();
    let mut furthest = (0, open[0].clone());
    while let Some((done, state)) = open.pop() {
        let count = done.iter().sum();
        if count == all {
            return Ok(());
        }
        if count >= furthest.0 {
            furthest = (count, (done.clone(), state.clone()));
        }
        let next = |thread: usize| history[thread].get(done[thread]);
        let ends = (0..history.len()).filter_map(|thread| next(thread).map(|call| call.end));
        let first_end = ends.min().unwrap_or(u64::MAX);
        for thread in 0..history.len() {
            // What began after another one had ended comes after it.
            let Some(call) = next(thread).filter(|call| call.start < first_end) else { continue };
            let Some(state) = step(&state, &call.call) else { continue };
            let mut done = done.clone();
            done[thread] += 1;
            if known.insert((done.clone(), state.clone())) {
                open.push((done, state));
            }
        }
    }
    let (count, (done, state)) = furthest;
    let next: Vec<_> = history.iter().zip(&done).map(|(calls, at)| calls.get(*at)).collect();
    Err(format!("after {count} of {all} calls, with {state:?}, none of these can come next: {next:#?}"))
}
