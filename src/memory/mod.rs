//! The memory model, as functions of a trace and a time: decay, reinforcement, and the order of recall.
//!
//! Knows nothing of threads, files or SQL; the store applies it.

pub(crate) mod constants;
mod decay;
mod order;
mod score;
mod terms;

pub use decay::DecayCurve;
pub use score::Ranked;

pub(crate) use order::{Weighted, by_age, by_doubt, by_rank, by_recency, by_score, by_strength};
pub(crate) use score::Scoring;
pub(crate) use terms::{of_partition, of_tag, of_type};
