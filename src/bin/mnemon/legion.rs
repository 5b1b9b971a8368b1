//! `mnemon import-legion` and `export-legion`: the database of the original system, in and out.

use crate::exchange::MAX_PAYLOAD_BYTES;
use crate::interrupt;
use crate::location::Location;
use crate::progress;
use crate::text::{self, count, number};
use anyhow::{Result, bail};
use clap::{Args, ValueHint};
use mnemon::{Finding, TraceStore, legion};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// The exit code of an import or export of what could be.
const WITH_FINDINGS: u8 = 2;

/// How many findings of a kind a person is shown.
const SHOWN: usize = 3;

/// Take in a database of the original system (lex-agentic-memory).
#[derive(Args)]
#[command(after_long_help = IMPORT)]
pub struct ImportLegion {
    /// The store; made if it is not there.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// The original's SQLite file, or the URL of its PostgreSQL database; it is only read.
    #[arg(value_name = "FILE|URL", value_hint = ValueHint::AnyPath)]
    from: Location,
    /// The tenant whose rows of a PostgreSQL database are taken; needed if there are several. An empty name takes the rows
    /// of none.
    #[arg(long)]
    tenant: Option<String>,
    /// One JSON object, with every finding.
    #[arg(long)]
    json: bool,
}

const IMPORT: &str = "\
Traces that the store holds stay as they are, so the same file again changes nothing. A cell that can't be used \
leaves its field at its default, and a row without a usable id, type or content is left out: each is named.

Exit codes: 0 all is taken in; 2 all but what is named; 1 failure, or rows that the store's file refuses, which are \
named.";

/// Write a store as a database of the original system.
#[derive(Args)]
#[command(after_long_help = EXPORT)]
pub struct ExportLegion {
    /// The store; a host may have it open.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// The SQLite file to make; none may be there.
    #[arg(value_hint = ValueHint::AnyPath)]
    file: Location,
    /// One JSON object, with every finding.
    #[arg(long)]
    json: bool,
}

const EXPORT: &str = "\
What the original has no place for (embeddings, source agents, key ids, pins, revisions, payloads that are neither \
an object nor text) is left out or changed, and named.

Exit codes: 0 all is written as it is; 2 all but what is named; 1 failure, or 130 after Ctrl-C: there is no FILE.";

#[derive(Serialize)]
struct Report {
    traces: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    traces_known: Option<usize>,
    links: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    links_known: Option<usize>,
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    table: &'static str,
    row: i64,
    column: &'static str,
    reason: String,
}

impl ImportLegion {
    pub fn run(self) -> Result<ExitCode> {
        let tenant = self.tenant.as_deref();
        let original = progress::while_spinning("reading", || match &self.from {
            Location::File(_) if tenant.is_some() => {
                bail!("the original's files know no tenants: leave out --tenant")
            }
            Location::File(path) => Ok(legion::read(path)?),
            Location::Space(_) => Ok(legion::read_server(self.from.database()?, tenant)?),
        })?;
        let store = self.db.open(TraceStore::builder().max_payload_bytes(MAX_PAYLOAD_BYTES))?;
        let unreadable = store.stats().quarantined;
        let imported = progress::while_spinning("storing", || {
            let imported = original.store_in(&store)?;
            store.flush().map(|_| imported)
        })?;
        let mut refused = store.stats().quarantined;
        refused.retain(|row| !unreadable.contains(row));
        store.close()?;
        text::warn_of_quarantined(&refused);
        let report = Report {
            traces: imported.traces,
            traces_known: Some(imported.traces_known),
            links: imported.links,
            links_known: Some(imported.links_known),
            findings: all(imported.findings),
        };
        let known = match imported.traces_known + imported.links_known {
            0 => String::new(),
            _ => format!(
                "; there already: {}, {}",
                count(imported.traces_known as u64, "trace"),
                count(imported.links_known as u64, "link")
            ),
        };
        let (traces, links) = (count(report.traces as u64, "trace"), count(report.links as u64, "link"));
        let told = report.say(&format!("{traces} and {links} taken into {}{known}", self.db), self.json)?;
        Ok(if refused.is_empty() { told } else { ExitCode::FAILURE })
    }
}

impl ExportLegion {
    pub fn run(self) -> Result<ExitCode> {
        let file = self.file.file("export-legion", "the original reads its own tables there")?;
        let store = self.db.detached(TraceStore::builder())?;
        text::warn_of_quarantined(&store.stats().quarantined);
        self.db.warn_of_spill();
        interrupt::catch()?;
        let (bar, tell) = progress::follow();
        let exported = legion::export(&store, file, tell);
        bar.finish_and_clear();
        let exported = exported?;
        let report = Report {
            traces: exported.traces,
            traces_known: None,
            links: exported.links,
            links_known: None,
            findings: all(exported.findings),
        };
        let (traces, links) = (count(report.traces as u64, "trace"), count(report.links as u64, "link"));
        report.say(&format!("{traces} and {links} written to {}", file.display()), self.json)
    }
}

fn all(findings: Vec<Finding>) -> Vec<Found> {
    let found = |Finding { part, row, column, reason, .. }| Found {
        table: part,
        row: row.unwrap_or_default(),
        column: column.unwrap_or_default(),
        reason: reason.into(),
    };
    findings.into_iter().map(found).collect()
}

impl Report {
    fn say(&self, summary: &str, json: bool) -> Result<ExitCode> {
        if json {
            text::print_json(self)?
        } else {
            text::print(&format!("{summary}{}", self.table()))?
        }
        Ok(if self.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WITH_FINDINGS) })
    }

    /// The findings column by column, the first few of each.
    fn table(&self) -> String {
        let mut columns: BTreeMap<_, Vec<&Found>> = BTreeMap::new();
        for found in &self.findings {
            columns.entry((found.table, found.column)).or_default().push(found);
        }
        let mut text = String::new();
        for ((table, column), found) in columns {
            text += &format!("\n\n{table}.{column}: {}", count(found.len() as u64, "cell"));
            for found in &found[..SHOWN.min(found.len())] {
                text += &format!("\n  row {}: {}", found.row, text::harmless(&found.reason));
            }
            if found.len() > SHOWN {
                let more = number((found.len() - SHOWN) as u64);
                text += &format!("\n  and {more} more: --json names them all");
            }
        }
        text
    }
}
