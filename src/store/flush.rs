//! Flushing on demand: waiting for the watermark.

use super::TraceStore;
use crate::backend::Reach;
use crate::core::{Goal, Opening, Wait, WaiterId};
use crate::error::{Error, Result};
use crate::flusher::{FlushReport, Shared};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

impl TraceStore {
    /// Returns when every write that returned before this call is durable, and with it every write that it
    /// can have depended on. With nothing unflushed it returns at once and touches no disk. Callers that
    /// wait at the same time share one cut and one sync. A row that the backend refuses for its content is left
    /// out, counted in the report, and listed in [`Stats::quarantined`](crate::Stats::quarantined).
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
    /// Why the flush that this call waited for failed. Nothing is lost: the changes are kept and tried
    /// again. [`Forked`](crate::ErrorKind::Forked) in a child process, which has no flusher;
    /// [`WouldDeadlock`](crate::ErrorKind::WouldDeadlock) on a flusher's own thread, as in a waker.
    pub fn flush(&self) -> Result<FlushReport> {
        self.shared().may_wait()?;
        self.flush_up_to(self.newest_change())
    }

    /// Returns when this generation is durable, whatever is in it.
    pub(super) fn flush_up_to(&self, generation: u64) -> Result<FlushReport> {
        match self.request_flush(generation) {
            Ok(goal) => outcome(self.shared().progress.wait(goal)),
            Err(nothing_to_do) => Ok(nothing_to_do),
        }
    }

    /// [`flush`](Self::flush) as a future, for any executor or none. The flush is asked for by the call
    /// itself; dropping the future does not take that back.
    ///
    /// # Errors
    ///
    /// As for [`flush`](Self::flush); it may be asked for on any thread.
    pub fn flush_async(&self) -> impl Future<Output = Result<FlushReport>> + Send + 'static {
        self.reached(self.shared().has_flusher().map(|()| self.request_flush(self.newest_change())))
    }

    /// Names every write that returned before this call, and all that they can have depended on: for
    /// [`wait`](Self::wait). Costs a few loads, and a lock that is held for moments only.
    pub fn mark(&self) -> Mark {
        let (shared, generation) = (self.shared(), self.newest_change());
        // In a child process the lock may be held for good.
        let generation = match shared.is_forked() {
            false => shared.progress.watermark_of(generation),
            true => generation,
        };
        Mark { store: shared.number, generation }
    }

    /// Resolves when all that a mark names is durable, by whatever flush makes it so: for a host that answers many
    /// requests and lets the [interval](crate::StoreBuilder::flush_interval) decide how many share a sync, where
    /// [`flush_async`](Self::flush_async) asks for one. A future, for any executor or none.
    ///
    /// With [`Durability::Relaxed`](crate::Durability) that is when somebody flushes, or the log is emptied.
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
    /// Why a flush failed that covered it, since the call; as for [`flush`](Self::flush). Nothing is lost, and the mark
    /// can be waited for again. [`InvalidInput`](crate::ErrorKind::InvalidInput) for a mark of another store, or of
    /// another opening of this one.
    pub fn wait(&self, mark: Mark) -> impl Future<Output = Result<FlushReport>> + Send + 'static {
        let may_wait = self.shared().has_flusher().and_then(|()| self.is_mine(mark));
        self.reached(may_wait.map(|()| self.await_flush(mark.generation)))
    }

    fn is_mine(&self, mark: Mark) -> Result<()> {
        match mark.store == self.shared().number {
            true => Ok(()),
            false => Err(Error::invalid("mark", "of another store", "wait for it where it was made")),
        }
    }

    /// See [`Shared::await_generation`]; `Err` if it is durable.
    fn await_flush(&self, generation: u64) -> std::result::Result<Goal, FlushReport> {
        let goal = self.shared().await_generation(generation).map_err(nothing_to_do)?;
        self.help();
        Ok(goal)
    }

    /// Flushes what is asked and waited for, if there is no thread that does.
    fn help(&self) {
        let progress = &self.shared().progress;
        self.handle.flusher.help(|driver| {
            // Again, should the waker of one who waited have asked for more. What fails is its callers' to ask for again.
            while (progress.wanted() || progress.awaited()) && driver.turn(Reach::Durable, Opening::Open) {}
        });
    }

    fn reached(
        &self,
        goal: Result<std::result::Result<Goal, FlushReport>>,
    ) -> impl Future<Output = Result<FlushReport>> + Send + 'static {
        let mut place = Place { shared: self.handle.engine.shared.clone(), waiter: None };
        poll_fn(move |context| {
            let Place { shared, waiter } = &mut place;
            // Asked again: the future may have come into a child process by a fork.
            match goal.clone().and_then(|goal| shared.has_flusher().map(|()| goal)) {
                Ok(Ok(goal)) => shared.progress.poll(goal, waiter, context).map(outcome),
                Ok(Err(nothing_to_do)) => Poll::Ready(Ok(nothing_to_do)),
                Err(forked) => Poll::Ready(Err(forked)),
            }
        })
    }

    /// The last generation that has a change of this thread, or one that happened before.
    fn newest_change(&self) -> u64 {
        let inside = self.shared().clock.enter();
        // Each of them is counted in its generation: if that is the open one, the count is not 0.
        inside.number() - u64::from(inside.dirty() == 0)
    }

    /// Asks the flusher for a generation; `Err` if it is durable, and the disk is not touched.
    fn request_flush(&self, generation: u64) -> std::result::Result<Goal, FlushReport> {
        let shared = self.shared();
        let goal = shared.progress.request(generation);
        let goal = goal.map_err(nothing_to_do)?;
        shared.bell.ring();
        self.help();
        Ok(goal)
    }
}

/// What was written up to some moment; from [`TraceStore::mark`]. Belongs to one opening of one store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mark {
    store: u64,
    generation: u64,
}

impl Mark {
    /// A [watermark](crate::Watermark) at which all of it is stored. It may be stored at a lower one already: a cut
    /// that finds nothing to write leaves the watermark as it is. [`wait`](TraceStore::wait) knows.
    pub fn generation(self) -> u64 {
        self.generation
    }
}

/// Where a future is to be woken, while it lives.
struct Place {
    shared: Arc<Shared>,
    waiter: Option<WaiterId>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // A child process has nobody to wake it, and the lock may be held for good there.
        if let Some(waiter) = self.waiter.filter(|_| !self.shared.is_forked()) {
            self.shared.progress.give_up(waiter);
        }
    }
}

/// The report of a flush that had nothing to do.
fn nothing_to_do(watermark: u64) -> FlushReport {
    FlushReport { watermark, ..FlushReport::default() }
}

fn outcome(wait: Wait<FlushReport, Error>) -> Result<FlushReport> {
    match wait {
        Wait::Done(report) => Ok(report),
        Wait::Failed(error) => Err(error),
    }
}
