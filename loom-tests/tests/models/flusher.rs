//! Models 6 to 8: the flusher itself, through the store, over a backend that keeps rows in a map.

use super::support::model;
use loom::thread;
use mnemon::backend::{Applied, Backend, BackendError, Batch, Loaded, Reopened, Stored, TraceChange};
use mnemon::{ErrorKind, NewTrace, TraceId, TraceStore};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What has been committed: the confidence of each trace, in hundredths.
type Rows = Arc<Mutex<BTreeMap<TraceId, u32>>>;

/// Keeps rows in a map; fails the first so many batches, after writing nothing.
struct Table {
    rows: Rows,
    failures: usize,
}

impl Backend for Table {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        Ok(Loaded::default())
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(BackendError::new(ErrorKind::DiskFull, "full"));
        }
        // A commit takes time, and others go on meanwhile.
        thread::yield_now();
        let mut rows = self.rows.lock().unwrap();
        for change in batch.traces {
            match change {
                TraceChange::Delete { id, .. } => rows.remove(id),
                TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } => {
                    rows.insert(trace.id(), hundredths(trace.confidence()))
                }
            };
        }
        Ok(Applied::default())
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        Ok(Reopened::Same)
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn close(&mut self, _: u64) -> Result<(), BackendError> {
        Ok(())
    }
}

fn hundredths(confidence: f64) -> u32 {
    (confidence * 100.0) as u32
}

fn open(failures: usize) -> (TraceStore, Rows) {
    open_flushing_after(Duration::MAX, failures)
}

fn open_flushing_after(interval: Duration, failures: usize) -> (TraceStore, Rows) {
    let rows = Rows::default();
    let builder = TraceStore::builder().flush_interval(interval).flush_threshold(usize::MAX);
    let store = builder.open_with(Table { rows: rows.clone(), failures }).unwrap();
    (store, rows)
}

fn id(n: u8) -> TraceId {
    TraceId::from_bytes([n; 16])
}

fn insert(store: &TraceStore, n: u8) -> mnemon::Result<TraceId> {
    store.insert(NewTrace::semantic(serde_json::json!(n)).id(id(n)).confidence(0.0))
}

fn set(store: &TraceStore, n: u8, confidence: f64) {
    assert!(store.update(id(n), |trace| trace.confidence(confidence)).unwrap().is_some());
}

fn row(rows: &Rows, n: u8) -> Option<u32> {
    rows.lock().unwrap().get(&id(n)).copied()
}

fn memory(store: &TraceStore, n: u8) -> Option<u32> {
    store.get(id(n)).map(|trace| hundredths(trace.confidence()))
}

/// A caller of flush, who finds its own earlier write committed.
fn flush_own_write(store: &TraceStore, rows: &Rows, n: u8) -> impl FnOnce() + use<> {
    let (store, rows) = (store.clone(), rows.clone());
    move || {
        insert(&store, n).unwrap();
        store.flush().unwrap();
        assert_eq!(row(&rows, n), Some(0), "the caller's write is committed when flush returns");
    }
}

/// A writer that may come too late: what became of each insert.
fn try_inserts<const N: usize>(store: &TraceStore, ids: [u8; N]) -> impl FnOnce() -> [Outcome; N] + use<N> {
    let store = store.clone();
    move || ids.map(|n| insert(&store, n).map(drop).map_err(|error| error.kind()))
}

type Outcome = Result<(), ErrorKind>;

fn close_and_refuse(store: TraceStore) {
    let late = store.clone();
    store.close().unwrap();
    assert_eq!(insert(&late, 9).unwrap_err().kind(), ErrorKind::Closed, "closed for later writes");
}

fn assert_kept_or_refused<const N: usize>(rows: &Rows, ids: [u8; N], outcomes: [Outcome; N]) {
    for (n, outcome) in ids.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => assert_eq!(row(rows, n), Some(0), "an accepted write is in the last batch"),
            Err(kind) => {
                assert_eq!(kind, ErrorKind::Closed);
                assert_eq!(row(rows, n), None, "a refused write is nowhere");
            }
        }
    }
}

/// A failed batch, then writes, then a flush that succeeds: the rows equal memory.
#[test]
fn a_failed_batch_is_owed() {
    model("a_failed_batch_is_owed", Some(4), || {
        let (store, rows) = open(1);
        insert(&store, 1).unwrap();
        insert(&store, 2).unwrap();
        let other = store.clone();
        let writer = thread::spawn(move || {
            set(&other, 2, 0.25);
            set(&other, 2, 0.5);
            other.remove(id(1)).unwrap();
            insert(&other, 3).unwrap();
        });
        assert_eq!(store.flush().unwrap_err().kind(), ErrorKind::DiskFull);
        assert!(rows.lock().unwrap().is_empty(), "nothing of a failed batch is there");
        store.flush().unwrap();
        writer.join().unwrap();
        store.flush().unwrap();
        for n in 1..=3 {
            assert_eq!(row(&rows, n), memory(&store, n), "row and memory of {n} agree");
        }
        assert_eq!(store.stats().dirty, 0);
    });
}

