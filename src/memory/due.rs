//! Due times: when a trace fades away, and when it gets another tier, as functions of its numbers.

use super::DecayCurve;
use super::constants::{EMOTION_WEIGHT, HOT_SECONDS, PRUNE, RATE_OF_HALF_LIFE, TICK_SECONDS, WARM_SECONDS};
use crate::trace::{Dynamics, Micros, Tier, TraceType};

/// Two times between which something happens: its time is computed with the precision of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Between {
    pub(crate) earliest: Micros,
    pub(crate) latest: Micros,
}

/// Relative error that a computed strength has at most, by a wide margin.
const ERROR: f64 = 1e-12;

impl Between {
    const ALWAYS: Self = Self { earliest: Micros::MIN, latest: Micros::MIN };
    const NEVER: Self = Self { earliest: Micros::MAX, latest: Micros::MAX };
}

impl DecayCurve {
    /// Returns the tier that a trace has at a time.
    pub(crate) fn tier(self, kind: TraceType, n: &Dynamics, at: Micros) -> Tier {
        let age = at.micros_since(n.last_reinforced);
        match () {
            () if self.strength(kind, n, at) <= PRUNE => Tier::Erased,
            () if age <= HOT_SECONDS * 1_000_000 => Tier::Hot,
            () if age <= WARM_SECONDS * 1_000_000 => Tier::Warm,
            () => Tier::Cold,
        }
    }

    /// Returns when a trace fades away: it has a strength of [`PRUNE`] or less from then on, and more before.
    pub(crate) fn fades_away(self, kind: TraceType, n: &Dynamics) -> Between {
        let is_weak = n.strength <= PRUNE;
        if kind == TraceType::Firmware {
            return if is_weak { Between::ALWAYS } else { Between::NEVER };
        }
        if n.peak_strength <= PRUNE || is_weak && n.last_decayed <= n.last_reinforced {
            return Between::ALWAYS;
        }
        // What never happens comes after all times.
        let micros = |strength| (self.seconds_until(n, strength) * 1e6) as i64;
        let earliest = n.last_reinforced.plus(micros(PRUNE * (1.0 + ERROR)).saturating_sub(1));
        let latest = n.last_reinforced.plus(micros(PRUNE * (1.0 - ERROR)).saturating_add(2));
        if is_weak {
            // The stored strength counts from its own time on.
            let stored = n.last_decayed;
            return Between { earliest: earliest.min(stored), latest: latest.min(stored) };
        }
        Between { earliest, latest }
    }

    /// Number of seconds after the last reinforcement in which the peak decays to this strength: maybe infinite.
    fn seconds_until(self, n: &Dynamics, strength: f64) -> f64 {
        let rate = n.base_decay_rate / (1.0 + EMOTION_WEIGHT * n.emotional_intensity);
        let share = n.peak_strength / strength;
        match self {
            _ if rate == 0.0 => f64::INFINITY,
            DecayCurve::PowerLaw => (share.powf(1.0 / rate) - 1.0) * TICK_SECONDS,
            DecayCurve::Exponential { half_life } if half_life.is_zero() => 0.0,
            DecayCurve::Exponential { half_life } => {
                half_life.as_secs_f64() * (RATE_OF_HALF_LIFE / rate) * share.log2()
            }
            DecayCurve::None => f64::INFINITY,
        }
    }

    /// Returns from when and until when a trace has the right tier: at other times, and perhaps for an instant after
    /// the first and before the second, it is to get another.
    pub(crate) fn times_of_tier(self, kind: TraceType, n: &Dynamics) -> (Micros, Micros) {
        let Between { earliest, latest } = self.fades_away(kind, n);
        let older_than = |seconds| n.last_reinforced.plus(seconds * 1_000_000 + 1);
        match n.tier {
            Tier::Hot => (Micros::MIN, earliest.min(older_than(HOT_SECONDS))),
            Tier::Warm => (older_than(HOT_SECONDS), earliest.min(older_than(WARM_SECONDS))),
            Tier::Cold => (older_than(WARM_SECONDS), earliest),
            Tier::Erased => (latest, Micros::MAX),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::NewTrace;
    use proptest::prelude::*;
    use std::time::Duration;

    fn curves() -> impl Strategy<Value = DecayCurve> {
        let half_life = prop_oneof![
            Just(Duration::ZERO),
            Just(Duration::MAX),
            any::<Duration>(),
            (1..10_000_000_u64).prop_map(Duration::from_millis)
        ];
        prop_oneof![
            Just(DecayCurve::PowerLaw),
            Just(DecayCurve::None),
            half_life.prop_map(|half_life| DecayCurve::Exponential { half_life }),
        ]
    }

    fn strengths() -> impl Strategy<Value = f64> {
        prop_oneof![Just(0.0), Just(PRUNE), Just(PRUNE.next_up()), Just(1.0), 0.0..=1.0, 0.009..=0.011]
    }

    fn rates() -> impl Strategy<Value = f64> {
        prop_oneof![Just(0.0), Just(f64::MIN_POSITIVE), Just(f64::MAX), 0.0..10.0, 0.0..1e-6, 0.0..1e9]
    }

    fn times() -> impl Strategy<Value = i64> {
        prop_oneof![Just(i64::MIN), Just(i64::MAX), -4_000_000_000_000_000..4_000_000_000_000_000_i64]
    }

    fn traces() -> impl Strategy<Value = (TraceType, Dynamics)> {
        let kind = proptest::sample::select(TraceType::ALL.to_vec());
        let tier = proptest::sample::select(Tier::ALL.to_vec());
        let numbers = (strengths(), strengths(), rates(), 0.0..=1.0, times(), times());
        (kind, tier, numbers).prop_filter_map(
            "an invalid trace",
            |(kind, tier, (strength, peak, rate, intensity, reinforced, decayed))| {
                let new = NewTrace::new(kind, serde_json::json!(1)).base_decay_rate(rate).tier(tier);
                let new = new.strength(strength).peak_strength(peak).emotional_intensity(intensity);
                let mut numbers = new.into_trace().ok()?.numbers;
                (numbers.last_reinforced, numbers.last_decayed) =
                    (Micros::clamped(reinforced), Micros::clamped(decayed));
                Some((kind, numbers))
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn faded_from_then_on_and_not_before((kind, n) in traces(), curve in curves(), at in times()) {
            let Between { earliest, latest } = curve.fades_away(kind, &n);
            prop_assert!(earliest <= latest);
            let at = Micros::clamped(at);
            for at in [at, earliest.plus(-1), latest, latest.plus(1), n.last_reinforced, n.last_decayed] {
                let has_faded = curve.strength(kind, &n, at) <= PRUNE;
                prop_assert!(at >= earliest || !has_faded, "{at:?} {earliest:?}");
                // What never fades says so, even at the end of time.
                prop_assert!(at < latest || has_faded || latest == Micros::MAX, "{at:?} {latest:?}");
            }
            if earliest > Micros::MIN && latest < Micros::MAX {
                let most = 1_000 + latest.micros_since(n.last_reinforced) / 1_000;
                prop_assert!(latest.micros_since(earliest) <= most || n.base_decay_rate < 1e-6 || n.peak_strength < 0.02);
            }
        }

        #[test]
        fn tier_is_right_between_its_times((kind, n) in traces(), curve in curves(), at in times()) {
            let (from, until) = curve.times_of_tier(kind, &n);
            for at in [Micros::clamped(at), from, from.plus(-1), until, until.plus(-1), n.last_reinforced] {
                if from <= at && at < until {
                    prop_assert_eq!(curve.tier(kind, &n, at), n.tier, "{:?}", at);
                }
            }
        }
    }
}
