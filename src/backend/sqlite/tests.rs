//! The backend call by call, where a store would have to be stopped at one moment.

use super::{Claim, Sqlite};
use crate::Durability;
use crate::backend::{Backend, Batch, Reopened, Scope};
use crate::clock::new_uuid;
use crate::error::ErrorKind;
use crate::trace::TraceType;
use rusqlite::config::DbConfig;
use std::fs;
use std::path::PathBuf;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A new file at cut 5, and its folder.
fn at_cut_5() -> Outcome<(tempfile::TempDir, PathBuf, Sqlite)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("memory.db");
    let mut sqlite = open(&path)?;
    sqlite.apply(&Batch::new(5, Durability::Durable))?;
    Ok((folder, path, sqlite))
}

fn open(path: &std::path::Path) -> Result<Sqlite, crate::backend::BackendError> {
    Sqlite::open(path, 1 << 20, None, Claim::default())
}

/// Its close may have come too late: then the store goes on with it.
#[test]
fn a_closed_file_is_owned_until_its_backend_is_dropped() -> Outcome {
    let (_folder, path, mut sqlite) = at_cut_5()?;
    sqlite.close(5)?;
    assert_eq!(open(&path).err().map(|error| error.kind()), Some(ErrorKind::InUse));
    sqlite.reopen()?;
    sqlite.apply(&Batch::new(6, Durability::Durable))?;
    sqlite.close(6)?;
    drop(sqlite);
    let again = open(&path)?;
    assert_eq!(again.committed, 6);
    Ok(())
}

/// A commit that need not last is not synced.
#[test]
fn each_batch_is_as_durable_as_asked() -> Outcome {
    let (_folder, _path, mut sqlite) = at_cut_5()?;
    for (cut, durability, synchronous) in
        [(6, Durability::Committed, 1), (7, Durability::Durable, 2), (8, Durability::Committed, 1)]
    {
        sqlite.apply(&Batch::new(cut, durability))?;
        let connection = &sqlite.attached()?.connection;
        let now = connection.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?;
        assert_eq!(now, synchronous, "cut {cut}");
    }
    Ok(())
}

#[test]
fn what_a_reader_would_not_find_is_damage() -> Outcome {
    let (folder, path, mut sqlite) = at_cut_5()?;
    let boot = sqlite.boot;
    sqlite.close(5)?;
    drop(sqlite);
    let confirm = |path: &std::path::Path, cut| {
        super::look::confirm(path, boot, cut..=cut).map_err(|error| error.kind())
    };
    assert_eq!((confirm(&path, 5), confirm(&path, 6)), (Ok(()), Err(ErrorKind::Corrupt)));
    // Nobody can look there: nothing is said of the file.
    assert_eq!(confirm(&folder.path().join("elsewhere/memory.db"), 5), Ok(()));
    let mut bytes = fs::read(&path)?;
    bytes[..64].fill(0x6d);
    fs::write(&path, bytes)?;
    assert_eq!(confirm(&path, 5), Err(ErrorKind::Corrupt));
    Ok(())
}

/// A reopening that failed halfway has told nobody what it had found.
#[test]
fn what_a_reopening_found_is_told_by_the_next() -> Outcome {
    let (_folder, path, mut sqlite) = at_cut_5()?;
    assert_eq!(sqlite.reopen()?, Reopened::Same);
    rusqlite::Connection::open(&path)?.execute_batch("CREATE TABLE of_another (n)")?;
    sqlite.changed = true;
    assert_eq!(sqlite.reopen()?, Reopened::Changed);
    sqlite.apply(&Batch::new(6, Durability::Durable))?;
    sqlite.unfilled = true;
    assert_eq!(sqlite.reopen()?, Reopened::Same, "it was filled since");
    let folder = tempfile::tempdir()?;
    let mut new = open(&folder.path().join("memory.db"))?;
    assert_eq!(new.reopen()?, Reopened::Same, "it is at cut 0, and signed");
    Ok(())
}

/// Whatever else went wrong than the row may have undone what the rows before have changed.
#[test]
fn a_row_is_refused_only_for_what_it_is() -> Outcome {
    use rusqlite::{Connection, ffi};
    let failure = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
    let connection = Connection::open_in_memory()?;
    let refused = |code: i32| {
        let each = super::apply::each(&connection, [false, true, false].iter(), |fails| match fails {
            true => Err(failure(code)),
            false => Ok(()),
        });
        each.map(|refused| refused.into_iter().map(|(at, _)| at).collect::<Vec<_>>()).ok()
    };
    connection.execute_batch("BEGIN")?;
    assert_eq!(refused(ffi::SQLITE_CONSTRAINT), Some(vec![1]));
    for code in [ffi::SQLITE_IOERR, ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_CORRUPT] {
        assert_eq!(refused(code), None);
    }
    connection.execute_batch("ROLLBACK")?;
    assert_eq!(refused(ffi::SQLITE_CONSTRAINT), None, "nothing is committed row by row");
    Ok(())
}

