//! Opening: settings, and loading what a backend has.

use super::thread::Flusher;
use super::{Handle, TraceStore};
use crate::backend::{Backend, Discard, Loaded, Reach, StoredTrace};
use crate::core::Map;
use crate::error::{Error, Result};
use crate::flusher::{Driver, FlushOptions, Quarantined, Row, Shared};
use crate::trace::{Trace, TraceId, checked_name};
use std::sync::Arc;
use std::time::Duration;

#[cfg(all(feature = "sqlite", not(loom)))]
use std::path::Path;

/// How far flushes go that nobody asked for. [`flush`](TraceStore::flush) and
/// [`close`](TraceStore::close) always end durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Each flush is synced: it survives a power loss. One sync a flush, not one a write.
    #[default]
    Full,
    /// Background flushes are not synced: they survive the end of the process, and a power loss may take
    /// back the newest of them, each as a whole.
    Relaxed,
}

/// What writes get while the oldest unflushed change is older than the
/// [bound](StoreBuilder::lag_bound).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Lag {
    /// They are accepted: memory goes on, and health says how far behind the disk is.
    #[default]
    Accept,
    /// They are refused with [`Lagging`](crate::ErrorKind::Lagging). They are never blocked.
    Refuse,
}

/// How to open a store; from [`TraceStore::builder`].
///
/// ```
/// use mnemon::{Durability, TraceStore};
/// use std::time::Duration;
///
/// let store = TraceStore::builder()
///     .partition("agent-7")
///     .flush_interval(Duration::from_millis(200))
///     .durability(Durability::Relaxed)
///     .in_memory()?;
/// # Ok::<(), mnemon::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens a store"]
pub struct StoreBuilder {
    settings: Settings,
    flush: FlushOptions,
}

/// What is fixed once a store is open.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) partition: Arc<str>,
    pub(super) max_payload_bytes: usize,
    pub(super) close_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            partition: "default".into(),
            max_payload_bytes: 1 << 20,
            close_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for StoreBuilder {
    fn default() -> Self {
        let settings = Settings::default();
        let flush = FlushOptions {
            interval: Duration::from_secs(1),
            threshold: 10_000,
            background: Reach::Durable,
            lag_bound: Duration::from_secs(10),
            refuse_when_lagging: false,
        };
        Self { settings, flush }
    }
}

impl StoreBuilder {
    /// The partition of traces that name none: 1 to 1,024 bytes, `default` unless set.
    pub fn partition(mut self, partition: impl Into<Arc<str>>) -> Self {
        self.settings.partition = partition.into();
        self
    }

