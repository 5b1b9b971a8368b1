//! What memories do, on 100,000 traces under `Durability::Relaxed`, each with its flush, beside the figures of the
//! system this crate grew out of for the same work (Ruby 3.1, its own machine, 2026-11-23):
//!
//! - a decay cycle, which there wrote every trace: here one a minute for an hour of simulated time, over traces made
//!   in the month before; and once where every trace has to be written, as it was never since it was made;
//! - a query by a tag that 2,000 traces have, for the 20 strongest;
//! - one co-activation and one removal.

mod support;

use jiff::Timestamp;
use mnemon::{Durability, ManualClock, NewTrace, TraceStore, TraceType};
use std::error::Error;
use std::time::{Duration, Instant};
use support::{median, trace};

const TRACES: usize = 100_000;
const TAGGED: usize = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let clock = ManualClock::at("2026-11-24T00:00:00Z".parse()?);
    let store = TraceStore::builder()
        .clock(&clock)
        .durability(Durability::Relaxed)
        .flush_interval(Duration::ZERO)
        .open(folder.path().join("memory.db"))?;
    let now = clock.now();
    let ids = store.insert_many((0..TRACES).map(|n| mixed(n, now)))?;
    store.flush()?;

    let first = flushed(&store, || store.decay().map(drop))?;
    println!("the first decay cycle, which writes {} rows: {first:.1} ms", store.stats().rows_updated);
    let before = store.stats();
    let (mut cycles, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        clock.advance(Duration::from_secs(60));
        cycles.push(flushed(&store, || store.decay().map(drop))?);
        let started = Instant::now();
        store.decay()?;
        alone.push(milliseconds(started));
    }
    let rows = store.stats().rows_updated - before.rows_updated;
    let longest = cycles.iter().copied().fold(0.0, f64::max);
    say("a decay cycle with its flush, the middle one", median(cycles.iter().copied()), 50.0, 30_000.0);
    say("the same, the longest", longest, 50.0, 30_000.0);
    println!("rows written in the hour: {rows}, where the original writes {}", 60 * TRACES);
    println!("a cycle that finds nothing to write: {:.1} ms", median(alone.into_iter()));

    let before = store.stats().entries_visited;
    let queries: Vec<_> = (0..201)
        .map(|_| {
            let started = Instant::now();
            let found = store.query().tagged("tagged").limit(20).run();
            assert_eq!(found.len(), 20);
            milliseconds(started)
        })
        .collect();
    let visited = (store.stats().entries_visited - before) / queries.len() as u64;
    say("a query by tag, 20 of 2,000", median(queries.into_iter()), 1.0, 94.0);
    println!("traces it looks at: {visited}");

    let mut pairs = ids.chunks_exact(3);
    let mut next = || pairs.next().map(|three| (three[0], three[1], three[2]));
    let mut changes = Vec::new();
    for _ in 0..201 {
        let (a, b, gone) = next().ok_or("there are enough")?;
        changes.push(flushed(&store, || {
            store.co_activate(a, b)?;
            store.remove(gone).map(drop)
        })?);
    }
    say("a co-activation and a removal with their flush", median(changes.into_iter()), 5.0, 2_200.0);
    Ok(())
}

/// Fading as every type that fades does, in turn, with payloads of 300 bytes, made in the 30 days before `now`.
fn mixed(n: usize, now: Timestamp) -> NewTrace {
    let kinds = &TraceType::ALL[1..];
    let kind = kinds[n % kinds.len()];
    let age = Duration::from_secs(30 * 86_400).mul_f64((n * 7_919 % TRACES) as f64 / TRACES as f64);
    let new = trace(n).base_decay_rate(kind.base_decay_rate()).strength(kind.starting_strength());
    let new = new.created_at(now.saturating_sub(age).unwrap_or(now));
    if n.is_multiple_of(TRACES / TAGGED) { new.tag("tagged") } else { new }
}

/// The milliseconds until all of it is committed.
fn flushed(store: &TraceStore, work: impl FnOnce() -> mnemon::Result<()>) -> mnemon::Result<f64> {
    let started = Instant::now();
    work()?;
    while store.stats().dirty > 0 {
        std::thread::yield_now();
    }
    Ok(milliseconds(started))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn say(what: &str, ours: f64, target: f64, originals: f64) {
    println!(
        "{what:<52} {ours:>9.3} ms (target {target} ms)   the original {originals} ms, {:.0} times",
        originals / ours
    );
}
