//! How far the flusher is, and who waits for it.

use super::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, lock};
use crate::guarded;
use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The watermarks and those who wait for them. `R` reports a flush, `E` says why one failed.
///
/// Writers never take the lock: it is between the flusher and callers of flush, close and stats, and is not held
/// while the disk works, nor for work in proportion to those who wait. What writers ask is the [`PendingCount`].
pub struct FlushProgress<R, E> {
    state: Mutex<State<R, E>>,
    moved: Condvar,
    backlog: PendingCount,
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
    /// The futures that wait: by the generation that they wait for, and each under its number.
    wakers: BTreeMap<u64, BTreeMap<u64, Waker>>,
    next_waker: u64,
}

/// How many captured changes are not committed, and since when the oldest waits. The flusher alone sets it, and
/// whoever asks takes no lock; the two may be of different moments.
struct PendingCount {
    count: AtomicUsize,
    /// Nanoseconds after `epoch`, and one more; 0 where nothing waits.
    since: AtomicU64,
    epoch: Instant,
}

impl PendingCount {
    fn new() -> Self {
        Self { count: AtomicUsize::new(0), since: AtomicU64::new(0), epoch: Instant::now() }
    }

    /// Release, with Acquire in `get`: whoever finds nothing here sees the commit that made it so. Whoever finds a
    /// generation open that a cut has opened sees what was set before the cut by the exchange of the generations.
    fn set(&self, count: usize, since: Option<Instant>) {
        let nanoseconds = |at: Instant| at.saturating_duration_since(self.epoch).as_nanos();
        let since =
            since.map_or(0, |at| u64::try_from(nanoseconds(at)).unwrap_or(u64::MAX).saturating_add(1));
        self.since.store(since, Ordering::Release);
        self.count.store(count, Ordering::Release);
    }

    fn get(&self) -> (usize, Option<Instant>) {
        let (count, since) = (self.count.load(Ordering::Acquire), self.since.load(Ordering::Acquire));
        let since = since.checked_sub(1).map(Duration::from_nanos);
        (count, since.and_then(|after| self.epoch.checked_add(after)))
    }
}

/// Names a future that waits; from [`FlushProgress::poll`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaiterId {
    generation: u64,
    number: u64,
}

/// What somebody waits for: a generation to become durable, by a try that is not over yet.
#[derive(Clone, Copy, Debug)]
pub struct FlushTicket {
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
pub enum FlushOutcome<R, E> {
    /// All asked for is durable.
    Done(R),
    /// The flush that would have made it durable failed; it is kept and tried again.
    Failed(E),
}

/// A waker is the caller's code: its panic is not the flusher's.
pub(crate) fn wake(waker: Waker) {
    if let Err(panic) = guarded::caught(|| waker.wake()) {
        guarded::run(|| tracing::error!(panic, "a waker panicked while it was told of a flush"));
    }
}

impl<R: Clone, E: Clone> State<R, E> {
    fn ticket(&self, generation: u64) -> Result<FlushTicket, u64> {
        if generation <= self.durable.cut {
            Err(self.durable.stored)
        } else {
            Ok(FlushTicket { generation, failures_before: self.failures })
        }
    }

    fn outcome(&self, goal: FlushTicket) -> Option<FlushOutcome<R, E>> {
        if self.durable.cut >= goal.generation {
            Some(FlushOutcome::Done(self.report.clone()))
        } else {
            self.failure(goal).map(|error| FlushOutcome::Failed(error.clone()))
        }
    }

