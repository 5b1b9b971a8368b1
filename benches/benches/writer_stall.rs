//! Whether a write notices the flusher or the disk: latencies of writes with a flusher that is idle, that flushes
//! without rest, and whose disk hangs for ten seconds; and of the writes of others that do without a flusher.
//!
//! Each thread updates a number in traces of its choice, of 100,000 (cold) or of ten (hot).

use benches::figures::{Figure, Figures};
use benches::maps::copy;
use benches::puts::{Fjall, Puts, Redb, Sled, Sqlite};
use benches::random::Random;
use benches::{Outcome, fill, is_quick, median, must, size};
use hdrhistogram::Histogram;
use mnemon::testkit::{Call, Fault, Faults};
use mnemon::{Trace, TraceId, TraceStore};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

fn main() -> Outcome {
    let mut figures = Figures::of("writer_stall")?;
    let folder = tempfile::tempdir()?;
    let open = |name: &str, interval| -> mnemon::Result<(TraceStore, Vec<TraceId>)> {
        let store = TraceStore::builder().flush_interval(interval).flush_threshold(usize::MAX);
        let store = store.open(folder.path().join(name))?;
        let ids = fill(&store, size(100_000))?;
        store.flush()?;
        Ok((store, ids))
    };
    let (idle, ids) = open("idle.db", Duration::from_secs(3_600))?;
    let busy = open("busy.db", Duration::ZERO)?;
    for threads in [1, 2, 4, 8, 16] {
        for (keys, among) in [("cold keys", ids.len()), ("hot keys", 10)] {
            let quiet = || (idle.flush().map(drop), writes(&idle, &ids[..among], threads)).1;
            let flushing = || writes(&busy.0, &busy.1[..among], threads);
            let case = format!("flusher without rest, {keys}, {threads} threads");
            let target = (threads == 1 && among > 10).then_some(1.5);
            compare(&mut figures, &case, "the same, flusher idle", quiet, flushing, target)?;
            busy.0.flush()?;
        }
    }
    busy.0.close()?;
    stalled(&mut figures, (&idle, &ids))?;
    serialized(&mut figures, (&idle, &ids))?;
    through(&mut figures, (&idle, &ids))
}

/// The disk hangs while the writers write.
fn stalled(figures: &mut Figures, (idle, ids): (&TraceStore, &[TraceId])) -> Outcome {
    let faults = Faults::new();
    let store = TraceStore::builder().flush_interval(Duration::ZERO).open_with(faults.backend())?;
    let its = fill(&store, size(100_000))?;
    store.flush()?;
    faults.fail(Call::Apply).with(Fault::Hang);
    store.update(its[0], |trace| trace.confidence(0.123))?;
    faults.wait_until_hanging();
    let since = Instant::now();
    let quiet = || (idle.flush().map(drop), writes(idle, ids, 1)).1;
    let hanging = || writes(&store, &its, 1);
    compare(
        figures,
        "disk stalled, cold keys, 1 threads",
        "the same, flusher idle",
        quiet,
        hanging,
        Some(1.5),
    )?;
    let least = Duration::from_secs(if is_quick() { 0 } else { 10 });
    let mut longest = 0;
    while since.elapsed() < least {
        longest = longest.max(writes(&store, &its, 1).max());
    }
    figures.say(Figure::new(
        "the longest write of ten seconds of a stalled disk",
        "max",
        longest as f64,
        "ns",
    ))?;
    assert_eq!(faults.hanging(), Some(Call::Apply));
    faults.release();
    store.close()?;
    Ok(())
}

/// What the original does: one lock around the store, and the flush serializes all of it inside.
fn serialized(figures: &mut Figures, (idle, ids): (&TraceStore, &[TraceId])) -> Outcome {
    type Locked = Mutex<HashMap<TraceId, Arc<Trace>>>;
    let locked: Locked = Mutex::new(idle.iter().map(|trace| (trace.id(), copy(&trace))).collect());
    let lock = || locked.lock().unwrap_or_else(PoisonError::into_inner);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let text: String = lock().values().map(|trace| format!("{trace:?}")).collect();
                std::hint::black_box(text);
            }
        });
        let quiet = || (idle.flush().map(drop), latencies(ids, 1, 10_000, |id, n| must(idle.put(id, n)))).1;
        let write = |id, _| {
            let mut map = lock();
            let changed = copy(&map[&id]);
            map.insert(id, changed);
        };
        let under_lock = || latencies(ids, 1, 100, write);
        let case = "one mutex, serializing inside, 1 threads";
        let compared = compare(figures, case, "mnemon, flusher idle", quiet, under_lock, None);
        done.store(true, Ordering::Relaxed);
        compared
    })
}

