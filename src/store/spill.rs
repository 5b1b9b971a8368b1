//! Spilling: writing pending changes to a file beside the database, to be applied when it is next opened.

use super::TraceStore;
use super::inner::{Inner, reason};
use super::load::{Home, Stored};
use super::settings::Settings;
use crate::archive::Spill;
use crate::archive::snapshots::ArchiveInfo;
use crate::backend::Backend;
use crate::clock::WallClock;
use crate::error::{Error, ErrorKind, Result};
use crate::flusher::SpillWriter;
use crate::guarded;
use crate::protocol::Change;
use crate::state::{CutTask, FlushOptions};
use crate::trace::{LinkKey, Trace};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

impl TraceStore {
    /// Writes the changes that are not known to be durable to a file beside the database (its path with `.spill`), or
    /// for a space to a file in the folder given as `spill_to`. For a host that has to exit although its store can't be
    /// closed, for example when the disk is full or the server away. The file takes as much space as the changes do. If
    /// the database is gone, damaged or changed by another program, and could not be written anew yet, the spill holds
    /// everything in the store. It is an [archive](crate::archive) with a digest, and only its owner has access to it.
    /// Returns what it holds: the traces and links that have changed or been removed since the database was last
    /// durable, or all if the database is lost.
    ///
    /// The next opening of the database verifies the spill, applies it in one cut, and deletes it once that is
    /// durable. A spill is applied at most once: if the database already contains it, or it reappears, it is deleted.
    /// If the database refuses one of its rows, the spill is kept instead, under a name with `.kept-` and the time,
    /// and can be imported with `mnemon import`; if a payload is too long for the store's settings, the opening fails.
    /// A spill that holds everything is applied to a new file as well. In a closed store everything is durable, and no
    /// file is written.
    ///
    /// ```no_run
    /// # fn end(store: mnemon::TraceStore) -> mnemon::Result<()> {
    /// if let Err(failed) = store.close() {
    ///     failed.store.spill()?; // nothing is lost, though the database could not be written
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a store without a file or a space; [`DiskFull`](ErrorKind::DiskFull),
    /// [`Unreachable`](ErrorKind::Unreachable) or [`Io`](ErrorKind::Io) if the spill can't be written: an earlier one
    /// stays.
    pub fn spill(&self) -> Result<ArchiveInfo> {
        let Some(home) = &self.inner().home else {
            return Err(Error::invalid("store", "in memory", "spill one that has a file or a space"));
        };
        let (path, taken_at) = (home.spill.clone(), self.inner().now().into());
        let shown = self.ask(CutTask::Spill)?.map(|shown| Spill { boot: home.boot, ..shown });
        if let Some(spill) = &shown {
            spill.write(&path, taken_at)?;
        }
        let (watermark, traces, links) = shown.map_or((self.watermark().durable, 0, 0), |spill| {
            (spill.cut, spill.traces.len() as u64, spill.links.len() as u64)
        });
        Ok(ArchiveInfo { path, taken_at, watermark, traces, links, error: None })
    }

    /// Applies the spill of an earlier opening, in a cut after that of the spill, and deletes it once that is durable;
    /// if the database did not take every row, it is quarantined.
    fn apply_spill(&self, path: &Path, spill: Spill) -> Result<()> {
        guarded::run(|| {
            tracing::info!(path = %path.display(), traces = spill.traces.len(), "applying a spill");
        });
        let before = self.stats().quarantined;
        let generation = self.inner().apply(spill)?;
        self.flush_up_to(generation)?;
        let refused = self.stats().quarantined.iter().filter(|row| !before.contains(row)).count();
        if refused == 0 { delete(path) } else { quarantine(path, refused) }
    }
}

/// Returns what writes the spill of a store that another owner has taken over, with the path that it writes to.
pub(super) fn writer(home: Home, clock: WallClock) -> SpillWriter {
    Box::new(move |spill| {
        let spill = Spill { boot: home.boot, ..spill };
        spill.write(&home.spill, clock.now().into()).map(|()| home.spill.clone())
    })
}

