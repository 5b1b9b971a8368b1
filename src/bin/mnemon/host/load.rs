//! The busy phase: writers on every trace, and flushes and decay cycles on top of them.

use super::expected::Expected;
use super::latency::Durations;
use super::status::Writes;
use super::targets::Targets;
use super::writer::{Writer, Written};
use super::{Load, Sync};
use crate::{interrupt, progress};
use anyhow::Result;
use indicatif::ProgressBar;
use mnemon::{ManualClock, TraceId, TraceStore};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the busy phase did, but for its expected.
pub struct Measured {
    pub told: Written,
    pub flushes: Durations,
    pub decay: Decay,
}

/// What the decay cycles did.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Decay {
    pub cycles: u64,
    pub pruned: u64,
}

/// The store's clock, a minute later with each decay cycle.
pub struct Minutes<'a> {
    store: &'a TraceStore,
    clock: &'a ManualClock,
    done: Decay,
}

impl<'a> Minutes<'a> {
    pub fn new(store: &'a TraceStore, clock: &'a ManualClock) -> Self {
        Self { store, clock, done: Decay::default() }
    }

    fn pass(&mut self) -> Result<()> {
        self.clock.advance(Duration::from_secs(60));
        let removed = self.store.decay()?;
        self.done.cycles += 1;
        self.done.pruned += removed.traces as u64;
        Ok(())
    }
}

pub fn run(
    store: &TraceStore,
    mut minutes: Minutes<'_>,
    load: Load,
    ids: Vec<TraceId>,
    expected: &mut Expected,
    writes: &Writes,
) -> Result<Measured> {
    let (targets, stop) = (Targets::new(ids), AtomicBool::new(false));
    let writers =
        (0..u64::from(load.writers)).map(|seed| Writer::new(store, &targets, 2 + seed, writes.counter()));
    let writers = writers.collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let stop = &stop;
        let writers: Vec<_> =
            writers.into_iter().map(|writer| scope.spawn(move || writer.work(stop))).collect();
        let flushes = Clock::start(load, stop).flush(&mut minutes, load);
        // Before anything that may fail: the scope does not end before the writers do.
        stop.store(true, Ordering::Relaxed);
        let mut told = Written::nothing()?;
        for writer in writers {
            told.merge(writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)?;
        }
        expected.merge(std::mem::take(&mut told.expected));
        Ok(Measured { told, flushes: flushes?, decay: minutes.done })
    })
}

/// How much of the phase is left.
struct Clock<'a> {
    started: Instant,
    length: Duration,
    stop: &'a AtomicBool,
    bar: ProgressBar,
}

impl<'a> Clock<'a> {
    fn start(load: Load, stop: &'a AtomicBool) -> Self {
        let length = load.seconds;
        let bar = progress::clock(length, "working");
        Self { started: Instant::now(), length, stop, bar }
    }

    /// Sleeps, but not beyond the end; `false` at the end, and when a writer has failed.
    fn sleep(&self, pause: Duration) -> bool {
        /// As long as a person waits after Ctrl-C, and does not notice.
        const GLANCE: Duration = Duration::from_millis(100);
        let until = (self.started.elapsed() + pause).min(self.length);
        loop {
            let passed = self.started.elapsed();
            self.bar.set_position(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
            if passed >= self.length || self.stop.load(Ordering::Relaxed) || interrupt::has_come() {
                return false;
            }
            if passed >= until {
                return true;
            }
            thread::sleep(GLANCE.min(until - passed));
        }
    }

    fn flush(&self, minutes: &mut Minutes<'_>, load: Load) -> Result<Durations> {
        let flushes = match load.durability {
            Sync::Full => self.ask_for_flushes(minutes, load.pause()),
            Sync::Relaxed => self.watch_flushes(minutes, load.pause()),
        };
        self.bar.finish_and_clear();
        flushes
    }

    fn ask_for_flushes(&self, minutes: &mut Minutes<'_>, pause: Duration) -> Result<Durations> {
        let (store, mut flushes) = (minutes.store, Durations::new()?);
        let mut last = store.watermark().committed;
        while self.sleep(pause) {
            minutes.pass()?;
            let report = store.flush()?;
            // With nothing to flush, the report is of no new flush.
            if report.watermark > last {
                flushes.record(report.elapsed);
                last = report.watermark;
            }
        }
        Ok(flushes)
    }

    /// Background flushes report to nobody: the last report is looked at often enough to see each of them.
    fn watch_flushes(&self, minutes: &mut Minutes<'_>, pause: Duration) -> Result<Durations> {
        const GLANCE: Duration = Duration::from_micros(100);
        let (store, mut flushes) = (minutes.store, Durations::new()?);
        let mut last_minute = Instant::now();
        let mut last = store.watermark().committed;
        while self.sleep(GLANCE) {
            if last_minute.elapsed() >= pause {
                minutes.pass()?;
                last_minute = Instant::now();
            }
            if store.watermark().committed > last {
                let report = store.stats().last_flush;
                flushes.record(report.elapsed);
                last = report.watermark;
            }
        }
        Ok(flushes)
    }
}
