//! The layer in a program's global subscriber, which, unlike a thread's own, hands on what is logged while it is
//! at work and as a thread ends. One test, as a process has one such subscriber.
#![cfg(feature = "tracing-layer")]

use harness::Outcome;
use harness::process::alone;
use mnemon::{ErrorMemories, TraceStore};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tracing::error;
use tracing_subscriber::layer::SubscriberExt;

/// Logs as its thread ends.
struct Last(&'static str);

impl Drop for Last {
    fn drop(&mut self) {
        error!("{} of the thread's values ends", self.0);
    }
}

thread_local! {
    static FIRST: Last = const { Last("the first") };
    static SECOND: Last = const { Last("the second") };
}

/// Logs itself each time it is formatted.
#[derive(Default)]
struct Complaining(AtomicUsize);

impl fmt::Display for Complaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ends the recursion of a layer that recurses.
        if self.0.fetch_add(1, Ordering::Relaxed) < 10 {
            error!(again = %self, "a complaint about {self}");
        }
        f.write_str("a complaint")
    }
}

#[test]
fn thread_may_log_while_logging() -> Outcome {
    alone(|| {
        let store = TraceStore::in_memory();
        let errors = ErrorMemories::new(&store);
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(errors.clone()))?;

        let complaining = Complaining::default();
        error!("{complaining}");
        error!(field = %complaining, "the gate is stuck");
        assert_eq!(complaining.0.load(Ordering::Relaxed), 2, "each is formatted once");
        assert_eq!((errors.counts().stored, errors.counts().suppressed, store.len()), (2, 0, 2));

        // Of the two one ends before what an insert needs of the thread, the other after it.
        let ended = thread::spawn(|| {
            FIRST.with(|_| ());
            error!("the thread works");
            SECOND.with(|_| ());
        });
        ended.join().map_err(|_| "the thread panicked")?;
        assert_eq!((errors.counts().stored, store.len()), (5, 5));
        Ok(())
    })
}
