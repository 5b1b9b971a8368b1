//! `mnemon stat`: what a store's file holds. Reads only, and works while a host has the store open.

use crate::text::{self, number};
use anyhow::Result;
use clap::Args;
use mnemon::FileReport;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// See what a store's file holds, also while a host uses it.
#[derive(Args)]
#[command(after_help = crate::DONE)]
pub struct Stat {
    /// The store.
    path: PathBuf,
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
        let file = mnemon::inspect(&self.path)?;
        if self.json {
            text::print_json(&StatReport::of(&file))?
        } else {
            text::print(&table(&file))?
        }
        Ok(ExitCode::SUCCESS)
    }
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
    let mut rows = vec![
        ["traces".to_owned(), number(file.traces)],
        ["links".to_owned(), number(file.links)],
        ["watermark".to_owned(), number(file.watermark)],
        ["shutdown".to_owned(), shutdown(file)],
        ["file bytes".to_owned(), number(file.file_bytes)],
        ["write-ahead log bytes".to_owned(), number(file.wal_bytes)],
        ["schema version".to_owned(), file.schema_version.to_string()],
    ];
    for (by, counts) in [("type", &file.by_type), ("partition", &file.by_partition), ("tier", &file.by_tier)]
    {
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
