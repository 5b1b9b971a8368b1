//! The numbers of the model, which are the same for every store.

/// How much a full [emotional intensity](crate::Trace::emotional_intensity) slows fading: the rate is divided by
/// 1 + this × intensity.
pub const EMOTION_WEIGHT: f64 = 0.3;

/// What one reinforcement adds to a strength.
pub const REINFORCEMENT: f64 = 0.10;

/// How many times more it adds in the imprint window.
pub const IMPRINT_FACTOR: f64 = 3.0;

/// From this strength on a procedural trace acts of itself: see [`TraceStore::fires`](crate::TraceStore::fires).
pub const AUTO_FIRE: f64 = 0.85;

/// At this strength or below, a trace is worth archiving. For hosts: nothing here acts on it.
pub const ARCHIVE: f64 = 0.05;

/// At this strength or below, a decay cycle removes a trace, and its tier is *erased*.
pub const PRUNE: f64 = 0.01;

/// Up to so many seconds since it was last reinforced a trace is *hot*.
pub const HOT_SECONDS: i64 = 86_400;

/// Up to so many seconds since it was last reinforced a trace is *warm*; after that it is *cold*.
pub const WARM_SECONDS: i64 = 7_776_000;

/// Seconds after which the recency in a score is one half, unless the store has
/// [another half-life](crate::StoreBuilder::recency_half_life).
pub const RECENCY_HALF_LIFE_SECONDS: f64 = 3_600.0;

/// How much better a trace scores that another one of the list is associated with: 1 + this times.
pub const ASSOCIATION_BONUS: f64 = 0.15;

/// At most so many neighbours of a trace count as associated.
pub const MAX_ASSOCIATED: usize = 20;

/// So many co-activations make two traces associated.
pub const ASSOCIATED_AT: u32 = 3;

/// How long a tick is, in seconds: the unit of time of fading.
pub const TICK_SECONDS: f64 = 60.0;

/// At this strength or above, [`retrieve_and_reinforce`](crate::TraceStore::retrieve_and_reinforce) finds a trace.
pub const RETRIEVABLE: f64 = 0.1;
