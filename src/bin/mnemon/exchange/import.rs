//! `mnemon import`: the lines of an export become traces and links of a store.
//!
//! Every line is read and checked by itself, then judged beside the others and beside what the store holds, and only
//! then anything is stored, in one cut: whoever reads the file sees none of it or all.

use super::FORMAT;
use super::format::{Header, Line, MAX_PAYLOAD_BYTES};
use super::report::{Counts, Imported};
use crate::foreign::{self, Wanted};
use crate::interrupt;
use crate::lines::{self, BadLine, Lines};
use crate::text;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use mnemon::{Link, ManualClock, NewTrace, TraceId, TraceStore};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Put what was exported into a store.
#[derive(Args)]
#[command(after_help = EXIT_CODES, after_long_help = help())]
pub struct Import {
    /// The export; `-` reads standard input.
    file: PathBuf,
    /// The store; made if it is not there.
    #[arg(long, value_name = "PATH")]
    db: PathBuf,
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
        let bytes = lines::read(&self.file)?;
        foreign::refuse(&bytes, &self.file, Wanted::Export)?;
        interrupt::catch()?;
        let lines = Lines::parse(&bytes, lines::threads(None), Line::parse);
        interrupt::check(NOTHING)?;
        let parts = Parts::of(lines, &self.file)?;
        let store = text::while_spinning("opening the store", || open(&self.db))?;
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
fn open(db: &Path) -> Result<TraceStore> {
    let builder = TraceStore::builder().max_payload_bytes(MAX_PAYLOAD_BYTES);
    let builder = builder.clock(&ManualClock::at(Timestamp::MAX));
    Ok(builder.flush_interval(Duration::MAX).flush_threshold(usize::MAX).open(db)?)
}

/// A file's lines by kind.
struct Parts {
    header: Header,
    traces: Vec<(usize, TraceId, Box<NewTrace>)>,
    links: Vec<(usize, Link)>,
    bad: Vec<BadLine>,
}

impl Parts {
    /// What does not begin as an export does is none, whatever follows.
    fn of(lines: Lines<Line>, file: &Path) -> Result<Self> {
        let Lines { records, mut bad } = lines;
        let remedy = "give a file that `mnemon export` has written; `mnemon ingest` takes records";
        let mut records = records.into_iter();
        let first_bad = bad.first().map_or(usize::MAX, |bad| bad.line);
        let header = match records.next() {
            Some((line, Line::Header(header))) if line < first_bad => header,
            Some((line, _)) if line < first_bad => {
                bail!("{} is no export, line {line} has no header: {remedy}", file.display())
            }
            _ => match bad.first() {
                Some(BadLine { line, reason }) => {
                    bail!("{} can't be imported, line {line}: {reason}: {remedy}", file.display())
                }
                None => bail!("{} is empty: {remedy}", file.display()),
            },
        };
        let mut parts = Self { header, traces: Vec::new(), links: Vec::new(), bad: Vec::new() };
        for (line, record) in records {
            match record {
                Line::Trace(id, new) => parts.traces.push((line, id, new)),
                Line::Link(link) => parts.links.push((line, link)),
                Line::Header(_) => bad.push(BadLine {
                    line,
                    reason: "a second header: import one export at a time".to_owned(),
                }),
            }
        }
        parts.bad = bad;
        Ok(parts)
    }

    /// Nobody else writes to the store meanwhile: the program owns its file.
    fn plan(self, store: &TraceStore, on_conflict: OnConflict, file: &Path) -> Result<Plan> {
        let Self { header, traces, links, mut bad } = self;
        let announced = header.traces.saturating_add(header.links);
        let found = (traces.len() + links.len() + bad.len()) as u64;
        let mut imported = Imported::new(announced, found);
        let (mut steps, mut conflicts) = (Vec::with_capacity(traces.len()), Vec::new());
        let mut taken: HashMap<TraceId, usize> = HashMap::with_capacity(traces.len());
        imported.traces.in_file = traces.len() as u64;
        let bar = text::bar(traces.len() + links.len(), "comparing");
        for (line, id, new) in bar.wrap_iter(traces.into_iter()) {
            if let Some(earlier) = taken.get(&id) {
                let reason = format!("id is {id}, as in line {earlier}: give each trace its own");
                bad.push(BadLine { line, reason });
                continue;
            }
            taken.insert(id, line);
            let held = match store.get(id) {
                None => Held::Not,
                Some(stored) if *stored == new.clone().into_trace()? => Held::Same,
                Some(_) => Held::Other,
            };
            if held == Held::Other {
                conflicts.push(BadLine { line, reason: format!("trace {id} has other values in the store") });
            }
            if let Some(replaces) = imported.traces.count(held, on_conflict == OnConflict::Replace) {
                steps.push(Step { line, id, new, replaces });
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

/// What the store holds of what a line says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Held {
    Not,
    Same,
    Other,
}

impl Counts {
    /// Whether it is stored, and if so whether in the place of another.
    fn count(&mut self, held: Held, replace: bool) -> Option<bool> {
        let (count, stored) = match (held, replace) {
            (Held::Not, _) => (&mut self.inserted, Some(false)),
            (Held::Same, _) => (&mut self.unchanged, None),
            (Held::Other, true) => (&mut self.replaced, Some(true)),
            (Held::Other, false) => (&mut self.skipped, None),
        };
        *count += 1;
        stored
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
    id: TraceId,
    new: Box<NewTrace>,
    replaces: bool,
}

impl Plan {
    /// Returns when it is on disk.
    fn store(self, store: &TraceStore) -> Result<Imported> {
        let Self { steps, ties, mut imported } = self;
        let before = store.stats().quarantined;
        let bar = text::bar(steps.len() + ties.len(), "storing");
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
        text::while_spinning("writing it to the file", || store.flush())?;
        imported.quarantined = store.stats().quarantined;
        imported.quarantined.retain(|row| !before.contains(row));
        Ok(imported)
    }
}

impl Step {
    /// A trace that is removed takes its links along: they are put back.
    fn take(self, store: &TraceStore) -> Result<()> {
        let links = if self.replaces { store.links(self.id) } else { Vec::new() };
        if self.replaces {
            store.remove(self.id)?;
        }
        store.insert(*self.new)?;
        links.into_iter().try_for_each(|link| store.put_link(link))?;
        Ok(())
    }
}
