//! The run that everything happens to: two lives of a store, with every kind of change, flushes of both
//! durabilities, an erasure, a compaction, a close and a reopening. Ids and times are the same each time.
//!
//! Each flush and each close that fails is tried again at once, as a caller would, until it succeeds; what the
//! store says of itself meanwhile is checked.

use crate::Outcome;
use crate::disk::{Disk, Event};
use crate::state::State;
use mnemon::{Durability, ErrorKind, Health, ManualClock, NewTrace, TraceId, TraceStore};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// So many changes make the store flush by itself, without a sync.
const THRESHOLD: usize = 8;

/// How often something that fails is tried again, at most.
const TRIES: usize = 60;

const NEVER: Duration = Duration::from_secs(3600);

/// Which states of the store count as cuts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cuts {
    /// Those at which the run makes the store flush: when nothing fails there are no others.
    Planned,
    /// All after each change: a store that tries again does so when it likes.
    Anywhere,
}

/// A store under way.
pub struct Run {
    path: PathBuf,
    disk: Arc<Disk>,
    cuts: Cuts,
    clock: ManualClock,
    store: Option<TraceStore>,
    /// The cuts, in their order; the first is the empty store.
    pub states: Vec<State>,
    /// What went wrong so far.
    pub errors: Vec<ErrorKind>,
    fillers: usize,
    /// The durable watermark that was told last.
    told: u64,
    /// Bytes of the larger payloads.
    pub large: usize,
}

impl Run {
    pub fn new(disk: &Arc<Disk>, path: &Path, cuts: Cuts) -> Self {
        Self {
            path: path.to_owned(),
            disk: disk.clone(),
            cuts,
            clock: harness::clock(),
            store: None,
            states: vec![State::default()],
            errors: Vec::new(),
            fillers: 0,
            told: 0,
            large: 3_000,
        }
    }

    /// Two lives, the second of which ends open.
    pub fn all(&mut self) -> Outcome {
        self.open()?;
        self.first_life()?;
        self.close()?;
        self.open()?;
        self.second_life()
    }

    /// A cut that holds nothing for the file, after one that has left nothing to sync.
    fn come_and_go(&mut self, n: usize) -> Outcome {
        self.flush()?;
        self.change(|store| store.insert(note(n, 30)).map(drop))?;
        self.change(|store| store.remove(id(n)).map(drop))?;
        self.flush()
    }

    /// Asks how far the store is.
    fn look(&mut self) -> Outcome {
        let told = self.store()?.watermark().durable;
        if told != self.told {
            self.told = told;
            self.disk.remark(Event::Told(told));
        }
        Ok(())
    }

    /// A life in which most is removed and compacted, in several steps. Returns where in the record that begins.
    pub fn compacting_life(&mut self) -> Outcome<usize> {
        self.open()?;
        for n in 0..120 {
            self.insert(n)?;
        }
        self.flush()?;
        for n in (0..120).filter(|n| n % 4 != 3) {
            self.change(|store| store.remove(id(n)).map(drop))?;
        }
        self.flush()?;
        let begins = self.disk.events().len();
        self.compact()?;
        self.change(|store| store.reinforce(id(3)).map(drop))?;
        self.flush()?;
        Ok(begins)
    }

    fn first_life(&mut self) -> Outcome {
        for n in 0..5 {
            self.insert(n)?;
        }
        self.flush()?;
        self.change(|store| store.update(id(0), |trace| trace.payload(json!("changed"))).map(drop))?;
        self.change(|store| store.reinforce(id(1)).map(drop))?;
        self.change(|store| store.co_activate(id(1), id(2)).map(drop))?;
        self.let_it_flush()?;
        self.change(|store| store.remove(id(3)).map(drop))?;
        self.insert(3)?;
        self.change(|store| store.co_activate(id(3), id(4)).map(drop))?;
        self.change(|store| store.co_activate(id(1), id(2)).map(drop))?;
        self.let_it_flush()?;
        self.flush()?;
        self.change(|store| store.remove(id(1)).map(drop))?;
        self.change(|store| store.reinforce(id(4)).map(drop))?;
        self.flush()?;
        self.come_and_go(200)?;
        self.come_and_go(201)?;
        for n in 100..103 {
            self.change(|store| store.insert(note(n, 30).partition("passing")).map(drop))?;
        }
        self.change(|store| store.co_activate(id(100), id(4)).map(drop))?;
        self.let_it_flush()?;
        self.change(|store| store.update(id(101), |trace| trace.confidence(0.1)).map(drop))?;
        self.let_it_flush()?;
        self.erase("passing")?;
        self.change(|store| store.reinforce(id(0)).map(drop))?;
        self.let_it_flush()
    }

