//! Snapshots: one file at one cut while writers go on; restored in one cut, or refused with nothing changed.
#![cfg(all(feature = "snapshot", feature = "sqlite"))]

use crate::OpenAt;
use harness::{Outcome, TestDir, by_id, flush_always, manual_flush, note};
use mnemon::{ErrorKind, ManualClock, NewTrace, Snapshots, TraceId, TraceStore};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Every trace and every link.
fn content(store: &TraceStore) -> (Vec<std::sync::Arc<mnemon::Trace>>, BTreeSet<String>) {
    let traces = by_id(store);
    let links =
        traces.iter().flat_map(|trace| store.links(trace.id())).map(|link| format!("{link:?}")).collect();
    (traces, links)
}

fn filled(store: &TraceStore) -> Outcome<Vec<TraceId>> {
    let ids = store.insert_many(
        (0..50).map(|n| note(n).tag("numbered").embedding(vec![n as f32, 0.1]).unresolved(true)),
    )?;
    for pair in ids.windows(2) {
        store.co_activate(pair[0], pair[1])?;
    }
    store.update(ids[3], |trace| trace.confidence(0.123_456_789_012_345_68))?;
    store.reinforce(ids[4])?;
    Ok(ids)
}

#[test]
fn restore_returns_every_field_and_link() -> Outcome {
    let scratch = TestDir::new()?;
    let snapshots = Snapshots::in_folder(scratch.folder().join("snapshots"));
    let store = manual_flush().open_at(scratch.path())?;
    let ids = filled(&store)?;
    let saved = content(&store);
    let info = store.save_snapshot(&snapshots)?;
    assert_eq!((info.traces, info.links), (50, 49));

    store.remove(ids[0])?;
    store.update(ids[1], |trace| trace.payload(json!("other")))?;
    store.co_activate(ids[5], ids[9])?;
    store.insert(note("later"))?;
    store.flush()?;
    assert_eq!(store.restore_newest(&snapshots)?, 50);
    assert_eq!(content(&store), saved);
    store.close()?;
    let store = manual_flush().open_at(scratch.path())?;
    assert_eq!(content(&store), saved, "and it is what the file holds");
    assert_eq!(store.query().tagged("numbered").run().len(), 50, "found by what they are");

    let elsewhere = TraceStore::in_memory();
    elsewhere.insert(note("gone"))?;
    elsewhere.restore_snapshot(&snapshots, &info.path)?;
    assert_eq!(content(&elsewhere), saved);
    Ok(())
}

/// Two writers raise one trace after the other, around a ring: at any moment each is level with the one after it or
/// one ahead. A third inserts pairs, the second of which names the first.
#[test]
fn interrupted_save_leaves_nothing() -> Outcome {
    let file = TestDir::new()?;
    let store = TraceStore::in_memory();
    store.insert_many((0..3_000).map(note))?;
    for (end, done) in [(1, Some(1)), (3, Some(2_048)), (4, None)] {
        let told = Arc::new(AtomicUsize::new(0));
        let snapshots = Snapshots::in_folder(file.folder().join("shots")).on_progress(move |progress| {
            assert_eq!(progress.total, 3_000);
            if told.fetch_add(1, Ordering::Relaxed) + 1 < end {
                return ControlFlow::Continue(());
            }
            assert_eq!(Some(progress.done), done);
            ControlFlow::Break(())
        });
        let saved = store.save_snapshot(&snapshots).map_err(|error| error.kind());
        assert_eq!(saved.map(drop), if done.is_some() { Err(ErrorKind::Interrupted) } else { Ok(()) });
        let left = fs::read_dir(snapshots.folder())?.count();
        assert_eq!(left, usize::from(done.is_none()), "the partial file is gone");
    }
    Ok(())
}

