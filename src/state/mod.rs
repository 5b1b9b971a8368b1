//! What the threads of the host and the flusher share: the maps and generations, tasks, counters and the feed.
//!
//! - [`rows`]: what the flusher remembers of each row;
//! - [`tasks`]: what the flusher is asked to do with its next cut;
//! - [`counters`]: what has been done; [`outage`]: what fails, and [`health`]: both, for people;
//! - [`events`]: what all `tracing` events of a store have in common;
//! - [`indexing`]: the views of the traces, and the steps that keep them up to date;
//! - `texts`: the index of texts among them, with the feature `recall`;
//! - [`feed`]: each commit, to subscribers.

mod counters;
mod events;
mod feed;
mod health;
mod indexing;
mod outage;
mod rows;
mod tasks;
#[cfg(all(feature = "recall", not(loom)))]
mod texts;

pub use counters::{FlushReport, Quarantined};
pub(crate) use events::{Name, cause, milliseconds};
pub(crate) use feed::Feed;
pub use feed::{Commit, FeedEvent, Subscription};
pub use health::Health;
pub(crate) use outage::{FailedStep, Outage, needs_reopen};
pub(crate) use rows::{Known, LinkRow, Row, StoredRow};
pub use tasks::CompactReport;
#[cfg(all(feature = "snapshot", not(loom)))]
pub(crate) use tasks::View;
pub(crate) use tasks::{CompactAnswer, CutTask, Erasure};

use crate::Durability;
use crate::clock::WallClock;
use crate::error::{Error, ErrorKind};
use crate::protocol::sync::ShortMutex;
use crate::protocol::{
    Adjacency, FlushProgress, FlushTicket, Generations, Map, Notify, Process, Reached, is_at_work,
};
use crate::trace::{LinkKey, LinkState, Trace, TraceId};
use crate::views::TraceViews;
use counters::FlushCounters;
use indexing::Indexing;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How the flusher behaves.
#[derive(Clone, Debug)]
pub(crate) struct FlushOptions {
    /// Longest time that a change waits for its cut.
    pub(crate) interval: Duration,
    /// Number of changed traces that makes a cut due.
    pub(crate) threshold: usize,
    /// Durability of background flushes.
    pub(crate) background: Durability,
    /// Older than this, the oldest unflushed change makes the store lag.
    pub(crate) lag_bound: Duration,
    /// Whether writes are refused while it lags.
    pub(crate) refuse_when_lagging: bool,
}

/// The traces.
pub(crate) type Traces = Map<TraceId, Trace, Row>;

/// The links, found also by either trace.
pub(crate) type Links = Map<LinkKey, LinkState, LinkRow, Adjacency<LinkKey>>;

/// What a generation lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dirty {
    Trace(TraceId),
    Link(LinkKey),
}

impl Dirty {
    pub(crate) fn trace(&self) -> Option<&TraceId> {
        match self {
            Dirty::Trace(id) => Some(id),
            Dirty::Link(_) => None,
        }
    }
}

impl From<TraceId> for Dirty {
    fn from(id: TraceId) -> Self {
        Dirty::Trace(id)
    }
}

impl From<LinkKey> for Dirty {
    fn from(ends: LinkKey) -> Self {
        Dirty::Link(ends)
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) struct State {
    /// Tells this store from every other of the process.
    pub(crate) number: u64,
    pub(crate) name: Name,
    pub(crate) generations: Arc<Generations<Dirty>>,
    pub(crate) traces: Traces,
    pub(crate) indexing: Indexing,
    pub(crate) links: Links,
    tasks: ShortMutex<Vec<CutTask>>,
    pub(crate) progress: FlushProgress<FlushReport, Error>,
    pub(crate) notify: Arc<Notify>,
    pub(crate) counters: FlushCounters,
    pub(crate) feed: Feed,
    pub(crate) options: FlushOptions,
    /// The process that the flusher is in.
    process: Process,
}

impl State {
    /// Everything in `traces` and `links` is stored, as far as `reached` says.
    pub(crate) fn new(
        name: Name,
        traces: Traces,
        links: Links,
        reached: Reached,
        options: FlushOptions,
        clock: WallClock,
        views: TraceViews,
    ) -> Self {
        let (notify, indexer) = (Arc::new(Notify::default()), Arc::new(Notify::default()));
        // Under loom a host's models have nothing to do with views, and those of the protocol make their own.
        let views_of = (!cfg!(loom)).then(|| indexer.clone());
        let generations = Generations::new(reached.cut + 1, options.threshold, notify.clone(), views_of);
        let indexing = Indexing::new(views, clock, indexer);
        let report = FlushReport { watermark: reached.stored, ..FlushReport::default() };
        let progress = FlushProgress::new(reached, report);
        let (tasks, counters, feed) = (ShortMutex::default(), FlushCounters::default(), Feed::default());
        let process = Process::current();
        // Relaxed: only that no two are the same counts.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            number,
            name,
            generations,
            traces,
            indexing,
            links,
            tasks,
            progress,
            notify,
            counters,
            feed,
            options,
            process,
        }
    }

    /// Whether this process was forked from the one that opened the store. Costs a system call at most; asked where
    /// somebody is about to wait for the flusher, and before any lock that may have been held at the fork.
    pub(crate) fn is_forked(&self) -> bool {
        !self.process.is_current()
    }

