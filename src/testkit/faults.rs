//! The handle: planning faults, and looking at what is stored.

use super::backend::FaultyBackend;
use super::image::Image;
use super::plan::{Call, Plan, Rule};
use super::state::State;
use crate::trace::TraceId;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How a process ends that does not end well.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Crash {
    /// The process is killed: what was applied is there.
    Kill,
    /// The power fails: what was synced is there.
    PowerLoss,
}

/// What a test does with a [`FaultyBackend`]: plans faults, and looks at what is stored. Clones are the same handle.
/// When the last is dropped, whatever hangs is released.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    handle: Arc<Handle>,
}

#[derive(Debug, Default)]
struct Handle {
    desk: Arc<Desk>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.desk.lock().abandoned = true;
        self.desk.moved.notify_all();
    }
}

/// Where the handle and the backend meet. The lock is held for moments, never while a call hangs.
#[derive(Debug, Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    pub(super) moved: Condvar,
}

impl Desk {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults {
    /// Nothing stored, and no fault.
    pub fn new() -> Self {
        Self::default()
    }

    /// This image stored, live and durable, and no fault.
    pub fn over(image: Image) -> Self {
        let desk = Desk { state: Mutex::new(State::over(image)), moved: Condvar::new() };
        Self { handle: Arc::new(Handle { desk: Arc::new(desk) }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.handle.desk.lock()
    }

    /// A backend to open a store with. It finds the live image, as a process does that is started again; while
    /// another store has it open, opening fails with [`InUse`](crate::ErrorKind::InUse).
    pub fn backend(&self) -> FaultyBackend {
        let number = {
            let mut state = self.lock();
            state.backends += 1;
            state.backends
        };
        FaultyBackend::new(self.handle.desk.clone(), number)
    }

    /// Plans a fault of calls of a kind: say which of them, and [with](Plan::with) what.
    ///
    /// ```
    /// use mnemon::backend::ErrorClass;
    /// use mnemon::testkit::{Call, Faults};
    ///
    /// let faults = Faults::new();
    /// faults.fail(Call::Apply).at(3).times(2).with(ErrorClass::Full);
    /// ```
    pub fn fail(&self, call: Call) -> Plan<'_> {
        Plan::new(self, call)
    }

    pub(super) fn plan(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Ends every fault, those planned too; releases what hangs, and accepts every row. What a failure has done
    /// stays done.
    pub fn lift(&self) {
        let mut state = self.lock();
        state.rules.clear();
        state.refused.clear();
        drop(state);
        self.release();
    }

    /// Refuses every write of this trace's row, until it is [accepted](Self::accept) again.
    pub fn refuse(&self, id: TraceId) {
        self.lock().refused.insert(id);
    }

    /// Takes that back. The row comes when the trace changes.
    pub fn accept(&self, id: TraceId) {
        self.lock().refused.remove(&id);
    }

    /// Lets the call go on that hangs, if one does.
    pub fn release(&self) {
        self.lock().releases += 1;
        self.handle.desk.moved.notify_all();
    }

    /// The call that hangs or is slow at this moment.
    pub fn hanging(&self) -> Option<Call> {
        self.lock().hanging
    }

    /// Waits until a call hangs or is slow, and answers which.
    pub fn wait_until_hanging(&self) -> Call {
        let mut state = self.lock();
        loop {
            match state.hanging {
                Some(call) => return call,
                None => state = self.handle.desk.moved.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Leaves the durable image as it is from the n-th sync on, counted from now, 1 being the next: as if the power
    /// failed just before it. The store is told that all is well, and goes on; look at the
    /// [durable](Self::durable) image when it has.
    pub fn freeze_at_sync(&self, n: u64) {
        let mut state = self.lock();
        state.freeze_at = Some(state.syncs + n.max(1));
    }

    /// Whether all that was applied is synced after each batch, as a checkpoint does. It is not, unless so set,
    /// until the store is idle.
    pub fn sync_when_tidying(&self, sync: bool) {
        self.lock().sync_when_tidying = sync;
    }

    /// What the end of the process leaves: all that was applied.
    pub fn live(&self) -> Image {
        self.lock().live.clone()
    }

    /// What a power loss is sure to leave: all that was synced.
    pub fn durable(&self) -> Image {
        self.lock().durable.clone()
    }

    /// Everything that a power loss might leave, the oldest first: what was synced, and that with the first of the
    /// batches since, with the first two, and so on.
    pub fn after_power_loss(&self) -> Vec<Image> {
        self.lock().after_power_loss()
    }

    /// What was found damaged and put aside, the oldest first.
    pub fn put_aside(&self) -> Vec<Image> {
        self.lock().aside.clone()
    }

    /// A handle over what a crash would leave at this moment, with no faults. The run it is taken from goes on.
    #[must_use = "the run goes on: what the crash leaves is in the handle"]
    pub fn crash(&self, crash: Crash) -> Faults {
        Self::over(match crash {
            Crash::Kill => self.live(),
            Crash::PowerLoss => self.durable(),
        })
    }

    /// How many calls of a kind there have been, those that failed included.
    pub fn calls(&self, call: Call) -> u64 {
        self.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// How many syncs there have been.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// How many calls have got a planned fault.
    pub fn injected(&self) -> u64 {
        self.lock().injected
    }

    /// Where the store did not keep its side towards the backend; none, if it is as it should be. Each such call
    /// has failed.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }
}
