//! A file, or its log, that somebody else changes in place under a running store: emptied, cut, written over, or an
//! older copy put over it. However that falls between writes, flushes and the close, a close that succeeds leaves a
//! file with all that memory held.
#![cfg(unix)]

use fault_tests::Outcome;
use fault_tests::run::note;
use fault_tests::scratch::{folder, more};
use fault_tests::state::{State, check_rows, reader};
use mnemon::{TraceId, TraceStore};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const NEVER: Duration = Duration::from_secs(3600);
const PAGE: u64 = 4096;
const FRAME: u64 = PAGE + 24;
/// Of the log's beginning.
const LOG_HEADER: u64 = 32;

/// What is done to the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Damage {
    FileEmptied,
    FileCutByAPage,
    FileCutAnywhere,
    FileLonger,
    FileHeaderOverwritten,
    FileSchemaOverwritten,
    FilePageOverwritten,
    FileBytesOverwritten,
    FileIsALetter,
    FileIsOlder,
    FileIsOfAnotherStore,
    FileIsOfAnotherApplication,
    LogEmptied,
    LogCutAnywhere,
    LogLonger,
    LogHeaderOverwritten,
    LogFrameOverwritten,
    LogBytesOverwritten,
    LogIsOlder,
    BothEmptied,
    BothAreOlder,
    Touched,
}

const KINDS: [Damage; 22] = [
    Damage::FileEmptied,
    Damage::FileCutByAPage,
    Damage::FileCutAnywhere,
    Damage::FileLonger,
    Damage::FileHeaderOverwritten,
    Damage::FileSchemaOverwritten,
    Damage::FilePageOverwritten,
    Damage::FileBytesOverwritten,
    Damage::FileIsALetter,
    Damage::FileIsOlder,
    Damage::FileIsOfAnotherStore,
    Damage::FileIsOfAnotherApplication,
    Damage::LogEmptied,
    Damage::LogCutAnywhere,
    Damage::LogLonger,
    Damage::LogHeaderOverwritten,
    Damage::LogFrameOverwritten,
    Damage::LogBytesOverwritten,
    Damage::LogIsOlder,
    Damage::BothEmptied,
    Damage::BothAreOlder,
    Damage::Touched,
];

/// Random numbers (xorshift64*, Vigna 2016) of this test alone: a round that has found a mistake is one of these numbers.
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Below `end`, which counts as 1 at least.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end.max(1)
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// The files of one round.
struct Files {
    db: PathBuf,
    log: PathBuf,
    older: PathBuf,
    older_log: PathBuf,
    other_store: PathBuf,
    other_application: PathBuf,
    letter: PathBuf,
}

impl Files {
    fn beneath(folder: &Path, common: &Path) -> Self {
        let db = folder.join("memory.db");
        let log = folder.join("memory.db-wal");
        let (older, older_log) = (folder.join("older"), folder.join("older-wal"));
        let common = |name| common.join(name);
        let (other_store, other_application) = (common("store.db"), common("application.db"));
        Self { db, log, older, older_log, other_store, other_application, letter: common("letter") }
    }

    /// What the damages need that put another file's content into this one.
    fn make_common(folder: &Path) -> Outcome {
        let store = quiet(&folder.join("store.db"))?;
        store.insert_many((0..30).map(|n| note(900 + n, 500)))?;
        store.close()?;
        let application = rusqlite::Connection::open(folder.join("application.db"))?;
        application
            .execute_batch("CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('So What');")?;
        Ok(fs::write(folder.join("letter"), "Dear Ana,\n".repeat(300))?)
    }

    fn keep_older(&self) -> Outcome {
        outsider(&["copy".as_ref(), &self.db, &self.older])?;
        if self.log.exists() {
            outsider(&["copy".as_ref(), &self.log, &self.older_log])
        } else {
            Ok(fs::write(&self.older_log, "")?)
        }
    }

