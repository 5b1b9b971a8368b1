//! A backend that does what the test's script says.
//!
//! It keeps to the letter of the trait and no more: what fails may be applied or not, a reopening finds what was synced
//! last, and what the store may not count on is noted as a violation.

use crate::State;
use mnemon::backend::{
    Applied, Backend, BackendError, Batch, LinkChange, Loaded, Reopened, Scope, Stored, TraceChange,
};
use mnemon::{Durability, ErrorKind};
use mnemon::{Link, Trace, TraceId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows of traces and of links, and what was erased.
#[derive(Clone, Default)]
pub struct Content {
    rows: BTreeMap<i64, Arc<Trace>>,
    links: BTreeMap<(TraceId, TraceId), Link>,
    /// Types of which the rows were erased.
    pub erased: BTreeSet<&'static str>,
}

impl Content {
    pub fn contains(&self, id: TraceId) -> bool {
        self.trace(id).is_some()
    }

    pub fn trace(&self, id: TraceId) -> Option<&Arc<Trace>> {
        self.rows.values().find(|trace| trace.id() == id)
    }

    pub fn state(&self) -> State {
        let traces = self.rows.values().map(|trace| (trace.id(), trace.clone()));
        State { traces: traces.collect(), links: self.links.clone() }
    }
}

/// What the backend has committed, and what it was asked.
#[derive(Default)]
pub struct Log {
    pub live: Content,
    /// What a reopening finds.
    pub synced: Content,
    /// The batches that were applied.
    pub batches: Vec<(Durability, Vec<TraceChange>)>,
    pub reopened: usize,
    pub replaced: usize,
    pub closed: usize,
    /// What the store has counted on, though it may not.
    pub violations: Vec<String>,
}

/// What a batch gets; the script is asked before anything is applied.
pub enum Answer {
    Apply,
    Fail(ErrorKind),
    /// Applied but for the changes of these traces.
    Refuse(Vec<TraceId>),
    /// Applied, and answered with an error.
    FailLate(ErrorKind),
    /// Applied, and answered with a panic.
    PanicLate,
}

type Script = Box<dyn FnMut(&Batch<'_>) -> Answer + Send>;

/// What a close gets: why it fails, if it does.
type OnClose = Box<dyn FnMut() -> Option<ErrorKind> + Send>;

/// One step of a compaction: whether there is more to do.
type OnCompact = Box<dyn FnMut() -> bool + Send>;

pub struct Scripted {
    log: Arc<Mutex<Log>>,
    script: Script,
    on_close: OnClose,
    on_compact: OnCompact,
}

impl Scripted {
    pub fn on_close(self, on_close: impl FnMut() -> Option<ErrorKind> + Send + 'static) -> Self {
        Self { on_close: Box::new(on_close), ..self }
    }

    pub fn on_compact(self, on_compact: impl FnMut() -> bool + Send + 'static) -> Self {
        Self { on_compact: Box::new(on_compact), ..self }
    }
}

/// A backend, and a view of what it has done.
pub fn scripted(script: impl FnMut(&Batch<'_>) -> Answer + Send + 'static) -> (Scripted, Arc<Mutex<Log>>) {
    let log = Arc::default();
    let backend = Scripted {
        log: Arc::clone(&log),
        script: Box::new(script),
        on_close: Box::new(|| None),
        on_compact: Box::new(|| false),
    };
    (backend, log)
}

pub fn look(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    fn apply(&mut self, batch: &Batch<'_>, refused: &[TraceId]) -> Applied {
        let mut applied = Applied::default();
        for scope in batch.erased {
            if let Scope::Type(kind) = scope {
                self.live.erased.insert(kind.as_str());
            }
            applied.erased.push(0);
        }
        for (at, change) in batch.traces.iter().enumerate() {
            if refused.contains(&change.id()) {
                applied.refused.push((at, "the script refuses it".to_owned()));
                continue;
            }
            match change {
                TraceChange::Delete { row, .. } => {
                    self.live.rows.remove(row);
                    applied.deleted += 1;
                }
                TraceChange::Upsert { row, trace } => {
                    self.live.rows.insert(*row, trace.clone());
                    applied.upserted += 1;
                }
                TraceChange::UpdateNumbers { row, trace } => {
                    // The rest of the row is as it was stored, or the store has counted on what it must not.
                    match self.live.rows.insert(*row, trace.clone()) {
                        Some(old) if old.id() == trace.id() && old.payload() == trace.payload() => {}
                        old => self.violations.push(format!("numbers of {trace:?} were sent for {old:?}")),
                    }
                    applied.updated += 1;
                }
            }
        }
        for change in batch.links {
            match change {
                LinkChange::Delete(a, b) => drop(self.live.links.remove(&(*a, *b))),
                LinkChange::Upsert(link) => drop(self.live.links.insert(link.ends(), *link)),
            }
        }
        self.batches.push((batch.durability, batch.traces.to_vec()));
        // All rows are looked at, and a run may have thousands of batches: now and then is often enough.
        if self.batches.len().is_multiple_of(8) {
            let held: BTreeSet<_> = self.live.rows.values().map(|trace| trace.id()).collect();
            let mut links = self.live.links.keys();
            if let Some(link) = links.find(|(a, b)| !held.contains(a) || !held.contains(b)) {
                self.violations.push(format!("the link {link:?} joins what has no row"));
            }
        }
        applied
    }
}

impl Backend for Scripted {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        Ok(Loaded::default())
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        // Asked without the lock: the script may wait for the test, which looks at the log.
        let answer = (self.script)(batch);
        let failed = |class| Err(BackendError::new(class, "as the script says"));
        let mut log = look(&self.log);
        let applied = match &answer {
            Answer::Fail(class) => return failed(*class),
            Answer::Refuse(ids) => log.apply(batch, ids),
            Answer::Apply | Answer::FailLate(_) | Answer::PanicLate => log.apply(batch, &[]),
        };
        match answer {
            Answer::FailLate(class) => return failed(class),
            Answer::PanicLate => panic!("as the script says, after the commit"),
            _ => {}
        }
        if batch.durability == Durability::Durable {
            log.synced = log.live.clone();
        }
        Ok(applied)
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        let mut log = look(&self.log);
        log.reopened += 1;
        log.live = log.synced.clone();
        Ok(Reopened::Same)
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        let mut log = look(&self.log);
        log.replaced += 1;
        (log.live, log.synced) = Default::default();
        Ok(())
    }

    fn compact(&mut self, _: bool) -> Result<bool, BackendError> {
        Ok((self.on_compact)())
    }

    fn close(&mut self, _: u64) -> Result<(), BackendError> {
        look(&self.log).closed += 1;
        match (self.on_close)() {
            Some(class) => Err(BackendError::new(class, "as the script says")),
            None => Ok(()),
        }
    }
}
