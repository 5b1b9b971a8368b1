//! What the flusher asks of an engine, answered by a journal.

use super::journal::{Journal, check_signature};
use super::record;
use super::rows::Rows;
use mnemon::ErrorKind;
use mnemon::backend::{Applied, Backend, BackendError, Batch, Loaded, Reopened, Stored, Unreadable};
use std::fs;
use std::io;
use std::path::Path;

impl Backend for Journal {
    fn load(&mut self, into: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        let mut last_row = 0;
        for (row, record) in &self.rows.traces {
            let row = row.parse().unwrap_or(0);
            last_row = last_row.max(row);
            let id = record["id"].as_str().and_then(|id| id.parse().ok());
            let trace = record::trace(record).map_err(|wrong| Unreadable { id, reason: wrong.to_string() });
            into(Stored::Trace { row, trace });
        }
        for (ends, record) in &self.rows.links {
            let id = ends.split(' ').next().and_then(|id| id.parse().ok());
            let link = record::link(record).map_err(|wrong| Unreadable { id, reason: wrong.to_string() });
            into(Stored::Link(link));
        }
        Ok(Loaded::new(self.rows.watermark, last_row))
    }

    /// Durable in any case, however far the batch must reach. No row is refused: whatever is a trace fits into a line.
    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        let (changes, mut applied) = Rows::of(batch);
        if batch.erased.is_empty() {
            self.append(changes)?;
        } else {
            // Nothing of what is erased may be left in any line.
            let mut rows = self.rows.clone();
            for scope in batch.erased {
                rows.erase(scope, &mut applied)?;
            }
            rows.merge(changes);
            self.rewrite(rows)?;
        }
        Ok(applied)
    }

    /// What was synced is known; what the file holds after an error is not, so it is written anew.
    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        match fs::read(&self.path) {
            Ok(bytes) => check_signature(&self.path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&self.path, error)),
        }
        self.rewrite(self.rows.clone())?;
        Ok(Reopened::Same)
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        let names = (1..).map(|n| self.path.with_extension(format!("damaged-{n}")));
        let aside = names.into_iter().find(|name| !name.exists());
        if let Some(aside) = aside.filter(|_| self.path.exists()) {
            fs::rename(&self.path, aside).map_err(|error| failed(&self.path, error))?;
        }
        self.rewrite(Rows::default())
    }

    fn tidy(&mut self, _idle: bool) -> Result<bool, BackendError> {
        Ok(true)
    }

    /// Leaves one line for all, so that the file is no longer than what it holds.
    fn close(&mut self, watermark: u64) -> Result<(), BackendError> {
        self.rewrite(Rows { watermark, ..self.rows.clone() })
    }
}

pub fn problem(kind: ErrorKind, path: &Path, what: &str) -> BackendError {
    BackendError::new(kind, format!("{} {what}", path.display()))
}

/// The flusher acts on the kind and on nothing else.
pub fn failed(path: &Path, error: io::Error) -> BackendError {
    let (kind, what) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::DiskFull, "has no space left: make some")
        }
        io::ErrorKind::NotFound => (ErrorKind::Unreachable, "was moved or deleted: put it back"),
        io::ErrorKind::PermissionDenied => (ErrorKind::Unreachable, "can't be written: give the right to"),
        io::ErrorKind::OutOfMemory => (ErrorKind::OutOfMemory, "needs more memory than there is"),
        _ => (ErrorKind::Io, "can't be read or written: look at the disk"),
    };
    problem(kind, path, what).because(error)
}
