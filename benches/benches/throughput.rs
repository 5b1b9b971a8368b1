//! Operations a second: the store beside maps that promise less, with 1 to 16 threads, uniform and Zipf.
//!
//! Records are shared behind an `Arc`, so a change makes a new record in each of them. The first part is one thread
//! going through all records in random order; the second lets threads loose. `-- --single` or `-- --threads` runs one.

use benches::figures::{Figure, Figures};
use benches::maps::{Dash, Moka, Papaya, Records, Scc, copy};
use benches::random::Choice;
use benches::{Outcome, fill, in_turn, must, quiet, size, timed};
use mnemon::{NewTrace, Trace, TraceId, TraceStore};
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().collect();
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let mut figures = Figures::of("throughput")?;
    let store = quiet().in_memory()?;
    let ids = fill(&store, size(100_000))?;
    store.flush()?;
    let traces: Vec<_> = store.iter().map(|trace| copy(&trace)).collect();
    if !asked("--threads") {
        cached(&mut figures, &store, &ids[..100], &Dash::like_the_store(&traces))?;
        single(&mut figures, &store, &ids, &traces, 15)?;
        let large = quiet().in_memory()?;
        let ids = fill(&large, size(1_000_000))?;
        large.flush()?;
        single(&mut figures, &large, &ids, &large.iter().map(|trace| copy(&trace)).collect::<Vec<_>>(), 5)?;
    }
    if !asked("--single") {
        threads(&mut figures, &store, &ids, &traces)?;
    }
    Ok(())
}

/// One thread, each record once a round.
fn single(
    figures: &mut Figures,
    store: &TraceStore,
    ids: &[TraceId],
    traces: &[Arc<Trace>],
    rounds: usize,
) -> Outcome {
    let (alike, default) = (Dash::like_the_store(traces), Dash::of(traces));
    let peers: [(&dyn Records, bool); 2] = [(&alike, true), (&default, false)];
    let each = 1e9 / ids.len() as f64;
    for (peer, has_target) in peers {
        let mut say = |case: &str, pair: benches::Pair, target| {
            let case = format!("{case}, of {}", ids.len());
            let figure = Figure::new(case, "time", pair.ours * each, "ns").beside(peer.name(), pair.ratio);
            figures.say(if has_target { figure.target(target) } else { figure })
        };
        store.flush()?;
        let read = |from: &dyn Records| timed(|| ids.iter().for_each(|id| drop(black_box(from.get(*id)))));
        say("get", in_turn(rounds, || read(store), || read(peer)), 1.5)?;
        for (case, flushes, target) in
            [("update of a number", false, 2.6), ("update, each the first after a flush", true, 3.3)]
        {
            let mut round = 0;
            let pair = in_turn(
                rounds,
                || {
                    round += 1;
                    let number = f64::from(round % 100) / 100.0;
                    if flushes {
                        // Outside the measured time, as it is outside the writers' threads.
                        must(store.flush());
                    }
                    timed(|| ids.iter().for_each(|id| assert!(Records::update(store, *id, number))))
                },
                || timed(|| ids.iter().for_each(|id| assert!(peer.update(*id, 0.0)))),
            );
            say(case, pair, target)?;
        }
    }
    Ok(())
}

/// Of few records, which stay in the processor's caches.
fn cached(figures: &mut Figures, store: &TraceStore, ids: &[TraceId], peer: &dyn Records) -> Outcome {
    let rounds = size(2_000);
    let each = 1e9 / (rounds * ids.len()) as f64;
    let often = |work: &dyn Fn(TraceId, usize)| {
        timed(|| (0..rounds).for_each(|round| ids.iter().for_each(|id| work(*id, round))))
    };
    let read = |from: &dyn Records| often(&|id, _| drop(black_box(from.get(id))));
    let write = |to: &dyn Records| often(&|id, n| assert!(to.update(id, (n % 100) as f64 / 100.0)));
    for (what, pair, target) in [
        ("get", in_turn(9, || read(store), || read(peer)), 1.5),
        ("update of a number", in_turn(9, || write(store), || write(peer)), 2.6),
    ] {
        let figure = Figure::new(format!("{what}, of 100 in the caches"), "time", pair.ours * each, "ns");
        figures.say(figure.beside(peer.name(), pair.ratio).target(target))?;
    }
    Ok(())
}

/// What of a hundred operations changes a record.
const MIXES: [(&str, usize); 4] = [("get", 0), ("update", 100), ("mixed 95/5", 5), ("mixed 50/50", 50)];

