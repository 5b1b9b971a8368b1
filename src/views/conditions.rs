//! What the results of a query must meet.

use crate::trace::{Micros, Tier, Trace, TraceId, TraceType};

/// What a result must meet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    /// One of these; any, if empty.
    pub(crate) types: Vec<TraceType>,
    /// All of these.
    pub(crate) tags: Vec<Box<str>>,
    /// One of each of these lists.
    pub(crate) any_tags: Vec<Vec<Box<str>>>,
    /// None of these.
    pub(crate) no_tags: Vec<Box<str>>,
    pub(crate) partition: Option<Box<str>>,
    /// The partition of the handle that asks.
    pub(crate) within: Option<Box<str>>,
    pub(crate) parent: Option<TraceId>,
    /// One of these; any, if empty.
    pub(crate) tiers: Vec<Tier>,
    pub(crate) unresolved: Option<bool>,
    pub(crate) since: Option<Micros>,
    pub(crate) until: Option<Micros>,
    pub(crate) min_strength: f64,
    /// Also traces that are no longer valid.
    pub(crate) include_invalid: bool,
}

impl Conditions {
    /// Whether a trace meets them at a time, but for its strength.
    pub(super) fn are_met_by(&self, trace: &Trace, at: Micros) -> bool {
        (self.include_invalid || trace.is_valid(at))
            && (self.types.is_empty() || self.types.contains(&trace.trace_type()))
            && self.tags.iter().all(|tag| trace.has_tag(tag))
            && self.any_tags.iter().all(|tags| tags.iter().any(|tag| trace.has_tag(tag)))
            && !self.no_tags.iter().any(|tag| trace.has_tag(tag))
            && self.partitions().all(|name| trace.partition() == name)
            && self.parent.is_none_or(|parent| trace.parent() == Some(parent))
            && (self.tiers.is_empty() || self.tiers.contains(&trace.tier()))
            && self.unresolved.is_none_or(|unresolved| trace.is_unresolved() == unresolved)
            && self.since.is_none_or(|since| trace.content.created_at >= since)
            && self.until.is_none_or(|until| trace.content.created_at <= until)
    }

    /// The partitions that a trace must be in: more than one only if they are the same, or none can be.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &str> {
        [&self.within, &self.partition].into_iter().flatten().map(|name| &**name)
    }

    pub(super) fn have_times(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether a strength can fail them. NaN matches nothing.
    pub(super) fn have_a_strength(&self) -> bool {
        self.min_strength > 0.0 || self.min_strength.is_nan()
    }
}
