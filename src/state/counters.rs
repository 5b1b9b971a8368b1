//! Counters of the flusher, its current outage, and quarantined rows.

use super::outage::{FailedStep, Outage};
use crate::backend::Applied;
use crate::error::Error;
use crate::guarded;
use crate::protocol::sync::{Mutex, MutexGuard, lock};
use crate::trace::{LinkKey, TraceId};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// Result of a flush. All callers that wait for the same cut get the same report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct FlushReport {
    /// The generation up to which everything is committed.
    pub watermark: u64,
    /// Number of trace rows written whole.
    pub rows_upserted: u64,
    /// Number of trace rows of which only the numbers were written.
    pub rows_updated: u64,
    /// Number of trace rows deleted individually.
    pub rows_deleted: u64,
    /// Number of rows that the backend rejected for their content: see
    /// [`Stats::quarantined`](crate::Stats::quarantined).
    pub rows_refused: u64,
    /// Number of trace rows that an erasure deleted, unreadable ones included.
    pub rows_erased: u64,
    /// Number of link rows written.
    pub links_upserted: u64,
    /// Number of link rows deleted.
    pub links_deleted: u64,
    /// Number of bytes of payload text handed to the backend.
    pub payload_bytes_serialized: u64,
    /// Time from the cut to the commit.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
    pub elapsed: Duration,
}

/// A row that the backend rejected for its content, or can't read. It stays as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Quarantined {
    /// Id of the row's trace; `None` if the id in a stored row can't be read. For a link, the id of the first of its
    /// traces.
    pub id: Option<TraceId>,
    /// Whether the row is that of a link.
    pub is_link: bool,
    /// The reason, as given by the backend.
    pub reason: String,
    /// Number of times that the row was rejected.
    pub times: u32,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) cuts: u64,
    pub(crate) flushes: u64,
    pub(crate) flush_time: Duration,
    pub(crate) rows_upserted: u64,
    pub(crate) rows_updated: u64,
    pub(crate) rows_deleted: u64,
    pub(crate) links_upserted: u64,
    pub(crate) links_deleted: u64,
    pub(crate) payload_bytes_serialized: u64,
    pub(crate) wal_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) last_error: Option<Error>,
    pub(crate) outage: Option<Outage>,
    /// What the close of a store returns whose data another owner has.
    pub(crate) left: Option<Error>,
    pub(crate) refused: BTreeMap<TraceId, Quarantined>,
    /// Number of rejections of each link since it was last accepted.
    refused_links: BTreeMap<(TraceId, TraceId), u32>,
    pub(crate) unreadable: Vec<Quarantined>,
    /// Upkeep tasks that have panicked and not succeeded since.
    upkeep: BTreeMap<&'static str, Outage>,
}

/// Counters behind a lock, which the flusher takes between two steps and never while it waits.
#[derive(Default)]
pub(crate) struct FlushCounters {
    counters: Mutex<Counters>,
}

impl FlushCounters {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Counters> {
        lock(&self.counters)
    }

    pub(crate) fn outage(&self) -> Option<Outage> {
        self.lock().outage
    }

    /// Returns the error of the current outage, if there is one.
    pub(crate) fn present_error(&self) -> Option<Error> {
        let counters = self.lock();
        counters.outage.and(counters.last_error.clone())
    }

    /// Returns what the close of a store returns whose data another owner has; `None` if none has.
    pub(crate) fn left(&self) -> Option<Error> {
        self.lock().left.clone()
    }

    /// Counts a flush that wrote something.
    pub(crate) fn committed(&self, report: &FlushReport) {
        let mut counters = self.lock();
        counters.flushes += 1;
        counters.flush_time += report.elapsed;
        counters.rows_upserted += report.rows_upserted;
        counters.rows_updated += report.rows_updated;
        counters.rows_deleted += report.rows_deleted;
        counters.links_upserted += report.links_upserted;
        counters.links_deleted += report.links_deleted;
        counters.payload_bytes_serialized += report.payload_bytes_serialized;
    }

