//! One flush, from the cut to the watermark.

use super::Flusher;
use super::events;
use super::guarded_backend::{Failure, guarded_call};
use super::links::PendingLink;
use super::pending::{Pending, changes, merge};
use super::settle::Committed;
use crate::Durability;
use crate::backend::{Applied, BackendError, Batch, LinkChange, TraceChange};
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::{Cut, CutBlock, Opening, Reached, fetching};
use crate::state::{Commit, CutTask, Dirty, Erasure, FailedStep, FlushReport, State};
use crate::trace::{LinkKey, TraceId};
#[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// So many rows are kept to be written again, beside one for each trace and link that lives, before a commit is synced
/// that need not be.
const MOST_UNSYNCED: usize = if cfg!(test) { 64 } else { 4_096 };

impl Flusher {
    /// One flush; its outcome is published. `true` if it was committed.
    pub(crate) fn flush_once(&mut self, durability: Durability, opening: Opening) -> bool {
        let started = Instant::now();
        let span = events::flush(&self.state.name, || self.has_work(durability));
        let _inside = span.enter();
        events::cut(&span).in_scope(|| self.cut(opening));
        let durability = self.at_least(durability);
        events::has_cut(&span, self.cut, durability, (self.pending.len(), self.pending_links.len()));
        let outcome = guarded_call(|| self.commit(durability, started));
        self.last_flush = Instant::now();
        match outcome {
            Ok(report) => {
                events::has_committed(&span, &report);
                self.maintain(false);
                self.collect();
                if report.rows_erased > 0 {
                    self.compact_if_worthwhile();
                }
                true
            }
            Err(failure) => {
                events::has_not_committed(&span, started);
                self.mark_in_doubt();
                // Where it panicked is not known, nor what of the pending changes it had taken.
                self.must_recapture_all |= matches!(failure, Failure::Panic(_));
                self.failed(failure, FailedStep::Commit);
                self.collect();
                false
            }
        }
    }

    /// Whether a turn would find something to do for the backend, as far as can be told before its cut.
    fn has_work(&self, durability: Durability) -> bool {
        let syncs = durability == Durability::Durable && !self.is_all_durable();
        let owes =
            self.pending_count() > 0 || self.must_write || self.needs_reopen || self.needs_replace || syncs;
        owes || self.state.generations.enter().dirty() > 0 || self.state.has_erasures()
    }

    /// Settles some of what large batches have left, cuts, waits out the grace period, captures and merges.
    pub(super) fn cut(&mut self, opening: Opening) {
        // Told before the cut, so that no moment shows its changes neither as the open generation's nor as ours.
        let closing = self.state.generations.enter();
        self.pending_since = self.pending_since.or_else(|| closing.first_write());
        let dirty = closing.dirty();
        self.state.progress.owes(self.pending_count() + dirty, self.pending_since);
        drop(closing);
        self.settle_before(dirty);
        let state = self.state.clone();
        // Not before: a cut for the views would take the state as of ours from what is not captured yet.
        drop(self.cut_and_block(&state, opening));
    }

