//! `mnemon export`: all that a store holds, as JSON lines.

use super::FORMAT;
use super::file::{Open, Target};
use crate::ingest::WITH_BAD_LINES;
use crate::interrupt;
use crate::location::Location;
use crate::progress;
use crate::text::{self, number};
use anyhow::{Result, ensure};
use clap::{Args, ValueHint};
use mnemon::archive::Writer;
use mnemon::{Link, Trace, TraceId, TraceStore};
use serde::Serialize;
use std::collections::HashSet;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Write all that a store holds as JSON lines, also while a host uses it.
#[derive(Args)]
#[command(after_help = EXIT_CODES, after_long_help = help())]
pub struct Export {
    /// The store.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// Where to; `-` is standard output. An earlier export of this name is replaced when the new one is whole.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// End with one JSON object; needs a FILE.
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 all is exported; 2 all but traces and links that can't be read or are no JSON, \
     which are named; 1 failure; 130 after Ctrl-C, and there is no new FILE.";

const MOMENT: &str = "A file belongs to its owner alone. What is exported is the store's file as of one moment: of a \
     store in use, what was flushed by then.";

fn help() -> String {
    format!("{FORMAT}\n\n{MOMENT}\n\n{EXIT_CODES}")
}

#[derive(Serialize)]
struct Exported {
    traces: u64,
    links: u64,
    bytes: u64,
    left_out: u64,
}

impl Export {
    pub fn run(self) -> Result<ExitCode> {
        let to_output = self.file == Path::new("-");
        ensure!(!(to_output && self.json), "--json needs a FILE: standard output is taken by the export");
        let target = Target::of(&self.file)?;
        let store = self.db.detached(TraceStore::builder())?;
        self.db.warn_of_spill();
        interrupt::catch()?;
        let exported = match export(&store, target.open()?) {
            Err(error) if text::is_unread(&error) => return Ok(ExitCode::SUCCESS),
            exported => exported?,
        };
        match to_output {
            false => text::print(&exported.table())?,
            true if stderr().is_terminal() => text::warn(exported.table()),
            true => {}
        }
        if self.json {
            text::print_json(&exported)?;
        }
        Ok(match exported.left_out {
            0 => ExitCode::SUCCESS,
            _ => WITH_BAD_LINES.into(),
        })
    }
}

fn export(store: &TraceStore, target: Open) -> Result<Exported> {
    let unreadable = store.stats().quarantined;
    text::warn_of_quarantined(&unreadable);
    let mut traces: Vec<_> = store.iter().collect();
    traces.sort_unstable_by_key(|trace| trace.id());
    // The first line says how many there are, so all must be known to be sayable before.
    let unsayable = unsayable(&traces);
    traces.retain(|trace| !unsayable.contains(&trace.id()));
    let links = links(store, &traces, &unsayable);
    let bar = progress::bar(traces.len() + links.len(), "exporting");
    let mut writer = Writer::new(target, traces.len() as u64, links.len() as u64)?;
    for trace in &traces {
        interrupt::check("nothing is exported")?;
        writer.trace(trace)?;
        bar.inc(1);
    }
    for link in &links {
        interrupt::check("nothing is exported")?;
        writer.link(link)?;
        bar.inc(1);
    }
    let bytes = writer.finish()?.finish()?;
    bar.finish_and_clear();
    let left_out = (unsayable.len() + unreadable.len()) as u64;
    Ok(Exported { traces: traces.len() as u64, links: links.len() as u64, bytes, left_out })
}

/// On standard error: traces whose payload another program has spoilt.
fn unsayable(traces: &[Arc<Trace>]) -> HashSet<TraceId> {
    let bar = progress::bar(traces.len(), "checking");
    let bad = traces.iter().filter_map(|trace| {
        bar.inc(1);
        let reason = mnemon::Payload::from_json(trace.payload().as_str()).err()?;
        bar.suspend(|| {
            text::warn(format_args!("trace {} is left out: {:#}", trace.id(), anyhow::Error::from(reason)))
        });
        Some(trace.id())
    });
    let bad = bad.collect();
    bar.finish_and_clear();
    bad
}

/// In the order of both ends.
fn links(store: &TraceStore, traces: &[Arc<Trace>], left_out: &HashSet<TraceId>) -> Vec<Link> {
    let of = |trace: &Arc<Trace>| {
        let id = trace.id();
        let begin_here = store.links(id).into_iter().filter(move |link| link.ends().0 == id);
        begin_here.filter(|link| !left_out.contains(&link.ends().1))
    };
    traces.iter().flat_map(of).collect()
}

impl Exported {
    fn table(&self) -> String {
        let mut rows = vec![
            ["traces".to_owned(), number(self.traces)],
            ["links".to_owned(), number(self.links)],
            ["bytes".to_owned(), number(self.bytes)],
        ];
        if self.left_out > 0 {
            rows.push(["left out".to_owned(), number(self.left_out)]);
        }
        text::table(&rows)
    }
}
