//! The order of strengths.
//!
//! Strength only falls by itself, so one that was computed once bounds it from then on. Traces that fade are in bands
//! by such a bound; whoever walks them computes the strength of today, and the bands are corrected behind it. Traces
//! that don't fade are in their order. Each partition has a ranking of its own beside that of all.

use super::by_partition::ByPartition;
use super::slots::Slots;
use super::sorted::SortedSlots;
use crate::memory::DecayCurve;
use crate::trace::{Micros, Trace, TraceId, TraceType};
use std::cmp::Reverse;

/// Number of bands that the strengths from 0 to 1 are divided into.
const BANDS: u16 = 4_096;

pub(super) struct Strengths {
    curve: DecayCurve,
    rankings: ByPartition<Ranking>,
    /// The band of each slot that is in one; of others the highest.
    band_of: Vec<u16>,
    /// The bands are bounds from this time on: the latest for which one was computed.
    valid_from: Micros,
}

/// Traces by their strength.
#[derive(Clone, Default)]
pub(super) struct Ranking {
    /// By band.
    fading: SortedSlots<u16>,
    steady: SortedSlots<Steady>,
}

/// Where a trace is in a ranking.
#[derive(Clone, Copy)]
enum Place {
    Band(u16),
    Steady(Steady),
}

impl Ranking {
    pub(super) fn len(&self) -> usize {
        self.fading.len() + self.steady.len()
    }

    /// Blocks of traces that don't fade, strongest first, then by id: each with a strength that none of its own, nor of
    /// those after it, is above.
    pub(super) fn steady(&self) -> impl Iterator<Item = (f64, &[u32])> {
        self.steady.blocks().map(|((Reverse(bits), _), slots)| (f64::from_bits(bits), slots))
    }

    /// Traces that fade, those of the highest band first.
    pub(super) fn fading(&self) -> impl Iterator<Item = u32> {
        self.fading.blocks().rev().flat_map(|(_, slots)| slots.iter().rev().copied())
    }

    fn enter(&mut self, place: Place, slot: u32, band_of: &[u16], steady_of: impl Fn(u32) -> Steady) {
        match place {
            Place::Band(band) => self.fading.insert(band, slot, |slot| band_of[slot as usize]),
            Place::Steady(steady) => self.steady.insert(steady, slot, steady_of),
        }
    }

    fn leave(&mut self, place: Place, slot: u32) {
        match place {
            Place::Band(band) => self.fading.remove(band, slot),
            Place::Steady(steady) => self.steady.remove(steady, slot),
        }
    }
}

/// Strongest first, then by id. The bits of a strength, which is not negative, are in its order.
type Steady = (Reverse<u64>, TraceId);

/// A bound is of so long ago, in microseconds: the pages of a query are all of the time of the first.
const PAGES_TAKE: i64 = 600_000_000;

fn earlier(now: Micros) -> Micros {
    now.plus(-PAGES_TAKE)
}

/// Where a trace is that fades.
fn band(strength: f64) -> u16 {
    (strength * f64::from(BANDS - 1)) as u16
}

/// No strength in a band is more.
fn most(band: u16) -> f64 {
    f64::from(band + 1) / f64::from(BANDS - 1)
}

/// Whether two states of a trace have the same strength at each time.
pub(super) fn fade_alike(a: &Trace, b: &Trace) -> bool {
    let inputs = |trace: &Trace| {
        let n = &trace.numbers;
        let strengths = [n.strength, n.peak_strength, n.base_decay_rate, n.emotional_intensity];
        (trace.trace_type(), strengths.map(f64::to_bits), n.last_reinforced, n.last_decayed)
    };
    inputs(a) == inputs(b)
}

impl Strengths {
    pub(super) fn new(curve: DecayCurve) -> Self {
        Self {
            curve,
            rankings: ByPartition::default(),
            band_of: Vec::new(),
            valid_from: Micros::clamped(i64::MIN),
        }
    }

    /// The rankings of these traces: sorted once, which takes a fraction of what putting in each would.
    pub(super) fn of<'a>(
        curve: DecayCurve,
        traces: impl Iterator<Item = (u32, &'a Trace)>,
        now: Micros,
    ) -> Self {
        #[derive(Clone, Default)]
        struct Unsorted(Vec<(u16, u32)>, Vec<(Steady, u32)>);
        impl Unsorted {
            fn push(&mut self, place: Place, slot: u32) {
                match place {
                    Place::Band(band) => self.0.push((band, slot)),
                    Place::Steady(steady) => self.1.push((steady, slot)),
                }
            }

            fn sorted(self) -> Ranking {
                Ranking { fading: SortedSlots::of(self.0), steady: SortedSlots::of(self.1) }
            }
        }

        let mut built = Self::new(curve);
        let mut rankings = ByPartition::<Unsorted>::default();
        for (slot, trace) in traces {
            let place = built.new_place(slot, trace, now);
            rankings.enter(trace.partition(), |ranking| ranking.push(place, slot));
        }
        built.rankings = rankings.map(Unsorted::sorted);
        built
    }

