//! The order of the flusher's transactions and the thread's syncs of the WAL.
//!
//! Both sync the same file, each through a descriptor of its own. Where a system reports a failed sync to one of them
//! and marks the pages clean, the other one's sync succeeds and proves nothing. So neither ever overlaps with the
//! other: a pass begins between two transactions, and a transaction waits until the pass has synced the WAL, but not
//! until it has moved it.
//!
//! SQLite does not say when a pass has synced the WAL. But only then does the pass write to the database file, and
//! nobody else does meanwhile: a new time of that file's last write is the sign. Where a system does not show it at
//! once, a transaction waits for the whole pass.

use crate::backend::sqlite::changes::Written;
use crate::protocol::sync::{Condvar, Mutex, lock};
use rusqlite::InterruptHandle;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Interval at which a transaction that waits looks at the database file.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Held by the flusher and by the thread of one round.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// A transaction is under way.
    writing: bool,
    /// How the database file was last written to before the pass that is under way.
    passing: Option<Option<Written>>,
    /// A pass has failed: what it says concerns the next transaction.
    failed: bool,
    stopped: bool,
    interrupt: Option<InterruptHandle>,
}

/// A transaction of the flusher's; ends when dropped.
pub(in crate::backend::sqlite) struct Writing(Arc<Gate>);

impl Drop for Writing {
    fn drop(&mut self) {
        lock(&self.0.state).writing = false;
        self.0.changed.notify_all();
    }
}

/// A pass of the thread's; one that is dropped before it is said to have succeeded has failed.
struct Passing<'a> {
    gate: &'a Gate,
    succeeded: bool,
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        state.passing = None;
        state.failed |= !self.succeeded;
        self.gate.changed.notify_all();
    }
}

impl Gate {
    /// Waits until a transaction may begin; `None` if a pass has failed.
    pub(super) fn write(self: &Arc<Self>, file: &Path) -> Option<Writing> {
        let mut state = lock(&self.state);
        while state.passing.is_some_and(|before| before == Written::of(file)) {
            let waited = self.changed.wait_timeout(state, LOOK_AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.failed {
            return None;
        }
        state.writing = true;
        Some(Writing(self.clone()))
    }

    /// Runs a pass between two transactions; `None` if the round was stopped before.
    pub(super) fn pass<T, E>(
        &self,
        file: &Path,
        pass: impl FnOnce() -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let mut state = lock(&self.state);
        while state.writing && !state.stopped {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return None;
        }
        state.passing = Some(Written::of(file));
        drop(state);
        let mut passing = Passing { gate: self, succeeded: false };
        let passed = pass();
        passing.succeeded = passed.is_ok();
        Some(passed)
    }

    pub(super) fn set_interrupt(&self, interrupt: InterruptHandle) {
        lock(&self.state).interrupt = Some(interrupt);
    }

    /// Has the round end soon: no pass begins any more, and the one under way is interrupted.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        if let Some(interrupt) = &state.interrupt {
            interrupt.interrupt();
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "what can't be made fails its test")]
mod tests {
    use super::Gate;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    /// A database file, and a gate before it.
    fn gate() -> (tempfile::NamedTempFile, Arc<Gate>) {
        (tempfile::NamedTempFile::new().expect("a file"), Arc::default())
    }

    #[test]
    fn write_waits_for_first_moved_page() {
        let (file, gate) = gate();
        let path = file.path();
        std::thread::scope(|scope| {
            let ((begun, has_begun), (end, must_end)) = (channel(), channel());
            let passing = &gate;
            scope.spawn(move || {
                passing.pass(path, || {
                    begun.send(()).expect("a receiver");
                    must_end.recv()
                })
            });
            has_begun.recv().expect("a pass");
            let (entered, has_entered) = channel();
            let writing = &gate;
            scope.spawn(move || entered.send(writing.write(path).is_some()));
            assert!(has_entered.recv_timeout(super::LOOK_AGAIN * 20).is_err(), "the log may be unsynced");
            std::fs::write(path, "a page").expect("a page is moved");
            assert_eq!(has_entered.recv(), Ok(true));
            end.send(()).expect("a pass");
        });
    }

    #[test]
    fn write_after_failed_pass_is_refused() {
        let (file, gate) = gate();
        assert_eq!(gate.pass(file.path(), || Err::<(), _>("no sync")), Some(Err("no sync")));
        assert!(gate.write(file.path()).is_none());
    }

    #[test]
    fn pass_waits_for_transaction_unless_stopped() {
        let (file, gate) = gate();
        let path = file.path();
        let writing = gate.write(path).expect("nothing is under way");
        std::thread::scope(|scope| {
            let (passed, has_passed) = channel();
            let passing = &gate;
            scope.spawn(move || passed.send(passing.pass(path, || Ok::<_, ()>(()))));
            assert!(has_passed.recv_timeout(super::LOOK_AGAIN * 20).is_err(), "a transaction is under way");
            drop(writing);
            assert_eq!(has_passed.recv(), Ok(Some(Ok(()))));
        });
        let _writing = gate.write(path).expect("nothing is under way");
        gate.stop();
        assert_eq!(gate.pass(path, || Ok::<_, ()>(())), None);
    }
}
