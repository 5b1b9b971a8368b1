//! A spill that the store left is never refused by its next open, and applied at most once.
#![cfg(all(feature = "snapshot", feature = "sqlite"))]

use harness::{Outcome, TestDir, by_id, manual_flush, note};
use mnemon::{Durability, ErrorKind, Link, Progress, Snapshots, Trace, TraceId, TraceStore};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a crash of the process leaves, in a folder of its own.
fn copied(from: &TestDir, suffixes: &[&str]) -> Outcome<TestDir> {
    let to = TestDir::new()?;
    for suffix in suffixes {
        let name = format!("memory.db{suffix}");
        match fs::copy(from.folder().join(&name), to.folder().join(&name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(to)
}

const FILE_AND_LOG: [&str; 2] = ["", "-wal"];

fn spill_of(scratch: &TestDir) -> PathBuf {
    scratch.folder().join("memory.db.spill")
}

/// What a store holds, for comparing.
#[derive(PartialEq)]
struct Content(Vec<Arc<Trace>>, Vec<Link>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let traces = self.0.iter().map(|trace| (trace.payload().to_string(), trace.confidence()));
        let links = self.1.iter().map(|link| (link.ends(), link.count()));
        f.debug_tuple("Content").field(&traces.collect::<Vec<_>>()).field(&links.collect::<Vec<_>>()).finish()
    }
}

fn content(store: &TraceStore) -> Content {
    let traces = by_id(store);
    let links = traces.iter().flat_map(|trace| store.links(trace.id())).collect();
    Content(traces, links)
}

/// As a host ends that can't write its file: two closes fail, it spills, and is gone.
fn spill_and_end(scratch: &TestDir, mut store: TraceStore) -> Outcome<TestDir> {
    let away = scratch.folder().join("away");
    fs::create_dir(&away)?;
    let names = ["memory.db", "memory.db-wal"];
    let moved: Vec<_> = names.iter().filter(|name| scratch.folder().join(name).exists()).collect();
    for name in &moved {
        fs::rename(scratch.folder().join(name), away.join(name))?;
    }
    fs::create_dir(scratch.path())?;
    for _ in 0..2 {
        store = store.close().map(drop).unwrap_err().store;
    }
    store.spill()?;
    let left = copied(scratch, &[".spill"])?;
    for name in &moved {
        fs::copy(away.join(name), left.folder().join(name))?;
    }
    fs::remove_dir(scratch.path())?;
    for name in &moved {
        fs::rename(away.join(name), scratch.folder().join(name))?;
    }
    while let Err(failed) = store.close() {
        store = failed.store;
    }
    Ok(left)
}

fn impatient(scratch: &TestDir) -> Outcome<TraceStore> {
    Ok(manual_flush().close_timeout(Duration::from_millis(50)).open(scratch.path())?)
}

#[test]
fn spill_after_empty_cuts_is_applied() -> Outcome {
    for pending in [true, false] {
        let scratch = TestDir::new()?;
        let store = impatient(&scratch)?;
        let id = store.insert(note("durable"))?;
        store.flush()?;
        store.save_snapshot(&Snapshots::in_folder(scratch.folder()))?;
        store.remove(store.insert(note("passing"))?)?;
        store.flush()?;
        store.spill()?;
        if pending {
            store.update(id, |trace| trace.confidence(0.1))?;
        }
        let expected = content(&store);
        let left = spill_and_end(&scratch, store)?;
        let store =
            manual_flush().open(left.path()).map_err(|error| format!("pending {pending}: {error}"))?;
        assert_eq!(content(&store), expected, "pending {pending}");
        assert!(!spill_of(&left).exists());
    }
    Ok(())
}

/// Its deletion may not have come to the disk: at any time after, it may be there again.
#[test]
fn reappearing_spill_changes_nothing() -> Outcome {
    let scratch = TestDir::new()?;
    let store = impatient(&scratch)?;
    let ids = store.insert_many((0..3).map(note))?;
    store.flush()?;
    store.update(ids[0], |trace| trace.confidence(0.1))?;
    let left = spill_and_end(&scratch, store)?;
    let spill = fs::read(spill_of(&left))?;
    let store = manual_flush().open(left.path())?;
    store.update(ids[0], |trace| trace.confidence(0.9))?;
    store.remove(ids[1])?;
    store.flush()?;
    let expected = content(&store);
    // The power fails, and the spill is back.
    let after = copied(&left, &FILE_AND_LOG)?;
    fs::write(spill_of(&after), &spill)?;
    let store_after = manual_flush().open(after.path())?;
    assert_eq!(content(&store_after), expected);
    assert!(!spill_of(&after).exists());
    // Whoever puts it back after a later opening is told.
    store.close()?;
    manual_flush().open(left.path())?.close()?;
    fs::write(spill_of(&left), &spill)?;
    let error = manual_flush().open(left.path()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
    assert_eq!(fs::read(spill_of(&left))?, spill, "it stays");
    Ok(())
}

/// An application that was committed and a deletion that was not reached: what the process left when it ended between.
#[test]
fn application_and_its_mark_commit_together() -> Outcome {
    let scratch = TestDir::new()?;
    let store = impatient(&scratch)?;
    let id = store.insert(note("durable"))?;
    store.flush()?;
    store.update(id, |trace| trace.confidence(0.1))?;
    let left = spill_and_end(&scratch, store)?;
    let spill = fs::read(spill_of(&left))?;
    let applied = manual_flush().open(left.path())?;
    let committed = copied(&left, &FILE_AND_LOG)?;
    drop(applied);
    fs::write(spill_of(&committed), spill)?;
    let watermark = mnemon::inspect(committed.path())?.watermark;
    let store = manual_flush().open(committed.path())?;
    assert_eq!(store.stats().flushes, 0, "it is not applied again");
    assert_eq!(store.watermark().durable, watermark);
    Ok(())
}

/// What is committed and not synced is in it as well: a power loss may take that back from the file.
#[test]
fn spill_holds_unsynced_commits() -> Outcome {
    let scratch = TestDir::new()?;
    let builder = manual_flush().durability(Durability::Committed).flush_threshold(1);
    let store = builder.open(scratch.path())?;
    let ids = store.insert_many((0..5).map(note))?;
    store.co_activate(ids[0], ids[1])?;
    store.co_activate(ids[2], ids[3])?;
    store.co_activate(ids[2], ids[4])?;
    store.flush()?;
    let synced = copied(&scratch, &FILE_AND_LOG)?;
    store.update(ids[0], |trace| trace.confidence(0.1))?;
    store.insert(note("new"))?;
    store.remove(ids[3])?;
    store.co_activate(ids[1], ids[2])?;
    // A trace of the same id that has none of its links.
    store.remove(ids[4])?;
    store.insert(note("anew").id(ids[4]))?;
    harness::wait_until(|| store.stats().dirty == 0);
    assert!(store.watermark().durable < store.watermark().committed, "that is not synced");
    let (report, expected) = (store.spill()?, content(&store));
    assert_eq!((report.traces, report.links), (4, 3));
    fs::copy(spill_of(&scratch), spill_of(&synced))?;
    assert_eq!(content(&manual_flush().open(synced.path())?), expected);
    Ok(())
}

/// The file is at the spill's own cut before it is applied, if something else is written first.
#[test]
fn spill_is_applied_before_other_writes() -> Outcome {
    let scratch = TestDir::new()?;
    let store = impatient(&scratch)?;
    let ids = store.insert_many((0..200).map(note))?;
    store.flush()?;
    store.update(ids[0], |trace| trace.confidence(0.1))?;
    store.insert(note("new").id(TraceId::from_reference("new")))?;
    let expected = content(&store);
    let left = spill_and_end(&scratch, store)?;
    let file = mnemon::inspect(left.path())?.watermark;
    let store = manual_flush().open(left.path())?;
    assert_eq!(content(&store), expected);
    assert!(store.watermark().durable > file + 1, "after the cut that the spill is of");
    Ok(())
}

/// Its file is gone, or an older copy is in its place, and could not be written anew: all is in the spill.
#[test]
fn spill_of_lost_file_holds_everything() -> Outcome {
    let scratch = TestDir::new()?;
    let store = impatient(&scratch)?;
    let ids = store.insert_many((0..20).map(note))?;
    store.co_activate(ids[0], ids[1])?;
    store.co_activate(ids[2], ids[3])?;
    store.co_activate(ids[4], ids[6])?;
    store.flush()?;
    let older = copied(&scratch, &FILE_AND_LOG)?;
    store.remove(ids[0])?;
    store.unlink(ids[4], ids[6])?;
    store.insert(note("new"))?;
    store.flush()?;
    store.update(ids[5], |trace| trace.confidence(0.1))?;
    let expected = content(&store);
    let left = spill_and_end(&scratch, store)?;
    let spill = fs::read(spill_of(&left))?;
    let lost = copied(&left, &[".spill"])?;
    fs::copy(spill_of(&left), spill_of(&older))?;
    for (place, what) in [(left, "as it was"), (lost, "gone"), (older, "older")] {
        let store = manual_flush().open(place.path()).map_err(|error| format!("{what}: {error}"))?;
        assert_eq!(content(&store), expected, "{what}");
        assert!(!spill_of(&place).exists(), "{what}");
        // The process ends between the commit and the deletion.
        let committed = copied(&place, &FILE_AND_LOG)?;
        fs::write(spill_of(&committed), &spill)?;
        let again = manual_flush().open(committed.path()).map_err(|error| format!("{what}: {error}"))?;
        assert_eq!((content(&again), again.stats().flushes), (content(&store), 0), "{what}");
        assert!(!spill_of(&committed).exists() && quarantined(&committed)?.is_empty(), "{what}");
    }
    Ok(())
}

/// The quarantined spills of a store.
fn quarantined(scratch: &TestDir) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(scratch.folder())? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("memory.db.kept-") && name.ends_with(".spill") {
            found.push(path);
        }
    }
    Ok(found)
}

/// A row that can't be read holds on to the id of one in the spill.
#[test]
fn spill_with_refused_rows_is_kept() -> Outcome {
    let scratch = TestDir::new()?;
    let store = impatient(&scratch)?;
    let ids = store.insert_many((0..3).map(note))?;
    store.flush()?;
    store.update(ids[0], |trace| trace.confidence(0.1))?;
    store.update(ids[1], |trace| trace.confidence(0.2))?;
    let left = spill_and_end(&scratch, store)?;
    let spill = fs::read(spill_of(&left))?;
    left.reader()?.execute("UPDATE traces SET tier = 'tepid' WHERE id = ?1", [ids[0].as_bytes()])?;

    let store = manual_flush().open(left.path())?;
    let confidence = |id| store.get(id).map(|trace| trace.confidence());
    assert_eq!([0, 1].map(|at| confidence(ids[at])), [Some(0.1), Some(0.2)]);
    assert!(!spill_of(&left).exists());
    let kept = quarantined(&left)?;
    assert_eq!((kept.len(), &fs::read(&kept[0])?), (1, &spill));
    let name = kept[0].to_string_lossy().into_owned();
    let found = mnemon::verify(left.path(), Progress::ignore)?.findings;
    assert!(found.iter().any(|finding| finding.reason.contains(&name)), "{found:?}");

    // The process ends between the commit and the renaming.
    let committed = copied(&left, &FILE_AND_LOG)?;
    fs::write(spill_of(&committed), &spill)?;
    let again = manual_flush().open(committed.path())?;
    assert_eq!((again.stats().flushes, again.get(ids[1])), (0, store.get(ids[1])), "it is not applied again");
    assert!(!spill_of(&committed).exists());
    assert_eq!(fs::read(&quarantined(&committed)?[0])?, spill);
    Ok(())
}

#[test]
fn unreadable_row_of_another_keeps_no_spill() -> Outcome {
    let scratch = TestDir::new()?;
    let store = impatient(&scratch)?;
    let ids = store.insert_many((0..3).map(note))?;
    store.flush()?;
    store.update(ids[0], |trace| trace.confidence(0.1))?;
    let left = spill_and_end(&scratch, store)?;
    let spill = fs::read(spill_of(&left))?;
    let of_another = "UPDATE traces SET tier = 'tepid', id = randomblob(16) WHERE id = ?1";
    left.reader()?.execute(of_another, [ids[2].as_bytes()])?;
    let is_applied = |place: &TestDir| -> Outcome<TraceStore> {
        fs::write(spill_of(place), &spill)?;
        let store = manual_flush().open(place.path())?;
        assert_eq!(store.stats().quarantined.len(), 1);
        assert_eq!(store.get(ids[0]).map(|trace| trace.confidence()), Some(0.1));
        assert!(!spill_of(place).exists() && quarantined(place)?.is_empty());
        Ok(store)
    };
    let _store = is_applied(&left)?;
    // The process ends between the commit and the deletion.
    is_applied(&copied(&left, &FILE_AND_LOG)?)?;
    Ok(())
}
