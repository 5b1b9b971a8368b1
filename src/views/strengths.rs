//! The order of strengths.
//!
//! Strength only falls by itself, so one that was computed once bounds it from then on. Traces that fade are in bands
//! by such a bound; whoever walks them computes the strength of today, and the bands are corrected behind it. Traces
//! that don't fade are in their order.

use crate::memory::DecayCurve;
use crate::trace::{Micros, Trace, TraceId, TraceType};
use roaring::RoaringBitmap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Number of bands that the strengths from 0 to 1 are divided into.
const BANDS: u16 = 4_096;

pub(super) struct Strengths {
    curve: DecayCurve,
    bands: BTreeMap<u16, RoaringBitmap>,
    /// The band of each slot that is in one.
    band_of: Vec<u16>,
    steady: BTreeSet<Steady>,
    /// The bands are bounds from this time on: the latest for which one was computed.
    valid_from: Micros,
}

/// Strongest first, then by id. The bits of a strength, which is not negative, are in its order.
type Steady = (Reverse<u64>, TraceId, u32);

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
pub(super) fn most(band: u16) -> f64 {
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
            bands: BTreeMap::new(),
            band_of: Vec::new(),
            steady: BTreeSet::new(),
            valid_from: Micros::clamped(i64::MIN),
        }
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
    pub(super) fn put(&mut self, slot: u32, old: Option<&Trace>, new: Option<&Trace>, now: Micros) {
        if let (Some(old), Some(new)) = (old, new)
            && !std::ptr::eq(old, new)
            && fade_alike(old, new)
        {
            // The bound holds as before, and most changes are of other numbers.
            return;
        }
        match old.map(|old| (old, self.place(slot, old))) {
            None => {}
            Some((_, Some(steady))) => _ = self.steady.remove(&steady),
            Some((_, None)) => self.leave_band(slot),
        }
        match new.map(|new| (new, self.place(slot, new))) {
            None => {}
            Some((_, Some(steady))) => _ = self.steady.insert(steady),
            Some((new, None)) => {
                self.valid_from = self.valid_from.max(earlier(now));
                let band = self.band(new, earlier(now));
                if self.band_of.len() <= slot as usize {
                    self.band_of.resize(slot as usize + 1, 0);
                }
                self.band_of[slot as usize] = band;
                self.bands.entry(band).or_default().insert(slot);
            }
        }
    }

    fn leave_band(&mut self, slot: u32) {
        let band = self.band_of[slot as usize];
        if let Some(slots) = self.bands.get_mut(&band) {
            slots.remove(slot);
            if slots.is_empty() {
                self.bands.remove(&band);
            }
        }
    }

    /// The place of a trace whose strength is the same at each time.
    fn place(&self, slot: u32, trace: &Trace) -> Option<Steady> {
        let numbers = &trace.numbers;
        let does_not_fade = trace.trace_type() == TraceType::Firmware
            || self.curve == DecayCurve::None
            || numbers.base_decay_rate == 0.0;
        if !does_not_fade {
            return None;
        }
        let strength = |at| self.curve.strength(trace.trace_type(), numbers, at);
        // Before its own time, which a wrong clock may have put into the future, a stored strength is not believed.
        let (before, after) = (strength(numbers.last_reinforced), strength(numbers.last_decayed));
        // Without the sign of -0, whose bits are the greatest.
        (before == after).then(|| (Reverse((before + 0.0).to_bits()), trace.id(), slot))
    }

    /// Traces that don't fade, strongest first, then by id.
    pub(super) fn steady(&self) -> impl Iterator<Item = (f64, u32)> {
        self.steady.iter().map(|(Reverse(bits), _, slot)| (f64::from_bits(*bits), *slot))
    }

    /// The bands that are not empty, highest first.
    pub(super) fn bands(&self) -> impl Iterator<Item = (u16, &RoaringBitmap)> {
        self.bands.iter().rev().map(|(band, slots)| (*band, slots))
    }
}