#[test]
fn snapshot_beside_writers_is_one_cut() -> Outcome {
    const RING: usize = 50;
    let scratch = TestDir::new()?;
    let snapshots = Snapshots::in_folder(scratch.folder().join("snapshots"));
    let store = flush_always().open_at(scratch.path())?;
    let rings = [store.insert_many((0..RING).map(note))?, store.insert_many((0..RING).map(note))?];
    store.insert_many((0..500).map(note))?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Outcome {
        let raising = rings.each_ref().map(|ring| {
            let (store, done) = (&store, &done);
            scope.spawn(move || -> mnemon::Result<()> {
                for n in 1.. {
                    for id in ring {
                        store.update(*id, |trace| trace.payload(json!(n)))?;
                    }
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
                Ok(())
            })
        });
        let pairing = scope.spawn(|| -> mnemon::Result<()> {
            while !done.load(Ordering::Relaxed) {
                let cause = store.insert(note("cause"))?;
                let effect = store.insert(note("effect").parent(cause))?;
                store.co_activate(cause, effect)?;
                if store.len() > 800 {
                    store.remove(effect)?;
                    store.remove(cause)?;
                }
            }
            Ok(())
        });
        let saved = || -> Outcome {
            for _ in 0..5 {
                let info = store.save_snapshot(&snapshots)?;
                let view = TraceStore::in_memory();
                view.restore_snapshot(&snapshots, &info.path)?;
                for ring in &rings {
                    let number = |id: &TraceId| {
                        view.get(*id).and_then(|trace| trace.payload().as_value().ok()?.as_u64())
                    };
                    let numbers: Vec<_> = ring.iter().map(|id| number(id).unwrap_or(0)).collect();
                    let steps = numbers.windows(2).filter(|pair| pair[0] != pair[1]).count();
                    let one = numbers[0].wrapping_sub(numbers[RING - 1]) <= 1 && steps <= 1;
                    if !one {
                        return Err(format!("no moment was like this: {numbers:?}").into());
                    }
                }
                for effect in view.iter() {
                    assert!(
                        effect.parent().is_none_or(|cause| view.contains(cause)),
                        "no effect without its cause"
                    );
                }
            }
            Ok(())
        };
        let outcome = saved();
        done.store(true, Ordering::Relaxed);
        for raising in raising {
            raising.join().map_err(|_| "a writer panicked")??;
        }
        pairing.join().map_err(|_| "a writer panicked")??;
        outcome
    })
}

/// Whoever reads the file sees the content before or the content after.
#[test]
fn restore_is_one_cut() -> Outcome {
    let scratch = TestDir::new()?;
    let store = flush_always().open_at(scratch.path())?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Outcome {
        let reader = scratch.reader()?;
        let looking = scope.spawn(|| {
            let reader = reader;
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                seen.insert(harness::rows(&reader).unwrap_or(-1));
            }
            seen
        });
        for round in 0..20 {
            let count = if round % 2 == 0 { 500 } else { 800 };
            store.restore((0..count).map(note))?;
            store.flush()?;
            assert_eq!(store.len(), count);
        }
        done.store(true, Ordering::Relaxed);
        let seen = looking.join().map_err(|_| "the reader panicked")?;
        assert!(seen.is_subset(&BTreeSet::from([0, 500, 800])), "{seen:?}");
        Ok(())
    })
}