/// Two callers of flush, and the flusher on a thread of its own: each returns only after its own earlier writes
/// are committed.
#[test]
fn flush_returns_after_its_callers_writes_are_committed() {
    model("flush_returns_after_its_callers_writes_are_committed", Some(2), || {
        let (store, rows) = open(0);
        let flusher = thread::spawn(mnemon::model::flusher(&store));
        let other = thread::spawn(flush_own_write(&store, &rows, 2));
        flush_own_write(&store, &rows, 1)();
        other.join().unwrap();
        // With no flush of its own: the close drains it.
        insert(&store, 3).unwrap();
        store.close().unwrap();
        flusher.join().unwrap();
        assert_eq!(row(&rows, 3), Some(0), "close drains");
    });
}

/// With a writer beside them, and no such thread: whoever flushes does the flusher's work, one at a time.
#[test]
fn callers_that_flush_for_themselves_share_the_work() {
    model("callers_that_flush_for_themselves_share_the_work", Some(2), || {
        let (store, rows) = open(0);
        let others = [thread::spawn(flush_own_write(&store, &rows, 2)), {
            let store = store.clone();
            thread::spawn(move || assert!(insert(&store, 3).is_ok()))
        }];
        flush_own_write(&store, &rows, 1)();
        for other in others {
            other.join().unwrap();
        }
    });
}

/// Two writers of one entry, of which the second adds to what the first has written and not yet listed: its flush
/// does not take the generation for clean.
#[test]
fn flush_covers_a_write_that_joined_anothers() {
    model("flush_covers_a_write_that_joined_anothers", Some(6), || {
        let (store, rows) = open(0);
        insert(&store, 1).unwrap();
        store.flush().unwrap();
        let other = store.clone();
        let first = loom::thread::spawn(move || set(&other, 1, 0.25));
        set(&store, 1, 0.5);
        store.flush().unwrap();
        let committed = row(&rows, 1);
        assert!(
            matches!(committed, Some(25 | 50)),
            "the caller's write is committed when flush returns: {committed:?}"
        );
        first.join().unwrap();
        store.flush().unwrap();
        assert_eq!(row(&rows, 1), memory(&store, 1));
    });
}

/// Whoever asks how far behind the store is finds a change in the open generation or owed, until it is committed.
#[test]
fn a_change_is_counted_until_it_is_committed() {
    model("a_change_is_counted_until_it_is_committed", Some(4), || {
        let (store, rows) = open(0);
        insert(&store, 1).unwrap();
        let asking = {
            let (store, rows) = (store.clone(), rows.clone());
            thread::spawn(move || {
                let counted = store.stats().dirty;
                assert!(counted > 0 || row(&rows, 1).is_some(), "neither counted nor committed");
            })
        };
        store.flush().unwrap();
        asking.join().unwrap();
    });
}

/// Nobody asks for it: the first write of a generation wakes a flusher that has nothing to do, however it falls between
/// its look at the generation and its sleep.
#[test]
fn a_write_wakes_an_idle_flusher() {
    model("a_write_wakes_an_idle_flusher", Some(3), || {
        let (store, rows) = open_flushing_after(Duration::ZERO, 0);
        let flusher = thread::spawn(mnemon::model::flusher(&store));
        insert(&store, 1).unwrap();
        while row(&rows, 1).is_none() {
            thread::yield_now();
        }
        store.close().unwrap();
        flusher.join().unwrap();
    });
}

/// Two callers of flush, a writer, and the flusher's thread.
#[test]
fn callers_of_flush_beside_a_writer() {
    model("callers_of_flush_beside_a_writer", Some(2), || {
        let (store, rows) = open(0);
        let flusher = thread::spawn(mnemon::model::flusher(&store));
        let other = thread::spawn(flush_own_write(&store, &rows, 2));
        let writer = {
            let store = store.clone();
            thread::spawn(move || insert(&store, 3).is_ok())
        };
        flush_own_write(&store, &rows, 1)();
        other.join().unwrap();
        assert!(writer.join().unwrap(), "the write is accepted");
        store.close().unwrap();
        flusher.join().unwrap();
        assert_eq!(row(&rows, 3), Some(0), "close drains");
    });
}

/// Close racing writers: every write that returned success is in the last batch, later ones get the closed
/// error.
#[test]
fn close_keeps_what_it_accepted() {
    model("close_keeps_what_it_accepted", Some(3), || {
        let (store, rows) = open(0);
        let writers = [1, 3].map(|first| (first, thread::spawn(try_inserts(&store, [first, first + 1]))));
        close_and_refuse(store);
        for (first, writer) in writers {
            assert_kept_or_refused(&rows, [first, first + 1], writer.join().unwrap());
        }
    });
}

