//! `mnemon stat`: what a store holds. Reads only, and works while a host has the store open.

use crate::location::{Location, Space};
use crate::spaces::{last_cut, owner};
use crate::text::{self, number};
use anyhow::Result;
use clap::{Args, ValueHint};
use mnemon::FileReport;
use mnemon::postgres::{SpaceContent, SpaceReport};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// See what a store holds, also while a host uses it.
#[derive(Args)]
#[command(after_help = crate::DONE)]
pub struct Stat {
    /// The store.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// Just one JSON object.
    #[arg(long)]
    json: bool,
}

/// [`FileReport`], for programs.
#[derive(Serialize)]
struct StatReport<'a> {
    schema_version: i64,
    watermark: u64,
    clean: bool,
    in_use_by: Option<u32>,
    traces: u64,
    by_type: &'a BTreeMap<String, u64>,
    by_partition: &'a BTreeMap<String, u64>,
    by_tier: &'a BTreeMap<String, u64>,
    links: u64,
    file_bytes: u64,
    wal_bytes: u64,
}

impl Stat {
    pub fn run(self) -> Result<ExitCode> {
        let path = match &self.db {
            Location::File(path) => path,
            Location::Space(space) => return self.space(space),
        };
        let file = mnemon::inspect(path)?;
        if self.json {
            text::print_json(&StatReport::of(&file))?
        } else {
            text::print(&table(&file))?
        }
        Ok(ExitCode::SUCCESS)
    }

    fn space(&self, space: &Space) -> Result<ExitCode> {
        let SpaceContent { report: row, by_type, by_partition, by_tier, .. } = space.inspect()?;
        let SpaceReport { traces, links, watermark, .. } = row;
        if self.json {
            let SpaceReport { owner, lease_until, committed_at, epoch, .. } = row;
            text::print_json(&SpaceStat {
                space: &row.name,
                watermark,
                clean: row.is_clean,
                owner,
                lease_until: lease_until.map(|until| until.to_string()),
                committed_at: committed_at.map(|at| at.to_string()),
                epoch,
                traces,
                by_type: &by_type,
                by_partition: &by_partition,
                by_tier: &by_tier,
                links,
            })?;
        } else {
            let rows = vec![
                ["traces".to_owned(), number(traces)],
                ["links".to_owned(), number(links)],
                ["watermark".to_owned(), number(watermark)],
                ["last cut".to_owned(), last_cut(&row)],
                ["owner".to_owned(), owner(&row)],
            ];
            text::print(&with_counts(
                rows,
                [("type", &by_type), ("partition", &by_partition), ("tier", &by_tier)],
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A space, for programs.
#[derive(Serialize)]
struct SpaceStat<'a> {
    space: &'a str,
    watermark: u64,
    clean: bool,
    owner: Option<String>,
    lease_until: Option<String>,
    committed_at: Option<String>,
    epoch: u64,
    traces: u64,
    by_type: &'a BTreeMap<String, u64>,
    by_partition: &'a BTreeMap<String, u64>,
    by_tier: &'a BTreeMap<String, u64>,
    links: u64,
}

impl<'a> StatReport<'a> {
    fn of(file: &'a FileReport) -> Self {
        Self {
            schema_version: file.schema_version,
            watermark: file.watermark,
            clean: file.clean,
            in_use_by: file.in_use_by,
            traces: file.traces,
            by_type: &file.by_type,
            by_partition: &file.by_partition,
            by_tier: &file.by_tier,
            links: file.links,
            file_bytes: file.file_bytes,
            wal_bytes: file.wal_bytes,
        }
    }
}

fn table(file: &FileReport) -> String {
    let rows = vec![
        ["traces".to_owned(), number(file.traces)],
        ["links".to_owned(), number(file.links)],
        ["watermark".to_owned(), number(file.watermark)],
        ["shutdown".to_owned(), shutdown(file)],
        ["file bytes".to_owned(), number(file.file_bytes)],
        ["write-ahead log bytes".to_owned(), number(file.wal_bytes)],
        ["schema version".to_owned(), file.schema_version.to_string()],
    ];
    let counts = [("type", &file.by_type), ("partition", &file.by_partition), ("tier", &file.by_tier)];
    with_counts(rows, counts)
}

/// A table, and below it the number of traces of each kind.
fn with_counts(mut rows: Vec<[String; 2]>, counts: [(&str, &BTreeMap<String, u64>); 3]) -> String {
    for (by, counts) in counts {
        rows.push([String::new(), String::new()]);
        rows.push([by.to_owned(), "traces".to_owned()]);
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
        rows.extend(
            counts.into_iter().map(|(name, &count)| [format!("  {}", text::harmless(name)), number(count)]),
        );
    }
    text::table(&rows)
}

fn shutdown(file: &FileReport) -> String {
    match (file.in_use_by, file.clean) {
        (Some(process), _) => format!("in use by process {process}"),
        (None, true) => "clean".to_owned(),
        (None, false) => "unclean".to_owned(),
    }
}
