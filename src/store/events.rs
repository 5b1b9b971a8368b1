//! `tracing` events of a store that is being opened or closed. Events in between are emitted by the flusher, by the
//! same rules.

use super::TraceStore;
use crate::error::{Error, Result};
use crate::guarded::{self, Guarded};
use crate::state::{Name, Quarantined, cause, milliseconds};
use jiff::SignedDuration;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::field::{self, Empty};
use tracing::{debug, debug_span, error, info, warn};

const TARGET: &str = "mnemon::store";

/// Opens a store within a span.
pub(super) fn opening(
    path: Option<&Path>,
    partition: Arc<str>,
    open: impl FnOnce() -> Result<TraceStore>,
) -> Result<TraceStore> {
    let started = Instant::now();
    let span = guarded::span(|| {
        debug_span!(
            target: TARGET,
            "mnemon.open",
            path = path.map(Path::to_string_lossy).as_deref(),
            partition = &*partition,
            traces = Empty,
            links = Empty,
            unreadable = Empty,
            elapsed_ms = Empty,
        )
    });
    let _inside = span.enter();
    let store = open()?;
    if !span.is_disabled() {
        let unreadable = store.state().counters.lock().unreadable.len();
        span.record("traces", store.len())
            .record("links", store.link_count())
            .record("unreadable", unreadable)
            .record("elapsed_ms", milliseconds(started.elapsed()));
        guarded::run(|| debug!(target: TARGET, "opened"));
    }
    Ok(store)
}

/// Emits one error for all unreadable rows, however damaged the file is.
pub(super) fn unreadable(name: &Name, rows: &[Quarantined]) {
    let Some(first) = rows.first() else { return };
    guarded::run(|| {
        error!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            rows = rows.len(),
            id = first.id.map(field::display),
            reason = first.reason,
            "stored rows can't be used: they are quarantined where they are; this is the first",
        )
    });
    for row in rows {
        guarded::run(|| {
            debug!(
                target: TARGET,
                path = name.path(),
                partition = name.partition(),
                id = row.id.map(field::display),
                is_link = row.is_link,
                reason = row.reason,
                "a stored row can't be used",
            )
        });
    }
}

pub(super) fn closing(name: &Name) -> Guarded {
    guarded::span(|| {
        debug_span!(
            target: TARGET,
            "mnemon.close",
            path = name.path(),
            partition = name.partition(),
            watermark = Empty,
            traces = Empty,
            elapsed_ms = Empty,
        )
    })
}

pub(super) fn closed(span: &Guarded, watermark: u64, traces: usize, elapsed: Duration) {
    if span.is_disabled() {
        return;
    }
    span.record("watermark", watermark).record("traces", traces).record("elapsed_ms", milliseconds(elapsed));
    guarded::run(|| debug!(target: TARGET, "closed"));
}

pub(super) fn upkeep_failed(name: &Name, task: &'static str, error: &Error) {
    guarded::run(|| {
        warn!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            task,
            kind = error.kind().name(),
            error = %error,
            "the upkeep could not do its work; it is done next time",
        )
    });
}

/// Emits one event for each decay cycle that has removed traces for this reason.
pub(super) fn pruned(name: &Name, traces: usize, reason: &str) {
    guarded::run(|| {
        info!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            traces,
            "a decay cycle has removed {reason}",
        )
    });
}

/// Emits one event for each enforcement of the quota.
pub(super) fn evicted(name: &Name, traces: usize, payload_bytes: u64) {
    guarded::run(|| {
        info!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            traces,
            payload_bytes,
            "the quota has removed traces",
        )
    });
}

/// Emits one event for each jump of the clock.
pub(super) fn clock_jumped(name: &Name, by: SignedDuration) {
    guarded::run(|| {
        warn!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            by_ms = by.as_millis_f64(),
            "the clock has jumped: upkeep runs no decay cycle until it has run evenly for an hour",
        )
    });
}

/// Emits an event for a drop that gave up waiting.
pub(super) fn dropped(name: &Name, error: &Error, pending: usize) {
    guarded::run(|| {
        error!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            kind = error.kind().name(),
            error = %error,
            cause = cause(error),
            pending,
            "a store was dropped before it could be drained: its unflushed changes are lost if the process ends now",
        )
    });
}
