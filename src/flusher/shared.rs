//! What the threads of the host and the flusher share.

use super::driver::CompactAnswer;
use super::health::Health;
use super::links::LinkRow;
use super::owed::Row;
use super::telemetry::{FlushReport, Telemetry};
use super::tell::Name;
use crate::backend::{Reach, Scope};
use crate::core::sync::Brief;
use crate::core::{
    Adjacency, Bell, Cutter, Generations, Goal, Map, Process, Progress, Reached, Terms, is_at_work,
};
use crate::error::{Error, ErrorKind};
use crate::feed::{Feed, Subscription};
use crate::trace::{Ends, Tie, Trace, TraceId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How the flusher behaves.
#[derive(Clone, Debug)]
pub(crate) struct FlushOptions {
    /// A change waits at most so long for its cut.
    pub(crate) interval: Duration,
    /// So many changed traces make a cut due.
    pub(crate) threshold: usize,
    /// How far a flush goes that nobody asked for.
    pub(crate) background: Reach,
    /// Older than this, the oldest unflushed change makes the store lag.
    pub(crate) lag_bound: Duration,
    /// Whether writes are refused while it lags.
    pub(crate) refuse_when_lagging: bool,
}

/// The traces, found also by the terms of their values.
pub(crate) type Traces = Map<TraceId, Trace, Row, Terms<TraceId>>;

/// The links, found also by either trace.
pub(crate) type Links = Map<Ends, Tie, LinkRow, Adjacency<Ends>>;

/// What a generation lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dirty {
    Trace(TraceId),
    Link(Ends),
}

impl From<TraceId> for Dirty {
    fn from(id: TraceId) -> Self {
        Dirty::Trace(id)
    }
}

impl From<Ends> for Dirty {
    fn from(ends: Ends) -> Self {
        Dirty::Link(ends)
    }
}

/// Something for the flusher to do with the next cut.
pub(crate) enum Errand {
    /// To delete every row of a scope in that cut's transaction.
    Erase(Erasure),
    /// To compact what is stored, after that cut.
    #[cfg_attr(loom, allow(dead_code, reason = "asked for through a channel that no model knows"))]
    Compact(CompactAnswer),
    /// To show what is not known to be durable, as of that cut.
    #[cfg(all(feature = "snapshot", feature = "sqlite", not(loom)))]
    Spill(Box<dyn FnOnce(crate::archive::Spill) + Send>),
    /// To show the state at that cut.
    #[cfg(all(feature = "snapshot", not(loom)))]
    View(Box<dyn FnOnce(View) + Send>),
}

/// A scope to erase, and where to say how many rows it had.
pub(crate) struct Erasure {
    pub(crate) scope: Scope,
    pub(crate) rows: Arc<AtomicU64>,
}

/// Everything there is, as of one cut.
#[cfg(all(feature = "snapshot", not(loom)))]
pub(crate) struct View {
    pub(crate) cut: u64,
    pub(crate) traces: Vec<Arc<Trace>>,
    pub(crate) links: Vec<crate::trace::Link>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) struct Shared {
    /// Tells this store from every other of the process.
    pub(crate) number: u64,
    pub(crate) name: Name,
    pub(crate) clock: Arc<Generations<Dirty>>,
    pub(crate) traces: Traces,
    pub(crate) links: Links,
    errands: Brief<Vec<Errand>>,
    pub(crate) progress: Progress<FlushReport, Error>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) telemetry: Telemetry,
    pub(super) feed: Feed,
    pub(crate) options: FlushOptions,
    /// The process that the flusher is in.
    process: Process,
}

