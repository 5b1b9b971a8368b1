//! `mnemon backup`: a copy of a store's file, also while a host uses it.

use crate::ingest::WITH_BAD_LINES;
use crate::interrupt;
use crate::location::Location;
use crate::progress;
use crate::text::{self, number};
use crate::verify;
use anyhow::Result;
use clap::{Args, ValueHint};
use mnemon::VerifyReport;
use serde::Serialize;
use std::fs;
use std::process::ExitCode;

/// Copy a store, also while a host uses it, and verify the copy.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct Backup {
    /// The store.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// The copy: a name that no file has.
    #[arg(value_hint = ValueHint::AnyPath)]
    to: Location,
    /// End with one JSON object.
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "The copy is what the store's file holds at one cut: what was flushed when the backup began. \
     It is one file, which belongs to its owner alone, and a store like any other: to go back to it, close the store, \
     move its files away, and put the copy in their place.\n\n\
     Exit codes: 0 the copy is there and sound; 2 it is there, and has the same unsound rows as the store; 1 failure, or \
     130 after Ctrl-C: there is no copy.";

/// [`VerifyReport`] of the copy, for programs.
#[derive(Serialize)]
struct Report<'a> {
    path: &'a str,
    bytes: u64,
    traces: u64,
    links: u64,
    watermark: u64,
    findings: Vec<verify::FindingReport<'a>>,
}

impl Backup {
    pub fn run(self) -> Result<ExitCode> {
        let [db, to] = [&self.db, &self.to].map(|one| one.file("backup", "use `mnemon copy`, or `pg_dump`"));
        let (db, to) = (db?, to?);
        interrupt::catch()?;
        let (bar, tell) = progress::follow();
        let copied = mnemon::backup(db, to, tell);
        bar.finish_and_clear();
        let copy = copied?;
        verify::warn(&copy);
        text::print(&table(&copy))?;
        if self.json {
            text::print_json(&Report {
                path: &fs::canonicalize(to)?.to_string_lossy(),
                bytes: copy.bytes,
                traces: copy.traces,
                links: copy.links,
                watermark: copy.watermark,
                findings: verify::findings(&copy),
            })?;
        }
        Ok(if copy.is_sound() { ExitCode::SUCCESS } else { WITH_BAD_LINES.into() })
    }
}

fn table(copy: &VerifyReport) -> String {
    text::table(&[
        ["traces".to_owned(), number(copy.traces)],
        ["links".to_owned(), number(copy.links)],
        ["watermark".to_owned(), number(copy.watermark)],
        ["bytes".to_owned(), number(copy.bytes)],
    ])
}
