//! Making certain what an earlier connection has left in the log.
//!
//! A sync that failed may have marked as clean what is not on the disk: a later one succeeds, and proves nothing.
//! And the log is a chain: should a power loss show a gap in it, all after the gap is lost, however well synced;
//! had the log been moved into the database file meanwhile, only half of it, both are. So whoever finds a log,
//! after a failure of his own or of a process before, writes it once more, byte for byte, before he builds on it.

use super::error::while_doing;
use super::file_identity::{hint, log_of, unreachable_file};
use crate::backend::BackendError;
use crate::error::{ErrorKind, is_no_room};
use rusqlite::Connection;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Writes the log that is there anew, and syncs it. Costs in proportion to it; after a clean end there is none.
pub(super) fn make_certain(connection: &Connection, path: &Path) -> Result<(), BackendError> {
    let log = log_of(path);
    // SQLite locks the file and the log's index, never the log: closing a descriptor of it gives up no lock.
    let mut file = match OpenOptions::new().read(true).write(true).open(&log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreachable_file(&log, error)),
    };
    // Nobody else may write to it or begin it anew meanwhile; readers read the same bytes as before.
    let doing = |error| while_doing("opening", path, error);
    connection.execute_batch("BEGIN IMMEDIATE").map_err(doing)?;
    let written = rewrite(&mut file);
    connection.execute_batch("ROLLBACK").map_err(doing)?;
    written.map_err(|error| {
        let kind = if is_no_room(&error) { ErrorKind::DiskFull } else { ErrorKind::Io };
        let failure =
            BackendError::new(kind, format!("writing the log of {} once more failed", path.display()));
        failure.with_hint(hint(&error)).because(error)
    })
}

fn rewrite(file: &mut File) -> io::Result<()> {
    let mut chunk = vec![0; 1 << 18];
    let mut at = 0;
    loop {
        file.seek(SeekFrom::Start(at))?;
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return if at > 0 { file.sync_all() } else { Ok(()) };
        }
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&chunk[..read])?;
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::make_certain;
    use crate::error::{Error, ErrorKind};
    use rusqlite::Connection;

    #[test]
    fn log_that_cannot_be_opened_is_an_error() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("memory.db");
        let connection = Connection::open(&path)?;
        make_certain(&connection, &path).map_err(Error::from)?;
        std::fs::create_dir(super::log_of(&path))?;
        let error = make_certain(&connection, &path).err().map(Error::from);
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Unreachable));
        Ok(())
    }
}
