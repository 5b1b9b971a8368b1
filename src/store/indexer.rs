//! The indexer's thread: keeps the views of the traces up to date.

use crate::protocol::sync::locks::Mutex;
use crate::state::State;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread, if it could be started; otherwise the flusher does its work.
#[derive(Default)]
pub(super) struct IndexerThread(Mutex<Option<JoinHandle<()>>>);

/// How long it rests after a panic, so that one that panics each time does not spin.
const AFTER_PANIC: Duration = Duration::from_millis(250);

impl IndexerThread {
    pub(super) fn start(state: &Arc<State>) -> Self {
        if cfg!(loom) {
            return Self::default();
        }
        let shared = state.clone();
        let thread =
            std::thread::Builder::new().name("mnemon-indexer".to_owned()).spawn(move || run(&shared));
        if thread.is_ok() {
            state.indexing.leave_to_thread();
        }
        Self(Mutex::new(thread.ok()))
    }

    /// Call after the store has closed, which ends the thread: waits for that.
    pub(super) fn join(&self) {
        let thread = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Not for itself: the thread may have dropped the last handle of another's error, and that of a store.
        let thread = thread.filter(|thread| thread.thread().id() != std::thread::current().id());
        // It catches panics, so there is none to pass on.
        thread.into_iter().for_each(|thread| drop(thread.join()));
    }

    /// For a child process, which does not have the thread: its handle would refer to memory of a thread that is gone.
    pub(super) fn forget(&mut self) {
        std::mem::forget(self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn run(state: &State) {
    while !state.indexing.is_abandoned() {
        match state.guarded_index(|| state.index()) {
            Some(true) => {}
            Some(false) if state.indexing.is_over() => return,
            Some(false) => {
                state.counters.upkeep_works("index");
                state.indexing.notify().sleep(None);
            }
            None => std::thread::sleep(AFTER_PANIC),
        }
    }
}
