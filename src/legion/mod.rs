//! The database of the system that this crate grew out of, LegionIO's lex-agentic-memory: reading one, and writing
//! one. Behind the feature `legion`.
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
//! What one system can say and the other can't is a [`Finding`]; the rest goes along. Sets are sets: tags and
//! associated traces may be in another order.

mod cells;
mod export;
mod import;

pub use export::{Exported, export};
pub use import::{Imported, Original, read};

use std::borrow::Cow;
use std::fmt;

/// A cell or row that does not go along as it is, and what becomes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The table of the original's.
    pub table: &'static str,
    /// Its row there, by `id`: in a database that is read the one that it has, in one that is written the one that it
    /// gets.
    pub row: i64,
    /// The column, or for what the original has none for the field.
    pub column: &'static str,
    /// What it is, and what becomes of it: for a person.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, row {}, {}: {}", self.table, self.row, self.column, self.reason)
    }
}

const TRACES: &str = "memory_traces";
const ASSOCIATIONS: &str = "memory_associations";

/// All but the number of the row.
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
