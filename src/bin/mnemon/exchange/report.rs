//! What an import tells.

use crate::ingest::WITH_BAD_LINES;
use crate::lines::{self, BadLine};
use crate::text::{self, number};
use mnemon::Quarantined;
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// What became of the lines of one kind. Those in the file that are not counted further are bad.
#[derive(Default, Serialize)]
pub struct Counts {
    pub in_file: u64,
    pub inserted: u64,
    pub replaced: u64,
    pub unchanged: u64,
    pub skipped: u64,
}

/// What the store holds of what a line says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Held {
    Not,
    Same,
    Other,
}

impl Counts {
    /// Whether it is stored, and if so whether in the place of another.
    pub fn count(&mut self, held: Held, replace: bool) -> Option<bool> {
        let (count, stored) = match (held, replace) {
            (Held::Not, _) => (&mut self.inserted, Some(false)),
            (Held::Same, _) => (&mut self.unchanged, None),
            (Held::Other, true) => (&mut self.replaced, Some(true)),
            (Held::Other, false) => (&mut self.skipped, None),
        };
        *count += 1;
        stored
    }
}

/// What an import did.
#[derive(Serialize)]
pub struct Imported {
    pub traces: Counts,
    pub links: Counts,
    pub bad: u64,
    /// Lines that the first one announces.
    announced: u64,
    /// Lines after the first one.
    found: u64,
    seconds: f64,
    /// Rows that the file did not take.
    #[serde(skip)]
    pub quarantined: Vec<Quarantined>,
    #[serde(skip)]
    pub bad_lines: Vec<BadLine>,
}

impl Imported {
    pub fn new(announced: u64, found: u64) -> Self {
        Self {
            traces: Counts::default(),
            links: Counts::default(),
            bad: 0,
            announced,
            found,
            seconds: 0.0,
            quarantined: Vec::new(),
            bad_lines: Vec::new(),
        }
    }

    pub fn taking(self, time: Duration) -> Self {
        Self { seconds: time.as_secs_f64(), ..self }
    }

    pub fn exit_code(&self) -> ExitCode {
        match (self.quarantined.is_empty(), self.bad, self.announced == self.found) {
            (false, ..) => ExitCode::FAILURE,
            (true, 0, true) => ExitCode::SUCCESS,
            _ => WITH_BAD_LINES.into(),
        }
    }

    /// On standard error: what is not in the store as it is in the file, and what is not in the file as it says.
    pub fn warn(&self) {
        lines::warn(&self.bad_lines);
        if self.announced != self.found {
            let (announced, found) = (text::count(self.announced, "line"), number(self.found));
            text::warn(format_args!(
                "the first line announces {announced} after it, and there are {found}: is the file whole?"
            ));
        }
        text::warn_of_quarantined(&self.quarantined);
    }

    pub fn table(&self) -> String {
        let columns = ["", "in the file", "inserted", "replaced", "unchanged", "skipped"];
        let row = |name: &str, counts: &Counts| {
            let Counts { in_file, inserted, replaced, unchanged, skipped } = *counts;
            let counts = [in_file, inserted, replaced, unchanged, skipped].map(number);
            [name.to_owned()].into_iter().chain(counts).collect::<Vec<_>>()
        };
        let counted = text::table(&[
            columns.map(str::to_owned).to_vec(),
            row("traces", &self.traces),
            row("links", &self.links),
        ]);
        let rest = text::table(&[
            ["bad lines".to_owned(), number(self.bad)],
            ["seconds".to_owned(), format!("{:.2}", self.seconds)],
        ]);
        format!("{counted}\n\n{rest}")
    }
}
