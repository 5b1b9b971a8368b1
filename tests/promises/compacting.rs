//! Compacting gives back to the file system what a file holds and nothing uses, a step at a time, and changes nothing
//! else; what an erasure frees goes back by itself.
#![cfg(feature = "sqlite")]

use harness::backend::{Answer, Scripted, scripted};
use harness::{Outcome, TestDir, by_id, flush_always, manual_flush, note, wait_until};
use mnemon::{ErrorKind, NewTrace, Progress, Trace, TraceStore, TraceType, backup, verify};
use serde_json::json;
use std::fs;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

/// Stands in each payload that goes, in many sizes: within a page, and over several.
fn secret(n: usize) -> NewTrace {
    NewTrace::sensory(json!(format!("secret-{n}-").repeat(1 + n % 700)))
}

fn kept(n: usize) -> NewTrace {
    NewTrace::semantic(json!(format!("kept-{n}-").repeat(1 + n % 700)))
}

/// A store of as many traces that stay as of others, linked in pairs, all flushed.
fn fill(store: &TraceStore, each: usize) -> Outcome {
    for n in 0..each {
        let ids = store.insert_many([kept(n), secret(n)])?;
        if n % 3 == 0 {
            store.co_activate(ids[0], ids[1])?;
        }
    }
    store.flush()?;
    Ok(())
}

fn remove_secrets(store: &TraceStore) -> Outcome {
    for trace in store.iter().filter(|trace| trace.trace_type() == TraceType::Sensory) {
        store.remove(trace.id())?;
    }
    store.flush()?;
    Ok(())
}

/// Bytes of the file and its log.
fn on_disk(scratch: &TestDir) -> u64 {
    let bytes = |suffix: &str| {
        let path = format!("{}{suffix}", scratch.path().display());
        fs::metadata(path).map_or(0, |file| file.len())
    };
    bytes("") + bytes("-wal")
}

fn pragma(scratch: &TestDir, name: &str) -> Outcome<u64> {
    let value: i64 = scratch.reader()?.pragma_query_value(None, name, |row| row.get(0))?;
    Ok(value.unsigned_abs())
}

/// Waits until what was freed is given back and the log is moved into the file, and until the store says so: its figures
/// alone may be those from before the erasure.
fn until_compacted(scratch: &TestDir, store: &TraceStore) {
    let is_compact = || -> Outcome<bool> {
        let (free, pages) = (pragma(scratch, "freelist_count")?, pragma(scratch, "page_count")?);
        Ok(free == 0 && on_disk(scratch) == 4096 * pages)
    };
    let is_said = || (store.stats().free_bytes, store.stats().wal_bytes) == (0, 0);
    wait_until(|| is_said() && is_compact().unwrap_or(false));
}

/// How often this text stands in the files of the store, all of them.
fn occurrences(scratch: &TestDir, text: &str) -> Outcome<usize> {
    let mut found = 0;
    for file in fs::read_dir(scratch.folder())? {
        let bytes = fs::read(file?.path())?;
        found += bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count();
    }
    Ok(found)
}

fn contents(store: &TraceStore) -> (Vec<Arc<Trace>>, usize) {
    (by_id(store), store.link_count())
}

/// Closes the store, which is sound and holds the same when it is opened again.
fn comes_back(scratch: &TestDir, store: TraceStore) -> Outcome {
    let before = contents(&store);
    store.close()?;
    let report = verify(scratch.path(), Progress::ignore)?;
    assert!(report.is_sound(), "{report:?}");
    let again = manual_flush().open(scratch.path())?;
    assert!(contents(&again) == before, "{} traces of {}", again.len(), before.0.len());
    Ok(())
}

