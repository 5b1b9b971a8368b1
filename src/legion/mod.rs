//! Imports and exports the database of the system that this crate grew out of, LegionIO's lex-agentic-memory.
//! Requires the feature `legion`.
//!
//! ```no_run
//! use mnemon::{TraceStore, legion};
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
//! let exported = legion::export(&copy, "for_the_original.db")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Whatever one system can express and the other can't is reported as a [`Finding`]; everything else is transferred.
//! Tags and associated traces are sets, so their order may change.

mod cells;
mod export;
mod import;

pub use export::{Exported, export, export_with};
pub use import::{Imported, Original, read};

use std::borrow::Cow;
use std::fmt;

/// A cell or row that can't be transferred unchanged, and what happens to it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The table, in the original's database.
    pub table: &'static str,
    /// The row in that table, by its `id`: when reading, the id that the row has; when writing, the id that it gets.
    pub row: i64,
    /// The column, or the field's name if the original has no column for it.
    pub column: &'static str,
    /// The problem and what happens to the cell or row, as text for people.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, row {}, {}: {}", self.table, self.row, self.column, self.reason)
    }
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
const PAIR_COLUMNS: [&str; 4] = ["trace_id_a", "trace_id_b", "coactivation_count", "partition_id"];
