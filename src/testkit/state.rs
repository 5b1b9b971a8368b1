//! The effect of each call on the images.

use super::image::{Commit, Image};
use super::plan::{Call, Failure, Rule};
use super::{check, plan};
use crate::Durability;
use crate::backend::{Applied, BackendError, Batch, LinkChange, Loaded, Reopened, Stored, TraceChange};
use crate::error::ErrorKind;
use crate::trace::TraceId;
use std::collections::{BTreeSet, HashMap};

/// The state that handle and backend share.
#[derive(Default, Debug)]
pub(super) struct State {
    pub(super) live: Image,
    pub(super) durable: Image,
    /// Commits in `live` that are not in `durable`: the next sync makes them durable.
    unsynced: Vec<Commit>,
    /// All data has vanished, and no reopening has noticed it yet.
    vanished: bool,
    pub(super) syncs: u64,
    /// The durable image does not change from this sync on.
    pub(super) freeze_at: Option<u64>,
    /// Number of the backend that has the data open; `backends` counts all that were created.
    pub(super) owner: Option<u64>,
    pub(super) backends: u64,
    /// The calls that the last failure requires before any other.
    must_reopen: bool,
    must_replace: bool,
    pub(super) refused: BTreeSet<TraceId>,
    /// Traces whose rows were refused at any time.
    pub(super) ever_refused: BTreeSet<TraceId>,
    /// Rows that were refused and have not been written since.
    left_out: BTreeSet<TraceId>,
    pub(super) rules: Vec<Rule>,
    pub(super) calls: HashMap<Call, u64>,
    pub(super) injected: u64,
    pub(super) violations: Vec<String>,
    /// The call that waits for a release; `releases` counts the releases so far.
    pub(super) hanging: Option<Call>,
    pub(super) releases: u64,
    /// No handle is left that could release a call.
    pub(super) abandoned: bool,
}

impl State {
    pub(super) fn over(image: Image) -> Self {
        Self { live: image.clone(), durable: image, ..Self::default() }
    }

    /// Counts a call, and returns its fault.
    pub(super) fn begin(&mut self, call: Call) -> plan::Due {
        *self.calls.entry(call).or_default() += 1;
        let due = plan::due(&mut self.rules, call);
        self.injected += u64::from(!due.is_nothing());
        due
    }

    /// Applies the effects of a failure.
    pub(super) fn failed(&mut self, call: Call, failure: Failure) {
        if failure.vanish {
            self.empty();
            self.vanished = true;
        }
        match failure.kind {
            // Later syncs do not retry what a failed sync did not write.
            Some(ErrorKind::Io) if call != Call::Load => self.unsynced.clear(),
            Some(ErrorKind::Corrupt) if call != Call::Load => self.must_replace = true,
            _ => {}
        }
        let harmless = [ErrorKind::Busy, ErrorKind::DiskFull, ErrorKind::OutOfMemory, ErrorKind::Corrupt];
        let doubtful = failure.kind.is_none_or(|kind| !harmless.contains(&kind));
        self.must_reopen |= doubtful && call != Call::Load;
    }

    fn empty(&mut self) {
        self.live = Image::default();
        self.unsynced.clear();
        if !self.is_frozen() {
            self.durable = Image::default();
        }
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.freeze_at.is_some_and(|at| self.syncs >= at)
    }

    /// Records a violation of the store's side of the contract.
    fn violation(&mut self, what: String) -> BackendError {
        let error = BackendError::new(ErrorKind::Backend, format!("the store must not do this: {what}"));
        self.violations.push(what);
        self.must_reopen = true;
        error
    }

    /// Checks that this call is allowed now.
    pub(super) fn admit(&mut self, call: Call, backend: u64) -> Result<(), BackendError> {
        let free = self.owner.is_none() && matches!(call, Call::Load | Call::Reopen);
        if !free && self.owner != Some(backend) {
            return Err(BackendError::new(ErrorKind::InUse, "another store has this backend's data open"));
        }
        let what = match call {
            Call::Load | Call::Reopen | Call::Replace => return Ok(()),
            _ if self.must_replace => "what is damaged was not replaced",
            _ if self.must_reopen => "the backend was not reopened",
            _ => return Ok(()),
        };
        Err(self.violation(format!("{call:?} after a failure: {what}")))
    }

    /// Also syncs: a store treats loaded data as durable.
    pub(super) fn load(
        &mut self,
        backend: u64,
        into: &mut dyn FnMut(Stored),
    ) -> Result<Loaded, BackendError> {
        self.owner = Some(backend);
        (self.must_reopen, self.must_replace, self.vanished) = (false, false, false);
        self.sync()?;
        self.live.set_closed(false);
        Ok(self.live.load(into))
    }

