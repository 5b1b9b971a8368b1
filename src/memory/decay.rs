//! Fading: strength as a function of time. Nothing is written because time passes.

use super::constants::{EMOTION_WEIGHT, TICK_SECONDS};
use crate::trace::{Micros, Numbers, Trace, TraceType};
use jiff::Timestamp;
use std::time::Duration;

/// How strength fades with time: chosen for a store with
/// [`decay_curve`](crate::StoreBuilder::decay_curve).
///
/// A trace fades from its [peak](Trace::peak_strength) on, since it was last reinforced, with its own
/// [rate](Trace::base_decay_rate): `e = rate / (1 + 0.3 × intensity)`, where `intensity` is its
/// [emotional intensity](Trace::emotional_intensity). Time is counted in ticks of 60 seconds, as a real number;
/// before the last reinforcement it is 0. A rate of 0, and firmware, does not fade.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[non_exhaustive]
pub enum DecayCurve {
    /// `peak × (ticks + 1)^-e`: fast at first, then ever more slowly. That forgetting follows a power of time is
    /// found in people (Wixted and Ebbesen, "On the form of forgetting", Psychological Science 2, 1991).
    #[default]
    PowerLaw,
    /// `peak × 2^-(time / half_life × e / 0.01)`: the same share is lost in the same time (as in Ebbinghaus, "Über
    /// das Gedächtnis", 1885, for a single list). `half_life` is that of a trace whose rate is 0.01, which is that
    /// of semantic ones; twice the rate halves in half the time.
    Exponential {
        /// How long a semantic trace without emotion takes to fade to half its peak. Zero fades at once.
        half_life: Duration,
    },
    /// Strength does not fade.
    None,
}

/// The rate that an exponential half-life is given for.
const RATE_OF_HALF_LIFE: f64 = 0.01;

impl DecayCurve {
    /// What a peak has faded to after so many ticks (of 60 seconds; below 0 counts as 0), within 0 to 1; 0 if any of
    /// them is no number.
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

    /// The strength of a trace at a time: the stored one, or what its peak has faded to if that is less. A stored one
    /// that was [brought up to date](Trace::last_decayed) for a later time, as by a wrong clock, counts for nothing.
    pub fn strength_at(self, trace: &Trace, at: Timestamp) -> f64 {
        self.strength(trace.trace_type(), &trace.numbers, at.into())
    }

    pub(crate) fn strength(self, kind: TraceType, n: &Numbers, at: Micros) -> f64 {
        if kind == TraceType::Firmware {
            return n.strength;
        }
        let ticks = at.seconds_since(n.last_reinforced) / TICK_SECONDS;
        let faded = self.decayed(n.peak_strength, n.base_decay_rate, n.emotional_intensity, ticks);
        // What a reinforcement has stored stands: a checkpoint is later than that.
        match n.last_decayed > at.max(n.last_reinforced) {
            true => faded,
            false => n.strength.min(faded),
        }
    }
}
