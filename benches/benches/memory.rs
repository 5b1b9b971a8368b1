//! What a trace takes of memory beyond the bytes of its payload, beside a `DashMap<Uuid, Arc<record>>` of the same
//! records. Each case is a process of its own, and counts what is allocated (SQLite's own memory is not: its page cache
//! is 64 MiB at most), and what the system says is resident, to which freed memory does not go back.

use benches::figures::{Figure, Figures};
use benches::maps::copy;
use benches::{Outcome, PAYLOAD, is_quick, must, quiet, trace};
use dashmap::DashMap;
use mnemon::TraceStore;
use std::process::Command;
use std::time::Duration;

#[global_allocator]
static ALLOCATED: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--run") {
        return run(&arguments[at + 1]);
    }
    let mut figures = Figures::of("memory")?;
    let traces = count();
    let stored = measure("store")?;
    let [loaded, updated, flushed] = stored[..] else { return Err("three moments".into()) };
    let [tagged, ..] = measure("tagged")?[..] else { return Err("one moment".into()) };
    let [bare] = measure("map")?[..] else { return Err("one moment".into()) };
    let case = |moment: &str, bytes: f64| {
        Figure::new(format!("{traces} traces, {moment}"), "beyond payload", bytes, "bytes each")
    };
    figures.say(case("stored", loaded.0).target(350.0))?;
    figures.say(case("stored", loaded.0).beside("DashMap", loaded.0 / bare.0))?;
    figures.say(case("stored, resident", loaded.1).beside("DashMap", loaded.1 / bare.1))?;
    figures.say(case("in 80 partitions, each with three of 57 tags, stored", tagged.0).target(400.0))?;
    figures.say(case("all updated, not flushed", updated.0))?;
    figures.say(case("all updated, not flushed, resident", updated.1))?;
    figures.say(case("all updated and flushed", flushed.0))?;
    figures
        .say(case("all updated and flushed", flushed.0).beside("before the updates", flushed.0 / loaded.0))?;
    figures.say(case("all updated and flushed, resident", flushed.1))?;
    Ok(())
}

fn count() -> usize {
    if is_quick() { 20_000 } else { 1_000_000 }
}

/// The bytes for each trace, allocated and resident, at each moment that the process tells of.
fn measure(case: &str) -> Outcome<Vec<(f64, f64)>> {
    let output = Command::new(std::env::current_exe()?).args(["--run", case]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr)?.into());
    }
    let moments = String::from_utf8(output.stdout)?;
    let both = |line: &str| -> Outcome<(f64, f64)> {
        let (allocated, resident) = line.split_once(' ').ok_or("two numbers")?;
        Ok((allocated.parse()?, resident.parse()?))
    };
    moments.lines().map(both).collect()
}

fn run(case: &str) -> Outcome {
    let before = (ALLOCATED.allocated() as f64, resident()?);
    let tell = || -> Outcome {
        // The flusher and the indexer give back what they needed, after what they were asked for is done.
        let mut last = usize::MAX;
        while std::mem::replace(&mut last, ALLOCATED.allocated()) != last {
            std::thread::sleep(Duration::from_millis(200));
        }
        let beyond = |bytes: f64| bytes / count() as f64 - PAYLOAD as f64;
        println!("{} {}", beyond(ALLOCATED.allocated() as f64 - before.0), beyond(resident()? - before.1));
        Ok(())
    };
    if case == "map" {
        let map = DashMap::new();
        for some in (0..count()).collect::<Vec<_>>().chunks(1_000) {
            let store = TraceStore::in_memory();
            must(store.insert_many(some.iter().map(|n| trace(*n))));
            for held in store.iter() {
                map.insert(uuid::Uuid::from(held.id()), copy(&held));
            }
        }
        return tell();
    }
    let new = |n: usize| match case {
        // 560 lists of tags.
        "tagged" => trace(n).partition(format!("partition {}", n % 80)).tags([
            format!("topic {}", n % 10),
            format!("place {}", n % 7),
            format!("source {}", n % 40),
        ]),
        _ => trace(n),
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("memory.db");
    {
        // Another process, so to speak: what it leaves in the allocator is measured before.
        let store = quiet().open(&path)?;
        for some in (0..count()).collect::<Vec<_>>().chunks(10_000) {
            store.insert_many(some.iter().map(|n| new(*n)))?;
            store.flush()?;
        }
        tell()?;
        let mut ids: Vec<_> = store.iter().map(|trace| trace.id()).collect();
        for id in &ids {
            store.update(*id, |trace| trace.confidence(0.123))?;
        }
        let some = ids.split_off(ids.len() - 10_000);
        drop(ids);
        tell()?;
        store.flush()?;
        // Whatever is collected is given back in the course of later operations.
        for id in some {
            store.update(id, |trace| trace.confidence(0.124))?;
        }
        store.flush()?;
        tell()?;
    }
    // Taking the store apart is no part of this; the folder goes.
    drop(folder);
    std::process::exit(0)
}

/// Bytes.
fn resident() -> Outcome<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).ok_or("statm has a second number")?;
    Ok(pages.parse::<f64>()? * 4_096.0)
}
