//! What a host does that wants to be watched with `mnemon top`: a status file, written once a second.

use anyhow::Result;
use mnemon::{StatusFile, TraceStore};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Counts the host's writes, each thread's by itself so that they don't wait for each other.
#[derive(Clone, Default)]
pub struct Writes(Arc<Mutex<Vec<Arc<AtomicU64>>>>);

/// The counter of one thread.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Writes {
    pub fn counter(&self) -> Counter {
        let counter = Counter::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(counter.0.clone());
        counter
    }

    fn total(&self) -> u64 {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

impl Counter {
    pub fn add(&self, writes: u64) {
        self.0.fetch_add(writes, Ordering::Relaxed);
    }
}

/// The thread that writes the file, until it is told to stop.
pub struct Reporter {
    thread: JoinHandle<mnemon::Result<StatusFile>>,
    /// Dropped to stop it.
    going_on: Sender<()>,
    store: TraceStore,
    writes: Writes,
}

impl Reporter {
    /// The first status is written when this returns.
    pub fn start(path: PathBuf, store: &TraceStore, writes: &Writes) -> Result<Self> {
        let mut file = StatusFile::new(path);
        file.write(store, Some(writes.total()))?;
        let (going_on, stop) = channel::<()>();
        let (its_store, its_writes) = (store.clone(), writes.clone());
        let report = move || {
            while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(Duration::from_secs(1)) {
                file.write(&its_store, Some(its_writes.total()))?;
            }
            Ok(file)
        };
        let thread = thread::Builder::new().name("status".to_owned()).spawn(report)?;
        Ok(Self { thread, going_on, store: store.clone(), writes: writes.clone() })
    }

    /// The last status is of the store as it is now: closed, if it has been.
    pub fn end(self) -> Result<()> {
        drop(self.going_on);
        let mut file = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        file.write(&self.store, Some(self.writes.total()))?;
        Ok(())
    }
}
