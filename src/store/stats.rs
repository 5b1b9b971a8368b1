//! Counters, health and watermarks of the store.

use super::TraceStore;
use crate::error::Error;
use crate::state::{FlushReport, Health, Quarantined};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Content of the store, work of its flusher since it was opened, and its lag.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Stats {
    /// Number of traces in memory.
    pub traces: usize,
    /// Number of links in memory.
    pub links: usize,
    /// Number of traces and links with uncommitted changes.
    pub dirty: usize,
    /// Number of cuts made.
    pub cuts: u64,
    /// Number of flushes that wrote something and committed.
    pub flushes: u64,
    /// Total duration of those flushes, each from its cut to its commit.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
    pub flush_time: Duration,
    /// Number of trace rows written whole.
    pub rows_upserted: u64,
    /// Number of trace rows of which only the numbers were written.
    pub rows_updated: u64,
    /// Number of trace rows deleted.
    pub rows_deleted: u64,
    /// Number of link rows written.
    pub links_upserted: u64,
    /// Number of link rows deleted.
    pub links_deleted: u64,
    /// Number of bytes of payload text handed to the backend.
    pub payload_bytes_serialized: u64,
    /// Number of traces, and of entries of views, that [queries](TraceStore::query) have looked at.
    pub entries_visited: u64,
    /// Number of traces that [decay cycles](TraceStore::decay) have removed because they had faded away.
    pub pruned: u64,
    /// Number of traces that decay cycles have removed because their [validity](crate::guide::memory#validity) had
    /// ended long enough ago.
    pub expired: u64,
    /// Number of traces that the [quota](TraceStore::enforce_quota) has removed.
    pub evicted: u64,
    /// Report of the last flush that committed, whether in the background or requested.
    pub last_flush: FlushReport,
    /// Age of the oldest uncommitted change.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::some_seconds"))]
    pub oldest_unflushed: Option<Duration>,
    /// Number of bytes in the WAL, as of the last flush.
    pub wal_bytes: u64,
    /// Number of unused bytes in the file, as of the last flush: [`compact`](TraceStore::compact) gives them back to
    /// the file system.
    pub free_bytes: u64,
    /// The last error of a flush, even if flushes have succeeded since.
    pub last_error: Option<Error>,
    /// Rows quarantined because of their content.
    pub quarantined: Vec<Quarantined>,
}

/// Progress of the flusher, in generations, which count cuts and are stored in the file. It is never ahead of the
/// watermark in the file: a cut that finds nothing to write changes neither.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Watermark {
    /// Everything up to this generation survives the end of the process.
    pub committed: u64,
    /// Everything up to this generation survives a power loss.
    pub durable: u64,
}

impl TraceStore {
    /// Returns counters and lag. Takes locks that the flusher holds only briefly, and never during disk I/O.
    pub fn stats(&self) -> Stats {
        let state = self.state();
        let (traces, dirty, oldest_unflushed) = (self.len(), state.dirty(), state.oldest_age());
        let counters = state.counters.lock();
        Stats {
            traces,
            links: self.link_count(),
            dirty,
            cuts: counters.cuts,
            flushes: counters.flushes,
            flush_time: counters.flush_time,
            rows_upserted: counters.rows_upserted,
            rows_updated: counters.rows_updated,
            rows_deleted: counters.rows_deleted,
            links_upserted: counters.links_upserted,
            links_deleted: counters.links_deleted,
            entries_visited: self.inner().visited.load(Ordering::Relaxed),
            pruned: self.inner().pruned.load(Ordering::Relaxed),
            expired: self.inner().expired.load(Ordering::Relaxed),
            evicted: self.inner().evicted.load(Ordering::Relaxed),
            payload_bytes_serialized: counters.payload_bytes_serialized,
            last_flush: state.progress.report(),
            oldest_unflushed,
            wal_bytes: counters.wal_bytes,
            free_bytes: counters.free_bytes,
            last_error: counters.last_error.clone(),
            quarantined: counters.unreadable.iter().chain(counters.refused.values()).cloned().collect(),
        }
    }

    /// Returns the health of the store; for a readiness probe, call [`is_ready`](Health::is_ready) on it. Computed
    /// from the times of the changes, and therefore correct even while the flusher hangs.
    pub fn health(&self) -> Health {
        self.state().health()
    }

    /// Returns the name of the store: see [`StoreBuilder::name`](crate::StoreBuilder::name).
    pub fn name(&self) -> &str {
        self.inner().settings.name.as_deref().unwrap_or("memory")
    }

    /// Returns the progress of the flusher.
    pub fn watermark(&self) -> Watermark {
        let (committed, durable) = self.state().progress.watermarks();
        Watermark { committed, durable }
    }
}
