//! The store's one clock.

use crate::trace::Micros;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A clock that stands still until you move it, for tests and simulations: see
/// [`StoreBuilder::clock`](crate::StoreBuilder::clock). Clones are the same clock. To the microsecond.
///
/// ```
/// use mnemon::{ManualClock, NewTrace, TraceStore};
/// use std::time::Duration;
///
/// let clock = ManualClock::at("2026-11-24T09:00:00Z".parse()?);
/// let store = TraceStore::builder().clock(&clock).in_memory()?;
/// let id = store.insert(NewTrace::episodic(serde_json::json!("the tide is early")))?;
/// clock.advance(Duration::from_secs(600)); // ten ticks
/// let trace = store.get(id).ok_or("it is there")?;
/// assert!((store.strength(&trace) - 0.571904346).abs() < 1e-9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows this time.
    pub fn at(time: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(Micros::from(time).get())))
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        self.micros().into()
    }

    /// Shows this time from now on, earlier or later.
    pub fn set(&self, time: Timestamp) {
        self.0.store(Micros::from(time).get(), Ordering::Relaxed);
    }

    /// Goes on by so much; at most to the end of what a [`Timestamp`] can say.
    pub fn advance(&self, by: Duration) {
        let later = |micros| {
            let now = Timestamp::from(Micros::clamped(micros));
            Some(Micros::from(now.saturating_add(by).unwrap_or(Timestamp::MAX)).get())
        };
        // It never refuses.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    fn micros(&self) -> Micros {
        Micros::clamped(self.0.load(Ordering::Relaxed))
    }
}

/// Where a store takes the time from.
#[derive(Clone, Debug, Default)]
pub(crate) enum WallClock {
    #[default]
    System,
    Manual(ManualClock),
}

impl WallClock {
    pub(crate) fn now(&self) -> Micros {
        match self {
            WallClock::System => Micros::now(),
            WallClock::Manual(clock) => clock.micros(),
        }
    }
}
