//! Spilling: what can't be written into the file is put beside it, and applied when it is opened again.

use super::TraceStore;
use super::engine::{Engine, reason};
use crate::backend::sqlite;
use crate::core::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::flusher::Errand;
use crate::snapshot::Spill;
use std::fs;
use std::path::PathBuf;

/// What a spill holds; from [`TraceStore::spill`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SpillReport {
    /// The file.
    pub path: PathBuf,
    /// Traces that have changed or are gone since the database was last durable.
    pub traces: usize,
    /// Links that have.
    pub links: usize,
}

impl TraceStore {
    /// Writes what is not known to be durable into a file beside the database (its path with `.spill`), for a host
    /// that has to end though its store can't be closed, as when the disk is full: it takes as much room as the
    /// changes do. The file has a SHA-512 digest and belongs to its owner alone.
    ///
    /// The next open of the database verifies and applies it, in one cut, and deletes it when that is durable. One
    /// that the database has caught up with is deleted. Of a closed store everything is durable, and no file is made.
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

    /// Applies what an earlier opening has spilled.
    pub(super) fn apply_spill(&self) -> Result<()> {
        let Some((path, boot)) = &self.engine().home else { return Ok(()) };
        let path = sqlite::spill(path);
        if !path.exists() {
            return Ok(());
        }
        let spill = Spill::read(&path)?;
        let refused = |kind, why| {
            let remedy = "move it away to open the store without what it holds";
            Error::new(kind, format!("the spill {} {why}: {remedy}", path.display()))
        };
        let committed = self.watermark().committed;
        if spill.boot != *boot {
            return Err(refused(ErrorKind::NotAStore, "belongs to another store, or another opening of it"));
        }
        if committed < spill.durable {
            return Err(refused(ErrorKind::Corrupt, "goes on from a state that the database has lost"));
        }
        if committed < spill.cut {
            tracing::info!(path = %path.display(), traces = spill.traces.len(), "applying a spill");
            self.engine().apply(spill)?;
            self.flush()?;
        }
        fs::remove_file(&path).map_err(|error| {
            refused(ErrorKind::Unreachable, "is applied and can't be deleted").because(error)
        })
    }
}

impl Engine {
    fn apply(&self, spill: Spill) -> Result<()> {
        let block = self.shared.clock.block_cuts();
        for scope in spill.erased {
            self.erase_while_blocked(scope, &block)?;
        }
        for (id, trace) in spill.traces {
            match trace {
                Some(trace) => self.replace(&trace)?,
                None => drop(self.alter(id, |_| Ok(Change::Remove))?),
            }
        }
        for (ends, link) in spill.links {
            match (link, self.births(ends)) {
                (Some(link), Ok(births)) => self.put_link(link, births)?,
                _ => {
                    let gone =
                        self.links().alter(&self.shared.clock, &ends, |_| Ok::<_, Error>(Change::Remove));
                    gone.map_err(reason)?;
                }
            }
        }
        Ok(())
    }
}