    /// If `sync` is false the batch is only live, whatever durability it asks for.
    pub(super) fn apply(
        &mut self,
        batch: &Batch<'_>,
        refuse_one: bool,
        sync: bool,
    ) -> Result<Applied, BackendError> {
        check::well_formed(batch).map_err(|what| self.violation(what))?;
        let (commit, refused, refused_links) = self.accept(batch, refuse_one);
        let applied = self.live.apply(&commit).map_err(|what| self.violation(what))?;
        self.unsynced.push(commit);
        if batch.durability == Durability::Durable && sync {
            self.sync()?;
        }
        Ok(Applied { refused, refused_links, ..applied })
    }

    /// Splits a batch into the changes to commit and the refused traces and links, each with its reason.
    #[allow(clippy::type_complexity, reason = "as the trait has it")]
    fn accept(
        &mut self,
        batch: &Batch<'_>,
        refuse_one: bool,
    ) -> (Commit, Vec<(usize, String)>, Vec<(usize, String)>) {
        let writes = |change: &TraceChange| !matches!(change, TraceChange::Delete { .. });
        let one =
            batch.traces.iter().filter(|change| refuse_one && writes(change)).map(TraceChange::id).next();
        let mut commit = Commit {
            watermark: batch.watermark,
            erased: batch.erased.to_vec(),
            traces: Vec::new(),
            links: Vec::new(),
        };
        let (mut refused, mut refused_links) = (Vec::new(), Vec::new());
        for (at, change) in batch.traces.iter().enumerate() {
            let id = change.id();
            if writes(change) && (one == Some(id) || self.refused.contains(&id)) {
                refused.push((at, "refused, as the test has it".to_owned()));
                self.left_out.insert(id);
                self.ever_refused.insert(id);
                continue;
            }
            self.left_out.remove(&id);
            commit.traces.push(change.clone());
        }
        for (at, change) in batch.links.iter().enumerate() {
            match change {
                LinkChange::Upsert(link) if self.has_no_row(link.ends(), &commit) => {
                    refused_links.push((at, "one of its traces has no row".to_owned()));
                }
                _ => commit.links.push(*change),
            }
        }
        (commit, refused, refused_links)
    }

    /// Returns whether one of the two traces was left out and has no row.
    fn has_no_row(&self, (a, b): (TraceId, TraceId), commit: &Commit) -> bool {
        let erased = |id| {
            let trace = self.live.trace(id);
            trace.is_some_and(|trace| commit.erased.iter().any(|scope| scope.contains(trace)))
        };
        [a, b]
            .into_iter()
            .any(|id| self.left_out.contains(&id) && (self.live.trace(id).is_none() || erased(id)))
    }

    fn sync(&mut self) -> Result<(), BackendError> {
        self.syncs += 1;
        let commits = std::mem::take(&mut self.unsynced);
        if self.is_frozen() {
            return Ok(());
        }
        for commit in commits {
            let applied = self.durable.apply(&commit);
            applied
                .map_err(|what| self.violation(format!("what is durable would not hold together: {what}")))?;
        }
        Ok(())
    }

    pub(super) fn reopen(&mut self, backend: u64) -> Reopened {
        self.owner = Some(backend);
        self.must_reopen = false;
        self.live.set_closed(false);
        if std::mem::take(&mut self.vanished) { Reopened::Empty } else { Reopened::Same }
    }

    pub(super) fn replace(&mut self) {
        self.empty();
        (self.must_reopen, self.must_replace, self.vanished) = (false, false, false);
    }

    pub(super) fn tidy(&mut self, idle: bool, sync: bool) -> Result<bool, BackendError> {
        let syncs = sync && idle;
        if syncs {
            self.sync()?;
        }
        Ok(syncs)
    }

    pub(super) fn close(&mut self, watermark: u64) -> Result<(), BackendError> {
        if watermark < self.live.watermark() {
            return Err(
                self.violation(format!("closed at {watermark}, and {} is applied", self.live.watermark()))
            );
        }
        if !self.unsynced.is_empty() {
            return Err(self.violation("closed, and not everything is durable".to_owned()));
        }
        self.syncs += 1;
        self.live.set_closed(true);
        if !self.is_frozen() {
            self.durable.set_closed(true);
        }
        self.owner = None;
        self.must_reopen = true;
        Ok(())
    }

    /// Every image that a power loss could leave, the oldest first.
    pub(super) fn after_power_loss(&self) -> Vec<Image> {
        let mut images = vec![self.durable.clone()];
        for commit in self.unsynced.iter().filter(|_| !self.is_frozen()) {
            let mut next = images[images.len() - 1].clone();
            // Skips a commit that is inconsistent: the sync reports it.
            if next.apply(commit).is_ok() {
                images.push(next);
            }
        }
        images
    }
}
