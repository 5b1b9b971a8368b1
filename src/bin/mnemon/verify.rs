//! `mnemon verify`: whether a store's file is sound. Reads only, and works while a host has the store open.

use crate::ingest::WITH_BAD_LINES;
use crate::progress;
use crate::text::{self, number};
use anyhow::Result;
use clap::Args;
use mnemon::{Finding, VerifyReport};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Look for damage in a store's file, also while a host uses it.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct Verify {
    /// The store.
    db: PathBuf,
    /// Just one JSON object.
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "What is looked at: pages and indexes (SQLite's integrity check), tables, every row of a trace \
     and its payload, both ends of every link, and files that a store has left beside this one.\n\n\
     Exit codes: 0 sound; 2 something was found; 1 the file can't be looked at.";

/// [`VerifyReport`], for programs.
#[derive(Serialize)]
struct Report<'a> {
    sound: bool,
    traces: u64,
    links: u64,
    watermark: u64,
    schema_version: i64,
    in_use_by: Option<u32>,
    findings: Vec<FindingReport<'a>>,
    unlisted: u64,
}

/// [`Finding`], for programs.
#[derive(Serialize)]
pub struct FindingReport<'a> {
    part: &'static str,
    row: Option<i64>,
    id: Option<String>,
    reason: &'a str,
}

impl Verify {
    pub fn run(self) -> Result<ExitCode> {
        let (bar, tell) = progress::follow();
        let verified = mnemon::verify(&self.db, tell);
        bar.finish_and_clear();
        let verified = verified?;
        if self.json {
            text::print_json(&Report {
                sound: verified.is_sound(),
                traces: verified.traces,
                links: verified.links,
                watermark: verified.watermark,
                schema_version: verified.schema_version,
                in_use_by: verified.in_use_by,
                findings: findings(&verified),
                unlisted: verified.unlisted,
            })?
        } else {
            text::print(&format!("{}\n\n{}", table(&verified), verdict(&verified)))?
        }
        Ok(if verified.is_sound() { ExitCode::SUCCESS } else { WITH_BAD_LINES.into() })
    }
}

impl<'a> FindingReport<'a> {
    fn of(finding: &'a Finding) -> Self {
        let Finding { part, row, id, reason, .. } = finding;
        Self { part, row: *row, id: id.map(|id| id.to_string()), reason }
    }
}

pub fn findings(report: &VerifyReport) -> Vec<FindingReport<'_>> {
    report.findings.iter().map(FindingReport::of).collect()
}

/// On standard error: all that is listed.
pub fn warn(report: &VerifyReport) {
    if !report.is_sound() {
        text::warn(verdict(report));
    }
}

fn table(report: &VerifyReport) -> String {
    let used = report.in_use_by.map_or("nobody".to_owned(), |process| format!("process {process}"));
    text::table(&[
        ["sound traces".to_owned(), number(report.traces)],
        ["sound links".to_owned(), number(report.links)],
        ["watermark".to_owned(), number(report.watermark)],
        ["schema version".to_owned(), report.schema_version.to_string()],
        ["in use by".to_owned(), used],
    ])
}

fn verdict(report: &VerifyReport) -> String {
    if report.is_sound() {
        return "sound: nothing was found".to_owned();
    }
    let found = report.findings.len() as u64 + report.unlisted;
    let mut lines = vec![format!("{}:", text::count(found, "finding"))];
    lines.extend(report.findings.iter().map(|finding| format!("  {}", text::harmless(&finding.to_string()))));
    if report.unlisted > 0 {
        lines.push(format!("  and {} more", number(report.unlisted)));
    }
    lines.join("\n")
}