    /// Ends the outage if it was caused by the step that has now succeeded; returns the outage that has ended.
    pub(crate) fn recovered(&self, step: FailedStep) -> Option<Outage> {
        self.lock().outage.take_if(|outage| outage.step == step)
    }

    /// Records another failure.
    pub(crate) fn failed(&self, error: &Error, step: FailedStep) -> Outage {
        let mut counters = self.lock();
        let earlier = counters.last_error.replace(error.clone());
        let outage = Outage::after(counters.outage, error.kind(), step);
        counters.outage = Some(outage);
        drop(counters);
        // The cause of the error may be the caller's code, whose drop may use the store.
        guarded::run(|| drop(earlier));
        outage
    }

    /// Records a panic of an upkeep task.
    pub(crate) fn upkeep_panicked(&self, work: &'static str, error: &Error) {
        let mut counters = self.lock();
        let outage = Outage::after(counters.upkeep.get(work).copied(), error.kind(), FailedStep::Upkeep);
        counters.upkeep.insert(work, outage);
        let earlier = counters.last_error.replace(error.clone());
        drop(counters);
        guarded::run(|| drop(earlier));
    }

    /// Records that an upkeep task has succeeded.
    pub(crate) fn upkeep_works(&self, work: &'static str) {
        self.lock().upkeep.remove(work);
    }

    /// Returns the outage to report: that of flushes, or else that of the upkeep.
    pub(crate) fn worst(&self) -> Option<Outage> {
        let counters = self.lock();
        counters.outage.filter(Outage::is_reportable).or_else(|| counters.upkeep.values().next().copied())
    }

    /// Records a rejected row; returns the number of rejections since it was last accepted.
    pub(crate) fn refuse(&self, id: TraceId, reason: &str) -> u32 {
        let mut counters = self.lock();
        let row = counters.refused.entry(id).or_insert_with(|| Quarantined {
            id: Some(id),
            is_link: false,
            reason: String::new(),
            times: 0,
        });
        reason.clone_into(&mut row.reason);
        row.times += 1;
        row.times
    }

    /// Records a rejected link row; returns the number of rejections since it was last accepted.
    pub(crate) fn refuse_link(&self, ends: (TraceId, TraceId)) -> u32 {
        let mut counters = self.lock();
        let times = counters.refused_links.entry(ends).or_default();
        *times += 1;
        *times
    }

    /// Removes unreadable rows that were erased from the list.
    pub(crate) fn erased(&self, applied: &Applied) {
        let [traces, links] = [&applied.erased_ids, &applied.erased_links].map(HashSet::<_>::from_iter);
        if !traces.is_empty() || !links.is_empty() {
            self.lock().unreadable.retain(|row| {
                let gone = if row.is_link { &links } else { &traces };
                row.id.is_none_or(|id| !gone.contains(&id))
            });
        }
    }

    /// Returns the ids of the traces and the ends of the links whose rows are rejected, and the number of unreadable
    /// stored rows.
    pub(crate) fn set_aside(&self) -> (HashSet<TraceId>, HashSet<LinkKey>, usize) {
        let counters = self.lock();
        let links = counters.refused_links.keys().filter_map(|(a, b)| LinkKey::of(*a, *b));
        (counters.refused.keys().copied().collect(), links.collect(), counters.unreadable.len())
    }

    pub(crate) fn accept(&self, ids: impl Iterator<Item = TraceId>) {
        let mut counters = self.lock();
        if !counters.refused.is_empty() {
            ids.for_each(|id| drop(counters.refused.remove(&id)));
        }
    }

    pub(crate) fn accept_links(&self, ends: impl Iterator<Item = (TraceId, TraceId)>) {
        let mut counters = self.lock();
        if !counters.refused_links.is_empty() {
            for ends in ends {
                counters.refused_links.remove(&ends);
            }
        }
    }
}
