//! Spilling: what can't be written into the file is put beside it, and applied when it is opened again.

use super::TraceStore;
use super::engine::{Engine, reason};
use super::load::Stored;
use super::open::Settings;
use crate::backend::{Backend, sqlite};
use crate::core::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::flusher::{Errand, FlushOptions};
use crate::guarded;
use crate::snapshot::Spill;
use crate::trace::Trace;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// What a spill holds; from [`TraceStore::spill`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SpillReport {
    /// The file.
    pub path: PathBuf,
    /// Traces that have changed or are gone since the database was last durable; all, if it can't be counted on.
    pub traces: usize,
    /// Links of which the same is true.
    pub links: usize,
}

impl TraceStore {
    /// Writes what is not known to be durable into a file beside the database (its path with `.spill`), for a host
    /// that has to end though its store can't be closed, as when the disk is full: it takes as much room as the
    /// changes do. Where the database is gone, damaged or changed by somebody else, and could not be written anew yet, it
    /// is everything that the store holds. The file has a SHA-512 digest and belongs to its owner alone.
    ///
    /// The next open of the database verifies and applies it, in one cut, and deletes it when that is durable. It is
    /// applied at most once: one that the database has caught up with, or that comes back, is deleted. One that holds
    /// everything is applied to a new file as well. Of a closed store
    /// everything is durable, and no file is made.
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
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a store without a file; [`DiskFull`](ErrorKind::DiskFull),
    /// [`Unreachable`](ErrorKind::Unreachable) or [`Io`](ErrorKind::Io) if it can't be written: an earlier one stays.
    pub fn spill(&self) -> Result<SpillReport> {
        let Some((path, boot)) = &self.engine().home else {
            return Err(Error::invalid("store", "in memory", "spill one that has a file"));
        };
        let path = sqlite::spill(path);
        let Some(shown) = self.ask(Errand::Spill)? else {
            return Ok(SpillReport { path, traces: 0, links: 0 });
        };
        let spill = Spill { boot: *boot, ..shown };
        spill.write(&path)?;
        Ok(SpillReport { path, traces: spill.traces.len(), links: spill.links.len() })
    }

    /// Applies what an earlier opening has spilled, in a cut after the spill's own, and deletes it when that is
    /// durable.
    fn apply_spill(&self, path: &Path, spill: Spill) -> Result<()> {
        guarded::run(|| {
            tracing::info!(path = %path.display(), traces = spill.traces.len(), "applying a spill");
        });
        let generation = self.engine().apply(spill)?;
        self.flush_up_to(generation)?;
        delete(path)
    }
}

/// What an earlier opening of this file has spilled and the file, which is at `watermark`, lacks.
///
/// The first commit after the opening applies it, and is of a later cut than the spill's: so a file that is at the
/// spill's cut, or beyond, has it already, whenever the power failed. Whatever is newer in the file stays.
fn left(path: &Path, boot: Uuid, watermark: u64) -> Result<Option<Spill>> {
    if !path.exists() {
        return Ok(None);
    }
    let spill = Spill::read(path)?;
    if spill.boot != boot {
        return Err(refused(
            path,
            ErrorKind::NotAStore,
            "belongs to another store, or another opening of it",
        ));
    }
    if watermark < spill.durable {
        return Err(refused(path, ErrorKind::Corrupt, "goes on from a state that the database has lost"));
    }
    if watermark >= spill.cut {
        return delete(path).map(|()| None);
    }
    Ok(Some(spill))
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

impl Stored {
    /// The store, with what an earlier opening could not write, and has spilled. Nothing else is written before that.
    pub(super) fn start_with_spill(
        mut self,
        settings: Settings,
        options: FlushOptions,
        backend: impl Backend,
    ) -> Result<TraceStore> {
        let home = self.home.as_ref().map(|(path, boot)| (sqlite::spill(path), *boot));
        let spill = match &home {
            Some((path, boot)) => left(path, *boot, self.loaded.watermark)?.map(|spill| (path, spill)),
            None => None,
        };
        self.taken = spill.as_ref().map_or(0, |(_, spill)| spill.cut);
        let (store, no_flusher) = self.start(settings, options, backend);
        no_flusher.map_or(Ok(()), Err)?;
        if let Some((path, spill)) = spill {
            store.apply_spill(path, spill)?;
        }
        Ok(store)
    }
}

impl Engine {
    /// All in one cut; answers which.
    fn apply(&self, spill: Spill) -> Result<u64> {
        let hold = self.shared.clock.hold();
        if spill.is_whole() {
            self.remove_all_but(&spill)?;
        }
        for scope in spill.erased {
            self.erase_while_held(scope, &hold)?;
        }
        for (id, trace) in spill.traces {
            match trace {
                Some(trace) => self.go_on_as(&trace)?,
                None => drop(self.alter(id, |_| Ok(Change::Remove))?),
            }
        }
        for (ends, link) in spill.links {
            match (link, self.births(ends)) {
                (Some(link), Ok(births)) => self.put_link(link, births)?,
                _ => {
                    if let Some(entry) = self.links().entry(&ends) {
                        self.links()
                            .alter_entry::<_, Error>(&self.shared.clock, &entry, |_| Ok(Change::Remove))
                            .map_err(reason)?;
                    }
                }
            }
        }
        Ok(self.shared.clock.enter().number())
    }

    /// What the spill does not name is gone.
    fn remove_all_but(&self, spill: &Spill) -> Result<()> {
        let traces: HashSet<_> = spill.traces.iter().map(|(id, _)| *id).collect();
        let links: HashSet<_> = spill.links.iter().map(|(ends, _)| *ends).collect();
        let clock = &self.shared.clock;
        for entry in self.links().entries().iter().filter(|entry| !links.contains(entry.key())) {
            self.links().alter_entry::<_, Error>(clock, entry, |_| Ok(Change::Remove)).map_err(reason)?;
        }
        for entry in self.traces().entries().iter().filter(|entry| !traces.contains(entry.key())) {
            self.alter_entry(entry, |_| Ok(Change::Remove))?;
        }
        Ok(())
    }

    /// A later state of the trace of this id, or a new one. Its links stay: of those that have changed, or are gone,
    /// the spill says so.
    fn go_on_as(&self, trace: &Arc<Trace>) -> Result<()> {
        let put = self.traces().upsert(&self.shared.clock, &trace.id(), |old| {
            Ok::<_, Error>(Change::Put(match old {
                Some(old) => Arc::new(trace.continuing(old)),
                None => trace.clone(),
            }))
        });
        put.map(drop).map_err(reason)
    }
}
