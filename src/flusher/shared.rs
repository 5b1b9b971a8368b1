//! What the threads of the host and the flusher share.

use super::health::Health;
use super::links::LinkRow;
use super::owed::Row;
use super::telemetry::{FlushReport, Telemetry};
use super::tell::Name;
use crate::backend::{Reach, Scope};
use crate::core::sync::Brief;
use crate::core::{Adjacency, Bell, Cutter, Generations, Map, Progress, Terms};
use crate::error::{Error, ErrorKind};
use crate::feed::{Feed, Subscription};
use crate::trace::{Ends, Tie, Trace, TraceId};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
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
    /// To show what is not known to be durable, as of that cut.
    #[cfg(all(feature = "snapshot", feature = "sqlite", not(loom)))]
    Spill(Box<dyn FnOnce(crate::snapshot::Spill) + Send>),
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

pub(crate) struct Shared {
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
    process: u32,
}

impl Shared {
    /// Everything in `traces` and `links` is stored, as of `watermark`.
    pub(crate) fn new(
        name: Name,
        traces: Traces,
        links: Links,
        watermark: u64,
        options: FlushOptions,
    ) -> (Self, Cutter<Dirty>) {
        let bell = Arc::new(Bell::default());
        let (clock, cutter) = Generations::new(watermark + 1, options.threshold, bell.clone());
        let progress = Progress::new(watermark, FlushReport { watermark, ..FlushReport::default() });
        let (errands, telemetry, feed) = (Brief::default(), Telemetry::default(), Feed::default());
        let process = std::process::id();
        let shared =
            Self { name, clock, traces, links, errands, progress, bell, telemetry, feed, options, process };
        (shared, cutter)
    }

    /// Whether this process was forked from the one that opened the store. Costs a system call at most; asked where
    /// somebody is about to wait for the flusher, and before any lock that may have been held at the fork.
    pub(crate) fn is_forked(&self) -> bool {
        std::process::id() != self.process
    }

    /// Refuses what the flusher would have to do, where there is none.
    pub(crate) fn has_flusher(&self) -> Result<(), Error> {
        match self.is_forked() {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::Forked,
                format!(
                    "the store belongs to process {}, which this one was forked from, and nothing is written here: use it there, or open another after the fork",
                    self.process
                ),
            )),
        }
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
        let trouble = self.telemetry.trouble();
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
