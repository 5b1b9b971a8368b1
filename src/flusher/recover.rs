//! After a failure: what is reopened, replaced, and written again.

use super::Flusher;
use super::events;
use super::guarded_backend::Failure;
use super::links::PendingLink;
use super::pending::Pending;
use crate::backend::{BackendError, Reopened, Stored};
use crate::error::{Error, ErrorKind};
use crate::guarded;
use crate::protocol::Opening;
use crate::protocol::planted::{Mistake, planted};
use crate::state::{FailedStep, Outage, State, needs_reopen};
use crate::trace::LinkKey;
use std::collections::HashMap;
use std::time::Instant;

impl Flusher {
    /// Before a try: what the last failure, or somebody else, made necessary.
    pub(super) fn recover(&mut self) -> Result<(), BackendError> {
        if !self.needs_reopen && !self.needs_replace {
            self.needs_reopen = !self.backend.is_untouched()?;
        }
        if self.needs_reopen || self.needs_replace {
            self.settle_all();
        }
        if self.needs_reopen && !self.needs_replace {
            match self.reopen() {
                // Found before anything was tried, it is mended at once.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.needs_replace = true;
                    let error = Error::from(error);
                    events::damaged(&self.state.name, &error);
                    let earlier = self.state.counters.lock().last_error.replace(error);
                    // The error of a backend is the host's code: it is not dropped under the lock.
                    guarded::run(|| drop(earlier));
                }
                reopened => reopened?,
            }
            (self.needs_reopen, self.must_recapture_all) = (false, false);
        }
        if self.needs_replace {
            self.backend.replace()?;
            (self.needs_replace, self.needs_reopen, self.uncompared, self.must_recapture_all) =
                (false, false, false, false);
            let state = self.state.clone();
            let block = self.block_cuts(&state);
            self.enqueue_everything();
            drop(block);
            events::replaced(&self.state.name, (self.pending.len(), self.pending_links.len()));
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), BackendError> {
        let found = self.backend.reopen()?;
        events::reopened(&self.state.name, found);
        let state = self.state.clone();
        let block = self.block_cuts(&state);
        if found == Reopened::Empty {
            self.enqueue_everything();
        } else {
            self.enqueue_unsynced();
            if self.must_recapture_all {
                // What is stored is there still; what the turn that panicked had taken may be lost.
                self.recapture_all();
            }
        }
        drop(block);
        if found == Reopened::Changed {
            self.uncompared = true;
            self.compare()?;
        }
        self.uncompared = false;
        Ok(())
    }

    /// Whether what is stored is what memory held at the last cut, except for what is pending or quarantined.
    ///
    /// # Errors
    ///
    /// It is not, which is damage; or it can't be read.
    fn compare(&mut self) -> Result<(), BackendError> {
        let state = self.state.clone();
        let block = self.block_cuts(&state);
        let cut = self.cut;
        let (mut exempt, mut exempt_links, unreadable) = state.counters.set_aside();
        exempt.extend(self.pending.iter().map(|pending| pending.id));
        exempt_links.extend(self.pending_links.iter().map(PendingLink::ends));
        let traces = state.traces.keys().into_iter().filter(|id| !exempt.contains(id));
        let traces = traces.filter_map(|id| state.traces.capture(&id, cut, |_| ())?.0.value);
        let mut traces: HashMap<_, _> = traces.map(|trace| (trace.id(), trace)).collect();
        let links = state.links.keys().into_iter().filter(|ends| !exempt_links.contains(ends));
        let capture = |ends| PendingLink::capture(ends, cut, &state.links, &state.traces).link();
        let links = links.filter_map(capture);
        let mut links: HashMap<_, _> = links.map(|link| (link.ends, link)).collect();
        drop(block);
        let mut strange = 0;
        self.backend.load(&mut |stored| {
            let is_known = match stored {
                Stored::Trace { trace: Ok(trace), .. } => {
                    let id = trace.id();
                    exempt.contains(&id) || traces.remove(&id).is_some_and(|held| *held == trace)
                }
                Stored::Link(Ok(link)) => {
                    exempt_links.contains(&link.ends) || links.remove(&link.ends) == Some(link)
                }
                Stored::Trace { .. } | Stored::Link(_) => false,
            };
            strange += usize::from(!is_known);
        })?;
        // Those that could not be read when the store was opened still can't be.
        if strange == unreadable && traces.is_empty() && links.is_empty() {
            Ok(())
        } else {
            let missing = traces.len() + links.len();
            let strange = strange.abs_diff(unreadable);
            let message = format!("of what was stored {missing} rows are gone, and {strange} are others");
            Err(BackendError::new(ErrorKind::Corrupt, message))
        }
    }

