//! The handle: plans faults, and shows the stored data.

use super::backend::FaultyBackend;
use super::image::Image;
use super::plan::{Call, Plan, Rule};
use super::state::State;
use crate::backend::Backend;
use crate::trace::TraceId;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A test's handle to a [backend](Self::backend) that fails: plans faults, and shows the stored data. Clones are the same handle. When
/// the last clone is dropped, a call that hangs is released.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    handle: Arc<Handle>,
}

#[derive(Debug, Default)]
struct Handle {
    desk: Arc<SharedState>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.desk.lock().abandoned = true;
        self.desk.moved.notify_all();
    }
}

/// The state that handle and backend share. The lock is held for moments, never while a call hangs.
#[derive(Debug, Default)]
pub(super) struct SharedState {
    state: Mutex<State>,
    pub(super) moved: Condvar,
}

impl SharedState {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults {
    /// A handle with nothing stored and no faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle with this image stored, both live and durable, and no faults. Over the [live](Self::live) image of
    /// another handle it has what a killed process leaves, over its [durable](Self::durable) one what a power loss
    /// leaves; the original run goes on.
    pub fn over(image: Image) -> Self {
        let desk = SharedState { state: Mutex::new(State::over(image)), moved: Condvar::new() };
        Self { handle: Arc::new(Handle { desk: Arc::new(desk) }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.handle.desk.lock()
    }

    /// Returns a backend to open a store with. It holds the live image, as after a restart of the process; while
    /// another store has the data open, opening fails with [`InUse`](crate::ErrorKind::InUse).
    pub fn backend(&self) -> impl Backend + use<> {
        let number = {
            let mut state = self.lock();
            state.backends += 1;
            state.backends
        };
        FaultyBackend::new(self.handle.desk.clone(), number)
    }

    /// Plans a fault for calls of this kind: choose which of them, then pass the fault to [`with`](Plan::with).
    ///
    /// ```
    /// use mnemon::ErrorKind;
    /// use mnemon::testkit::{Call, Faults};
    ///
    /// let faults = Faults::new();
    /// faults.fail(Call::Apply).at(3).times(2).with(ErrorKind::DiskFull);
    /// ```
    pub fn fail(&self, call: Call) -> Plan<'_> {
        Plan::new(self, call)
    }

    pub(super) fn plan(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Ends every fault, including those still planned; releases a call that hangs, and accepts every row. Effects of
    /// past failures remain.
    pub fn lift(&self) {
        let mut state = self.lock();
        state.rules.clear();
        state.refused.clear();
        drop(state);
        self.release();
    }

    /// Refuses every write of this trace's row until the trace is [accepted](Self::accept) again.
    pub fn refuse(&self, id: TraceId) {
        self.lock().refused.insert(id);
    }

    /// Stops [refusing](Self::refuse) this trace's row. The row is written when the trace changes.
    pub fn accept(&self, id: TraceId) {
        self.lock().refused.remove(&id);
    }

    /// Returns the traces whose rows were refused so far, those written since included, ordered by id.
    pub fn refused(&self) -> Vec<TraceId> {
        self.lock().ever_refused.iter().copied().collect()
    }

    /// Releases the call that hangs, if one does.
    pub fn release(&self) {
        self.lock().releases += 1;
        self.handle.desk.moved.notify_all();
    }

    /// Returns the call that hangs or is slow at this moment.
    pub fn hanging(&self) -> Option<Call> {
        self.lock().hanging
    }

    /// Waits until a call hangs or is slow, and returns it.
    pub fn wait_until_hanging(&self) -> Call {
        let mut state = self.lock();
        loop {
            match state.hanging {
                Some(call) => return call,
                None => state = self.handle.desk.moved.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Freezes the durable image from the n-th sync on, counted from now (1 is the next): as if the power failed just
    /// before that sync. The store does not notice, and goes on; look at the [durable](Self::durable) image when it is
    /// done.
    pub fn freeze_at_sync(&self, n: u64) {
        let mut state = self.lock();
        state.freeze_at = Some(state.syncs + n.max(1));
    }

    /// The data that survives the end of the process: everything that was applied.
    pub fn live(&self) -> Image {
        self.lock().live.clone()
    }

    /// The data that is certain to survive a power loss: everything that was synced.
    pub fn durable(&self) -> Image {
        self.lock().durable.clone()
    }

    /// Every state that a power loss might leave, the oldest first: the synced data, then that with the first batch
    /// since, with the first two, and so on.
    pub fn after_power_loss(&self) -> Vec<Image> {
        self.lock().after_power_loss()
    }

    /// Number of calls of this kind so far, including those that failed.
    pub fn calls(&self, call: Call) -> u64 {
        self.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// Number of syncs so far.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Number of calls so far that suffered a planned fault.
    pub fn injected(&self) -> u64 {
        self.lock().injected
    }

    /// Violations of the store's side of the backend's contract; empty if the store is correct. Each such call has
    /// failed.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }
}
