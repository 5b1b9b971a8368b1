//! No watermark that is told is ahead of what the file says of itself, and a mark belongs to its store.
#![cfg(all(feature = "snapshot", feature = "sqlite"))]

use crate::OpenAt;
use harness::{Outcome, TestDir, manual_flush, note, row, rows, wait_until};
use mnemon::{ErrorKind, Snapshots, TraceStore};
use std::fs;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A cut that holds nothing for the file.
type EmptyCut = fn(&TraceStore, &Snapshots) -> mnemon::Result<()>;

const EMPTY_CUTS: [(&str, EmptyCut); 3] = [
    ("a snapshot of an idle store", |store, snapshots| store.save_snapshot(snapshots).map(drop)),
    ("a trace that came and went between two flushes", |store, _| {
        store.remove(store.insert(note("passing"))?)?;
        store.flush().map(drop)
    }),
    ("a spill", |store, _| store.spill().map(drop)),
];

#[test]
fn empty_cut_moves_no_watermark() -> Outcome {
    for (what, cut) in EMPTY_CUTS {
        let scratch = TestDir::new()?;
        let snapshots = Snapshots::in_folder(scratch.folder());
        let store = manual_flush().open_at(scratch.path())?;
        store.insert(note(1))?;
        store.flush()?;
        for round in 0..3 {
            let cuts = store.stats().cuts;
            cut(&store, &snapshots)?;
            assert!(store.stats().cuts > cuts, "{what} is a cut");
            // The first one may name the empty cut: who asked for that is answered before it is over.
            let (early, report, mark) = (store.mark(), store.flush()?, store.mark());
            assert!(
                pin!(store.wait(early)).poll(&mut Context::from_waker(Waker::noop())).is_ready(),
                "{what}"
            );
            let (told, file) = (store.watermark(), mnemon::inspect(scratch.path())?.watermark);
            let all = [told.committed, told.durable, report.watermark, store.stats().last_flush.watermark];
            assert_eq!(all, [file; 4], "{what}, round {round}");
            assert!(mark.generation() <= file, "{what}: all that it names is stored");
        }
        let before = store.watermark().durable;
        store.insert(note(2))?;
        let (mark, report) = (store.mark(), store.flush()?);
        assert_eq!(report.watermark, mnemon::inspect(scratch.path())?.watermark, "{what}");
        assert!((before + 1..=report.watermark).contains(&mark.generation()), "{what}: {mark:?}, {report:?}");
        cut(&store, &snapshots)?;
        let closed = store.close()?;
        assert_eq!(closed.durable, mnemon::inspect(scratch.path())?.watermark, "{what}");
    }
    Ok(())
}

/// It bears the store's own signature, and lacks what was durable.
#[test]
fn older_copy_is_quarantined() -> Outcome {
    let (scratch, older) = (TestDir::new()?, TestDir::new()?);
    let names = ["memory.db", "memory.db-wal", "memory.db-shm"];
    let store = manual_flush().open_at(scratch.path())?;
    store.insert(note("in both"))?;
    store.flush()?;
    for name in &names[..2] {
        fs::copy(scratch.folder().join(name), older.folder().join(name))?;
    }
    let lacking = store.insert(note("not in the copy"))?;
    let durable = store.flush()?.watermark;
    // Its maintenance would notice a file that is away, as it may at any time later where the machine is slow.
    let wal = scratch.folder().join(names[1]);
    wait_until(|| fs::metadata(&wal).is_ok_and(|file| file.len() == store.stats().wal_bytes));
    for name in names {
        fs::rename(scratch.folder().join(name), scratch.folder().join(format!("away-{name}")))?;
    }
    for name in &names[..2] {
        fs::copy(older.folder().join(name), scratch.folder().join(name))?;
    }
    store.insert(note("new"))?;
    let noticed = store.flush().err().or(store.stats().last_error).map(|error| error.kind());
    assert_eq!(noticed, Some(ErrorKind::Unreachable));
    assert!(store.flush()?.watermark > durable);
    let reader = scratch.reader()?;
    assert!(row(&reader, lacking)?.is_some() && rows(&reader)? == 3, "all is written anew from memory");
    let aside = fs::read_dir(scratch.folder())?.filter_map(Result::ok).map(|entry| entry.file_name());
    let kept = aside.filter(|name| name.to_string_lossy().starts_with("memory.db.damaged-")).count();
    assert!(kept > 0, "and the copy is kept");
    Ok(())
}

/// The flusher would cut again and again for a generation that its store does not come to.
#[test]
fn mark_of_another_store_is_refused() -> Outcome {
    let (one, other) = (TraceStore::in_memory(), TraceStore::in_memory());
    for n in 0..20 {
        one.insert(note(n))?;
        one.flush()?;
    }
    let mark = one.mark();
    let mut wait = pin!(other.wait(mark));
    let answer = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Err(error)) = answer else { return Err(format!("{answer:?}").into()) };
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(pin!(one.wait(mark)).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_ne!(mark, other.mark());
    // The flusher's next job is to sleep: it makes no cut that nobody asked for.
    other.flush()?;
    assert_eq!(other.stats().cuts, 0);
    Ok(())
}
