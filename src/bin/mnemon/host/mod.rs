//! `mnemon host`: a busy host on a store, and the proof that its file holds what the host was told.
//!
//! Fills the store, updates numbers alone for a while, lets writers loose on it while the flusher works and decay
//! cycles run, each a minute later, closes, reopens the file, and compares every row with the state that the writers
//! were acknowledged.

mod expected;
mod latency;
mod load;
mod report;
mod status;
mod targets;
mod workload;
mod writer;

pub use report::HostReport;

use crate::location::Location;
use crate::progress;
use crate::{interrupt, text, top};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum, ValueHint};
use expected::Expected;
use jiff::Timestamp;
use load::{Measured, Minutes};
use mnemon::{Durability, ManualClock, TraceId, TraceStore};
use report::NumbersOnly;
use status::{Counter, Reporter, Writes};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use workload::Random;

/// Keep a store measured, then compare its file with what the writers were told.
#[derive(Args)]
#[command(after_help = "Exit codes: 0 all is well, 1 failure, or anything is missing, stale or extra; \
130 after Ctrl-C, with the report of what was done by then.")]
pub struct Host {
    /// The store; made if it is not there. Its traces are changed and removed.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// The store is filled up to so many traces first.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    traces: usize,
    #[command(flatten)]
    load: Load,
    /// Say once a second how the store is doing, for `mnemon top`: in a file beside the store, with `.status` after its
    /// name, unless another is given.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    status: Option<Option<PathBuf>>,
    /// End with one JSON object.
    #[arg(long)]
    json: bool,
}

/// How busy the host is.
#[derive(Args, Clone, Copy)]
pub struct Load {
    /// Threads that write.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub writers: u16,
    /// How long they write.
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    pub seconds: Duration,
    /// Milliseconds between flushes.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub flush_every: u64,
    /// Whether each flush is synced to the disk; the close always is.
    #[arg(long, value_enum, default_value_t = Sync::Full)]
    pub durability: Sync,
}

/// The library's [`Durability`], for the command line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sync {
    /// Each flush survives a power loss.
    Full,
    /// Each flush survives the end of the process.
    Relaxed,
}

pub fn seconds(text: &str) -> Result<Duration> {
    let duration = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| anyhow::anyhow!("give a number of seconds above 0"))
}

impl Host {
    pub fn run(self) -> Result<ExitCode> {
        interrupt::catch()?;
        let beside = || match &self.db {
            Location::File(path) => Some(top::beside(path)),
            Location::Space(_) => None,
        };
        let status = self.status.map(|file| file.or_else(beside).context("give --status the FILE to write"));
        let status = status.transpose()?;
        let report = run(&self.db, self.load, self.traces, status)?;
        text::print(&report.table())?;
        report.warn();
        text::print(&format!("\n{}", report.verdict()))?;
        if self.json {
            text::print_json(&report)?;
        }
        Ok(if report.verify.is_good() { interrupt::or(report.exit_code()) } else { report.exit_code() })
    }
}

/// The whole of it, on a store that is filled up to `least` traces; with a status file, if one is named.
pub fn run(db: &Location, load: Load, least: usize, status: Option<PathBuf>) -> Result<HostReport> {
    let clock = ManualClock::at(Timestamp::now());
    let store = open(db, load, &clock)?;
    let writes = Writes::default();
    let reporter = status.map(|path| Reporter::start(path, &store, &writes)).transpose()?;
    let worked = work(&store, db, load, least, &clock, &writes);
    // Its counters can still be read when it has closed, and then they count the last flush too.
    let ended = store.clone();
    let closed = store.close().map_err(mnemon::Error::from);
    // Whatever has failed, the last status says that the store is closed.
    let reported = reporter.map(Reporter::end).transpose();
    let Worked { expected, numbers_only, measured } = worked?;
    closed?;
    reported?;
    let stats = ended.stats();
    let verify = progress::while_spinning("comparing", || {
        let reopened = db.open(TraceStore::builder())?;
        let verify = expected.verify(&reopened, |trace| ended.strength(trace));
        reopened.close().map_err(mnemon::Error::from)?;
        anyhow::Ok(verify)
    })?;
    Ok(HostReport::new(ended.len(), measured, &stats, numbers_only, verify))
}

/// What the host did, and what it was told.
struct Worked {
    expected: Expected,
    numbers_only: NumbersOnly,
    measured: Measured,
}

/// All phases; each of them ends early after Ctrl-C.
fn work(
    store: &TraceStore,
    db: &Location,
    load: Load,
    least: usize,
    clock: &ManualClock,
    writes: &Writes,
) -> Result<Worked> {
    let counter = writes.counter();
    fill(store, least, &counter)?;
    let mut expected = Expected::of(store);
    let ids: Vec<_> = expected.ids().collect();
    ensure!(!ids.is_empty(), "{} holds no traces to work on: give --traces 1 or more", db);
    let numbers_only = update_numbers(store, &ids, &mut expected, &counter)?;
    let measured = load::run(store, Minutes::new(store, clock), load, ids, &mut expected, writes)?;
    Ok(Worked { expected, numbers_only, measured })
}

/// Under full durability every flush is one that [`busy`] asks for; it is told how long each took. One
/// that somebody asks for is always synced, so under relaxed durability the flusher flushes by itself.
fn open(db: &Location, load: Load, clock: &ManualClock) -> Result<TraceStore> {
    let builder = TraceStore::builder().flush_threshold(usize::MAX).clock(clock);
    let builder = match load.durability {
        Sync::Full => builder.flush_interval(Duration::MAX).durability(Durability::Durable),
        Sync::Relaxed => builder.flush_interval(load.pause()).durability(Durability::Committed),
    };
    db.open(builder)
}

impl Load {
    fn pause(self) -> Duration {
        Duration::from_millis(self.flush_every)
    }
}

/// Traces that are filled in with one flush.
const PIECE: usize = 20_000;

fn fill(store: &TraceStore, least: usize, counter: &Counter) -> Result<()> {
    let wanted = least.saturating_sub(store.len());
    let bar = progress::bar(wanted, "filling");
    let mut random = Random::seeded(0);
    for n in (1..=wanted).take_while(|_| !interrupt::has_come()) {
        store.insert(workload::new_trace(&mut random)?)?;
        counter.add(1);
        // What is counted is in the file.
        if n.is_multiple_of(PIECE) || n == wanted {
            store.flush()?;
            bar.set_position(n as u64);
        }
    }
    bar.finish_and_clear();
    store.flush()?;
    Ok(())
}

const ROUNDS: usize = 10;
const UPDATES_A_ROUND: usize = 500;

/// Changes numbers and nothing else, and has the flusher's counters say what that wrote.
fn update_numbers(
    store: &TraceStore,
    ids: &[TraceId],
    expected: &mut Expected,
    counter: &Counter,
) -> Result<NumbersOnly> {
    let before = store.stats();
    let mut random = Random::seeded(1);
    let mut around = ids.iter().cycle();
    let mut writes = 0;
    for _ in (0..ROUNDS).take_while(|_| !interrupt::has_come()) {
        for &id in around.by_ref().take(UPDATES_A_ROUND.min(ids.len())) {
            let confidence = random.fraction();
            if let Some(trace) = store.update(id, |trace| trace.confidence(confidence))? {
                expected.keep(trace);
                writes += 1;
                counter.add(1);
            }
        }
        store.flush()?;
    }
    Ok(NumbersOnly::between(writes, &before, &store.stats()))
}