/// Returns the spill that an earlier opening left, unless the database already contains it.
///
/// The first commit after the opening applies the spill, and its cut is later than that of the spill: a file at the
/// cut of the spill, or beyond, therefore already contains it, whenever the power failed. Newer data in the file
/// stays.
fn left(path: &Path, boot: Uuid, stored: &Stored, longest_payload: usize) -> Result<Option<Spill>> {
    if !path.exists() {
        return Ok(None);
    }
    let (spill, watermark) = (Spill::read(path)?, stored.loaded.watermark);
    if spill.boot != boot {
        let why = "belongs to another store, or another opening of it";
        return Err(refused(path, ErrorKind::NotAStore, why));
    }
    if watermark < spill.durable {
        let why = "goes on from a state that the database has lost";
        return Err(refused(path, ErrorKind::Corrupt, why));
    }
    if watermark >= spill.cut {
        // A row that can't be read may have kept one of the spill from being stored.
        let unread = |id| stored.unreadable.iter().any(|row| row.id == Some(id) && !row.is_link);
        let refused = spill.traces.iter().filter(|(id, trace)| trace.is_some() && unread(*id)).count();
        return if refused == 0 { delete(path) } else { quarantine(path, refused) }.map(|()| None);
    }
    let payloads =
        spill.traces.iter().filter_map(|(_, trace)| Some(trace.as_ref()?.payload().as_str().len()));
    match payloads.max().filter(|bytes| *bytes > longest_payload) {
        Some(bytes) => {
            let why = format!("has a payload of {bytes} bytes: set max_payload_bytes to {bytes} or more");
            Err(refused(path, ErrorKind::InvalidInput, &why))
        }
        None => Ok(Some(spill)),
    }
}

fn refused(path: &Path, kind: ErrorKind, why: &str) -> Error {
    let remedy = "move it away to open the store without what it holds";
    Error::new(kind, format!("the spill {} {why}: {remedy}", path.display()))
}

fn delete(path: &Path) -> Result<()> {
    Spill::delete(path).map_err(|error| {
        refused(path, ErrorKind::Unreachable, "is applied and can't be deleted").because(error)
    })
}

fn quarantine(path: &Path, refused: usize) -> Result<()> {
    guarded::run(|| {
        tracing::warn!(
            path = %path.display(), refused, "a spill was applied, except for refused rows: it is kept"
        );
    });
    Spill::quarantine(path).map_err(|error| {
        self::refused(path, ErrorKind::Unreachable, "is applied in part and can't be renamed").because(error)
    })
}

impl Stored {
    /// Starts the store and applies the spill of an earlier opening, if there is one, before anything else is written.
    #[cfg(feature = "sqlite")]
    pub(super) fn start_with_spill(
        self,
        settings: Settings,
        options: FlushOptions,
        backend: impl Backend,
    ) -> Result<TraceStore> {
        let spill = self.left_spill()?;
        self.start_applying(spill, settings, options, backend)
    }

    /// Returns the spill of an earlier opening, with its path, unless there is none or the database contains it.
    pub(super) fn left_spill(&self) -> Result<Option<(PathBuf, Spill)>> {
        let Some(home) = &self.home else { return Ok(None) };
        let Some((path, boot)) = &home.left else { return Ok(None) };
        let spill = left(path, *boot, self, home.longest_payload)?;
        Ok(spill.map(|spill| (path.clone(), spill)))
    }

    /// Starts the store and applies this spill, from this path, before anything else is written.
    pub(super) fn start_applying(
        mut self,
        spill: Option<(PathBuf, Spill)>,
        settings: Settings,
        options: FlushOptions,
        backend: impl Backend,
    ) -> Result<TraceStore> {
        self.taken = spill.as_ref().map_or(0, |(_, spill)| spill.cut).max(self.taken);
        let (store, no_flusher) = self.start(settings, options, backend);
        no_flusher.map_or(Ok(()), Err)?;
        if let Some((path, spill)) = spill {
            store.apply_spill(&path, spill)?;
        }
        Ok(store)
    }
}

