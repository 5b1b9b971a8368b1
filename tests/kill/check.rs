//! The parent: starts a child, ends it, and looks at what it left behind.

use crate::child::WRITING;
use crate::log::{Log, Told};
use crate::plan::{Plan, Point};
use crate::state::{Finding, State};
use crate::world;
use harness::{Outcome, Rng};
use mnemon::{TraceStore, inspect};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What all rounds came to.
#[derive(Debug, Default)]
pub struct Tally {
    rounds: u64,
    kills: u64,
    acknowledged: u64,
    losses: u64,
    torn: u64,
    broken: u64,
    /// Of each point: rounds, and those that ended in the very middle of it.
    points: BTreeMap<Point, (u64, u64)>,
}

impl Tally {
    pub fn count(&mut self, finding: &Finding) {
        match finding {
            Finding::Loss(_) => self.losses += 1,
            Finding::Torn(_) => self.torn += 1,
            Finding::Broken(_) => self.broken += 1,
        }
    }

    pub fn inside(&self, point: Point) -> u64 {
        self.points.get(&point).map_or(0, |(_, inside)| *inside)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, kills, acknowledged, losses, torn, broken, points } = self;
        write!(
            f,
            "{rounds} rounds, {kills} kills, {acknowledged} acknowledgements checked, losses {losses}, torn cuts {torn}, other failures {broken}; in the middle of:"
        )?;
        points.iter().try_for_each(|(point, (rounds, inside))| write!(f, " {point:?} {inside}/{rounds}"))
    }
}

/// One file, on which one child after another works.
pub struct Lineage {
    folder: TempDir,
    /// What must be there, and the watermark that must be reached.
    known: State,
    committed: u64,
    /// How long the last open took.
    open_micros: u64,
}

impl Lineage {
    pub fn new() -> Outcome<Self> {
        Ok(Self { folder: tempfile::tempdir()?, known: State::default(), committed: 0, open_micros: 4_000 })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("memory.db")
    }

    /// Leaves the files where they are.
    pub fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// One child, from its start to its end, and what it left.
    pub fn round(&mut self, round: u64, tally: &mut Tally) -> Result<(), Finding> {
        let broken = |error: Box<dyn std::error::Error>| Finding::Broken(error.to_string());
        let mut rng = Rng::with_seed(round);
        let plan = Plan {
            point: if round.is_multiple_of(2 * crate::LINEAGE) {
                Point::Open
            } else {
                crate::POINTS[(round % crate::POINTS.len() as u64) as usize]
            },
            relaxed: rng.bool(),
            interval_micros: [0, 1_000, 20_000][rng.usize(..3)],
            open_micros: self.open_micros,
            seed: rng.u64(..),
        };
        let told = self.play(plan, &mut rng).map_err(broken)?;
        tally.rounds += 1;
        tally.kills += 1;
        tally.acknowledged += told.acknowledged;
        let (rounds, inside) = tally.points.entry(plan.point).or_default();
        *rounds += 1;
        *inside += u64::from(told.inside);
        self.known = self.known.joined(told.durable);
        self.look_from_outside(&told)?;
        // Now and then what was left is put in order here; otherwise the next child finds it as it was left.
        if round.is_multiple_of(3) {
            let after = self.look_inside(&self.path(), plan)?;
            self.known = after.1;
        } else {
            let copy = self.copy().map_err(broken)?;
            let (before, _) = self.look_inside(&copy.path().join("memory.db"), plan)?;
            self.known = before;
        }
        Ok(())
    }

