//! How far the flusher is, and who waits for it.

use super::sync::{Condvar, Mutex, MutexGuard, lock};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The watermarks and those who wait for them. `R` reports a flush, `E` says why one failed.
///
/// Writers never come here: the lock is between the flusher and callers of flush, close and stats,
/// and is not held while the disk works.
pub struct Progress<R, E> {
    state: Mutex<State<R, E>>,
    moved: Condvar,
}

/// How far the sink is: it holds everything up to `cut`, and says `stored` of itself. The cuts after `stored` had
/// nothing for it, so they are not written down: who waits for one of them is done, and nobody is told its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reached {
    /// The highest generation that is covered.
    pub cut: u64,
    /// The highest generation that the sink has recorded; at most `cut`.
    pub stored: u64,
}

impl Reached {
    /// A sink that has recorded this generation, and no cut since.
    pub fn recorded(watermark: u64) -> Self {
        Self { cut: watermark, stored: watermark }
    }
}

struct State<R, E> {
    /// The highest generation that somebody wants durable, and whether no try since has covered it.
    requested: u64,
    asked: bool,
    committed: Reached,
    durable: Reached,
    /// How many captured changes are not committed, and since when the oldest waits.
    owed: usize,
    owed_since: Option<Instant>,
    report: R,
    /// How many flushes have failed, and the newest cut of the last of them, until one succeeds.
    failures: u64,
    failed: Option<(u64, E)>,
    /// Closing: `Open → Draining (somebody waits in close) → Closed`, and back to `Open` if all who
    /// wait give up first.
    closers: usize,
    /// One of them has come since the flusher last looked.
    close_asked: bool,
    closed: bool,
    /// The highest generation that somebody waits for without asking.
    awaited: u64,
    /// The futures that wait, each under its number.
    wakers: BTreeMap<u64, (Goal, Waker)>,
    next_waker: u64,
}

/// What somebody waits for: a generation to become durable, by a try that is not over yet.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    generation: u64,
    failures_before: u64,
}

/// What the flusher is told of those who wait for the store to close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// Nobody does.
    No,
    /// Somebody has come since the flusher last asked: worth a try at once.
    Asked,
    /// Somebody does, and knows of the failures so far.
    Waiting,
}

/// How a wait for a watermark ends.
#[derive(Debug)]
pub enum Wait<R, E> {
    /// All asked for is durable.
    Done(R),
    /// The flush that would have made it durable failed; it is kept and tried again.
    Failed(E),
}

/// A waker is the caller's code: its panic is not the flusher's.
pub(crate) fn wake(waker: Waker) {
    if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
        tracing::error!("a waker panicked while it was told of a flush");
    }
}

impl<R: Clone, E: Clone> State<R, E> {
    fn goal(&self, generation: u64) -> Result<Goal, u64> {
        match generation <= self.durable.cut {
            true => Err(self.durable.stored),
            false => Ok(Goal { generation, failures_before: self.failures }),
        }
    }

    fn outcome(&self, goal: Goal) -> Option<Wait<R, E>> {
        match self.durable.cut >= goal.generation {
            true => Some(Wait::Done(self.report.clone())),
            false => self.failure(goal).map(|error| Wait::Failed(error.clone())),
        }
    }

    fn failure(&self, goal: Goal) -> Option<&E> {
        // What failed before the call is not its answer.
        let answers = |cut| cut >= goal.generation && self.failures > goal.failures_before;
        self.failed.as_ref().filter(|(cut, _)| answers(*cut)).map(|(_, error)| error)
    }

    fn is_over(&self, goal: Goal) -> bool {
        self.durable.cut >= goal.generation || self.failure(goal).is_some()
    }
}

