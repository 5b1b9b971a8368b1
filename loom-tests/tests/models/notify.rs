//! The notify that ships: a ring is never lost, however it falls between the flusher's look at its work and its sleep.
//! A flusher that sleeps on although there is work is a deadlock, which loom reports.

use super::support::model;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use mnemon::model::ShippedNotify;
use std::sync::Arc;

/// A notify, and how much work there is: read and written relaxed, so that it is seen for the notify's sake alone.
#[derive(Clone)]
struct Work {
    notify: Arc<ShippedNotify>,
    done: Arc<AtomicUsize>,
}

impl Work {
    fn new() -> Self {
        Self { notify: Arc::default(), done: Arc::new(AtomicUsize::new(0)) }
    }

    /// A flusher that sleeps until so much is done.
    fn awaited(&self, wanted: usize) -> thread::JoinHandle<()> {
        let Self { notify, done } = self.clone();
        thread::spawn(move || {
            while done.load(Ordering::Relaxed) < wanted {
                notify.sleep(None);
            }
        })
    }

    fn notify(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.notify.notify();
    }

    /// As writers do beyond the threshold: who finds the notify rung does not ring again.
    fn ring_unless_rung(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if !self.notify.is_notified() {
            self.notify.notify();
        }
    }
}

#[test]
fn a_ring_is_never_lost() {
    model("a_ring_is_never_lost", None, || {
        let work = Work::new();
        let flusher = work.awaited(2);
        work.notify();
        work.notify();
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