    fn damage(&self, how: Damage, rng: &mut Rng) -> Outcome {
        let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        let cut = |path: &Path, length: u64| outsider(&["cut".as_ref(), path, length.to_string().as_ref()]);
        let copy = |from: &Path, to: &Path| outsider(&["copy".as_ref(), from, to]);
        let scribble = |path: &Path, at: u64, bytes: u64| {
            let (at, bytes) = (at.to_string(), bytes.to_string());
            outsider(&["scribble".as_ref(), path, at.as_ref(), bytes.as_ref()])
        };
        let (db, log) = (&self.db, &self.log);
        let (file_bytes, log_bytes) = (length(db), length(log));
        let is_of_log = format!("{how:?}").starts_with("Log");
        if is_of_log && log_bytes == 0 {
            // There is none: then what has been moved out of it is hit.
            return scribble(db, rng.below(file_bytes), 1 + rng.below(2 * PAGE));
        }
        match how {
            Damage::FileEmptied => cut(db, 0),
            Damage::FileCutByAPage => cut(db, file_bytes.saturating_sub(PAGE)),
            Damage::FileCutAnywhere => cut(db, rng.below(file_bytes)),
            Damage::FileLonger => cut(db, file_bytes + 1 + rng.below(3 * PAGE)),
            Damage::FileHeaderOverwritten => scribble(db, 0, 1 + rng.below(100)),
            Damage::FileSchemaOverwritten => scribble(db, 100 + rng.below(2_000), 1 + rng.below(2_000)),
            Damage::FilePageOverwritten => scribble(db, rng.below(file_bytes / PAGE) * PAGE, PAGE),
            Damage::FileBytesOverwritten => scribble(db, rng.below(file_bytes), 1 + rng.below(64)),
            Damage::FileIsALetter => copy(&self.letter, db),
            Damage::FileIsOlder => copy(&self.older, db),
            Damage::FileIsOfAnotherStore => copy(&self.other_store, db),
            Damage::FileIsOfAnotherApplication => copy(&self.other_application, db),
            Damage::LogEmptied => cut(log, 0),
            Damage::LogCutAnywhere => cut(log, rng.below(log_bytes)),
            Damage::LogLonger => cut(log, log_bytes + 1 + rng.below(2 * FRAME)),
            Damage::LogHeaderOverwritten => scribble(log, 0, 1 + rng.below(LOG_HEADER)),
            Damage::LogFrameOverwritten => {
                scribble(log, LOG_HEADER + rng.below((log_bytes - LOG_HEADER) / FRAME) * FRAME, FRAME)
            }
            Damage::LogBytesOverwritten => scribble(log, rng.below(log_bytes), 1 + rng.below(64)),
            Damage::LogIsOlder => copy(&self.older_log, log),
            Damage::BothEmptied => cut(db, 0).and_then(|()| if log.exists() { cut(log, 0) } else { Ok(()) }),
            Damage::BothAreOlder => copy(&self.older, db).and_then(|()| copy(&self.older_log, log)),
            Damage::Touched => cut(db, file_bytes),
        }
    }

    /// Whether something was quarantined.
    fn has_quarantined(&self) -> Outcome<bool> {
        let mut names = fs::read_dir(self.db.parent().ok_or("it has a folder")?)?;
        Ok(names.any(|file| {
            file.is_ok_and(|file| {
                let name = file.file_name().to_string_lossy().into_owned();
                name.contains(".damaged-") || name.contains(".orphaned-")
            })
        }))
    }
}

fn outsider(arguments: &[&Path]) -> Outcome {
    let done = Command::new(env!("CARGO_BIN_EXE_outsider")).args(arguments).status()?;
    if done.success() { Ok(()) } else { Err(format!("outsider {arguments:?} failed").into()) }
}

fn quiet(path: &Path) -> mnemon::Result<TraceStore> {
    let builder = TraceStore::builder().flush_interval(NEVER).flush_threshold(usize::MAX).lag_bound(NEVER);
    builder.close_timeout(Duration::from_secs(20)).open(path)
}

/// Every kind of change, of traces of one page and of many.
fn write(store: &TraceStore, rng: &mut Rng) -> Outcome {
    let mut ids: Vec<TraceId> = store.iter().map(|trace| trace.id()).collect();
    ids.sort_unstable();
    let pick = |rng: &mut Rng| ids.get(rng.below(ids.len() as u64) as usize).copied();
    for _ in 0..1 + rng.below(12) {
        let size = if rng.below(6) == 0 { 9_000 } else { 400 };
        match (rng.below(5), pick(rng), pick(rng)) {
            (0, Some(id), _) => drop(store.remove(id)?),
            (1, Some(id), _) => drop(store.update(id, |trace| trace.confidence(0.25))?),
            (2, Some(id), _) => drop(store.update(id, |trace| trace.payload(json!("y".repeat(size))))?),
            (3, Some(a), Some(b)) if a != b && store.contains(a) && store.contains(b) => {
                store.co_activate(a, b).map(drop)?;
            }
            _ => drop(store.insert(note(rng.below(1 << 40) as usize, size))?),
        }
    }
    Ok(())
}

/// Whether all pages of the log are in the file.
fn is_moved(path: &Path) -> Outcome<bool> {
    let pages = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?);
    Ok(rusqlite::Connection::open(path)?.query_row("PRAGMA wal_checkpoint(NOOP)", [], pages)?)
}

