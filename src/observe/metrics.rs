//! The metrics of a store for the facade `metrics`: each with its unit and help, described and published together.
//!
//! Uses only the public interface of the store. The documentation of [`publish_metrics`](TraceStore::publish_metrics)
//! lists the published metrics; `tests/promises/metrics.rs` compares the two.

use crate::state::Health;
use crate::store::{Stats, TraceStore, Watermark};
use jiff::Timestamp;
use metrics::{Key, Label, Level, Metadata, Recorder, SharedString, Unit};
use std::sync::Arc;
use std::time::Duration;

impl TraceStore {
    /// Publishes the current state of the store to the recorder of the [`metrics`](https://docs.rs/metrics) facade.
    /// Nothing is published automatically: call it before each scrape, or from a timer. Without a recorder it does
    /// nothing.
    ///
    /// ```
    /// use mnemon::{NewTrace, TraceStore};
    ///
    /// let store = TraceStore::builder().name("agent-7").in_memory()?; // or open("agent-7.db")
    /// store.insert(NewTrace::semantic(serde_json::json!("slack water at noon")))?;
    /// store.publish_metrics(); // mnemon_traces{store="agent-7"} is 1
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// Each metric has the label `store`, with the store's [name](crate::StoreBuilder::name): two stores open in one
    /// process need two names. Gauges are as of this call. Counters count from the opening of the store, and are
    /// passed on as absolute values: recorders keep the higher number, so if a store is opened again under the same
    /// name in the same process, its counters stand still until they exceed the old ones.
    ///
    /// | metric | type | unit | labels | what |
    /// |---|---|---|---|---|
    /// | `mnemon_traces` | gauge | count | | traces in memory |
    /// | `mnemon_links` | gauge | count | | links in memory |
    /// | `mnemon_dirty` | gauge | count | | traces and links with changes that are not committed |
    /// | `mnemon_oldest_unflushed_seconds` | gauge | seconds | | age of the oldest change that is not committed, 0 if there is none |
    /// | `mnemon_healthy` | gauge | | | 1 while health is healthy, else 0 |
    /// | `mnemon_ready` | gauge | | | 1 while writes are taken, else 0 |
    /// | `mnemon_health` | gauge | | state | 1 for the present state (healthy, lagging, degraded, closed), 0 for the others |
    /// | `mnemon_degraded_seconds` | gauge | seconds | | for how long flushes have failed, 0 while they succeed |
    /// | `mnemon_quarantined` | gauge | count | | rows quarantined for their content |
    /// | `mnemon_cuts_total` | counter | count | | cuts made |
    /// | `mnemon_flushes_total` | counter | count | | flushes that wrote something and committed |
    /// | `mnemon_flush_time_seconds` | gauge | seconds | | time that flushes took in all, each from its cut to its commit; only grows |
    /// | `mnemon_last_flush_seconds` | gauge | seconds | | time that the last flush took, from its cut to its commit |
    /// | `mnemon_rows_written_total` | counter | count | kind, op | rows of traces (kind trace) and links (link) written whole (op upsert), as numbers alone (update), or deleted (delete) |
    /// | `mnemon_payload_bytes_total` | counter | bytes | | payload text handed to the engine |
    /// | `mnemon_entries_visited_total` | counter | count | | traces that queries have looked at |
    /// | `mnemon_removed_total` | counter | count | by | traces removed by decay cycles as faded (by decay) or invalid (by validity), and by the quota (by quota) |
    /// | `mnemon_wal_bytes` | gauge | bytes | | size of the write-ahead log, as of the last flush |
    /// | `mnemon_watermark_committed` | gauge | | | generation up to which everything survives the end of the process |
    /// | `mnemon_watermark_durable` | gauge | | | generation up to which everything survives a power loss |
    /// | `mnemon_published_timestamp_seconds` | gauge | seconds | | when the host last published, as seconds since 1970 |
    ///
    /// `mnemon_flush_time_seconds` is a gauge because counters of the facade are whole numbers; `rate` works on it as
    /// on a counter. A recorder keeps showing the last published values, so a host that has stopped publishing looks
    /// unchanged: set an alarm on the age of `mnemon_published_timestamp_seconds` too.
    /// `examples/memory-service/grafana.json` of the repository is a dashboard of all these metrics.
    ///
    /// Costs as much as [`stats`](Self::stats), and some lookups in the recorder: microseconds. Each call describes
    /// every metric again, since a recorder may be installed at any time.
    pub fn publish_metrics(&self) {
        let (health, watermark, stats) = (self.health(), self.watermark(), self.stats());
        metrics::with_recorder(|recorder| {
            let page = Page { recorder, store: self.name().into() };
            page.contents(&stats);
            page.health(health);
            page.flushes(&stats);
            page.progress(watermark);
        });
    }
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// Labels of one series of a metric, and its value.
type Series<'a, T> = (&'a [(&'static str, &'static str)], T);

/// The recorder, and the label of one store's metrics.
struct Page<'a> {
    recorder: &'a dyn Recorder,
    store: Arc<str>,
}