#[test]
fn compact_shrinks_file_and_keeps_content() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    fill(&store, 400)?;
    remove_secrets(&store)?;
    let free = 4096 * pragma(&scratch, "freelist_count")?;
    // After the flush, when the housekeeping is done and the log is moved into the file, which grows by that.
    let pages = 4096 * pragma(&scratch, "page_count")?;
    let is_moved = || scratch.path().metadata().is_ok_and(|file| file.len() == pages);
    wait_until(|| store.stats().free_bytes == free && is_moved());
    let (before, contents_before) = (on_disk(&scratch), contents(&store));
    assert!(free > 1_000_000, "{free} of {before} bytes are free");
    let report = store.compact()?;
    assert_eq!((report.bytes_before, report.bytes_after), (before, on_disk(&scratch)));
    assert_eq!(on_disk(&scratch), 4096 * pragma(&scratch, "page_count")?, "the log is empty");
    assert!(report.bytes_after <= before - free, "{report:?}, {free} bytes were free");
    assert_eq!((store.stats().free_bytes, pragma(&scratch, "freelist_count")?), (0, 0));
    assert!(contents(&store) == contents_before);

    // With nothing free there is nothing to do, and what comes then is as good as before.
    let again = store.compact()?;
    assert_eq!((again.bytes_before, again.bytes_after), (report.bytes_after, report.bytes_after));
    fill(&store, 50)?;
    comes_back(&scratch, store)
}

#[test]
fn large_erasure_shrinks_file_and_log() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    fill(&store, 400)?;
    store.erase_type(TraceType::Sensory)?;
    // Nobody asks for more.
    until_compacted(&scratch, &store);
    assert_eq!(occurrences(&scratch, "secret-")?, 0);
    assert!(occurrences(&scratch, "kept-")? > 0, "the search finds what is there");
    comes_back(&scratch, store)
}

#[test]
fn compact_ends_while_flushes_never_rest() -> Outcome {
    let scratch = TestDir::new()?;
    let store = flush_always().open(scratch.path())?;
    fill(&store, 200)?;
    remove_secrets(&store)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Outcome {
        let writer = scope.spawn(|| -> mnemon::Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let id = store.insert(note("meanwhile"))?;
                store.flush()?;
                store.remove(id)?;
            }
            Ok(())
        });
        let compacted = store.compact();
        stop.store(true, Ordering::Relaxed);
        writer.join().map_err(|_| "the writer panicked")??;
        let report = compacted?;
        assert!(report.bytes_after < report.bytes_before, "{report:?}");
        Ok(())
    })?;
    comes_back(&scratch, store)
}

#[test]
fn readers_beside_see_one_cut() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    fill(&store, 300)?;
    remove_secrets(&store)?;
    let holder = scratch.reader()?;
    holder.execute_batch("BEGIN")?;
    let sum = "SELECT count(*), total(length(payload)) FROM traces";
    let counted = || holder.query_row(sum, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?)));
    let before = counted()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| -> Outcome {
        let reader = scope.spawn(|| -> mnemon::Result<()> {
            for n in 0.. {
                let copy =
                    backup(scratch.path(), scratch.folder().join(format!("copy-{n}.db")), Progress::ignore)?;
                assert!(copy.is_sound() && copy.traces == 300, "{copy:?}");
                let found = verify(scratch.path(), Progress::ignore)?;
                assert!(found.is_sound() && found.traces == 300, "{found:?}");
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
            Ok(())
        });
        let report = store.compact();
        done.store(true, Ordering::Relaxed);
        reader.join().map_err(|_| "a reader failed")??;
        let report = report?;
        assert!(report.bytes_after >= report.bytes_before, "the log is held: {report:?}");
        Ok(())
    })?;
    assert_eq!((counted()?, pragma(&scratch, "freelist_count")?), (before, 0));
    let held = on_disk(&scratch);
    holder.execute_batch("COMMIT")?;
    assert_eq!(counted()?, before);
    drop(holder);
    comes_back(&scratch, store)?;
    assert!(on_disk(&scratch) < held / 2, "{} bytes of {held} when nobody holds the log", on_disk(&scratch));
    Ok(())
}

/// As files were made before they could be compacted.
fn without_map(scratch: &TestDir) -> Outcome {
    scratch.reader()?.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM;")?;
    assert_eq!(pragma(scratch, "auto_vacuum")?, 0);
    Ok(())
}

