//! Asking the flusher for something, and waiting for its answer.

use super::TraceStore;
use crate::backend::Reach;
use crate::core::Opening;
use crate::error::Result;
use crate::flusher::Errand;
use std::sync::mpsc;
use std::time::Duration;

/// How long who waits for the flusher looks away from whether the store has closed.
const GLANCE: Duration = Duration::from_millis(20);

impl TraceStore {
    /// What the flusher shows of a cut that it makes for this; `None` if the store has closed: then it has no
    /// flusher, and changes no more.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        errand: fn(Box<dyn FnOnce(T) + Send>) -> Errand,
    ) -> Result<Option<T>> {
        let shared = self.shared();
        shared.has_flusher()?;
        let (show, shown) = mpsc::sync_channel(1);
        shared.send(errand(Box::new(move |it| drop(show.send(it)))));
        self.handle.flusher.help(|driver| {
            driver.turn(Reach::Committed, Opening::Open);
            while driver.compacts() {
                driver.compact();
            }
        });
        while !shared.progress.is_closed() {
            if let Ok(it) = shown.recv_timeout(GLANCE) {
                return Ok(Some(it));
            }
        }
        Ok(shown.try_recv().ok())
    }
}
