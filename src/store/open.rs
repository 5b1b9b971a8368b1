//! Opening: loading the content of a backend, and starting the store's threads.

use super::dimensions::Embeddings;
use super::events;
use super::indexer::IndexerThread;
use super::inner::Inner;
#[cfg(all(feature = "sqlite", not(loom)))]
use super::load::Home;
use super::load::Stored;
use super::settings::{Settings, StoreBuilder};
use super::thread::FlusherThread;
use super::upkeep;
use super::{Owner, TraceStore};
#[cfg(all(feature = "sqlite", not(loom)))]
use crate::backend::sqlite::{self, Claim, Sqlite};
use crate::backend::{Backend, Discard};
use crate::error::{Error, Result};
use crate::flusher::Flusher;
use crate::protocol::Reached;
use crate::state::{FlushOptions, Name, State};
use crate::views::TraceViews;
#[cfg(all(feature = "sqlite", not(loom)))]
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

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

impl StoreBuilder {
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
}