#[test]
fn older_file_is_converted_once() -> Outcome {
    let scratch = TestDir::new()?;
    manual_flush().open(scratch.path())?.close()?;
    assert_eq!(pragma(&scratch, "auto_vacuum")?, 2, "a new one is as it should be");
    without_map(&scratch)?;
    let store = manual_flush().open(scratch.path())?;
    fill(&store, 400)?;
    let before = contents(&store);
    // It does not shrink by itself, and holds nothing up.
    store.erase_type(TraceType::Sensory)?;
    store.insert(note("later"))?;
    store.flush()?;
    assert!(pragma(&scratch, "freelist_count")? > 100);
    assert_eq!(pragma(&scratch, "auto_vacuum")?, 0);
    let report = store.compact()?;
    assert!(report.bytes_after < report.bytes_before * 2 / 3, "{report:?}");
    assert_eq!((pragma(&scratch, "auto_vacuum")?, pragma(&scratch, "freelist_count")?), (2, 0));
    assert_eq!(store.len() * 2, before.0.len() + 2);
    // From then on it goes by steps, and by itself.
    fill(&store, 500)?;
    store.erase_type(TraceType::Sensory)?;
    until_compacted(&scratch, &store);
    comes_back(&scratch, store)
}

/// A backend that compacts for as long as the test has it do so, the calls of it, and the answer to each step:
/// whether there is more to do.
fn stepwise() -> (Scripted, Receiver<&'static str>, Sender<bool>) {
    let ((calls, called), (answer, more)) = (channel(), channel::<bool>());
    let call = |calls: &Sender<_>, what| {
        calls.send(what).ok();
    };
    let (applies, steps) = (calls.clone(), calls.clone());
    let (backend, _) = scripted(move |_| {
        call(&applies, "apply");
        Answer::Apply
    });
    let backend = backend.on_compact(move || {
        call(&steps, "step");
        more.recv().unwrap_or(false)
    });
    let backend = backend.on_close(move || {
        call(&calls, "close");
        None
    });
    (backend, called, answer)
}

#[test]
fn flush_waits_for_one_step() -> Outcome {
    let (backend, called, answer) = stepwise();
    let store = &manual_flush().open_with(backend)?;
    thread::scope(move |scope| -> Outcome {
        let compacting = scope.spawn(|| store.compact());
        assert_eq!(called.recv()?, "step");
        // Asked for while the step is under way.
        store.insert(note("meanwhile"))?;
        let mut flushed = pin!(store.flush_async());
        answer.send(true)?;
        assert_eq!(called.recv()?, "apply");
        assert_eq!(called.recv()?, "step", "one after each flush, however many there are");
        assert!(flushed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        assert!(!compacting.is_finished());
        answer.send(false)?;
        assert!(compacting.join().is_ok_and(|compacted| compacted.is_ok()));
        Ok(())
    })
}

#[test]
fn close_ends_compaction() -> Outcome {
    let (backend, called, answer) = stepwise();
    let store = &manual_flush().open_with(backend)?;
    thread::scope(move |scope| -> Outcome {
        let compacting = scope.spawn(|| store.compact());
        assert_eq!(called.recv()?, "step");
        let closing = scope.spawn(|| store.clone().close().is_ok());
        // More and more steps, until the flusher comes to the close.
        while answer.send(true).is_ok() {
            thread::yield_now();
        }
        assert!(closing.join().is_ok_and(|closed| closed));
        let compacted = compacting.join().map_err(|_| "it panicked")?;
        assert_eq!(compacted.err().map(|error| error.kind()), Some(ErrorKind::Closed));
        assert_eq!(store.compact().err().map(|error| error.kind()), Some(ErrorKind::Closed));
        Ok(())
    })
}

#[test]
fn compact_stops_at_another_owner() -> Outcome {
    for has_map in [true, false] {
        let scratch = TestDir::new()?;
        manual_flush().open(scratch.path())?.close()?;
        if !has_map {
            without_map(&scratch)?;
        }
        // What is not its own it can't close either.
        let store = manual_flush().close_timeout(Duration::ZERO).open(scratch.path())?;
        fill(&store, 50)?;
        remove_secrets(&store)?;
        let free = pragma(&scratch, "freelist_count")?;
        scratch.reader()?.execute("UPDATE store SET boot = zeroblob(16)", [])?;
        let error = store.compact().err().ok_or("it compacts another's file")?;
        assert_eq!(error.kind(), ErrorKind::NotAStore, "{error:?}");
        assert_eq!(pragma(&scratch, "freelist_count")?, free);
    }
    Ok(())
}

#[test]
fn store_without_file_compacts_nothing() -> Outcome {
    let store = TraceStore::in_memory();
    store.insert(note(1))?;
    let report = store.compact()?;
    assert_eq!((report.bytes_before, report.bytes_after), (0, 0));
    Ok(())
}
