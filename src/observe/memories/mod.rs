//! [`ErrorMemories`]: stores the errors that a program logs, as traces.
//!
//! - [`recent`]: which messages were claimed in the last minute;
//! - [`report`]: the content of an event, within bounds;
//! - [`text`]: text of a limited number of bytes.
//!
//! The layer runs on the thread that logs, possibly while that thread ends, possibly in the middle of any other code.
//! So it holds no lock while code of the caller runs, never owns the store, and ignores events logged while it is at
//! work.

mod recent;
mod report;
mod text;

use crate::error::ErrorKind;
use crate::protocol::sync::{AtomicUsize, Ordering};
use crate::store::{TraceStore, WeakStore};
use recent::{Denied, Recent};
use report::Subject;
use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// A [`tracing`] layer that stores errors: each `ERROR` event becomes an episodic trace, tagged `error` and with the
/// event's target in lower case. The trace has a valence of -0.6, an intensity of 0.7 and a confidence of 0.9, and is
/// unresolved.
///
/// ```
/// use mnemon::{ErrorMemories, TraceStore};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let store = TraceStore::in_memory();
/// let errors = ErrorMemories::new(&store);
/// let subscriber = tracing_subscriber::registry().with(errors.clone());
///
/// tracing::subscriber::with_default(subscriber, || {
///     tracing::error!(target: "Harbour", berth = 7, "the gate is stuck");
///     tracing::error!(target: "Harbour", berth = 7, "the gate is stuck");
/// });
///
/// assert_eq!((errors.counts().stored, errors.counts().suppressed), (1, 1));
/// let trace = store.iter().next().ok_or("nothing was stored")?;
/// assert!(trace.tags().any(|tag| tag == "harbour"));
/// assert_eq!(trace.payload().as_value()?["fields"]["berth"], 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The payload is an object with `message`, `target`, `level`, `file`, `line`, `fields` (the event's other fields, by
/// name) and `cut` (whether something was left out). Errors of the `log` crate that arrive through `tracing-log` have
/// the target and source location of their record.
///
/// # Bounds
///
/// - The same message from the same target becomes a trace at most once in 60 seconds, and at most 1,024 messages
///   become traces in that time. The layer's list of them takes at most 24 KiB; the layer does not limit the number
///   of traces that the store holds: that is up to the store.
/// - A message has at most 4,096 bytes; the target and the file 1,024 each. There are at most 32 fields, of 1,024
///   bytes each and 16,384 together, with names of at most 128 bytes. Longer text is cut between characters, ends in
///   `…`, and sets `cut`. The formatting of a value stops where it is cut.
/// - Events of this crate (target `mnemon`, or in it) are ignored, and so are events that a thread logs while the
///   layer handles one of its events, as when a field logs while it is formatted.
///
/// # Cost
///
/// An event of another level costs a comparison. An error costs the formatting of its message, a hash and a scan of
/// up to 1,024 numbers; unless it is a repeat, also the formatting of its fields and an
/// [`insert`](TraceStore::insert). Like an insert, it never waits for the flusher or the disk.
///
/// The layer does not affect the levels that other layers receive. If it is the only one, filter out the other
/// events: `errors.with_filter(LevelFilter::ERROR)`.
///
/// # The store
///
/// The layer does not keep the store open. Once the store is closed, or its last clone is dropped, events are
/// ignored and not counted. Clones of the layer are the same layer.
#[derive(Clone)]
pub struct ErrorMemories {
    inner: Arc<Inner>,
}

struct Inner {
    store: WeakStore,
    recent: Recent,
    hasher: RandomState,
    started: Instant,
    stored: AtomicUsize,
    suppressed: AtomicUsize,
    dropped: AtomicUsize,
}

/// Numbers of errors that a layer has handled, by outcome. Returned by [`ErrorMemories::counts`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ErrorCounts {
    /// Number of errors stored as traces.
    pub stored: usize,
    /// Number of repeats within 60 seconds, which were not stored.
    pub suppressed: usize,
    /// Number of errors lost: too many different ones in 60 seconds, or refused by the store, as when it
    /// [lags](crate::LagPolicy::RejectWrites).
    pub dropped: usize,
}

impl ErrorMemories {
    /// A layer that stores errors in `store`, with the store's partition.
    pub fn new(store: &TraceStore) -> Self {
        let inner = Inner {
            store: store.downgrade(),
            recent: Recent::new(),
            hasher: RandomState::new(),
            started: Instant::now(),
            stored: AtomicUsize::new(0),
            suppressed: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the numbers of errors so far, by outcome. Costs three atomic loads.
    pub fn counts(&self) -> ErrorCounts {
        let Inner { stored, suppressed, dropped, .. } = &*self.inner;
        ErrorCounts {
            stored: stored.load(Ordering::Relaxed),
            suppressed: suppressed.load(Ordering::Relaxed),
            dropped: dropped.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for ErrorMemories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorMemories").field("counts", &self.counts()).finish()
    }
}

impl<S: Subscriber> Layer<S> for ErrorMemories {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let Some(_at_work) = AtWork::begin() else { return };
        if let Some(counter) = self.inner.remember(event) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Inner {
    /// Stores an event, and returns the counter to increment, if any.
    fn remember(&self, event: &Event<'_>) -> Option<&AtomicUsize> {
        if !self.store.is_open() {
            return None;
        }
        let subject = Subject::of(event);
        if subject.is_own() {
            return None;
        }
        let message = self.hasher.hash_one(subject.key());
        let claim = match self.recent.claim(message, || self.started.elapsed()) {
            Ok(claim) => claim,
            Err(Denied::Repeat) => return Some(&self.suppressed),
            Err(Denied::Full) => return Some(&self.dropped),
        };
        let Err(error) = self.store.insert(subject.into_trace(event)) else { return Some(&self.stored) };
        self.recent.give_back(claim);
        (error.kind() != ErrorKind::Closed).then_some(&self.dropped)
    }
}

thread_local! {
    /// Whether a layer is at work on this thread.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Marks a layer as at work on this thread, until it is dropped, also when a field's formatting panics.
struct AtWork;

impl AtWork {
    fn begin() -> Option<Self> {
        let busy = AT_WORK.try_with(|at_work| at_work.replace(true));
        matches!(busy, Ok(false)).then_some(Self)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        // Fails only while the thread ends, when there is nothing left to reset.
        let _ = AT_WORK.try_with(|at_work| at_work.set(false));
    }
}
