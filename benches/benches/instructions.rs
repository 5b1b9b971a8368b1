//! What an operation costs in instructions and allocations, which do not depend on the clock or on who else uses the
//! machine: the guard against slow creep.
//!
//! Each case runs in a process of its own under valgrind's callgrind, which counts within `work` alone. Where a flush
//! is part of the case, and so the work of the flusher and the indexer, two whole processes are compared, one with
//! operations and one with none, each the least of three: how often threads wait for each other is no part of the work.
//! `instructions.json` holds what is expected; a figure more than a tenth above it fails, and so does an allocation
//! more. `-- --accept` writes what was measured into that file.
//!
//! That the guard can fail is tried each time: an update that copies its payload must be found too costly.

use benches::figures::{Figure, Figures};
use benches::maps::{Dash, Records, copy};
use benches::{Outcome, fill, must, quiet, settle};
use mnemon::{NewTrace, Payload, TraceId, TraceStore};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;

const TRACES: usize = 12_000;
const OPERATIONS: usize = 10_000;
/// What may be more than expected, as compilers and systems differ.
const TOLERANCE: f64 = 1.1;

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Cost {
    instructions: f64,
    allocations: f64,
}

/// What is done so many times with each of the ids.
type Operation = fn(&Setting, TraceId);

struct Setting {
    store: TraceStore,
    bare: Dash<std::hash::RandomState>,
    payload: Payload,
    flushes: bool,
}

/// Name, what is done for each id, and whether a flush follows.
const CASES: &[(&str, Operation, bool)] = &[
    ("get", |on, id| drop(black_box(on.store.get(id))), false),
    ("get of DashMap", |on, id| drop(black_box(on.bare.get(id))), false),
    ("update of a number", |on, id| assert!(Records::update(&on.store, id, 0.3)), false),
    ("update of DashMap", |on, id| assert!(on.bare.update(id, 0.3)), false),
    ("update of a payload", |on, id| set(on, id, Payload::text("short")), false),
    ("insert", |on, _| insert(on), false),
    ("remove", |on, id| drop(must(on.store.remove(id))), false),
    ("update and flush of a number", |on, id| assert!(Records::update(&on.store, id, 0.3)), true),
    ("insert and flush", |on, _| insert(on), true),
    (PLANTED, |on, id| assert!(copying_update(&on.store, id)), false),
];

const UPDATE: &str = "update of a number";
const PLANTED: &str = "planted: update that copies the payload";

fn insert(on: &Setting) {
    must(on.store.insert(NewTrace::semantic(on.payload.clone())));
}

fn set(on: &Setting, id: TraceId, payload: Payload) {
    must(on.store.update(id, |trace| trace.payload(payload.clone())));
}

fn copying_update(store: &TraceStore, id: TraceId) -> bool {
    let copied = store.get(id).map(|trace| trace.payload().as_str().to_owned());
    black_box(copied).is_some() && Records::update(store, id, 0.3)
}

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().position(|argument| argument == "--run") {
        Some(at) => run(&arguments[at + 1], arguments[at + 2].parse()?),
        None => compare(arguments.iter().any(|argument| argument == "--accept")),
    }
}

/// In a process of its own: prints how many allocations the operations made on this thread.
fn run(name: &str, operations: usize) -> Outcome {
    let (_, operation, flushes) = *CASES.iter().find(|case| case.0 == name).ok_or("no such case")?;
    let folder = tempfile::tempdir()?;
    let store = quiet().open(folder.path().join("guard.db"))?;
    let ids = fill(&store, TRACES)?;
    store.flush()?;
    settle(&store);
    let traces: Vec<_> = store.iter().map(|trace| copy(&trace)).collect();
    let payload = traces[0].payload().clone();
    let setting = Setting { store, bare: Dash::of(&traces), payload, flushes };
    let counted = allocation_counter::measure(|| {
        work(&setting, operation, &ids[..operations]);
    });
    if setting.flushes {
        setting.store.flush()?;
        settle(&setting.store);
    }
    println!("{}", counted.count_total);
    // Closing is no part of any case; the folder goes.
    drop(folder);
    std::process::exit(0)
}

/// What is counted. Its name is what callgrind looks for.
#[inline(never)]
fn work(setting: &Setting, operation: Operation, ids: &[TraceId]) {
    ids.iter().for_each(|id| operation(setting, *id));
    black_box(ids);
}

fn compare(accept: bool) -> Outcome {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");
    let expected: BTreeMap<String, Cost> = match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) if accept => BTreeMap::new(),
        Err(error) => return Err(format!("{path}: {error}; make it with -- --accept").into()),
    };
    let (mut figures, mut measured) = (Figures::of("instructions")?, BTreeMap::new());
    for (name, _, flushes) in CASES {
        let cost = cost(name, *flushes)?;
        figures.say(Figure::new(*name, "instructions", cost.instructions, "each"))?;
        figures.say(Figure::new(*name, "allocations", cost.allocations, "each"))?;
        measured.insert((*name).to_owned(), cost);
    }
    if accept {
        measured.remove(PLANTED);
        std::fs::write(path, serde_json::to_string_pretty(&measured)? + "\n")?;
        println!("{path} holds these now");
        return Ok(());
    }
    let mut problems: Vec<_> =
        expected.iter().filter_map(|(name, expected)| problem(name, measured.get(name), expected)).collect();
    if problem(UPDATE, measured.get(PLANTED), &expected[UPDATE]).is_none() {
        problems.push(format!("the guard did not notice an {PLANTED}"));
    }
    if problems.is_empty() {
        println!("guard: {} cases within a tenth, the planted copy was noticed", expected.len())
    } else {
        return Err(problems.join("\n").into());
    }
    Ok(())
}

fn problem(name: &str, measured: Option<&Cost>, expected: &Cost) -> Option<String> {
    let Some(measured) = measured else { return Some(format!("{name} is no case any more: -- --accept")) };
    let dearer = measured.instructions > expected.instructions * TOLERANCE
        || measured.allocations > expected.allocations + 0.5;
    dearer.then(|| format!("{name} costs {measured:?}, where {expected:?} is expected"))
}

fn cost(name: &str, flushes: bool) -> Outcome<Cost> {
    let (mut all, allocations) = counted(name, OPERATIONS, !flushes)?;
    let mut none = 0.0;
    if flushes {
        none = counted(name, 0, false)?.0;
        for _ in 0..2 {
            all = counted(name, OPERATIONS, false)?.0.min(all);
            none = counted(name, 0, false)?.0.min(none);
        }
    }
    let each = OPERATIONS as f64;
    Ok(Cost { instructions: (all - none) / each, allocations: allocations / each })
}

/// Instructions of `work` or of the whole process, and allocations of the operations.
fn counted(name: &str, operations: usize, work_alone: bool) -> Outcome<(f64, f64)> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(work_alone.then_some("--toggle-collect=instructions::work"))
        .arg(std::env::current_exe()?)
        .args(["--run", name, &operations.to_string()])
        .output()
        .map_err(|error| format!("valgrind can't be run ({error}): install it"))?;
    let (out, errors) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    let count = errors.lines().find_map(|line| line.split_once("Collected :"));
    let count = count.map(|(_, count)| count.trim().parse::<f64>()).transpose()?;
    match (output.status.success(), count) {
        (true, Some(count)) if count > 0.0 => Ok((count, out.trim().parse()?)),
        _ => Err(format!("{name}: {errors}").into()),
    }
}
