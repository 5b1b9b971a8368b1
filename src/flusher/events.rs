//! What the flusher says of itself to `tracing`: spans around its turns, and events where something goes wrong.
//!
//! None of this is on the way of a read or a write, and where nobody listens each call costs a load. A subscriber
//! may panic: see [`guarded`](crate::guarded). An episode of
//! trouble is one `WARN` when it begins to count, one more for each change of its kind, and one `INFO` when it ends;
//! every other try that fails is `DEBUG`. Nothing is said under a lock, as a subscriber may ask the store something.
//! What each message and field means stands in `src/guide/operating.md`: `tests/exits/tracing_events` compares the two.

use crate::Durability;
use crate::backend::{LinkChange, Reopened};
use crate::error::Error;
use crate::guarded::{self, Guarded};
use crate::state::{FlushReport, Name, Outage, cause, milliseconds};
use crate::trace::TraceId;
use std::time::Instant;
use tracing::field::Empty;
use tracing::level_filters::LevelFilter;
use tracing::{Level, debug, debug_span, error, event, info};

const TARGET: &str = "mnemon::flusher";

/// The span of a turn; none if it would find nothing to write.
pub(super) fn flush(name: &Name, finds_work: impl FnOnce() -> bool) -> Guarded {
    if LevelFilter::current() < LevelFilter::DEBUG || !finds_work() {
        return Guarded::none();
    }
    guarded::span(|| {
        debug_span!(
            target: TARGET,
            "mnemon.flush",
            path = name.path(),
            partition = name.partition(),
            cut = Empty,
            durability = Empty,
            traces = Empty,
            links = Empty,
            rows_upserted = Empty,
            rows_updated = Empty,
            rows_deleted = Empty,
            payload_bytes = Empty,
            elapsed_ms = Empty,
        )
    })
}

/// The span of its cut.
pub(super) fn cut(flush: &Guarded) -> Guarded {
    if flush.is_disabled() { Guarded::none() } else { guarded::span(|| debug_span!(target: TARGET, "cut")) }
}

/// What has been cut, with what was pending before.
pub(super) fn has_cut(flush: &Guarded, cut: u64, durability: Durability, (traces, links): (usize, usize)) {
    let durability = match durability {
        Durability::Committed => "committed",
        Durability::Durable => "durable",
    };
    flush.record("cut", cut).record("durability", durability).record("traces", traces).record("links", links);
}

/// The span of a batch while the backend has it.
pub(super) fn apply() -> Guarded {
    guarded::span(|| debug_span!(target: TARGET, "apply"))
}

pub(super) fn has_committed(flush: &Guarded, report: &FlushReport) {
    if flush.is_disabled() {
        return;
    }
    flush
        .record("rows_upserted", report.rows_upserted)
        .record("rows_updated", report.rows_updated)
        .record("rows_deleted", report.rows_deleted)
        .record("payload_bytes", report.payload_bytes_serialized)
        .record("elapsed_ms", milliseconds(report.elapsed));
    guarded::run(|| debug!(target: TARGET, "flushed"));
}

pub(super) fn has_not_committed(flush: &Guarded, started: Instant) {
    flush.record("elapsed_ms", milliseconds(started.elapsed()));
}

/// What is loud the first time, and `DEBUG` when it is said again: a level is a constant of each event.
macro_rules! loud_or_debug {
    ($loud:expr, $level:expr, $($fields:tt)*) => {
        if $loud {
            guarded::run(|| event!(target: TARGET, $level, $($fields)*))
        } else {
            guarded::run(|| event!(target: TARGET, Level::DEBUG, $($fields)*))
        }
    };
}

/// A try that failed.
pub(super) fn failed(name: &Name, outage: &Outage, error: &Error, pending: usize) {
    loud_or_debug!(
        outage.is_new_kind,
        Level::WARN,
        path = name.path(),
        partition = name.partition(),
        step = outage.step.name(),
        kind = error.kind().name(),
        error = %error,
        cause = cause(error),
        pending,
        attempts = outage.attempts,
        retry_in_ms = milliseconds(outage.retry_at.saturating_duration_since(Instant::now())),
        "the backend failed: pending changes are kept, and tried again",
    );
}

/// A turn that panicked outside of the backend's calls.
pub(super) fn panicked(name: &Name, outage: &Outage, error: &Error) {
    guarded::run(|| {
        error!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            kind = error.kind().name(),
            error = %error,
            attempts = outage.attempts,
            "the flusher panicked: everything is kept in memory, and written again",
        );
    });
}

/// The end of trouble.
pub(super) fn recovered(name: &Name, outage: &Outage, watermark: u64) {
    guarded::run(|| {
        info!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            step = outage.step.name(),
            kind = outage.kind.name(),
            failed_for_ms = milliseconds(outage.since.elapsed()),
            attempts = outage.attempts,
            watermark,
            "the backend works again",
        )
    });
}

/// Damage that was found before a try, and not by its failure.
pub(super) fn damaged(name: &Name, error: &Error) {
    guarded::run(|| {
        debug!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            error = %error,
            cause = cause(error),
            "the stored data is not what was written",
        )
    });
}

/// The end of a store whose data another owner has.
pub(super) fn left(name: &Name, error: &Error) {
    guarded::run(|| {
        error!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            error = %error,
            cause = cause(error),
            "another owner has the data of a store that was closed",
        )
    });
}

pub(super) fn reopened(name: &Name, found: Reopened) {
    let found = match found {
        Reopened::Same => "same",
        Reopened::Changed => "changed",
        Reopened::Empty => "empty",
    };
    guarded::run(
        || debug!(target: TARGET, path = name.path(), partition = name.partition(), found, "the backend was reopened"),
    );
}

pub(super) fn replaced(name: &Name, (traces, links): (usize, usize)) {
    guarded::run(|| {
        error!(
            target: TARGET,
            path = name.path(),
            partition = name.partition(),
            traces,
            links,
            "the stored data is damaged: it was quarantined, and everything is written anew from memory",
        )
    });
}

/// A row that the backend left out, for the so-many-th time.
pub(super) fn refused(name: &Name, id: TraceId, reason: &str, times: u32) {
    loud_or_debug!(
        times <= 1,
        Level::ERROR,
        path = name.path(),
        partition = name.partition(),
        id = %id,
        reason,
        times,
        "the backend refuses this trace's row: it is quarantined, and the rest goes on",
    );
}

/// The same of a link.
pub(super) fn refused_link(name: &Name, link: &LinkChange, reason: &str, times: u32) {
    let (id, other) = link.ends();
    loud_or_debug!(
        times <= 1,
        Level::ERROR,
        path = name.path(),
        partition = name.partition(),
        id = %id,
        other = %other,
        reason,
        times,
        "the backend refuses this link's row: it is left out, and the rest goes on",
    );
}
