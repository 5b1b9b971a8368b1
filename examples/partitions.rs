//! Three agents in one store: you see how much each keeps in a partition of its own, a fact of all that the three
//! have confirmed at once and no confirmation is lost, and one agent leaving without a trace in memory or in the file.

use mnemon::{NewTrace, Partition, TraceId, TraceStore};
use serde_json::json;
use std::path::Path;
use std::{fs, io, thread};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const AGENTS: [&str; 3] = ["cook", "pilot", "porter"];
const EVERYBODY: &str = "everybody";
const NOTES: usize = 200;

fn main() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("memory.db");
    let store = TraceStore::open(&path)?;
    let rule = NewTrace::semantic(json!({"rule": "the fuel pump is locked at night"}));
    let rule = store.insert(rule.partition(EVERYBODY).tag("keys").confidence(0.1))?;

    // One store for all: each agent has a clone and a handle to its partition, on a thread of its own.
    thread::scope(|scope| {
        let agents = AGENTS.map(|name| {
            let (store, own) = (store.clone(), store.in_partition(name));
            scope.spawn(move || work(&store, &own, rule))
        });
        agents.into_iter().try_for_each(|agent| agent.join().map_err(|_| "an agent panicked")?)
    })?;
    let known = store.get(rule).ok_or("nobody removes it")?;
    println!("{} confirmations of what everybody knows, of {}\n", known.revision() - 1, AGENTS.len() * NOTES);

    store.flush()?;
    table(&store, &path)?;
    let gone = store.erase_partition("pilot")?;
    println!(
        "\nthe pilot leaves: {} traces, {} links and {} rows erased\n",
        gone.traces, gone.links, gone.rows
    );
    table(&store, &path)?;
    store.close()?;

    let store = TraceStore::open(&path)?;
    println!("\nopened again: {} traces, {} links", store.len(), store.link_count());
    Ok(())
}

/// What an agent does: notes what it saw, with what everybody knows, and looks at its own notes alone.
fn work(store: &TraceStore, own: &Partition, rule: TraceId) -> Outcome {
    for n in 0..NOTES {
        let saw = own.insert(NewTrace::episodic(json!({"who": own.name(), "saw": n})).tag("keys"))?;
        // Atomic: of two agents that confirm at once, the later one goes on from what the other has made of it.
        store.update(rule, |known| {
            let surer = known.before().confidence() + 0.001;
            known.confidence(surer.min(1.0))
        })?;
        store.co_activate(saw, rule)?;
    }
    match own.query().tagged("keys").count() {
        NOTES => Ok(()),
        found => Err(format!("{} finds {found} notes of its own, of {NOTES}", own.name()).into()),
    }
}

/// What each partition holds, in memory and in the file.
fn table(store: &TraceStore, path: &Path) -> Outcome {
    println!("partition   traces   links   in the bytes of the file");
    for name in AGENTS.into_iter().chain([EVERYBODY]) {
        let traces = store.query().partition(name).run();
        let links = traces.iter().map(|trace| store.links(trace.id()).len()).sum::<usize>();
        let found = if is_in_file(path, name)? { "yes" } else { "no" };
        println!("{name:<10}{:>8}{links:>8}   {found}", traces.len());
    }
    Ok(())
}

/// Whether a name stands anywhere in the bytes of the file, or of its WAL.
fn is_in_file(path: &Path, name: &str) -> io::Result<bool> {
    let mut bytes = fs::read(path)?;
    let wal = path.with_extension("db-wal");
    if wal.exists() {
        bytes.extend(fs::read(wal)?);
    }
    Ok(bytes.windows(name.len()).any(|window| window == name.as_bytes()))
}
