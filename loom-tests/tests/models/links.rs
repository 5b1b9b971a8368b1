//! Links, through the store, over a backend that keeps what is committed and looks at it.

use super::support::{model, model_of_fences};
use loom::thread;
use mnemon::backend::{
    Applied, Backend, BackendError, Batch, LinkChange, Loaded, Reopened, Stored, TraceChange,
};
use mnemon::{ErrorKind, NewTrace, TraceId, TraceStore, TraceType};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Rows {
    traces: BTreeSet<TraceId>,
    links: BTreeMap<(TraceId, TraceId), u32>,
}

/// Fails the model if a batch leaves a link without its traces; fails the first so many batches and closes.
#[derive(Default)]
struct Table {
    rows: Arc<Mutex<Rows>>,
    failing_batches: usize,
    failing_closes: usize,
}

/// Counts down to 0.
fn fail(failures: &mut usize) -> Result<(), BackendError> {
    match failures.checked_sub(1) {
        None => Ok(()),
        Some(left) => {
            *failures = left;
            Err(BackendError::new(ErrorKind::DiskFull, "full"))
        }
    }
}

impl Backend for Table {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        Ok(Loaded::default())
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        fail(&mut self.failing_batches)?;
        let mut rows = self.rows.lock().unwrap();
        if !batch.erased.is_empty() {
            // All traces here are of the type that is erased.
            *rows = Rows::default();
        }
        for change in batch.traces {
            match change {
                TraceChange::Delete { id, .. } => rows.traces.remove(id),
                TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } => {
                    rows.traces.insert(trace.id())
                }
            };
        }
        for change in batch.links {
            match change {
                LinkChange::Delete(a, b) => rows.links.remove(&(*a, *b)),
                LinkChange::Upsert(link) => rows.links.insert(link.ends(), link.count()),
            };
        }
        for (a, b) in rows.links.keys() {
            let both = rows.traces.contains(a) && rows.traces.contains(b);
            assert!(both, "each row of a link joins traces that have rows");
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
        fail(&mut self.failing_closes)
    }
}

fn id(n: u8) -> TraceId {
    TraceId::from_bytes([n; 16])
}

fn insert(store: &TraceStore, n: u8) {
    store.insert(NewTrace::semantic(serde_json::json!(n)).id(id(n))).unwrap();
}

fn open() -> (TraceStore, Arc<Mutex<Rows>>) {
    open_over(Table::default())
}

/// Closes that fail do so at once.
fn open_over(table: Table) -> (TraceStore, Arc<Mutex<Rows>>) {
    let rows = table.rows.clone();
    let builder = TraceStore::builder().flush_interval(Duration::MAX).flush_threshold(usize::MAX);
    let fails = table.failing_closes > 0;
    let builder = builder.close_timeout(if fails { Duration::ZERO } else { Duration::MAX });
    (builder.open_with(table).unwrap(), rows)
}

/// Two traces with a link of count 1 between them, all committed.
fn linked() -> (TraceStore, Arc<Mutex<Rows>>) {
    linked_in(open())
}

fn linked_in((store, rows): (TraceStore, Arc<Mutex<Rows>>)) -> (TraceStore, Arc<Mutex<Rows>>) {
    insert(&store, 1);
    insert(&store, 2);
    store.co_activate(id(1), id(2)).unwrap();
    store.flush().unwrap();
    (store, rows)
}

fn spawn(store: &TraceStore, work: impl FnOnce(&TraceStore) + 'static) -> thread::JoinHandle<()> {
    let store = store.clone();
    thread::spawn(move || work(&store))
}

