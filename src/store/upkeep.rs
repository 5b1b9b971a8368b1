//! Periodic upkeep, on one thread that survives panics.

use super::due::Cycle;
use super::events;
use super::inner::Inner;
use crate::clock::{ClockWatch, Pace};
use crate::error::{Error, ErrorKind, Result};
use crate::guarded;
use crate::protocol::is_at_work;
use crate::protocol::sync::locks::{Condvar, Mutex, MutexGuard};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Periods of the upkeep tasks, for [`StoreBuilder::upkeep`](crate::StoreBuilder::upkeep). `None` turns a task off.
/// Periods are measured in real time, whatever [clock](crate::StoreBuilder::clock) the store uses.
///
/// A cycle looks only at the traces that are due, which the store keeps in the order of their due times, and changes at
/// most 5,000; if there may be more, the next cycle follows after a second. Due times cost 2 to 8 bytes a
/// trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upkeep {
    /// Period of [removing what has faded away or is not valid any more](crate::TraceStore::decay). Default: 60
    /// seconds. After a jump of the system's clock no cycle runs until that clock has kept pace with the monotonic one
    /// for an hour: under a wrong clock a cycle would remove traces too early.
    pub decay: Option<Duration>,
    /// Period of [tier updates](crate::TraceStore::update_tiers). Default: 300 seconds.
    pub tiers: Option<Duration>,
    /// Period of [enforcing the quota](crate::TraceStore::enforce_quota). Default: 300 seconds. Removes traces over
    /// [`StoreBuilder::quota`](crate::StoreBuilder::quota), and none unless a quota is set.
    pub quota: Option<Duration>,
}

impl Default for Upkeep {
    fn default() -> Self {
        let every = |seconds| Some(Duration::from_secs(seconds));
        Self { decay: every(60), tiers: every(300), quota: every(300) }
    }
}

/// The upkeep thread, if the store has one and it has started.
#[derive(Default)]
pub(super) struct Thread {
    stop: Arc<Stop>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Request to stop the thread. Its locks are those of std: under loom the thread does not exist.
#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    bell: Condvar,
}

impl Thread {
    /// Starts the thread, if the store has upkeep.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) if the thread can't be started.
    pub(super) fn start(&self, inner: &Arc<Inner>) -> Result<()> {
        let Some(upkeep) = inner.settings.upkeep.filter(|_| !cfg!(loom)) else { return Ok(()) };
        let thread = spawn(inner.clone(), self.stop.clone(), upkeep).map_err(|cause| {
            let message = "the thread of the upkeep can't be started: raise the limit on threads";
            Error::new(ErrorKind::Io, message).because(cause)
        })?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// For a child process, which does not have the thread: its handle would refer to memory of a thread that is gone.
    pub(super) fn forget(&mut self) {
        std::mem::forget(self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Stops the thread and waits until it has ended, which takes as long as its current piece of work. Called on that
    /// thread itself or on a flusher's, it returns at once, and the upkeep thread runs on until that piece of work is
    /// done.
    pub(super) fn stop(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        *lock(&self.stop.asked) = true;
        self.stop.bell.notify_one();
        // A flusher's thread does not wait either: the piece of work may be waiting for the flusher.
        if thread.thread().id() != std::thread::current().id() && !is_at_work() {
            // The thread catches panics, so there is none to pass on.
            drop(thread.join());
        }
    }
}

fn spawn(inner: Arc<Inner>, stop: Arc<Stop>, upkeep: Upkeep) -> std::io::Result<JoinHandle<()>> {
    let work = move || {
        let mut watch = inner.settings.clock.watch();
        let mut tasks = [
            PeriodicTask::new("decay", upkeep.decay, move |inner| {
                decay(inner, watch.as_mut(), Instant::now())
            }),
            PeriodicTask::new("tiers", upkeep.tiers, Inner::update_due_tiers),
            PeriodicTask::new("quota", upkeep.quota, Inner::evict_due),
        ];
        while !stop.waited_for_until(tasks.iter().filter_map(|task| task.due).min()) {
            if inner.state.progress.is_closed() {
                return;
            }
            tasks.iter_mut().for_each(|task| task.do_if_due(&inner));
        }
    };
    std::thread::Builder::new().name("mnemon-upkeep".to_owned()).spawn(work)
}

/// Runs a decay cycle, if the clock can be trusted.
fn decay(inner: &Inner, watch: Option<&mut ClockWatch>, at: Instant) -> Result<Cycle> {
    match watch.map_or(Pace::Even, |watch| watch.read(inner.now(), at)) {
        Pace::Even => inner.prune_due(),
        Pace::Jumped(by) => {
            events::clock_jumped(&inner.state.name, by);
            Ok(Cycle::default())
        }
        Pace::Settling => Ok(Cycle::default()),
    }
}

struct PeriodicTask {
    name: &'static str,
    every: Option<Duration>,
    /// Time of the next run; `None` if it is too far away to represent, or the task is off.
    due: Option<Instant>,
    work: Work,
}

type Work = Box<dyn FnMut(&Inner) -> Result<Cycle>>;

impl PeriodicTask {
    fn new(
        name: &'static str,
        every: Option<Duration>,
        work: impl FnMut(&Inner) -> Result<Cycle> + 'static,
    ) -> Self {
        let mut task = Self { name, every, due: None, work: Box::new(work) };
        task.put_off(Duration::MAX);
        task
    }

    /// Until its period has passed, or this time if that is shorter.
    fn put_off(&mut self, most: Duration) {
        let next = |every: Duration| Instant::now().checked_add(every.max(SHORTEST_PERIOD).min(most));
        self.due = self.every.and_then(next);
    }

    fn do_if_due(&mut self, inner: &Inner) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            let done = self.supervised(inner);
            if let Err(error) = &done
                && error.kind() != ErrorKind::Closed
            {
                events::upkeep_failed(&inner.state.name, self.name, error);
            }
            self.put_off(if done.is_ok_and(|cycle| cycle.is_full()) {
                AFTER_FULL_CYCLE
            } else {
                Duration::MAX
            });
        }
    }

    /// Does the work. A panic is an error, which health reports until the same work has been done without one.
    fn supervised(&mut self, inner: &Inner) -> Result<Cycle> {
        let counters = &inner.state.counters;
        match guarded::caught(|| (self.work)(inner)) {
            Ok(outcome) => {
                counters.upkeep_works(self.name);
                outcome
            }
            Err(panic) => {
                let message = format!("the upkeep panicked at {}: {panic}", self.name);
                let error = Error::new(ErrorKind::Panicked, message);
                counters.upkeep_panicked(self.name, &error);
                Err(error)
            }
        }
    }
}

/// Shortest period: with a period of zero the thread would spin.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

/// Longest wait after a cycle that has left something for the next.
const AFTER_FULL_CYCLE: Duration = Duration::from_secs(1);

impl Stop {
    /// Waits until the given time, or forever; returns `true` if the thread is to stop.
    fn waited_for_until(&self, due: Option<Instant>) -> bool {
        let mut asked = lock(&self.asked);
        while !*asked {
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            asked = match left {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let waited = self.bell.wait_timeout(asked, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.bell.wait(asked).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(loom)))]
mod tests;