    /// Refuses what the flusher would have to do, where there is none.
    pub(crate) fn check_not_forked(&self) -> Result<(), Error> {
        if self.is_forked() {
            Err(Error::new(
                ErrorKind::Forked,
                format!(
                    "the store belongs to process {}, which this one was forked from, and nothing is written here: use it there, or open one of another file here",
                    self.process.id()
                ),
            ))
        } else {
            Ok(())
        }
    }

    /// Refuses to wait for the flusher, where there is none, and where this thread is doing a flusher's work.
    pub(crate) fn check_may_wait(&self) -> Result<(), Error> {
        self.check_not_forked()?;
        if is_at_work() {
            Err(Error::new(
                ErrorKind::WouldDeadlock,
                "the flusher's thread would wait for itself: in a waker or a subscriber call nothing that waits; use flush_async, or another thread",
            ))
        } else {
            Ok(())
        }
    }

    /// A ticket for whoever waits for a generation without asking for it; `Err` with how much is durable, if that is
    /// enough.
    pub(crate) fn await_generation(&self, generation: u64) -> Result<FlushTicket, u64> {
        let ticket = self.progress.ticket(generation)?;
        if self.generations.enter().first_write().is_none() {
            // The generation may be one that got no write, and so there is none that notifies.
            self.notify.notify();
        }
        Ok(ticket)
    }

    /// Has the flusher do something with a cut that is not made yet. Who holds off cuts meanwhile has it done
    /// with the cut of what he writes.
    pub(crate) fn send(&self, task: CutTask) {
        self.tasks.with(|tasks| tasks.push(task));
        self.notify.notify();
    }

    /// See [`TraceStore::subscribe`](crate::TraceStore::subscribe).
    pub(crate) fn subscribe(&self, capacity: usize) -> Subscription {
        let subscription = self.feed.subscribe(self.process, capacity);
        // Whoever closes the store closes its feed after that; if this was too early to see it, it is seen there.
        if !self.is_forked() && self.progress.is_closed() {
            self.feed.close();
        }
        subscription
    }

    pub(crate) fn has_tasks(&self) -> bool {
        self.tasks.with(|tasks| !tasks.is_empty())
    }

    pub(crate) fn has_erasures(&self) -> bool {
        self.tasks.with(|tasks| tasks.iter().any(|task| matches!(task, CutTask::Erase(_))))
    }

    pub(crate) fn take_tasks(&self) -> Vec<CutTask> {
        self.tasks.with(std::mem::take)
    }

    /// When the oldest change was made that is not committed.
    fn oldest_change(&self) -> Option<Instant> {
        // The open generation first: a cut in between has told `progress` of it before it closed it.
        let open = self.generations.enter().first_write();
        let (_, pending) = self.progress.pending();
        open.into_iter().chain(pending).min()
    }

    pub(crate) fn oldest_age(&self) -> Option<Duration> {
        self.oldest_change().map(|at| at.elapsed())
    }

    /// How many traces and links have changes that are not committed; while a cut is made perhaps twice as many.
    pub(crate) fn dirty(&self) -> usize {
        let open = self.generations.enter().dirty();
        open + self.progress.pending().0
    }

    /// The age of the oldest unflushed change, where it is beyond the bound.
    fn lag(&self) -> Option<Duration> {
        self.oldest_age().filter(|age| *age > self.options.lag_bound)
    }

    /// Computed when asked, from when changes were made, so that even a flusher that hangs can't look
    /// healthy.
    pub(crate) fn health(&self) -> Health {
        if self.progress.is_closed() {
            return Health::Closed;
        }
        let outage = self.counters.worst();
        let lag = self.lag();
        let writes_refused = lag.is_some() && self.options.refuse_when_lagging;
        if let Some(degraded) = outage.and_then(|outage| outage.health(writes_refused)) {
            return degraded;
        }
        lag.map_or(Health::Healthy, |oldest| Health::Lagging { oldest, writes_refused })
    }

    /// Whether a write may go on, where writes are refused while the flusher lags.
    pub(crate) fn check_lag(&self) -> Result<(), Error> {
        if !self.options.refuse_when_lagging {
            return Ok(());
        }
        match self.lag() {
            None => Ok(()),
            Some(age) => Err(Error::new(
                ErrorKind::Lagging,
                format!(
                    "write refused: the oldest unflushed change is {age:.1?} old and the bound is {:?}; look at health(), and try again when flushes succeed",
                    self.options.lag_bound
                ),
            )),
        }
    }
}

/// Freeing the memory of a large store takes longer than closing it, as each trace is freed by itself. So a thread does
/// that, for which nobody waits: a process that ends does not either. In a child process, and where no thread can be
/// started, it is freed at once.
#[cfg(not(loom))]
impl Drop for State {
    fn drop(&mut self) {
        /// Number of traces and links from which a thread is worth it.
        const MANY: usize = 10_000;
        if self.traces.len() + self.links.len() < MANY || self.is_forked() {
            return;
        }
        let traces = std::mem::replace(&mut self.traces, Map::new(()));
        let links = std::mem::replace(&mut self.links, Map::new(Adjacency::new()));
        let views = self.indexing.take_views();
        let thread = std::thread::Builder::new().name("mnemon-free".to_owned());
        drop(thread.spawn(move || drop((traces, links, views))));
    }
}
