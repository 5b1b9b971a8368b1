//! Flushing on demand: waiting for the watermark.

use super::TraceStore;
use crate::Durability;
use crate::error::{Error, Result};
use crate::protocol::{FlushOutcome, FlushTicket, Opening, WaiterId};
use crate::state::{FlushReport, State};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

impl TraceStore {
    /// Waits until every write that returned before this call is durable, together with every write that it may depend
    /// on. If nothing is unflushed, returns at once and does not touch the disk. Callers that wait at the same time
    /// share one cut and one sync. A row that the backend rejects for its content is left out, counted in the report,
    /// and listed in [`Stats::quarantined`](crate::Stats::quarantined).
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// store.insert(NewTrace::semantic(json!("the north basin silts up")))?;
    /// let report = store.flush()?;
    /// assert!(store.watermark().durable >= report.watermark);
    /// assert_eq!((store.stats().dirty, store.stats().oldest_unflushed), (0, None));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the flush that this call waited for. No data is lost: the changes are kept and flushed again.
    /// [`Forked`](crate::ErrorKind::Forked) in a child process, which has no flusher;
    /// [`WouldDeadlock`](crate::ErrorKind::WouldDeadlock) on a flusher's own thread, for example in a waker.
    pub fn flush(&self) -> Result<FlushReport> {
        self.state().check_may_wait()?;
        self.flush_up_to(self.newest_change())
    }

    /// Waits until a generation is durable, even if it contains no change.
    pub(super) fn flush_up_to(&self, generation: u64) -> Result<FlushReport> {
        match self.request_flush(generation) {
            Ok(goal) => outcome(self.state().progress.wait(goal)),
            Err(nothing_to_do) => Ok(nothing_to_do),
        }
    }

    /// [`flush`](Self::flush) as a future, for any executor or none. The call itself requests the flush; dropping the
    /// future does not cancel it.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`flush`](Self::flush), except that it may be called on any thread.
    pub fn flush_async(&self) -> impl Future<Output = Result<FlushReport>> + Send + 'static {
        self.reached(self.state().check_not_forked().map(|()| self.request_flush(self.newest_change())))
    }

    /// Returns a mark for every write that returned before this call, and every write that these may depend on, for
    /// use with [`wait`](Self::wait). Costs a few loads, and a lock that is held only briefly.
    pub fn mark(&self) -> Mark {
        let (state, generation) = (self.state(), self.newest_change());
        // In a child process the lock may stay locked forever.
        let generation =
            if !state.is_forked() { state.progress.watermark_of(generation) } else { generation };
        Mark { store: state.number, generation }
    }

    /// Resolves once all writes covered by a mark are durable, whichever flush makes them so. For a host that answers
    /// many requests and lets the [interval](crate::StoreBuilder::flush_interval) decide how many of them share a
    /// sync, whereas [`flush_async`](Self::flush_async) requests a flush. The future runs on any executor or none.
    ///
    /// With [`Durability::Committed`](crate::Durability) it resolves when a flush is requested, or when the WAL is
    /// emptied.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// store.insert(NewTrace::semantic(serde_json::json!("low water at noon")))?;
    /// let mark = store.mark();
    /// let durable = store.wait(mark); // await it before you answer
    /// # store.flush()?;
    /// assert!(store.watermark().durable >= mark.generation());
    /// # drop(durable);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of a flush that covered the mark and failed after the call; otherwise the errors of
    /// [`flush`](Self::flush). No data is lost, and the mark can be waited for again.
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a mark of another store, or of another opening of this
    /// store.
    pub fn wait(&self, mark: Mark) -> impl Future<Output = Result<FlushReport>> + Send + 'static {
        let may_wait = self.state().check_not_forked().and_then(|()| self.is_mine(mark));
        self.reached(may_wait.map(|()| self.await_flush(mark.generation)))
    }

    fn is_mine(&self, mark: Mark) -> Result<()> {
        if mark.store == self.state().number {
            Ok(())
        } else {
            Err(Error::invalid("mark", "of another store", "wait for it where it was made"))
        }
    }

    /// See [`State::await_generation`]; `Err` if the generation is already durable.
    fn await_flush(&self, generation: u64) -> std::result::Result<FlushTicket, FlushReport> {
        let goal = self.state().await_generation(generation).map_err(nothing_to_do)?;
        self.help();
        Ok(goal)
    }

    /// Makes the flushes that were requested or are waited for, if the flusher has no thread.
    fn help(&self) {
        let progress = &self.state().progress;
        self.owner.flusher.run_inline(|flusher| {
            // Repeats if the waker of a waiter has requested another flush. After a failed flush its callers request
            // the next one.
            while (progress.flush_requested() || progress.has_waiters())
                && flusher.flush_once(Durability::Durable, Opening::Open)
            {}
        });
    }

    fn reached(
        &self,
        goal: Result<std::result::Result<FlushTicket, FlushReport>>,
    ) -> impl Future<Output = Result<FlushReport>> + Send + 'static {
        let mut registration = Registration { state: self.owner.inner.state.clone(), waiter: None };
        poll_fn(move |context| {
            let Registration { state, waiter } = &mut registration;
            // Checked again on each poll: a fork may have moved the future into a child process.
            match goal.clone().and_then(|goal| state.check_not_forked().map(|()| goal)) {
                Ok(Ok(goal)) => state.progress.poll(goal, waiter, context).map(outcome),
                Ok(Err(nothing_to_do)) => Poll::Ready(Ok(nothing_to_do)),
                Err(forked) => Poll::Ready(Err(forked)),
            }
        })
    }

    /// Returns the last generation that contains a change by this thread, or one that happened before.
    fn newest_change(&self) -> u64 {
        let inside = self.state().generations.enter();
        // Each of these changes is counted in its generation: if that is the open generation, the count is not 0.
        inside.number() - u64::from(inside.dirty() == 0)
    }

    /// Requests a flush of a generation from the flusher; `Err` if it is already durable, and the disk is not touched.
    fn request_flush(&self, generation: u64) -> std::result::Result<FlushTicket, FlushReport> {
        let state = self.state();
        let goal = state.progress.request(generation);
        let goal = goal.map_err(nothing_to_do)?;
        state.notify.notify();
        self.help();
        Ok(goal)
    }
}

/// The writes made up to some moment; from [`TraceStore::mark`]. Belongs to one opening of one store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mark {
    store: u64,
    generation: u64,
}

impl Mark {
    /// Returns a [watermark](crate::Watermark) at which all marked writes are stored. They may already be stored at a
    /// lower one: a cut that finds nothing to write leaves the watermark unchanged. [`wait`](TraceStore::wait) takes
    /// that into account.
    pub fn generation(self) -> u64 {
        self.generation
    }
}

/// The waiter that wakes a future; removed when dropped.
struct Registration {
    state: Arc<State>,
    waiter: Option<WaiterId>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // A child process has no thread to wake the waiter, and the lock may stay locked forever there.
        if let Some(waiter) = self.waiter.filter(|_| !self.state.is_forked()) {
            self.state.progress.give_up(waiter);
        }
    }
}

/// Returns the report of a flush that had nothing to do.
fn nothing_to_do(watermark: u64) -> FlushReport {
    FlushReport { watermark, ..FlushReport::default() }
}

fn outcome(wait: FlushOutcome<FlushReport, Error>) -> Result<FlushReport> {
    match wait {
        FlushOutcome::Done(report) => Ok(report),
        FlushOutcome::Failed(error) => Err(error),
    }
}
