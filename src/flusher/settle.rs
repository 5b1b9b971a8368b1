//! Settling: what follows a commit for each of its keys, after everybody who waits for it has been told.
//!
//! That of a large batch takes longer than a small flush does. So it is done in steps, between the flushes that come
//! after it, and before each cut. Until then the map keeps the images that the captures of that batch needed, and the
//! cells of what it removed; and the flusher keeps what the maps' rows are to remember of it. A key that is captured
//! again has that remembered first, and is settled with its newer batch.

use super::Flusher;
use super::links::PendingLink;
use super::pending::Pending;
use crate::backend::{RowNumber, TraceChange};
use crate::state::{Links, Row, State, Traces};
use crate::trace::{LinkKey, TraceId};
use std::collections::HashSet;

/// The number of keys settled at once: right after a commit, or while no flush is due. Few where something is tested,
/// so that many batches are large ones.
const STEP: usize = if cfg!(test) {
    1
} else if cfg!(all(debug_assertions, not(loom))) {
    64
} else {
    2_048
};

/// A batch that is committed, and whose keys are not all settled.
pub(super) struct Committed {
    pub(super) cut: u64,
    /// In the order of rows.
    pub(super) traces: Vec<Pending>,
    /// In the order of ends.
    pub(super) links: Vec<PendingLink>,
    pub(super) refused: HashSet<TraceId>,
    /// What was sent of it: freeing that of a large batch takes as long as settling it.
    pub(super) sent: Vec<TraceChange>,
}

impl Committed {
    fn len(&self) -> usize {
        self.traces.len() + self.links.len()
    }

    fn settle(&mut self, state: &State, most: usize) -> usize {
        let before = self.len();
        let of_traces = most.min(self.traces.len());
        let rest = self.traces.len() - of_traces;
        for pending in state.traces.fetching(&self.traces[rest..], |pending| Some(&pending.id), |_| 0) {
            let is_refused = self.refused.contains(&pending.id);
            // Also if it was captured again: that may have been in vain.
            state.traces.settle(&pending.id, self.cut, |row| {
                if !pending.is_remembered {
                    pending.remember(row, is_refused);
                }
            });
        }
        self.traces.truncate(rest);
        let of_links = (most - of_traces).min(self.links.len());
        for pending in self.links.drain(self.links.len() - of_links..) {
            state.links.settle(&pending.ends, self.cut, |row| {
                if !pending.is_remembered {
                    pending.remember(row);
                }
            });
        }
        self.sent.truncate(self.traces.len());
        before - self.len()
    }

    fn remember_row(&mut self, traces: &Traces, number: RowNumber) {
        let Ok(at) = self.traces.binary_search_by_key(&number, Pending::row) else { return };
        let pending = &mut self.traces[at];
        if !std::mem::replace(&mut pending.is_remembered, true) {
            let is_refused = self.refused.contains(&pending.id);
            traces.sink(&pending.id, |row| pending.remember(row, is_refused));
        }
    }

    fn remember_link(&mut self, links: &Links, ends: LinkKey) {
        let Ok(at) = self.links.binary_search_by_key(&ends, PendingLink::ends) else { return };
        let pending = &mut self.links[at];
        if !std::mem::replace(&mut pending.is_remembered, true) {
            links.sink(&pending.ends, |row| pending.remember(row));
        }
    }
}

impl Flusher {
    /// Settles a step of what is committed, the newest first; `false` if nothing was left to settle.
    pub(super) fn settle_step(&mut self) -> bool {
        self.settle(STEP) > 0
    }

    /// Before anything is asked of all rows: their memory is that of the last commit.
    pub(super) fn settle_all(&mut self) {
        self.settle(usize::MAX);
    }

    /// Before so many keys are captured, about: of large batches in a row hardly more is left than of one, and a small
    /// one does not pay for what a large one has left.
    pub(super) fn settle_before(&mut self, keys: usize) {
        self.settle(2 * keys);
    }

    fn settle(&mut self, most: usize) -> usize {
        let mut settled = 0;
        while settled < most
            && let Some(batch) = self.unsettled.last_mut()
        {
            settled += batch.settle(&self.state, most - settled);
            if batch.len() == 0 {
                self.unsettled.pop();
            }
        }
        settled
    }

    /// Before a trace is captured again.
    pub(super) fn remember_trace(&mut self, id: TraceId) {
        if self.unsettled.is_empty() {
            return;
        }
        let Some(number) = self.state.traces.sink(&id, Row::number) else { return };
        self.unsettled.iter_mut().for_each(|batch| batch.remember_row(&self.state.traces, number));
    }

    /// Before the change of a link that was captured again is decided.
    pub(super) fn remember_link(&mut self, ends: LinkKey) {
        self.unsettled.iter_mut().for_each(|batch| batch.remember_link(&self.state.links, ends));
    }
}