impl Page<'_> {
    fn contents(&self, stats: &Stats) {
        self.gauge("mnemon_traces", Unit::Count, "traces in memory", stats.traces as f64);
        self.gauge("mnemon_links", Unit::Count, "links in memory", stats.links as f64);
        self.gauge(
            "mnemon_dirty",
            Unit::Count,
            "traces and links with changes that are not committed",
            stats.dirty as f64,
        );
        self.gauge(
            "mnemon_oldest_unflushed_seconds",
            Unit::Seconds,
            "age of the oldest change that is not committed, 0 if there is none",
            stats.oldest_unflushed.unwrap_or_default().as_secs_f64(),
        );
        self.gauge(
            "mnemon_quarantined",
            Unit::Count,
            "rows quarantined for their content",
            stats.quarantined.len() as f64,
        );
        self.counter(
            "mnemon_entries_visited_total",
            Unit::Count,
            "traces that queries have looked at",
            stats.entries_visited,
        );
        self.counters(
            "mnemon_removed_total",
            Unit::Count,
            "traces removed by decay cycles as faded (by decay) or invalid (by validity), and by the quota (by quota)",
            &[
                (&[("by", "decay")], stats.pruned),
                (&[("by", "validity")], stats.expired),
                (&[("by", "quota")], stats.evicted),
            ],
        );
    }

    fn health(&self, health: Health) {
        let flag = |so: bool| f64::from(u8::from(so));
        let failing = match health {
            Health::Degraded { since, .. } => since,
            _ => Duration::ZERO,
        };
        let healthy = flag(health == Health::Healthy);
        self.gauge("mnemon_healthy", None, "1 while health is healthy, else 0", healthy);
        self.gauge("mnemon_ready", None, "1 while writes are taken, else 0", flag(health.is_ready()));
        let states = Health::NAMES.map(|name| ([("state", name)], flag(name == health.name())));
        self.gauges(
            "mnemon_health",
            None,
            "1 for the present state (healthy, lagging, degraded, closed), 0 for the others",
            &states.each_ref().map(|(labels, value)| (&labels[..], *value)),
        );
        self.gauge(
            "mnemon_degraded_seconds",
            Unit::Seconds,
            "for how long flushes have failed, 0 while they succeed",
            failing.as_secs_f64(),
        );
    }

    fn flushes(&self, stats: &Stats) {
        self.counter("mnemon_cuts_total", Unit::Count, "cuts made", stats.cuts);
        self.counter(
            "mnemon_flushes_total",
            Unit::Count,
            "flushes that wrote something and committed",
            stats.flushes,
        );
        self.gauge(
            "mnemon_flush_time_seconds",
            Unit::Seconds,
            "time that flushes took in all, each from its cut to its commit; only grows",
            stats.flush_time.as_secs_f64(),
        );
        self.gauge(
            "mnemon_last_flush_seconds",
            Unit::Seconds,
            "time that the last flush took, from its cut to its commit",
            stats.last_flush.elapsed.as_secs_f64(),
        );
        self.counters(
            "mnemon_rows_written_total",
            Unit::Count,
            "rows of traces (kind trace) and links (link) written whole (op upsert), as numbers alone (update), or deleted (delete)",
            &[
                (&[("kind", "trace"), ("op", "upsert")], stats.rows_upserted),
                (&[("kind", "trace"), ("op", "update")], stats.rows_updated),
                (&[("kind", "trace"), ("op", "delete")], stats.rows_deleted),
                (&[("kind", "link"), ("op", "upsert")], stats.links_upserted),
                (&[("kind", "link"), ("op", "delete")], stats.links_deleted),
            ],
        );
        self.counter(
            "mnemon_payload_bytes_total",
            Unit::Bytes,
            "payload text handed to the engine",
            stats.payload_bytes_serialized,
        );
        self.gauge(
            "mnemon_wal_bytes",
            Unit::Bytes,
            "size of the write-ahead log, as of the last flush",
            stats.wal_bytes as f64,
        );
    }

    fn progress(&self, watermark: Watermark) {
        self.gauge(
            "mnemon_watermark_committed",
            None,
            "generation up to which everything survives the end of the process",
            watermark.committed as f64,
        );
        self.gauge(
            "mnemon_watermark_durable",
            None,
            "generation up to which everything survives a power loss",
            watermark.durable as f64,
        );
        self.gauge(
            "mnemon_published_timestamp_seconds",
            Unit::Seconds,
            "when the host last published, as seconds since 1970",
            Timestamp::now().as_duration().as_secs_f64(),
        );
    }

    fn gauge(&self, name: &'static str, unit: impl Into<Option<Unit>>, help: &'static str, value: f64) {
        self.gauges(name, unit, help, &[(&[], value)]);
    }

    fn counter(&self, name: &'static str, unit: Unit, help: &'static str, value: u64) {
        self.counters(name, unit, help, &[(&[], value)]);
    }

    fn gauges(
        &self,
        name: &'static str,
        unit: impl Into<Option<Unit>>,
        help: &'static str,
        series: &[Series<f64>],
    ) {
        self.recorder.describe_gauge(name.into(), unit.into(), help.into());
        for (labels, value) in series {
            self.recorder.register_gauge(&self.key(name, labels), &METADATA).set(*value);
        }
    }

    fn counters(&self, name: &'static str, unit: Unit, help: &'static str, series: &[Series<u64>]) {
        self.recorder.describe_counter(name.into(), Some(unit), help.into());
        for (labels, value) in series {
            self.recorder.register_counter(&self.key(name, labels), &METADATA).absolute(*value);
        }
    }

    fn key(&self, name: &'static str, labels: &[(&'static str, &'static str)]) -> Key {
        let store = Label::new("store", SharedString::from_shared(self.store.clone()));
        let labels = labels.iter().map(|(label, value)| Label::from_static_parts(label, value));
        Key::from_parts(name, labels.chain([store]).collect::<Vec<_>>())
    }
}