#[test]
fn bad_list_changes_nothing() -> Outcome {
    let store = TraceStore::in_memory();
    let ids = filled(&store)?;
    let before = content(&store);
    let twice = [note(1).id(ids[0]), note(2).id(ids[0])];
    assert_eq!(store.restore(twice).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let bad = [note(1), NewTrace::semantic(json!(2)).confidence(2.0)];
    assert_eq!(store.restore(bad).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(content(&store), before);
    Ok(())
}

#[test]
fn bad_file_is_refused_with_reason() -> Outcome {
    let scratch = TestDir::new()?;
    let snapshots = Snapshots::in_folder(scratch.folder().join("snapshots"));
    let store = manual_flush().open_at(scratch.path())?;
    assert_eq!(
        store.restore_newest(&snapshots).unwrap_err().kind(),
        ErrorKind::NotFound,
        "there is none yet"
    );
    filled(&store)?;
    let info = store.save_snapshot(&snapshots)?;
    store.insert(note("later"))?;
    store.flush()?;
    let before = content(&store);
    let good = fs::read(&info.path)?;
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let newer = String::from_utf8(good.clone())?.replacen("\"version\":1", "\"version\":2", 1);
    let files = [
        (changed(|bytes| bytes[700] ^= 1), ErrorKind::Corrupt),
        (changed(|bytes| bytes.truncate(bytes.len() / 2)), ErrorKind::Corrupt),
        (b"{\"something\":\"else\"}\n".to_vec(), ErrorKind::NotASnapshot),
        (newer.into_bytes(), ErrorKind::NewerSchema),
    ];
    for (bytes, kind) in files {
        fs::write(&info.path, bytes)?;
        let error = store.restore_newest(&snapshots).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(&info.path.display().to_string()), "{error}");
        assert_eq!((content(&store), store.stats().dirty), (before.clone(), 0));
    }
    fs::write(&info.path, &good)?;
    let demanding = snapshots.clone().signed_with([7; 32]);
    assert_eq!(store.restore_newest(&demanding).unwrap_err().kind(), ErrorKind::Untrusted, "it is unsigned");
    store.save_snapshot(&demanding)?;
    let stranger = Snapshots::in_folder(snapshots.folder()).signed_with([8; 32]);
    assert_eq!(store.restore_newest(&stranger).unwrap_err().kind(), ErrorKind::Untrusted, "another key's");
    assert_eq!(content(&store), before);
    assert_eq!(store.restore_newest(&demanding)?, 51);
    Ok(())
}

#[test]
fn list_and_prune_go_newest_first() -> Outcome {
    let scratch = TestDir::new()?;
    let snapshots = Snapshots::in_folder(scratch.folder().join("snapshots"));
    let clock = ManualClock::at("2026-11-24T10:00:00Z".parse()?);
    let store = TraceStore::builder().clock(&clock).in_memory()?;
    for n in 0..13 {
        store.insert(note(n))?;
        store.save_snapshot(&snapshots)?;
        clock.advance(Duration::from_secs(60));
    }
    assert_eq!(snapshots.prune(10)?.len(), 3);
    let listed = snapshots.list()?;
    let traces: Vec<_> = listed.iter().map(|info| info.traces).collect();
    assert_eq!(traces, [13, 12, 11, 10, 9, 8, 7, 6, 5, 4]);
    assert_eq!(listed[0].taken_at, "2026-11-24T10:12:00Z".parse()?);
    Ok(())
}

/// The clock is a minute, then decades late, as of a machine that has lost its time, and then decades early.
#[test]
fn newest_snapshot_is_the_last_saved() -> Outcome {
    let scratch = TestDir::new()?;
    let snapshots = Snapshots::in_folder(scratch.folder().join("snapshots"));
    let clock = ManualClock::at("2026-11-24T10:00:00Z".parse()?);
    let store = TraceStore::builder().clock(&clock).in_memory()?;
    let times =
        ["2026-11-24T10:00:00Z", "2026-11-24T09:59:00Z", "1970-01-01T00:00:10Z", "2099-01-01T00:00:00Z"];
    for (count, time) in (1..).zip(times.into_iter().chain(["2026-11-24T10:01:00Z", "2026-11-24T10:02:00Z"]))
    {
        clock.set(time.parse()?);
        store.insert(note(count))?;
        let saved = store.save_snapshot(&snapshots)?;
        let listed = snapshots.list()?;
        assert_eq!((&listed[0].path, listed.len()), (&saved.path, count), "saved at {time}");
        assert_eq!([saved.taken_at, listed[0].taken_at], [clock.now(); 2], "it says what the clock said");
        assert_eq!(TraceStore::in_memory().restore_newest(&snapshots)?, count, "saved at {time}");
    }
    assert_eq!(snapshots.prune(1)?.len(), 5);
    assert_eq!(TraceStore::in_memory().restore_newest(&snapshots)?, 6);
    Ok(())
}

#[test]
fn closed_store_saves_and_never_restores() -> Outcome {
    let scratch = TestDir::new()?;
    let snapshots = Snapshots::in_folder(scratch.folder().join("snapshots"));
    let store = manual_flush().open_at(scratch.path())?;
    filled(&store)?;
    let closed = store.clone();
    store.close()?;
    assert_eq!(closed.save_snapshot(&snapshots)?.links, 49);
    assert_eq!(closed.restore_newest(&snapshots).unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}

/// Traces are removed while the links between them are put back: none is left that joins what is not there.
#[test]
fn removal_beside_restore_leaves_no_link() -> Outcome {
    let folder = tempfile::tempdir()?;
    let snapshots = Snapshots::in_folder(folder.path());
    let store = TraceStore::in_memory();
    let ids = filled(&store)?;
    store.save_snapshot(&snapshots)?;
    for round in 0..20 {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| -> Outcome {
            let removing = scope.spawn(|| -> mnemon::Result<()> {
                while !done.load(Ordering::Relaxed) {
                    for id in ids.iter().rev() {
                        store.remove(*id)?;
                    }
                }
                Ok(())
            });
            store.restore_newest(&snapshots)?;
            done.store(true, Ordering::Relaxed);
            removing.join().map_err(|_| "removing")??;
            Ok(())
        })?;
        let linked: BTreeSet<_> =
            ids.iter().flat_map(|id| store.links(*id)).map(|link| link.ends()).collect();
        assert_eq!(store.link_count(), linked.len(), "round {round}: every link is found from its ends");
    }
    Ok(())
}
