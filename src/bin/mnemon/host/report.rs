//! What a busy host tells.

use super::expected::Verify;
use super::latency::{FlushPercentiles, WritePercentiles};
use super::load::{Decay, Measured};
use crate::text::{self, nanoseconds, number};
use mnemon::{Quarantined, Stats};
use serde::Serialize;
use std::process::ExitCode;

/// What a busy host did, and whether the store holds it. Rows, cuts and bytes are those since the store was
/// opened; `writes` are those of the busy phase.
#[derive(Serialize)]
pub struct HostReport {
    pub traces: u64,
    pub writes: u64,
    pub revision_conflicts: u64,
    pub reinforcements: u64,
    pub co_activations: u64,
    pub queries: u64,
    pub decay: Decay,
    pub cuts: u64,
    pub rows_upserted: u64,
    pub rows_updated: u64,
    pub rows_deleted: u64,
    pub links_upserted: u64,
    pub links_deleted: u64,
    pub payload_bytes_serialized: u64,
    pub write_ns: WriteNanoseconds,
    pub flush_ms: FlushPercentiles,
    pub numbers_only: NumbersOnly,
    pub verify: Verify,
    #[serde(skip)]
    quarantined: Vec<Quarantined>,
}

/// Writes that no flush overlapped, and those that one did.
#[derive(Serialize)]
pub struct WriteNanoseconds {
    pub idle: WritePercentiles,
    pub flushing: WritePercentiles,
}

/// The phase in which nothing but numbers changed.
#[derive(Serialize)]
pub struct NumbersOnly {
    pub writes: u64,
    pub rows_upserted: u64,
    pub rows_updated: u64,
    pub payload_bytes_serialized: u64,
}

impl NumbersOnly {
    pub fn between(writes: u64, before: &Stats, after: &Stats) -> Self {
        Self {
            writes,
            rows_upserted: after.rows_upserted - before.rows_upserted,
            rows_updated: after.rows_updated - before.rows_updated,
            payload_bytes_serialized: after.payload_bytes_serialized - before.payload_bytes_serialized,
        }
    }
}

impl HostReport {
    pub fn new(
        traces: usize,
        measured: Measured,
        stats: &Stats,
        numbers_only: NumbersOnly,
        verify: Verify,
    ) -> Self {
        let Measured { told, flushes, decay } = measured;
        let write_ns = WriteNanoseconds {
            idle: told.durations.idle.in_nanoseconds(),
            flushing: told.durations.flushing.in_nanoseconds(),
        };
        Self {
            traces: traces as u64,
            writes: told.writes,
            revision_conflicts: told.conflicts,
            reinforcements: told.reinforced,
            co_activations: told.co_activated,
            queries: told.queries,
            decay,
            cuts: stats.cuts,
            rows_upserted: stats.rows_upserted,
            rows_updated: stats.rows_updated,
            rows_deleted: stats.rows_deleted,
            links_upserted: stats.links_upserted,
            links_deleted: stats.links_deleted,
            payload_bytes_serialized: stats.payload_bytes_serialized,
            write_ns,
            flush_ms: flushes.in_milliseconds(),
            numbers_only,
            verify,
            quarantined: stats.quarantined.clone(),
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        if self.verify.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    pub fn table(&self) -> String {
        [self.counts(), self.durations(), self.differences()].join("\n\n")
    }

    fn counts(&self) -> String {
        let count = |label: &str, value| [label.to_owned(), number(value)];
        text::table(&[
            count("traces", self.traces),
            count("writes", self.writes),
            count("revision conflicts", self.revision_conflicts),
            count("reinforcements among them", self.reinforcements),
            count("co-activations among them", self.co_activations),
            count("queries", self.queries),
            count("decay cycles", self.decay.cycles),
            count("traces pruned", self.decay.pruned),
            count("cuts", self.cuts),
            count("rows written whole", self.rows_upserted),
            count("rows with numbers written", self.rows_updated),
            count("rows deleted", self.rows_deleted),
            count("rows of links written", self.links_upserted),
            count("rows of links deleted", self.links_deleted),
            count("payload bytes written", self.payload_bytes_serialized),
            count("numbers alone: rows", self.numbers_only.rows_updated),
            count("numbers alone: payload bytes", self.numbers_only.payload_bytes_serialized),
        ])
    }

    fn durations(&self) -> String {
        let milliseconds = |milliseconds: f64| nanoseconds((milliseconds * 1e6) as u64);
        let writes = |label: &str, of: &WritePercentiles| {
            let times = [of.p50, of.p99, of.p999, of.max].map(nanoseconds);
            [[label.to_owned(), number(of.count)].as_slice(), &times].concat()
        };
        let FlushPercentiles { count, p50, p99, max } = self.flush_ms;
        let [p50, p99, max] = [p50, p99, max].map(milliseconds);
        text::table(&[
            ["time of a", "count", "p50", "p99", "p99.9", "max"].map(str::to_owned).to_vec(),
            writes("write, flusher idle", &self.write_ns.idle),
            writes("write, flusher at work", &self.write_ns.flushing),
            vec!["flush".to_owned(), number(count), p50, p99, "-".to_owned(), max],
        ])
    }

    fn differences(&self) -> String {
        let Verify { rows, links, missing, stale, extra, .. } = self.verify;
        text::table(&[
            ["in the store", "rows", "links", "missing", "stale", "extra"].map(str::to_owned).to_vec(),
            [vec!["after reopening".to_owned()], [rows, links, missing, stale, extra].map(number).to_vec()]
                .concat(),
        ])
    }

    /// One sentence.
    pub fn verdict(&self) -> String {
        let Verify { rows, links, .. } = self.verify;
        let rows = format!("{} and {}", text::count(rows, "trace"), text::count(links, "link"));
        if self.verify.is_good() {
            format!(
                "The store holds what the writers were told: {rows}, none of them missing, stale or extra."
            )
        } else {
            "The store does NOT hold what the writers were told; the first differences are shown above: please report them.".to_owned()
        }
    }

    /// On standard error: the first differences, and rows that could not be stored.
    pub fn warn(&self) {
        for example in &self.verify.examples {
            text::warn(example);
        }
        text::warn_of_quarantined(&self.quarantined);
    }
}