impl Shared {
    /// Everything in `traces` and `links` is stored, as far as `reached` says.
    pub(crate) fn new(
        name: Name,
        traces: Traces,
        links: Links,
        reached: Reached,
        options: FlushOptions,
    ) -> (Self, Cutter<Dirty>) {
        let bell = Arc::new(Bell::default());
        let (clock, cutter) = Generations::new(reached.cut + 1, options.threshold, bell.clone());
        let report = FlushReport { watermark: reached.stored, ..FlushReport::default() };
        let progress = Progress::new(reached, report);
        let (errands, telemetry, feed) = (Brief::default(), Telemetry::default(), Feed::default());
        let process = Process::current();
        // Relaxed: only that no two are the same counts.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let shared = Self {
            number,
            name,
            clock,
            traces,
            links,
            errands,
            progress,
            bell,
            telemetry,
            feed,
            options,
            process,
        };
        (shared, cutter)
    }

    /// Whether this process was forked from the one that opened the store. Costs a system call at most; asked where
    /// somebody is about to wait for the flusher, and before any lock that may have been held at the fork.
    pub(crate) fn is_forked(&self) -> bool {
        !self.process.is_current()
    }

    /// Refuses what the flusher would have to do, where there is none.
    pub(crate) fn has_flusher(&self) -> Result<(), Error> {
        match self.is_forked() {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::Forked,
                format!(
                    "the store belongs to process {}, which this one was forked from, and nothing is written here: use it there, or open one of another file here",
                    self.process.id()
                ),
            )),
        }
    }

    /// Refuses to wait for the flusher, where there is none, and where this thread is doing a flusher's work.
    pub(crate) fn may_wait(&self) -> Result<(), Error> {
        self.has_flusher()?;
        match is_at_work() {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::WouldDeadlock,
                "the flusher's thread would wait for itself: in a waker or a subscriber call nothing that waits; use flush_async, or another thread",
            )),
        }
    }

    /// A goal for whoever waits for a generation without asking for it; `Err` with how much is durable, if that is enough.
    pub(crate) fn await_generation(&self, generation: u64) -> Result<Goal, u64> {
        let goal = self.progress.goal(generation)?;
        if self.clock.enter().first_write().is_none() {
            // The generation may be one that got no write, and so there is none that rings.
            self.bell.ring();
        }
        Ok(goal)
    }

    /// Has the flusher do something with a cut that is not made yet. Who holds off cuts meanwhile has it done
    /// with the cut of what he writes.
    pub(crate) fn send(&self, errand: Errand) {
        self.errands.with(|errands| errands.push(errand));
        self.bell.ring();
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

    pub(super) fn has_errands(&self) -> bool {
        self.errands.with(|errands| !errands.is_empty())
    }

    pub(super) fn has_erasures(&self) -> bool {
        self.errands.with(|errands| errands.iter().any(|errand| matches!(errand, Errand::Erase(_))))
    }

    pub(super) fn errands(&self) -> Vec<Errand> {
        self.errands.with(std::mem::take)
    }

    /// When the oldest change was made that is not committed.
    fn oldest_change(&self) -> Option<Instant> {
        // The open generation first: a cut in between has told `progress` of it before it closed it.
        let open = self.clock.enter().first_write();
        let (_, owed) = self.progress.owed();
        open.into_iter().chain(owed).min()
    }

    pub(crate) fn oldest_age(&self) -> Option<Duration> {
        self.oldest_change().map(|at| at.elapsed())
    }

    /// How many traces and links have changes that are not committed; while a cut is made perhaps twice as many.
    pub(crate) fn dirty(&self) -> usize {
        let open = self.clock.enter().dirty();
        open + self.progress.owed().0
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
        let trouble = self.telemetry.worst();
        let lag = self.lag();
        let writes_refused = lag.is_some() && self.options.refuse_when_lagging;
        if let Some(degraded) = trouble.and_then(|trouble| trouble.health(writes_refused)) {
            return degraded;
        }
        lag.map_or(Health::Healthy, |oldest| Health::Lagging { oldest, writes_refused })
    }

    /// Whether a write may go on, where writes are refused while the flusher lags.
    pub(crate) fn admit(&self) -> Result<(), Error> {
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
