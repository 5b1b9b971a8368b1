//! `mnemon verify`: whether a store is sound. Reads only, and works while a host has the store open.

use crate::exchange::MAX_PAYLOAD_BYTES;
use crate::ingest::WITH_BAD_LINES;
use crate::location::{Location, Space};
use crate::progress;
use crate::spaces::{holder, owner};
use crate::text::{self, number};
use anyhow::Result;
use clap::{Args, ValueHint};
use mnemon::{Finding, Payload, Quarantined, TraceStore, VerifyReport};
use serde::Serialize;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

/// Look for damage in a store, also while a host uses it.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct Verify {
    /// The store.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// Just one JSON object.
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "What is looked at in a file: pages and indexes (SQLite's integrity check), tables, every row \
     of a trace and its payload, both ends of every link, and files that a store has left beside this one. In a space: every \
     row of a trace and its payload, and both ends of every link.\n\n\
     Exit codes: 0 sound; 2 something was found; 1 the store can't be looked at.";

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
        let path = match &self.db {
            Location::File(path) => path,
            Location::Space(space) => return self.space(space),
        };
        let (bar, tell) = progress::follow();
        let verified = mnemon::verify(path, tell);
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

    /// Reads every row of a space, with the checks of reading.
    fn space(&self, space: &Space) -> Result<ExitCode> {
        let row = space.report()?;
        let store =
            ManuallyDrop::new(self.db.detached(TraceStore::builder().max_payload_bytes(MAX_PAYLOAD_BYTES))?);
        let unreadable = store.stats().quarantined;
        let mut findings: Vec<_> = unreadable.iter().map(FindingReport::of_row).collect();
        let spoilt = store.iter().filter_map(|trace| {
            let error = Payload::from_json(trace.payload().as_str()).err()?;
            Some((trace.id().to_string(), format!("column payload: {error}")))
        });
        let mut spoilt: Vec<_> = spoilt.collect();
        spoilt.sort();
        findings.extend(spoilt.iter().map(|(id, reason)| FindingReport {
            part: "traces",
            row: None,
            id: Some(id.clone()),
            reason,
        }));
        let (traces, links) = ((store.len() - spoilt.len()) as u64, store.link_count() as u64);
        let watermark = store.watermark().committed;
        let is_sound = findings.is_empty();
        if self.json {
            text::print_json(&SpaceVerified {
                sound: is_sound,
                traces,
                links,
                watermark,
                in_use_by: holder(&row),
                findings,
            })?
        } else {
            let table = text::table(&[
                ["sound traces".to_owned(), number(traces)],
                ["sound links".to_owned(), number(links)],
                ["watermark".to_owned(), number(watermark)],
                ["owner".to_owned(), owner(&row)],
            ]);
            let told = findings.iter().map(|finding| match &finding.id {
                Some(id) => format!("{} {id}: {}", finding.part, finding.reason),
                None => format!("{}: {}", finding.part, finding.reason),
            });
            text::print(&format!("{table}\n\n{}", listed(told.collect(), 0)))?
        }
        Ok(if is_sound { ExitCode::SUCCESS } else { WITH_BAD_LINES.into() })
    }
}

/// What was found in a space, for programs.
#[derive(Serialize)]
struct SpaceVerified<'a> {
    sound: bool,
    traces: u64,
    links: u64,
    watermark: u64,
    in_use_by: Option<&'a str>,
    findings: Vec<FindingReport<'a>>,
}

impl<'a> FindingReport<'a> {
    fn of_row(Quarantined { id, is_link, reason, .. }: &'a Quarantined) -> Self {
        let part = if *is_link { "links" } else { "traces" };
        Self { part, row: None, id: id.map(|id| id.to_string()), reason }
    }

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
    listed(report.findings.iter().map(Finding::to_string).collect(), report.unlisted)
}

fn listed(findings: Vec<String>, unlisted: u64) -> String {
    if findings.is_empty() && unlisted == 0 {
        return "sound: nothing was found".to_owned();
    }
    let mut lines = vec![format!("{}:", text::count(findings.len() as u64 + unlisted, "finding"))];
    lines.extend(findings.iter().map(|finding| format!("  {}", text::harmless(finding))));
    if unlisted > 0 {
        lines.push(format!("  and {} more", number(unlisted)));
    }
    lines.join("\n")
}