/// Both exist, or the answer says which does not.
fn co_activate(store: &TraceStore) {
    if let Err(error) = store.co_activate(id(1), id(2)) {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

/// A trace is removed while another thread links it and a third flushes.
#[test]
fn no_row_of_a_link_is_without_its_traces() {
    model("no_row_of_a_link_is_without_its_traces", Some(4), || {
        let (store, rows) = linked();
        let removing = spawn(&store, |store| assert!(store.remove(id(1)).unwrap().is_some()));
        let linking = spawn(&store, co_activate);
        store.flush().unwrap();
        removing.join().unwrap();
        linking.join().unwrap();
        assert_eq!((store.link_count(), store.links(id(2)).len()), (0, 0), "a link goes with its trace");
        store.flush().unwrap();
        assert!(rows.lock().unwrap().links.is_empty(), "so does its row");
    });
}

/// A trace is removed and another of its id inserted, while a third thread links: what was linked to the first has
/// no part in the second.
#[test]
fn a_later_trace_of_the_id_inherits_no_link() {
    model("a_later_trace_of_the_id_inherits_no_link", Some(4), || {
        let (store, rows) = linked();
        let replacing = spawn(&store, |store| {
            assert!(store.remove(id(1)).unwrap().is_some());
            insert(store, 1);
        });
        let linking = spawn(&store, co_activate);
        replacing.join().unwrap();
        linking.join().unwrap();
        let link = store.link(id(1), id(2));
        assert!(link.is_none_or(|link| link.count() == 1), "{link:?} counts for the later trace alone");
        assert_eq!(store.link_count(), usize::from(link.is_some()));
        store.flush().unwrap();
        let rows: Vec<_> = rows.lock().unwrap().links.values().copied().collect();
        assert_eq!(rows, Vec::from_iter(link.map(|link| link.count())), "rows and memory agree");
    });
}

/// A trace is removed, another of its id inserted and linked, while a second thread links: who was late does not put
/// a first count in the place of the later link's.
#[test]
fn a_late_link_takes_no_count_away() {
    model("a_late_link_takes_no_count_away", Some(3), || {
        let (store, _) = linked();
        let late = Arc::<Mutex<u32>>::default();
        let told = late.clone();
        let linking = spawn(&store, move |store| {
            *told.lock().unwrap() = store.co_activate(id(1), id(2)).map_or(0, |done| done.count());
        });
        assert!(store.remove(id(1)).unwrap().is_some());
        insert(&store, 1);
        let count = store.co_activate(id(1), id(2)).unwrap().count();
        linking.join().unwrap();
        let (late, now) = (*late.lock().unwrap(), store.link(id(1), id(2)).map_or(0, |link| link.count()));
        assert!(now >= count && (late, count) != (1, 1), "told {late} and {count}, and it is {now}");
    });
}

/// A type is erased while another thread flushes: a batch holds all of its traces and links or none.
#[test]
fn an_erasure_is_one_cut() {
    model("an_erasure_is_one_cut", Some(4), || {
        let (store, rows) = linked();
        let erasing = spawn(&store, |store| {
            let erased = store.erase_type(TraceType::Semantic).unwrap();
            assert_eq!((erased.traces, erased.links), (2, 1));
        });
        store.flush().unwrap();
        {
            let rows = rows.lock().unwrap();
            let all_or_none = matches!((rows.traces.len(), rows.links.len()), (2, 1) | (0, 0));
            assert!(all_or_none, "all or none of what is erased has rows: {:?}", rows.traces);
        }
        erasing.join().unwrap();
        assert!(rows.lock().unwrap().traces.is_empty(), "what is erased has no row");
        assert!(store.is_empty() && store.link_count() == 0);
    });
}

/// A type is erased while another thread inserts a trace of it and a third flushes: the trace stays or goes, in memory
/// and in its row alike.
#[test]
fn what_outlives_an_erasure_keeps_its_row() {
    model("what_outlives_an_erasure_keeps_its_row", Some(3), || {
        let (store, rows) = open();
        let inserting = spawn(&store, |store| insert(store, 3));
        let erasing = spawn(&store, |store| {
            store.erase_type(TraceType::Semantic).unwrap();
        });
        store.flush().unwrap();
        inserting.join().unwrap();
        erasing.join().unwrap();
        store.flush().unwrap();
        let memory: BTreeSet<_> = store.iter().map(|trace| trace.id()).collect();
        assert_eq!(rows.lock().unwrap().traces, memory, "rows and memory agree");
    });
}

/// A trace is removed while another thread links it, and neither need see at once what the other has written: one of
/// the two takes the link out again.
#[test]
fn a_removal_or_a_link_sees_the_other() {
    model_of_fences("a_removal_or_a_link_sees_the_other", Some(3), || {
        let (store, _) = open_over(Table { failing_batches: 1, ..Table::default() });
        insert(&store, 1);
        insert(&store, 2);
        // Each cell is there, and stays; and no write below replaces one of its own generation, or has an image to give
        // up, which would be deferred, and order what comes after.
        store.co_activate(id(1), id(2)).unwrap();
        assert!(store.remove(id(1)).unwrap().is_some());
        insert(&store, 1);
        assert_eq!(store.flush().unwrap_err().kind(), ErrorKind::DiskFull);
        let removing = spawn(&store, |store| assert!(store.remove(id(1)).unwrap().is_some()));
        co_activate(&store);
        removing.join().unwrap();
        assert_eq!((store.link_count(), store.links(id(2)).len()), (0, 0), "a link goes with its trace");
    });
}

/// A trace is removed while another thread links it, and a close fails: what is left can be closed again.
#[test]
fn a_close_that_fails_leaves_no_link() {
    model("a_close_that_fails_leaves_no_link", Some(3), || {
        let (store, rows) = linked_in(open_over(Table { failing_closes: 1, ..Table::default() }));
        let removing = spawn(&store, |store| {
            if let Err(error) = store.remove(id(1)) {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
            }
        });
        let linking = spawn(&store, |store| {
            if let Err(error) = store.co_activate(id(1), id(2)) {
                assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Closed), "{error}");
            }
        });
        let store = store.close().map(drop).unwrap_err().store;
        removing.join().unwrap();
        linking.join().unwrap();
        let links = usize::from(store.contains(id(1)));
        assert_eq!(
            (store.link_count(), store.links(id(2)).len()),
            (links, links),
            "a link goes with its trace"
        );
        store.flush().unwrap();
        assert_eq!(rows.lock().unwrap().links.len(), links, "so does its row");
        assert_eq!(store.stats().dirty, 0);
        store.close().unwrap();
    });
}