fn threads(figures: &mut Figures, store: &TraceStore, ids: &[TraceId], traces: &[Arc<Trace>]) -> Outcome {
    let (alike, dash) = (Dash::like_the_store(traces), Dash::of(traces));
    let (papaya, scc, moka) = (Papaya::of(traces), Scc::of(traces), Moka::of(traces));
    let peers: [&dyn Records; 5] = [&alike, &dash, &papaya, &scc, &moka];
    let operations = size(100_000);
    for choice in Choice::ALL {
        for (mix, changes) in MIXES {
            for threads in [1, 2, 4, 8, 16] {
                let case = format!("{mix}, {}, {threads} threads", choice.name());
                let drawn: Vec<_> = (0..threads)
                    .map(|t| choice.draw(ids.len(), operations / threads, t as u64 + 1))
                    .collect();
                let run = |on: &dyn Records| {
                    together(threads, |thread| {
                        for (n, at) in drawn[thread].iter().enumerate() {
                            if n * 37 % 100 < changes {
                                assert!(on.update(ids[*at], (n % 100) as f64 / 100.0))
                            } else {
                                drop(black_box(on.get(ids[*at])))
                            }
                        }
                    })
                };
                for peer in peers {
                    let pair = in_turn(3, || run(store), || run(peer));
                    let ours = operations as f64 / pair.ours;
                    let figure = Figure::new(case.clone(), "operations", ours, "1/s")
                        .beside(peer.name(), 1.0 / pair.ratio)
                        .more_is_better();
                    let target = match (peer.name(), changes) {
                        ("papaya" | "moka", _) => Some(1.0),
                        (Dash::ALIKE, 0) if threads <= 8 => Some(0.7),
                        (Dash::ALIKE, 100) if threads <= 8 => Some(0.45),
                        _ => None,
                    };
                    figures.say(Figure { target, ..figure })?;
                }
            }
        }
    }
    for threads in [1, 2, 4, 8, 16] {
        come_and_go(figures, store, &peers, threads, operations / 2)?;
    }
    Ok(())
}

/// Records that are inserted by each thread, and then removed.
fn come_and_go(
    figures: &mut Figures,
    store: &TraceStore,
    peers: &[&dyn Records],
    threads: usize,
    count: usize,
) -> Outcome {
    let others = TraceStore::in_memory();
    benches::insert_all(&others, count, |_| NewTrace::episodic(mnemon::Payload::text("short")))?;
    let new: Vec<_> = others.iter().map(|trace| copy(&trace)).collect();
    let parts: Vec<_> = new.chunks(count.div_ceil(threads)).collect();
    let insert = |on: &dyn Records| {
        together(parts.len(), |thread| parts[thread].iter().for_each(|trace| on.insert(trace)))
    };
    let remove = |on: &dyn Records| {
        together(parts.len(), |thread| parts[thread].iter().for_each(|trace| on.remove(trace.id())))
    };
    for peer in peers {
        // What was removed leaves the store's map with the next flush.
        let ours = |insert: Duration| (insert, remove(store), must(store.flush())).0;
        let inserted = in_turn(5, || ours(insert(store)), || (insert(*peer), remove(*peer)).0);
        let ours = || (insert(store), remove(store), must(store.flush())).1;
        let removed = in_turn(5, ours, || (insert(*peer), remove(*peer)).1);
        for (what, pair) in [("insert", inserted), ("remove", removed)] {
            let figure = Figure::new(
                format!("{what}, {threads} threads"),
                "operations",
                count as f64 / pair.ours,
                "1/s",
            );
            figures.say(figure.beside(peer.name(), 1.0 / pair.ratio).more_is_better())?;
        }
    }
    Ok(())
}

/// The time from when the first thread begins until the last is done: by their own clocks, as the thread that waits for
/// them may come to run only after they have.
fn together(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let start = Barrier::new(threads);
    let spans: Vec<_> = std::thread::scope(|scope| {
        let spawn = |thread| {
            let (work, start) = (&work, &start);
            scope.spawn(move || {
                start.wait();
                let began = Instant::now();
                work(thread);
                (began, Instant::now())
            })
        };
        let spawned: Vec<_> = (0..threads).map(spawn).collect();
        spawned.into_iter().flat_map(|thread| thread.join()).collect()
    });
    assert_eq!(spans.len(), threads, "none panics");
    let began = spans.iter().map(|span| span.0).min();
    let ended = spans.iter().map(|span| span.1).max();
    began.zip(ended).map_or(Duration::ZERO, |(began, ended)| ended - began)
}
