//! A backend for tests: keeps rows in a map, and does what the test says before each batch.
#![allow(dead_code, reason = "each test file uses a part of it")]

use mnemon::backend::{Applied, Backend, BackendError, Batch, Loaded, Reopened, Stored, TraceChange};
use mnemon::{Durability, ErrorKind};
use mnemon::{Trace, TraceId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// What the backend has committed and been asked.
#[derive(Default)]
pub struct Log {
    pub rows: BTreeMap<TraceId, Arc<Trace>>,
    pub batches: Vec<(Durability, Vec<TraceChange>)>,
    pub reopened: usize,
    pub replaced: usize,
}

/// What a batch gets; asked before anything is applied.
pub enum Answer {
    Apply,
    Fail(ErrorKind),
    /// Applied but for the changes of these traces.
    Refuse(Vec<TraceId>),
}

type Script = Box<dyn FnMut(&Batch<'_>, &Log) -> Answer + Send>;

/// What a close gets: why it fails, if it does.
type Ending = Box<dyn FnMut() -> Option<ErrorKind> + Send>;

pub struct Scripted {
    log: Arc<Mutex<Log>>,
    script: Script,
    ending: Ending,
}

impl Scripted {
    pub fn ending(self, ending: impl FnMut() -> Option<ErrorKind> + Send + 'static) -> Self {
        Self { ending: Box::new(ending), ..self }
    }
}

/// A backend, and a view of what it has done.
pub fn scripted(
    script: impl FnMut(&Batch<'_>, &Log) -> Answer + Send + 'static,
) -> (Scripted, Arc<Mutex<Log>>) {
    let log = Arc::default();
    (Scripted { log: Arc::clone(&log), script: Box::new(script), ending: Box::new(|| None) }, log)
}

pub fn look(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Backend for Scripted {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        Ok(Loaded::default())
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        // Asked without the lock: the script may wait for the test, which looks at the log.
        let view = Log { rows: look(&self.log).rows.clone(), ..Log::default() };
        let refused = match (self.script)(batch, &view) {
            Answer::Apply => Vec::new(),
            Answer::Fail(kind) => return Err(BackendError::new(kind, "as the script says")),
            Answer::Refuse(ids) => ids,
        };
        let mut log = look(&self.log);
        let mut applied = Applied::default();
        for (at, change) in batch.traces.iter().enumerate() {
            let id = change.id();
            if refused.contains(&id) {
                applied.refused.push((at, "the script refuses it".to_owned()));
                continue;
            }
            match change {
                TraceChange::Delete { .. } => {
                    log.rows.remove(&id);
                    applied.deleted += 1;
                }
                TraceChange::Upsert { trace, .. } => {
                    log.rows.insert(id, trace.clone());
                    applied.upserted += 1;
                }
                TraceChange::UpdateNumbers { trace, .. } => {
                    assert!(
                        log.rows.insert(id, trace.clone()).is_some(),
                        "numbers of a row that is not there"
                    );
                    applied.updated += 1;
                }
            }
        }
        log.batches.push((batch.durability, batch.traces.to_vec()));
        Ok(applied)
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        look(&self.log).reopened += 1;
        Ok(Reopened::Same)
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        let mut log = look(&self.log);
        log.replaced += 1;
        log.rows.clear();
        Ok(())
    }

    fn close(&mut self, _: u64) -> Result<(), BackendError> {
        match (self.ending)() {
            Some(kind) => Err(BackendError::new(kind, "as the script says")),
            None => Ok(()),
        }
    }
}