    pub(super) fn curve(&self) -> DecayCurve {
        self.curve
    }

    /// Whether the bands bound the strengths of this time. They don't for a while if the clock has been set back.
    pub(super) fn are_valid(&self, at: Micros) -> bool {
        at >= self.valid_from
    }

    /// Whether they are those of a time that is further from this one than that, in microseconds.
    pub(super) fn are_ahead_of(&self, at: Micros, micros: i64) -> bool {
        self.valid_from.micros_since(at) > micros
    }

    /// Whether a trace has faded out of its band, so that it is worth being put in again.
    pub(super) fn is_late(&self, slot: u32, trace: &Trace, now: Micros) -> bool {
        self.band_of.get(slot as usize).is_some_and(|has| *has > self.band(trace, earlier(now)))
    }

    fn band(&self, trace: &Trace, at: Micros) -> u16 {
        band(self.curve.strength(trace.trace_type(), &trace.numbers, at))
    }

    /// Puts a trace into its place, also the one that it is in, if it may have faded since.
    pub(super) fn put(
        &mut self,
        slots: &Slots,
        slot: u32,
        old: Option<&Trace>,
        new: Option<&Trace>,
        now: Micros,
    ) {
        if let (Some(old), Some(new)) = (old, new)
            && !std::ptr::eq(old, new)
            && fade_alike(old, new)
            && old.partition() == new.partition()
        {
            // The bound holds as before, and most changes are of other numbers.
            return;
        }
        if let Some(old) = old {
            let place = steady(self.curve, old)
                .map_or_else(|| Place::Band(self.band_of[slot as usize]), Place::Steady);
            self.rankings.leave(old.partition(), |ranking| {
                ranking.leave(place, slot);
                ranking.len()
            });
        }
        if let Some(new) = new {
            let place = self.new_place(slot, new, now);
            let Self { curve, rankings, band_of, .. } = self;
            let unknown = (Reverse(0), new.id());
            let steady_of = |slot| slots.get(slot).and_then(|trace| steady(*curve, trace)).unwrap_or(unknown);
            rankings.enter(new.partition(), |ranking| ranking.enter(place, slot, band_of, steady_of));
        }
    }

    /// The place of a trace from now on.
    fn new_place(&mut self, slot: u32, trace: &Trace, now: Micros) -> Place {
        let steady = steady(self.curve, trace);
        if self.band_of.len() <= slot as usize {
            self.band_of.resize(slot as usize + 1, 0);
        }
        if let Some(steady) = steady {
            self.band_of[slot as usize] = BANDS - 1;
            return Place::Steady(steady);
        }
        self.valid_from = self.valid_from.max(earlier(now));
        let band = self.band(trace, earlier(now));
        self.band_of[slot as usize] = band;
        Place::Band(band)
    }

    /// No strength of the trace of a slot is more, at a time for which the bands [are valid](Self::are_valid).
    pub(super) fn most(&self, slot: u32) -> f64 {
        most(self.band_of.get(slot as usize).copied().unwrap_or(BANDS - 1))
    }

    /// The ranking of a partition, or of all traces.
    pub(super) fn ranking(&self, partition: Option<&str>) -> Option<&Ranking> {
        self.rankings.order(partition)
    }
}

/// The place of a trace whose strength is the same at each time.
fn steady(curve: DecayCurve, trace: &Trace) -> Option<Steady> {
    let numbers = &trace.numbers;
    let does_not_fade = trace.trace_type() == TraceType::Firmware
        || curve == DecayCurve::None
        || numbers.base_decay_rate == 0.0;
    if !does_not_fade {
        return None;
    }
    let strength = |at| curve.strength(trace.trace_type(), numbers, at);
    // Before its own time, which a wrong clock may have put into the future, a stored strength is not believed.
    let (before, after) = (strength(numbers.last_reinforced), strength(numbers.last_decayed));
    // Without the sign of -0, whose bits are the greatest.
    (before == after).then(|| (Reverse((before + 0.0).to_bits()), trace.id()))
}
