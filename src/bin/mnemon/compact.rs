//! `mnemon compact`: a store's file made as short as what it holds.

use crate::exchange::MAX_PAYLOAD_BYTES;
use crate::location::Location;
use crate::progress;
use crate::text::{self, number};
use anyhow::{Result, anyhow};
use clap::{Args, ValueHint};
use mnemon::{CompactReport, TraceStore};
use serde::Serialize;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// Give back to the file system what a store's file holds and nothing uses.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct Compact {
    /// The store; no host may have it open.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// End with one JSON object.
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "A host that has the store open compacts it with TraceStore::compact. A backup or another reader \
     beside delays the shrinking of the file until it ends.\n\n\
     Exit codes: 0 done; 1 failure: the file may be longer than it need be, and holds what it held.";

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// [`CompactReport`], for programs.
#[derive(Serialize)]
struct Report {
    path: String,
    bytes_before: u64,
    bytes_after: u64,
    seconds: f64,
}

impl Compact {
    pub fn run(self) -> Result<ExitCode> {
        let db = self.db.file("compact", "the server's VACUUM does this")?;
        // Opening would make a store where there is none.
        mnemon::inspect(db)?;
        let store = progress::while_reading(TraceStore::builder(), |builder| {
            builder.max_payload_bytes(MAX_PAYLOAD_BYTES).open(db)
        })?;
        let compacted = compact(&store);
        let closed = store.close();
        let report = compacted?;
        closed.map_err(mnemon::Error::from)?;
        text::print(&text::table(&[
            ["bytes before".to_owned(), number(report.bytes_before)],
            ["bytes after".to_owned(), number(report.bytes_after)],
        ]))?;
        if self.json {
            text::print_json(&Report {
                path: db.to_string_lossy().into_owned(),
                bytes_before: report.bytes_before,
                bytes_after: report.bytes_after,
                seconds: report.elapsed.as_secs_f64(),
            })?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// With a bar that shows how many of the free bytes are given back.
fn compact(store: &TraceStore) -> Result<CompactReport> {
    let bar = progress::bar(0, "compacting, bytes");
    let compacted = thread::scope(|scope| {
        let waiter = thread::current();
        let compacting = scope.spawn(move || {
            let compacted = store.compact();
            waiter.unpark();
            compacted
        });
        let mut most = 0;
        while !compacting.is_finished() {
            thread::park_timeout(TICK);
            let free = store.stats().free_bytes;
            most = free.max(most);
            bar.set_length(most);
            bar.set_position(most - free);
        }
        compacting.join()
    });
    bar.finish_and_clear();
    Ok(compacted.map_err(|_| anyhow!("the compaction panicked"))??)
}
