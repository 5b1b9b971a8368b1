//! The change feed: what was committed, commit by commit, to whoever subscribes.
//!
//! Only the flusher's thread gives to it, after a commit, so writers neither know nor wait. Each subscription has a
//! queue of its own, bounded by the changes in it: a reader that is too slow loses the oldest commits as a whole, and is
//! told so in their place.

use crate::backend::{LinkChange, TraceChange};
use crate::core::Process;
use crate::core::is_at_work;
use crate::core::sync::{Condvar, Mutex, MutexGuard, lock};
use crate::guarded;
use crate::trace::{Link, Trace, TraceId};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
#[cfg(not(loom))]
use std::time::{Duration, Instant};

/// What a [`Subscription`] gives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FeedEvent {
    /// The next commit.
    Committed(Arc<Commit>),
    /// Commits that this reader was too slow for: what it keeps of the store must be read anew.
    #[non_exhaustive]
    Gap {
        /// How many there were.
        commits: u64,
        /// The watermark of the last of them.
        watermark: u64,
    },
}

/// What one commit has written: the state of each trace and link that had changed, as of its cut. Not every state that
/// they went through since the commit before, and not what the backend refused.
///
/// After a failure of the backend it may hold what an earlier one held as well. With
/// [`Durability::Relaxed`](crate::Durability) a power loss may take it back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Commit {
    /// Its [watermark](crate::FlushReport::watermark): higher than that of any commit before.
    pub watermark: u64,
    /// Each trace that was changed, once, in the order of ids; `None` for one that is gone.
    pub traces: Vec<(TraceId, Option<Arc<Trace>>)>,
    /// Each pair whose link was changed, once, the smaller id first; `None` for a link that is gone.
    pub links: Vec<((TraceId, TraceId), Option<Link>)>,
}

impl Commit {
    pub(crate) fn new<'a>(
        watermark: u64,
        traces: &[TraceChange],
        refused: &HashSet<TraceId>,
        links: impl Iterator<Item = &'a LinkChange>,
    ) -> Self {
        let mut states = BTreeMap::new();
        for change in traces.iter().filter(|change| !refused.contains(&change.id())) {
            match change {
                // Of an id that has another row by now, the other says what becomes of it.
                TraceChange::Delete { id, .. } => drop(states.entry(*id).or_default()),
                TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } => {
                    states.insert(trace.id(), Some(trace.clone()));
                }
            }
        }
        let links = links.map(|change| match change {
            LinkChange::Upsert(link) => (link.ends(), Some(*link)),
            LinkChange::Delete(a, b) => ((*a, *b), None),
        });
        Self { watermark, traces: states.into_iter().collect(), links: links.collect() }
    }

    fn changes(&self) -> usize {
        self.traces.len() + self.links.len()
    }
}

/// A place in the change feed; from [`TraceStore::subscribe`](crate::TraceStore::subscribe). Dropping it ends it.
///
/// ```
/// use mnemon::{FeedEvent, NewTrace, TraceStore};
///
/// let store = TraceStore::in_memory();
/// let feed = store.subscribe(10_000);
/// let id = store.insert(NewTrace::semantic(serde_json::json!("slack water at six")))?;
/// store.flush()?;
/// match feed.try_recv() {
///     Some(FeedEvent::Committed(commit)) => assert_eq!(commit.traces[0].0, id),
///     other => panic!("{other:?}"),
/// }
/// store.close()?;
/// assert!(feed.recv().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    /// The process that the flusher is in.
    process: Process,
    capacity: usize,
    state: Mutex<Waiting>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    commits: VecDeque<Arc<Commit>>,
    changes: usize,
    missed: u64,
    missed_up_to: u64,
    closed: bool,
    waker: Option<Waker>,
}

impl Waiting {
    fn take(&mut self) -> Option<FeedEvent> {
        if self.missed > 0 {
            let commits = std::mem::take(&mut self.missed);
            return Some(FeedEvent::Gap { commits, watermark: self.missed_up_to });
        }
        let commit = self.commits.pop_front()?;
        self.changes -= commit.changes();
        Some(FeedEvent::Committed(commit))
    }
}

impl Queue {
    fn give(&self, commit: &Arc<Commit>) {
        let mut state = lock(&self.state);
        state.changes += commit.changes();
        state.commits.push_back(commit.clone());
        let mut dropped = Vec::new();
        while state.changes > self.capacity {
            let Some(oldest) = state.commits.pop_front() else { break };
            state.changes -= oldest.changes();
            state.missed += 1;
            state.missed_up_to = oldest.watermark;
            dropped.push(oldest);
        }
        // Freed without the lock, as that takes its time.
        self.wake(state);
    }

