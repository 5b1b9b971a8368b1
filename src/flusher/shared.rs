//! What the threads of the host and the flusher share.

use super::owed::{Row, TraceEntry};
use super::telemetry::{FlushReport, Health, Telemetry};
use crate::backend::Reach;
use crate::core::{Bell, Clock, Cutter, Map, Progress};
use crate::error::{Error, ErrorKind};
use crate::trace::{Trace, TraceId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the flusher behaves.
#[derive(Clone, Debug)]
pub(crate) struct FlushOptions {
    /// A change waits at most so long for its cut.
    pub(crate) interval: Duration,
    /// So many changed traces make a cut due.
    pub(crate) threshold: usize,
    /// How far a flush goes that nobody asked for.
    pub(crate) background: Reach,
    /// Older than this, the oldest unflushed change makes the store lag.
    pub(crate) lag_bound: Duration,
    /// Whether writes are refused while it lags.
    pub(crate) refuse_when_lagging: bool,
}

pub(crate) struct Shared {
    pub(crate) clock: Arc<Clock<Arc<TraceEntry>>>,
    pub(crate) traces: Map<TraceId, Trace, Row>,
    pub(crate) progress: Progress<FlushReport, Error>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) telemetry: Telemetry,
    pub(crate) options: FlushOptions,
}

impl Shared {
    /// Everything in `traces` is stored, as of `watermark`.
    pub(crate) fn new(
        traces: Map<TraceId, Trace, Row>,
        watermark: u64,
        options: FlushOptions,
    ) -> (Self, Cutter<Arc<TraceEntry>>) {
        let bell = Arc::new(Bell::default());
        let (clock, cutter) = Clock::new(watermark + 1, options.threshold, bell.clone());
        let progress = Progress::new(watermark, FlushReport { watermark, ..FlushReport::default() });
        let shared = Self { clock, traces, progress, bell, telemetry: Telemetry::default(), options };
        (shared, cutter)
    }

    /// When the oldest change was made that is not committed.
    fn oldest_change(&self) -> Option<Instant> {
        // The open generation first: a cut in between has told `progress` of it before it closed it.
        let open = self.clock.enter().first_write();
        let (_, owed) = self.progress.owed();
        open.into_iter().chain(owed).min()
    }

    pub(crate) fn oldest_age(&self) -> Option<Duration> {
        self.oldest_change().map(|at| at.elapsed())
    }

    /// How many traces have changes that are not committed.
    pub(crate) fn dirty(&self) -> usize {
        let open = self.clock.enter().dirty();
        open + self.progress.owed().0
    }

    /// Computed when asked, from when changes were made, so that even a flusher that hangs can't look
    /// healthy.
    pub(crate) fn health(&self) -> Health {
        if self.progress.is_closed() {
            return Health::Closed;
        }
        if let Some(degraded) = self.telemetry.trouble().and_then(|trouble| trouble.health()) {
            return degraded;
        }
        match self.oldest_age() {
            Some(oldest) if oldest > self.options.lag_bound => Health::Lagging { oldest },
            _ => Health::Healthy,
        }
    }

    /// Whether a write may go on, where writes are refused while the flusher lags.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        if !self.options.refuse_when_lagging {
            return Ok(());
        }
        match self.oldest_age() {
            Some(age) if age > self.options.lag_bound => Err(Error::new(
                ErrorKind::Lagging,
                format!(
                    "write refused: the oldest unflushed change is {age:.1?} old and the bound is {:?}; look at health(), and try again when flushes succeed",
                    self.options.lag_bound
                ),
            )),
            _ => Ok(()),
        }
    }
}
