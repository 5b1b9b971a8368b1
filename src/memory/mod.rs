//! The memory model, as functions of a trace and a time: decay, reinforcement, and the order of recall.
//!
//! Knows nothing of threads, files or SQL; the store applies it.

pub(crate) mod constants;
mod decay;
mod due;
mod order;
mod score;

pub use decay::DecayCurve;
pub use order::Order;
pub use score::Ranked;

pub(crate) use order::{SortKey, by_age, by_doubt, by_rank};
pub(crate) use score::Scoring;
