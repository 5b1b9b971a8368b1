//! Findings of a verification, or of the exchange with the original system.

use crate::trace::TraceId;
use std::borrow::Cow;
use std::fmt;

/// A defect that [`verify`](crate::verify) has found, or data that `legion` can't transfer unchanged.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Finding {
    /// The part of the store in which [`verify`](crate::verify) has found a defect:
    ///
    /// - `file`: the pages, indexes and records of the database, as checked by SQLite itself;
    /// - `schema`: the declarations of the tables;
    /// - `store`: the row that contains the cut of the file;
    /// - `traces`: a row that should be a trace;
    /// - `history`: an entry that should be a former content of a trace, with the number of the entry as that of the
    ///   row;
    /// - `links`: a row that should be a link;
    /// - `beside`: another file, left by a store.
    ///
    /// For `legion`, the table in the original's database.
    pub part: &'static str,
    /// Number of the row. When `legion` exports, the number that the row gets.
    pub row: Option<i64>,
    /// Id of the trace, or of one that the link joins, if it can be read. Not given by `legion`.
    pub id: Option<TraceId>,
    /// The column; when `legion` exports, the name of the trace's field if the original has no column for it. Not
    /// given by `verify`.
    pub column: Option<&'static str>,
    /// The reason, and what happens to the data, as text for people.
    pub reason: Cow<'static, str>,
}

/// Writes location and reason in one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, row, id, column, reason } = self;
        f.write_str(part)?;
        if let Some(row) = row {
            write!(f, ", row {row}")?;
        }
        if let Some(id) = id {
            write!(f, ", {id}")?;
        }
        if let Some(column) = column {
            write!(f, ", {column}")?;
        }
        write!(f, ": {reason}")
    }
}
