//! Nothing lost, whatever happens: a child process with many writers is killed, at random moments and at named
//! points, and what it leaves behind is a causally closed cut, not older than what was acknowledged, on which the
//! next one goes on. Round after round, on the same file.
//!
//! The test program runs itself as the child. A child ends by SIGKILL from outside, or by an abort in the middle
//! of the thing named: neither runs a destructor or writes a buffer.
//!
//! `MNEMON_KILL_ROUNDS=5000 cargo test --release --test kill -- --nocapture` for a long run.
#![cfg(all(unix, feature = "sqlite"))]

mod check;
mod child;
mod fuse;
mod log;
mod plan;
mod scene;
mod script;
mod state;
mod world;

use check::{Lineage, Tally};
use harness::Outcome;
use mnemon::TraceStore;
use plan::{POINTS, Plan, Point};
use scene::{id, new, payload};
use script::{ALL, beginning};
use state::{Finding, State};
use std::io::Write;

/// The child's orders, where this process is one.
const ORDERS: &str = "MNEMON_KILL_CHILD";
/// How many rounds are played on one file.
const LINEAGE: u64 = 10;

#[test]
fn kills_lose_and_tear_nothing() -> Outcome {
    let rounds = std::env::var("MNEMON_KILL_ROUNDS")
        .map_or(Ok(harness::rounds(90, 150)), |rounds| rounds.parse::<u64>())?;
    let (mut tally, mut findings) = (Tally::default(), Vec::new());
    let mut round = 0;
    while round < rounds {
        let mut lineage = Lineage::new()?;
        for _ in 0..LINEAGE.min(rounds - round) {
            let done = lineage.round(round, &mut tally);
            round += 1;
            if let Err(finding) = done {
                // The file is of no use any more, but to whoever looks for the cause.
                findings.push(format!("round {}: {finding}\nin {}", round - 1, lineage.keep().display()));
                tally.count(&finding);
                break;
            }
        }
    }
    writeln!(std::io::stderr(), "{tally}")?;
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    if rounds >= 10 * POINTS.len() as u64 {
        for point in POINTS.into_iter().filter(|point| *point != Point::Random) {
            assert!(tally.inside(point) > 0, "no child ended in the middle of {point:?}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "the other test runs it, as a process of its own"]
fn child() -> Outcome {
    let Ok(orders) = std::env::var(ORDERS) else { return Ok(()) };
    let (plan, folder) = orders.split_once('\n').ok_or("orders of two lines")?;
    child::run(folder.into(), Plan::from_line(plan).ok_or("a plan")?)
}

#[test]
fn script_position_matches_its_operations() {
    for script in ALL {
        let mut scene = script.scene(0);
        for position in 0..script.length() * 12 {
            let before = scene.clone();
            assert_eq!(script.position(&scene), Some(position), "{script:?}");
            let (op, n) = script.op(position);
            scene.apply(&op, n);
            assert_ne!(scene, before, "{op:?} changes something");
        }
    }
}

/// A store with the beginning in it.
fn begun() -> Outcome<TraceStore> {
    let store = TraceStore::in_memory();
    store.restore(beginning(1))?;
    Ok(store)
}

#[test]
fn a_torn_store_is_found_out() -> Outcome {
    type Tear = fn(&TraceStore) -> mnemon::Result<()>;
    fn tell(store: &TraceStore, name: &str, n: u64, seen: u64) -> mnemon::Result<()> {
        store.update(id(name), |trace| trace.payload(payload(n, seen))).map(drop)
    }
    let tears: [(&str, Tear); 10] = [
        ("an effect without its cause", |store| tell(store, "ring0-b", 1, 0)),
        ("two steps at once", |store| tell(store, "ring0-a", 2, 0)),
        ("a change that was lost", |store| {
            // As it would be if another change of the same trace had gone by the board.
            store.update(id("ring1-a"), |trace| trace.confidence(0.5))?;
            tell(store, "ring1-a", 1, 0)
        }),
        ("a part of a bulk", |store| {
            tell(store, "load", 1, 0)?;
            store.insert(new("load-0", 1)).map(drop)
        }),
        ("a part of a group", |store| tell(store, "group-a", 1, 0)),
        ("a link that nobody made", |store| store.co_activate(id("ring0-a"), id("ring0-b")).map(drop)),
        ("a trace that is gone", |store| store.remove(id("ring2-c")).map(drop)),
        ("a trace that nobody wrote", |store| store.insert(new("stray", 1)).map(drop)),
        ("half of a content", |store| store.remove(id("epoch")).map(drop)),
        ("a witness of the future", |store| {
            for name in ["ring0-a", "ring0-b", "ring0-c"] {
                tell(store, name, 1, 0)?;
                if name == "ring0-b" {
                    store.co_activate(id("ring0-a"), id("ring0-b"))?;
                }
            }
            tell(store, "ring0-witness", 1, 7)
        }),
    ];
    assert_eq!(State::of(&begun()?)?, State { epoch: 1, ..State::default() });
    for (what, tear) in tears {
        let store = begun()?;
        tear(&store)?;
        assert!(matches!(State::of(&store), Err(Finding::Torn(_))), "{what}: {:?}", State::of(&store));
    }
    Ok(())
}

#[test]
fn state_that_lacks_something_is_behind() {
    let state = |epoch, first| {
        let mut state = State { epoch, positions: [5; ALL.len()] };
        state.positions[0] = first;
        state
    };
    assert!(
        state(1, 5).holds(&state(1, 5)) && state(1, 6).holds(&state(1, 5)) && state(2, 0).holds(&state(1, 9))
    );
    assert!(!state(1, 4).holds(&state(1, 5)) && !state(1, 9).holds(&state(2, 0)));
    let mut other = state(1, 7);
    other.positions[1] = 0;
    assert!(!other.holds(&state(1, 5)), "each for itself");
    assert_eq!(other.joined(state(1, 5)), state(1, 7));
}
