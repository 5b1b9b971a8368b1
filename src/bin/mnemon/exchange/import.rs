//! `mnemon import`: the lines of an export become traces and links of a store.
//!
//! Every line is read and checked by itself, then judged beside the others and beside what the store holds, and only
//! then anything is stored, in one cut: whoever reads the file sees none of it or all.

use super::report::{Held, Imported};
use super::{FORMAT, MAX_PAYLOAD_BYTES};
use crate::foreign::{self, Wanted};
use crate::interrupt;
use crate::line_error::{self, with_cause};
use crate::lines::{self, BadLine};
use crate::location::Location;
use crate::progress;
use crate::text;
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum, ValueHint};
use jiff::Timestamp;
use mnemon::archive::{Line, Reader};
use mnemon::{ErrorKind, Link, ManualClock, NewTrace, Trace, TraceId, TraceStore};
use std::collections::HashMap;
use std::error::Error as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Put what was exported, or a snapshot, into a store: both are merged.
#[derive(Args)]
#[command(after_help = EXIT_CODES, after_long_help = help())]
pub struct Import {
    /// The store; made if it is not there.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// The export or snapshot; `-` reads standard input.
    file: PathBuf,
    /// What becomes of a trace or link that the store holds with other values.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = OnConflict::Skip)]
    on_conflict: OnConflict,
    /// End with one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnConflict {
    /// The store's stays.
    Skip,
    /// The export's takes its place; other links of a trace stay.
    Replace,
    /// Nothing is imported.
    Fail,
}

const EXIT_CODES: &str = "Exit codes: 0 all lines are in the store, or skipped; 2 all but the bad ones, or there are \
     not as many as the first one says; 1 failure, or rows that the store's file refuses, which are named; \
     130 after Ctrl-C: all is imported, or nothing, as is said.";

const PASSES: &str = "A bad line is reported with its number and what is wrong, and the rest is stored, in one cut. \
     What is in the store with the same values stays as it is, so an import done again changes nothing.";

fn help() -> String {
    format!("{FORMAT}\n\n{PASSES}\n\n{EXIT_CODES}")
}

impl Import {
    pub fn run(self) -> Result<ExitCode> {
        let started = Instant::now();
        let mut input = lines::input(&self.file)?;
        let mut head = Vec::new();
        input
            .by_ref()
            .take(foreign::SOON as u64)
            .read_to_end(&mut head)
            .with_context(|| lines::unreadable(&self.file))?;
        foreign::refuse(&head, &self.file, Wanted::Archive)?;
        interrupt::catch()?;
        let input = BufReader::with_capacity(1 << 16, head.chain(input));
        let parts = progress::while_spinning("reading", || Parts::read(input, &self.file))?;
        let store = open(&self.db)?;
        let imported = parts.plan(&store, self.on_conflict, &self.file).and_then(|plan| plan.store(&store));
        if imported.is_err() && interrupt::has_come() {
            // Closed or dropped it would write the part that is in memory.
            std::mem::forget(store);
            return imported.map(|_| ExitCode::FAILURE);
        }
        let closed = store.close();
        let imported = imported?.taking(started.elapsed());
        closed.map_err(mnemon::Error::from)?;
        imported.warn();
        text::print(&imported.table())?;
        if self.json {
            text::print_json(&imported)?;
        }
        Ok(imported.exit_code())
    }
}

/// After Ctrl-C.
const NOTHING: &str = "nothing is imported";

/// A store that writes nothing until it is told to: then all in one cut. Its clock is at the end of time, so that each
/// time of an export is taken as it is, though it may be one to come: the export of a wrong clock.
pub fn open(db: &Location) -> Result<TraceStore> {
    let builder = TraceStore::builder().max_payload_bytes(MAX_PAYLOAD_BYTES);
    let builder = builder.clock(&ManualClock::at(Timestamp::MAX));
    db.open(builder.flush_interval(Duration::MAX).flush_threshold(usize::MAX))
}

/// A file's lines by kind.
struct Parts {
    /// Number of lines that the first one announces.
    announced: u64,
    traces: Vec<(usize, Trace)>,
    links: Vec<(usize, Link)>,
    bad: Vec<BadLine>,
}

impl Parts {
    /// Nothing is returned if the file has a seal that does not match.
    fn read(input: impl BufRead, file: &Path) -> Result<Self> {
        let refused = |error: mnemon::Error| match error.kind() {
            ErrorKind::NotASnapshot => {
                anyhow!("{} can't be imported: {error}; `mnemon ingest` takes records", file.display())
            }
            _ => anyhow::Error::from(error).context(format!("{} can't be imported", file.display())),
        };
        let mut reader = Reader::new(input).map_err(refused)?;
        let announced = reader.announced();
        let mut parts = Self { announced, traces: Vec::new(), links: Vec::new(), bad: Vec::new() };
        while let Some(read) = reader.next() {
            interrupt::check(NOTHING)?;
            let line = usize::try_from(reader.number())?;
            match read.map_err(refused)? {
                Line::Trace(trace) => match trace.payload().as_str().len() {
                    ..=MAX_PAYLOAD_BYTES => parts.traces.push((line, trace)),
                    bytes => parts.bad.push(BadLine {
                        line,
                        reason: format!("payload is {bytes} bytes: give at most {MAX_PAYLOAD_BYTES}"),
                    }),
                },
                Line::Link(link) => parts.links.push((line, link)),
                Line::Bad(error) => {
                    parts.bad.push(BadLine { line, reason: reason(reader.text(), &error) });
                }
            }
        }
        Ok(parts)
    }

