//! A detached store begins with what a file holds, as of one moment, and has nothing to do with it from then on.
#![cfg(feature = "sqlite")]

use harness::{Outcome, TestDir, by_id, manual_flush, note};
use mnemon::{ErrorKind, TraceId, TraceStore};
use rusqlite::Connection;
use std::fs;

#[test]
fn detached_holds_flushed_and_changes_nothing() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let ids = store.insert_many((0..200).map(note))?;
    for pair in ids.windows(2) {
        store.co_activate(pair[0], pair[1])?;
    }
    store.flush()?;
    let late = store.insert(note("not flushed"))?;

    let copy = TraceStore::builder().detached(file.path())?;
    assert_eq!((copy.len(), copy.link_count(), copy.contains(late)), (200, 199, false));
    for &id in &ids {
        assert_eq!(copy.get(id), store.get(id));
        assert_eq!(copy.links(id), store.links(id));
    }
    let before = by_id(&copy);
    copy.remove(ids[0])?;
    copy.update(ids[1], |trace| trace.confidence(0.1))?;
    copy.insert(note("of the copy"))?;
    copy.flush()?;
    copy.close()?;
    assert_eq!(by_id(&TraceStore::builder().detached(file.path())?), before);
    assert_eq!(store.len(), 201);
    store.close()?;
    Ok(())
}

#[test]
fn detached_needs_no_lock_or_write() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let id = store.insert(note("read only"))?;
    store.close()?;
    let lock = file.path().with_extension("db.lock");
    if lock.exists() {
        fs::remove_file(&lock)?;
    }
    let bytes = fs::read(file.path())?;
    let mut rights = fs::metadata(file.path())?.permissions();
    rights.set_readonly(true);
    fs::set_permissions(file.path(), rights)?;
    assert!(TraceStore::builder().detached(file.path())?.contains(id));
    assert!(!lock.exists(), "no lock file appears");
    assert_eq!(fs::read(file.path())?, bytes);
    Ok(())
}

#[test]
fn detached_quarantines_bad_row() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let [id, other] = store.insert_many((0..2).map(note))?[..] else { unreachable!() };
    store.close()?;
    Connection::open(file.path())?
        .execute("UPDATE traces SET tier = 'tepid' WHERE id = ?1", [id.as_bytes()])?;
    let copy = TraceStore::builder().detached(file.path())?;
    assert_eq!((copy.len(), copy.contains(other)), (1, true));
    let aside: Vec<Option<TraceId>> = copy.stats().quarantined.iter().map(|row| row.id).collect();
    assert_eq!(aside, [Some(id)]);
    Ok(())
}

#[test]
fn what_is_no_store_is_refused() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("memory.db");
    let kind = || TraceStore::builder().detached(&path).err().map(|error| error.kind());
    assert_eq!(kind(), Some(ErrorKind::Unreachable));
    assert!(!path.exists());
    fs::write(&path, "")?;
    assert_eq!(kind(), Some(ErrorKind::NotAStore));
    fs::write(&path, "something else, which is no database")?;
    assert_eq!(kind(), Some(ErrorKind::NotAStore));
    Ok(())
}
