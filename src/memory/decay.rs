//! Decay: strength as a function of time. The passing of time alone writes nothing.

use super::constants::{EMOTION_WEIGHT, RATE_OF_HALF_LIFE, TICK_SECONDS};
use crate::trace::{Dynamics, Micros, Trace, TraceType};
use jiff::Timestamp;
use std::time::Duration;

/// Curve by which strength decays with time. Set for a store with [`decay_curve`](crate::StoreBuilder::decay_curve).
///
/// A trace decays from its [peak](Trace::peak_strength), starting at its last reinforcement, with the exponent
/// `e = rate / (1 + 0.3 × intensity)`, where `rate` is its [base decay rate](Trace::base_decay_rate) and `intensity`
/// its [emotional intensity](Trace::emotional_intensity). Time is a real number of ticks of 60 seconds; before the last
/// reinforcement it is 0. Firmware, and traces with a rate of 0, do not decay.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[non_exhaustive]
pub enum DecayCurve {
    /// `peak × (ticks + 1)^-e`: fast at first, then ever more slowly. People forget by a power of time (Wixted and
    /// Ebbesen, "On the form of forgetting", Psychological Science 2, 1991).
    #[default]
    PowerLaw,
    /// `peak × 2^-(time / half_life × e / 0.01)`: equal times lose equal shares (as in Ebbinghaus, "Über das
    /// Gedächtnis", 1885, for a single list). `half_life` applies to a rate of 0.01, that of semantic traces; twice
    /// the rate halves the strength in half the time.
    Exponential {
        /// Time in which a semantic trace without emotion decays to half its peak. With zero it decays at once.
        half_life: Duration,
    },
    /// Strength does not decay.
    None,
}

impl DecayCurve {
    /// Returns the strength that is left of a peak, from 0 to 1, after a number of ticks (of 60 seconds; below 0
    /// counts as 0). Returns 0 where the formula gives NaN.
    ///
    /// ```
    /// use mnemon::DecayCurve;
    /// let semantic = DecayCurve::PowerLaw.decayed(0.5, 0.010, 0.0, 100.0);
    /// assert!((semantic - 0.477448783).abs() < 1e-9);
    /// ```
    pub fn decayed(self, peak: f64, rate: f64, intensity: f64, ticks: f64) -> f64 {
        let rate = rate / (1.0 + EMOTION_WEIGHT * intensity);
        let ticks = ticks.max(0.0);
        let left = match self {
            _ if rate == 0.0 => 1.0,
            DecayCurve::PowerLaw => (ticks + 1.0).powf(-rate),
            DecayCurve::Exponential { .. } if ticks == 0.0 => 1.0,
            DecayCurve::Exponential { half_life } => {
                (-ticks * TICK_SECONDS / half_life.as_secs_f64() * rate / RATE_OF_HALF_LIFE).exp2()
            }
            DecayCurve::None => 1.0,
        };
        let strength = peak * left;
        if strength.is_nan() { 0.0 } else { strength.clamp(0.0, 1.0) }
    }

    /// Returns the strength of a trace at a time: the stored strength, or the decayed peak if that is less. A stored
    /// strength is ignored if it was [computed](Trace::last_decayed) for a later time, as after a wrong clock.
    pub fn strength_at(self, trace: &Trace, at: Timestamp) -> f64 {
        self.strength(trace.trace_type(), &trace.numbers, at.into())
    }

    pub(crate) fn strength(self, kind: TraceType, n: &Dynamics, at: Micros) -> f64 {
        if kind == TraceType::Firmware {
            return n.strength;
        }
        let ticks = at.seconds_since(n.last_reinforced) / TICK_SECONDS;
        let faded = self.decayed(n.peak_strength, n.base_decay_rate, n.emotional_intensity, ticks);
        // The strength that a reinforcement stored stands: only one that was given, or stored by an earlier version of
        // the crate, is dated later than the reinforcement.
        if n.last_decayed > at.max(n.last_reinforced) { faded } else { n.strength.min(faded) }
    }
}
