//! What the surroundings do to a store: a disk that is full, a lock that another process holds, rights that are
//! taken away, a folder that goes. Memory serves all the while, health tells, and afterwards the store goes on.
#![cfg(unix)]

mod full_disk;
mod rights;

use fault_tests::Outcome;
use fault_tests::run::note;
use fault_tests::scratch::{database, folder};
use fault_tests::state::{State, check_rows, reader};
use mnemon::{ErrorKind, Health, TraceStore};
use std::fs::{self};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NEVER: Duration = Duration::from_secs(3600);
const NOBODY: u32 = 65_534;

fn quiet(path: &Path) -> mnemon::Result<TraceStore> {
    TraceStore::builder().flush_interval(NEVER).flush_threshold(usize::MAX).lag_bound(NEVER).open(path)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn until(what: &str, mut so: impl FnMut() -> bool) -> Outcome {
    let started = Instant::now();
    while !so() {
        if started.elapsed() > Duration::from_secs(60) {
            return Err(format!("it does not come about that {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Memory and rows agree, now and after reopening.
fn is_whole(store: TraceStore, path: &Path) -> Outcome {
    let memory = State::of(&store);
    until("the store is healthy", || store.flush().is_ok() && store.health() == Health::Healthy)?;
    check_rows(&reader(path)?, &memory)?;
    store.close()?;
    let store = quiet(path)?;
    assert!(State::of(&store) == memory, "reopened as it was");
    Ok(store.close().map(drop)?)
}

/// Runs a command, which may be missing or not allowed.
fn command(name: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(name).args(arguments).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn skip(why: &str) -> Outcome {
    println!("skipped: {why}");
    Ok(())
}

/// SQLite waits 5 seconds; two of its waits are taken for contention, the third for a failure.
#[test]
fn lock_outlasting_all_waiting_is_busy() -> Outcome {
    let folder = folder()?;
    let path = database(&folder);
    let store = quiet(&path)?;
    store.insert(note(1, 40))?;
    store.flush()?;
    let mut locker = Command::new(env!("CARGO_BIN_EXE_outsider"))
        .arg("lock")
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    BufReader::new(locker.stdout.take().ok_or("it speaks")?).read_line(&mut said)?;
    assert_eq!(said.trim(), "locked");
    let started = Instant::now();
    store.insert(note(2, 40))?;
    let error = store.flush().err().ok_or("the file is locked")?;
    assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    assert!(started.elapsed() > Duration::from_secs(10), "it was waited for");
    assert!(matches!(store.health(), Health::Degraded { kind: ErrorKind::Busy, .. }));
    store.insert(note(3, 40))?;
    drop(locker.stdin.take());
    locker.wait()?;
    is_whole(store, &path)
}

#[test]
fn lost_folder_comes_back() -> Outcome {
    let folder = folder()?;
    let home = folder.path().join("home");
    fs::create_dir(&home)?;
    let path = home.join("memory.db");
    let store = quiet(&path)?;
    let first = store.insert(note(1, 40))?;
    store.insert(note(2, 4_000))?;
    store.flush()?;
    fs::remove_dir_all(&home)?;
    store.update(first, |trace| trace.confidence(0.3))?;
    for _ in 0..3 {
        let error = store.flush().err().ok_or("the folder is gone")?;
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    }
    assert!(matches!(store.health(), Health::Degraded { kind: ErrorKind::Unreachable, .. }));
    assert_eq!(store.len(), 2, "memory serves");
    fs::create_dir(&home)?;
    is_whole(store, &path)
}

/// The lock file went with the folder.
#[test]
fn store_owns_file_of_returned_folder() -> Outcome {
    let folder = folder()?;
    let home = folder.path().join("home");
    fs::create_dir(&home)?;
    let path = home.join("memory.db");
    let store = quiet(&path)?;
    store.insert(note(1, 40))?;
    store.flush()?;
    fs::remove_dir_all(&home)?;
    store.insert(note(2, 40))?;
    assert!(store.flush().is_err());
    fs::create_dir(&home)?;
    store.flush()?;
    assert_eq!(quiet(&path).err().map(|error| error.kind()), Some(ErrorKind::InUse));
    is_whole(store, &path)
}
