//! Links and erasures through failures: what was committed and not synced may be lost by a reopening, and what is
//! stored and memory agree all the same in the end.

use harness::backend::{Answer, Content, Log, Scripted, look, scripted};
use harness::{Outcome, flush_always, manual_flush, note, wait_until};
use mnemon::ErrorKind;
use mnemon::{Durability, Health, Link, NewTrace, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A backend that fails for as long as the test says.
struct Disk {
    log: Arc<Mutex<Log>>,
    failing: Arc<Mutex<Option<ErrorKind>>>,
    /// The most erasures that a batch had.
    most_erasures: Arc<AtomicUsize>,
}

fn disk() -> (Scripted, Disk) {
    let failing = Arc::new(Mutex::new(None));
    let most_erasures = Arc::new(AtomicUsize::new(0));
    let (fails, most) = (failing.clone(), most_erasures.clone());
    let (backend, log) = scripted(move |batch| {
        most.fetch_max(batch.erased.len(), Ordering::Relaxed);
        let failing = *fails.lock().unwrap_or_else(PoisonError::into_inner);
        failing.map_or(Answer::Apply, Answer::Fail)
    });
    (backend, Disk { log, failing, most_erasures })
}

/// A store that flushes whatever changes at once, and syncs only when asked.
fn relaxed() -> Outcome<(TraceStore, Disk)> {
    let (backend, disk) = disk();
    Ok((flush_always().durability(Durability::Committed).open_with(backend)?, disk))
}

impl Disk {
    fn look(&self) -> MutexGuard<'_, Log> {
        look(&self.log)
    }

    fn fail_with(&self, class: impl Into<Option<ErrorKind>>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = class.into();
    }

    /// What is synced is this trace, and no link.
    fn has_only(&self, trace: TraceId) {
        let stored = self.look().synced.state();
        assert!(stored.traces.keys().eq([&trace]) && stored.links.is_empty(), "{stored:?}");
    }
}

fn links(content: &Content) -> Vec<Link> {
    content.state().links.into_values().collect()
}

fn committed(store: &TraceStore) {
    wait_until(|| store.stats().dirty == 0);
}

fn failing(store: &TraceStore) {
    wait_until(|| matches!(store.health(), Health::Degraded { .. }));
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
fn lost_removal_takes_links_again() -> Outcome {
    let (store, disk) = relaxed()?;
    let (a, _) = linked_and_unlinked(&store)?;
    assert!(links(&disk.look().live).is_empty() && !links(&disk.look().synced).is_empty());
    disk.fail_with(ErrorKind::Io);
    store.update(a, |trace| trace.confidence(0.7))?;
    failing(&store);
    disk.fail_with(None);
    store.flush()?;
    disk.has_only(a);
    Ok(())
}

#[test]
fn new_link_is_not_the_old() -> Outcome {
    let (store, disk) = relaxed()?;
    let (a, b) = linked_and_unlinked(&store)?;
    disk.fail_with(ErrorKind::Io);
    store.insert(note(3).id(b))?;
    for _ in 0..4 {
        store.co_activate(a, b)?;
    }
    failing(&store);
    disk.fail_with(None);
    store.flush()?;
    let counts: Vec<_> = links(&disk.look().synced).iter().map(Link::count).collect();
    assert_eq!(counts, [4]);
    Ok(())
}

/// The link that is made anew has come and gone before the removal of the old one could be written again.
#[test]
fn passing_link_is_not_the_old() -> Outcome {
    let (store, disk) = relaxed()?;
    let (a, b) = linked_and_unlinked(&store)?;
    disk.fail_with(ErrorKind::Io);
    store.update(a, |trace| trace.confidence(0.7))?;
    failing(&store);
    // Reopened, and failing again: the old link's removal is pending.
    wait_until(|| store.flush().is_err() && links(&disk.look().live).len() == 1);
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
fn failed_removal_outlives_passing_link() -> Outcome {
    let (backend, disk) = disk();
    let store = manual_flush().open_with(backend)?;
    let (a, b) = (TraceId::from_reference("a"), TraceId::from_reference("b"));
    store.insert(note(1).id(a))?;
    store.insert(note(2).id(b))?;
    store.co_activate(a, b)?;
    store.flush()?;
    store.remove(b)?;
    // Not doubtful: the backend goes on with what it has.
    disk.fail_with(ErrorKind::DiskFull);
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
fn erasure_of_rows_alone_is_durable() -> Outcome {
    for _ in 0..200 {
        let (store, disk) = relaxed()?;
        store.erase_type(TraceType::Sensory)?;
        assert_eq!(disk.look().synced.erased, BTreeSet::from(["sensory"]));
    }
    Ok(())
}

#[test]
fn repeated_erasures_do_not_pile_up() -> Outcome {
    let (store, disk) = relaxed()?;
    disk.fail_with(ErrorKind::DiskFull);
    for n in 0..20 {
        store.insert(NewTrace::sensory(json!(n)))?;
        assert!(store.erase_type(TraceType::Sensory).is_err());
    }
    disk.fail_with(None);
    store.flush()?;
    assert_eq!(disk.look().synced.erased, BTreeSet::from(["sensory"]));
    let most = disk.most_erasures.load(Ordering::Relaxed);
    assert!(most <= 2, "{most} at once");
    Ok(())
}
