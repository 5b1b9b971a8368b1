//! `mnemon ingest`: a file of records, one JSON object a line, becomes traces in a store.
//!
//! Four passes: every line is read and checked by itself, then judged beside the others and beside what
//! the store holds ([`plan`]), then stored, then flushed. Nothing is written before all is judged, which
//! is what lets `--strict` keep nothing of a file with a bad line.

mod plan;
mod record;
mod report;

pub use report::Ingested;

use crate::foreign::{self, Wanted};
use crate::interrupt;
use crate::line_error;
use crate::lines::{self, BadLine, Lines, threads};
use crate::location::Location;
use crate::text;
use crate::times;
use anyhow::{Result, bail};
use clap::{Args, ValueHint};
use mnemon::TraceStore;
use record::Record;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// The exit code of an ingest that stored what it could.
pub const WITH_BAD_LINES: u8 = 2;

/// Put records into a store, one JSON object a line.
#[derive(Args)]
#[command(after_long_help = RECORD)]
pub struct Ingest {
    /// The store; made if it is not there.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// The records; `-` reads standard input.
    file: PathBuf,
    /// Threads that read and store, 1,024 at most; as many as the machine runs at once unless given.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Keep nothing of a file that has a bad line, and fail.
    #[arg(long)]
    strict: bool,
    /// End with one JSON object.
    #[arg(long)]
    json: bool,
}

const RECORD: &str = r#"A record:
  {"type": "semantic", "payload": {"fact": "tides turn twice a day"}, "ref": "chat/12", "tags": ["sea"]}

  type, payload        what kind of memory, and what it says: any JSON value
  ref                  a name of your own: the trace has the same id each time
  id                   a UUID, in place of ref
  parent_ref           the ref of the record that it came out of, on whatever line
  tags, partition, created_at, confidence, emotional_valence, emotional_intensity
                       as of a trace; null is the same as left out
  valid_until          when it stops being valid
  superseded_by_ref    the ref of the record that takes its place: it is not valid from now on, or from
                       valid_until on if that is given
  embedding            a list of numbers, as many in each record

A record whose trace is in the store brings it up to date in the fields that it gives; type, partition
and created_at can't change. So a file ingested twice changes nothing the second time. A record with
neither ref nor id is a new trace each time.

A parent that is neither in the file nor in the store is counted, and the trace has no parent then.

A bad line is reported with its number and reason, and the rest is stored.

Exit codes: 0 all lines are stored; 2 all but the bad ones; 1 failure, or a bad line under --strict:
nothing of the file is stored then; 130 after Ctrl-C: as much is stored as is said."#;

impl Ingest {
    pub fn run(self) -> Result<ExitCode> {
        let started = Instant::now();
        let bytes = lines::read(&self.file)?;
        foreign::refuse(&bytes, &self.file, Wanted::Records)?;
        interrupt::catch()?;
        let lines = Lines::parse(&bytes, threads(self.threads), Record::parse);
        interrupt::check("nothing is stored")?;
        if self.strict {
            refuse(&lines.bad, &self.file)?;
        }
        let store = open(&self.db)?;
        let ingested = if self.strict {
            lines.plan(&store).refuse_bad(&self.file).and_then(|plan| plan.store(&store, self.threads))
        } else {
            lines.plan(&store).store(&store, self.threads)
        };
        let closed = store.close();
        let ingested = ingested?.taking(started.elapsed());
        closed.map_err(mnemon::Error::from)?;
        ingested.warn();
        text::print(&ingested.table())?;
        if self.json {
            text::print_json(&ingested)?;
        }
        Ok(interrupt::or(ingested.exit_code()))
    }
}

/// For the demo: everything but reading, opening and closing.
pub fn ingest(bytes: &[u8], store: &TraceStore) -> Result<Ingested> {
    let started = Instant::now();
    let lines = Lines::parse(bytes, threads(None), Record::parse);
    interrupt::check("nothing is stored")?;
    let ingested = lines.plan(store).store(store, None)?;
    Ok(ingested.taking(started.elapsed()))
}

/// The store takes just what [`record`] lets pass, so that no record is refused after others were stored.
pub fn open(db: &Location) -> Result<TraceStore> {
    db.open(TraceStore::builder().max_payload_bytes(record::MAX_PAYLOAD_BYTES))
}

/// Under `--strict`.
fn refuse(bad: &[BadLine], file: &Path) -> Result<()> {
    if bad.is_empty() {
        return Ok(());
    }
    lines::warn(bad);
    let lines = text::count(bad.len() as u64, "bad line");
    bail!("nothing of {} is stored, for its {lines}: mend them, or leave out --strict", file.display())
}
