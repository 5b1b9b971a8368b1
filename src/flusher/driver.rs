//! One flush, from the cut to the watermark, and closing.

mod compact;

use super::links::OwedLink;
use super::owed::{Owed, changes, merge};
use super::retry::{Cause, Step, Trouble};
use super::shared::{Dirty, Erasure, Errand, Shared};
use super::supervised::{Failure, supervised};
use super::telemetry::FlushReport;
use super::tell;
use crate::backend::{
    Applied, Backend, BackendError, Batch, ErrorClass, LinkChange, Reach, Reopened, RowNumber, Space, Stored,
    StoredTrace, TraceChange,
};
use crate::core::planted::{Mistake, planted};
use crate::core::{Cutter, Opening, Reached};
use crate::error::{Error, ErrorKind};
use crate::feed::Commit;
use crate::guarded;
use crate::trace::{Ends, TraceId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(crate) use compact::CompactAnswer;
pub use compact::CompactReport;
use compact::Compaction;

/// So many rows are kept to be written again, beside one for each trace and link that lives, before a commit is synced
/// that need not be.
const MOST_UNSYNCED: usize = 4_096;

/// The flusher's own state. Nothing here is dropped before it is committed: a batch that fails stays in
/// `owed`, and what is committed but not known to be durable stays in `undurable`.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    backend: Box<dyn Backend>,
    cutter: Cutter<Dirty>,
    /// Captured and not committed, in the order of rows.
    owed: Vec<Owed>,
    /// The same, in the order of ids.
    owed_links: Vec<OwedLink>,
    owed_erasures: Vec<Erasure>,
    /// When the oldest of these changes was made.
    owed_since: Option<Instant>,
    undurable: BTreeMap<RowNumber, TraceId>,
    undurable_links: BTreeSet<Ends>,
    /// The newest cut, and how far the backend has committed.
    cut: u64,
    committed: Reached,
    last_row: RowNumber,
    /// The backend must be reopened before it is used again.
    doubtful: bool,
    /// What the backend holds is damaged and must be replaced.
    damaged: bool,
    /// Somebody else has changed it, and it could not be compared with memory yet.
    #[cfg_attr(
        not(all(feature = "snapshot", feature = "sqlite", not(loom))),
        allow(dead_code, reason = "a spill asks for it")
    )]
    uncompared: bool,
    /// Everything is owed again, perhaps nothing: the backend is told how far the store is all the same.
    must_write: bool,
    /// A turn has panicked: what is owed may not be all, so everything is owed again.
    adrift: bool,
    pub(super) last_turn: Instant,
    compaction: Compaction,
    /// As of the last housekeeping.
    space: Space,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        backend: Box<dyn Backend>,
        cutter: Cutter<Dirty>,
        reached: Reached,
        last_row: RowNumber,
    ) -> Self {
        Self {
            shared,
            backend,
            cutter,
            owed: Vec::new(),
            owed_links: Vec::new(),
            owed_erasures: Vec::new(),
            owed_since: None,
            undurable: BTreeMap::new(),
            undurable_links: BTreeSet::new(),
            cut: reached.cut,
            committed: reached,
            last_row,
            doubtful: false,
            damaged: false,
            uncompared: false,
            must_write: false,
            adrift: false,
            last_turn: Instant::now(),
            compaction: Compaction::default(),
            space: Space::default(),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// When the next try is due, after a failure.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.shared.telemetry.trouble().map(|trouble| trouble.retry_at)
    }

    /// Whether the last try failed for more than contention.
    pub(super) fn is_failing(&self) -> bool {
        self.shared.telemetry.trouble().is_some_and(|trouble| trouble.counts())
    }

    /// Whether there is work that no writer will announce.
    pub(super) fn is_behind(&self) -> bool {
        self.owes() > 0 || self.shared.telemetry.trouble().is_some()
    }

    pub(super) fn last_turn(&self) -> Instant {
        self.last_turn
    }

    /// One flush; its outcome is published. `true` if it was committed.
    pub(crate) fn turn(&mut self, reach: Reach, opening: Opening) -> bool {
        let started = Instant::now();
        let span = tell::flush(&self.shared.name, || self.finds_work(reach));
        let _inside = span.enter();
        self.shared.telemetry.step();
        tell::cut(&span).in_scope(|| self.cut(opening));
        // What is erased is not kept to be written again: it must not come back with a power loss.
        let must_sync = !self.owed_erasures.is_empty() || self.owes_a_sync();
        let reach = if must_sync { Reach::Durable } else { reach };
        tell::has_cut(&span, self.cut, reach, (self.owed.len(), self.owed_links.len()));
        let outcome = supervised(|| self.commit(reach, started));
        self.shared.telemetry.step();
        self.last_turn = Instant::now();
        match outcome {
            Ok(report) => {
                tell::has_committed(&span, &report);
                self.tidy(false);
                self.collect();
                if report.rows_erased > 0 {
                    self.compact_if_worthwhile();
                }
                true
            }
            Err(failure) => {
                tell::has_not_committed(&span, started);
                self.doubt();
                self.failed(failure, Step::Commit);
                self.collect();
                false
            }
        }
    }

    /// Frees what writers have replaced, and what settling has taken out.
    pub(super) fn collect(&self) {
        self.shared.traces.collect();
        self.shared.links.collect();
    }

    /// The backend may hold what it was asked to commit, though it said that it failed.
    fn doubt(&mut self) {
        self.owed.iter_mut().for_each(|owed| owed.doubt(&self.shared.traces));
        self.owed_links.iter_mut().for_each(|owed| owed.doubt(&self.shared.links));
    }

    /// Whether a turn would find something to do for the backend, as far as can be told before its cut.
    fn finds_work(&self, reach: Reach) -> bool {
        let syncs = reach == Reach::Durable && !self.is_all_durable();
        let owes = self.owes() > 0 || self.must_write || self.doubtful || self.damaged || syncs;
        owes || self.shared.clock.enter().dirty() > 0 || self.shared.has_erasures()
    }

    fn is_all_durable(&self) -> bool {
        self.undurable.is_empty() && self.undurable_links.is_empty()
    }

    /// How much is committed and not known to be durable.
    pub(super) fn unsynced(&self) -> usize {
        self.undurable.len() + self.undurable_links.len()
    }

    /// Whether so much is kept to be written again that it is time for a sync, which nobody asked for: it is the only
    /// thing that says of a row of the past that it is gone for good.
    fn owes_a_sync(&self) -> bool {
        self.unsynced() > MOST_UNSYNCED + self.shared.traces.len() + self.shared.links.len()
    }

    /// How much is captured and not committed.
    fn owes(&self) -> usize {
        self.owed.len() + self.owed_links.len() + self.owed_erasures.len()
    }

    /// Has been cut and is not committed: whoever asks how far the store is behind is told.
    fn tell_what_is_owed(&self) {
        self.shared.progress.owes(self.owes(), self.owed_since);
    }

    /// Cut, grace, capture, merge.
    fn cut(&mut self, opening: Opening) {
        // Told before the cut, so that no moment shows its changes neither as the open generation's nor as ours.
        let closing = self.shared.clock.enter();
        self.owed_since = self.owed_since.or_else(|| closing.first_write());
        self.shared.progress.owes(self.owes() + closing.dirty(), self.owed_since);
        drop(closing);
        let (cut, errands) = self.cutter.cut_and(opening, || self.shared.errands());
        let since = std::mem::replace(&mut self.cut, cut.number);
        let (mut traces, mut links) = (Vec::with_capacity(cut.keys.len()), Vec::new());
        for dirty in cut.keys {
            match dirty {
                Dirty::Trace(id) => traces.extend(Owed::capture(
                    &self.shared.traces,
                    id,
                    since,
                    cut.number,
                    &mut self.last_row,
                )),
                Dirty::Link(ends) => links.push(ends),
            }
        }
        if !traces.is_empty() || !links.is_empty() {
            self.owed_since.get_or_insert_with(Instant::now);
        }
        self.owe(traces, links);
        self.run_errands(errands);
        self.shared.telemetry.lock().cuts += 1;
        self.tell_what_is_owed();
    }

    /// Takes in what was captured: the links of traces that have ended are captured with them, as their own
    /// removal may come after the cut.
    fn owe(&mut self, traces: Vec<Owed>, mut links: Vec<Ends>) {
        let shared = self.shared.clone();
        for owed in traces.iter().filter(|owed| owed.relinks && !planted(Mistake::LinksLeftBehind)) {
            links.extend(shared.links.index().of(&owed.id));
        }
        links.sort_unstable();
        links.dedup();
        let capture = |ends| OwedLink::capture(ends, self.cut, &shared.links, &shared.traces);
        let links = links.into_iter().map(capture).collect();
        self.merge(traces, links);
    }

    /// What is newer than all that is owed.
    fn merge(&mut self, traces: Vec<Owed>, links: Vec<OwedLink>) {
        self.owed = merge(std::mem::take(&mut self.owed), traces, Owed::row, Owed::succeed);
        self.owed_links =
            merge(std::mem::take(&mut self.owed_links), links, OwedLink::ends, OwedLink::succeed);
    }

    /// What somebody wanted of this cut, before the next. Erasures first: what they have removed is in the cut, and who
    /// wants to see it came perhaps before their errand did.
    fn run_errands(&mut self, errands: Vec<Errand>) {
        let (erasures, others): (Vec<_>, Vec<_>) =
            errands.into_iter().partition(|errand| matches!(errand, Errand::Erase(_)));
        for errand in erasures.into_iter().chain(others) {
            match errand {
                Errand::Erase(erasure) => self.owe_erasure(erasure),
                Errand::Compact(answer) => self.compaction.ask(answer),
                #[cfg(all(feature = "snapshot", feature = "sqlite", not(loom)))]
                Errand::Spill(show) => show(self.spill()),
                #[cfg(all(feature = "snapshot", not(loom)))]
                Errand::View(show) => show(self.view()),
            }
        }
        if self.owes() > 0 {
            self.owed_since.get_or_insert_with(Instant::now);
        }
    }

    /// Once is enough for each scope, and for each that waits to be told of it.
    fn owe_erasure(&mut self, erasure: Erasure) {
        let is_other = |owed: &Erasure| owed.scope != erasure.scope || Arc::strong_count(&owed.rows) > 1;
        self.owed_erasures.retain(is_other);
        self.owed_erasures.push(erasure);
    }

    /// The state as of the last cut, while no other is made.
    #[cfg(all(feature = "snapshot", not(loom)))]
    fn view(&self) -> super::View {
        let (shared, cut) = (&self.shared, self.cut);
        let traces = shared.traces.keys().into_iter();
        let traces = traces.filter_map(|id| shared.traces.capture(&id, cut, |_| ())?.0.value).collect();
        let links = shared.links.keys().into_iter();
        let capture = |ends| OwedLink::capture(ends, cut, &shared.links, &shared.traces).link();
        let links = links.filter_map(capture).collect();
        super::View { cut, traces, links }
    }

    /// What is not known to be durable, as of the last cut; and everything, where what is stored can't be counted on.
    #[cfg(all(feature = "snapshot", feature = "sqlite", not(loom)))]
    fn spill(&mut self) -> crate::archive::Spill {
        let is_suspect = self.damaged || self.uncompared || self.adrift;
        let whole = is_suspect || !supervised(|| self.backend.is_untouched()).unwrap_or(false);
        let (cut, shared) = (self.cut, &self.shared);
        let (all, all_links) = match whole {
            true => (shared.traces.keys(), shared.links.keys()),
            false => (Vec::new(), Vec::new()),
        };
        let owed = self.undurable.values().copied().chain(self.owed.iter().map(|owed| owed.id));
        let traces: BTreeSet<_> = all.into_iter().chain(owed).collect();
        let owed = self.undurable_links.iter().copied().chain(self.owed_links.iter().map(OwedLink::ends));
        let links: BTreeSet<_> = all_links.into_iter().chain(owed).collect();
        let trace = |id| (id, shared.traces.capture(&id, cut, |_| ()).and_then(|captured| captured.0.value));
        let link = |ends| (ends, OwedLink::capture(ends, cut, &shared.links, &shared.traces).link());
        crate::archive::Spill {
            durable: if whole { 0 } else { self.shared.progress.watermarks().1 },
            cut,
            erased: self.owed_erasures.iter().map(|erasure| erasure.scope.clone()).collect(),
            traces: traces.into_iter().map(trace).collect(),
            links: links.into_iter().map(link).collect(),
            ..Default::default()
        }
    }

    fn commit(&mut self, reach: Reach, started: Instant) -> Result<FlushReport, BackendError> {
        self.recover()?;
        // Of an empty batch nothing is kept that says that it must be synced yet.
        let reach = if self.must_write && self.owes() == 0 { Reach::Durable } else { reach };
        let shared = self.shared.clone();
        let change = |owed: &Owed| owed.change(&shared.traces);
        let traces = changes(&self.owed, change, |change| matches!(change, TraceChange::Delete { .. }));
        let change = |owed: &OwedLink| owed.change(&shared.links);
        let links = changes(&self.owed_links, change, |change| matches!(change, LinkChange::Delete(..)));
        let erased: Vec<_> = self.owed_erasures.iter().map(|erasure| erasure.scope.clone()).collect();
        let batch = Batch::new(self.cut, reach).traces(&traces).links(&links).erased(&erased);
        if planted(Mistake::RememberedBeforeTheCommit) {
            for owed in &self.owed {
                shared.traces.sink(&owed.id, |row| owed.remember(row, false));
            }
        }
        if planted(Mistake::EarlyWatermark) {
            self.shared.progress.publish(Reached::recorded(self.cut), true, FlushReport::default());
        }
        let untouched =
            batch.is_empty() && !self.must_write && (reach == Reach::Committed || self.is_all_durable());
        let applied = match untouched {
            true => Applied::default(),
            false => tell::apply().in_scope(|| self.backend.apply(&batch))?,
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
        let refused = self.set_aside(&traces, &links, &applied);
        self.shared.telemetry.erased(&applied);
        for (erasure, rows) in self.owed_erasures.drain(..).zip(&applied.erased) {
            // Read by who waits for the watermark, which is published after this.
            erasure.rows.store(*rows, Ordering::Relaxed);
        }
        // Before whoever waits for this flush is told.
        self.shared
            .feed
            .give(|| Commit::new(self.cut, &traces, &refused, left_in(&links, &applied.refused_links)));
        self.committed(reach, untouched, &refused, report);
        Ok(report)
    }

    /// Before a try: what the last failure, or somebody else, made necessary.
    fn recover(&mut self) -> Result<(), BackendError> {
        if !self.doubtful && !self.damaged {
            self.doubtful = !self.backend.is_untouched()?;
        }
        if self.doubtful && !self.damaged {
            match self.reopen() {
                // Found before anything was tried, it is mended at once.
                Err(error) if error.class() == ErrorClass::Corrupt => {
                    self.damaged = true;
                    let error = Error::from(error);
                    tell::damaged(&self.shared.name, &error);
                    let earlier = self.shared.telemetry.lock().last_error.replace(error);
                    // The error of a backend is the host's code: it is not dropped under the lock.
                    guarded::run(|| drop(earlier));
                }
                reopened => reopened?,
            }
            (self.doubtful, self.adrift) = (false, false);
        }
        if self.damaged {
            self.backend.replace()?;
            (self.damaged, self.doubtful, self.uncompared, self.adrift) = (false, false, false, false);
            self.owe_everything();
            tell::replaced(&self.shared.name, (self.owed.len(), self.owed_links.len()));
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        let found = self.backend.reopen()?;
        tell::reopened(&self.shared.name, found);
        if found == Reopened::Empty {
            self.owe_everything();
        } else {
            self.owe_the_undurable();
            if self.adrift {
                // What is stored is there still; what the turn that panicked had taken may be lost.
                self.owe_all_again();
            }
        }
        if found == Reopened::Changed {
            self.uncompared = true;
            self.compare()?;
        }
        self.uncompared = false;
        Ok(())
    }

    /// Whether what is stored is what memory held at the last cut, but for what is owed and what is set aside.
    ///
    /// # Errors
    ///
    /// It is not, which is damage; or it can't be read.
    fn compare(&mut self) -> Result<(), BackendError> {
        let (shared, cut) = (self.shared.clone(), self.cut);
        let (mut exempt, mut exempt_links, unreadable) = shared.telemetry.set_aside();
        exempt.extend(self.owed.iter().map(|owed| owed.id));
        exempt_links.extend(self.owed_links.iter().map(OwedLink::ends));
        let traces = shared.traces.keys().into_iter().filter(|id| !exempt.contains(id));
        let traces = traces.filter_map(|id| shared.traces.capture(&id, cut, |_| ())?.0.value);
        let mut traces: HashMap<_, _> = traces.map(|trace| (trace.id(), trace)).collect();
        let links = shared.links.keys().into_iter().filter(|ends| !exempt_links.contains(ends));
        let capture = |ends| OwedLink::capture(ends, cut, &shared.links, &shared.traces).link();
        let links = links.filter_map(capture);
        let mut links: HashMap<_, _> = links.map(|link| (link.ends, link)).collect();
        let mut strange = 0;
        self.backend.load(&mut |stored| {
            let is_known = match stored {
                Stored::Trace(StoredTrace { trace: Ok(trace), .. }) => {
                    let id = trace.id();
                    exempt.contains(&id) || traces.remove(&id).is_some_and(|held| *held == trace)
                }
                Stored::Link(Ok(link)) => {
                    exempt_links.contains(&link.ends) || links.remove(&link.ends) == Some(link)
                }
                Stored::Trace(_) | Stored::Link(_) => false,
            };
            strange += usize::from(!is_known);
        })?;
        // Those that could not be read when the store was opened still can't be.
        match strange == unreadable && traces.is_empty() && links.is_empty() {
            true => Ok(()),
            false => {
                let missing = traces.len() + links.len();
                let strange = strange.abs_diff(unreadable);
                let message = format!("of what was stored {missing} rows are gone, and {strange} are others");
                Err(BackendError::new(ErrorClass::Corrupt, message))
            }
        }
    }

    /// Of what was committed but not synced, nothing can be counted on any more.
    fn owe_the_undurable(&mut self) {
        self.committed = self.shared.progress.lost(false);
        let (shared, cut) = (self.shared.clone(), self.cut);
        let traces = std::mem::take(&mut self.undurable)
            .into_iter()
            .filter_map(|(row, id)| Owed::recapture_row(&shared.traces, id, row, cut, &mut self.last_row));
        let traces = traces.collect();
        let links = std::mem::take(&mut self.undurable_links).into_iter().collect();
        self.owe_again(traces, links);
    }

    /// The backend holds nothing any more, and memory holds everything.
    fn owe_everything(&mut self) {
        self.committed = self.shared.progress.lost(true);
        self.must_write = true;
        self.forget_undurable();
        self.owe_all_again();
    }

    /// All that is in memory, and all that was removed and not settled.
    fn owe_all_again(&mut self) {
        let shared = self.shared.clone();
        let traces = shared.traces.keys().into_iter();
        let traces =
            traces.filter_map(|id| Owed::recapture(&shared.traces, id, self.cut, &mut self.last_row));
        let traces = traces.collect();
        self.owe_again(traces, shared.links.keys());
    }

    fn forget_undurable(&mut self) {
        self.undurable.clear();
        self.undurable_links.clear();
    }

    fn owe_again(&mut self, traces: Vec<Owed>, links: Vec<Ends>) {
        let (shared, cut) = (self.shared.clone(), self.cut);
        let recapture = |ends| OwedLink::recapture(ends, cut, &shared.links, &shared.traces);
        let links = links.into_iter().map(recapture).collect();
        // What is owed already is of a cut at least as new.
        let owed = (std::mem::take(&mut self.owed), std::mem::take(&mut self.owed_links));
        self.owe(traces, Vec::new());
        self.merge(Vec::new(), links);
        self.merge(owed.0, owed.1);
        self.owed_since.get_or_insert_with(Instant::now);
        self.tell_what_is_owed();
    }

    /// Reports the rows that the backend left out.
    fn set_aside(&self, traces: &[TraceChange], links: &[LinkChange], applied: &Applied) -> HashSet<TraceId> {
        let Shared { name, telemetry, .. } = &*self.shared;
        let refused = || applied.refused.iter().filter_map(|(at, why)| Some((traces.get(*at)?.id(), why)));
        let ids: HashSet<_> = refused().map(|(id, _)| id).collect();
        telemetry.accept(traces.iter().map(TraceChange::id).filter(|id| !ids.contains(id)));
        telemetry.accept_links(left_in(links, &applied.refused_links).map(LinkChange::ends));
        for (id, why) in refused() {
            tell::refused(name, id, why, telemetry.refuse(id, why));
        }
        for (link, why) in applied.refused_links.iter().filter_map(|(at, why)| Some((links.get(*at)?, why))) {
            tell::refused_link(name, link, why, telemetry.refuse_link(link.ends()));
        }
        ids
    }

    /// Publishes the watermark, then settles what the capture needed.
    fn committed(&mut self, reach: Reach, untouched: bool, refused: &HashSet<TraceId>, report: FlushReport) {
        let (done, links) = (std::mem::take(&mut self.owed), std::mem::take(&mut self.owed_links));
        let shared = self.shared.clone();
        let synced = reach == Reach::Durable && !untouched;
        if synced {
            self.forget_undurable();
        } else if !untouched {
            self.undurable.extend(done.iter().map(|owed| (owed.row(), owed.id)));
            self.undurable_links.extend(links.iter().map(OwedLink::ends));
        }
        // An empty cut is not written down, and so its number is not told.
        self.committed = Reached { cut: self.cut, stored: report.watermark };
        self.owed_since = None;
        if !untouched {
            self.must_write = false;
            self.shared.telemetry.committed(&report);
        }
        self.recovered(Step::Commit);
        self.shared.progress.publish(self.committed, self.is_all_durable(), report);
        for owed in &done {
            let is_refused = refused.contains(&owed.id);
            shared.traces.settle(&owed.id, self.cut, |row| owed.remember(row, is_refused));
        }
        for owed in &links {
            shared.links.settle(&owed.ends, self.cut, |row| owed.remember(row));
        }
    }

    pub(super) fn recovered(&self, step: Step) {
        if let Some(trouble) = self.shared.telemetry.recovered(step).filter(Trouble::counts) {
            tell::recovered(&self.shared.name, &trouble, self.committed.stored);
        }
    }

    /// What is owed stays owed; decides when it is tried again, and tells those who wait.
    fn failed(&mut self, failure: Failure, step: Step) {
        if planted(Mistake::FailedBatchDropped) {
            self.owed.clear();
        }
        let (cause, error) = failure.explained();
        self.doubtful |= cause.makes_doubtful();
        self.damaged |= cause == Cause::Class(ErrorClass::Corrupt);
        let trouble = self.shared.telemetry.failed(cause, &error, step);
        tell::failed(&self.shared.name, &trouble, &error, self.owes());
        self.compaction.failed(&error);
        if trouble.counts() {
            self.shared.progress.fail(self.cut, error);
        }
    }

    /// A turn has panicked, outside of the backend's calls: how far it came is not known. Whoever waits is told, for
    /// whatever it waits.
    pub(super) fn panicked(&mut self, panic: &str) {
        let Shared { name, clock, progress, telemetry, .. } = &*self.shared;
        (self.adrift, self.doubtful) = (true, true);
        telemetry.rest();
        let message = format!("the flusher panicked: {panic}; everything is in memory, and is written again");
        let error = Error::new(ErrorKind::Panicked, message);
        let trouble = telemetry.failed(Cause::Panic, &error, Step::Commit);
        progress.fail(u64::MAX, error.clone());
        tell::panicked(name, &trouble, &error);
        if clock.enter().is_sealed() && !progress.is_closed() {
            self.cut(Opening::Open);
        }
    }

    /// Lets the backend do its housekeeping, after the waiters have been woken. `false` if a log is left that
    /// somebody holds: worth another try, without new work.
    pub(super) fn tidy(&mut self, idle: bool) -> bool {
        self.last_turn = Instant::now();
        if self.doubtful || self.damaged {
            return true;
        }
        match supervised(|| Ok((self.backend.tidy(idle)?, self.backend.wal_bytes(), self.backend.space()?))) {
            Ok((durable, wal_bytes, space)) => {
                self.space = space;
                let mut counters = self.shared.telemetry.lock();
                (counters.wal_bytes, counters.free_bytes) = (wal_bytes, space.free_bytes);
                drop(counters);
                self.recovered(Step::Tidy);
                if durable {
                    self.forget_undurable();
                    self.shared.progress.durable();
                }
                durable || wal_bytes == 0
            }
            Err(failure) => {
                self.failed(failure, Step::Tidy);
                true
            }
        }
    }

    /// Drains: once with writes going on, and once more after they are refused. `true` if the store has
    /// closed; otherwise it takes writes again.
    pub(crate) fn close(&mut self) -> bool {
        if !self.turn(Reach::Durable, Opening::Open) {
            return false;
        }
        let drained = self.turn(Reach::Durable, Opening::Sealed);
        let closed = drained && self.end() && self.shared.progress.finish_closing();
        match closed {
            true => self.shared.feed.close(),
            // Of the sealed generation it captures what followed from writes before it, and nothing else is in it.
            false => self.cut(Opening::Open),
        }
        closed
    }

    fn end(&mut self) -> bool {
        // Housekeeping after the last commit may have made the connection doubtful: then the next try reopens it.
        if self.doubtful || self.damaged {
            return false;
        }
        match supervised(|| self.backend.close(self.committed.stored)) {
            Ok(()) => {
                // Should all who waited have given up, the backend is opened again.
                self.doubtful = true;
                self.shared.telemetry.lock().wal_bytes = 0;
                self.recovered(Step::Close);
                true
            }
            Err(failure) => {
                self.failed(failure, Step::Close);
                false
            }
        }
    }
}

/// What was not refused, by its place.
fn left_in<'a>(links: &'a [LinkChange], refused: &[(usize, String)]) -> impl Iterator<Item = &'a LinkChange> {
    let refused: HashSet<_> = refused.iter().map(|(at, _)| *at).collect();
    links.iter().enumerate().filter(move |(at, _)| !refused.contains(at)).map(|(_, link)| link)
}
