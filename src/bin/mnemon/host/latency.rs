//! How long writes and flushes take.

use anyhow::Result;
use hdrhistogram::Histogram;
use mnemon::TraceStore;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Durations in nanoseconds, to three digits.
pub struct Durations(Histogram<u64>);

/// The durations of one thread's writes: of those that no cut, apply or commit overlapped, and of those that one did or
/// may have.
pub struct WriteDurations {
    pub idle: Durations,
    pub flushing: Durations,
    /// The last write: the mark after the next one says whether a cut came before its end.
    last: Option<Measured>,
}

/// One call, measured.
pub struct Measured {
    took: Duration,
    /// The generation that was committed before the call.
    committed: u64,
}

/// In nanoseconds.
#[derive(Serialize)]
pub struct WritePercentiles {
    pub count: u64,
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// In milliseconds.
#[derive(Serialize)]
pub struct FlushPercentiles {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// Does one write. The clock is read right before and after the call, and the watermark before both.
pub fn measured<T>(store: &TraceStore, write: impl FnOnce() -> T) -> (T, Measured) {
    let committed = store.watermark().committed;
    let started = Instant::now();
    let answer = write();
    (answer, Measured { took: started.elapsed(), committed })
}

impl Durations {
    pub fn new() -> Result<Self> {
        const LONGEST: u64 = 600_000_000_000;
        Ok(Self(Histogram::new_with_max(LONGEST, 3)?))
    }

    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn in_nanoseconds(&self) -> WritePercentiles {
        WritePercentiles {
            count: self.0.len(),
            p50: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            p999: self.0.value_at_quantile(0.999),
            max: self.0.max(),
        }
    }

    pub fn in_milliseconds(&self) -> FlushPercentiles {
        let milliseconds = |nanoseconds: u64| (nanoseconds as f64 / 1e3).round() / 1e3;
        FlushPercentiles {
            count: self.0.len(),
            p50: milliseconds(self.0.value_at_quantile(0.5)),
            p99: milliseconds(self.0.value_at_quantile(0.99)),
            max: milliseconds(self.0.max()),
        }
    }
}

impl WriteDurations {
    pub fn new() -> Result<Self> {
        Ok(Self { idle: Durations::new()?, flushing: Durations::new()?, last: None })
    }

    /// Records the write before this one. `mark` is the mark's generation after this one: if it is next to what was
    /// committed before that write, then nothing was cut and uncommitted when that write began, and no cut was made
    /// before this one began. A write that a flush overlapped never counts as idle; one beside a cut without changes may
    /// count as overlapped.
    pub fn record(&mut self, measured: Measured, mark: u64) {
        if let Some(Measured { took, committed }) = self.last.replace(measured) {
            let is_idle = mark <= committed + 1;
            let durations = if is_idle { &mut self.idle } else { &mut self.flushing };
            durations.record(took);
        }
    }

    /// Records the last write: a cut may have come before its end.
    pub fn end(&mut self) {
        if let Some(last) = self.last.take() {
            self.flushing.record(last.took);
        }
    }

    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.idle.0.add(&other.idle.0)?;
        self.flushing.0.add(&other.flushing.0)?;
        Ok(())
    }
}
