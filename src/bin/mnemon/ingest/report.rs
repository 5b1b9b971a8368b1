//! What an ingest tells.

use super::WITH_BAD_LINES;
use crate::lines::{self, BadLine};
use crate::text::{self, number};
use mnemon::Quarantined;
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// What an ingest did.
#[derive(Serialize)]
pub struct Ingested {
    /// Those that are not blank.
    pub lines: u64,
    pub inserted: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub bad: u64,
    pub dangling_parents: u64,
    pub rows_flushed: u64,
    pub seconds: f64,
    /// Those that are in the store, changed or not: fewer than are good after Ctrl-C.
    #[serde(skip)]
    pub stored: u64,
    /// Rows that the file did not take.
    #[serde(skip)]
    pub quarantined: Vec<Quarantined>,
    #[serde(skip)]
    bad_lines: Vec<BadLine>,
}

impl Ingested {
    pub fn of(bad_lines: Vec<BadLine>) -> Self {
        Self {
            lines: 0,
            inserted: 0,
            updated: 0,
            unchanged: 0,
            bad: bad_lines.len() as u64,
            dangling_parents: 0,
            rows_flushed: 0,
            seconds: 0.0,
            stored: 0,
            quarantined: Vec::new(),
            bad_lines,
        }
    }

    pub fn taking(self, time: Duration) -> Self {
        Self { seconds: time.as_secs_f64(), ..self }
    }

    pub fn exit_code(&self) -> ExitCode {
        match (self.quarantined.is_empty(), self.bad) {
            (false, _) => ExitCode::FAILURE,
            (true, 0) => ExitCode::SUCCESS,
            (true, _) => WITH_BAD_LINES.into(),
        }
    }

    /// On standard error: what is not stored as it was written.
    pub fn warn(&self) {
        lines::warn(&self.bad_lines);
        if self.dangling_parents > 0 {
            let records = text::count(self.dangling_parents, "record");
            text::warn(format_args!(
                "{records} named a parent that is neither in the file nor in the store: stored without one"
            ));
        }
        text::warn_of_quarantined(&self.quarantined);
        let good = self.lines - self.bad;
        if self.stored < good {
            text::warn(format_args!(
                "interrupted after {} of {}: ingest the file again for the rest; those that have neither ref nor id \
                 would be stored twice",
                number(self.stored),
                text::count(good, "good record"),
            ));
        }
    }

    pub fn table(&self) -> String {
        let count = |label: &str, value| [label.to_owned(), number(value)];
        text::table(&[
            count("lines", self.lines),
            count("inserted", self.inserted),
            count("updated", self.updated),
            count("unchanged", self.unchanged),
            count("bad", self.bad),
            count("dangling parents", self.dangling_parents),
            count("rows flushed", self.rows_flushed),
            ["seconds".to_owned(), format!("{:.2}", self.seconds)],
        ])
    }
}
