//! Saving a snapshot of the store, and restoring one.

use super::TraceStore;
use super::inner::Inner;
use crate::archive::State;
use crate::archive::snapshots::{ArchiveInfo, Snapshots};
use crate::error::{Error, ErrorKind, Result};
use crate::state::{CutTask, View};
use std::path::Path;

impl TraceStore {
    /// Saves the state of the store at a cut made by this call. It contains every write that returned before the call,
    /// and with each write every other one that it may depend on. Writers continue in the meantime; flushes wait while
    /// the state is collected, but not while it is written. Returns once the file is on disk.
    ///
    /// ```
    /// use mnemon::{NewTrace, Snapshots, TraceStore};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let snapshots = Snapshots::in_folder(folder.path());
    /// let store = TraceStore::in_memory();
    /// let id = store.insert(NewTrace::semantic(serde_json::json!("the bar is 4 m deep")))?;
    /// store.save_snapshot(&snapshots)?;
    /// store.remove(id)?;
    /// store.restore_newest(&snapshots)?;
    /// assert!(store.contains(id));
    /// snapshots.prune(10)?; // keep ten
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of writing the file, which does not exist then. [`InvalidInput`](ErrorKind::InvalidInput) names a
    /// trace that could not be restored, and is also returned if the snapshots have only a public key.
    pub fn save_snapshot(&self, snapshots: &Snapshots) -> Result<ArchiveInfo> {
        let View { cut, traces, links } = self.view()?;
        let taken_at = self.inner().now().into();
        snapshots.write(&State { watermark: cut, taken_at, traces, links })
    }

    /// Replaces everything in the store with the newest snapshot, by name, in one cut like [`restore`](Self::restore),
    /// and returns the number of its traces. The whole snapshot is verified before anything is changed.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no snapshot; otherwise the errors of
    /// [`restore_snapshot`](Self::restore_snapshot).
    pub fn restore_newest(&self, snapshots: &Snapshots) -> Result<usize> {
        let Some(path) = snapshots.newest()? else {
            let message = format!("there is no snapshot in {}: save one first", snapshots.folder().display());
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        self.restore_snapshot(snapshots, path)
    }

    /// Replaces everything in the store with a given snapshot, in the way that
    /// [`restore_newest`](Self::restore_newest) does with the newest, and returns the number of its traces. The file
    /// may be in any folder; it must match the key of `snapshots`.
    ///
    /// # Errors
    ///
    /// [`NotASnapshot`](ErrorKind::NotASnapshot), [`NewerSchema`](ErrorKind::NewerSchema),
    /// [`Corrupt`](ErrorKind::Corrupt), [`Untrusted`](ErrorKind::Untrusted), [`Unreachable`](ErrorKind::Unreachable)
    /// and [`Io`](ErrorKind::Io) say what is wrong with the file; [`Closed`](ErrorKind::Closed) and
    /// [`Lagging`](ErrorKind::Lagging) are returned under the conditions of [`insert`](Self::insert). Nothing is
    /// changed.
    pub fn restore_snapshot(&self, snapshots: &Snapshots, path: impl AsRef<Path>) -> Result<usize> {
        let State { traces, links, .. } = snapshots.read(path.as_ref())?;
        self.inner().restore(traces, &links)
    }

    fn view(&self) -> Result<View> {
        Ok(self.ask(CutTask::View)?.unwrap_or_else(|| self.inner().last_view()))
    }
}

impl Inner {
    /// Returns the whole content of a closed store, which no longer changes.
    fn last_view(&self) -> View {
        let traces: Vec<_> = self.traces().keys().iter().filter_map(|id| self.traces().get(id)).collect();
        let links = self.links().keys().into_iter().filter_map(|ends| self.links().get(&ends));
        let links =
            links.filter(|tie| self.births(tie.link.ends, None).is_ok_and(|births| tie.joins(births)));
        View { cut: self.state.progress.watermarks().0, traces, links: links.map(|tie| tie.link).collect() }
    }
}
