//! Imports and exports the database of the system that this crate grew out of, LegionIO's lex-agentic-memory.
//! Requires the feature `legion`.
//!
//! ```no_run
//! use mnemon::{Progress, TraceStore, legion};
//!
//! let original = legion::read("legion_local.db")?; // nothing is stored if this fails
//! let store = TraceStore::open("memory.db")?;
//! let imported = original.store_in(&store)?;
//! for finding in &imported.findings {
//!     eprintln!("{finding}");
//! }
//! store.close()?;
//!
//! let copy = TraceStore::builder().detached("memory.db")?;
//! let exported = legion::export(&copy, "for_the_original.db", Progress::ignore)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Whatever one system can express and the other can't is reported as a [`Finding`]; everything else is
//! transferred. Tags and associated traces are sets, so their order may change.

mod cells;
mod export;
mod import;
mod reading;
#[cfg(feature = "postgres")]
mod server;

pub use export::export;
pub use import::{Original, read};
#[cfg(feature = "postgres")]
pub use server::read_server;

use crate::backend::sqlite::Finding;
use std::borrow::Cow;

/// Result of an [import](Original::store_in) or [`export`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Number of traces stored, or written as one row each.
    pub traces: usize,
    /// Number of traces that the store already held when they were imported: it keeps its own.
    pub traces_known: usize,
    /// Number of links stored because the store lacked them or had a smaller count, or written as two rows each.
    pub links: usize,
    /// Number of links that the store already had with at least the same count when they were imported.
    pub links_known: usize,
    /// Cells and rows that could not be read, stored or expressed, row by row. Everything else was.
    pub findings: Vec<Finding>,
}

fn finding(
    part: &'static str,
    row: i64,
    column: &'static str,
    reason: impl Into<Cow<'static, str>>,
) -> Finding {
    Finding { part, row: Some(row), id: None, column: Some(column), reason: reason.into() }
}

const TRACES: &str = "memory_traces";
const ASSOCIATIONS: &str = "memory_associations";

/// All columns but the row number.
const TRACE_COLUMNS: [&str; 22] = [
    "trace_id",
    "trace_type",
    "content",
    "strength",
    "peak_strength",
    "base_decay_rate",
    "emotional_valence",
    "emotional_intensity",
    "domain_tags",
    "origin",
    "created_at",
    "last_reinforced",
    "last_decayed",
    "reinforcement_count",
    "confidence",
    "storage_tier",
    "partition_id",
    "associated_traces",
    "parent_id",
    "child_ids",
    "unresolved",
    "consolidation_candidate",
];
/// Columns that only the original's tables in PostgreSQL have.
const SERVER_COLUMNS: [&str; 3] = ["source_agent_id", "encryption_key_id", "embedding"];
const PAIR_TIMES: [&str; 2] = ["created_at", "updated_at"];
const PAIR_COLUMNS: [&str; 4] = ["trace_id_a", "trace_id_b", "coactivation_count", "partition_id"];
