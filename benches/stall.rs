//! Whether a write notices the flusher: latency of updates of numbers in one of 100,000 traces, with the flusher
//! idle and with one that flushes without rest, in turn.

mod support;

use hdrhistogram::Histogram;
use mnemon::{TraceId, TraceStore};
use std::error::Error;
use std::time::{Duration, Instant};
use support::{Random, fill, median};

const TRACES: usize = 100_000;
const WRITES: usize = 100_000;
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let open = |name: &str, interval| -> mnemon::Result<(TraceStore, Vec<TraceId>)> {
        let store = TraceStore::builder().flush_interval(interval).flush_threshold(usize::MAX);
        let store = store.open(folder.path().join(name))?;
        let ids = fill(&store, TRACES)?;
        store.flush()?;
        Ok((store, ids))
    };
    let idle = open("idle.db", Duration::from_secs(3600))?;
    let busy = open("busy.db", Duration::ZERO)?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        idle.0.flush()?;
        let quiet = writes(&idle.0, &idle.1, round)?;
        let cuts = busy.0.stats().cuts;
        let flushing = writes(&busy.0, &busy.1, round)?;
        rounds.push((quiet, flushing, busy.0.stats().cuts - cuts));
        busy.0.flush()?;
    }
    println!("{:<8} {:>12} {:>16} {:>8}", "write", "flusher idle", "without rest", "ratio");
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        let at = |histogram: &Histogram<u64>| histogram.value_at_quantile(quantile) as f64;
        let (quiet, flushing) =
            (median(rounds.iter().map(|r| at(&r.0))), median(rounds.iter().map(|r| at(&r.1))));
        let ratio = median(rounds.iter().map(|r| at(&r.1) / at(&r.0)));
        let target = if name == "p99.9" { " (target <= 2)" } else { "" };
        println!("{name:<8} {quiet:>9.0} ns {flushing:>13.0} ns {ratio:>8.2}{target}");
    }
    println!("cuts in a round without rest: {:.0}", median(rounds.iter().map(|r| r.2 as f64)));
    Ok(())
}

fn writes(store: &TraceStore, ids: &[TraceId], round: usize) -> Result<Histogram<u64>, Box<dyn Error>> {
    let mut latency = Histogram::new(3)?;
    let mut random = Random(round as u64 + 1);
    for n in 0..WRITES {
        let id = ids[random.below(ids.len())];
        let confidence = (n % 100) as f64 / 100.0;
        let started = Instant::now();
        store.update(id, |trace| trace.confidence(confidence))?;
        latency.record(u64::try_from(started.elapsed().as_nanos())?)?;
    }
    Ok(latency)
}