    fn second_life(&mut self) -> Outcome {
        self.change(|store| store.update(id(2), |trace| trace.tag("again")).map(drop))?;
        self.let_it_flush()?;
        // What stays last moves to where something was.
        for n in 10..16 {
            self.insert(n)?;
        }
        self.flush()?;
        for n in [10, 11, 12, 13] {
            self.change(|store| store.remove(id(n)).map(drop))?;
        }
        self.flush()?;
        self.compact()?;
        self.change(|store| store.remove(id(4)).map(drop))?;
        self.insert(1)?;
        self.change(|store| store.co_activate(id(1), id(0)).map(drop))?;
        self.flush()?;
        self.come_and_go(202)?;
        self.change(|store| store.reinforce(id(1)).map(drop))?;
        self.let_it_flush()
    }

    /// The store, which is open.
    pub fn store(&self) -> Outcome<&TraceStore> {
        self.store.as_ref().ok_or_else(|| "the store is open".into())
    }

    fn insert(&mut self, n: usize) -> Outcome {
        let bytes = if n.is_multiple_of(2) { 40 } else { self.large };
        self.change(|store| store.insert(note(n, bytes)).map(drop))
    }

    /// Changes memory, which nothing can keep from succeeding.
    fn change(&mut self, change: impl FnOnce(&TraceStore) -> mnemon::Result<()>) -> Outcome {
        self.clock.advance(Duration::from_secs(60));
        self.look()?;
        match self.cuts {
            Cuts::Planned => Ok(change(self.store()?)?),
            Cuts::Anywhere => self.change_and_cut(change),
        }
    }

    fn change_and_cut(&mut self, change: impl FnOnce(&TraceStore) -> mnemon::Result<()>) -> Outcome {
        self.disk.remark(Event::Possible(self.states.len()));
        change(self.store()?)?;
        self.states.push(State::of(self.store()?));
        Ok(())
    }

    /// Opens the store, which holds what it held last.
    pub fn open(&mut self) -> Outcome {
        for _ in 0..TRIES {
            let builder = TraceStore::builder().clock(&self.clock).durability(Durability::Committed);
            let builder = builder.flush_interval(NEVER).lag_bound(NEVER).flush_threshold(THRESHOLD);
            match builder.close_timeout(Duration::from_secs(10)).open(&self.path) {
                Ok(store) => {
                    let found = State::of(&store);
                    self.store = Some(store);
                    return if self.states.last() == Some(&found) {
                        Ok(())
                    } else {
                        Err(format!("opened with {}", found.summary()).into())
                    };
                }
                Err(error) => self.note(&error)?,
            }
        }
        Err("the store can't be opened again".into())
    }

    /// A flush that somebody waits for: then all is durable.
    pub fn flush(&mut self) -> Outcome {
        if self.cuts == Cuts::Planned {
            self.change_and_cut(|_| Ok(()))?;
        }
        self.flush_until_durable()
    }

    fn flush_until_durable(&mut self) -> Outcome {
        for _ in 0..TRIES {
            let store = self.store()?;
            match store.flush() {
                Ok(report) => {
                    if report.watermark > store.watermark().durable {
                        return Err(format!("the report is ahead of the store: {report:?}").into());
                    }
                    self.disk.remark(Event::Durable(self.states.len() - 1));
                    return self.look();
                }
                Err(error) => {
                    let told = matches!(store.health(), Health::Degraded { .. });
                    if !told && store.stats().dirty > 0 {
                        return Err(format!("{error:?}, and the store says it is healthy").into());
                    }
                    self.note(&error)?;
                }
            }
        }
        Err("the store does not recover".into())
    }

