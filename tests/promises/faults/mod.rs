//! Nothing is lost, whatever the backend does: every error kind at every call of a long scripted run. After each the
//! store recovers by itself when the fault ends, memory and rows agree, every image that a crash would leave is a
//! state of the run, nothing acknowledged as durable is missing, and health tells the truth meanwhile.
//!
//! `MNEMON_FAULTS_SEED` gives another run, `MNEMON_FAULTS_STEPS` a longer or shorter one; `--nocapture` shows how many
//! faults were injected.
#![cfg(feature = "testkit")]

mod links;
mod run;
pub mod script;

use harness::{Outcome, Rng, State, manual_flush, note, rounds, wait_until};
use mnemon::testkit::{Call, Fault, Faults, Image};
use mnemon::{Durability, ErrorKind, NewTrace, TraceId, TraceStore};
use run::{name, run};
use script::{Case, Script, Tally, state_of};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

/// Most runs rest between two tries: more of them than there are cores go on at a time.
const AT_A_TIME: usize = 12;

const KINDS: [ErrorKind; 10] = [
    ErrorKind::Busy,
    ErrorKind::DiskFull,
    ErrorKind::Io,
    ErrorKind::Corrupt,
    ErrorKind::Unreachable,
    ErrorKind::OutOfMemory,
    ErrorKind::NotAStore,
    ErrorKind::NewerSchema,
    ErrorKind::InUse,
    ErrorKind::Backend,
];

fn script(steps: u64) -> Outcome<Script> {
    let set = |name, unless| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(unless);
    Script::new(set("MNEMON_FAULTS_SEED", 7), set("MNEMON_FAULTS_STEPS", steps) as usize)
}

/// They are many, and each would be printed.
fn silence_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let text = panic.payload().downcast_ref::<String>();
            if !text.is_some_and(|text| text.starts_with("a planned panic")) {
                told(panic);
            }
        }));
    });
}

/// Runs each case, several at a time.
fn all(what: &str, script: &Script, cases: &[Case]) -> Outcome {
    silence_planned_panics();
    let (tally, next, failures) = (Tally::default(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Enough to see what is wrong.
                    if failures.lock().unwrap().len() >= 10 {
                        return;
                    }
                    if let Err(error) = run(script, case, &tally) {
                        failures.lock().unwrap().push(error.to_string());
                    }
                }
            });
        }
    });
    println!("{what}: {tally:?}");
    let failures = failures.into_inner()?;
    match &failures[..] {
        [] => Ok(()),
        failures => Err(failures.join("\n").into()),
    }
}

/// The faults that make sense for a call.
fn faults(call: Call) -> Vec<Fault> {
    let kinds = KINDS.into_iter().map(Fault::from);
    let of_all = kinds.chain([Fault::Panic, Fault::Hang]);
    match call {
        // What is gone before a store is opened is no loss of the store's.
        Call::Load => of_all.collect(),
        Call::Apply => of_all.chain([Fault::Vanish, Fault::RefuseRow]).collect(),
        _ => of_all.chain([Fault::Vanish]).collect(),
    }
}

/// Whether a call that is done may be answered with this fault. A close that is done and was not heard of is found
/// out by reopening, which these kinds do without.
fn may_be_late(call: Call, fault: Fault) -> bool {
    match fault {
        Fault::Panic => true,
        Fault::Error(kind) => {
            let certain = [ErrorKind::Busy, ErrorKind::DiskFull, ErrorKind::OutOfMemory, ErrorKind::Corrupt];
            call != Call::Close || !certain.contains(&kind)
        }
        _ => false,
    }
}

/// Every fault of this call at every n, once and twice, before and after it is done.
fn every(script: &Script, base: &Case, call: Call, stride: u64) -> Outcome<Vec<Case>> {
    let made = run(script, base, &Tally::default())?[name(call)];
    assert!(made > 0, "the run makes such a call");
    let mut cases = Vec::new();
    for at in (1..=made).step_by(stride as usize) {
        for fault in faults(call) {
            for (times, late) in [(1, false), (2, false), (1, true)] {
                if !late || may_be_late(call, fault) {
                    cases.push(Case { call, at, times, late, fault, ..base.clone() });
                }
            }
        }
    }
    Ok(cases)
}

fn every_fault_of(
    call: Call,
    durability: Durability,
    every_third_apply: Option<ErrorKind>,
    stride: u64,
) -> Outcome {
    let script = script(rounds(100, 300))?;
    let base = Case { every_third_apply, ..Case::without_fault(durability) };
    let cases = every(&script, &base, call, stride)?;
    all(&format!("{call:?}, {durability:?}"), &script, &cases)
}

#[test]
fn nothing_is_lost_when_batches_fail() -> Outcome {
    every_fault_of(Call::Apply, Durability::Durable, None, 1)
}

#[test]
fn nothing_is_lost_after_unsynced_batches() -> Outcome {
    every_fault_of(Call::Apply, Durability::Committed, None, 3)
}

#[test]
fn nothing_is_lost_when_opening_fails() -> Outcome {
    every_fault_of(Call::Load, Durability::Durable, None, 1)
}

#[test]
fn nothing_is_lost_when_reopening_fails() -> Outcome {
    every_fault_of(Call::Reopen, Durability::Durable, Some(ErrorKind::Io), 1)
}

#[test]
fn nothing_is_lost_when_replacing_fails() -> Outcome {
    every_fault_of(Call::Replace, Durability::Durable, Some(ErrorKind::Corrupt), 1)
}

#[test]
fn nothing_is_lost_when_housekeeping_fails() -> Outcome {
    every_fault_of(Call::Tidy, Durability::Durable, None, 1)
}

