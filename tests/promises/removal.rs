//! Removing and storing again, between two flushes and across them.
#![cfg(feature = "sqlite")]

use super::flushed;
use crate::OpenAt;
use harness::{Outcome, TestDir, flush_always, manual_flush, note, row, rows};
use std::thread;

#[test]
fn remove_then_insert_leaves_new_row() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let id = store.insert(note("old"))?;
    store.flush()?;
    store.remove(id)?;
    store.insert(note("new").id(id))?;
    store.flush()?;
    assert_eq!(row(&file.reader()?, id)?, Some((1, r#"{"note":"new"}"#.to_owned())));
    assert_eq!((store.len(), rows(&file.reader()?)?), (1, 1));
    Ok(())
}

#[test]
fn insert_then_remove_sends_nothing() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let before = store.stats();
    let id = store.insert(note("brief"))?;
    assert!(store.remove(id)?.is_some());
    store.flush()?;
    let after = store.stats();
    let sent = |stats: &mnemon::Stats| {
        [stats.rows_upserted, stats.rows_updated, stats.rows_deleted, stats.payload_bytes_serialized]
    };
    assert_eq!(sent(&after), sent(&before));
    assert_eq!((store.len(), store.stats().dirty, rows(&file.reader()?)?), (0, 0, 0));
    assert!(store.insert(note("again").id(id)).is_ok(), "the id is free again");
    Ok(())
}

#[test]
fn removal_takes_only_its_row() -> Outcome {
    let (file, store, ids) = flushed(10)?;
    assert_eq!(store.remove(ids[3])?.map(|gone| gone.id()), Some(ids[3]));
    assert_eq!(store.remove(ids[3])?, None);
    let report = store.flush()?;
    assert_eq!((report.rows_deleted, report.rows_upserted, report.rows_updated), (1, 0, 0));
    assert_eq!((row(&file.reader()?, ids[3])?, rows(&file.reader()?)?, store.len()), (None, 9, 9));
    Ok(())
}

#[test]
fn remove_insert_races_settle() -> Outcome {
    let file = TestDir::new()?;
    let store = flush_always().open_at(file.path())?;
    let ids = store.insert_many((0..4).map(note))?;
    thread::scope(|scope| {
        for thread in 0..4 {
            let (store, ids) = (&store, &ids);
            scope.spawn(move || {
                for n in 0..3_000 {
                    let id = ids[(n + thread) % ids.len()];
                    // Either may find that another thread was there first.
                    let _ = store.remove(id);
                    let _ = store.insert(note(n).id(id));
                }
            });
        }
    });
    // The last insertion of each id found it there, or put it there.
    assert_eq!(store.len(), ids.len());
    store.flush()?;
    let reader = file.reader()?;
    for id in ids {
        let memory = store.get(id).map(|trace| trace.payload().to_string());
        assert_eq!(row(&reader, id)?.map(|(_, payload)| payload), memory);
    }
    Ok(())
}