    /// Makes as many changes as make the store flush by itself, and waits until it has.
    fn let_it_flush(&mut self) -> Outcome {
        let missing = THRESHOLD.saturating_sub(self.store()?.stats().dirty).max(1);
        for left in (0..missing).rev() {
            self.fillers += 1;
            let filler = note(1_000 + self.fillers, 30);
            match left {
                0 => self.change_and_cut(|store| store.insert(filler).map(drop))?,
                _ => self.change(|store| store.insert(filler).map(drop))?,
            }
        }
        let started = Instant::now();
        while self.store()?.stats().dirty > 0 {
            let degraded = matches!(self.store()?.health(), Health::Degraded { .. });
            if degraded || started.elapsed() > Duration::from_secs(5) {
                return self.flush_until_durable();
            }
            thread::yield_now();
        }
        self.look()?;
        let watermark = self.store()?.watermark();
        if watermark.durable == watermark.committed {
            self.disk.remark(Event::Durable(self.states.len() - 1));
        }
        Ok(())
    }

    fn erase(&mut self, partition: &str) -> Outcome {
        let mut failed = None;
        self.change_and_cut(|store| {
            failed = store.erase_partition(partition).err();
            Ok(())
        })?;
        match failed {
            None => self.disk.remark(Event::Durable(self.states.len() - 1)),
            Some(error) => {
                self.note(&error)?;
                self.flush_until_durable()?;
            }
        }
        Ok(())
    }

    /// Right after a flush, so that it makes no cut of its own.
    fn compact(&mut self) -> Outcome {
        match self.store()?.compact() {
            Ok(report) if self.errors.is_empty() && report.bytes_after >= report.bytes_before => {
                Err(format!("nothing was compacted: {report:?}").into())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.note(&error)?;
                self.flush_until_durable()
            }
        }
    }

    /// Closes the store, for good.
    pub fn close(&mut self) -> Outcome {
        for _ in 0..TRIES {
            let store = self.store.take().ok_or("the store is open")?;
            if self.cuts == Cuts::Planned {
                self.disk.remark(Event::Possible(self.states.len()));
                self.states.push(State::of(&store));
            }
            match store.close() {
                Ok(watermark) => {
                    self.disk.remark(Event::Durable(self.states.len() - 1));
                    self.disk.remark(Event::Told(watermark.durable));
                    return Ok(());
                }
                Err(failed) => {
                    self.store = Some(failed.store);
                    self.note(&failed.error)?;
                }
            }
        }
        Err("the store can't be closed".into())
    }

    /// After the fault: one more change and flush end all trouble, without waiting.
    pub fn recover(&mut self) -> Outcome {
        let started = Instant::now();
        self.flush_until_durable()?;
        while self.store()?.health() != Health::Healthy {
            self.fillers += 1;
            let filler = note(1_000 + self.fillers, 30);
            self.change(|store| store.insert(filler).map(drop))?;
            self.flush()?;
            if started.elapsed() > Duration::from_secs(20) {
                return Err(format!("it stays {:?}", self.store()?.health()).into());
            }
        }
        Ok(())
    }

    /// Failures of the disk are told as such, and as nothing else.
    fn note(&mut self, error: &mnemon::Error) -> Outcome {
        self.errors.push(error.kind());
        match error.kind() {
            ErrorKind::Io | ErrorKind::DiskFull | ErrorKind::Unreachable | ErrorKind::Busy => Ok(()),
            _ => Err(format!("it says {error:?}").into()),
        }
    }
}

fn id(n: usize) -> TraceId {
    TraceId::from_reference(&format!("trace {n}"))
}

/// A trace of this number, the payload of which has so many bytes or a few more.
pub fn note(n: usize, bytes: usize) -> NewTrace {
    NewTrace::semantic(json!({"note": n, "text": "x".repeat(bytes)})).id(id(n))
}
