//! Compacting: giving back to the file system the pages that nothing uses.
//!
//! A file is made with `auto_vacuum=INCREMENTAL`. SQLite then keeps a map of each page's parent, one page for each 819,
//! so that it can move the last page of the file into a free one and cut the file off behind it, page by page. A step
//! of that is a transaction like any other: it is in the log before it is in the file, and a power loss leaves the file
//! at some cut. The file itself shrinks when the log is moved into it.
//!
//! The map can't be added to a file that was made without it: that takes one VACUUM, which writes the whole file anew,
//! also as one transaction in the log.

use super::apply::commit;
use super::engine::changed_by_another;
use super::error::while_doing;
use super::file::Attached;
use super::{Sqlite, file_identity, schema};
use crate::Durability;
use crate::backend::{Backend, BackendError, Space};
use rusqlite::Connection;
use std::time::{Duration, Instant};

/// How long a step moves pages, at least one. A flush may have to wait for it, for its commit, and for the
/// checkpoint after it.
const STEP: Duration = Duration::from_millis(5);

/// Makes the file one that can be compacted step by step; an empty file at once, any other by writing it anew.
/// SQLite holds what it writes in memory meanwhile.
pub(super) fn make_compactable(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM;")
}

impl Sqlite {
    /// As [`Backend::space`](crate::backend::Backend::space).
    pub(super) fn measure(&mut self) -> Result<Space, BackendError> {
        let path = self.path.clone();
        let connection = &self.attached()?.connection;
        let measured = free_pages(connection).and_then(|pages| Ok(pages * pragma(connection, "page_size")?));
        let free_bytes = measured.map_err(|error| while_doing("reading", &path, error))?;
        let file = path.metadata().map_err(|error| file_identity::unreachable_file(&path, error))?;
        Ok(Space { bytes: file.len() + file_identity::wal_bytes(&path), free_bytes })
    }

    /// As [`Backend::compact`](crate::backend::Backend::compact); any error leaves no transaction open, or no
    /// connection.
    pub(super) fn compact_step(&mut self, asked: bool) -> Result<bool, BackendError> {
        let path = self.path.clone();
        self.check()?;
        if !self.is_untouched()? {
            return Err(changed_by_another(&path));
        }
        let _writing = self.begin_writing()?;
        let attached = self.attached()?;
        let doing = |error| while_doing("compacting", &path, error);
        // No content depends on it: a power loss may take steps back, and no more.
        attached.set_durability(Durability::Committed).map_err(doing)?;
        let outcome = attached.compact(asked).map_err(doing);
        if outcome.is_err() {
            self.roll_back();
        }
        self.last_write.note_log(&path);
        self.compacted |= matches!(outcome, Ok(false));
        outcome
    }
}

impl Attached {
    fn compact(&self, asked: bool) -> rusqlite::Result<bool> {
        match pragma(&self.connection, "auto_vacuum")? {
            0 if asked => {
                self.is_ours()?;
                make_compactable(&self.connection).map(|()| false)
            }
            0 => Ok(false),
            _ => self.move_pages(),
        }
    }

    /// Returns whether there is more to do.
    fn move_pages(&self) -> rusqlite::Result<bool> {
        let connection = &self.connection;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        self.is_ours()?;
        let started = Instant::now();
        let mut moving = connection.prepare("PRAGMA incremental_vacuum")?;
        let mut pages = moving.query([])?;
        // It stops after each page, and goes on when it is asked for the next row.
        while pages.next()?.is_some() && started.elapsed() < STEP {}
        drop(pages);
        commit(connection)?;
        Ok(free_pages(connection)? > 0)
    }

    /// Fails if another owner has signed the file since.
    fn is_ours(&self) -> rusqlite::Result<()> {
        match schema::read_store(&self.connection)? {
            (_, boot, _) if boot == Some(self.boot) => Ok(()),
            _ => Err(rusqlite::Error::StatementChangedRows(0)),
        }
    }
}

fn free_pages(connection: &Connection) -> rusqlite::Result<u64> {
    pragma(connection, "freelist_count")
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::{free_pages, pragma};
    use crate::Durability::Durable;
    use crate::backend::sqlite::{Claim, Sqlite};
    use crate::backend::{Backend, Batch};
    use crate::clock::new_uuid;
    use crate::error::ErrorKind;

    type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

    /// A new file with pages that nothing uses, made for compaction or not.
    fn with_free_pages(made_for_it: bool) -> Outcome<(tempfile::TempDir, Sqlite)> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("memory.db");
        let prepare = |sql| rusqlite::Connection::open(&path)?.execute_batch(sql);
        Sqlite::open(&path, 1 << 20, None, Claim::default())?.close(0)?;
        if !made_for_it {
            prepare("PRAGMA auto_vacuum = NONE; VACUUM;")?;
        }
        prepare(
            "CREATE TABLE filler (a); INSERT INTO filler VALUES (zeroblob(1000000)); DROP TABLE filler;",
        )?;
        let mut sqlite = Sqlite::open(&path, 1 << 20, None, Claim::default())?;
        sqlite.apply(&Batch::new(5, Durable))?;
        assert!(free_pages(&sqlite.attached()?.connection)? > 200);
        Ok((folder, sqlite))
    }

    #[test]
    fn no_other_owners_file_is_compacted() -> Outcome {
        for made_for_it in [false, true] {
            let (_folder, mut sqlite) = with_free_pages(made_for_it)?;
            let boot = std::mem::replace(&mut sqlite.attached()?.boot, new_uuid());
            let refused = sqlite.compact(true).map_err(|error| error.kind());
            assert_eq!(refused, Err(ErrorKind::NotAStore), "{made_for_it}");
            let attached = sqlite.attached()?;
            attached.boot = boot;
            assert!(attached.connection.is_autocommit() && free_pages(&attached.connection)? > 200);
            while sqlite.compact(true)? {}
            assert_eq!(free_pages(&sqlite.attached()?.connection)?, 0);
        }
        Ok(())
    }

    /// That takes a VACUUM, which holds everything up: for who asks for it.
    #[test]
    fn unasked_no_file_is_written_anew() -> Outcome {
        let (_folder, mut sqlite) = with_free_pages(false)?;
        assert!(!sqlite.compact(false)?);
        let connection = &sqlite.attached()?.connection;
        assert!(pragma(connection, "auto_vacuum")? == 0 && free_pages(connection)? > 200);
        Ok(())
    }
}
