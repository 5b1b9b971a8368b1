//! The change feed: delivers the committed changes, commit by commit, to subscribers.
//!
//! Only the flusher's thread delivers, after a commit, so writers neither know nor wait. Each subscription has its
//! own queue, bounded by the number of changes in it: a reader that is too slow loses the oldest commits as a whole,
//! and gets a [`FeedEvent::Gap`] in their place.

use crate::backend::{LinkChange, TraceChange};
use crate::guarded;
use crate::protocol::Process;
use crate::protocol::is_at_work;
use crate::protocol::sync::{Condvar, Mutex, MutexGuard, lock};
use crate::trace::{Link, Trace, TraceId};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
#[cfg(not(loom))]
use std::time::{Duration, Instant};

/// An event of a [`Subscription`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FeedEvent {
    /// The next commit.
    Committed(Arc<Commit>),
    /// Commits that were dropped because this reader was too slow: it must read its copy of the store anew.
    #[non_exhaustive]
    Gap {
        /// Number of dropped commits.
        commits: u64,
        /// The watermark of the last dropped commit.
        watermark: u64,
    },
}

/// The changes of one commit: the state, as of its cut, of each trace and link that had changed. Contains neither the
/// states in between since the previous commit, nor rows that the backend refused.
///
/// After a failure of the backend, a commit may repeat changes of an earlier one. With
/// [`Durability::Committed`](crate::Durability), a power loss may undo a commit.
#[derive(Debug)]
#[non_exhaustive]
pub struct Commit {
    /// The commit's [watermark](crate::FlushReport::watermark): higher than that of any earlier commit.
    pub watermark: u64,
    /// Each changed trace once, ordered by id; `None` for one that was removed.
    pub traces: Vec<(TraceId, Option<Arc<Trace>>)>,
    /// Each changed link once, by its two ids, the smaller one first; `None` for one that was removed.
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
                // If the id has another row by now, that row's change gives its state.
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

/// A subscription to the change feed. Returned by [`TraceStore::subscribe`](crate::TraceStore::subscribe). Dropping
/// it ends it.
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
    /// The process that the flusher runs in.
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
        // `dropped` is freed without the lock, because freeing takes time.
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
            crate::protocol::wake(waker);
        }
    }

    /// Checked before the lock is taken: in a child process, a thread that does not exist there may hold it for ever.
    fn is_forked(&self) -> bool {
        !self.process.is_current()
    }
}

impl Subscription {
    /// Returns the next event, waiting for it if necessary. Returns `None` if the store has closed and all events are
    /// read; in a child process, which has no flusher; and, if no event is ready, on a flusher's own thread, which
    /// can't wait for itself.
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

    /// Returns the next event, if one is ready.
    pub fn try_recv(&self) -> Option<FeedEvent> {
        self.waiting()?.take()
    }

    /// Works like [`recv`](Self::recv), but returns `None` after `patience`: use [`is_closed`](Self::is_closed) to
    /// distinguish that from the end.
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

    /// Polls for the next event, for any executor: what [`recv`](Self::recv) is to a thread, this is to a task.
    /// [`poll_fn`](std::future::poll_fn) makes a future of it, whose drop loses no event, and
    /// `futures::stream::poll_fn(move |context| feed.poll_recv(context))` a `Stream`.
    ///
    /// ```
    /// use mnemon::{FeedEvent, NewTrace, Subscription, TraceStore};
    /// use std::future::poll_fn;
    ///
    /// async fn follow(mut feed: Subscription) -> usize {
    ///     let mut commits = 0;
    ///     while let Some(event) = poll_fn(|context| feed.poll_recv(context)).await {
    ///         commits += usize::from(matches!(event, FeedEvent::Committed(_)));
    ///     }
    ///     commits
    /// }
    ///
    /// let store = TraceStore::in_memory();
    /// let followed = follow(store.subscribe(100));
    /// store.insert(NewTrace::semantic(serde_json::json!("the light is lit")))?;
    /// store.close()?;
    /// # let mut followed = std::pin::pin!(followed);
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert_eq!(followed.as_mut().poll(&mut context), std::task::Poll::Ready(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<FeedEvent>> {
        // The waker is cloned, and the one it replaces dropped, without the lock: a waker is the caller's code.
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

    /// Returns whether the store has closed, or belongs to another process. Queued events can still be read.
    pub fn is_closed(&self) -> bool {
        self.waiting().is_none_or(|state| state.closed)
    }

    /// Locks the queue. Returns `None` in a child process.
    fn waiting(&self) -> Option<MutexGuard<'_, Waiting>> {
        (!self.queue.is_forked()).then(|| lock(&self.queue.state))
    }
}

/// Returns the events in order, waiting for each as [`recv`](Subscription::recv) does, until the store has closed.
impl Iterator for Subscription {
    type Item = FeedEvent;

    fn next(&mut self) -> Option<FeedEvent> {
        self.recv()
    }
}

/// Drops queues. If a subscription was dropped meanwhile, this runs the drop of its waker, which is the caller's
/// code.
fn let_go(queues: Vec<Arc<Queue>>) {
    queues.into_iter().for_each(|queue| guarded::run(|| drop(queue)));
}

/// All subscribers of a store.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    queues: Mutex<Vec<Weak<Queue>>>,
}

impl Feed {
    /// The caller must check afterwards that the store had not closed before.
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

    /// Delivers a commit to all subscribers. Does not build it if there are none.
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

    /// Returns the queues whose subscriptions still exist.
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
