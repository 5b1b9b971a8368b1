//! Settings of a store, given before it is opened.

use super::upkeep::Upkeep;
use super::{Quota, TraceStore};
use crate::Durability;
use crate::clock::{ManualClock, WallClock};
use crate::error::{Error, Result};
use crate::memory::DecayCurve;
use crate::memory::constants::RECENCY_HALF_LIFE_SECONDS;
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
use crate::progress::{Progress, Watch};
#[cfg(all(feature = "recall", not(loom)))]
use crate::recall::TextIndex;
use crate::state::FlushOptions;
use crate::trace::{Micros, checked_name};
use crate::views::Upkept;
use jiff::Timestamp;
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Policy for writes while the oldest unflushed change is older than the [bound](StoreBuilder::lag_bound).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LagPolicy {
    /// Accepts writes: memory continues to work, and the health shows how far behind the disk is.
    #[default]
    AcceptWrites,
    /// Rejects writes with [`Lagging`](crate::ErrorKind::Lagging). Writes never block.
    RejectWrites,
}

/// Settings for opening a store; from [`TraceStore::builder`].
///
/// ```
/// use mnemon::{Durability, TraceStore};
/// use std::time::Duration;
///
/// let store = TraceStore::builder()
///     .partition("agent-7")
///     .flush_interval(Duration::from_millis(200))
///     .durability(Durability::Committed)
///     .in_memory()?;
/// # Ok::<(), mnemon::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens a store"]
pub struct StoreBuilder {
    pub(super) settings: Settings,
    pub(super) flush: FlushOptions,
    #[cfg(all(feature = "postgres", not(loom)))]
    pub(super) postgres: super::connect::Options,
    #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(super) watch: Option<Watch>,
}

/// Settings that are fixed once a store is open.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Default: derived from the name of the file.
    pub(super) name: Option<Arc<str>>,
    pub(super) partition: Arc<str>,
    pub(super) max_payload_bytes: usize,
    pub(super) close_timeout: Duration,
    pub(super) clock: WallClock,
    pub(super) curve: DecayCurve,
    pub(super) recency_half_life: Duration,
    pub(super) prune: bool,
    pub(super) keep_invalid: Option<Duration>,
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub(super) keep_history: Option<u32>,
    pub(super) imprint_until: Option<Micros>,
    pub(super) quota: Quota,
    pub(super) upkeep: Option<Upkeep>,
    #[cfg(all(feature = "recall", not(loom)))]
    pub(super) text_index: Option<TextIndex>,
}

impl Settings {
    pub(super) fn upkept(&self) -> Upkept {
        let does = |period: fn(&Upkeep) -> Option<Duration>| self.upkeep.as_ref().and_then(period).is_some();
        let (decays, sets_tiers) = (does(|upkeep| upkeep.decay), does(|upkeep| upkeep.tiers));
        let keeps_invalid = self.keep_invalid.filter(|_| decays).map(micros);
        Upkept { prunes: self.prune && decays, sets_tiers, keeps_invalid }
    }
}

/// The most that can be said, if it is longer.
pub(super) fn micros(duration: Duration) -> i64 {
    duration.as_micros().try_into().unwrap_or(i64::MAX)
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: None,
            partition: "default".into(),
            max_payload_bytes: 1 << 20,
            close_timeout: Duration::from_secs(30),
            clock: WallClock::System,
            curve: DecayCurve::PowerLaw,
            recency_half_life: Duration::from_secs_f64(RECENCY_HALF_LIFE_SECONDS),
            prune: true,
            keep_invalid: Some(Duration::from_secs(7 * 86_400)),
            #[cfg(all(feature = "sqlite", not(loom)))]
            keep_history: None,
            imprint_until: None,
            quota: Quota::default(),
            upkeep: None,
            #[cfg(all(feature = "recall", not(loom)))]
            text_index: None,
        }
    }
}

impl Default for StoreBuilder {
    fn default() -> Self {
        let settings = Settings::default();
        let flush = FlushOptions {
            interval: Duration::from_secs(1),
            threshold: 10_000,
            background: Durability::Durable,
            lag_bound: Duration::from_secs(10),
            refuse_when_lagging: false,
        };
        Self {
            settings,
            flush,
            #[cfg(all(feature = "postgres", not(loom)))]
            postgres: super::connect::Options::default(),
            #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
            watch: None,
        }
    }
}

