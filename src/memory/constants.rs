//! The constants of the memory model, the same for every store.

/// How much full [emotional intensity](crate::Trace::emotional_intensity) slows decay: the exponent is divided by
/// 1 + this × intensity.
pub(crate) const EMOTION_WEIGHT: f64 = 0.3;

/// Strength that one reinforcement adds.
pub(crate) const REINFORCEMENT: f64 = 0.10;

/// Factor on [`REINFORCEMENT`] in the imprint window.
pub(crate) const IMPRINT_FACTOR: f64 = 3.0;

/// At this strength or below, a decay cycle removes a trace, and its tier is *erased*.
pub(crate) const PRUNE: f64 = 0.01;

/// A trace is *hot* up to this number of seconds after its last reinforcement.
pub(crate) const HOT_SECONDS: i64 = 86_400;

/// A trace is *warm* up to this number of seconds after its last reinforcement, and *cold* after that.
pub(crate) const WARM_SECONDS: i64 = 7_776_000;

/// Default half-life of the recency in a score, in seconds. A store can have
/// [another](crate::StoreBuilder::recency_half_life).
pub(crate) const RECENCY_HALF_LIFE_SECONDS: f64 = 3_600.0;

/// Bonus on the score of a trace that is associated with another one of the list: the factor is 1 + this.
pub(crate) const ASSOCIATION_BONUS: f64 = 0.15;

/// Maximum number of neighbours of a trace that count as associated.
pub(crate) const MAX_ASSOCIATED: usize = 20;

/// Length of a tick, in seconds: the unit of time of decay.
pub(crate) const TICK_SECONDS: f64 = 60.0;

/// Rate to which the half-life of [`Exponential`](crate::DecayCurve::Exponential) applies.
pub(crate) const RATE_OF_HALF_LIFE: f64 = 0.01;

/// At this strength or above, [`retrieve_and_reinforce`](crate::TraceStore::retrieve_and_reinforce) finds a trace.
pub(crate) const RETRIEVABLE: f64 = 0.1;