    /// Of what was committed but not synced, nothing can be counted on any more.
    fn enqueue_unsynced(&mut self) {
        self.committed = self.state.progress.lost(false);
        let (state, cut) = (self.state.clone(), self.cut);
        let last_row = &mut self.last_row;
        let traces = std::mem::take(&mut self.unsynced).into_iter().filter_map(|(row, (id, replaces))| {
            let mut pending = Pending::recapture_row(&state.traces, id, row, cut, last_row)?;
            pending.replaces |= replaces;
            Some(pending)
        });
        let traces = traces.collect();
        let links = std::mem::take(&mut self.unsynced_links).into_iter().collect();
        self.enqueue_again(traces, links);
    }

    /// The backend holds nothing any more, and memory holds everything.
    fn enqueue_everything(&mut self) {
        self.committed = self.state.progress.lost(true);
        self.must_write = true;
        self.forget_unsynced();
        self.recapture_all();
    }

    /// All that is in memory, and all that was removed and not settled.
    fn recapture_all(&mut self) {
        let state = self.state.clone();
        let traces = state.traces.keys().into_iter();
        let traces =
            traces.filter_map(|id| Pending::recapture(&state.traces, id, self.cut, &mut self.last_row));
        let traces = traces.collect();
        self.enqueue_again(traces, state.links.keys());
    }

    pub(super) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
        self.unsynced_links.clear();
    }

    fn enqueue_again(&mut self, traces: Vec<Pending>, links: Vec<LinkKey>) {
        let (state, cut) = (self.state.clone(), self.cut);
        let recapture = |ends| PendingLink::recapture(ends, cut, &state.links, &state.traces);
        let links = links.into_iter().map(recapture).collect();
        // What is pending already is of a cut at least as new.
        let pending = (std::mem::take(&mut self.pending), std::mem::take(&mut self.pending_links));
        self.enqueue(traces, Vec::new());
        self.merge(Vec::new(), links);
        self.merge(pending.0, pending.1);
        self.pending_since.get_or_insert_with(Instant::now);
        self.publish_pending();
    }

    pub(super) fn recovered(&self, step: FailedStep) {
        if let Some(outage) = self.state.counters.recovered(step).filter(Outage::is_reportable) {
            events::recovered(&self.state.name, &outage, self.committed.stored);
        }
    }

    /// What is pending stays pending; decides when it is tried again, and tells those who wait.
    pub(super) fn failed(&mut self, failure: Failure, step: FailedStep) {
        if planted(Mistake::FailedBatchDropped) {
            self.pending.clear();
        }
        let error = failure.explained();
        self.needs_reopen |= needs_reopen(error.kind());
        self.needs_replace |= error.kind() == ErrorKind::Corrupt;
        if error.kind() == ErrorKind::InUse {
            // What the backend panics with has been printed, and says nothing.
            self.is_lost |= guarded::caught(|| self.backend.is_lost()).unwrap_or(false);
        }
        let outage = self.state.counters.failed(&error, step);
        events::failed(&self.state.name, &outage, &error, self.pending_count());
        self.compaction.failed(&error);
        if outage.is_reportable() {
            self.state.progress.fail(self.cut, error);
        }
    }

    /// A turn has panicked, outside of the backend's calls: how far it came is not known. Whoever waits is told, for
    /// whatever it waits.
    pub(super) fn panicked(&mut self, panic: &str) {
        let State { name, generations, progress, counters, .. } = &*self.state;
        (self.must_recapture_all, self.needs_reopen) = (true, true);
        let message = format!("the flusher panicked: {panic}; everything is in memory, and is written again");
        let error = Error::new(ErrorKind::Panicked, message);
        let outage = counters.failed(&error, FailedStep::Commit);
        progress.fail(u64::MAX, error.clone());
        events::panicked(name, &outage, &error);
        if generations.enter().is_sealed() && !progress.is_closed() {
            self.cut(Opening::Open);
        }
    }
}
