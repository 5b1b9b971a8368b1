//! Closing, and the drop that stands in for it.

use super::engine::Engine;
use super::{Handle, TraceStore, tell};
use crate::core::is_at_work;
use crate::error::{Error, ErrorKind};
use std::fmt;
use std::time::{Duration, Instant};

/// What a close did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CloseReport {
    /// The generation up to which everything is durable: all there ever was.
    pub watermark: u64,
    /// How many traces the store held, quarantined ones included.
    pub traces: usize,
    /// How long it took.
    pub elapsed: Duration,
}

/// A close that failed, with the store, which goes on as before: close it again, or go on.
pub struct CloseError {
    /// The store.
    pub store: TraceStore,
    /// Why it did not close.
    pub error: Error,
}

impl fmt::Debug for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for CloseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Drops the store, whose drop tries once more.
impl From<CloseError> for Error {
    fn from(failed: CloseError) -> Self {
        failed.error
    }
}

impl TraceStore {
    /// Drains the store, marks a clean end in the file, and gives up its ownership. Every write that
    /// returned success is durable then; later ones, through any clone, get
    /// [`Closed`](ErrorKind::Closed). Excepted are rows that the backend refuses: see
    /// [`Stats::quarantined`](crate::Stats::quarantined). Reads go on from memory. Closing twice is no error.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// store.insert(NewTrace::semantic(json!("the pilot is aboard")))?;
    /// let report = match store.close() {
    ///     Ok(report) => report,
    ///     // The disk is full, say: the store is back, and nothing is lost as long as it lives.
    ///     Err(failed) => failed.store.close()?,
    /// };
    /// assert_eq!(report.traces, 1);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CloseError`], with the store and why: the flusher could not drain within the
    /// [timeout](crate::StoreBuilder::close_timeout). The store goes on taking writes, though one that came
    /// while the last drain was being tried may have been refused. [`Forked`](ErrorKind::Forked) in a child process,
    /// [`WouldDeadlock`](ErrorKind::WouldDeadlock) on a flusher's own thread.
    pub fn close(self) -> Result<CloseReport, CloseError> {
        if let Err(error) = self.shared().may_wait() {
            return Err(CloseError { store: self, error });
        }
        match self.handle.close() {
            Ok(report) => Ok(report),
            Err(error) if self.shared().progress.give_up_closing() => Err(CloseError { store: self, error }),
            // It has closed at the last moment: asked again, it says so.
            Err(_) => self.close(),
        }
    }
}

impl Handle {
    fn close(&self) -> Result<CloseReport, Error> {
        let started = Instant::now();
        let Engine { shared, settings, .. } = &*self.engine;
        let (progress, patience) = (&shared.progress, settings.close_timeout);
        let span = tell::closing(&shared.name);
        let _inside = span.enter();
        progress.start_closing();
        shared.bell.ring();
        self.flusher.help(|driver| {
            driver.close();
        });
        let last = progress.wait_closed(patience).map_err(|cause| self.not_drained(cause))?;
        self.upkeep.stop();
        self.flusher.join();
        let report = CloseReport {
            watermark: last.watermark,
            traces: shared.traces.len(),
            elapsed: started.elapsed(),
        };
        tell::closed(&span, &report);
        Ok(report)
    }

    fn not_drained(&self, cause: Option<Error>) -> Error {
        // What has been tolerated as contention so far is the cause all the same.
        let Engine { shared, settings, .. } = &*self.engine;
        let cause = cause.or_else(|| shared.telemetry.present_error());
        let (patience, dirty) = (settings.close_timeout, shared.dirty());
        let message = format!(
            "the store did not drain within {patience:?}: {dirty} changed traces are not on disk; mend the cause and close it again"
        );
        let error = Error::new(cause.as_ref().map_or(ErrorKind::TimedOut, Error::kind), message);
        cause.into_iter().fold(error, Error::because)
    }
}

/// The backstop: the last clone drains as a close would, and logs what it could not write in time; the flusher
/// goes on trying, and closes when it can. Under loom the crate has no thread to drain with, and drops what is
/// unflushed. In a child process it does nothing.
impl Drop for Handle {
    fn drop(&mut self) {
        if self.engine.shared.is_forked() {
            // There is nobody to wait for, and what is not flushed is the parent's to flush.
            self.upkeep.forget();
            self.flusher.forget();
            #[cfg(all(feature = "sqlite", not(loom)))]
            crate::backend::sqlite::give_up_inherited_locks();
            return;
        }
        let progress = &self.engine.shared.progress;
        self.upkeep.stop();
        if cfg!(loom) || progress.is_closed() {
            return;
        }
        if is_at_work() {
            // Dropped by a waker: a flusher can't wait for a flusher, and this one closes when it comes to it.
            progress.start_closing();
            self.engine.shared.bell.ring();
            return;
        }
        if let Err(error) = self.close() {
            let shared = &self.engine.shared;
            tell::dropped(&shared.name, &error, shared.dirty());
        }
    }
}
