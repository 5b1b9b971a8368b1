//! What memories do, on 10,000 to 1,000,000 traces under `Durability::Committed`, each with its flush, beside the
//! figures of the system this crate grew out of for the same work on 100,000 (Ruby 3.1, its own machine, 2026-11-23):
//!
//! - a full decay cycle, which there wrote every trace: here one a minute for an hour of simulated time, over traces
//!   made in the month before, which writes none that has not faded away;
//! - a query by a tag that a fiftieth of the traces have, for the 20 strongest;
//! - one co-activation and one removal; and a walk over links.

use benches::figures::{Figure, Figures};
use benches::{Outcome, median, milliseconds, month_old, size, sizes};
use mnemon::{Durability, ManualClock, NewTrace, TraceStore};
use std::time::{Duration, Instant};

const EACH_TAGGED: usize = 50;

fn main() -> Outcome {
    let mut figures = Figures::of("memories")?;
    sizes().into_iter().try_for_each(|traces| on(&mut figures, traces))
}

fn on(figures: &mut Figures, traces: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let clock = ManualClock::at("2026-11-24T00:00:00Z".parse()?);
    let store = TraceStore::builder()
        .clock(&clock)
        .durability(Durability::Committed)
        .flush_interval(Duration::ZERO)
        .open(folder.path().join("memory.db"))?;
    let now = clock.now();
    let ids = benches::insert_all(&store, traces, |n| tagged(n, month_old(n, traces, now)))?;
    store.flush()?;
    // The original's milliseconds are known for 100,000.
    let mut say = |case: &str, ours: f64, original: f64, target: Option<f64>| {
        let figure = Figure::new(format!("{case}, {traces} traces"), "time", ours, "ms");
        if traces != size(100_000) {
            return figures.say(figure);
        }
        let figure = figure.beside("the original (times faster)", original / ours).more_is_better();
        figures.say(target.map_or(figure.clone(), |target| figure.target(target)))
    };

    let mut cycles = Vec::new();
    for _ in 0..60 {
        clock.advance(Duration::from_secs(60));
        cycles.push(flushed(&store, || store.decay().map(drop))?);
    }
    let longest = cycles.iter().copied().fold(0.0, f64::max);
    say("a decay cycle with its flush", median(cycles.into_iter()), 30_000.0, Some(1_000.0))?;
    say("the same, the longest of an hour", longest, 30_000.0, None)?;

    let before = store.stats().entries_visited;
    let queries = times(201, || {
        let started = Instant::now();
        let found = store.query().tagged("tagged").limit(20).run();
        assert_eq!(found.len(), 20.min(traces / EACH_TAGGED));
        Ok(milliseconds(started))
    })?;
    let visited = (store.stats().entries_visited - before) as f64 / 201.0;
    say("a query by tag for 20", queries, 94.0, None)?;

    let mut triples = ids.chunks_exact(3);
    let changes = times(201.min(traces / 3), || {
        let three = triples.next().ok_or("there are enough")?;
        Ok(flushed(&store, || {
            store.co_activate(three[0], three[1])?;
            store.remove(three[2]).map(drop)
        })?)
    })?;
    say("a co-activation and a removal with their flush", changes, 2_200.0, None)?;

    // A chain of links from a trace that is left on.
    let chain: Vec<_> = ids.chunks_exact(3).map(|three| three[0]).take(13.min(traces / 3)).collect();
    for pair in chain.windows(2) {
        (0..3).try_for_each(|_| store.co_activate(pair[0], pair[1]).map(drop))?;
    }
    let walks = times(201, || {
        let started = Instant::now();
        assert!(store.walk(chain[0], 12, 0.001).count() > 0);
        Ok(milliseconds(started))
    })?;
    figures.say(Figure::new(format!("a walk of 12 steps, {traces} traces"), "time", walks, "ms"))?;
    figures.say(Figure::new(
        format!("traces a query looks at, {traces} traces"),
        "visited",
        visited,
        "traces",
    ))?;
    store.close()?;
    Ok(())
}

fn times(count: usize, mut each: impl FnMut() -> Outcome<f64>) -> Outcome<f64> {
    let all = (0..count).map(|_| each()).collect::<Outcome<Vec<_>>>()?;
    Ok(median(all.into_iter()))
}

fn tagged(n: usize, new: NewTrace) -> NewTrace {
    if n.is_multiple_of(EACH_TAGGED) { new.tag("tagged") } else { new }
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
