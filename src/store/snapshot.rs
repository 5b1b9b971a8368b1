//! Saving a snapshot of the store, and restoring one.

use super::TraceStore;
use super::engine::Engine;
use crate::backend::Reach;
use crate::core::Opening;
use crate::error::{Error, ErrorKind, Result};
use crate::flusher::{Errand, View};
use crate::snapshot::{SnapshotInfo, Snapshots, State};
use std::path::Path;
use std::sync::mpsc;

impl TraceStore {
    /// Saves the state of the store at one cut, which is made for it: every write that returned before this call is
    /// in it, and with a write every one that it can have depended on. Writers go on meanwhile; flushes wait while
    /// the state is gathered, and not while it is written. Returns when the file is on disk.
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
    /// Why the file could not be written: there is none then. [`InvalidInput`](ErrorKind::InvalidInput) names a
    /// trace that could not be restored, and is said too if the snapshots have a public key only.
    pub fn save_snapshot(&self, snapshots: &Snapshots) -> Result<SnapshotInfo> {
        let View { cut, traces, links } = self.view()?;
        let taken_at = self.engine().now().into();
        snapshots.write(&State { watermark: cut, taken_at, traces, links })
    }

    /// Puts the newest snapshot, by name, in the place of everything that the store holds, in one cut, as
    /// [`restore`](Self::restore) does, and answers which it was and how many traces it has. It is verified whole
    /// before anything is changed.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no snapshot; otherwise as for
    /// [`restore_snapshot`](Self::restore_snapshot).
    pub fn restore_newest(&self, snapshots: &Snapshots) -> Result<usize> {
        let Some(path) = snapshots.newest()? else {
            let message = format!("there is no snapshot in {}: save one first", snapshots.folder().display());
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        self.restore_snapshot(snapshots, path)
    }

    /// The same for a given file, which may be in any folder; the key of `snapshots` is demanded of it.
    ///
    /// # Errors
    ///
    /// [`NotASnapshot`](ErrorKind::NotASnapshot), [`NewerSchema`](ErrorKind::NewerSchema),
    /// [`Corrupt`](ErrorKind::Corrupt), [`Untrusted`](ErrorKind::Untrusted),
    /// [`Unreachable`](ErrorKind::Unreachable) and [`Io`](ErrorKind::Io) say what is wrong with the file;
    /// [`Closed`](ErrorKind::Closed) and [`Lagging`](ErrorKind::Lagging) are those of an
    /// [`insert`](Self::insert). Nothing is changed.
    pub fn restore_snapshot(&self, snapshots: &Snapshots, path: impl AsRef<Path>) -> Result<usize> {
        let State { traces, links, .. } = snapshots.read(path.as_ref())?;
        self.engine().restore(traces, &links)
    }

    fn view(&self) -> Result<View> {
        Ok(self.ask(Errand::View)?.unwrap_or_else(|| self.engine().last_view()))
    }

    /// What the flusher shows of a cut that it makes for this; `None` if the store has closed: then it has no
    /// flusher, and changes no more.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        errand: fn(Box<dyn FnOnce(T) + Send>) -> Errand,
    ) -> Result<Option<T>> {
        let shared = self.shared();
        shared.has_flusher()?;
        let (show, shown) = mpsc::sync_channel(1);
        shared.send(errand(Box::new(move |it| drop(show.send(it)))));
        self.handle.flusher.help(|driver| {
            driver.turn(Reach::Committed, Opening::Open);
        });
        while !shared.progress.is_closed() {
            if let Ok(it) = shown.recv_timeout(GLANCE) {
                return Ok(Some(it));
            }
        }
        Ok(shown.try_recv().ok())
    }
}

/// How long who waits for the flusher looks away from whether the store has closed.
const GLANCE: std::time::Duration = std::time::Duration::from_millis(20);

impl Engine {
    /// All there is, where nothing changes any more.
    fn last_view(&self) -> View {
        let traces: Vec<_> = self.traces().keys().iter().filter_map(|id| self.traces().get(id)).collect();
        let links = self.links().keys().into_iter().filter_map(|ends| self.links().get(&ends));
        let links = links.filter(|tie| self.births(tie.link.ends).is_ok_and(|births| tie.joins(births)));
        View { cut: self.shared.progress.watermarks().0, traces, links: links.map(|tie| tie.link).collect() }
    }
}