    /// Nobody else writes to the store meanwhile: the program owns its file.
    fn plan(self, store: &TraceStore, on_conflict: OnConflict, file: &Path) -> Result<Plan> {
        let Self { announced, traces, links, mut bad } = self;
        let found = (traces.len() + links.len() + bad.len()) as u64;
        let mut imported = Imported::new(announced, found);
        let (mut steps, mut conflicts) = (Vec::with_capacity(traces.len()), Vec::new());
        let mut taken: HashMap<TraceId, usize> = HashMap::with_capacity(traces.len());
        imported.traces.in_file = traces.len() as u64;
        let bar = progress::bar(traces.len() + links.len(), "comparing");
        for (line, trace) in bar.wrap_iter(traces.into_iter()) {
            let id = trace.id();
            if let Some(earlier) = taken.get(&id) {
                let reason = format!("id is {id}, as in line {earlier}: give each trace its own");
                bad.push(BadLine { line, reason });
                continue;
            }
            taken.insert(id, line);
            let held = match store.get(id) {
                None => Held::Not,
                Some(stored) if *stored == trace => Held::Same,
                Some(_) => Held::Other,
            };
            if held == Held::Other {
                conflicts.push(BadLine { line, reason: format!("trace {id} has other values in the store") });
            }
            if let Some(replaces) = imported.traces.count(held, on_conflict == OnConflict::Replace) {
                steps.push(Step { line, trace, replaces });
            }
        }
        let (mut ties, mut linked) = (Vec::with_capacity(links.len()), HashMap::with_capacity(links.len()));
        imported.links.in_file = links.len() as u64;
        for (line, link) in bar.wrap_iter(links.into_iter()) {
            let (a, b) = link.ends();
            let missing = [a, b].into_iter().find(|end| !taken.contains_key(end) && !store.contains(*end));
            if let Some(end) = missing {
                let reason =
                    format!("there is no trace {end}, in the file or in the store: import that first");
                bad.push(BadLine { line, reason });
                continue;
            }
            if let Some(earlier) = linked.insert((a, b), line) {
                bad.push(BadLine {
                    line,
                    reason: format!("line {earlier} links {a} and {b}: give one link of two traces"),
                });
                continue;
            }
            let held = match store.link(a, b) {
                None => Held::Not,
                Some(stored) if stored == link => Held::Same,
                Some(_) => Held::Other,
            };
            if held == Held::Other {
                conflicts.push(BadLine {
                    line,
                    reason: format!("the link of {a} and {b} has other values in the store"),
                });
            }
            if imported.links.count(held, on_conflict == OnConflict::Replace).is_some() {
                ties.push((line, link));
            }
        }
        bar.finish_and_clear();
        if on_conflict == OnConflict::Fail && !conflicts.is_empty() {
            lines::warn(&conflicts);
            let lines = text::count(conflicts.len() as u64, "conflict");
            bail!(
                "nothing of {} is imported, for its {lines}: choose --on-conflict skip or replace",
                file.display()
            );
        }
        bad.sort_by_key(|bad| bad.line);
        imported.bad = bad.len() as u64;
        imported.bad_lines = bad;
        Ok(Plan { steps, ties, imported })
    }
}

/// What is wrong with a line, in which field.
fn reason(line: &[u8], error: &mnemon::Error) -> String {
    let text = match line_error::object(line) {
        Ok(text) => text,
        Err(reason) => return reason,
    };
    match error.source().and_then(|cause| cause.downcast_ref()) {
        Some(json) if error.kind() == ErrorKind::Corrupt => line_error::of(text, json),
        // A payload has a place of its own in the line.
        _ => with_cause(error.clone()).replace(" at line 1 column ", ", at its column "),
    }
}

/// What will be stored.
struct Plan {
    steps: Vec<Step>,
    ties: Vec<(usize, Link)>,
    imported: Imported,
}

struct Step {
    line: usize,
    trace: Trace,
    replaces: bool,
}

impl Plan {
    /// Returns when it is on disk.
    fn store(self, store: &TraceStore) -> Result<Imported> {
        let Self { steps, ties, mut imported } = self;
        let before = store.stats().quarantined;
        let bar = progress::bar(steps.len() + ties.len(), "storing");
        for step in steps {
            interrupt::check(NOTHING)?;
            let line = step.line;
            step.take(store).with_context(|| format!("line {line} could not be stored"))?;
            bar.inc(1);
        }
        for (line, link) in ties {
            interrupt::check(NOTHING)?;
            store.put_link(link).with_context(|| format!("line {line} could not be stored"))?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        progress::while_spinning("writing it", || store.flush())?;
        imported.quarantined = store.stats().quarantined;
        imported.quarantined.retain(|row| !before.contains(row));
        Ok(imported)
    }
}

impl Step {
    /// A trace that is removed takes its links along: they are put back.
    fn take(self, store: &TraceStore) -> Result<()> {
        let links = if self.replaces { store.links(self.trace.id()) } else { Vec::new() };
        if self.replaces {
            store.remove(self.trace.id())?;
        }
        store.insert(NewTrace::from(self.trace))?;
        links.into_iter().try_for_each(|link| store.put_link(link))?;
        Ok(())
    }
}