impl StoreBuilder {
    /// Name of the store where several are told apart, as in metrics: 1 to 1,024 bytes. Default: the stem of its
    /// file's name (`agent` for `agent.db`), the name of its space, or `memory` for a store with neither. No stored data
    /// depends on it.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Partition of traces that name none: 1 to 1,024 bytes. Default: `default`.
    pub fn partition(mut self, partition: impl Into<Arc<str>>) -> Self {
        self.settings.partition = partition.into();
        self
    }

    /// Longest time that a change waits until a background flush begins. Default: 1 second. With zero, flushes follow
    /// each other without pause.
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush.interval = interval;
        self
    }

    /// Number of changed traces that starts a background flush before the interval has passed: at least 1. Default:
    /// 10,000.
    pub fn flush_threshold(mut self, traces: usize) -> Self {
        self.flush.threshold = traces;
        self
    }

    /// Durability of background flushes. Default: [`Durability::Durable`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.flush.background = durability;
        self
    }

    /// Age of the oldest unflushed change above which the store [lags](crate::Health::Lagging). Default: 10 seconds.
    pub fn lag_bound(mut self, bound: Duration) -> Self {
        self.flush.lag_bound = bound;
        self
    }

    /// Policy for writes while the store lags. Default: [`LagPolicy::AcceptWrites`].
    pub fn when_lagging(mut self, lag: LagPolicy) -> Self {
        self.flush.refuse_when_lagging = lag == LagPolicy::RejectWrites;
        self
    }

    /// Longest payload accepted, in bytes of text. Default: 1 MiB. A store with a file accepts at most 983,222,784: a
    /// row in SQLite has at most a thousand million bytes, of which 16 MiB are reserved for everything but the
    /// payload.
    pub fn max_payload_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_payload_bytes = bytes;
        self
    }

    /// Longest time that [`close`](TraceStore::close), and the drop of the last clone, wait for the flusher to write
    /// all changes. Default: 30 seconds. Time during which the process is stopped does not count.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close_timeout = timeout;
        self
    }

    /// Clock of the store, set and moved by you. Default: the system's clock. Creation and reinforcement times, decay,
    /// recency and tiers use it; the flush interval does not.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.settings.clock = WallClock::Manual(clock.clone());
        self
    }

    /// Curve of the decay of strength over time. Default: [`DecayCurve::PowerLaw`]. It is not stored, except in the
    /// SQL view of the [current strengths](crate::guide::memory#reading-strengths-with-sql).
    pub fn decay_curve(mut self, curve: DecayCurve) -> Self {
        self.settings.curve = curve;
        self
    }

    /// Time after which the recency in a [score](crate::Ranked) is one half: more than 0. Default: 1 hour. The longer
    /// it is, the more strength and emotion count relative to recency.
    ///
    /// ```
    /// use mnemon::{ManualClock, NewTrace, TraceStore};
    /// use std::time::Duration;
    ///
    /// let day = Duration::from_secs(86_400);
    /// let clock = ManualClock::at("2026-11-24T09:00:00Z".parse()?);
    /// let store = TraceStore::builder().clock(&clock).recency_half_life(day).in_memory()?;
    /// let id = store.insert(NewTrace::episodic(serde_json::json!("the tide is early")))?;
    /// clock.advance(day * 2);
    /// assert_eq!(store.rank([id])[0].recency, 0.25);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recency_half_life(mut self, half_life: Duration) -> Self {
        self.settings.recency_half_life = half_life;
        self
    }

    /// Whether a [decay cycle](TraceStore::decay) removes traces that have faded to 0.01 or less. Default: `true`.
    pub fn prune(mut self, prune: bool) -> Self {
        self.settings.prune = prune;
        self
    }

    /// How long a trace is kept after its [validity](crate::guide::memory#validity) has ended; then a
    /// [decay cycle](TraceStore::decay) removes it. With `None`, for ever. Default: 7 days.
    pub fn keep_invalid(mut self, period: impl Into<Option<Duration>>) -> Self {
        self.settings.keep_invalid = period.into();
        self
    }

    /// Number of former contents of each trace that the SQLite file keeps, for [`history`](TraceStore::history).
    /// Default: none is added, which costs nothing, and a history that the file has stays. If there are more, the
    /// opening removes the oldest: with 0 all. Only [`open`](Self::open) looks at it: a store without a file keeps
    /// none, nor does one over a backend of your own.
    ///
    /// A flush that changes the content of a trace (any field but those that count, grow or fade) copies the row
    /// before, in the same transaction. So what was changed again before it was flushed is not in the history.
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub fn keep_history(mut self, contents: u32) -> Self {
        self.settings.keep_history = Some(contents);
        self
    }

    /// End of the imprint window, in which a reinforcement counts three times and a new trace counts as reinforced
    /// once. Default: no window.
    pub fn imprint_until(mut self, end: Timestamp) -> Self {
        self.settings.imprint_until = Some(end.into());
        self
    }

    /// Largest content that [`enforce_quota`](TraceStore::enforce_quota), and therefore [`upkeep`](Self::upkeep),
    /// leaves in the store. Default: no limit.
    pub fn quota(mut self, quota: Quota) -> Self {
        self.settings.quota = quota;
        self
    }

    /// Runs decay cycles, tier updates and the quota periodically, on a separate thread named `mnemon-upkeep`, which
    /// stops with the store. Default: no upkeep.
    ///
    /// ```
    /// use mnemon::{TraceStore, Upkeep};
    ///
    /// // Decay each minute, tiers each five minutes; nothing is removed for a quota, since none is given.
    /// let store = TraceStore::builder().upkeep(Upkeep::default()).in_memory()?;
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn upkeep(mut self, upkeep: Upkeep) -> Self {
        self.settings.upkeep = Some(upkeep);
        self
    }

    /// Keeps an index of what the traces say, for [`recall`](TraceStore::recall). Default: none.
    ///
    /// The index is in memory alone. After opening, the thread of the views builds it in the background, in some 60
    /// microseconds of a processor for each trace of 300 bytes; afterwards it takes in what was changed, and no write
    /// waits for that. It takes two to three times the memory of the texts: [`guide::recall`](crate::guide::recall) has
    /// the figures.
    ///
    /// A store with an index takes embeddings of one number of dimensions, as long as it has any: the first one
    /// decides, and a write with another number is [invalid](crate::ErrorKind::InvalidInput). In a file that has
    /// several numbers, from stores without an index, the most frequent one counts, and of equally frequent ones the
    /// smallest; the others are near to nothing. Opening looks at each trace for that, and a write that adds or removes
    /// an embedding changes one counter, which all threads share.
    #[cfg(all(feature = "recall", not(loom)))]
    pub fn text_index(mut self, index: TextIndex) -> Self {
        self.settings.text_index = Some(index);
        self
    }

    /// Reports how many rows of traces have been read while a file or a space is opened: first 0, then every few
    /// hundred or thousand, and all at the end. Default: no report. The callback runs on the thread that opens the
    /// store. Others read meanwhile and are not held up, but the opening ends only when the callback has returned for
    /// the last time: it must not block. If it returns [`Break`](ControlFlow::Break), the opening fails with
    /// [`Interrupted`](crate::ErrorKind::Interrupted). To know the total, the rows are counted first.
    ///
    /// ```
    /// use mnemon::TraceStore;
    /// use std::ops::ControlFlow;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let builder = TraceStore::builder().on_progress(|progress| {
    ///     println!("{}: {} of {}", progress.step, progress.done, progress.total);
    ///     ControlFlow::Continue(())
    /// });
    /// # #[cfg(feature = "sqlite")]
    /// let store = builder.open(folder.path().join("memory.db"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub fn on_progress(mut self, tell: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.watch = Some(Watch::new(tell));
        self
    }

    pub(super) fn check(&self) -> Result<Settings> {
        self.settings.name.as_deref().map(|name| checked_name("name", name)).transpose()?;
        checked_name("partition", &self.settings.partition)?;
        if self.settings.recency_half_life.is_zero() {
            return Err(Error::invalid("recency_half_life", 0, "give more than 0"));
        }
        match self.flush.threshold {
            0 => Err(Error::invalid("flush_threshold", 0, "give 1 or more")),
            _ => Ok(self.settings.clone()),
        }
    }
}

impl TraceStore {
    /// Returns the default settings for opening a store.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }
}
