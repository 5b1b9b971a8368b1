//! Links and erasures through failures: what was committed and not synced may be lost by a reopening, and what is
//! stored and memory agree all the same in the end.

use crate::support::{Outcome, note, until};
use mnemon::backend::{
    Applied, Backend, BackendError, Batch, ErrorClass, LinkChange, Loaded, Reach, Reopened, Scope, Stored,
    TraceChange,
};
use mnemon::{Durability, Health, Link, NewTrace, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Links = BTreeMap<(TraceId, TraceId), Link>;

#[derive(Clone, Default)]
struct Content {
    traces: BTreeSet<TraceId>,
    links: Links,
    erased: BTreeSet<&'static str>,
}

/// What is stored: `synced` is what a reopening finds of it.
#[derive(Default)]
struct Disk {
    now: Content,
    synced: Content,
    failing: Option<ErrorClass>,
    most_erasures: usize,
}

#[derive(Clone, Default)]
struct Forgetful(Arc<Mutex<Disk>>);

impl Forgetful {
    fn look(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail_with(&self, class: impl Into<Option<ErrorClass>>) {
        self.look().failing = class.into();
    }

    /// What is synced is this trace, and no link.
    fn has_only(&self, trace: TraceId) {
        let stored = self.look().synced.clone();
        assert_eq!(stored.traces, BTreeSet::from([trace]));
        assert!(stored.links.is_empty(), "{:?}", stored.links);
    }

    /// A store that flushes whatever changes at once, and syncs only when asked.
    fn store(&self) -> mnemon::Result<TraceStore> {
        TraceStore::builder()
            .durability(Durability::Relaxed)
            .flush_interval(Duration::ZERO)
            .open_with(self.clone())
    }
}

impl Backend for Forgetful {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        Ok(Loaded::default())
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        let mut disk = self.look();
        disk.most_erasures = disk.most_erasures.max(batch.erased.len());
        if let Some(class) = disk.failing {
            return Err(BackendError::new(class, "as the test says"));
        }
        let mut applied = Applied::default();
        for scope in batch.erased {
            if let Scope::Type(kind) = scope {
                disk.now.erased.insert(kind.as_str());
            }
            applied.erased.push(0);
        }
        for change in batch.traces {
            match change {
                TraceChange::Delete { id, .. } => drop(disk.now.traces.remove(id)),
                change => drop(disk.now.traces.insert(change.id())),
            }
        }
        for change in batch.links {
            match change {
                LinkChange::Delete(a, b) => drop(disk.now.links.remove(&(*a, *b))),
                LinkChange::Upsert(link) => drop(disk.now.links.insert(link.ends(), *link)),
            }
        }
        if batch.reach == Reach::Durable {
            disk.synced = disk.now.clone();
        }
        Ok(applied)
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        let mut disk = self.look();
        disk.now = disk.synced.clone();
        Ok(Reopened::Same)
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        let mut disk = self.look();
        (disk.now, disk.synced) = Default::default();
        Ok(())
    }

    fn close(&mut self, _: u64) -> Result<(), BackendError> {
        Ok(())
    }
}

fn committed(store: &TraceStore) {
    until(|| store.stats().dirty == 0);
}

fn failing(store: &TraceStore) {
    until(|| matches!(store.health(), Health::Degraded { .. }));
}

/// Two linked traces, durable; then the second is removed, which is committed and not synced.
fn linked_and_unlinked(store: &TraceStore) -> Outcome<(TraceId, TraceId)> {
    let (a, b) = (TraceId::from_reference("a"), TraceId::from_reference("b"));
    store.insert(note(1).id(a))?;
    store.insert(note(2).id(b))?;
    store.co_activate(a, b)?;
    store.flush()?;
    store.remove(b)?;
    committed(store);
    Ok((a, b))
}

#[test]
fn a_removal_that_a_reopening_lost_takes_the_links_along_again() -> Outcome {
    let disk = Forgetful::default();
    let store = disk.store()?;
    let (a, _) = linked_and_unlinked(&store)?;
    assert!(disk.look().now.links.is_empty() && !disk.look().synced.links.is_empty());
    disk.fail_with(ErrorClass::Io);
    store.update(a, |trace| trace.confidence(0.7))?;
    failing(&store);
    disk.fail_with(None);
    store.flush()?;
    disk.has_only(a);
    Ok(())
}

#[test]
fn a_link_made_anew_is_not_taken_for_the_one_that_a_reopening_brought_back() -> Outcome {
    let disk = Forgetful::default();
    let store = disk.store()?;
    let (a, b) = linked_and_unlinked(&store)?;
    disk.fail_with(ErrorClass::Io);
    store.insert(note(3).id(b))?;
    for _ in 0..4 {
        store.co_activate(a, b)?;
    }
    failing(&store);
    disk.fail_with(None);
    store.flush()?;
    let counts: Vec<_> = disk.look().synced.links.values().map(Link::count).collect();
    assert_eq!(counts, [4]);
    Ok(())
}

/// The link that is made anew has come and gone before the removal of the old one could be written again.
#[test]
fn nor_is_one_that_came_and_went() -> Outcome {
    let disk = Forgetful::default();
    let store = disk.store()?;
    let (a, b) = linked_and_unlinked(&store)?;
    disk.fail_with(ErrorClass::Io);
    store.update(a, |trace| trace.confidence(0.7))?;
    failing(&store);
    // Reopened, and failing again: the old link's removal is owed.
    until(|| store.flush().is_err() && disk.look().now.links.len() == 1);
    let reference = TraceId::from_reference("b");
    for _ in 0..50 {
        store.insert(note(3).id(reference))?;
        store.co_activate(a, b)?;
        store.remove(b)?;
    }
    assert!(store.flush().is_err());
    disk.fail_with(None);
    store.flush()?;
    disk.has_only(a);
    Ok(())
}

/// The batch with the removal failed, and nothing of it is there: what the link's entry remembers of its row must last
/// until the removal has been committed, not only until it was captured.
#[test]
fn a_removal_that_failed_is_written_though_the_link_came_and_went_since() -> Outcome {
    let disk = Forgetful::default();
    let store = TraceStore::builder().flush_interval(Duration::from_secs(3600)).open_with(disk.clone())?;
    let (a, b) = (TraceId::from_reference("a"), TraceId::from_reference("b"));
    store.insert(note(1).id(a))?;
    store.insert(note(2).id(b))?;
    store.co_activate(a, b)?;
    store.flush()?;
    store.remove(b)?;
    // Not doubtful: the backend goes on with what it has.
    disk.fail_with(ErrorClass::Full);
    assert!(store.flush().is_err());
    store.insert(note(3).id(b))?;
    store.co_activate(a, b)?;
    store.remove(b)?;
    disk.fail_with(None);
    store.flush()?;
    disk.has_only(a);
    Ok(())
}

#[test]
fn an_erasure_of_rows_alone_is_durable_when_it_returns() -> Outcome {
    for _ in 0..200 {
        let disk = Forgetful::default();
        let store = disk.store()?;
        store.erase_type(TraceType::Sensory)?;
        assert_eq!(disk.look().synced.erased, BTreeSet::from(["sensory"]));
    }
    Ok(())
}

#[test]
fn erasing_again_and_again_while_nothing_can_be_written_adds_no_more() -> Outcome {
    let disk = Forgetful::default();
    let store = disk.store()?;
    disk.fail_with(ErrorClass::Full);
    for n in 0..20 {
        store.insert(NewTrace::sensory(json!(n)))?;
        assert!(store.erase_type(TraceType::Sensory).is_err());
    }
    disk.fail_with(None);
    store.flush()?;
    let disk = disk.look();
    assert_eq!(disk.synced.erased, BTreeSet::from(["sensory"]));
    assert!(disk.most_erasures <= 2, "{} at once", disk.most_erasures);
    Ok(())
}
