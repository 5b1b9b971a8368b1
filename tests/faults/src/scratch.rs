//! Folders for the tests' files, and how much is tried.

use crate::Outcome;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// How much more than usual is tried: 1 unless `FAULT_TESTS_MORE` says more.
pub fn more() -> usize {
    std::env::var("FAULT_TESTS_MORE").ok().and_then(|more| more.parse().ok()).unwrap_or(1)
}

/// In memory, where there is such a folder: the disk's faults are the test's own.
pub fn folder() -> Outcome<TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? })
}

/// Held by one test of a program at a time. A child that is forked while another test's thread is in SQLite has SQLite's
/// own mutexes locked for good.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("memory.db")
}