/// Foreign content is damage while the path names the store's own file, and another file's content otherwise.
#[test]
fn foreign_content_in_ones_own_file_is_damage() -> Outcome {
    use crate::backend::BackendError;
    let (folder, path, sqlite) = at_cut_5()?;
    let damaged = |kind| sqlite.damaged(BackendError::new(kind, "of the test")).kind();
    for (kind, expected) in [
        (ErrorKind::NotAStore, ErrorKind::Corrupt),
        (ErrorKind::NewerSchema, ErrorKind::Corrupt),
        (ErrorKind::Busy, ErrorKind::Busy),
        (ErrorKind::Io, ErrorKind::Io),
    ] {
        assert_eq!(damaged(kind), expected);
    }
    let other = folder.path().join("other.db");
    fs::write(&other, "another file")?;
    fs::rename(other, &path)?;
    assert_eq!(damaged(ErrorKind::NotAStore), ErrorKind::NotAStore);
    Ok(())
}

/// A failure that may have been a sync's proves nothing of the disk: the connection is given up.
#[test]
fn only_harmless_failures_leave_the_connection() -> Outcome {
    let (_folder, _path, mut sqlite) = at_cut_5()?;
    for kind in [ErrorKind::Busy, ErrorKind::DiskFull, ErrorKind::OutOfMemory] {
        sqlite.give_up_after(&crate::backend::BackendError::new(kind, "of the test"));
        assert!(sqlite.attached.is_some(), "{kind:?}");
    }
    for kind in [ErrorKind::Io, ErrorKind::Corrupt, ErrorKind::Unreachable] {
        sqlite.give_up_after(&crate::backend::BackendError::new(kind, "of the test"));
        assert!(sqlite.attached.is_none(), "{kind:?}");
        sqlite.reopen()?;
    }
    Ok(())
}

#[test]
fn what_another_owner_wrote_while_the_file_was_not_locked_is_not_quarantined() -> Outcome {
    let (folder, path, mut sqlite) = at_cut_5()?;
    sqlite.detach();
    sqlite.lock = None;
    let mut other = open(&path)?;
    other.apply(&Batch::new(9, Durability::Durable))?;
    other.close(9)?;
    drop(other);
    // Also once it has the lock again.
    for _ in 0..3 {
        let found = sqlite.reopen().map_err(|error| error.kind());
        assert_eq!(found, Err(ErrorKind::NotAStore));
    }
    drop(sqlite);
    assert_eq!(open(&path)?.committed, 9);
    let mut names = fs::read_dir(folder.path())?.flatten().map(|file| file.file_name());
    assert!(!names.any(|name| name.to_string_lossy().contains("damaged")), "nothing was quarantined");
    Ok(())
}

/// Whoever was told so may have panicked before it acted on that.
#[test]
fn that_a_new_file_is_empty_is_said_until_it_is_not() -> Outcome {
    let (_folder, path, mut sqlite) = at_cut_5()?;
    assert_eq!(sqlite.reopen()?, Reopened::Same);
    sqlite.replace()?;
    for _ in 0..2 {
        assert_eq!(sqlite.reopen()?, Reopened::Empty);
    }
    sqlite.apply(&Batch::new(6, Durability::Durable))?;
    assert_eq!(sqlite.reopen()?, Reopened::Same);
    // Gone altogether.
    fs::remove_file(&path)?;
    for _ in 0..2 {
        assert_eq!(sqlite.reopen()?, Reopened::Empty);
    }
    Ok(())
}

#[test]
fn what_is_changed_while_there_is_no_connection_is_noticed() -> Outcome {
    let (_folder, path, mut sqlite) = at_cut_5()?;
    sqlite.detach();
    assert!(sqlite.is_untouched()?);
    assert_eq!(sqlite.reopen()?, Reopened::Same);
    sqlite.detach();
    let other = rusqlite::Connection::open(&path)?;
    other.execute("UPDATE store SET clean = 1", [])?;
    assert!(!sqlite.is_untouched()?);
    assert_eq!(sqlite.reopen()?, Reopened::Changed);
    Ok(())
}

#[test]
fn damage_that_is_found_after_an_erasure_fails_it() -> Outcome {
    let (_folder, _path, mut sqlite) = at_cut_5()?;
    let erased = [Scope::Type(TraceType::Sensory)];
    sqlite.apply(&Batch::new(6, Durability::Durable).erased(&erased))?;
    // What is there is not what it expects.
    sqlite.boot = new_uuid();
    let applied = sqlite.apply(&Batch::new(7, Durability::Durable).erased(&erased));
    assert_eq!(applied.err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
    Ok(())
}

/// Nor removed: what is only in the log is not lost with the damaged file.
#[test]
fn a_log_is_not_moved_into_a_file_that_a_close_finds_damaged() -> Outcome {
    let (_folder, _path, mut sqlite) = at_cut_5()?;
    let boot = std::mem::replace(&mut sqlite.boot, new_uuid());
    assert_eq!(sqlite.close(5).err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
    let flag = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    assert!(sqlite.attached()?.connection.db_config(flag)?);
    sqlite.boot = boot;
    Ok(sqlite.close(5)?)
}
