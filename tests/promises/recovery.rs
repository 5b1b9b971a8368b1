//! Whatever fails, however often and with whatever left behind, what is stored and memory agree in the end.

use crate::support::{Outcome, by_id, note};
use mnemon::backend::{
    Applied, Backend, BackendError, Batch, ErrorClass, LinkChange, Loaded, Reach, Reopened, RowNumber,
    Stored, TraceChange,
};
use mnemon::{Durability, Health, Link, Trace, TraceId, TraceStore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

type Rows = BTreeMap<RowNumber, Arc<Trace>>;
type Links = BTreeMap<(TraceId, TraceId), Link>;

/// What is stored: `synced` is what a reopening finds of it.
#[derive(Default)]
struct Disk {
    rows: Rows,
    links: Links,
    synced: (Rows, Links),
    batches: usize,
    broken: Option<String>,
}

/// An engine that keeps to the letter of the trait, and no more: what fails may be applied or not, and a
/// reopening finds what was synced last.
struct Treacherous {
    disk: Arc<Mutex<Disk>>,
    faults: Arc<AtomicBool>,
    /// How often each mishap has happened.
    mishaps: Arc<[AtomicUsize; MISHAPS]>,
    applies: usize,
}

const MISHAPS: usize = 7;

fn look(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    fn apply(&mut self, batch: &Batch<'_>) -> Applied {
        let mut applied = Applied::default();
        for change in batch.traces {
            match change {
                TraceChange::Delete { row, .. } => {
                    self.rows.remove(row);
                    applied.deleted += 1;
                }
                TraceChange::Upsert { row, trace } => {
                    self.rows.insert(*row, trace.clone());
                    applied.upserted += 1;
                }
                TraceChange::UpdateNumbers { row, trace } => {
                    // The rest of the row is as it was stored, or the store has counted on what it must not.
                    match self.rows.insert(*row, trace.clone()) {
                        Some(old) if old.id() == trace.id() && old.payload() == trace.payload() => {}
                        old => self.broken = Some(format!("numbers of {trace:?} were sent for {old:?}")),
                    }
                    applied.updated += 1;
                }
            }
        }
        for change in batch.links {
            match change {
                LinkChange::Delete(a, b) => drop(self.links.remove(&(*a, *b))),
                LinkChange::Upsert(link) => drop(self.links.insert(link.ends(), *link)),
            }
        }
        // It looks at every row, and there are thousands of batches: now and then is often enough.
        self.batches += 1;
        if self.batches.is_multiple_of(8) {
            let held: BTreeSet<_> = self.rows.values().map(|trace| trace.id()).collect();
            if let Some(link) = self.links.keys().find(|(a, b)| !held.contains(a) || !held.contains(b)) {
                self.broken = Some(format!("the link {link:?} joins what has no row"));
            }
        }
        applied
    }
}

impl Backend for Treacherous {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        Ok(Loaded::default())
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        let mut disk = look(&self.disk);
        self.applies += 1;
        let mishap = self.applies / 4 % MISHAPS;
        // Of four batches three pass: one that somebody waits for, and two that are not synced and can be lost.
        if self.faults.load(Ordering::Relaxed) && self.applies.is_multiple_of(4) {
            self.mishaps[mishap].fetch_add(1, Ordering::Relaxed);
            let failed = |class| Err(BackendError::new(class, "as it comes"));
            match mishap {
                0 => return failed(ErrorClass::Io),
                1 => return failed(ErrorClass::Corrupt),
                2 => return failed(ErrorClass::Full),
                3 => return failed(ErrorClass::Unreachable),
                rest => {
                    // Applied, and not said to be.
                    disk.apply(batch);
                    match rest {
                        4 => return failed(ErrorClass::Io),
                        5 => return failed(ErrorClass::Full),
                        _ => panic!("after the commit"),
                    }
                }
            }
        }
        let applied = disk.apply(batch);
        if batch.reach == Reach::Durable {
            disk.synced = (disk.rows.clone(), disk.links.clone());
        }
        Ok(applied)
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        let mut disk = look(&self.disk);
        (disk.rows, disk.links) = disk.synced.clone();
        Ok(Reopened::Same)
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        let mut disk = look(&self.disk);
        disk.rows.clear();
        disk.links.clear();
        disk.synced = Default::default();
        Ok(())
    }

    fn close(&mut self, _: u64) -> Result<(), BackendError> {
        Ok(())
    }
}

#[test]
fn what_is_stored_and_memory_agree_after_any_mishaps() -> Outcome {
    let (disk, faults) = (Arc::<Mutex<Disk>>::default(), Arc::new(AtomicBool::new(true)));
    let mishaps: Arc<[AtomicUsize; MISHAPS]> = Arc::default();
    let backend =
        Treacherous { disk: disk.clone(), faults: faults.clone(), mishaps: mishaps.clone(), applies: 0 };
    let store = TraceStore::builder()
        .durability(Durability::Relaxed)
        .flush_interval(Duration::ZERO)
        .flush_threshold(1)
        .open_with(backend)?;
    let ids: Vec<_> = (0..32).map(|n| TraceId::from_reference(&n.to_string())).collect();
    let enough = || mishaps.iter().all(|times| times.load(Ordering::Relaxed) >= 20);
    thread::scope(|scope| {
        for thread in 0..4_usize {
            let (store, ids) = (&store, &ids);
            scope.spawn(move || {
                let mut n = thread;
                while !enough() {
                    n += 1;
                    // Spread over what is done and to which.
                    let roll = (n as u64 * 4 + thread as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
                    let pick = |by: u64| ids[(roll / by) as usize % ids.len()];
                    let id = pick(8);
                    // The trace may be there or not: both are well.
                    match roll % 8 {
                        0 => drop(store.remove(id)),
                        1 | 2 => drop(store.insert(note(n).id(id))),
                        3 => drop(store.update(id, |trace| trace.payload(serde_json::json!(n)))),
                        4 => drop(store.update(id, |trace| trace.confidence(1.0 / n as f64))),
                        // Never written again, so that no later write hides that it was lost.
                        5 if n % 8 == 5 => drop(store.insert(note(n))),
                        6 => drop(store.co_activate(id, pick(256))),
                        _ => {}
                    }
                    if matches!(store.health(), Health::Degraded { .. }) {
                        // Who asks is tried for at once; whether it fails is the backend's affair.
                        drop(store.flush());
                    }
                }
            });
        }
    });
    faults.store(false, Ordering::Relaxed);
    store.flush()?;
    let disk = look(&disk);
    assert_eq!(disk.broken, None);
    let mut stored: Vec<_> = disk.synced.0.values().cloned().collect();
    stored.sort_unstable_by_key(|trace| trace.id());
    let memory = by_id(&store);
    assert_eq!(stored.len(), memory.len());
    for (stored, memory) in stored.iter().zip(&memory) {
        assert_eq!(stored, memory);
    }
    let links: Links =
        memory.iter().flat_map(|trace| store.links(trace.id())).map(|link| (link.ends(), link)).collect();
    assert_eq!((&disk.synced.1, store.link_count()), (&links, links.len()));
    assert_eq!(store.stats().dirty, 0);
    Ok(())
}
