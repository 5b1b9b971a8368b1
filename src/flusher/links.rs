//! Links that have been captured and are not committed, and the changes made of them.
//!
//! A link is captured as present only if both its traces are, as of the same cut, and are the ones that it was
//! made for. So a batch never leaves a row of a link to a trace that has none, wherever a cut falls between the
//! removal of a trace and that of its links.

use super::Traces;
use crate::backend::LinkChange;
use crate::core::Entry;
use crate::core::planted::{Mistake, planted};
use crate::trace::{Ends, Link, Tie};
use std::sync::Arc;

pub(crate) type LinkEntry = Entry<Ends, Tie, LinkRow>;

/// What the flusher remembers of a link's row.
#[derive(Default, Debug)]
pub(crate) struct LinkRow {
    /// Whether the backend holds one, or may hold one.
    stored: bool,
}

impl LinkRow {
    /// A row that was loaded.
    pub(crate) const STORED: Self = Self { stored: true };
}

/// One captured link.
pub(crate) struct OwedLink {
    pub(super) entry: Arc<LinkEntry>,
    /// Its state as of the newest cut that captured it.
    link: Option<Link>,
    /// There may be a row whatever the entry remembers: it was written or deleted, and not synced, perhaps through
    /// an earlier entry of the same ends.
    doubtful: bool,
}

impl OwedLink {
    pub(super) fn capture(entry: Arc<LinkEntry>, cut: u64, traces: &Traces) -> Self {
        let link = entry.capture(cut).filter(|tie| {
            let ends = tie.link.ends.both().into_iter().zip(tie.births);
            let mut alive = ends.map(|(id, birth)| {
                let trace = traces.entry(&id).and_then(|entry| entry.capture(cut));
                trace.is_some_and(|trace| trace.birth().is(birth))
            });
            alive.all(|alive| alive) || planted(Mistake::DeadEndIgnored)
        });
        Self { entry, link: link.map(|tie| tie.link), doubtful: false }
    }

    /// The same, for a link whose row may not be what was remembered.
    pub(super) fn recapture(entry: Arc<LinkEntry>, cut: u64, traces: &Traces) -> Self {
        Self { doubtful: true, ..Self::capture(entry, cut, traces) }
    }

    /// Takes the place of an earlier capture of the same ends.
    pub(super) fn succeed(&mut self, earlier: Self) {
        self.doubtful |= earlier.doubtful;
    }

    pub(super) fn ends(&self) -> Ends {
        *self.entry.key()
    }

    pub(super) fn link(&self) -> Option<Link> {
        self.link
    }

    /// Before the backend is asked: from now on, until it answers, there may be a row.
    pub(super) fn begin(&self) -> Option<LinkChange> {
        self.entry.sink(|row| match self.link {
            Some(link) => {
                row.stored = true;
                Some(LinkChange::Upsert(link))
            }
            None => (row.stored || self.doubtful).then(|| {
                let [a, b] = self.ends().both();
                LinkChange::Delete(a, b)
            }),
        })
    }

    /// The backend has committed it.
    pub(super) fn end(&self) {
        self.entry.sink(|row| row.stored = self.link.is_some());
    }
}
