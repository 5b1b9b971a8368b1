//! Sending a task to the flusher and waiting for its answer.

use super::TraceStore;
use crate::backend::Reach;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::Opening;
use crate::state::Errand;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Interval at which a waiter checks whether the store has closed.
const GLANCE: Duration = Duration::from_millis(20);

impl TraceStore {
    /// Has the flusher make a cut for the task, and returns its answer. Returns `None` if the store has closed: it
    /// then has no flusher and no longer changes.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        errand: fn(Box<dyn FnOnce(T) + Send>) -> Errand,
    ) -> Result<Option<T>> {
        let shared = self.shared();
        shared.may_wait()?;
        let (show, shown) = mpsc::sync_channel(1);
        shared.send(errand(Box::new(move |it| drop(show.send(it)))));
        self.handle.flusher.help(|driver| {
            driver.turn(Reach::Committed, Opening::Open);
            while driver.compacts() {
                driver.compact();
            }
        });
        while !shared.progress.is_closed() {
            match shown.recv_timeout(GLANCE) {
                Ok(it) => return Ok(Some(it)),
                Err(RecvTimeoutError::Timeout) => {}
                // Tasks not answered when the store closes are dropped with the flusher.
                Err(RecvTimeoutError::Disconnected) if shared.progress.is_closed() => break,
                Err(RecvTimeoutError::Disconnected) => {
                    let message = "the flusher panicked at what it was asked for: ask again";
                    return Err(Error::new(ErrorKind::Panicked, message));
                }
            }
        }
        Ok(shown.try_recv().ok())
    }
}
