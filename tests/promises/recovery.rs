//! Whatever fails, however often and with whatever left behind, what is stored and memory agree in the end.

use harness::backend::{Answer, look, scripted};
use harness::steps::{Edit, New, Step};
use harness::{Outcome, Rng, State, flush_always, note};
use mnemon::ErrorKind;
use mnemon::{Durability, Health};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const SLOTS: usize = 32;

/// Each is first in turn: what is applied late is applied, and not said to be.
const MISHAPS: [fn() -> Answer; 7] = [
    || Answer::Fail(ErrorKind::Io),
    || Answer::Fail(ErrorKind::Corrupt),
    || Answer::Fail(ErrorKind::DiskFull),
    || Answer::Fail(ErrorKind::Unreachable),
    || Answer::FailLate(ErrorKind::Io),
    || Answer::FailLate(ErrorKind::DiskFull),
    || Answer::PanicLate,
];

#[test]
fn rows_and_memory_agree_after_mishaps() -> Outcome {
    // How often each mishap has happened.
    let counts: Arc<[AtomicUsize; MISHAPS.len()]> = Arc::default();
    let (faults, happened) = (Arc::new(AtomicBool::new(true)), counts.clone());
    let (faulty, mut applies) = (faults.clone(), 0_usize);
    let (backend, log) = scripted(move |_| {
        applies += 1;
        // Of four batches three pass: one that somebody waits for, and two that are not synced and can be lost.
        if !faulty.load(Ordering::Relaxed) || !applies.is_multiple_of(4) {
            return Answer::Apply;
        }
        let mishap = applies / 4 % MISHAPS.len();
        happened[mishap].fetch_add(1, Ordering::Relaxed);
        MISHAPS[mishap]()
    });
    let store = flush_always().durability(Durability::Committed).open_with(backend)?;
    let enough = || counts.iter().all(|times| times.load(Ordering::Relaxed) >= 20);
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                let (mut rng, mut n) = (Rng::with_seed(thread), 0);
                while !enough() {
                    n += 1;
                    let (slot, other) = (rng.usize(..SLOTS), rng.usize(..SLOTS));
                    let edit = |edit| Step::Update(slot, edit);
                    let step = match rng.u8(..8) {
                        0 => Step::Remove(slot),
                        1 | 2 => Step::Insert(New::random(&mut rng, slot, n)),
                        3 => edit(Edit { payload: Some(n), ..Edit::default() }),
                        4 => edit(Edit { confidence: Some(1.0 / n as f64), ..Edit::default() }),
                        6 => Step::CoActivate(slot, other, 1),
                        _ => {
                            // Never written again, so that no later write hides that it was lost.
                            if n % 8 == 5 {
                                drop(store.insert(note(n)));
                            }
                            continue;
                        }
                    };
                    // The trace may be there or not: both are well, and so is a backend that fails.
                    drop(step.apply(store, jiff::Timestamp::now()));
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
    let (log, memory) = (look(&log), State::of(&store));
    assert_eq!(log.violations, [""; 0]);
    assert!(log.synced.state() == memory, "{} are stored", log.synced.state().summary());
    assert_eq!((store.stats().dirty, store.link_count()), (0, memory.links.len()));
    Ok(())
}
