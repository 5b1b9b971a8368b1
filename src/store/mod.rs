//! [`TraceStore`], the public interface: one `impl` block for each capability, one capability in each file.

#[cfg(not(loom))]
mod ask;
mod close;
#[cfg(not(loom))]
mod compact;
#[cfg(all(feature = "postgres", not(loom)))]
mod connect;
mod cursor;
mod decay;
mod dimensions;
mod due;
mod erase;
mod events;
mod flush;
mod group;
#[cfg(all(feature = "sqlite", not(loom)))]
mod history;
mod indexer;
mod inner;
mod links;
mod load;
mod many;
mod names;
mod open;
mod partition;
mod query;
mod quota;
mod rank;
mod read;
#[cfg(all(feature = "recall", not(loom)))]
mod recall;
mod reinforce;
mod removed;
mod replace;
mod restore;
mod settings;
#[cfg(all(feature = "snapshot", not(loom)))]
mod snapshot;
#[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
mod spill;
mod stats;
mod subscribe;
mod supersede;
#[cfg(all(test, feature = "testkit", not(loom)))]
mod tests;
mod thread;
mod tiers;
mod upkeep;
mod walk;
mod weak;
mod write;

pub use close::CloseError;
pub use cursor::Cursor;
pub use flush::Mark;
pub use group::Group;
pub use partition::Partition;
pub use query::{Page, Query};
pub use quota::{Eviction, Quota};
#[cfg(all(feature = "recall", not(loom)))]
pub use recall::{Recall, Recalled};
pub use removed::Removed;
pub use settings::{LagPolicy, StoreBuilder};
pub use stats::{Stats, Watermark};
pub use upkeep::Upkeep;
pub use walk::{Step, Walk};
pub use weak::WeakStore;

use crate::error::{Error, ErrorKind};
use crate::state::State;
use inner::Inner;
use std::fmt;
use std::sync::Arc;

/// A store of memory traces: held in memory for every thread, and written to a file in the background by a thread of
/// its own.
///
/// Cloning is cheap, and all clones are the same store; share it freely between threads and tasks. Reads and writes
/// only touch memory and never wait for the flusher or the disk. If the last clone is dropped without
/// [`close`](Self::close), the drop writes all changes as a close would, and logs those that it could not write.
///
/// ```
/// use mnemon::{NewTrace, TraceStore};
/// use serde_json::json;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("memory.db");
/// # #[cfg(feature = "sqlite")] {
/// let store = TraceStore::open(&path)?;
/// let id = store.insert(NewTrace::semantic(json!({"fact": "spring tides follow the full moon"})))?;
/// store.update(id, |trace| trace.confidence(0.9))?;
/// store.flush()?; // on disk from here on
/// store.close()?;
///
/// let store = TraceStore::open(&path)?;
/// assert_eq!(store.get(id).map(|trace| trace.confidence()), Some(0.9));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TraceStore {
    owner: Arc<Owner>,
}

/// The part that all clones share. It is dropped with the last clone.
struct Owner {
    inner: Arc<Inner>,
    upkeep: upkeep::Thread,
    flusher: thread::FlusherThread,
    indexer: indexer::IndexerThread,
}

impl TraceStore {
    fn inner(&self) -> &Inner {
        &self.owner.inner
    }

    fn state(&self) -> &State {
        &self.owner.inner.state
    }

    /// For a model that runs the flusher on a thread of its own.
    #[cfg(loom)]
    pub(crate) fn take_flusher(&self) -> Option<crate::flusher::Flusher> {
        self.owner.flusher.take()
    }

    /// Returns the error of a write to a closed store.
    fn closed() -> Error {
        Error::new(ErrorKind::Closed, "write refused: the store is closed; open it again to go on")
    }
}

impl fmt::Debug for TraceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceStore").field("traces", &self.len()).field("health", &self.health()).finish()
    }
}