    fn close(&self) {
        if self.is_forked() {
            return;
        }
        let mut state = lock(&self.state);
        state.closed = true;
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, Waiting>) {
        let waker = state.waker.take();
        drop(state);
        self.moved.notify_all();
        if let Some(waker) = waker {
            crate::core::wake(waker);
        }
    }

    /// Asked before the lock, which in a child process may be held for good by a thread that is not there.
    fn is_forked(&self) -> bool {
        !self.process.is_current()
    }
}

impl Subscription {
    /// The next event; waits for one. `None` when the store has closed and all is read, in a child process, which has no
    /// flusher, and, if there is none now, on a flusher's own thread, which can't wait for itself.
    pub fn recv(&self) -> Option<FeedEvent> {
        let mut state = self.waiting()?;
        loop {
            match state.take() {
                None if !state.closed && !is_at_work() => {}
                outcome => return outcome,
            }
            state = self.queue.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next event, if there is one now.
    pub fn try_recv(&self) -> Option<FeedEvent> {
        self.waiting()?.take()
    }

    /// As [`recv`](Self::recv), but gives up after `patience`: then `None`, and
    /// [`is_closed`](Self::is_closed) tells that from the end.
    #[cfg(not(loom))]
    pub fn recv_timeout(&self, patience: Duration) -> Option<FeedEvent> {
        let give_up = Instant::now().checked_add(patience);
        let mut state = self.waiting()?;
        loop {
            let left = give_up.map_or(patience, |at| at.saturating_duration_since(Instant::now()));
            match state.take() {
                None if !state.closed && !left.is_zero() => {}
                outcome => return outcome,
            }
            let waited = self.queue.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As [`recv`](Self::recv), for any executor. A future that is dropped takes no event with it.
    pub fn recv_async(&mut self) -> impl Future<Output = Option<FeedEvent>> + Send + '_ {
        poll_fn(|context| self.poll_recv(context))
    }

    /// For a stream of your own.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<FeedEvent>> {
        // Cloned, and what it replaces dropped, without the lock: a waker is the caller's code.
        let mut waker = Some(context.waker().clone());
        let Some(mut state) = self.waiting() else { return Poll::Ready(None) };
        match state.take() {
            None if !state.closed => {
                std::mem::swap(&mut state.waker, &mut waker);
                drop(state);
                Poll::Pending
            }
            outcome => Poll::Ready(outcome),
        }
    }

    /// Whether the store has closed, or belongs to another process; what is in the queue can still be read.
    pub fn is_closed(&self) -> bool {
        self.waiting().is_none_or(|state| state.closed)
    }

    /// `None` in a child process.
    fn waiting(&self) -> Option<MutexGuard<'_, Waiting>> {
        (!self.queue.is_forked()).then(|| lock(&self.queue.state))
    }
}

/// Whose subscriptions may have been dropped meanwhile: then the drop of their wakers, the caller's code, is ours.
fn let_go(queues: Vec<Arc<Queue>>) {
    queues.into_iter().for_each(|queue| guarded::run(|| drop(queue)));
}

/// All who have subscribed to a store.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    queues: Mutex<Vec<Weak<Queue>>>,
}

impl Feed {
    /// Who asks makes sure afterwards that the store had not closed before.
    pub(crate) fn subscribe(&self, process: Process, capacity: usize) -> Subscription {
        let state = Mutex::new(Waiting::default());
        let queue = Arc::new(Queue { process, capacity, state, moved: Condvar::new() });
        if !queue.is_forked() {
            let mut queues = lock(&self.queues);
            queues.retain(|queue| queue.strong_count() > 0);
            queues.push(Arc::downgrade(&queue));
        }
        Subscription { queue }
    }

    /// Gives all subscribers what was committed; makes nothing of it if there is none.
    pub(crate) fn give(&self, commit: impl FnOnce() -> Commit) {
        let queues = self.queues();
        if queues.is_empty() {
            return;
        }
        let commit = Arc::new(commit());
        if commit.changes() > 0 {
            queues.iter().for_each(|queue| queue.give(&commit));
        }
        let_go(queues);
    }

    pub(crate) fn close(&self) {
        let queues = self.queues();
        queues.iter().for_each(|queue| queue.close());
        let_go(queues);
    }

    /// Those that are still read.
    fn queues(&self) -> Vec<Arc<Queue>> {
        let mut queues = lock(&self.queues);
        queues.retain(|queue| queue.strong_count() > 0);
        queues.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.close();
    }
}
