//! `backup` copies a store's file as of one cut, while writers go on, and gives it its name when it is sound.
#![cfg(feature = "sqlite")]

use super::flushed;
use harness::{Outcome, TestDir, by_id, flush_always, manual_flush, note};
use mnemon::{ErrorKind, NewTrace, Progress, TraceStore, VerifyReport, inspect};
use rusqlite::Connection;
use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

fn names(folder: &Path) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Without a word of its progress.
fn backup(from: &Path, to: impl AsRef<Path>) -> mnemon::Result<VerifyReport> {
    mnemon::backup(from, to, Progress::ignore)
}

/// Whenever it is told to end, up to its last word.
#[test]
fn interrupted_backup_leaves_nothing() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    for _ in 0..2 {
        store.insert_many((0..10_000).map(|n| NewTrace::text(&format!("{n} {}", "tide ".repeat(50)))))?;
    }
    store.close()?;
    let to = file.folder().join("copy.db");
    let told_until = |end: usize| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        let outcome = mnemon::backup(file.path(), &to, move |progress| {
            let mut told = heard.lock().unwrap_or_else(PoisonError::into_inner);
            told.push(progress);
            if told.len() == end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner)), outcome)
    };
    let (told, whole) = told_until(usize::MAX);
    assert_eq!(whole?.traces, 20_000);
    fs::remove_file(&to)?;
    let names_before = names(file.folder())?;
    let steps: Vec<_> = told.chunk_by(|a, b| a.step == b.step).collect();
    let names_of_steps: Vec<_> = steps.iter().map(|step| step[0].step).collect();
    assert_eq!(names_of_steps, ["copying pages", "checking pages", "reading rows"]);
    for step in [steps[0], steps[2]] {
        assert!(step.is_sorted_by_key(|progress| progress.done), "{step:?}");
        assert!(
            step.iter().all(|progress| progress.total > 0 && progress.done <= progress.total),
            "{step:?}"
        );
    }
    assert!(steps[2].last().is_some_and(|told| told.total == 20_000 && told.done > 10_000), "{:?}", steps[2]);
    let [first, last] =
        [steps[0].first(), steps[0].last()].map(|told| told.map(|told| told.total - told.done));
    assert!(first > Some(0) && last == Some(0), "several steps, down to none left: {:?}", steps[0]);
    for end in [1, steps[0].len() + 1, told.len()] {
        let (_, outcome) = told_until(end);
        let error = outcome.map(drop).err().ok_or("it went on")?;
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
        assert!(error.to_string().contains(told[end - 1].step), "{error}");
        assert_eq!(names(file.folder())?, names_before);
    }
    Ok(())
}

#[test]
fn backup_among_writers_is_one_cut() -> Outcome {
    const WRITERS: u64 = 2;
    let file = TestDir::new()?;
    let store = flush_always().open(file.path())?;
    let stop = AtomicBool::new(false);
    // Each writer numbers what it inserts: one cut holds no number without the ones before.
    let write = |writer: u64| -> mnemon::Result<()> {
        let mut last = None;
        for n in 0_u64.. {
            let id = store.insert(note(n).partition(format!("writer {writer}")))?;
            if let Some(last) = last.replace(id) {
                store.co_activate(last, id)?;
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // As many cuts as can be, and not too many traces.
            if n % 10 == 0 {
                store.flush()?;
            }
        }
        Ok(())
    };
    let taken = std::thread::scope(|scope| -> Outcome<Vec<_>> {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        harness::wait_until(|| store.watermark().committed > 10);
        let taken = (0..5).map(|n| {
            let to = file.folder().join(format!("copy-{n}.db"));
            let before = store.watermark().committed;
            let report = backup(file.path(), &to)?;
            let after = store.watermark().committed;
            assert!((before..=after).contains(&report.watermark), "{before} to {after}: {report:?}");
            harness::wait_until(|| store.watermark().committed > after);
            Ok((to, report))
        });
        let taken: mnemon::Result<Vec<_>> = taken.collect();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok(taken?)
    })?;
    store.close()?;

    for ((_, report), (_, later)) in taken.iter().zip(taken.iter().skip(1)) {
        assert!(report.watermark < later.watermark && report.traces < later.traces);
    }
    for (to, report) in taken {
        assert!(report.is_sound(), "{:#?}", report.findings);
        let copy = TraceStore::open(&to)?;
        assert_eq!((copy.len() as u64, copy.link_count() as u64), (report.traces, report.links));
        assert!(copy.stats().quarantined.is_empty());
        for writer in 0..WRITERS {
            let partition = format!("writer {writer}");
            let own = copy.iter().filter(|trace| trace.partition() == partition);
            let numbers: HashSet<_> = own
                .map(|trace| trace.payload().as_value().map(|payload| payload["note"].as_u64()))
                .collect::<Result<_, _>>()?;
            let expected: HashSet<_> = (0..numbers.len() as u64).map(Some).collect();
            assert_eq!(numbers, expected);
        }
        copy.close()?;
    }
    Ok(())
}

#[test]
fn backup_holds_flushed_host_goes_on() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let ids = store.insert_many((0..300).map(note))?;
    store.co_activate(ids[0], ids[1])?;
    store.flush()?;
    let flushed = by_id(&store);
    store.insert(note("not flushed"))?;
    let to = file.folder().join("copy.db");
    let report = backup(file.path(), &to)?;
    assert_eq!(report.bytes, fs::metadata(&to)?.len());

    store.insert(note("afterwards"))?;
    store.flush()?;
    assert_eq!(store.health(), mnemon::Health::Healthy);
    store.close()?;
    let copy = TraceStore::builder().detached(&to)?;
    assert_eq!((by_id(&copy), copy.link_count()), (flushed, 1));
    assert_eq!(TraceStore::open(file.path())?.len(), 302);
    Ok(())
}