impl Inner {
    /// Applies the whole spill in one cut; returns its generation.
    fn apply(&self, spill: Spill) -> Result<u64> {
        let block = self.state.generations.block_cuts();
        if spill.is_whole() {
            self.remove_all_but(&spill)?;
        }
        for scope in spill.erased {
            self.erase_while_blocked(scope, &block)?;
        }
        for (id, trace) in spill.traces {
            match trace {
                Some(trace) => self.go_on_as(&trace)?,
                None => drop(self.update(id, |_| Ok(Change::Remove))?),
            }
        }
        for (ends, link) in spill.links {
            match (link, self.births(ends, None)) {
                (Some(link), Ok(births)) => self.put_link(link, births)?,
                _ => self.remove_link(&ends)?,
            }
        }
        self.count_embeddings();
        Ok(self.state.generations.enter().number())
    }

    /// What the spill does not name is gone.
    fn remove_all_but(&self, spill: &Spill) -> Result<()> {
        let traces: HashSet<_> = spill.traces.iter().map(|(id, _)| *id).collect();
        let links: HashSet<_> = spill.links.iter().map(|(ends, _)| *ends).collect();
        for ends in self.links().keys().iter().filter(|ends| !links.contains(ends)) {
            self.remove_link(ends)?;
        }
        for id in self.traces().keys().into_iter().filter(|id| !traces.contains(id)) {
            self.update(id, |_| Ok(Change::Remove))?;
        }
        Ok(())
    }

    fn remove_link(&self, ends: &LinkKey) -> Result<()> {
        let gone = self.links().update(&self.state.generations, ends, |_| Ok::<_, Error>(Change::Remove));
        gone.map(drop).map_err(reason)
    }

    /// Stores a trace as a later state of the one with its id, or as a new one. The links of the trace stay: the spill
    /// lists those that have changed or been removed.
    fn go_on_as(&self, trace: &Arc<Trace>) -> Result<()> {
        let put = self.traces().upsert(&self.state.generations, &trace.id(), |old| {
            Ok::<_, Error>(Change::put(match old {
                Some(old) => trace.continuing(old),
                None => Trace::clone(trace),
            }))
        });
        let put = put.map_err(reason)?;
        self.counting().done(put.old.as_deref(), put.new.as_deref());
        Ok(())
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use crate::error::ErrorKind;
    use crate::store::TraceStore;
    use crate::trace::{NewTrace, Payload};
    use std::time::Duration;

    /// What a store takes in any case is 64 KiB in these tests.
    #[test]
    fn spill_with_too_long_payload_stays() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("memory.db");
        let spill = folder.path().join("memory.db.spill");
        let builder = || TraceStore::builder().flush_interval(Duration::MAX).flush_threshold(usize::MAX);
        let store = builder().max_payload_bytes(100 << 10).open(&path)?;
        let lock = rusqlite::Connection::open(&path)?;
        lock.execute_batch("BEGIN IMMEDIATE")?;
        let id = store.insert(NewTrace::semantic(Payload::text(&"a".repeat(70 << 10))))?;
        store.spill()?;
        let spilled = std::fs::read(&spill)?;
        // As after a crash: the WAL goes along, and the lock does not.
        let copy = folder.path().join("copy.db");
        for suffix in ["", "-wal", ".spill"] {
            let name = |path: &std::path::Path| format!("{}{suffix}", path.display());
            std::fs::copy(name(&path), name(&copy))?;
        }
        lock.execute_batch("ROLLBACK")?;
        let error = builder().max_payload_bytes(10 << 10).open(&copy).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(
            error.to_string().contains("of 71682 bytes: set max_payload_bytes to 71682 or more"),
            "{error}"
        );
        assert_eq!(std::fs::read(folder.path().join("copy.db.spill"))?, spilled);
        assert!(builder().max_payload_bytes(71_682).open(&copy)?.contains(id));
        Ok(())
    }
}
