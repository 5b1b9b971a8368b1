//! How many traces each partition and each tag has.

use super::TraceViews;
use crate::protocol::Unsettled;
use crate::trace::{Trace, TraceId};
use std::collections::BTreeMap;

/// What there are counts of.
#[derive(Clone, Copy)]
pub(crate) enum Counted {
    Partitions,
    Tags,
}

impl Counted {
    /// Counts these traces, of those in a partition if one is given.
    pub(crate) fn count<'t>(
        self,
        traces: impl Iterator<Item = &'t Trace>,
        within: Option<&str>,
    ) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for trace in traces.filter(|trace| within.is_none_or(|within| trace.partition() == within)) {
            let mut add = |name: &str| *counts.entry(name.to_owned()).or_default() += 1;
            match self {
                Counted::Partitions => add(trace.partition()),
                Counted::Tags => trace.tags().for_each(add),
            }
        }
        counts
    }
}

impl TraceViews {
    /// Counts all traces, of those in a partition if one is given.
    pub(crate) fn count(
        &self,
        unsettled: &Unsettled<TraceId, Trace>,
        counted: Counted,
        within: Option<&str>,
    ) -> BTreeMap<String, usize> {
        let sets = match counted {
            Counted::Partitions => &self.partitions,
            Counted::Tags => &self.tags,
        };
        let of_views = match within.map(|within| self.partitions.get(within)) {
            None => sets.iter().map(|(name, set)| (name, set.len())).collect(),
            Some(None) => Vec::new(),
            Some(Some(within)) => {
                sets.iter().map(|(name, set)| (name, set.intersection_len(within))).collect()
            }
        };
        let mut counts: BTreeMap<_, _> =
            of_views.into_iter().map(|(name, count)| (String::from(&**name), count as usize)).collect();
        let shown = unsettled.iter().filter_map(|(id, _)| Some(&**self.shown(*id)?));
        for (name, count) in counted.count(shown, within) {
            // Each is in the set that it was taken from.
            counts.entry(name).and_modify(|all| *all = all.saturating_sub(count));
        }
        let live = unsettled.iter().filter_map(|(_, trace)| trace.as_deref());
        for (name, count) in counted.count(live, within) {
            *counts.entry(name).or_default() += count;
        }
        counts.retain(|_, count| *count > 0);
        counts
    }
}