/// Traces and links are of two maps.
#[test]
fn a_group_of_traces_and_links_is_one() {
    model("a_group_of_traces_and_links_is_one", Some(3), || {
        let (store, rows) = open();
        let group = spawn(&store, |store| {
            let done = store.apply(|group| {
                for n in [1, 2] {
                    group.insert(NewTrace::semantic(serde_json::json!(n)).id(id(n)))?;
                }
                group.link(id(1), id(2));
                Ok(())
            });
            done.unwrap();
        });
        store.flush().unwrap();
        let counts = |rows: &Rows| (rows.traces.len(), rows.links.len());
        let found = counts(&rows.lock().unwrap());
        assert!([(0, 0), (2, 1)].contains(&found), "half a group: {found:?}");
        group.join().unwrap();
        store.flush().unwrap();
        assert_eq!(counts(&rows.lock().unwrap()), (2, 1));
    });
}

/// The group links a trace that another thread removes.
#[test]
fn a_group_links_no_trace_that_is_gone() {
    model("a_group_links_no_trace_that_is_gone", Some(3), || {
        let (store, rows) = open();
        insert(&store, 1);
        insert(&store, 2);
        let remover = spawn(&store, |store| assert!(store.remove(id(2)).unwrap().is_some()));
        let done = store.apply(|group| {
            group.insert(NewTrace::semantic(serde_json::json!(3)).id(id(3)))?;
            group.link(id(1), id(2));
            group.link(id(2), id(3));
            Ok(())
        });
        if let Err(error) = &done {
            assert!([ErrorKind::NotFound, ErrorKind::Conflict].contains(&error.kind()), "{error}");
        }
        remover.join().unwrap();
        assert_eq!(store.contains(id(3)), done.is_ok(), "half a group");
        assert_eq!(store.link_count(), 0, "a link goes with its trace");
        store.flush().unwrap();
        assert!(rows.lock().unwrap().links.is_empty(), "a link goes with its trace");
    });
}

/// The cell of the link is taken out meanwhile, and its key out of the adjacency; then another thread removes a trace.
#[test]
fn a_group_links_what_was_just_unlinked() {
    model("a_group_links_what_was_just_unlinked", Some(3), || {
        let (store, rows) = open();
        insert(&store, 1);
        insert(&store, 2);
        store.co_activate(id(1), id(2)).unwrap();
        store.unlink(id(1), id(2)).unwrap();
        let linker = spawn(&store, |store| {
            let done = store.apply(|group| {
                group.link(id(1), id(2));
                Ok(())
            });
            if let Err(error) = done {
                assert!([ErrorKind::NotFound, ErrorKind::Conflict].contains(&error.kind()), "{error}");
            }
        });
        let remover = spawn(&store, |store| assert!(store.remove(id(2)).unwrap().is_some()));
        store.flush().unwrap();
        linker.join().unwrap();
        remover.join().unwrap();
        assert_eq!(store.link_count(), 0, "a link goes with its trace");
        store.flush().unwrap();
        assert!(rows.lock().unwrap().links.is_empty(), "a link goes with its trace");
    });
}
