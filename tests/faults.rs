//! Nothing is lost, whatever the backend does: every error class at every call of a long scripted run. After each the
//! store recovers by itself when the fault ends, memory and rows agree, every image that a crash would leave is a
//! state of the run, nothing acknowledged as durable is missing, and health tells the truth meanwhile.
//!
//! `MNEMON_FAULTS_SEED` gives another run; `--nocapture` shows how many faults were injected.
#![cfg(feature = "testkit")]

mod support;

use mnemon::Durability;
use mnemon::backend::ErrorClass;
use mnemon::testkit::{Call, Fault};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use support::Outcome;
use support::script::{Case, Script, Tally, name, run};

/// Most runs rest between two tries: more of them than there are cores go on at a time.
const AT_A_TIME: usize = 12;

const CLASSES: [ErrorClass; 10] = [
    ErrorClass::Busy,
    ErrorClass::Full,
    ErrorClass::Io,
    ErrorClass::Corrupt,
    ErrorClass::Unreachable,
    ErrorClass::Memory,
    ErrorClass::Foreign,
    ErrorClass::Newer,
    ErrorClass::Owned,
    ErrorClass::Other,
];

fn script(length: usize) -> Outcome<Script> {
    let seed = std::env::var("MNEMON_FAULTS_SEED").ok().and_then(|seed| seed.parse().ok());
    Script::new(seed.unwrap_or(7), length)
}

/// They are many, and each would be printed.
fn silence_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.payload_as_str().is_some_and(|text| text.starts_with("a planned panic")) {
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
                    if let Err(error) = run(script, case, &tally) {
                        failures.lock().unwrap().push(error.to_string());
                    }
                }
            });
        }
    });
    println!("{what}: {tally:?}");
    let failures = failures.into_inner()?;
    match failures.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} of {} runs; the first: {first}", failures.len(), cases.len()).into()),
    }
}

/// The faults that make sense for a call.
fn faults(call: Call) -> Vec<Fault> {
    let classes = CLASSES.into_iter().map(Fault::from);
    let of_all = classes.chain([Fault::Panic, Fault::Hang]);
    match call {
        // What is gone before a store is opened is no loss of the store's.
        Call::Load => of_all.collect(),
        Call::Apply => of_all.chain([Fault::Vanish, Fault::RefuseRow]).collect(),
        _ => of_all.chain([Fault::Vanish]).collect(),
    }
}

/// Whether a call that is done may be answered with this fault. A close that is done and was not heard of is found
/// out by reopening, which these classes do without.
fn may_be_late(call: Call, fault: Fault) -> bool {
    match fault {
        Fault::Panic => true,
        Fault::Error(class) => {
            let certain = [ErrorClass::Busy, ErrorClass::Full, ErrorClass::Memory, ErrorClass::Corrupt];
            call != Call::Close || !certain.contains(&class)
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
    every_third_apply: Option<ErrorClass>,
    stride: u64,
) -> Outcome {
    let script = script(300)?;
    let base = Case { every_third_apply, ..Case::without_fault(durability) };
    let cases = every(&script, &base, call, stride)?;
    all(&format!("{call:?}, {durability:?}"), &script, &cases)
}

#[test]
fn nothing_is_lost_when_batches_fail() -> Outcome {
    every_fault_of(Call::Apply, Durability::Full, None, 1)
}

#[test]
fn nothing_is_lost_when_batches_fail_that_come_after_unsynced_ones() -> Outcome {
    every_fault_of(Call::Apply, Durability::Relaxed, None, 3)
}

#[test]
fn nothing_is_lost_when_opening_fails() -> Outcome {
    every_fault_of(Call::Load, Durability::Full, None, 1)
}

#[test]
fn nothing_is_lost_when_reopening_fails() -> Outcome {
    every_fault_of(Call::Reopen, Durability::Full, Some(ErrorClass::Io), 1)
}

#[test]
fn nothing_is_lost_when_replacing_fails() -> Outcome {
    every_fault_of(Call::Replace, Durability::Full, Some(ErrorClass::Corrupt), 1)
}

#[test]
fn nothing_is_lost_when_housekeeping_fails() -> Outcome {
    every_fault_of(Call::Tidy, Durability::Full, None, 1)
}

#[test]
fn nothing_is_lost_when_closing_fails() -> Outcome {
    every_fault_of(Call::Close, Durability::Full, None, 1)
}
