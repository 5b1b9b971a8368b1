//! What a host shows of a store to people and machines: errors as memories, metrics, and a status file.

#[cfg(all(feature = "tracing-layer", not(loom)))]
mod memories;
#[cfg(all(feature = "metrics", not(loom)))]
mod metrics;
#[cfg(not(loom))]
mod status;

#[cfg(all(feature = "tracing-layer", not(loom)))]
pub use memories::{ErrorCounts, ErrorMemories};
#[cfg(not(loom))]
pub use status::StatusFile;
