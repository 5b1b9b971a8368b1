//! `mnemon demo`: what the crate is for, seen in a few seconds: memories of a file go into a store, a busy
//! host works on them, and the store's file is compared with what the host was told.

use crate::foreign::{self, Wanted};
use crate::host::{self, HostReport, Load, Sync};
use crate::ingest::{self, Ingested};
use crate::interrupt;
use crate::lines;
use crate::location::Location;
use crate::text::{self, number};
use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use mnemon::TraceId;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The memories of Gull, the assistant of a harbour office.
const SAMPLE: &[u8] = include_bytes!("../../../examples/sample.jsonl");

/// See it work: store a conversation, keep it busy, compare the file.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 all is well, 1 failure, or the file does not hold what it should; 2 bad lines; 130 after \
Ctrl-C, with the report of what was done by then."
)]
pub struct Demo {
    /// The records to start with, as for `ingest`; a sample unless given. A URL of a space is the store to use.
    #[arg(value_name = "FILE|URL", value_hint = ValueHint::AnyPath)]
    file: Option<Location>,
    /// The store to use and keep; a temporary one unless given. Its traces are changed and removed.
    #[arg(long, value_name = "STORE", value_hint = ValueHint::AnyPath)]
    db: Option<Location>,
    /// How long the host is busy.
    #[arg(long, value_name = "S", default_value = "5", value_parser = host::seconds)]
    seconds: Duration,
    /// End with one JSON object.
    #[arg(long)]
    json: bool,
}

/// The fields of `host`, and `ingest`.
#[derive(Serialize)]
struct DemoReport<'a> {
    ingest: &'a Ingested,
    #[serde(flatten)]
    host: &'a HostReport,
}

impl Demo {
    pub fn run(mut self) -> Result<ExitCode> {
        if self.db.is_none() && matches!(self.file, Some(Location::Space(_))) {
            self.db = self.file.take();
        }
        let file = self.file.as_ref().map(|file| file.file("demo", "give one store")).transpose()?;
        let given = file.map(read).transpose()?;
        interrupt::catch()?;
        let source = file.map_or("the sample".to_owned(), |file| file.display().to_string());
        let (_folder, db) = match &self.db {
            Some(db) => (None, db.clone()),
            None => {
                let folder = Folder::make()?;
                let db = Location::File(folder.0.join("memory.db"));
                (Some(folder), db)
            }
        };
        let ingested = ingest_into(&db, given.as_deref().unwrap_or(SAMPLE))?;
        ingested.warn();
        self.introduce(&ingested, &source, &db)?;
        let host = host::run(&db, self.load(), 0, None)?;
        text::print(&host.table())?;
        host.warn();
        text::print(&format!("\n{}", host.verdict()))?;
        if self.json {
            text::print_json(&DemoReport { ingest: &ingested, host: &host })?;
        }
        Ok(if host.verify.is_good() { interrupt::or(ingested.exit_code()) } else { host.exit_code() })
    }

    fn load(&self) -> Load {
        Load { writers: 2, seconds: self.seconds, flush_every: 100, durability: Sync::Full }
    }

    fn introduce(&self, ingested: &Ingested, source: &str, db: &Location) -> Result<()> {
        let place = match self.db {
            Some(_) => db.to_string(),
            None => "a temporary file".to_owned(),
        };
        let memories = match ingested.lines - ingested.bad {
            1 => "1 memory".to_owned(),
            many => format!("{} memories", number(many)),
        };
        text::print(&format!(
            "{memories} of {source} went into a store in {place}: {} new, {} updated, {} unchanged, {} bad.",
            number(ingested.inserted),
            number(ingested.updated),
            number(ingested.unchanged),
            number(ingested.bad),
        ))?;
        let kind = match db {
            Location::File(_) => "file",
            Location::Space(_) => "space",
        };
        text::print(&format!(
            "Now {} threads insert, update and remove at memory speed for {}, while another one keeps\n\
             writing what changed to the {kind}. Then the {kind} is opened anew and compared with what the\n\
             threads were told.\n",
            self.load().writers,
            text::duration(self.seconds),
        ))
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let bytes = lines::read(file)?;
    foreign::refuse(&bytes, file, Wanted::Records)?;
    Ok(bytes)
}

fn ingest_into(db: &Location, records: &[u8]) -> Result<Ingested> {
    let store = ingest::open(db)?;
    let ingested = ingest::ingest(records, &store)?;
    store.close().map_err(mnemon::Error::from)?;
    Ok(ingested)
}

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("mnemon-demo-{}", TraceId::new()));
        let remedy =
            || format!("{} can't be made: set TMPDIR to a folder that may be written", path.display());
        fs::create_dir(&path).with_context(remedy)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            text::warn(format_args!("{} could not be removed: {error}", self.0.display()));
        }
    }
}
