//! Opening: settings, and loading the content of a backend.

use super::dimensions::Embeddings;
use super::events;
use super::indexer::IndexerThread;
use super::inner::Inner;
#[cfg(all(feature = "sqlite", not(loom)))]
use super::load::Home;
use super::load::Stored;
use super::thread::FlusherThread;
use super::upkeep::{self, Upkeep};
use super::{Owner, Quota, TraceStore};
use crate::Durability;
#[cfg(all(feature = "sqlite", not(loom)))]
use crate::backend::sqlite::{self, Claim, Sqlite};
use crate::backend::{Backend, Discard};
use crate::clock::{ManualClock, WallClock};
use crate::error::{Error, Result};
use crate::flusher::Flusher;
use crate::memory::DecayCurve;
use crate::memory::constants::RECENCY_HALF_LIFE_SECONDS;
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
use crate::progress::{Progress, Watch};
use crate::protocol::Reached;
#[cfg(all(feature = "recall", not(loom)))]
use crate::recall::TextIndex;
use crate::state::{FlushOptions, Name, State};
use crate::trace::{Micros, checked_name};
use crate::views::{TraceViews, Upkept};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
use std::ops::ControlFlow;
#[cfg(all(feature = "sqlite", not(loom)))]
use std::path::Path;

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
    fn upkept(&self) -> Upkept {
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

/// The opening that left a spill beside the file which holds everything.
#[cfg(all(feature = "sqlite", not(loom)))]
fn whole_spill(path: &Path) -> Option<uuid::Uuid> {
    #[cfg(feature = "snapshot")]
    {
        crate::archive::Spill::boot_of_whole(&sqlite::spill(path))
    }
    #[cfg(not(feature = "snapshot"))]
    {
        let _ = path;
        None
    }
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

    /// Opens the SQLite file at `path`, creating it if it does not exist, and loads all of its traces into memory. The
    /// file has one writing owner, under whatever path it is opened. Ownership is a lock: on 64-bit Linux of the file
    /// itself, elsewhere of a file beside it (`path` with `.lock`). A file that is itself a mount point is rejected,
    /// because its WAL lies beside it.
    ///
    /// # Errors
    ///
    /// [`InUse`](crate::ErrorKind::InUse) names the process that has the file open, by the process id that it has for
    /// itself; [`Forked`](crate::ErrorKind::Forked) says that the file was open in the process that this one was
    /// forked from; [`NotAStore`](crate::ErrorKind::NotAStore), [`NewerSchema`](crate::ErrorKind::NewerSchema),
    /// [`Corrupt`](crate::ErrorKind::Corrupt) and [`Unreachable`](crate::ErrorKind::Unreachable) say what is wrong
    /// with the file, which is left unchanged. [`InvalidInput`](crate::ErrorKind::InvalidInput) names an invalid
    /// setting.
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub fn open(self, path: impl AsRef<Path>) -> Result<TraceStore> {
        let mut settings = self.check()?;
        if settings.max_payload_bytes > sqlite::MAX_PAYLOAD {
            let most = format_args!("give at most {}, as SQLite takes no longer rows", sqlite::MAX_PAYLOAD);
            return Err(Error::invalid("max_payload_bytes", settings.max_payload_bytes, most));
        }
        settings.name = settings.name.or_else(|| Some(path.as_ref().file_stem()?.to_string_lossy().into()));
        let path = sqlite::resolved(path.as_ref())?;
        events::opening(Some(&path), settings.partition.clone(), || {
            let whole = whole_spill(&path);
            let claim = Claim { curve: settings.curve, keep_history: settings.keep_history };
            let mut backend = Sqlite::open(&path, settings.max_payload_bytes, whole, claim)?;
            let (file, boot) = backend.home();
            let spill = sqlite::spill(&file);
            let home = Home {
                place: file.to_string_lossy().into(),
                file: Some(file),
                left: Some((spill.clone(), boot)),
                spill,
                boot,
                longest_payload: sqlite::longest_payload(settings.max_payload_bytes),
            };
            let stored = Stored::load_file(backend.moment()?, self.watch.as_ref())?;
            let stored = Stored { home: Some(home), ..stored };
            let store = stored.start_with_spill(settings, self.flush, backend)?;
            store.start_upkeep()?;
            Ok(store)
        })
    }

    /// Opens a store without a file: the API is the same, and no data is kept after the store is gone.
    ///
    /// If no thread can be started, [`flush`](TraceStore::flush) and [`wait`](TraceStore::wait) do the flusher's work,
    /// which frees the memory of removed traces.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) names an invalid setting.
    pub fn in_memory(self) -> Result<TraceStore> {
        let settings = self.check()?;
        let (store, _) = Stored::nothing().start(settings, self.flush, Discard);
        store.start_upkeep().ok();
        Ok(store)
    }

    /// Opens a store without a file, filled with the content of another store's file as of one moment: a copy to
    /// inspect, or to experiment with. The file is only read, even while a host has it open, and nothing is written
    /// back. Changes that a store could not write and has [spilled](TraceStore::spill) are not included.
    ///
    /// ```
    /// use mnemon::{NewTrace, TraceStore};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let store = TraceStore::open(folder.path().join("memory.db"))?;
    /// let id = store.insert(NewTrace::semantic(serde_json::json!("slack water at noon")))?;
    /// store.flush()?;
    ///
    /// let copy = TraceStore::builder().detached(folder.path().join("memory.db"))?;
    /// copy.remove(id)?;
    /// assert!(store.contains(id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`open`](Self::open), but does not check whether the file is in use; and
    /// [`Unreachable`](crate::ErrorKind::Unreachable) if there is no file.
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub fn detached(self, path: impl AsRef<Path>) -> Result<TraceStore> {
        let (settings, path) = (self.check()?, path.as_ref());
        events::opening(Some(path), settings.partition.clone(), || {
            let stored = sqlite::read(path, |moment| Stored::load_file(moment, self.watch.as_ref()))?;
            let (store, _) = stored.start(settings, self.flush, Discard);
            store.start_upkeep().ok();
            Ok(store)
        })
    }

    /// Opens a store over a backend of your own.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) names an invalid setting, [`Io`](crate::ErrorKind::Io) says
    /// that no thread could be started, and [`Backend::load`] may return any error.
    pub fn open_with(self, mut backend: impl Backend) -> Result<TraceStore> {
        let settings = self.check()?;
        events::opening(None, settings.partition.clone(), || {
            let stored = Stored::load(|into| backend.load(into))?;
            let (store, no_flusher) = stored.start(settings, self.flush, backend);
            no_flusher.map_or_else(|| store.start_upkeep(), Err)?;
            Ok(store)
        })
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

impl Stored {
    /// Returns the store without its upkeep, and the error if its flusher has no thread.
    pub(super) fn start(
        self,
        settings: Settings,
        options: FlushOptions,
        backend: impl Backend,
    ) -> (TraceStore, Option<Error>) {
        let name = Name::new(self.path(), settings.partition.clone());
        let Self { traces, links, unreadable, loaded, taken, .. } = self;
        events::unreadable(&name, &unreadable);
        let reached = Reached { cut: loaded.watermark.max(taken), stored: loaded.watermark };
        let (clock, curve) = (settings.clock.clone(), settings.curve);
        let views = TraceViews::new(curve, settings.upkept());
        #[cfg(all(feature = "recall", not(loom)))]
        let views = views.with_text(settings.text_index);
        let state = State::new(name, traces, links, reached, options, clock, views);
        state.counters.lock().unreadable = unreadable;
        let state = Arc::new(state);
        // Before the flusher, which would do its work if there were no such thread.
        let indexer = IndexerThread::start(&state);
        let flusher = Flusher::new(state.clone(), Box::new(backend), reached, loaded.last_row);
        #[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
        let flusher = match self.home.clone() {
            Some(home) => flusher.spilling(super::spill::writer(home, settings.clock.clone())),
            None => flusher,
        };
        let (flusher, no_flusher) = FlusherThread::start(flusher);
        let inner = Arc::new(Inner {
            state,
            settings,
            #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
            home: self.home,
            visited: AtomicU64::new(0),
            pruned: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            embeddings: Embeddings::default(),
        });
        inner.count_embeddings();
        let upkeep = upkeep::Thread::default();
        (TraceStore { owner: Arc::new(Owner { inner, upkeep, flusher, indexer }) }, no_flusher)
    }

    /// Returns the store, unless there is a spill, which this build can't read.
    #[cfg(all(feature = "sqlite", not(feature = "snapshot"), not(loom)))]
    fn start_with_spill(
        self,
        settings: Settings,
        options: FlushOptions,
        backend: impl Backend,
    ) -> Result<TraceStore> {
        let left = self.home.as_ref().and_then(|home| home.left.as_ref());
        if let Some((spill, _)) = left.filter(|(spill, _)| spill.exists()) {
            let message = format!(
                "{} holds what an earlier opening could not write: build with the feature snapshot to apply it, or move it away",
                spill.display()
            );
            return Err(Error::new(crate::ErrorKind::Unreachable, message));
        }
        let (store, no_flusher) = self.start(settings, options, backend);
        no_flusher.map_or(Ok(store), Err)
    }
}

impl TraceStore {
    /// Opens the SQLite file at `path` with default settings, creating it if it does not exist: see
    /// [`StoreBuilder::open`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`StoreBuilder::open`].
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(path)
    }

    /// Opens a store without a file, with default settings: see [`StoreBuilder::in_memory`].
    pub fn in_memory() -> Self {
        let StoreBuilder { flush, .. } = StoreBuilder::default();
        Stored::nothing().start(Settings::default(), flush, Discard).0
    }

    pub(super) fn start_upkeep(&self) -> Result<()> {
        self.owner.upkeep.start(&self.owner.inner)
    }

    /// Returns the default settings for opening a store.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }
}
