//! Links that have been captured and are not committed, and the changes made of them.
//!
//! A link is captured as present only if both its traces are, as of the same cut, and are the ones that it was
//! made for. So a batch never leaves a row of a link to a trace that has none, wherever a cut falls between the
//! removal of a trace and that of its links.

use crate::backend::LinkChange;
use crate::protocol::planted::{Mistake, planted};
use crate::state::{LinkRow, Links, Traces};
use crate::trace::{Link, LinkKey};

/// One captured link.
pub(crate) struct PendingLink {
    pub(super) ends: LinkKey,
    /// Its state as of the newest cut that captured it.
    link: Option<Link>,
    /// There may be a row whatever is remembered: it was written or deleted, and that failed, or was not synced.
    doubtful: bool,
    /// What its cell is to remember of it, it does, though it is not settled.
    pub(super) is_remembered: bool,
}

impl PendingLink {
    pub(super) fn capture(ends: LinkKey, cut: u64, links: &Links, traces: &Traces) -> Self {
        let tie = links.capture(&ends, cut, |_| ()).and_then(|(captured, ())| captured.value).filter(|tie| {
            let ends = tie.link.ends.ids().into_iter().zip(tie.births);
            let mut alive = ends.map(|(id, birth)| {
                let trace = traces.capture(&id, cut, |_| ()).and_then(|(captured, ())| captured.value);
                trace.is_some_and(|trace| trace.birth().is(birth))
            });
            alive.all(|alive| alive) || planted(Mistake::DeadEndIgnored)
        });
        Self { ends, link: tie.map(|tie| tie.link), doubtful: false, is_remembered: false }
    }

    /// Captures a link whose row may not be what is remembered.
    pub(super) fn recapture(ends: LinkKey, cut: u64, links: &Links, traces: &Traces) -> Self {
        Self { doubtful: true, ..Self::capture(ends, cut, links, traces) }
    }

    /// Takes the place of an earlier capture of the same ends.
    pub(super) fn succeed(&mut self, earlier: Self) {
        self.doubtful |= earlier.doubtful;
    }

    pub(super) fn ends(&self) -> LinkKey {
        self.ends
    }

    pub(super) fn link(&self) -> Option<Link> {
        self.link
    }

    /// What is to be sent, decided by what is remembered when it is asked: right before the commit.
    pub(super) fn change(&self, links: &Links) -> Option<LinkChange> {
        match self.link {
            Some(link) => Some(LinkChange::Upsert(link)),
            None => {
                let stored = links.sink(&self.ends, LinkRow::is_stored).unwrap_or(false);
                (stored || self.doubtful).then(|| {
                    let [a, b] = self.ends.ids();
                    LinkChange::Delete(a, b)
                })
            }
        }
    }

    /// After a commit whose outcome is not known.
    pub(super) fn doubt(&mut self, links: &Links) {
        self.doubtful |= self.change(links).is_some() && !planted(Mistake::DoubtIgnored);
    }

    /// After the backend has committed it: never before.
    pub(super) fn remember(&self, row: &LinkRow) {
        row.set_stored(self.link.is_some());
    }
}
