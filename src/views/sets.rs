//! The sets of slots that the results of a query are in, or not in.

use super::TraceViews;
use super::conditions::Conditions;
use crate::trace::{Tier, TraceType};
use roaring::RoaringBitmap;
use std::borrow::Cow;

/// Slots that meet one condition: those in any of these sets.
struct AnyOf<'a>(Vec<&'a RoaringBitmap>);

impl<'a> AnyOf<'a> {
    fn len(&self) -> u64 {
        self.0.iter().map(|set| set.len()).sum()
    }

    fn contains(&self, slot: u32) -> bool {
        self.0.iter().any(|set| set.contains(slot))
    }

    fn union(&self) -> Cow<'a, RoaringBitmap> {
        match self.0[..] {
            [one] => Cow::Borrowed(one),
            ref sets => Cow::Owned(sets.iter().fold(RoaringBitmap::new(), |all, set| all | *set)),
        }
    }
}

/// The sets of a query. Slots that are in all of these are to be looked at, others not.
pub(super) struct Sets<'a> {
    /// The smallest first.
    all: Vec<AnyOf<'a>>,
    none: AnyOf<'a>,
    /// Slots that are out of the orders, unless these are asked for too.
    ended: Option<&'a RoaringBitmap>,
}

impl<'a> Sets<'a> {
    /// `None` if no slot can be in all of them.
    pub(super) fn of(conditions: &Conditions, views: &'a TraceViews) -> Option<Self> {
        let Conditions {
            types,
            tags,
            any_tags,
            no_tags,
            partition,
            within,
            parent,
            tiers,
            unresolved,
            since,
            until,
            min_strength: _,
            include_invalid,
        } = conditions;
        let never = since.zip(*until).is_some_and(|(since, until)| since > until)
            || partition.as_ref().zip(within.as_ref()).is_some_and(|(one, other)| one != other);
        if never {
            return None;
        }
        let mut all = Vec::new();
        if !types.is_empty() {
            let wanted = TraceType::ALL.iter().filter(|kind| types.contains(kind));
            all.push(AnyOf(wanted.map(|kind| &views.types[*kind as usize]).collect()));
        }
        if !tiers.is_empty() {
            let wanted = Tier::ALL.iter().filter(|tier| tiers.contains(tier));
            all.push(AnyOf(wanted.map(|tier| &views.tiers[*tier as usize]).collect()));
        }
        for tag in tags {
            all.push(AnyOf(vec![views.tags.get(tag)?]));
        }
        for tags in any_tags {
            all.push(AnyOf(tags.iter().filter_map(|tag| views.tags.get(tag)).collect()));
        }
        for partition in [partition, within].into_iter().flatten() {
            all.push(AnyOf(vec![views.partitions.get(partition)?]));
        }
        if let Some(parent) = parent {
            all.push(AnyOf(vec![views.parents.get(parent)?]));
        }
        let mut none = AnyOf(no_tags.iter().filter_map(|tag| views.tags.get(tag)).collect());
        match unresolved {
            Some(true) => all.push(AnyOf(vec![&views.unresolved])),
            Some(false) => none.0.push(&views.unresolved),
            None => {}
        }
        let ended = (!include_invalid).then(|| views.ends.ended());
        all.sort_by_key(AnyOf::len);
        all.first().is_none_or(|smallest| smallest.len() > 0).then_some(Self { all, none, ended })
    }

    /// Whether all slots are to be looked at, but for some that are not.
    pub(super) fn are_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Numbers of slots in the sets, the smallest first.
    pub(super) fn sizes(&self) -> impl Iterator<Item = u64> {
        self.all.iter().map(AnyOf::len)
    }

    /// Whether they contain a slot of the orders.
    pub(super) fn contain(&self, slot: u32) -> bool {
        self.all.iter().all(|set| set.contains(slot)) && !self.none.contains(slot)
    }

    /// The slots of the orders that are in all of the sets, with those that are not to be looked at all the same;
    /// `None` if there are no sets.
    pub(super) fn intersection(&self) -> Option<Cow<'a, RoaringBitmap>> {
        let (smallest, rest) = self.all.split_first()?;
        let all = rest.iter().fold(smallest.union(), |left, set| Cow::Owned(&*left & &*set.union()));
        Some(match self.ended {
            Some(ended) if !ended.is_empty() => Cow::Owned(&*all - ended),
            _ => all,
        })
    }

    /// Number of slots of the orders that they contain, of so many in all.
    pub(super) fn len(&self, of: usize) -> u64 {
        let none = match self.ended {
            Some(ended) if !ended.is_empty() => Cow::Owned(&*self.none.union() | ended),
            _ => self.none.union(),
        };
        match self.intersection() {
            Some(all) => all.len() - all.intersection_len(&none),
            None => of as u64 - none.len(),
        }
    }
}
