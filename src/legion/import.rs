//! Imports rows of the original as traces and links.

use super::reading::Reading;
use super::{ASSOCIATIONS, Report, TRACES, finding};
use crate::backend::sqlite::{Finding, look_at, resolved, while_doing};
use crate::error::{Error, ErrorKind, Result};
use crate::store::TraceStore;
use crate::trace::{Link, NewTrace};
use std::path::Path;

/// The content of a database of the original. Returned by [`read`].
#[derive(Debug)]
#[must_use = "nothing is stored until it is told to"]
pub struct Original {
    /// Each trace with the row that it was read from, as are the links.
    pub(super) traces: Vec<(i64, NewTrace)>,
    pub(super) links: Vec<(i64, Link)>,
    pub(super) findings: Vec<Finding>,
}

/// Reads a database of the original, as of one moment, and changes nothing. Needs memory for one copy of the
/// whole content.
///
/// A cell that can't be used leaves its field at its default, and a row without a usable id, type or content is left
/// out: [`Original::findings`] lists both, and the rest is read. Text that is not a JSON object is text, as in the
/// original. Strengths are taken as stored. The original stores a pair in both directions: the larger count is used.
/// The first time of a link is the creation of its younger trace, and its last time the last reinforcement of either
/// trace.
///
/// # Errors
///
/// [`NotAStore`](ErrorKind::NotAStore) if the database has no table of traces;
/// [`Unreachable`](ErrorKind::Unreachable), [`Corrupt`](ErrorKind::Corrupt) and similar kinds, which say what is
/// wrong with the file.
pub fn read(path: impl AsRef<Path>) -> Result<Original> {
    let path = path.as_ref();
    let doing = |error| Error::from(while_doing("reading", path, error));
    let mut connection = look_at(&resolved(path)?).map_err(doing)?;
    let snapshot = connection.transaction().map_err(doing)?;
    let mut reading = Reading::default();
    let tables = reading
        .traces(&snapshot)
        .and_then(|there| if there { reading.associations(&snapshot).map(|()| true) } else { Ok(false) });
    if tables.map_err(doing)? {
        Ok(reading.done())
    } else {
        let message = format!(
            "{} has no table {TRACES} with ids, types and content: give a database of the original system",
            path.display()
        );
        Err(Error::new(ErrorKind::NotAStore, message))
    }
}

impl Original {
    /// Number of traces that were read.
    pub fn traces(&self) -> usize {
        self.traces.len()
    }

    /// Number of links that were read: pairs, whatever their direction.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Cells and rows that could not be read, or only in part.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Stores the traces that the store does not hold, and the links that it lacks or has with a smaller count:
    /// storing the same database again changes nothing. A row without a partition gets the store's.
    ///
    /// # Errors
    ///
    /// The errors of [`insert`](TraceStore::insert), except that a trace that the store can't accept, such as one
    /// that is too long, becomes a finding. Whatever was stored before an error stays stored.
    pub fn store_in(self, store: &TraceStore) -> Result<Report> {
        let mut imported = Report { findings: self.findings, ..Report::default() };
        for (row, new) in self.traces {
            match store.insert(new) {
                Ok(_) => imported.traces += 1,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => imported.traces_known += 1,
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    let reason = format!("left out: {error}");
                    imported.findings.push(finding(TRACES, row, "trace_id", reason));
                }
                Err(error) => return Err(error),
            }
        }
        for (row, link) in self.links {
            let (a, b) = link.ends();
            if store.link(a, b).is_some_and(|there| there.count() >= link.count()) {
                imported.links_known += 1;
                continue;
            }
            match store.put_link(link) {
                Ok(()) => imported.links += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let reason = format!("left out: {error}");
                    imported.findings.push(finding(ASSOCIATIONS, row, "trace_id_a", reason));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(imported)
    }
}
