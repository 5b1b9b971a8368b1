//! The file: a line of JSON for each batch, appended and synced before the flusher hears of it, so that a flush costs
//! what has changed. It is written anew, under another name first, when something is erased, after an error, and when
//! the store closes.

use super::engine::{failed, problem};
use super::rows::Rows;
use mnemon::ErrorKind;
use mnemon::backend::BackendError;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The first line. What begins otherwise is not ours, and is left alone.
const SIGNATURE: &str = "{\"journal\":\"mnemon example 1\"}\n";

pub struct Journal {
    pub path: PathBuf,
    file: File,
    /// So much of the file is whole and synced. What follows is of a batch that failed, and is cut off.
    length: u64,
    /// What all lines together say. An engine proper would look it up in its file.
    pub rows: Rows,
    /// Held for as long as this lives: a journal has one owner.
    _lock: File,
}

impl Journal {
    /// Opens a journal, or makes one.
    pub fn open(path: &Path) -> Result<Self, BackendError> {
        let path = std::path::absolute(path).map_err(|error| failed(path, error))?;
        let lock = File::create(path.with_extension("lock")).map_err(|error| failed(&path, error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => problem(ErrorKind::InUse, &path, "is open already: close it there"),
            TryLockError::Error(error) => failed(&path, error),
        })?;
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| failed(&path, error))?;
        let mut journal = Self { path, file, length: 0, rows: Rows::default(), _lock: lock };
        journal.read()?;
        Ok(journal)
    }

    fn read(&mut self) -> Result<(), BackendError> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).map_err(|error| failed(&self.path, error))?;
        check_signature(&self.path, &bytes)?;
        let lines = bytes.get(SIGNATURE.len()..).unwrap_or_default();
        let mut lines = lines.split_inclusive(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            match Rows::read(line).filter(|_| line.ends_with(b"\n")) {
                Some(rows) => self.rows.merge(rows),
                // A crash has torn the last line, so nobody was told that it is durable.
                None if lines.peek().is_none() => break,
                None => return Err(problem(ErrorKind::Corrupt, &self.path, "has a damaged line: mend it")),
            }
        }
        // Whoever wrote the last line may have ended before it was synced.
        self.rewrite(self.rows.clone())
    }

    /// Adds a batch, and answers when it is durable.
    pub fn append(&mut self, rows: Rows) -> Result<(), BackendError> {
        let line = rows.line();
        self.write(line.as_bytes()).map_err(|error| failed(&self.path, error))?;
        self.length += line.len() as u64;
        self.rows.merge(rows);
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(line)?;
        self.file.sync_data()?;
        // What nobody can find is not durable: the path must still lead to this file.
        if fs::metadata(&self.path)?.len() == self.length + line.len() as u64 {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// Makes it hold these rows and nothing else, and answers when that is durable.
    pub fn rewrite(&mut self, rows: Rows) -> Result<(), BackendError> {
        let text = format!("{SIGNATURE}{}", rows.line());
        self.replace_file(text.as_bytes()).map_err(|error| failed(&self.path, error))?;
        self.rows = rows;
        Ok(())
    }

    fn replace_file(&mut self, text: &[u8]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(new, &self.path)?;
        (self.file, self.length) = (file, text.len() as u64);
        // That the name leads to it must be durable as well.
        match self.path.parent().filter(|_| cfg!(unix)) {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// An empty file is as good as one with the signature: it was being made.
pub fn check_signature(path: &Path, bytes: &[u8]) -> Result<(), BackendError> {
    if bytes.starts_with(SIGNATURE.as_bytes()) || bytes.is_empty() {
        Ok(())
    } else {
        Err(problem(ErrorKind::NotAStore, path, "is no journal of this version: give another path"))
    }
}
