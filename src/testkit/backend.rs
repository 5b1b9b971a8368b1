//! The backend: each call suffers its fault, and then accesses the images.

use super::faults::SharedState;
use super::plan::{Call, Due, Failure};
use super::state::State;
use crate::backend::{Applied, Backend, BackendError, Batch, Loaded, Reopened, Stored};
use crate::error::ErrorKind;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// An in-memory backend that fails as planned with [`Faults`](super::Faults). Created by
/// [`Faults::backend`](super::Faults::backend).
#[derive(Debug)]
pub(super) struct FaultyBackend {
    desk: Arc<SharedState>,
    number: u64,
}

impl FaultyBackend {
    pub(super) fn new(desk: Arc<SharedState>, number: u64) -> Self {
        Self { desk, number }
    }

    /// Runs one call: waits if planned, then fails or does the work.
    fn call<T>(
        &self,
        call: Call,
        deed: impl FnOnce(&mut State, Due) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let due = self.desk.lock().begin(call);
        if let Some(time) = due.wait {
            self.wait(call, time);
        }
        let mut state = self.desk.lock();
        state.admit(call, self.number)?;
        let Some(failure) = due.failure else { return deed(&mut state, due) };
        if failure.late {
            deed(&mut state, due)?;
        }
        state.failed(call, failure);
        drop(state);
        Err(fail(call, failure))
    }

    /// Waits until the call is released, the time is over, or no handle is left that could release it.
    fn wait(&self, call: Call, time: Option<Duration>) {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        let mut state = self.desk.lock();
        let before = state.releases;
        state.hanging = Some(call);
        self.desk.moved.notify_all();
        while state.releases == before && !state.abandoned {
            state = match until.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.desk.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.desk.moved.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.hanging = None;
    }
}

/// The error of a failed call; panics if a panic was planned.
#[allow(clippy::panic, reason = "a backend that panics is what was asked for")]
fn fail(call: Call, failure: Failure) -> BackendError {
    let Failure { kind, late, .. } = failure;
    match kind {
        None => panic!("a planned panic in {call:?}"),
        Some(kind) => {
            let when = if late { ", after it was done" } else { "" };
            BackendError::new(kind, format!("a planned failure of {call:?}{when}: {kind}"))
        }
    }
}

/// Returns whether a sync that is part of the call succeeds.
fn syncs(due: Due) -> bool {
    due.failure.is_none_or(|failure| failure.kind != Some(ErrorKind::Io))
}

impl Backend for FaultyBackend {
    fn load(&mut self, into: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        let number = self.number;
        self.call(Call::Load, |state, _| state.load(number, into))
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        self.call(Call::Apply, |state, due| state.apply(batch, due.refuse, syncs(due)))
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        let number = self.number;
        self.call(Call::Reopen, |state, _| Ok(state.reopen(number)))
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        self.call(Call::Replace, |state, _| {
            state.replace();
            Ok(())
        })
    }

    fn tidy(&mut self, idle: bool) -> Result<bool, BackendError> {
        self.call(Call::Tidy, |state, due| state.tidy(idle, syncs(due)))
    }

    fn close(&mut self, watermark: u64) -> Result<(), BackendError> {
        self.call(Call::Close, |state, _| state.close(watermark))
    }
}

/// Models the end of the process that had the data open.
impl Drop for FaultyBackend {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        if state.owner == Some(self.number) {
            state.owner = None;
        }
    }
}