/// A put into what writes through, without a sync, beside a write into a store that flushes as it does by default.
fn through(figures: &mut Figures, (idle, ids): (&TraceStore, &[TraceId])) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (store, its) = benches::puts::mnemon(folder.path(), ids.len())?;
    idle.flush()?;
    let peers: [Box<dyn Puts>; 4] = [
        Box::new(Sqlite::filled(folder.path(), &its)?),
        Box::new(Redb::filled(folder.path(), &its)?),
        Box::new(Fjall::filled(folder.path(), &its)?),
        Box::new(Sled::filled(folder.path(), &its)?),
    ];
    for peer in peers {
        let count = size(20_000);
        let mean = |on: &dyn Puts| {
            let latency = latencies(&its, 1, count, |id, number| must(on.put(id, number)));
            (latency.mean(), latency)
        };
        let rounds: Vec<_> = (0..5).map(|_| (mean(&store), mean(&*peer))).collect();
        let ours = median(rounds.iter().map(|round| round.0.0));
        let ratio = median(rounds.iter().map(|round| round.1.0 / round.0.0));
        let figure = Figure::new("write, durable soon", "mean", ours, "ns");
        // How many times as fast.
        let figure = figure.beside(format!("a put of {}", peer.name()), ratio).more_is_better().target(10.0);
        figures.say(figure)?;
        for (name, quantile) in QUANTILES {
            let at = |latency: &Histogram<u64>| latency.value_at_quantile(quantile) as f64;
            let ours = median(rounds.iter().map(|round| at(&round.0.1)));
            let ratio = median(rounds.iter().map(|round| at(&round.1.1) / at(&round.0.1)));
            let figure = Figure::new("write, durable soon", name, ours, "ns");
            figures.say(figure.beside(format!("a put of {}", peer.name()), ratio).more_is_better())?;
        }
    }
    Ok(())
}

fn compare(
    figures: &mut Figures,
    case: &str,
    peer: &str,
    quiet: impl Fn() -> Histogram<u64>,
    loud: impl Fn() -> Histogram<u64>,
    target: Option<f64>,
) -> Outcome {
    let rounds: Vec<_> = (0..if is_quick() { 1 } else { 9 }).map(|_| (quiet(), loud())).collect();
    for (name, quantile) in QUANTILES {
        let at = |latency: &Histogram<u64>| latency.value_at_quantile(quantile) as f64;
        let ours = median(rounds.iter().map(|round| at(&round.1)));
        let ratio = median(rounds.iter().map(|round| at(&round.1) / at(&round.0)));
        let figure = Figure::new(case, name, ours, "ns").beside(peer, ratio);
        let target = target.filter(|_| name == "p99.9");
        figures.say(target.map_or(figure.clone(), |target| figure.target(target)))?;
    }
    Ok(())
}

fn writes(store: &TraceStore, ids: &[TraceId], threads: usize) -> Histogram<u64> {
    latencies(ids, threads, size(100_000), |id, number| must(store.put(id, number)))
}

/// Nanoseconds of `count` writes, by so many threads together.
fn latencies(
    ids: &[TraceId],
    threads: usize,
    count: usize,
    write: impl Fn(TraceId, f64) + Sync,
) -> Histogram<u64> {
    let start = Barrier::new(threads);
    let all = Mutex::new(must(Histogram::new(3)));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (all, start, write) = (&all, &start, &write);
            scope.spawn(move || {
                let mut latency: Histogram<u64> = must(Histogram::new(3));
                let mut random = Random(thread as u64 + 1);
                start.wait();
                for n in 0..count / threads {
                    let (id, number) = (ids[random.below(ids.len())], (n % 100) as f64 / 100.0);
                    let started = Instant::now();
                    write(id, number);
                    must(latency.record(started.elapsed().as_nanos() as u64));
                }
                must(all.lock().unwrap_or_else(PoisonError::into_inner).add(&latency));
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}
