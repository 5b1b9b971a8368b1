//! Which traces need upkeep, by the time from which, or until which, they do.
//!
//! In buckets of hours and days: whoever asks also gets the rest of a bucket, and decides by the trace itself. Most
//! traces need nothing for long, and a bucket has a bit or two for each.

use super::strengths::fade_alike;
use crate::memory::DecayCurve;
use crate::trace::{Micros, Trace, TraceType};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;

/// What the upkeep of a store does: for nothing else there are due times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Upkept {
    pub(crate) prunes: bool,
    pub(crate) sets_tiers: bool,
    /// Microseconds for which it keeps a trace that is not valid any more.
    pub(crate) keeps_invalid: Option<i64>,
}

/// Kinds of due times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DueFor {
    /// From then on a trace that may be pruned has faded away.
    Pruning,
    /// From then on a trace has a later tier than its own. Traces that may be pruned by then are under `Pruning` alone.
    LaterTier,
    /// Until then a trace has an earlier tier than its own: it was reinforced, or the clock set back.
    EarlierTier,
    /// From then on a trace that may be removed has been invalid for as long as it is kept so.
    Removal,
}

/// A position in the order of due times, to go on from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Place {
    bucket: u16,
    slot: u32,
}

impl Place {
    pub(super) fn slot(self) -> u32 {
        self.slot
    }
}

pub(super) struct DueTimes {
    curve: DecayCurve,
    upkept: Upkept,
    /// Begin of the buckets: what is due earlier is in the first.
    origin: Micros,
    by: [BTreeMap<u16, RoaringBitmap>; 4],
}

const HOUR: i64 = 3_600_000_000;

/// In this number of days each hour has a bucket; after it each day has, and after a year each week.
const DAYS_OF_HOURS: i64 = 32;

/// The bucket of all that is due after some twenty years.
const LAST: i64 = 2_048;

impl DueTimes {
    pub(super) fn new(curve: DecayCurve, upkept: Upkept, origin: Micros) -> Self {
        Self { curve, upkept, origin, by: Default::default() }
    }

    /// None yet, of the same upkeep.
    pub(super) fn emptied(&self, origin: Micros) -> Self {
        Self::new(self.curve, self.upkept, origin)
    }

    pub(super) fn put(&mut self, slot: u32, old: Option<&Trace>, new: Option<&Trace>) {
        let others = |trace: &Trace| (trace.tier(), trace.is_pinned(), trace.end());
        if self.upkept == Upkept::default()
            || old.zip(new).is_some_and(|(old, new)| fade_alike(old, new) && others(old) == others(new))
        {
            return;
        }
        let [old, new] = [old, new].map(|trace| trace.map_or([None; 4], |trace| self.buckets(trace)));
        for ((by, old), new) in self.by.iter_mut().zip(old).zip(new).filter(|((_, old), new)| old != new) {
            if let Some(old) = old
                && let Some(slots) = by.get_mut(&old)
            {
                slots.remove(slot);
                if slots.is_empty() {
                    by.remove(&old);
                }
            }
            new.map(|new| by.entry(new).or_default().insert(slot));
        }
    }

    /// The bucket of a trace for each kind of due time that it has.
    fn buckets(&self, trace: &Trace) -> [Option<u16>; 4] {
        let (kind, n) = (trace.trace_type(), &trace.numbers);
        let is_loose = kind != TraceType::Firmware && !n.pinned;
        let fades = if self.upkept.prunes && is_loose {
            self.curve.fades_away(kind, n).earliest
        } else {
            Micros::MAX
        };
        let (from, until) = if self.upkept.sets_tiers {
            self.curve.times_of_tier(kind, n)
        } else {
            (Micros::MIN, Micros::MAX)
        };
        let keeps = self.upkept.keeps_invalid.filter(|_| is_loose);
        let removal = keeps.zip(trace.end()).map(|(keeps, end)| end.plus(keeps));
        [
            (fades < Micros::MAX).then(|| self.bucket(fades)),
            // What fades away by then is found by that.
            (until < fades).then(|| self.bucket(until)),
            (from > Micros::MIN).then(|| self.bucket(from)),
            removal.map(|removal| self.bucket(removal)),
        ]
    }

    fn bucket(&self, time: Micros) -> u16 {
        let hours = time.micros_since(self.origin).div_euclid(HOUR);
        let after_hours = 1 + 23 * DAYS_OF_HOURS;
        let bucket = match hours / 24 {
            _ if hours < 0 => 0,
            ..DAYS_OF_HOURS => 1 + hours,
            days @ ..365 => after_hours + days,
            days => after_hours + 365 + (days - 365) / 7,
        };
        bucket.min(LAST) as u16
    }

    /// The slots of what may be due at a time, from a place on.
    pub(super) fn slots(&self, due: DueFor, at: Micros, from: Place) -> impl Iterator<Item = Place> {
        let now = self.bucket(at);
        let buckets = match due {
            DueFor::Pruning | DueFor::LaterTier | DueFor::Removal => from.bucket..=now,
            DueFor::EarlierTier => from.bucket.max(now)..=u16::MAX,
        };
        // A map panics at a range that ends before it begins.
        let by = (!buckets.is_empty()).then(|| self.by[due as usize].range(buckets));
        by.into_iter().flatten().flat_map(move |(bucket, slots)| {
            let first = if *bucket == from.bucket { from.slot } else { 0 };
            slots.range(first..).map(|slot| Place { bucket: *bucket, slot })
        })
    }
}
