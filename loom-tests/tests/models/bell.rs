//! The bell that ships: a ring is never lost, however it falls between the flusher's look at its work and its sleep. A
//! flusher that sleeps on although there is work is a deadlock, which loom reports.

use super::support::model;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use mnemon::model::ShippedBell;
use std::sync::Arc;

/// A bell, and how much work there is: read and written relaxed, so that it is seen for the bell's sake alone.
#[derive(Clone)]
struct Work {
    bell: Arc<ShippedBell>,
    done: Arc<AtomicUsize>,
}

impl Work {
    fn new() -> Self {
        Self { bell: Arc::default(), done: Arc::new(AtomicUsize::new(0)) }
    }

    /// A flusher that sleeps until so much is done.
    fn awaited(&self, wanted: usize) -> thread::JoinHandle<()> {
        let Self { bell, done } = self.clone();
        thread::spawn(move || {
            while done.load(Ordering::Relaxed) < wanted {
                bell.sleep(None);
            }
        })
    }

    fn ring(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.bell.ring();
    }

    /// As writers do beyond the threshold: who finds the bell rung does not ring again.
    fn ring_unless_rung(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if !self.bell.is_rung() {
            self.bell.ring();
        }
    }
}

#[test]
fn a_ring_is_never_lost() {
    model("a_ring_is_never_lost", None, || {
        let work = Work::new();
        let flusher = work.awaited(2);
        work.ring();
        work.ring();
        flusher.join().unwrap();
    });
}

#[test]
fn a_ring_that_is_spared_is_not_missed() {
    model("a_ring_that_is_spared_is_not_missed", Some(4), || {
        let work = Work::new();
        let flusher = work.awaited(2);
        let other = work.clone();
        let writer = thread::spawn(move || other.ring_unless_rung());
        work.ring_unless_rung();
        writer.join().unwrap();
        flusher.join().unwrap();
    });
}
