//! Closing, and the drop that replaces a missing close.

use super::inner::Inner;
use super::{Owner, TraceStore, Watermark, events};
use crate::error::{Error, ErrorKind};
use crate::protocol::is_at_work;
use std::fmt;
#[cfg(not(loom))]
use std::future::poll_fn;
#[cfg(not(loom))]
use std::sync::{Arc, Mutex, PoisonError};
#[cfg(not(loom))]
use std::task::{Poll, Waker};
use std::time::Instant;

/// A failed close. It contains the store, which works as before: close it again, or continue to use it. Only a store
/// whose space another owner has taken over is closed.
pub struct CloseError {
    /// The store, still open.
    pub store: TraceStore,
    /// The reason why the store did not close.
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

/// Drops the store, which tries once more to close it.
impl From<CloseError> for Error {
    fn from(failed: CloseError) -> Self {
        failed.error
    }
}

impl TraceStore {
    /// Writes all changes to the file, marks a clean end in it, and gives up its ownership. Every write that returned
    /// success is then durable, except rows that the backend rejects: see
    /// [`Stats::quarantined`](crate::Stats::quarantined). Later writes, through any clone, return
    /// [`Closed`](ErrorKind::Closed). Reads continue from memory. Closing a closed store is not an error.
    ///
    /// Returns the last watermark, which covers every write ever made.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// store.insert(NewTrace::semantic(json!("the pilot is aboard")))?;
    /// let watermark = match store.close() {
    ///     Ok(watermark) => watermark,
    ///     // The disk is full, say: the store is back, and nothing is lost as long as it lives.
    ///     Err(failed) => failed.store.close()?,
    /// };
    /// assert_eq!(watermark.durable, watermark.committed);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CloseError`], with the store and the reason: the flusher could not write all changes within the
    /// [timeout](crate::StoreBuilder::close_timeout). The store continues to accept writes, although a write made
    /// during the last attempt to close may have been rejected. [`InUse`](ErrorKind::InUse) if another owner has taken
    /// the store's space over: then the store is closed, and the message names the file with what could
    /// not be written. [`Forked`](ErrorKind::Forked) in a child process,
    /// [`WouldDeadlock`](ErrorKind::WouldDeadlock) on a flusher's own thread.
    pub fn close(self) -> Result<Watermark, CloseError> {
        if let Err(error) = self.state().check_may_wait() {
            return Err(CloseError { store: self, error });
        }
        match self.owner.close() {
            Ok(report) => Ok(report),
            // Or it is closed, and what could not be written is elsewhere.
            Err(error)
                if self.state().progress.give_up_closing() || self.state().counters.left().is_some() =>
            {
                Err(CloseError { store: self, error })
            }
            // The store closed at the last moment: a second close returns the watermark.
            Err(_) => self.close(),
        }
    }
}

#[cfg(not(loom))]
impl TraceStore {
    /// [`close`](Self::close) as a future, for any executor or none. The call itself starts the close, on a thread of
    /// its own; dropping the future does not cancel it.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// async fn shut_down(store: TraceStore) -> mnemon::Result<()> {
    ///     let watermark = store.close_async().await?;
    ///     assert_eq!(watermark.durable, watermark.committed);
    ///     Ok(())
    /// }
    /// # drop(shut_down(TraceStore::in_memory()));
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`close`](Self::close), and [`Io`](ErrorKind::Io) if the thread can't be started.
    pub fn close_async(self) -> impl Future<Output = Result<Watermark, CloseError>> + Send + 'static {
        let closing = Arc::new(Mutex::new(Closing::default()));
        let (shared, store) = (closing.clone(), self.clone());
        let close = move || {
            let done = store.close();
            let waker = {
                let mut closing = shared.lock().unwrap_or_else(PoisonError::into_inner);
                closing.done = Some(done);
                closing.waker.take()
            };
            waker.into_iter().for_each(crate::protocol::wake);
        };
        if let Err(cause) = std::thread::Builder::new().name("mnemon-close".to_owned()).spawn(close) {
            let message = "the thread that closes the store can't be started: raise the limit on threads";
            let error = Error::new(ErrorKind::Io, message).because(cause);
            let failed = CloseError { store: self, error };
            closing.lock().unwrap_or_else(PoisonError::into_inner).done = Some(Err(failed));
        }
        poll_fn(move |context| {
            // Cloned, and the one before dropped, without the lock: a waker is the caller's code.
            let mut waker = Some(context.waker().clone());
            let mut closing = closing.lock().unwrap_or_else(PoisonError::into_inner);
            match closing.done.take() {
                Some(done) => Poll::Ready(done),
                None => {
                    std::mem::swap(&mut closing.waker, &mut waker);
                    drop(closing);
                    Poll::Pending
                }
            }
        })
    }
}

/// A close on a thread of its own.
#[cfg(not(loom))]
#[derive(Default)]
struct Closing {
    done: Option<Result<Watermark, CloseError>>,
    waker: Option<Waker>,
}

impl Owner {
    fn close(&self) -> Result<Watermark, Error> {
        let started = Instant::now();
        let Inner { state, settings, .. } = &*self.inner;
        let (progress, patience) = (&state.progress, settings.close_timeout);
        let span = events::closing(&state.name);
        let _inside = span.enter();
        progress.start_closing();
        state.notify.notify();
        self.flusher.run_inline(|flusher| {
            flusher.close();
        });
        let last = progress.wait_closed(patience).map_err(|cause| self.not_drained(cause))?.watermark;
        self.upkeep.stop();
        self.flusher.join();
        state.indexing.finish();
        self.indexer.join();
        if let Some(left) = state.counters.left() {
            return Err(left);
        }
        events::closed(&span, last, state.traces.len(), started.elapsed());
        Ok(Watermark { committed: last, durable: last })
    }

    fn not_drained(&self, cause: Option<Error>) -> Error {
        // An error that was tolerated as contention so far is still the cause.
        let Inner { state, settings, .. } = &*self.inner;
        let cause = cause.or_else(|| state.counters.present_error());
        let (patience, dirty) = (settings.close_timeout, state.dirty());
        let message = format!(
            "the store did not drain within {patience:?}: {dirty} changed traces are not on disk; mend the cause and close it again"
        );
        let error = Error::new(cause.as_ref().map_or(ErrorKind::TimedOut, Error::kind), message);
        cause.into_iter().fold(error, Error::because)
    }
}

/// Fallback for a missing close: dropping the last clone writes all changes as a close would, and logs those that it
/// could not write in time; the flusher keeps trying, and closes once it can. Under loom the crate has no thread to
/// write changes with, and drops the unflushed ones. In a child process the drop does nothing.
impl Drop for Owner {
    fn drop(&mut self) {
        if self.inner.state.is_forked() {
            // There is no thread to wait for, and unflushed changes are flushed by the parent process.
            self.upkeep.forget();
            self.flusher.forget();
            self.indexer.forget();
            #[cfg(all(feature = "sqlite", not(loom)))]
            crate::backend::sqlite::give_up_inherited_locks();
            return;
        }
        let progress = &self.inner.state.progress;
        self.inner.state.indexing.abandon();
        self.upkeep.stop();
        if cfg!(loom) || progress.is_closed() {
            return;
        }
        if is_at_work() {
            // Dropped by a waker: a flusher can't wait for a flusher. This one closes the store when it gets to it.
            progress.start_closing();
            self.inner.state.notify.notify();
            return;
        }
        if let Err(error) = self.close()
            && !progress.is_closed()
        {
            let state = &self.inner.state;
            events::dropped(&state.name, &error, state.dirty());
        }
    }
}