    fn failure(&self, goal: FlushTicket) -> Option<&E> {
        // What failed before the call is not its answer.
        let answers = |cut| cut >= goal.generation && self.failures > goal.failures_before;
        self.failed.as_ref().filter(|(cut, _)| answers(*cut)).map(|(_, error)| error)
    }
}

impl<R: Clone, E: Clone> FlushProgress<R, E> {
    /// So far the sink is, durably.
    pub fn new(reached: Reached, report: R) -> Self {
        let state = State {
            requested: reached.cut,
            asked: false,
            committed: reached,
            durable: reached,
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
        Self { state: Mutex::new(state), moved: Condvar::new(), backlog: PendingCount::new() }
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
        self.lock().ticket(generation).map_or_else(|durable| durable, |_| generation)
    }

    /// The report of the last flush that committed.
    pub fn report(&self) -> R {
        self.lock().report.clone()
    }

    /// Number of pending changes, and since when the oldest of them waits: two loads, and no lock.
    pub fn pending(&self) -> (usize, Option<Instant>) {
        self.backlog.get()
    }

    /// Asks for everything up to `generation` to become durable; the caller notifies the flusher and waits. If it is
    /// durable already, the answer is how much is recorded.
    pub fn request(&self, generation: u64) -> Result<FlushTicket, u64> {
        let mut state = self.lock();
        let goal = state.ticket(generation)?;
        state.requested = state.requested.max(generation);
        state.asked = true;
        Ok(goal)
    }

    /// The same, without asking: whoever waits is answered by what the flusher does anyway.
    pub fn ticket(&self, generation: u64) -> Result<FlushTicket, u64> {
        let mut state = self.lock();
        let goal = state.ticket(generation)?;
        state.awaited = state.awaited.max(generation);
        Ok(goal)
    }

    /// Whether somebody waits for more than is committed. If nothing is dirty either, no flush would come by itself: a
    /// generation may stay without a write that somebody saw coming.
    pub fn has_waiters(&self) -> bool {
        let state = self.lock();
        state.awaited > state.committed.cut
    }

    /// Whether somebody wants more durable than is, and no flush has failed since they asked.
    pub fn flush_requested(&self) -> bool {
        let state = self.lock();
        state.asked && state.requested > state.durable.cut
    }

    /// Waits until the goal is reached, or a flush that should have reached it has failed.
    pub fn wait(&self, goal: FlushTicket) -> FlushOutcome<R, E> {
        let mut state = self.lock();
        loop {
            if let Some(outcome) = state.outcome(goal) {
                return outcome;
            }
            state = self.moved.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// As [`wait`](Self::wait), for a future, which keeps `waiter` and [gives up](Self::give_up) with it when it is
    /// dropped.
    pub fn poll(
        &self,
        goal: FlushTicket,
        waiter: &mut Option<WaiterId>,
        context: &mut Context<'_>,
    ) -> Poll<FlushOutcome<R, E>> {
        // Cloned before the lock, and what it replaces dropped after it: a waker is the caller's code.
        let waker = context.waker().clone();
        let mut state = self.lock();
        if let Some(outcome) = state.outcome(goal) {
            return Poll::Ready(outcome);
        }
        let waiter = *waiter.get_or_insert_with(|| {
            state.next_waker += 1;
            WaiterId { generation: goal.generation, number: state.next_waker }
        });
        let replaced = state.wakers.entry(waiter.generation).or_default().insert(waiter.number, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// This future does not wait any more.
    pub fn give_up(&self, waiter: WaiterId) {
        let mut state = self.lock();
        let group = state.wakers.get_mut(&waiter.generation);
        let (waker, is_last) =
            group.map_or((None, false), |group| (group.remove(&waiter.number), group.is_empty()));
        if is_last {
            state.wakers.remove(&waiter.generation);
        }
        drop(state);
        guarded::run(|| drop(waker));
    }

    /// The flusher is about to cut, or has captured: how much is pending from now on.
    pub fn owes(&self, owed: usize, since: Option<Instant>) {
        self.backlog.set(owed, since);
    }

    /// So much is committed, and durable if so said.
    pub fn publish(&self, reached: Reached, durable: bool, report: R) {
        let mut state = self.lock();
        state.committed = reached;
        if durable {
            state.durable = reached;
        }
        state.report = report;
        // Who waits for a sync, and has not looked since it failed, is still answered by that failure.
        let failed = state.failed.take_if(|_| durable);
        self.backlog.set(0, None);
        let durable = state.durable.cut;
        self.wake(state, durable);
        // The error of a backend is the caller's code as well, and so are the wakers above: none is dropped under the
        // lock.
        guarded::run(|| drop(failed));
    }

    /// What was committed is durable now.
    pub fn durable(&self) {
        let mut state = self.lock();
        state.durable = state.committed;
        let failed = state.failed.take();
        let durable = state.durable.cut;
        self.wake(state, durable);
        guarded::run(|| drop(failed));
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

    /// The flush of everything up to `cut` failed; it stays pending.
    pub fn fail(&self, cut: u64, error: E) {
        let mut state = self.lock();
        state.failures += 1;
        let earlier = state.failed.replace((cut, error));
        // Who asked for more than this cut since is not answered by it.
        state.asked &= state.requested > cut;
        // Each that waits for it registered before it failed, so it answers them all.
        self.wake(state, cut);
        guarded::run(|| drop(earlier));
    }

    /// Wakes those who wait for no more than this generation: with no lock, and none of the others is looked at.
    fn wake(&self, mut state: MutexGuard<'_, State<R, E>>, generation: u64) {
        let mut over = Vec::new();
        while let Some(first) = state.wakers.first_entry().filter(|first| *first.key() <= generation) {
            over.push(first.remove());
        }
        drop(state);
        self.moved.notify_all();
        over.into_iter().flat_map(BTreeMap::into_values).for_each(wake);
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

    /// Registers one who waits for the store to close; the caller notifies the flusher.
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

    /// Waits for the store to have closed; `Err` with the last error, if any, after `patience`, of which time in which
    /// the process was stopped takes next to nothing.
    pub fn wait_closed(&self, patience: Duration) -> Result<R, Option<E>> {
        let mut patience = Patience::new(patience);
        let mut state = self.lock();
        while !state.closed {
            let Some(slice) = patience.slice() else {
                return Err(state.failed.as_ref().map(|(_, error)| error.clone()));
            };
            let begun = Instant::now();
            let waited = self.moved.wait_timeout(state, slice);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
            patience.spend(begun.elapsed());
        }
        Ok(state.report.clone())
    }

    /// The flusher has drained a sealed generation: closes, unless all who waited have given up.
    pub fn finish_closing(&self) -> bool {
        let mut state = self.lock();
        state.closed = state.closers > 0;
        let (closed, durable) = (state.closed, state.durable.cut);
        self.wake(state, durable);
        closed
    }
}

/// How long somebody goes on waiting. It is spent in slices: one that took longer than it was to, since the process was
/// stopped or got no processor, and the flusher neither, counts no more than its length.
struct Patience {
    left: Duration,
    longest: Duration,
}

impl Patience {
    fn new(whole: Duration) -> Self {
        Self {
            left: whole,
            longest: (whole / 64).clamp(Duration::from_millis(1), Duration::from_millis(100)),
        }
    }

    /// How long to wait next; `None` if it is at its end.
    fn slice(&self) -> Option<Duration> {
        Some(self.left.min(self.longest)).filter(|slice| !slice.is_zero())
    }

    fn spend(&mut self, waited: Duration) {
        self.left = self.left.saturating_sub(waited.min(self.longest));
    }
}

#[cfg(test)]
impl<R, E> FlushProgress<R, E> {
    /// As who waits, or asks for statistics, holds it.
    pub(crate) fn hold_lock(&self) -> impl Sized {
        lock(&self.state)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
