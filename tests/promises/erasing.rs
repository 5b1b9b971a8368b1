//! Erasing: traces, their links, quarantined rows, in one cut; and no byte of their payloads stays in any file.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::backend::{Answer, look, scripted};
use harness::{Outcome, TestDir, manual_flush, note, rows};
use mnemon::{Durability, NewTrace, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

/// Stands in each payload that is to be erased, in many sizes: within a page, and over many.
fn secret(n: usize) -> String {
    format!("secret-{n}-").repeat(1 + n % 700)
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

fn sensory(n: usize) -> NewTrace {
    NewTrace::sensory(json!(secret(n))).tag("seen").partition(if n.is_multiple_of(2) {
        "even"
    } else {
        "odd"
    })
}

#[test]
fn erased_type_leaves_no_bytes() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
    let kept = store
        .insert_many((0..500).map(|n| NewTrace::semantic(json!(format!("kept-{n}-").repeat(1 + n % 300)))))?;
    let gone = store.insert_many((0..1_000).map(sensory))?;
    for (a, b) in gone.iter().zip(&kept) {
        store.co_activate(*a, *b)?;
    }
    store.co_activate(kept[0], kept[1])?;
    store.flush()?;
    // What was written before, updated, removed, and left in the log.
    for (n, id) in gone.iter().enumerate().take(600) {
        store.update(*id, |trace| trace.payload(json!(secret(n + 1))))?;
        if n % 10 == 0 {
            store.flush()?;
        }
    }
    for id in &gone[..100] {
        store.remove(*id)?;
    }
    store.flush()?;
    assert!(occurrences(&scratch, "secret-")? > 0, "the search finds what is there");

    let report = store.erase_type(TraceType::Sensory)?;
    assert_eq!((report.traces, report.rows, report.links), (900, 900, 400));
    assert_eq!(occurrences(&scratch, "secret-")?, 0, "at once, as no reader holds the log");
    assert_eq!((store.len(), store.link_count()), (500, 1));
    assert!(
        store.query().of_type(TraceType::Sensory).run().is_empty()
            && store.query().tagged("seen").run().is_empty()
    );
    store.close()?;
    assert_eq!(occurrences(&scratch, "secret-")?, 0);
    let store = manual_flush().open_at(scratch.path())?;
    assert_eq!((store.len(), store.link_count()), (500, 1));
    assert!(kept.iter().all(|id| store.contains(*id)) && !gone.iter().any(|id| store.contains(*id)));
    Ok(())
}

#[test]
fn partition_is_erased_with_rows() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
    store.insert_many((0..200).map(sensory))?;
    store.flush()?;
    let report = store.erase_partition("odd")?;
    assert_eq!((report.traces, report.rows), (100, 100));
    assert!(store.iter().all(|trace| trace.partition() == "even"));
    assert_eq!(rows(&scratch.reader()?)?, 100);
    assert_eq!((occurrences(&scratch, "secret-1-")?, occurrences(&scratch, "secret-2-")? > 0), (0, true));
    assert_eq!(store.erase_partition("odd")?.traces, 0, "twice is no error");
    Ok(())
}

#[test]
fn quarantined_rows_are_erased_too() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
    let [bad, linked] = store.insert_many([sensory(1), NewTrace::semantic(json!(1))])?[..] else {
        unreachable!()
    };
    store.co_activate(bad, linked)?;
    store.close()?;
    scratch.reader()?.execute("UPDATE traces SET tier = 'lukewarm' WHERE id = ?1", [bad.as_bytes()])?;
    let store = manual_flush().open_at(scratch.path())?;
    assert_eq!((store.len(), store.stats().quarantined.len()), (1, 2), "the trace and its link");
    let report = store.erase_type(TraceType::Sensory)?;
    assert_eq!((report.traces, report.rows), (0, 1));
    assert_eq!(rows(&scratch.reader()?)?, 1);
    assert_eq!(occurrences(&scratch, "secret-")?, 0);
    assert!(store.stats().quarantined.is_empty(), "and are listed no more: {:?}", store.stats().quarantined);
    store.close()?;
    assert!(
        manual_flush().open_at(scratch.path())?.stats().quarantined.is_empty(),
        "the link to it went with it"
    );
    Ok(())
}

/// A reader that holds the log up holds up the overwriting of it, and nothing else.
#[test]
fn reader_delays_log_until_it_ends() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
    store.insert_many((0..50).map(sensory))?;
    store.flush()?;
    let reader = scratch.reader()?;
    reader.execute_batch("BEGIN")?;
    assert_eq!(rows(&reader)?, 50);
    assert_eq!(store.erase_type(TraceType::Sensory)?.rows, 50);
    assert_eq!(rows(&reader)?, 50, "its view stays");
    reader.execute_batch("COMMIT")?;
    drop(reader);
    store.close()?;
    assert_eq!(occurrences(&scratch, "secret-")?, 0);
    Ok(())
}

#[test]
fn insert_after_erasure_stays() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
    let id = TraceId::from_reference("again");
    store.insert(sensory(1).id(id))?;
    store.flush()?;
    store.erase_type(TraceType::Sensory)?;
    store.insert(NewTrace::sensory(json!("new")).id(id))?;
    store.close()?;
    let store = manual_flush().open_at(scratch.path())?;
    assert_eq!(store.get(id).map(|trace| trace.payload().as_str().to_owned()).as_deref(), Some("\"new\""));
    Ok(())
}

