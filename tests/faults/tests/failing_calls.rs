//! Whichever call to the disk fails, in whatever way, once or for a while: nothing panics, health tells, and when
//! the disk works again the store recovers by itself, memory and rows agree, and the file is sound.
#![cfg(unix)]

use fault_tests::Outcome;
use fault_tests::disk::{Call, Disk, Fault, How};
use fault_tests::run::{Cuts, Run};
use fault_tests::scratch::{database, folder, more};
use fault_tests::state::{State, check_rows, reader};

/// At most so many of a kind of call are made to fail, one a run.
const SPREAD: u64 = 24;

/// What a kind of call did.
#[derive(Default, Debug)]
struct Tally {
    runs: u64,
    injected: u64,
    /// Runs in which somebody was told; the others went on without.
    told: u64,
}

/// Bytes of the larger payloads, and those with which the log gets so long that a thread beside the flusher moves it.
const USUAL: usize = 3_000;
const LARGE: usize = 900_000;

/// How often a kind is called in a run without faults.
fn calls(call: Call, large: usize) -> Outcome<u64> {
    let folder = folder()?;
    let disk = Disk::under(folder.path())?;
    let mut run = Run::new(&disk, &database(&folder), Cuts::Anywhere);
    run.large = large;
    run.all()?;
    run.close()?;
    Ok(disk.calls().get(&call).copied().unwrap_or(0))
}

/// The first and the last, and some in between; all if there are few.
fn spread(calls: u64) -> Vec<u64> {
    let most = SPREAD * more() as u64;
    if calls <= most {
        return (1..=calls).collect();
    }
    (0..most).map(|at| 1 + at * (calls - 1) / (most - 1)).collect()
}

fn survive(fault: Fault, large: usize, tally: &mut Tally) -> Outcome {
    let folder = folder()?;
    let path = database(&folder);
    let disk = Disk::under(folder.path())?;
    disk.set_fault(Some(fault));
    let mut run = Run::new(&disk, &path, Cuts::Anywhere);
    run.large = large;
    run.all()?;
    disk.set_fault(None);
    run.recover()?;
    let memory = State::of(run.store()?);
    check_rows(&reader(&path)?, &memory)?;
    run.close()?;
    // Opening compares what is found with what was there.
    run.open()?;
    run.close()?;
    check_rows(&reader(&path)?, &memory)?;
    tally.runs += 1;
    tally.injected += disk.injected();
    tally.told += u64::from(!run.errors.is_empty());
    Ok(())
}

/// Fails calls of a kind, over and over the run.
fn fail_each(call: Call, ways: &[How]) -> Outcome {
    let mut tally = Tally::default();
    for nth in spread(calls(call, USUAL)?) {
        for how in ways.iter().copied() {
            for times in [1, 5] {
                let fault = Fault { call, nth, times, how };
                survive(fault, USUAL, &mut tally).map_err(|error| format!("{fault:?}: {error}"))?;
            }
        }
    }
    println!("{call:?} made to fail: {tally:?}");
    if tally.injected >= tally.runs {
        Ok(())
    } else {
        Err(format!("not every run had its fault: {tally:?}").into())
    }
}

#[test]
fn writes_that_fail() -> Outcome {
    fail_each(Call::Write, &[How::Error, How::Full])
}

#[test]
fn writes_of_which_half_is_written() -> Outcome {
    fail_each(Call::Write, &[How::Short, How::Torn])
}

#[test]
fn syncs_that_fail() -> Outcome {
    fail_each(Call::Sync, &[How::Error])
}

#[test]
fn truncations_and_removals_that_fail() -> Outcome {
    fail_each(Call::Truncate, &[How::Error])?;
    fail_each(Call::Delete, &[How::Error])
}

#[test]
fn unopenable_files_are_survived() -> Outcome {
    fail_each(Call::Open, &[How::Error])?;
    fail_each(Call::FileSize, &[How::Error])
}

#[test]
fn reads_that_fail() -> Outcome {
    fail_each(Call::Read, &[How::Error])
}

#[test]
fn locks_that_fail() -> Outcome {
    fail_each(Call::Lock, &[How::Error])
}

#[test]
fn unmappable_log_index_is_survived() -> Outcome {
    fail_each(Call::ShmMap, &[How::Error])?;
    fail_each(Call::ShmLock, &[How::Error])
}

/// Some of each kind: two threads share the calls, so that each run makes others, and perhaps too few.
#[test]
fn calls_that_fail_beside_checkpointer() -> Outcome {
    let mut tally = Tally::default();
    for call in [Call::Open, Call::Read, Call::Write, Call::Sync, Call::Truncate, Call::ShmLock] {
        let calls = calls(call, LARGE)?;
        for nth in (1..=4 * more() as u64).map(|at| calls * at / (5 * more() as u64)) {
            let fault = Fault { call, nth: nth.max(1), times: 1, how: How::Error };
            survive(fault, LARGE, &mut tally).map_err(|error| format!("{fault:?}: {error}"))?;
        }
    }
    println!("calls made to fail with a large log: {tally:?}");
    assert!(tally.injected > tally.runs / 2, "{tally:?}");
    Ok(())
}
