//! What the benchmarks have in common: records, orders, figures and where they go.

pub mod figures;
pub mod maps;
pub mod puts;
pub mod random;

use jiff::Timestamp;
use mnemon::{Group, NewTrace, TraceId, TraceStore, TraceType};
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Whether this is a try that the benchmark runs at all, and not a measurement: `BENCH_QUICK=1`.
pub fn is_quick() -> bool {
    std::env::var_os("BENCH_QUICK").is_some()
}

/// `full`, or a small part of it in a quick try.
pub fn size(full: usize) -> usize {
    if is_quick() { (full / 100).max(10) } else { full }
}

/// Sizes of stores: 10,000 to 1,000,000 traces.
pub fn sizes() -> [usize; 3] {
    [10_000, 100_000, 1_000_000].map(size)
}

/// The payloads are JSON strings of 300 bytes.
pub const PAYLOAD: usize = 300;

pub fn trace(n: usize) -> NewTrace {
    NewTrace::episodic(serde_json::json!(format!("{n:0>298}")))
}

/// One of `traces`, fading as every type that fades does, in turn, and made in the 30 days before `now`.
pub fn month_old(n: usize, traces: usize, now: Timestamp) -> NewTrace {
    let kinds = &TraceType::ALL[1..];
    let kind = kinds[n % kinds.len()];
    let age = Duration::from_secs(30 * 86_400).mul_f64((n * 7_919 % traces) as f64 / traces as f64);
    let new = trace(n).base_decay_rate(kind.base_decay_rate()).strength(kind.starting_strength());
    new.created_at(now.saturating_sub(age).unwrap_or(now))
}

/// Inserts so many traces, in groups, and returns their ids in order.
pub fn insert_all(
    store: &TraceStore,
    count: usize,
    new: impl Fn(usize) -> NewTrace,
) -> mnemon::Result<Vec<TraceId>> {
    let mut ids = Vec::with_capacity(count);
    for first in (0..count).step_by(Group::MAX_STEPS) {
        let some = first..count.min(first + Group::MAX_STEPS);
        ids.extend(store.insert_many(some.map(&new))?);
    }
    Ok(ids)
}

/// A store filled with `count` traces, and their ids in random order.
pub fn fill(store: &TraceStore, count: usize) -> mnemon::Result<Vec<TraceId>> {
    let mut ids = insert_all(store, count, trace)?;
    random::shuffle(&mut ids, &mut random::Random(7));
    Ok(ids)
}

/// Returns when the views have every change.
pub fn settle(store: &TraceStore) {
    while !store.query().limit(0).explain().ends_with(": 0 looked at, 0 of them just changed") {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks while another thread makes so many changes a second, or as many as it can with 0. `change` is given the number
/// of the change, and the ids in turn.
pub fn beside_a_writer<R>(
    ids: &[TraceId],
    rate: u64,
    change: impl Fn(u64, TraceId) + Sync,
    ask: impl FnOnce() -> R,
) -> R {
    let (done, made) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let started = Instant::now();
            for id in ids.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let number = made.fetch_add(1, Ordering::Relaxed);
                change(number, *id);
                // The rate is of the benchmark, not a wait for anything.
                while rate > 0 && number as f64 / rate as f64 > started.elapsed().as_secs_f64() {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
        while made.load(Ordering::Relaxed) < 2_000 {
            std::thread::yield_now();
        }
        let answer = ask();
        done.store(true, Ordering::Relaxed);
        answer
    })
}

/// One that flushes when it is told to.
pub fn quiet() -> mnemon::StoreBuilder {
    TraceStore::builder().flush_interval(Duration::from_secs(3_600)).flush_threshold(usize::MAX)
}

/// The medians over some rounds of what `ours` and `theirs` take, run in turn, and of their ratio, round by round,
/// so that a machine that changes its speed changes both.
pub fn in_turn(
    rounds: usize,
    mut ours: impl FnMut() -> Duration,
    mut theirs: impl FnMut() -> Duration,
) -> Pair {
    let rounds = if is_quick() { 1 } else { rounds };
    let measured: Vec<_> = (0..rounds).map(|_| (ours().as_secs_f64(), theirs().as_secs_f64())).collect();
    Pair {
        ours: median(measured.iter().map(|pair| pair.0)),
        theirs: median(measured.iter().map(|pair| pair.1)),
        ratio: median(measured.iter().map(|pair| pair.0 / pair.1)),
    }
}

/// Seconds.
#[derive(Clone, Copy)]
pub struct Pair {
    pub ours: f64,
    pub theirs: f64,
    pub ratio: f64,
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

pub fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// A benchmark that fails has nothing to say.
pub fn must<T, E: std::fmt::Debug>(done: Result<T, E>) -> T {
    done.unwrap_or_else(|error| panic!("{error:?}"))
}
