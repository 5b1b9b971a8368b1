//! The store's one clock.

use crate::trace::Micros;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

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

/// A new UUID of version 7.
pub(crate) fn new_uuid() -> Uuid {
    uuid_at(SystemTime::now())
}

/// One of version 7 can't say a time before 1970, and asked for it by such a clock its crate panics: it is of 1970 then.
fn uuid_at(now: SystemTime) -> Uuid {
    match now >= SystemTime::UNIX_EPOCH {
        true => Uuid::now_v7(),
        false => Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 0, 0)),
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Duration, SystemTime, uuid_at};

    #[test]
    fn a_clock_before_1970_gives_ids_too() {
        let epoch = SystemTime::UNIX_EPOCH;
        let before = epoch - Duration::from_secs(3600);
        let ids = [uuid_at(before), uuid_at(before), uuid_at(epoch)];
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
        assert_eq!(ids[0].get_timestamp().map(|time| time.to_unix().0), Some(0));
    }
}