#[test]
fn nothing_is_lost_when_closing_fails() -> Outcome {
    every_fault_of(Call::Close, Durability::Durable, None, 1)
}

/// How far a chain is in an image: the first of its traces, the second, and the link of the two.
fn chain(image: &Image, [first, second]: [TraceId; 2]) -> Outcome<[u64; 3]> {
    let value = |id| image.trace(id).map_or(Ok(0), |trace| serde_json::from_str(trace.payload().as_str()));
    let link = image.link(first, second).map_or(0, |link| link.count().into());
    Ok([value(first)?, value(second)?, link])
}

/// Each writer counts in one trace, then in another, then in their link: whatever the moment, no image is ahead with
/// what came later, nor behind what was acknowledged.
#[test]
fn racing_writers_see_no_torn_cut() -> Outcome {
    silence_planned_panics();
    const ROUNDS: u64 = 250;
    for durability in [Durability::Durable, Durability::Committed] {
        let faults = Faults::new();
        let store = manual_flush().flush_threshold(2).durability(durability).open_with(faults.backend())?;
        let pairs: [[TraceId; 2]; 3] = std::array::from_fn(|_| [TraceId::new(), TraceId::new()]);
        for id in pairs.iter().flatten() {
            store.insert(NewTrace::semantic(serde_json::json!(0)).id(*id))?;
        }
        let counted: [AtomicU64; 3] = Default::default();
        let over = AtomicBool::new(false);
        let tally = std::thread::scope(|scope| {
            for (pair, counted) in pairs.iter().zip(&counted) {
                let (store, over) = (&store, &over);
                scope.spawn(move || {
                    let [first, second] = *pair;
                    for n in 1.. {
                        let write = |id| store.update(id, |trace| trace.payload(serde_json::json!(n)));
                        let linked = write(first).and(write(second)).and(store.co_activate(first, second));
                        assert!(linked.is_ok(), "{linked:?}");
                        counted.store(n, Ordering::SeqCst);
                        if over.load(Ordering::SeqCst) {
                            return;
                        }
                    }
                });
            }
            let tally = race(&faults, &store, &pairs, &counted, ROUNDS);
            over.store(true, Ordering::SeqCst);
            tally
        })?;
        println!("racing, {durability:?}: {tally} images, {} faults", faults.injected());
        faults.lift();
        store.flush()?;
        assert!(state_of(&faults.durable()) == State::of(&store));
        assert_eq!(faults.violations(), [""; 0]);
    }
    Ok(())
}

/// No image is ahead in what came later, or behind what is acknowledged; answers how many there are.
fn whole(faults: &Faults, pairs: &[[TraceId; 2]; 3], acknowledged: [u64; 3]) -> Outcome<u64> {
    let mut images = faults.after_power_loss();
    images.push(faults.live());
    for image in &images {
        for (pair, least) in pairs.iter().zip(acknowledged) {
            let [first, second, link] = chain(image, *pair)?;
            let whole = first >= second && second >= link && link + 1 >= first;
            assert!(whole && link >= least, "{first}, {second}, {link}, of {least} acknowledged");
        }
    }
    Ok(images.len() as u64)
}

/// Flushes over and over with random faults, and looks at every image; answers at how many.
fn race(
    faults: &Faults,
    store: &TraceStore,
    pairs: &[[TraceId; 2]; 3],
    counted: &[AtomicU64; 3],
    rounds: u64,
) -> Outcome<u64> {
    let (mut rng, mut images) = (Rng::with_seed(11), 0);
    let mut acknowledged = [0; 3];
    let all = || counted.iter().map(|count| count.load(Ordering::SeqCst)).sum::<u64>();
    for round in 0..rounds {
        if round.is_multiple_of(4) {
            faults.lift();
        }
        let so_far = all();
        let call = [Call::Apply, Call::Tidy, Call::Reopen][rng.usize(..3)];
        let kind =
            [ErrorKind::Io, ErrorKind::DiskFull, ErrorKind::Backend, ErrorKind::OutOfMemory][rng.usize(..4)];
        let plan = faults.fail(call).at(1 + rng.u64(..3));
        if rng.bool() { plan.late() } else { plan }.with(kind);
        wait_until(|| all() > so_far);
        images += whole(faults, pairs, acknowledged)?;
        let before = counted.each_ref().map(|count| count.load(Ordering::SeqCst));
        if store.flush().is_ok() {
            acknowledged = before;
        }
        images += whole(faults, pairs, acknowledged)?;
        if let [violation, ..] = &faults.violations()[..] {
            return Err(violation.clone().into());
        }
    }
    Ok(images)
}

/// The power fails at each sync in turn, and nobody is told: what is durable then is a state of the run.
#[test]
fn power_loss_leaves_a_known_state() -> Outcome {
    let script = script(300)?;
    for durability in [Durability::Durable, Durability::Committed] {
        let case = Case::without_fault(durability);
        let tried = script.lose_power_at_every_sync(&case)?;
        println!("power lost at {tried} syncs, {durability:?}");
        assert!(tried > 10);
    }
    Ok(())
}

#[test]
fn failed_erasure_is_done_by_flush() -> Outcome {
    let faults = Faults::new();
    let store = manual_flush().open_with(faults.backend())?;
    store.insert_many((0..3).map(note))?;
    store.flush()?;
    faults.fail(Call::Apply).for_good().with(ErrorKind::DiskFull);
    assert!(store.erase_partition("default").is_err());
    assert_eq!((store.len(), faults.durable().len()), (0, 3));
    faults.lift();
    assert_eq!(store.flush()?.rows_erased, 3);
    assert!(faults.durable().is_empty());
    Ok(())
}