    /// Blocks cuts: what is captured as of `cut`, while the block lives, is as of the last cut made. If there has been
    /// one for the views, a cut of the flusher's own takes in what was written until now.
    pub(super) fn block_cuts<'a>(&mut self, state: &'a State) -> CutBlock<'a, Dirty> {
        let block = state.generations.block_cuts();
        if block.last_cut() == self.cut {
            return block;
        }
        drop(block);
        // The open generation takes writes: there is no cut for the views of a sealed one.
        self.cut_and_block(state, Opening::Open)
    }

    fn cut_and_block<'a>(&mut self, state: &'a State, opening: Opening) -> CutBlock<'a, Dirty> {
        let (cut, tasks, block) = state.generations.cut_and(opening, || state.take_tasks());
        // Before anybody is told of it.
        state.counters.lock().cuts += 1;
        self.capture(cut);
        self.run_tasks(tasks);
        self.publish_pending();
        block
    }

    /// Captures these keys as of that cut, which is the last one made.
    fn capture(&mut self, cut: Cut<Dirty>) {
        let since = std::mem::replace(&mut self.cut, cut.number);
        let (mut traces, mut links) = (Vec::with_capacity(cut.keys.len()), Vec::new());
        let state = self.state.clone();
        for dirty in state.traces.fetching(&cut.keys, Dirty::trace, |_| 0) {
            match *dirty {
                Dirty::Trace(id) => {
                    self.remember_trace(id);
                    traces.extend(Pending::capture(&state.traces, id, since, cut.number, &mut self.last_row));
                }
                Dirty::Link(ends) => links.push(ends),
            }
        }
        if !traces.is_empty() || !links.is_empty() {
            self.pending_since.get_or_insert_with(Instant::now);
        }
        self.enqueue(traces, links);
    }

    /// Takes in what was captured: the links of traces that have ended are captured with them, as their own
    /// removal may come after the cut.
    pub(super) fn enqueue(&mut self, traces: Vec<Pending>, mut links: Vec<LinkKey>) {
        let state = self.state.clone();
        for pending in
            traces.iter().filter(|pending| pending.recapture_links && !planted(Mistake::LinksLeftBehind))
        {
            links.extend(state.links.index().of(&pending.id));
        }
        links.sort_unstable();
        links.dedup();
        links.iter().for_each(|ends| self.remember_link(*ends));
        let capture = |ends| PendingLink::capture(ends, self.cut, &state.links, &state.traces);
        let links = links.into_iter().map(capture).collect();
        self.merge(traces, links);
    }

    /// Adds captures that are newer than everything pending.
    pub(super) fn merge(&mut self, traces: Vec<Pending>, links: Vec<PendingLink>) {
        self.pending = merge(std::mem::take(&mut self.pending), traces, Pending::row, Pending::succeed);
        self.pending_links =
            merge(std::mem::take(&mut self.pending_links), links, PendingLink::ends, PendingLink::succeed);
    }

    /// What somebody wanted of this cut, before the next. Erasures first: what they have removed is in the cut, and who
    /// wants to see it came perhaps before their task did.
    fn run_tasks(&mut self, tasks: Vec<CutTask>) {
        let (erasures, others): (Vec<_>, Vec<_>) =
            tasks.into_iter().partition(|task| matches!(task, CutTask::Erase(_)));
        for task in erasures.into_iter().chain(others) {
            match task {
                CutTask::Erase(erasure) => self.enqueue_erasure(erasure),
                CutTask::Compact(answer) => self.compaction.ask(answer),
                #[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
                CutTask::Spill(show) => show(self.spill()),
                #[cfg(all(feature = "snapshot", not(loom)))]
                CutTask::View(show) => show(self.view()),
            }
        }
        if self.pending_count() > 0 {
            self.pending_since.get_or_insert_with(Instant::now);
        }
    }

    /// Once is enough for each scope, and for each that waits to be told of it.
    fn enqueue_erasure(&mut self, erasure: Erasure) {
        let is_other =
            |pending: &Erasure| pending.scope != erasure.scope || Arc::strong_count(&pending.rows) > 1;
        self.pending_erasures.retain(is_other);
        self.pending_erasures.push(erasure);
    }

    /// The state as of the last cut, while no other is made.
    #[cfg(all(feature = "snapshot", not(loom)))]
    fn view(&self) -> crate::state::View {
        let (state, cut) = (&self.state, self.cut);
        let traces = state.traces.keys().into_iter();
        let traces = traces.filter_map(|id| state.traces.capture(&id, cut, |_| ())?.0.value).collect();
        let links = state.links.keys().into_iter();
        let capture = |ends| PendingLink::capture(ends, cut, &state.links, &state.traces).link();
        let links = links.filter_map(capture).collect();
        crate::state::View { cut, traces, links }
    }

    /// What is not known to be durable, as of the last cut; and everything, where what is stored can't be counted on.
    #[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(super) fn spill(&mut self) -> crate::archive::Spill {
        let is_suspect = self.needs_replace || self.uncompared || self.must_recapture_all;
        let whole = is_suspect || !guarded_call(|| self.backend.is_untouched()).unwrap_or(false);
        let (cut, state) = (self.cut, &self.state);
        let (all, all_links) =
            if whole { (state.traces.keys(), state.links.keys()) } else { (Vec::new(), Vec::new()) };
        let pending =
            self.unsynced.values().map(|(id, _)| *id).chain(self.pending.iter().map(|pending| pending.id));
        let traces: BTreeSet<_> = all.into_iter().chain(pending).collect();
        let pending =
            self.unsynced_links.iter().copied().chain(self.pending_links.iter().map(PendingLink::ends));
        let links: BTreeSet<_> = all_links.into_iter().chain(pending).collect();
        let trace = |id| (id, state.traces.capture(&id, cut, |_| ()).and_then(|captured| captured.0.value));
        let link = |ends| (ends, PendingLink::capture(ends, cut, &state.links, &state.traces).link());
        crate::archive::Spill {
            durable: if whole { 0 } else { self.state.progress.watermarks().1 },
            cut,
            erased: self.pending_erasures.iter().map(|erasure| erasure.scope.clone()).collect(),
            traces: traces.into_iter().map(trace).collect(),
            links: links.into_iter().map(link).collect(),
            ..Default::default()
        }
    }

    /// The durability that the next commit must have.
    fn at_least(&self, durability: Durability) -> Durability {
        // What is erased is not kept to be written again: it must not come back with a power loss.
        let must_sync = !self.pending_erasures.is_empty() || self.needs_sync();
        if must_sync { Durability::Durable } else { durability }
    }

    pub(super) fn commit(
        &mut self,
        durability: Durability,
        started: Instant,
    ) -> Result<FlushReport, BackendError> {
        self.recover()?;
        // There may have been another cut.
        let durability = self.at_least(durability);
        // Of an empty batch nothing is kept that says that it must be synced yet.
        let durability =
            if self.must_write && self.pending_count() == 0 { Durability::Durable } else { durability };
        let state = self.state.clone();
        let pending = fetching(&self.pending, Pending::touch);
        let traces = changes(pending, Pending::change, |change| matches!(change, TraceChange::Delete { .. }));
        let replaced = self.pending.iter().filter(|pending| pending.replaces).map(Pending::row);
        let replaced: Vec<_> = replaced.collect();
        let change = |pending: &PendingLink| pending.change(&state.links);
        let links =
            changes(self.pending_links.iter(), change, |change| matches!(change, LinkChange::Delete(..)));
        let erased: Vec<_> = self.pending_erasures.iter().map(|erasure| erasure.scope.clone()).collect();
        let batch = Batch::new(self.cut, durability).traces(&traces).links(&links).erased(&erased);
        let batch = batch.replaced(&replaced);
        if planted(Mistake::RememberedBeforeTheCommit) {
            for pending in &self.pending {
                state.traces.sink(&pending.id, |row| pending.remember(row, false));
            }
        }
        if planted(Mistake::EarlyWatermark) {
            self.state.progress.publish(Reached::recorded(self.cut), true, FlushReport::default());
        }
        let untouched = batch.is_empty()
            && !self.must_write
            && (durability == Durability::Committed || self.is_all_durable());
        let applied = if untouched {
            Applied::default()
        } else {
            events::apply().in_scope(|| self.backend.apply(&batch))?
        };
        let report = FlushReport {
            watermark: if untouched { self.committed.stored } else { self.cut },
            rows_upserted: applied.upserted,
            rows_updated: applied.updated,
            rows_deleted: applied.deleted,
            rows_refused: (applied.refused.len() + applied.refused_links.len()) as u64,
            rows_erased: applied.erased.iter().sum(),
            links_upserted: applied.links_upserted,
            links_deleted: applied.links_deleted,
            payload_bytes_serialized: applied.payload_bytes,
            elapsed: started.elapsed(),
        };
        let refused = self.record_refused(&traces, &links, &applied);
        self.state.counters.erased(&applied);
        for (erasure, rows) in self.pending_erasures.drain(..).zip(&applied.erased) {
            // Read by who waits for the watermark, which is published after this.
            erasure.rows.store(*rows, Ordering::Relaxed);
        }
        // Before whoever waits for this flush is told.
        self.state.feed.give(|| {
            Commit::new(self.cut, &traces, &refused, without_refused(&links, &applied.refused_links))
        });
        self.committed(durability, untouched, report, refused, traces);
        Ok(report)
    }

    /// Reports the rows that the backend left out.
    fn record_refused(
        &self,
        traces: &[TraceChange],
        links: &[LinkChange],
        applied: &Applied,
    ) -> HashSet<TraceId> {
        let State { name, counters, .. } = &*self.state;
        let refused = || applied.refused.iter().filter_map(|(at, why)| Some((traces.get(*at)?.id(), why)));
        let ids: HashSet<_> = refused().map(|(id, _)| id).collect();
        counters.accept(traces.iter().map(TraceChange::id).filter(|id| !ids.contains(id)));
        counters.accept_links(without_refused(links, &applied.refused_links).map(LinkChange::ends));
        for (id, why) in refused() {
            events::refused(name, id, why, counters.refuse(id, why));
        }
        for (link, why) in applied.refused_links.iter().filter_map(|(at, why)| Some((links.get(*at)?, why))) {
            events::refused_link(name, link, why, counters.refuse_link(link.ends()));
        }
        ids
    }

    /// Publishes the watermark; what was sent is to be settled then.
    pub(super) fn committed(
        &mut self,
        durability: Durability,
        untouched: bool,
        report: FlushReport,
        refused: HashSet<TraceId>,
        sent: Vec<TraceChange>,
    ) {
        let (traces, links) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.pending_links));
        let synced = durability == Durability::Durable && !untouched;
        if synced {
            self.forget_unsynced();
        } else if !untouched {
            for pending in &traces {
                let (_, replaces) = self.unsynced.entry(pending.row()).or_insert((pending.id, false));
                *replaces |= pending.replaces;
            }
            self.unsynced_links.extend(links.iter().map(PendingLink::ends));
        }
        // An empty cut is not written down, and so its number is not told.
        self.committed = Reached { cut: self.cut, stored: report.watermark };
        self.pending_since = None;
        if !untouched {
            self.must_write = false;
            self.state.counters.committed(&report);
        }
        self.recovered(FailedStep::Commit);
        self.unsettled.push(Committed { cut: self.cut, traces, links, refused, sent });
        self.state.progress.publish(self.committed, self.is_all_durable(), report);
        self.settle_step();
    }

    /// The backend may hold what it was asked to commit, though it said that it failed.
    fn mark_in_doubt(&mut self) {
        self.pending.iter_mut().for_each(|pending| pending.doubt());
        self.pending_links.iter_mut().for_each(|pending| pending.doubt(&self.state.links));
    }

    fn is_all_durable(&self) -> bool {
        self.unsynced.is_empty() && self.unsynced_links.is_empty()
    }

    /// How much is committed and not known to be durable.
    pub(super) fn unsynced_count(&self) -> usize {
        self.unsynced.len() + self.unsynced_links.len()
    }

    /// Whether so much is kept to be written again that it is time for a sync, which nobody asked for: it is the only
    /// thing that says of a row of the past that it is gone for good.
    fn needs_sync(&self) -> bool {
        self.unsynced_count() > MOST_UNSYNCED + self.state.traces.len() + self.state.links.len()
    }

    /// How much is captured and not committed.
    pub(super) fn pending_count(&self) -> usize {
        self.pending.len() + self.pending_links.len() + self.pending_erasures.len()
    }

    /// Has been cut and is not committed: whoever asks how far the store is behind is told.
    pub(super) fn publish_pending(&self) {
        self.state.progress.owes(self.pending_count(), self.pending_since);
    }
}

/// What was not refused, by its place.
fn without_refused<'a>(
    links: &'a [LinkChange],
    refused: &[(usize, String)],
) -> impl Iterator<Item = &'a LinkChange> {
    let refused: HashSet<_> = refused.iter().map(|(at, _)| *at).collect();
    links.iter().enumerate().filter(move |(at, _)| !refused.contains(at)).map(|(_, link)| link)
}