#[test]
fn backup_is_private_and_keeps_history() -> Outcome {
    let (file, store, _) = flushed(50)?;
    let to = file.folder().join("copy.db");
    backup(file.path(), &to)?;
    let mut expected = vec!["copy.db", "memory.db", "memory.db-shm", "memory.db-wal"];
    // Elsewhere a file can't be locked itself.
    if !cfg!(all(target_os = "linux", target_pointer_width = "64")) {
        expected.push("memory.db.lock");
    }
    assert_eq!(names(file.folder())?, expected);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&to)?.permissions().mode() & 0o777, 0o600);
    }
    // Without a log, so that it can be read where nothing can be written: <https://www.sqlite.org/fileformat2.html>.
    assert_eq!(fs::read(&to)?[18..20], [1, 1]);

    let said = |path: &Path| -> Outcome<_> {
        let connection = Connection::open(path)?;
        let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let store = "SELECT watermark, boot, clean FROM store";
        let store = connection.query_row(store, [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, bool>(2)?))
        })?;
        Ok((number("PRAGMA application_id")?, number("PRAGMA user_version")?, store))
    };
    let (original, copy) = (said(file.path())?, said(&to)?);
    assert_eq!((original.0, original.1), (copy.0, copy.1));
    assert_eq!((original.2.0, &original.2.1), (copy.2.0, &copy.2.1), "the same cut, of the same opening");
    assert_eq!((original.2.2, copy.2.2), (false, true), "the copy is whole, and nobody has it open");
    let report = inspect(&to)?;
    assert_eq!((report.in_use_by, report.clean, report.wal_bytes), (None, true, 0));
    store.close()?;

    let copy = TraceStore::open(&to)?;
    copy.insert(note("a life of its own"))?;
    copy.close()?;
    assert_eq!((inspect(&to)?.traces, inspect(file.path())?.traces), (51, 50));
    Ok(())
}

#[cfg(feature = "snapshot")]
#[test]
fn spill_applies_to_backup() -> Outcome {
    let (file, store, _) = flushed(50)?;
    let to = file.folder().join("copy.db");
    backup(file.path(), &to)?;
    let late = store.insert(note("spilled"))?;
    let spill = store.spill()?.path;
    fs::rename(spill, file.folder().join("copy.db.spill"))?;
    let copy = TraceStore::open(&to)?;
    assert!(copy.contains(late));
    copy.close()?;
    store.close()?;
    Ok(())
}

#[test]
fn backup_overwrites_nothing() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    store.insert(note(1))?;
    store.flush()?;
    for taken in ["copy.db", "copy.db-wal", "copy.db-journal", "copy.db.spill"] {
        fs::write(file.folder().join(taken), "precious")?;
        let error = backup(file.path(), file.folder().join("copy.db")).err().ok_or(taken)?;
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        assert!(error.to_string().contains(taken), "{error}");
        assert_eq!(fs::read_to_string(file.folder().join(taken))?, "precious");
        fs::remove_file(file.folder().join(taken))?;
    }
    let error = backup(file.path(), file.path()).err().ok_or("onto itself")?;
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    store.close()?;
    Ok(())
}

#[test]
fn damaged_store_leaves_no_backup() -> Outcome {
    let (file, store, _) = flushed(300)?;
    store.close()?;
    let sound = fs::read(file.path())?;
    let to = file.folder().join("copy.db");
    for page in 1..sound.len() / 4_096 {
        let mut damaged = sound.clone();
        damaged[page * 4_096..][..4_096].fill(0xff);
        fs::write(file.path(), damaged)?;
        let error = backup(file.path(), &to).err().ok_or_else(|| format!("page {page} was not missed"))?;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "page {page}: {error}");
        assert!(error.to_string().contains("memory.db"), "{error}");
        let left = names(file.folder())?.into_iter().find(|name| name.starts_with("copy"));
        assert_eq!(left, None, "page {page}");
    }
    fs::write(file.path(), sound)?;
    backup(file.path(), &to)?;
    Ok(())
}

#[test]
fn unsound_row_is_copied_and_told() -> Outcome {
    let (file, store, _) = flushed(10)?;
    store.close()?;
    Connection::open(file.path())?.execute("UPDATE traces SET payload = 'no JSON' WHERE row = 4", [])?;
    let to = file.folder().join("copy.db");
    let report = backup(file.path(), &to)?;
    let found: Vec<_> = report.findings.iter().map(|finding| (finding.part, finding.row)).collect();
    assert_eq!(found, [("traces", Some(4))]);
    let sql = "SELECT payload FROM traces WHERE row = 4";
    let payload: String = Connection::open(&to)?.query_row(sql, [], |row| row.get(0))?;
    assert_eq!(payload, "no JSON");
    Ok(())
}

#[test]
fn impossible_backup_names_the_file() -> Outcome {
    let file = TestDir::new()?;
    let to = file.folder().join("copy.db");
    let kind = |from: &Path, to: &Path| backup(from, to).err().map(|error| error.kind());
    assert_eq!(kind(file.path(), &to), Some(ErrorKind::Unreachable));
    fs::write(file.path(), "this is a letter, and a long one, as letters were when there was time for them")?;
    assert_eq!(kind(file.path(), &to), Some(ErrorKind::NotAStore));
    fs::remove_file(file.path())?;
    TraceStore::open(file.path())?.close()?;
    assert_eq!(kind(file.path(), &file.folder().join("nowhere/copy.db")), Some(ErrorKind::Unreachable));
    assert!(!to.exists());
    assert_eq!(kind(file.path(), &to), None, "an empty store is a store");
    Ok(())
}
