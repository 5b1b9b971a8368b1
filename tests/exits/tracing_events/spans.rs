//! Spans around opening, flushing and closing.

use super::heard::{self, Said, documented, events, heard, milliseconds, number, only, said_of, spans};
use harness::{Outcome, TestDir, note};
use mnemon::testkit::{Call, Faults};
use mnemon::{ErrorKind, NewTrace};
use serde_json::json;
use std::collections::BTreeSet;
use tracing::Level;

#[test]
fn opening_flushing_and_closing_are_spans() -> Outcome {
    let scratch = TestDir::new()?;
    let store = heard("spans").open(scratch.path())?;
    let ids = store.insert_many((0..4).map(|n| note(n.to_string())))?;
    (0..3).try_for_each(|_| store.co_activate(ids[0], ids[1]).map(drop))?;
    store.flush()?;
    store.flush()?;
    store.update(ids[0], |trace| trace.confidence(0.25))?;
    store.remove(ids[3])?;
    store.flush()?;
    let closed = store.close()?;

    let said = said_of("spans");
    let open = only(&spans(&said, "mnemon.open"))?;
    let path = scratch.path().canonicalize()?;
    assert_eq!(open.fields["path"].as_str(), path.to_str());
    assert_eq!((number(open, "traces")?, number(open, "links")?, number(open, "unreadable")?), (0, 0, 0));
    milliseconds(open, "elapsed_ms")?;

    // The flush between them had nothing to write, nor had the two turns of the close.
    let [first, second] = spans(&said, "mnemon.flush")[..] else { return Err(format!("{said:#?}").into()) };
    let counts = |said: &Said| -> Outcome<[u64; 5]> {
        let of = |field| number(said, field);
        Ok([of("traces")?, of("links")?, of("rows_upserted")?, of("rows_updated")?, of("rows_deleted")?])
    };
    assert_eq!(counts(first)?, [4, 1, 4, 0, 0]);
    assert_eq!(counts(second)?, [2, 0, 0, 1, 1]);
    assert_eq!(number(first, "payload_bytes")?, 4 * r#"{"note":"0"}"#.len() as u64);
    assert_eq!(number(second, "payload_bytes")?, 0);
    assert!(number(first, "cut")? < number(second, "cut")?);
    for flush in [first, second] {
        assert_eq!(
            (&flush.fields["durability"], flush.fields["path"].as_str()),
            (&json!("durable"), path.to_str())
        );
        assert!(milliseconds(flush, "elapsed_ms")? > 0.0 && flush.within.is_empty());
    }
    for part in ["cut", "apply"] {
        let parts = spans(&said, part);
        assert_eq!(parts.len(), 2, "{part}");
        assert!(parts.iter().all(|said| said.within == ["mnemon.flush"]), "{parts:?}");
    }
    let close = only(&spans(&said, "mnemon.close"))?;
    assert_eq!((number(close, "watermark")?, number(close, "traces")?), (closed.durable, 3));
    milliseconds(close, "elapsed_ms")?;
    for (message, times) in [("opened", 1), ("flushed", 2), ("closed", 1)] {
        assert_eq!(events(&said, Level::DEBUG, message).len(), times, "{message}");
    }
    // So little is moved by the flusher's thread, at the close.
    let all = heard::said().clone();
    let checkpoints: Vec<_> = spans(&all, "mnemon.checkpoint");
    let ours: Vec<_> =
        checkpoints.into_iter().filter(|said| said.fields["path"].as_str() == path.to_str()).collect();
    let checkpoint = only(&ours)?;
    assert_eq!(checkpoint.fields["complete"], true);
    assert!(number(checkpoint, "pages")? > 0);
    let fields = documented("mnemon.checkpoint").ok_or("it is not in the guide")?.fields;
    assert_eq!(fields, BTreeSet::from(["pages", "complete"]));
    Ok(())
}

/// Neither the flush with the cut nor the one after it waits for that: a thread beside the flusher does it.
#[test]
fn flushes_move_no_log() -> Outcome {
    let scratch = TestDir::new()?;
    let store = heard("large").open(scratch.path())?;
    // Some 2,400 pages.
    store.insert_many((0..10).map(|n| note(n.to_string().repeat(1_000_000))))?;
    store.flush()?;
    store.insert(note("after".to_owned()))?;
    store.flush()?;
    store.close()?;
    let (all, path) = (heard::said().clone(), scratch.path().canonicalize()?);
    let mut checkpoints = spans(&all, "mnemon.checkpoint");
    checkpoints.retain(|said| said.fields["path"].as_str() == path.to_str());
    let moved = checkpoints.iter().map(|said| number(said, "pages")).sum::<Outcome<u64>>()?;
    assert!(moved > 2_000, "{checkpoints:#?}");
    assert!(checkpoints.iter().all(|said| said.within.is_empty()), "{checkpoints:#?}");
    Ok(())
}

/// A flush that fails has its span, and one that is asked for and finds nothing has none.
#[test]
fn failed_flush_span_has_no_rows() -> Outcome {
    let faults = Faults::new();
    let store = heard("failing").durability(mnemon::Durability::Committed).open_with(faults.backend())?;
    faults.fail(Call::Apply).with(ErrorKind::DiskFull);
    store.insert(NewTrace::semantic(json!(1)))?;
    while store.flush().is_err() {}
    store.close()?;
    let said = said_of("failing");
    let [failed, done] = spans(&said, "mnemon.flush")[..] else { return Err(format!("{said:#?}").into()) };
    assert!(!failed.fields.contains_key("rows_upserted") && milliseconds(failed, "elapsed_ms")? > 0.0);
    assert_eq!(number(failed, "traces")?, 1);
    assert_eq!(number(done, "rows_upserted")?, 1);
    Ok(())
}