impl<R: Clone, E: Clone> Progress<R, E> {
    /// So far the sink is, durably.
    pub fn new(reached: Reached, report: R) -> Self {
        let state = State {
            requested: reached.cut,
            asked: false,
            committed: reached,
            durable: reached,
            owed: 0,
            owed_since: None,
            report,
            failures: 0,
            failed: None,
            closers: 0,
            close_asked: false,
            closed: false,
            awaited: reached.cut,
            wakers: BTreeMap::new(),
            next_waker: 0,
        };
        Self { state: Mutex::new(state), moved: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<R, E>> {
        lock(&self.state)
    }

    /// The highest generation that the sink has recorded, and the highest of which that is known to be durable.
    pub fn watermarks(&self) -> (u64, u64) {
        let state = self.lock();
        (state.committed.stored, state.durable.stored)
    }

    /// A watermark at which everything up to `generation` is stored: a lower one, where that is durable already.
    pub fn watermark_of(&self, generation: u64) -> u64 {
        self.lock().goal(generation).map_or_else(|durable| durable, |_| generation)
    }

    /// The report of the last flush that committed.
    pub fn report(&self) -> R {
        self.lock().report.clone()
    }

    /// How many captured changes are owed, and since when.
    pub fn owed(&self) -> (usize, Option<Instant>) {
        let state = self.lock();
        (state.owed, state.owed_since)
    }

    /// Asks for everything up to `generation` to become durable; the caller rings the bell and waits. If it is
    /// durable already, the answer is how much is recorded.
    pub fn request(&self, generation: u64) -> Result<Goal, u64> {
        let mut state = self.lock();
        let goal = state.goal(generation)?;
        state.requested = state.requested.max(generation);
        state.asked = true;
        Ok(goal)
    }

    /// The same, without asking: whoever waits is answered by what the flusher does anyway.
    pub fn goal(&self, generation: u64) -> Result<Goal, u64> {
        let mut state = self.lock();
        let goal = state.goal(generation)?;
        state.awaited = state.awaited.max(generation);
        Ok(goal)
    }

    /// Whether somebody waits for more than is committed. If nothing is dirty either, no flush would come by itself: a
    /// generation may stay without a write that somebody saw coming.
    pub fn awaited(&self) -> bool {
        let state = self.lock();
        state.awaited > state.committed.cut
    }

    /// Whether somebody wants more durable than is, and no flush has failed since they asked.
    pub fn wanted(&self) -> bool {
        let state = self.lock();
        state.asked && state.requested > state.durable.cut
    }

    /// Waits until the goal is reached, or a flush that should have reached it has failed.
    pub fn wait(&self, goal: Goal) -> Wait<R, E> {
        let mut state = self.lock();
        loop {
            if let Some(outcome) = state.outcome(goal) {
                return outcome;
            }
            state = self.moved.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// As [`wait`](Self::wait), for a future, which keeps `place` and [gives it up](Self::give_up) when it is dropped.
    pub fn poll(&self, goal: Goal, place: &mut Option<u64>, context: &mut Context<'_>) -> Poll<Wait<R, E>> {
        // Cloned before the lock, and what it replaces dropped after it: a waker is the caller's code.
        let waker = context.waker().clone();
        let mut state = self.lock();
        if let Some(outcome) = state.outcome(goal) {
            return Poll::Ready(outcome);
        }
        let number = *place.get_or_insert_with(|| {
            state.next_waker += 1;
            state.next_waker
        });
        let replaced = state.wakers.insert(number, (goal, waker));
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// The future in this place does not wait any more.
    pub fn give_up(&self, place: u64) {
        let waker = self.lock().wakers.remove(&place);
        drop(waker);
    }

    /// The flusher is about to cut, or has captured: what it owes from now on.
    pub fn owes(&self, owed: usize, since: Option<Instant>) {
        let mut state = self.lock();
        state.owed = owed;
        state.owed_since = since;
    }

    /// So much is committed, and durable if so said.
    pub fn publish(&self, reached: Reached, durable: bool, report: R) {
        let mut state = self.lock();
        state.committed = reached;
        if durable {
            state.durable = reached;
        }
        state.report = report;
        state.failed = None;
        state.owed = 0;
        state.owed_since = None;
        self.wake(state);
    }

    /// What was committed is durable now.
    pub fn durable(&self) {
        let mut state = self.lock();
        state.durable = state.committed;
        self.wake(state);
    }

    /// What was committed and not durable can't be counted on any more; with `everything`, the sink holds nothing.
    /// Answers how far it is then.
    pub fn lost(&self, everything: bool) -> Reached {
        let mut state = self.lock();
        if everything {
            state.durable = Reached::recorded(0);
        }
        state.committed = state.durable;
        state.committed
    }

    /// The flush of everything up to `cut` failed; it stays owed.
    pub fn fail(&self, cut: u64, error: E) {
        let mut state = self.lock();
        state.failures += 1;
        state.failed = Some((cut, error));
        // Who asked for more than this cut since is not answered by it.
        state.asked &= state.requested > cut;
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State<R, E>>) {
        let all = std::mem::take(&mut state.wakers);
        let (over, waiting) = all.into_iter().partition(|(_, (goal, _))| state.is_over(*goal));
        state.wakers = waiting;
        drop(state);
        self.moved.notify_all();
        let over: BTreeMap<_, _> = over;
        over.into_values().for_each(|(_, waker)| wake(waker));
    }

    /// Whether somebody waits for the store to close; for the flusher.
    pub fn closing(&self) -> Closing {
        let mut state = self.lock();
        let asked = std::mem::take(&mut state.close_asked);
        match state.closers {
            0 => Closing::No,
            _ if asked => Closing::Asked,
            _ => Closing::Waiting,
        }
    }

    /// Whether the store has closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Registers one who waits for the store to close; the caller rings the bell.
    pub fn start_closing(&self) {
        let mut state = self.lock();
        state.closers += 1;
        state.close_asked = true;
    }

    /// Takes that back, unless the store has closed meanwhile: then the answer is `false`.
    pub fn give_up_closing(&self) -> bool {
        let mut state = self.lock();
        if !state.closed {
            state.closers -= 1;
        }
        !state.closed
    }

    /// Waits for the store to have closed; `Err` with the last error, if any, after `patience`.
    pub fn wait_closed(&self, patience: Duration) -> Result<R, Option<E>> {
        let give_up = Instant::now().checked_add(patience);
        let mut state = self.lock();
        while !state.closed {
            let left = give_up.map_or(patience, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(state.failed.as_ref().map(|(_, error)| error.clone()));
            }
            let waited = self.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        Ok(state.report.clone())
    }

    /// The flusher has drained a sealed generation: closes, unless all who waited have given up.
    pub fn finish_closing(&self) -> bool {
        let mut state = self.lock();
        state.closed = state.closers > 0;
        let closed = state.closed;
        self.wake(state);
        closed
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