    /// Runs a child to its end; what it was told.
    fn play(&self, plan: Plan, rng: &mut Rng) -> Outcome<Told> {
        let expected = self.folder.path().join("expected");
        if expected.exists() {
            fs::remove_file(&expected)?;
        }
        let output = self.folder.path().join("output");
        // Through a shell, for no core is to be dumped.
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -c 0; exec \"$@\"", "sh"])
            .arg(std::env::current_exe()?)
            .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(crate::ORDERS, format!("{}\n{}", plan.to_line(), self.folder.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&output)?)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("the child's output")?);
        if plan.point == Point::Random {
            let mut line = String::new();
            while line.trim_end() != WRITING && {
                line.clear();
                lines.read_line(&mut line)? > 0
            } {}
            thread::sleep(Duration::from_micros(rng.u64(..60_000)));
            child.kill()?;
        }
        let signal = ended(&mut child)?;
        if !matches!(signal, Some(6 | 9)) {
            let mut said = fs::read_to_string(&output)?;
            lines.read_to_string(&mut said)?;
            return Err(format!("the child of {plan:?} ended by itself: {said}").into());
        }
        Ok(Told::read(&expected)?)
    }

    /// What a reader is told of the file.
    fn look_from_outside(&mut self, told: &Told) -> Result<(), Finding> {
        let report = match inspect(self.path()) {
            Ok(report) => report,
            // It was ended before there was a store.
            Err(_) if self.known.epoch == 0 && !told.opened => return Ok(()),
            Err(error) => return Err(Finding::Broken(format!("{error:?}"))),
        };
        self.committed = self.committed.max(told.committed);
        if report.watermark < self.committed {
            let (is, was) = (report.watermark, self.committed);
            return Err(Finding::Loss(format!("the watermark is {is}, and was said to be {was}")));
        }
        self.committed = report.watermark;
        let clean = match told {
            Told { closed: true, .. } => Some(true),
            Told { opened: true, closing: false, .. } => Some(false),
            _ => None,
        };
        if clean.is_some_and(|clean| clean != report.clean) || report.in_use_by.is_some() {
            return Err(Finding::Broken(format!("{report:?} after {told:?}")));
        }
        Ok(())
    }

    fn copy(&self) -> Outcome<TempDir> {
        let copy = tempfile::tempdir_in(self.folder.path())?;
        for file in ["memory.db", "memory.db-wal", "memory.db-journal"] {
            let from = self.folder.path().join(file);
            if from.exists() {
                fs::copy(from, copy.path().join(file))?;
            }
        }
        Ok(copy)
    }

    /// Opens the store, sees that it is whole and lacks nothing, and writes on. How far it was before and after.
    fn look_inside(&mut self, path: &Path, plan: Plan) -> Result<(State, State), Finding> {
        let broken = |error: &dyn fmt::Display| Finding::Broken(error.to_string());
        if plan.seed.is_multiple_of(2) && path.exists() {
            look_raw(path).map_err(|error| broken(&error))?;
        }
        let started = Instant::now();
        let store = quiet(path)?;
        self.open_micros = started.elapsed().as_micros() as u64;
        let before = State::of(&store)?;
        if !before.holds(&self.known) {
            return Err(Finding::Loss(format!("{before:?} is there, and {:?} was acknowledged", self.known)));
        }
        let log = Log::open(&path.with_extension("log")).map_err(|error| broken(&error))?;
        let after = world::go_on(store.clone(), plan, Arc::new(log))?;
        let found = look_raw(path).map_err(|error| broken(&error))?;
        if found != [store.len(), store.link_count()] {
            return Err(Finding::Broken(format!("{found:?} rows of {store:?}")));
        }
        self.committed =
            self.committed.max(if path == self.path() { store.watermark().committed } else { 0 });
        store.close().map_err(|failed| broken(&failed))?;
        let store = quiet(path)?;
        let again = State::of(&store)?;
        if again != after {
            return Err(Finding::Loss(format!("{again:?} is there, and {after:?} was closed")));
        }
        store.close().map_err(|failed| broken(&failed))?;
        Ok((before, after))
    }
}

/// The signal that ended a child, which must not take long.
fn ended(child: &mut Child) -> Outcome<Option<i32>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.signal());
        }
        if started.elapsed() > Duration::from_secs(60) {
            child.kill()?;
            child.wait()?;
            return Err("the child did not end where it was to".into());
        }
        thread::sleep(Duration::from_micros(500));
    }
}

fn quiet(path: &Path) -> Result<TraceStore, Finding> {
    let store = harness::manual_flush().open(path).map_err(|error| Finding::Broken(format!("{error:?}")))?;
    match store.stats().quarantined {
        none if none.is_empty() => Ok(store),
        some => Err(Finding::Torn(format!("rows that can't be read: {some:?}"))),
    }
}

/// What SQLite itself says of the file: that it is sound, and how many rows there are of traces and links.
fn look_raw(path: &Path) -> Outcome<[usize; 2]> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if sound != "ok" {
        return Err(format!("the file is damaged: {sound}").into());
    }
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('traces', 'links')";
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    if count(tables)? == 0 {
        return Ok([0; 2]);
    }
    let dangling = "SELECT count(*) FROM links WHERE NOT EXISTS (SELECT 1 FROM traces WHERE id = a)
        OR NOT EXISTS (SELECT 1 FROM traces WHERE id = b)";
    match count(dangling)? {
        0 => Ok([
            count("SELECT count(*) FROM traces")? as usize,
            count("SELECT count(*) FROM links")? as usize,
        ]),
        links => Err(format!("{links} links to no trace").into()),
    }
}
