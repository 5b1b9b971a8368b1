//! Sending a task to the flusher and waiting for its answer.

use super::TraceStore;
use crate::Durability;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::Opening;
use crate::state::CutTask;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Interval at which a waiter checks whether the store has closed.
const GLANCE: Duration = Duration::from_millis(20);

impl TraceStore {
    /// Has the flusher make a cut for the task, and returns its answer. Returns `None` if the store has closed: it
    /// then has no flusher and no longer changes.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        task: fn(Box<dyn FnOnce(T) + Send>) -> CutTask,
    ) -> Result<Option<T>> {
        let state = self.state();
        state.check_may_wait()?;
        let (show, shown) = mpsc::sync_channel(1);
        state.send(task(Box::new(move |it| drop(show.send(it)))));
        self.owner.flusher.run_inline(|flusher| {
            flusher.flush_once(Durability::Committed, Opening::Open);
            while flusher.compacts() {
                flusher.compact();
            }
        });
        while !state.progress.is_closed() {
            match shown.recv_timeout(GLANCE) {
                Ok(it) => return Ok(Some(it)),
                Err(RecvTimeoutError::Timeout) => {}
                // Tasks not answered when the store closes are dropped with the flusher.
                Err(RecvTimeoutError::Disconnected) if state.progress.is_closed() => break,
                Err(RecvTimeoutError::Disconnected) => {
                    let message = "the flusher panicked at what it was asked for: ask again";
                    return Err(Error::new(ErrorKind::Panicked, message));
                }
            }
        }
        Ok(shown.try_recv().ok())
    }
}
