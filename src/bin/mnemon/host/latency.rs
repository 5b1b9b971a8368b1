//! How long writes and flushes take.

use anyhow::Result;
use hdrhistogram::Histogram;
use mnemon::TraceStore;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Durations in nanoseconds, to three digits.
pub struct Durations(Histogram<u64>);

/// The durations of writes: of those that no cut, apply or commit overlapped, and of those that one did.
pub struct WriteDurations {
    pub idle: Durations,
    pub flushing: Durations,
}

/// One call, measured.
pub struct Measured {
    took: Duration,
    idle: bool,
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

/// Does one write. The clock is read right before and after the call; whether a flush ran is read outside
/// of both, so that no write counts as idle which one overlapped.
pub fn measured<T>(store: &TraceStore, write: impl FnOnce() -> T) -> (T, Measured) {
    let before = store.flush_sequence();
    let started = Instant::now();
    let answer = write();
    let took = started.elapsed();
    let after = store.flush_sequence();
    (answer, Measured { took, idle: before == after && before.is_multiple_of(2) })
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
        Ok(Self { idle: Durations::new()?, flushing: Durations::new()? })
    }

    pub fn record(&mut self, Measured { took, idle }: Measured) {
        let durations = if idle { &mut self.idle } else { &mut self.flushing };
        durations.record(took);
    }

    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.idle.0.add(&other.idle.0)?;
        self.flushing.0.add(&other.flushing.0)?;
        Ok(())
    }
}
