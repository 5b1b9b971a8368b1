//! What the benchmarks have in common: records, random order, and lines to read.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use mnemon::{NewTrace, TraceId, TraceStore};
use std::time::{Duration, Instant};

/// The payloads are JSON strings of 300 bytes.
pub fn trace(n: usize) -> NewTrace {
    NewTrace::episodic(serde_json::json!(format!("{n:0>298}")))
}

/// A store filled with `count` traces, and their ids in random order.
pub fn fill(store: &TraceStore, count: usize) -> mnemon::Result<Vec<TraceId>> {
    let mut ids = store.insert_many((0..count).map(trace))?;
    shuffle(&mut ids, &mut Random(7));
    Ok(ids)
}

/// xorshift64*: a fixed seed gives every run the same order.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

pub fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for i in (1..items.len()).rev() {
        items.swap(i, random.below(i + 1));
    }
}

/// The median over `rounds` of the time of `ours` and of `theirs`, run in turn, and of their ratio, round
/// by round, so that a machine that changes its speed changes both.
pub fn in_turn(
    rounds: usize,
    mut ours: impl FnMut() -> Duration,
    mut theirs: impl FnMut() -> Duration,
) -> Pair {
    let measured: Vec<_> = (0..rounds).map(|_| (ours(), theirs())).collect();
    let ratios = measured.iter().map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64());
    Pair {
        ours: median(measured.iter().map(|pair| pair.0.as_secs_f64())),
        theirs: median(measured.iter().map(|pair| pair.1.as_secs_f64())),
        ratio: median(ratios),
    }
}

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

/// One line: what, ours, theirs, the ratio, and the target it is held against.
pub fn report(what: &str, unit: &str, pair: &Pair, scale: f64, target: f64) {
    println!(
        "{what:<72} {:>10.1} {unit}   beside {:>10.1} {unit}   ratio {:.2} (target <= {target})",
        pair.ours * scale,
        pair.theirs * scale,
        pair.ratio
    );
}
