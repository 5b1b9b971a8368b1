//! Models 6 to 8: the flusher itself, through the store, over a backend that keeps rows in a map.

use super::support::model;
use mnemon::backend::{
    Applied, Backend, BackendError, Batch, ErrorClass, Loaded, Reopened, StoredTrace, TraceChange,
};
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
    fn load(&mut self, _: &mut dyn FnMut(StoredTrace)) -> Result<Loaded, BackendError> {
        Ok(Loaded::default())
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(BackendError::new(ErrorClass::Full, "full"));
        }
        // A commit takes time, and others go on meanwhile.
        loom::thread::yield_now();
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
    let rows = Rows::default();
    let builder = TraceStore::builder().flush_interval(Duration::MAX).flush_threshold(usize::MAX);
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

/// A failed batch, then writes, then a flush that succeeds: the rows equal memory.
#[test]
fn a_failed_batch_is_owed() {
    model("a_failed_batch_is_owed", Some(4), || {
        let (store, rows) = open(1);
        insert(&store, 1).unwrap();
        insert(&store, 2).unwrap();
        let other = store.clone();
        let writer = loom::thread::spawn(move || {
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

/// Two callers of flush and one writer, and the flusher on a thread of its own: each caller returns only after
/// its own earlier writes are committed.
#[test]
fn flush_returns_after_its_callers_writes_are_committed() {
    model("flush_returns_after_its_callers_writes_are_committed", Some(2), || {
        let (store, rows) = open(0);
        let flusher = loom::thread::spawn(mnemon::model::flusher(&store));
        let caller = |n: u8| {
            let (store, rows) = (store.clone(), rows.clone());
            move || {
                insert(&store, n).unwrap();
                store.flush().unwrap();
                assert_eq!(row(&rows, n), Some(0), "the caller's write is committed when flush returns");
            }
        };
        let other = loom::thread::spawn(caller(2));
        caller(1)();
        other.join().unwrap();
        // The writer: no flush of its own, and the close drains it.
        insert(&store, 3).unwrap();
        store.close().unwrap();
        flusher.join().unwrap();
        assert_eq!(row(&rows, 3), Some(0), "close drains");
    });
}

/// The same without that thread: whoever flushes does the flusher's work, one at a time.
#[test]
fn callers_that_flush_for_themselves_share_the_work() {
    model("callers_that_flush_for_themselves_share_the_work", Some(3), || {
        let (store, rows) = open(0);
        let caller = |n: u8| {
            let (store, rows) = (store.clone(), rows.clone());
            move || {
                insert(&store, n).unwrap();
                store.flush().unwrap();
                assert_eq!(row(&rows, n), Some(0), "the caller's write is committed when flush returns");
            }
        };
        let others = [loom::thread::spawn(caller(2)), {
            let store = store.clone();
            loom::thread::spawn(move || assert!(insert(&store, 3).is_ok()))
        }];
        caller(1)();
        for other in others {
            other.join().unwrap();
        }
    });
}

/// Close racing writers: every write that returned success is in the last batch, later ones get the closed
/// error.
#[test]
fn close_keeps_what_it_accepted() {
    model("close_keeps_what_it_accepted", Some(3), || {
        let (store, rows) = open(0);
        let writer = |first: u8| {
            let store = store.clone();
            move || {
                let outcomes = [insert(&store, first), insert(&store, first + 1)];
                outcomes.map(|outcome| outcome.map_err(|error| error.kind()))
            }
        };
        let writers = [loom::thread::spawn(writer(1)), loom::thread::spawn(writer(3))];
        let late = store.clone();
        store.close().unwrap();
        assert_eq!(insert(&late, 9).unwrap_err().kind(), ErrorKind::Closed, "closed for later writes");
        for (n, writer) in [1, 3].into_iter().zip(writers) {
            for (n, outcome) in (n..).zip(writer.join().unwrap()) {
                match outcome {
                    Ok(_) => assert_eq!(row(&rows, n), Some(0), "an accepted write is in the last batch"),
                    Err(kind) => {
                        assert_eq!(kind, ErrorKind::Closed);
                        assert_eq!(row(&rows, n), None, "a refused write is nowhere");
                    }
                }
            }
        }
    });
}
