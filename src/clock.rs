//! The store's only clock, and its times.

use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use uuid::Uuid;

/// Microseconds since the Unix epoch, within what a [`Timestamp`] can say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Micros(i64);

impl Micros {
    /// The times of [`Timestamp::MIN`] and [`Timestamp::MAX`].
    pub(crate) const MIN: Self = Self(-377_705_023_201_000_000);
    pub(crate) const MAX: Self = Self(253_402_207_200_999_999);

    pub(crate) fn now() -> Self {
        Timestamp::now().into()
    }

    pub(crate) fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Negative if `self` is the earlier one.
    pub(crate) fn seconds_since(self, earlier: Self) -> f64 {
        self.micros_since(earlier) as f64 / 1e6
    }

    /// The time of a row.
    #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(crate) fn stored(micros: i64) -> Result<Self, jiff::Error> {
        let at = Self(micros);
        if (Self::MIN..=Self::MAX).contains(&at) { Ok(at) } else { timestamp(micros).map(Self::from) }
    }

    /// The nearest that a [`Timestamp`] can say.
    pub(crate) fn clamped(micros: i64) -> Self {
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Returns the time this many microseconds later, within what a [`Timestamp`] can say.
    pub(crate) fn plus(self, micros: i64) -> Self {
        Self::clamped(self.0.saturating_add(micros))
    }

    pub(crate) fn get(self) -> i64 {
        self.0
    }
}

impl From<Timestamp> for Micros {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.as_microsecond())
    }
}

impl From<Micros> for Timestamp {
    fn from(micros: Micros) -> Self {
        // Every `Micros` was made from a timestamp, so the default is never taken.
        timestamp(micros.0).unwrap_or_default()
    }
}

/// By seconds, since jiff takes the last microsecond of its range in that form alone.
pub(crate) fn timestamp(micros: i64) -> Result<Timestamp, jiff::Error> {
    let (second, micro) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    Timestamp::new(second, micro as i32 * 1_000)
}

/// A clock that stands still until you move it, for tests and simulations: see
/// [`StoreBuilder::clock`](crate::StoreBuilder::clock). Clones are the same clock. Its resolution is a microsecond.
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

    /// Returns the time that the clock shows.
    pub fn now(&self) -> Timestamp {
        self.micros().into()
    }

    /// Sets the clock to this time, earlier or later.
    pub fn set(&self, time: Timestamp) {
        self.0.store(Micros::from(time).get(), Ordering::Relaxed);
    }

    /// Moves the clock forward by a duration, at most to the end of the range of a [`Timestamp`].
    pub fn advance(&self, by: Duration) {
        let later = |micros| {
            let now = Timestamp::from(Micros::clamped(micros));
            Some(Micros::from(now.saturating_add(by).unwrap_or(Timestamp::MAX)).get())
        };
        // The closure never refuses.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    fn micros(&self) -> Micros {
        Micros::clamped(self.0.load(Ordering::Relaxed))
    }
}

/// Returns a new UUID of version 7.
pub(crate) fn new_uuid() -> Uuid {
    uuid_at(SystemTime::now())
}

/// Returns a UUID of version 7. That version can't represent a time before 1970, and the `uuid` crate panics if the
/// clock shows one: 1970 is used then.
fn uuid_at(now: SystemTime) -> Uuid {
    if now >= SystemTime::UNIX_EPOCH {
        Uuid::now_v7()
    } else {
        Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 0, 0))
    }
}

/// The source of a store's time.
#[derive(Clone, Debug, Default)]
pub(crate) enum WallClock {
    #[default]
    System,
    Manual(ManualClock),
}

/// Time that the system's clock must run evenly after a jump before a [`ClockWatch`] trusts it.
const EVEN_AFTER: Duration = Duration::from_secs(3_600);

/// Compares the system's clock with the monotonic one at each reading. A clock that has jumped was wrong before or is
/// wrong now, and nothing tells which: irreversible work waits until the clock has run evenly for an hour, in which a
/// wrong clock is likely to be corrected.
///
/// On some systems (Linux and macOS among them), the monotonic clock stops while the machine sleeps: waking up is a
/// jump too.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    last: (Micros, Instant),
    jumped_at: Option<Instant>,
}

/// The result of a reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// The clock has run evenly for long enough.
    Even,
    /// The clock has moved this much further than the monotonic one, or less far if negative.
    Jumped(SignedDuration),
    /// The clock jumped less than an hour ago.
    Settling,
}

impl ClockWatch {
    /// Starts from this reading.
    pub(crate) fn new(wall: Micros, at: Instant) -> Self {
        Self { last: (wall, at), jumped_at: None }
    }

    /// Takes a reading of both clocks. A difference of up to a minute plus a thousandth of the elapsed time is not a
    /// jump: synchronized clocks differ by that much.
    pub(crate) fn read(&mut self, wall: Micros, at: Instant) -> Pace {
        let (last_wall, last_at) = std::mem::replace(&mut self.last, (wall, at));
        let passed = at.saturating_duration_since(last_at);
        let on_wall = SignedDuration::from_micros(wall.micros_since(last_wall));
        let by = on_wall.saturating_sub(SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX));
        if by.unsigned_abs() > Duration::from_secs(60) + passed / 1_000 {
            self.jumped_at = Some(at);
            return Pace::Jumped(by);
        }
        match self.jumped_at {
            Some(jumped_at) if at.saturating_duration_since(jumped_at) < EVEN_AFTER => Pace::Settling,
            _ => Pace::Even,
        }
    }
}

impl WallClock {
    pub(crate) fn now(&self) -> Micros {
        match self {
            WallClock::System => Micros::now(),
            WallClock::Manual(clock) => clock.micros(),
        }
    }

    /// Returns a watch over the system's clock. Returns `None` for a manual clock, whose every move is a jump.
    pub(crate) fn watch(&self) -> Option<ClockWatch> {
        match self {
            WallClock::System => Some(ClockWatch::new(self.now(), Instant::now())),
            WallClock::Manual(_) => None,
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