/// The same with the flusher on a thread of its own.
#[test]
fn close_and_its_flusher_keep_what_was_accepted() {
    model("close_and_its_flusher_keep_what_was_accepted", Some(2), || {
        let (store, rows) = open(0);
        let flusher = thread::spawn(mnemon::model::flusher(&store));
        let writers = [1, 2].map(|n| (n, thread::spawn(try_inserts(&store, [n]))));
        close_and_refuse(store);
        flusher.join().unwrap();
        for (n, writer) in writers {
            assert_kept_or_refused(&rows, [n], writer.join().unwrap());
        }
    });
}

/// A row's payload and confidence, as a backend has them that writes a payload only when it is sent one.
type Contents = Arc<Mutex<BTreeMap<TraceId, (String, u32)>>>;

/// Fails the second batch, after writing nothing or all of it.
struct ContentTable {
    rows: Contents,
    batches: usize,
    writes_what_it_fails: bool,
}

impl Backend for ContentTable {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        Ok(Loaded::default())
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        self.batches += 1;
        let fails = self.batches == 2;
        let mut rows = self.rows.lock().unwrap();
        for change in batch.traces.iter().filter(|_| !fails || self.writes_what_it_fails) {
            match change {
                TraceChange::Delete { id, .. } => drop(rows.remove(id)),
                TraceChange::Upsert { trace, .. } => {
                    let content = trace.payload().as_str().to_owned();
                    rows.insert(trace.id(), (content, hundredths(trace.confidence())));
                }
                TraceChange::UpdateNumbers { trace, .. } => {
                    let row = rows.get_mut(&trace.id()).expect("a row whose numbers change is there");
                    row.1 = hundredths(trace.confidence());
                }
            };
        }
        if fails {
            return Err(BackendError::new(ErrorKind::DiskFull, "full"));
        }
        Ok(Applied::default())
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        Ok(Reopened::Same)
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn close(&mut self, _: u64) -> Result<(), BackendError> {
        Ok(())
    }
}

/// A committed trace, in a store whose next commit fails.
fn open_contents(writes_what_it_fails: bool) -> (TraceStore, Contents) {
    let rows = Contents::default();
    let builder = TraceStore::builder().flush_interval(Duration::MAX).flush_threshold(usize::MAX);
    let table = ContentTable { rows: rows.clone(), batches: 0, writes_what_it_fails };
    let store = builder.open_with(table).unwrap();
    insert(&store, 1).unwrap();
    store.flush().unwrap();
    (store, rows)
}

fn say(store: &TraceStore, what: &str) {
    assert!(store.update(id(1), |trace| trace.payload(serde_json::json!(what))).unwrap().is_some());
}

fn assert_contents(store: &TraceStore, rows: &Contents) {
    store.flush().unwrap();
    let memory = store
        .iter()
        .map(|trace| (trace.id(), (trace.payload().as_str().to_owned(), hundredths(trace.confidence()))));
    assert_eq!(*rows.lock().unwrap(), memory.collect(), "rows and memory agree");
}

/// The content is written although a commit of it failed, and it has changed since.
#[test]
fn contents_arrive_after_a_failed_commit() {
    model("contents_arrive_after_a_failed_commit", Some(3), || {
        let (store, rows) = open_contents(false);
        say(&store, "a");
        let other = store.clone();
        let writer = thread::spawn(move || {
            say(&other, "b");
            set(&other, 1, 0.25);
        });
        assert_eq!(store.flush().unwrap_err().kind(), ErrorKind::DiskFull);
        store.flush().unwrap();
        writer.join().unwrap();
        set(&store, 1, 0.5);
        assert_contents(&store, &rows);
    });
}

/// A later trace of an id, with another content, is not taken for the earlier one.
#[test]
fn contents_arrive_after_removal_and_insertion() {
    model("contents_arrive_after_removal_and_insertion", Some(3), || {
        let (store, rows) = open_contents(false);
        let other = store.clone();
        let writer = thread::spawn(move || {
            other.remove(id(1)).unwrap();
            other.insert(NewTrace::semantic(serde_json::json!("another")).id(id(1))).unwrap();
        });
        // It may be the one that fails.
        drop(store.flush());
        writer.join().unwrap();
        drop(store.flush());
        set(&store, 1, 0.5);
        assert_contents(&store, &rows);
    });
}

/// The row of a trace goes with it, although the commit that has written it was said to have failed.
#[test]
fn what_was_removed_goes_in_spite_of_doubt() {
    model("what_was_removed_goes_in_spite_of_doubt", Some(3), || {
        let (store, rows) = open_contents(true);
        let other = store.clone();
        let writer = thread::spawn(move || {
            insert(&other, 2).unwrap();
            other.remove(id(2)).unwrap();
        });
        drop(store.flush());
        drop(store.flush());
        writer.join().unwrap();
        drop(store.flush());
        assert_contents(&store, &rows);
    });
}