/// Whether a thread of this process moves a log into its file, where the system shows threads.
fn is_moving() -> bool {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    // The system cuts a name after 15 bytes.
    threads.map(name).any(|name| name.trim_end() == "mnemon-checkpoi")
}

#[derive(Default)]
struct Counts {
    rounds: usize,
    mended: usize,
    flushes: usize,
}

/// `Err` if something that was acknowledged is not there.
fn round(files: &Files, how: Damage, rng: &mut Rng, counts: &mut Counts) -> Outcome {
    let path = &files.db;
    let mut store = quiet(path)?;
    store.insert_many(
        (0..10 + rng.below(30) as usize).map(|n| note(n, if n % 9 == 0 { 9_000 } else { 500 })),
    )?;
    store.flush()?;
    write(&store, rng)?;
    store.flush()?;
    match rng.below(3) {
        // All is in the file, and nothing in the log.
        0 => {
            store.close()?;
            store = quiet(path)?;
        }
        // So much that the log is moved in between.
        1 => {
            store.insert_many((0..150).map(|n| note(2_000 + n, 30_000)))?;
            store.flush()?;
            // That it is done with moving is seen by what it says of the log, which was shorter before.
            while store.stats().wal_bytes != fs::metadata(&files.log)?.len()
                || !is_moved(path)?
                || is_moving()
            {
                std::thread::yield_now();
            }
        }
        _ => {}
    }
    files.keep_older()?;
    for _ in 0..rng.below(3) {
        write(&store, rng)?;
        store.flush()?;
    }
    // Before a write, after one that is flushed or is not, and with or without one more.
    if rng.coin() {
        write(&store, rng)?;
    }
    files.damage(how, rng)?;
    if rng.coin() {
        write(&store, rng)?;
    }
    // With nothing to write a flush touches no disk.
    if rng.coin() && store.stats().dirty > 0 {
        store.flush().map_err(|error| format!("the flush failed: {error:?}"))?;
        counts.flushes += 1;
        check_rows(&reader(path)?, &State::of(&store)).map_err(|error| format!("after a flush: {error}"))?;
        if rng.coin() {
            write(&store, rng)?;
        }
    }
    let memory = State::of(&store);
    store.close().map_err(|failed| format!("it does not close: {failed:?}"))?;
    counts.mended += usize::from(files.has_quarantined()?);
    let reopened = quiet(path).map_err(|error| format!("closed, and does not open: {error:?}"))?;
    let found = State::of(&reopened);
    if found != memory {
        return Err(format!("closed with {}, reopened with {}", memory.summary(), found.summary()).into());
    }
    reopened.close()?;
    check_rows(&reader(path)?, &memory)
}

/// `CHANGED_IN_PLACE_SEED=23` runs that round alone.
fn seeds() -> Vec<u64> {
    // A page of the index of ids, from which no row is read.
    const INDEX_PAGE: u64 = 886;
    let one = std::env::var("CHANGED_IN_PLACE_SEED").ok().and_then(|seed| seed.parse().ok());
    one.map_or_else(|| (0..220 * more() as u64).chain([INDEX_PAGE]).collect(), |seed| vec![seed])
}

#[test]
fn file_changed_in_place_is_mended() -> Outcome {
    let common = folder()?;
    Files::make_common(common.path())?;
    let mut counts = BTreeMap::<Damage, Counts>::new();
    let mut lost = Vec::new();
    for seed in seeds() {
        let how = KINDS[seed as usize % KINDS.len()];
        let folder = folder()?;
        let files = Files::beneath(folder.path(), common.path());
        let of_kind = counts.entry(how).or_default();
        of_kind.rounds += 1;
        if let Err(error) = round(&files, how, &mut Rng::new(seed), of_kind) {
            let error: String = error.to_string().lines().take(2).collect();
            lost.push(format!("seed {seed}, {how:?}: {error}"));
        }
    }
    for (how, Counts { rounds, mended, flushes }) in &counts {
        println!("{how:?}: {rounds} rounds, {mended} written anew, {flushes} flushes looked at");
    }
    let rounds: usize = counts.values().map(|counts| counts.rounds).sum();
    println!("changed in place: {rounds} rounds of {} kinds, {} with a loss", counts.len(), lost.len());
    assert!(lost.is_empty(), "{} of {rounds}:\n{}", lost.len(), lost.join("\n"));
    let mended: usize = counts.values().map(|counts| counts.mended).sum();
    assert!(rounds == 1 || mended > rounds / 4, "{mended} of {rounds} rounds found something to mend");
    Ok(())
}
