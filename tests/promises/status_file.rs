//! A status file says how a store is doing, and is whole whenever somebody reads it.
#![cfg(feature = "sqlite")]

use harness::backend::{Answer, scripted};
use harness::{Outcome, TestDir, manual_flush, note};
use mnemon::{ErrorKind, StatusFile, TraceStore};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn read(path: &Path) -> Outcome<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[test]
fn status_counts_flushed_owed_and_rates() -> Outcome {
    let folder = TestDir::new()?;
    let store = manual_flush().open(folder.path())?;
    let mut status = StatusFile::new(folder.folder().join("status"));
    status.write(&store, Some(0))?;
    let first = read(status.path())?;
    assert_eq!(
        (&first["flushes"], &first["last_flush_seconds"], &first["seconds"]),
        (&0.into(), &Value::Null, &Value::Null)
    );
    assert_eq!(first["rows_per_second"], Value::Null, "there is nothing to compare with");

    let ids = store.insert_many((0..3).map(note))?;
    store.co_activate(ids[0], ids[1])?;
    store.flush()?;
    let brief = store.insert(note("gone before it was flushed"))?;
    store.remove(brief)?;
    store.flush()?;
    store.remove(ids[2])?;
    status.write(&store, Some(7))?;
    let second = read(status.path())?;
    let numbers = ["traces", "links", "dirty", "flushes", "rows", "writes", "quarantined", "mnemon_status"];
    let numbers = numbers.map(|name| second[name].as_u64());
    assert_eq!(numbers, [2, 1, 1, 1, 4, 7, 0, 1].map(Some), "a flush that writes nothing is none: {second}");
    assert_eq!((&second["health"], &second["trouble"]), (&"healthy".into(), &Value::Null));
    assert_eq!(second["process"], std::process::id());
    assert_eq!(second["committed"], store.watermark().committed);
    let number = |name: &str| second[name].as_f64().ok_or_else(|| format!("no {name} in {second}"));
    assert!(number("lag_seconds")? > 0.0, "{second}");
    assert!(number("last_flush_seconds")? > 0.0 && number("mean_flush_seconds")? > 0.0, "{second}");
    for (rate, difference) in
        [("flushes_per_second", 1.0), ("rows_per_second", 4.0), ("writes_per_second", 7.0)]
    {
        assert!((number(rate)? * number("seconds")? - difference).abs() < 1e-6, "{rate} in {second}");
    }
    status.write(&store, None)?;
    assert_eq!(read(status.path())?["writes_per_second"], Value::Null);
    Ok(())
}

#[test]
fn status_tells_trouble_and_close() -> Outcome {
    let folder = TestDir::new()?;
    let mut refusals = 1;
    let (backend, _log) = scripted(move |_| match std::mem::take(&mut refusals) {
        0 => Answer::Apply,
        _ => Answer::Fail(ErrorKind::DiskFull),
    });
    let store = manual_flush().open_with(backend)?;
    let mut status = StatusFile::new(folder.folder().join("status"));
    store.insert(note(1))?;
    let error = store.flush().err().ok_or("the disk is full")?;
    status.write(&store, None)?;
    let degraded = read(status.path())?;
    assert_eq!((&degraded["health"], &degraded["trouble"]), (&"degraded".into(), &error.to_string().into()));
    let other = store.clone();
    store.close()?;
    status.write(&other, None)?;
    let closed = read(status.path())?;
    assert_eq!((&closed["health"], &closed["trouble"]), (&"closed".into(), &Value::Null));
    Ok(())
}

#[test]
fn status_is_whole_at_any_time() -> Outcome {
    let folder = TestDir::new()?;
    let store = TraceStore::in_memory();
    let mut status = StatusFile::new(folder.folder().join("status"));
    status.write(&store, None)?;
    let (path, done) = (status.path().to_owned(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut read_so_far = 0;
            while !done.load(Ordering::Relaxed) || read_so_far == 0 {
                read(&path).map_err(|error| error.to_string())?;
                read_so_far += 1;
            }
            Ok::<_, String>(())
        });
        for writes in 0..500 {
            status.write(&store, Some(writes)).map_err(|error| error.to_string())?;
        }
        done.store(true, Ordering::Relaxed);
        reader.join().map_err(|_| "the reader panicked")?
    })?;
    assert_eq!(fs::read_dir(folder.folder())?.count(), 1, "nothing stays beside it");
    Ok(())
}

#[test]
fn unwritable_status_names_the_path() -> Outcome {
    let folder = TestDir::new()?;
    let path = folder.folder().join("nowhere").join("status");
    let error =
        StatusFile::new(&path).write(&TraceStore::in_memory(), None).err().ok_or("there is no folder")?;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    Ok(())
}

#[test]
fn only_status_files_are_replaced() -> Outcome {
    let folder = TestDir::new()?;
    let store = manual_flush().open(folder.path())?;
    store.insert(note(1))?;
    store.flush()?;
    let letter = folder.folder().join("letter");
    fs::write(&letter, r#"{"dear": "Ana"}"#)?;
    fs::create_dir(folder.folder().join("folder"))?;
    for name in ["memory.db", "letter", "folder"] {
        let path = folder.folder().join(name);
        let before = fs::read(&path).ok();
        let error = StatusFile::new(&path).write(&store, None).err().ok_or(name)?;
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        assert!(error.to_string().contains(&format!("{} is there", path.display())), "{error}");
        assert!(fs::read(&path).ok() == before, "{name} was replaced");
    }
    // As a power loss may leave one; and one of a host before.
    for before in [vec![], vec![0; 400]] {
        fs::write(&letter, before)?;
        StatusFile::new(&letter).write(&store, None)?;
        StatusFile::new(&letter).write(&store, None)?;
        assert_eq!(read(&letter)?["mnemon_status"], 1);
    }
    store.close()?;
    Ok(())
}