#[test]
fn closed_store_erases_nothing() -> Outcome {
    let store = TraceStore::in_memory();
    store.insert_many((0..10).map(sensory))?;
    assert_eq!(store.erase_type(TraceType::Sensory)?.traces, 10);
    store.insert(sensory(1))?;
    let closed = store.clone();
    store.close()?;
    assert_eq!(closed.erase_type(TraceType::Sensory).unwrap_err().kind(), mnemon::ErrorKind::Closed);
    assert_eq!(closed.len(), 1);
    Ok(())
}

/// Nothing is written any more that would bring the flusher back to it.
#[test]
fn log_is_emptied_after_reader_ends() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
    store.insert_many((0..50).map(sensory))?;
    store.flush()?;
    let reader = scratch.reader()?;
    reader.execute_batch("BEGIN")?;
    assert_eq!(harness::rows(&reader)?, 50);
    assert_eq!(store.erase_type(TraceType::Sensory)?.rows, 50);
    // Longer than it takes the flusher to tidy up for want of work.
    std::thread::sleep(Duration::from_secs(7));
    assert!(occurrences(&scratch, "secret-")? > 0, "the reader's view is there");
    reader.execute_batch("COMMIT")?;
    let gone_at = Instant::now();
    while occurrences(&scratch, "secret-")? > 0 {
        assert!(gone_at.elapsed() < Duration::from_secs(20), "it is still there");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn unreadable_rows_are_erased() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    store.insert_many([note(1), note(2).partition("other")])?;
    store.insert(NewTrace::episodic(json!(3)))?;
    store.close()?;
    file.reader()?.execute("UPDATE traces SET strength = 7.0 WHERE type = 'semantic'", [])?;
    let store = manual_flush().open_at(file.path())?;
    assert_eq!((store.len(), store.stats().quarantined.len()), (1, 2));
    let report = store.erase_partition("other")?;
    assert_eq!((report.traces, report.rows, rows(&file.reader()?)?), (0, 1, 2));
    let report = store.erase_type(TraceType::Semantic)?;
    assert_eq!((report.traces, report.rows, rows(&file.reader()?)?), (0, 1, 1));
    assert_eq!(store.erase_type(TraceType::Trust)?.rows, 0, "of what there is not, nothing goes");
    Ok(())
}

#[test]
fn erasure_reports_rows_of_any_flush() -> Outcome {
    for builder in [TraceStore::builder(), TraceStore::builder().durability(Durability::Committed)] {
        let file = TestDir::new()?;
        let store =
            builder.flush_interval(std::time::Duration::ZERO).flush_threshold(1).open_at(file.path())?;
        for round in 0..100 {
            store.insert(NewTrace::trust(json!(round)))?;
            store.insert_many((0..3).map(note))?;
            store.flush()?;
            let report = store.erase_type(TraceType::Semantic)?;
            assert_eq!((report.traces, report.rows), (3, 3), "round {round}");
            assert_eq!(store.watermark().committed, store.watermark().durable);
            assert_eq!(rows(&file.reader()?)?, round + 1);
        }
    }
    Ok(())
}

#[test]
fn erasure_is_durable_in_relaxed_store() -> Outcome {
    let (backend, log) = scripted(|_| Answer::Apply);
    let store = TraceStore::builder().durability(Durability::Committed).open_with(backend)?;
    for _ in 0..500 {
        store.erase_type(TraceType::Semantic)?;
    }
    let reaches: Vec<_> = look(&log).batches.iter().map(|(durability, _)| *durability).collect();
    assert_eq!(reaches, [Durability::Durable; 500]);
    Ok(())
}

#[test]
fn row_counts_as_erased_or_deleted() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
    let all = store.insert_many((0..10).map(sensory))?;
    let kept = store.insert(NewTrace::semantic(json!("kept")))?;
    store.co_activate(all[0], all[1])?;
    store.co_activate(all[0], kept)?;
    store.flush()?;
    store.erase_type(TraceType::Sensory)?;
    let stats = store.stats();
    let report = stats.last_flush;
    assert_eq!((report.rows_erased, report.rows_deleted, report.links_deleted), (10, 0, 2));
    Ok(())
}

/// An unreadable trace that an erased one was linked to is still quarantined: its link went, its row did not.
#[test]
fn unreadable_unerased_rows_stay_listed() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
    let [unreadable, erased] = [TraceId::from_bytes([1; 16]), TraceId::from_bytes([2; 16])];
    store.insert_many([note(1).id(unreadable), sensory(1).id(erased)])?;
    store.co_activate(unreadable, erased)?;
    store.close()?;
    scratch
        .reader()?
        .execute("UPDATE traces SET tier = 'lukewarm' WHERE id = ?1", [unreadable.as_bytes()])?;
    let store = manual_flush().open_at(scratch.path())?;
    assert_eq!(store.stats().quarantined.iter().filter(|row| row.is_link).count(), 1);
    store.erase_type(TraceType::Sensory)?;
    let quarantined = store.stats().quarantined;
    assert_eq!(
        quarantined.iter().map(|row| (row.id, row.is_link)).collect::<Vec<_>>(),
        [(Some(unreadable), false)]
    );
    Ok(())
}