    /// How long a change waits at most until a background flush begins: 1 second unless set. Zero flushes
    /// without rest.
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush.interval = interval;
        self
    }

    /// How many changed traces begin a background flush before the interval has passed: 10,000 unless
    /// set; at least 1.
    pub fn flush_threshold(mut self, traces: usize) -> Self {
        self.flush.threshold = traces;
        self
    }

    /// How far background flushes go: [`Durability::Full`] unless set.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.flush.background = match durability {
            Durability::Full => Reach::Durable,
            Durability::Relaxed => Reach::Committed,
        };
        self
    }

    /// The age of the oldest unflushed change above which the store [lags](crate::Health::Lagging): 10
    /// seconds unless set.
    pub fn lag_bound(mut self, bound: Duration) -> Self {
        self.flush.lag_bound = bound;
        self
    }

    /// What writes get while the store lags: [`Lag::Accept`] unless set.
    pub fn when_lagging(mut self, lag: Lag) -> Self {
        self.flush.refuse_when_lagging = lag == Lag::Refuse;
        self
    }

    /// The longest payload accepted, in bytes of text: 1 MiB unless set.
    pub fn max_payload_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_payload_bytes = bytes;
        self
    }

    /// How long [`close`](TraceStore::close), and the drop of the last clone, wait for the flusher to
    /// drain: 30 seconds unless set.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close_timeout = timeout;
        self
    }

    /// Opens the SQLite file at `path`, which is made if it is not there, and loads every trace of it
    /// into memory. The file has one writing owner, held by a lock file beside it (`path` with `.lock`).
    ///
    /// # Errors
    ///
    /// [`InUse`](crate::ErrorKind::InUse) names the process that has the file;
    /// [`NotAStore`](crate::ErrorKind::NotAStore), [`NewerSchema`](crate::ErrorKind::NewerSchema),
    /// [`Corrupt`](crate::ErrorKind::Corrupt) and [`Unreachable`](crate::ErrorKind::Unreachable) say what
    /// is wrong with it, and it is left as it was. [`InvalidInput`](crate::ErrorKind::InvalidInput) names
    /// a setting.
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub fn open(self, path: impl AsRef<Path>) -> Result<TraceStore> {
        self.check()?;
        self.open_with(crate::backend::sqlite::Sqlite::open(path.as_ref())?)
    }

    /// A store without a file: the same API, and nothing is kept.
    ///
    /// If no thread can be started, [`flush`](TraceStore::flush) does the flusher's work, which frees the
    /// memory of removed traces.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) names a setting that can't be taken.
    pub fn in_memory(self) -> Result<TraceStore> {
        let settings = self.check()?;
        Ok(Stored::nothing().start(settings, self.flush, Discard).0)
    }

    /// A store over an engine of your own.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) names a setting that can't be taken,
    /// [`Io`](crate::ErrorKind::Io) says that no thread could be started, and [`Backend::load`] may say
    /// anything.
    pub fn open_with(self, mut backend: impl Backend) -> Result<TraceStore> {
        let settings = self.check()?;
        let stored = Stored::load(&mut backend)?;
        match stored.start(settings, self.flush, backend) {
            (store, None) => Ok(store),
            (_, Some(error)) => Err(error),
        }
    }

    fn check(&self) -> Result<Settings> {
        checked_name("partition", &self.settings.partition)?;
        match self.flush.threshold {
            0 => Err(Error::invalid("flush_threshold", 0, "give 1 or more")),
            _ => Ok(self.settings.clone()),
        }
    }
}

/// What a backend has stored, in memory.
struct Stored {
    traces: Map<TraceId, Trace, Row>,
    unreadable: Vec<Quarantined>,
    loaded: Loaded,
}

impl Stored {
    fn nothing() -> Self {
        Self { traces: Map::new(), unreadable: Vec::new(), loaded: Loaded::default() }
    }

    fn load(backend: &mut impl Backend) -> Result<Self> {
        let Self { traces, mut unreadable, .. } = Self::nothing();
        let mut set_aside = |id, reason| {
            tracing::error!(
                ?id,
                reason,
                "a stored row can't be used; it stays where it is and is quarantined"
            );
            unreadable.push(Quarantined { id, reason, times: 1 });
        };
        let loaded = backend.load(&mut |StoredTrace { row, trace }| match trace {
            Ok(trace) => {
                let (id, held) = (trace.id(), Row::stored(row, &trace));
                if !traces.load(id, Arc::new(trace), held) {
                    set_aside(Some(id), format!("row {row} has the id of another row"));
                }
            }
            Err(problem) => set_aside(problem.id, format!("row {row}: {}", problem.reason)),
        })?;
        Ok(Self { traces, unreadable, loaded })
    }

    /// The store, and why its flusher has no thread, if it has none.
    fn start(
        self,
        settings: Settings,
        options: FlushOptions,
        backend: impl Backend,
    ) -> (TraceStore, Option<Error>) {
        let Self { traces, unreadable, loaded } = self;
        let (shared, cutter) = Shared::new(traces, loaded.watermark, options);
        shared.telemetry.lock().unreadable = unreadable;
        let shared = Arc::new(shared);
        let driver =
            Driver::new(shared.clone(), Box::new(backend), cutter, loaded.watermark, loaded.last_row);
        let (flusher, error) = Flusher::start(driver);
        (TraceStore { handle: Arc::new(Handle { shared, settings, flusher }) }, error)
    }
}

impl TraceStore {
    /// Opens the SQLite file at `path` with all defaults, making it if it is not there: see
    /// [`StoreBuilder::open`].
    ///
    /// # Errors
    ///
    /// As for [`StoreBuilder::open`].
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(path)
    }

    /// A store without a file, with all defaults: see [`StoreBuilder::in_memory`].
    ///
    pub fn in_memory() -> Self {
        let StoreBuilder { flush, .. } = StoreBuilder::default();
        Stored::nothing().start(Settings::default(), flush, Discard).0
    }

    /// Settings to open a store with.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }
}
