//! An association between two traces.

use super::{Incarnation, Micros, TraceId};
use crate::protocol::{EdgeKey, Head, Record};
use jiff::Timestamp;

/// Number of co-activations after which two traces count as associated.
pub(crate) const ASSOCIATED_AT: u32 = 3;

/// An undirected Hebbian association: counts how often two traces were active together. Immutable, like a
/// [`Trace`](super::Trace).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Link {
    pub(crate) ends: LinkKey,
    pub(crate) count: u32,
    pub(crate) first_at: Micros,
    pub(crate) last_at: Micros,
}

impl Link {
    /// A link between two different traces, as a [`Backend`](crate::backend::Backend) builds it from a stored row.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if both ids are the same, or the count is 0.
    pub fn new(
        ends: (TraceId, TraceId),
        count: u32,
        first_at: Timestamp,
        last_at: Timestamp,
    ) -> crate::Result<Self> {
        let Some(ends) = LinkKey::of(ends.0, ends.1) else {
            let problem =
                crate::Error::invalid("link", format_args!("from {} to itself", ends.0), "give two traces");
            return Err(problem);
        };
        match count {
            0 => Err(crate::Error::invalid("count", 0, "give 1 or more")),
            _ => Ok(Self { ends, count, first_at: first_at.into(), last_at: last_at.into() }),
        }
    }

    /// The link after one more co-activation, the first if there is no link yet.
    pub(crate) fn counted(old: Option<Self>, ends: LinkKey, now: Micros) -> Self {
        Self {
            ends,
            count: old.map_or(1, |link| link.count.saturating_add(1)),
            first_at: old.map_or(now, |link| link.first_at),
            last_at: now,
        }
    }

    /// The two ids, the smaller one first.
    pub fn ends(&self) -> (TraceId, TraceId) {
        (self.ends.0, self.ends.1)
    }

    /// The id at the other end; `None` if the link does not join `id`.
    pub fn other(&self, id: TraceId) -> Option<TraceId> {
        self.ends.other(id)
    }

    /// Number of co-activations: 1 or more.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether the two traces count as associated: after 3 co-activations.
    pub fn is_associated(&self) -> bool {
        self.count >= ASSOCIATED_AT
    }

    /// The time of the first co-activation.
    pub fn first_at(&self) -> Timestamp {
        self.first_at.into()
    }

    /// The time of the last co-activation.
    pub fn last_at(&self) -> Timestamp {
        self.last_at.into()
    }
}

/// A link, and which traces it joins: one of the same id that came later has no part in it.
#[derive(Clone, Debug)]
pub(crate) struct LinkState {
    head: Head<Self>,
    pub(crate) link: Link,
    pub(crate) births: [Incarnation; 2],
}

impl Record for LinkState {
    fn head(&self) -> &Head<Self> {
        &self.head
    }

    fn head_mut(&mut self) -> &mut Head<Self> {
        &mut self.head
    }
}

impl LinkState {
    pub(crate) fn new(link: Link, births: [Incarnation; 2]) -> Self {
        Self { head: Head::default(), link, births }
    }

    /// Whether it joins these very traces, in the order of its ends.
    pub(crate) fn joins(&self, births: [Incarnation; 2]) -> bool {
        self.births[0].is(births[0]) && self.births[1].is(births[1])
    }

    /// Whether this very trace is at one of its ends.
    pub(crate) fn touches(&self, id: TraceId, birth: Incarnation) -> bool {
        self.link.ends.ids().into_iter().zip(self.births).any(|(end, born)| end == id && born.is(birth))
    }
}

/// An unordered pair of different traces: the key of a link. The smaller id stands first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct LinkKey(TraceId, TraceId);

impl EdgeKey for LinkKey {
    type Node = TraceId;

    fn nodes(&self) -> [TraceId; 2] {
        self.ids()
    }

    fn joining(a: &TraceId, b: &TraceId) -> Self {
        Self(*a.min(b), *a.max(b))
    }
}

impl LinkKey {
    /// `None` if the two are one.
    pub(crate) fn of(a: TraceId, b: TraceId) -> Option<Self> {
        (a != b).then(|| Self(a.min(b), a.max(b)))
    }

    pub(crate) fn other(self, id: TraceId) -> Option<TraceId> {
        match (self.0 == id, self.1 == id) {
            (true, _) => Some(self.1),
            (_, true) => Some(self.0),
            _ => None,
        }
    }

    pub(crate) fn ids(self) -> [TraceId; 2] {
        [self.0, self.1]
    }
}
