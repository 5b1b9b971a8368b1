//! What a trace takes of memory beyond the bytes of its payload, beside a `DashMap<Uuid, Arc<record>>` of the same
//! records. Each case is a process of its own, and counts what the system says is resident.

use benches::figures::{Figure, Figures};
use benches::maps::copy;
use benches::{Outcome, PAYLOAD, is_quick, must, quiet, trace};
use dashmap::DashMap;
use mnemon::TraceStore;
use std::process::Command;

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--run") {
        return run(&arguments[at + 1]);
    }
    let mut figures = Figures::of("memory")?;
    let traces = count();
    let stored = measure("store")?;
    let [loaded, updated, flushed] = stored[..] else { return Err("three moments".into()) };
    let [bare] = measure("map")?[..] else { return Err("one moment".into()) };
    let ratio = |bytes: f64| bytes / bare;
    let case = |moment: &str, bytes: f64| {
        Figure::new(format!("{traces} traces, {moment}"), "beyond payload", bytes, "bytes each")
    };
    figures.say(case("stored", loaded).target(600.0))?;
    figures.say(case("stored", loaded).beside("DashMap", ratio(loaded)))?;
    figures.say(case("all updated, not flushed", updated))?;
    figures.say(case("all updated and flushed", flushed).target(600.0))?;
    figures.say(case("all updated and flushed", flushed).beside("before the updates", flushed / loaded))?;
    Ok(())
}

fn count() -> usize {
    if is_quick() { 20_000 } else { 1_000_000 }
}

/// The bytes for each trace, at each moment that the process tells of.
fn measure(case: &str) -> Outcome<Vec<f64>> {
    let output = Command::new(std::env::current_exe()?).args(["--run", case]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr)?.into());
    }
    let moments = String::from_utf8(output.stdout)?;
    Ok(moments.lines().map(str::parse).collect::<Result<_, _>>()?)
}

fn run(case: &str) -> Outcome {
    let before = resident()?;
    let tell = || -> Outcome {
        let bytes = (resident()? - before) / count() as f64 - PAYLOAD as f64;
        println!("{bytes}");
        Ok(())
    };
    if case == "map" {
        let map = DashMap::new();
        for some in (0..count()).collect::<Vec<_>>().chunks(1_000) {
            let store = TraceStore::in_memory();
            must(store.insert_many(some.iter().map(|n| trace(*n))));
            for held in &store {
                map.insert(uuid::Uuid::from(held.id()), copy(&held));
            }
        }
        return tell();
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("memory.db");
    {
        // Another process, so to speak: what it leaves in the allocator is measured before.
        let store = quiet().open(&path)?;
        for some in (0..count()).collect::<Vec<_>>().chunks(10_000) {
            store.insert_many(some.iter().map(|n| trace(*n)))?;
            store.flush()?;
        }
        tell()?;
        let ids: Vec<_> = store.iter().map(|trace| trace.id()).collect();
        for id in &ids {
            store.update(*id, |trace| trace.confidence(0.123))?;
        }
        tell()?;
        store.flush()?;
        // Whatever is collected is given back in the course of later operations.
        for id in ids.iter().take(10_000) {
            store.update(*id, |trace| trace.confidence(0.124))?;
        }
        store.flush()?;
        tell()?;
    }
    std::process::exit(0)
}

/// Bytes.
fn resident() -> Outcome<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).ok_or("statm has a second number")?;
    Ok(pages.parse::<f64>()? * 4_096.0)
}
