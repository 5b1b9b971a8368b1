//! How the store is doing.

use super::TraceStore;
use crate::error::Error;
use crate::flusher::{FlushReport, Health, Quarantined};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What the store holds, what its flusher has done since it was opened, and how far behind it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Traces in memory.
    pub traces: usize,
    /// Links in memory.
    pub links: usize,
    /// Traces and links with changes that are not committed.
    pub dirty: usize,
    /// Cuts made.
    pub cuts: u64,
    /// Flushes that wrote something and committed.
    pub flushes: u64,
    /// How long those took, each from its cut to its commit.
    pub flush_time: Duration,
    /// Rows of traces written whole.
    pub rows_upserted: u64,
    /// Rows of traces of which just the numbers were written.
    pub rows_updated: u64,
    /// Rows of traces deleted.
    pub rows_deleted: u64,
    /// Rows of links written.
    pub links_upserted: u64,
    /// Rows of links deleted.
    pub links_deleted: u64,
    /// Bytes of payload text handed to the engine.
    pub payload_bytes_serialized: u64,
    /// Traces that [queries](TraceStore::query) have looked at.
    pub entries_visited: u64,
    /// Number of traces that [decay cycles](TraceStore::decay) have removed.
    pub pruned: u64,
    /// Number of traces that the [quota](TraceStore::enforce_quota) has removed.
    pub evicted: u64,
    /// What the last flush that committed did, in the background or asked for.
    pub last_flush: FlushReport,
    /// The age of the oldest change that is not committed.
    pub oldest_unflushed: Option<Duration>,
    /// Bytes in the write-ahead log, as of the last flush.
    pub wal_bytes: u64,
    /// Bytes of the file that nothing uses, as of the last flush: [`compact`](TraceStore::compact) gives them back.
    pub free_bytes: u64,
    /// The last failure of a flush, even if flushes have succeeded since.
    pub last_error: Option<Error>,
    /// Rows set aside for their content.
    pub quarantined: Vec<Quarantined>,
}

/// How far the flusher is: generations, which count cuts and are stored in the file. Never ahead of what the file
/// says of itself: a cut that finds nothing to write leaves both as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub struct Watermark {
    /// Everything up to this generation survives the end of the process.
    pub committed: u64,
    /// Everything up to this generation survives a power loss.
    pub durable: u64,
}

impl TraceStore {
    /// Counters and lag. Takes locks that the flusher holds for moments only, never while the disk works.
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let (traces, dirty, oldest_unflushed) = (self.len(), shared.dirty(), shared.oldest_age());
        let counters = shared.telemetry.lock();
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
            entries_visited: self.engine().visited.load(Ordering::Relaxed),
            pruned: self.engine().pruned.load(Ordering::Relaxed),
            evicted: self.engine().evicted.load(Ordering::Relaxed),
            payload_bytes_serialized: counters.payload_bytes_serialized,
            last_flush: shared.progress.report(),
            oldest_unflushed,
            wal_bytes: counters.wal_bytes,
            free_bytes: counters.free_bytes,
            last_error: counters.last_error.clone(),
            quarantined: counters.unreadable.iter().chain(counters.refused.values()).cloned().collect(),
        }
    }

    /// How the store is doing; for a readiness probe, ask it whether it [is ready](Health::is_ready). Computed from
    /// when changes were made, so that it is true even while the flusher hangs.
    pub fn health(&self) -> Health {
        self.shared().health()
    }

    /// What it is called: see [`StoreBuilder::name`](crate::StoreBuilder::name).
    pub fn name(&self) -> &str {
        self.engine().settings.name.as_deref().unwrap_or("memory")
    }

    /// How far the flusher is.
    pub fn watermark(&self) -> Watermark {
        let (committed, durable) = self.shared().progress.watermarks();
        Watermark { committed, durable }
    }

    /// Even while the flusher rests, odd while it cuts, captures, applies or commits: if it is the same
    /// even number before and after a piece of your work, no flush ran in between. One load; for
    /// measuring.
    pub fn flush_sequence(&self) -> usize {
        self.shared().telemetry.sequence()
    }
}
