use super::super::due::MOST_CHANGES;
use super::*;
use crate::{DecayCurve, Health, ManualClock, NewTrace, TraceStore};
use std::cell::RefCell;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

const MINUTE: Duration = Duration::from_secs(60);
const YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);
const JUMPED: &str = "the clock has jumped: upkeep runs no decay cycle until it has run evenly for an hour";

thread_local! {
    /// Messages at WARN, with their `by_ms` values in milliseconds.
    static WARNED: RefCell<Vec<(String, f64)>> = const { RefCell::new(Vec::new()) };
}

struct Warnings;

#[derive(Default)]
struct Warning(String, f64);

impl Visit for Warning {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        assert_eq!(field.name(), "by_ms");
        self.1 = value;
    }
}

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::WARN {
            let mut warning = Warning::default();
            event.record(&mut warning);
            WARNED.with_borrow_mut(|warned| warned.push((warning.0, warning.1)));
        }
    }
}

/// A store whose clock the test moves as the system's clock might move, and a monotonic clock that the test moves
/// too.
struct Scene {
    store: TraceStore,
    clock: ManualClock,
    watch: ClockWatch,
    at: Instant,
    /// Set by every scene: `tracing` may remember that a thread without a subscriber is not listening.
    _listening: tracing::subscriber::DefaultGuard,
}

impl Scene {
    fn new() -> std::result::Result<Self, Box<dyn std::error::Error>> {
        let clock = ManualClock::at("2026-11-24T09:00:00Z".parse()?);
        let curve = DecayCurve::Exponential { half_life: 60 * MINUTE };
        let store = TraceStore::builder().clock(&clock).decay_curve(curve).in_memory()?;
        let (wall, at) = (store.inner().now(), Instant::now());
        let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(Warnings));
        Ok(Self { store, clock, watch: ClockWatch::new(wall, at), at, _listening })
    }

    /// Advances time by a number of minutes, with a cycle after each.
    fn minutes(&mut self, minutes: u32) -> Result<()> {
        for _ in 0..minutes {
            self.at += MINUTE;
            self.clock.advance(MINUTE);
            decay(self.store.inner(), Some(&mut self.watch), self.at)?;
        }
        Ok(())
    }
}

#[test]
fn clock_jump_puts_cycles_off() -> Outcome {
    let mut scene = Scene::new()?;
    let faded = |scene: &Scene| scene.store.insert(NewTrace::semantic(serde_json::json!(1)).strength(0.01));
    faded(&scene)?;
    scene.minutes(1)?;
    assert!(scene.store.is_empty(), "a cycle prunes");
    faded(&scene)?;
    let right = scene.clock.now();
    scene.clock.advance(YEARS);
    scene.minutes(59)?;
    assert_eq!(scene.store.len(), 1, "not pruned");
    scene.clock.set(right);
    scene.minutes(60)?;
    assert_eq!(scene.store.len(), 1, "nor while the clock may be wrong still");
    let year = YEARS.as_secs_f64() * 1e3;
    let warned = WARNED.with_borrow(Clone::clone);
    assert_eq!(warned[0], (JUMPED.to_owned(), year), "each jump is told once");
    assert_eq!(warned.len(), 2);
    assert!(warned[1].0 == JUMPED && warned[1].1 < -year, "{warned:?}");
    scene.minutes(1)?;
    assert!(scene.store.is_empty(), "cycles go on after an hour");
    assert!(include_str!("../../guide/operating.md").contains(&format!("| WARN | {JUMPED} |")));
    Ok(())
}

/// If the clock was wrong before the jump, traces due for removal are removed an hour later.
#[test]
fn clock_jump_that_stays_is_believed() -> Outcome {
    let mut scene = Scene::new()?;
    scene.store.insert(NewTrace::semantic(serde_json::json!(1)))?;
    scene.clock.advance(YEARS);
    scene.minutes(60)?;
    assert_eq!(scene.store.len(), 1);
    scene.minutes(1)?;
    assert_eq!((scene.store.len(), scene.store.stats().pruned), (0, 1));
    Ok(())
}

#[test]
fn clocks_kept_in_time_do_not_jump() -> Outcome {
    let mut scene = Scene::new()?;
    for period in [1, 60, 86_400 * 30] {
        let period = Duration::from_secs(period);
        for (sign, drift) in [(1.0, 0.0), (1.0, 5e-4), (-1.0, 5e-4)] {
            scene.at += period;
            scene.clock.advance(period.mul_f64(1.0 + sign * drift));
            let wall = scene.store.inner().now();
            assert_eq!(scene.watch.read(wall, scene.at), Pace::Even, "{period:?} {sign} {drift}");
        }
    }
    let still = scene.store.inner().now();
    assert!(matches!(scene.watch.read(still, scene.at + 2 * MINUTE), Pace::Jumped(_)), "one that stands");
    Ok(())
}

/// Panics until there is a trace.
fn panics_while_empty(inner: &Inner) -> Result<Cycle> {
    assert!(inner.traces().len() > 0, "as the test says");
    Ok(Cycle::default())
}

#[test]
fn a_panic_is_told_by_health_until_the_work_is_done() -> Result<()> {
    let store = TraceStore::in_memory();
    let [mut panics, mut other] =
        [("panics", panics_while_empty as fn(&Inner) -> _), ("other", |_| Ok(Cycle::default()))]
            .map(|(name, work)| PeriodicTask::new(name, Some(Duration::ZERO), work));
    let due = |task: &mut PeriodicTask| task.due = Some(std::time::Instant::now());
    for attempt in 1..=2 {
        for task in [&mut panics, &mut other] {
            due(task);
            task.do_if_due(store.inner());
        }
        let health = store.health();
        assert!(
            matches!(health, Health::Degraded { kind: ErrorKind::Panicked, attempts, is_upkeep: true, .. } if attempts == attempt),
            "{health}"
        );
    }
    let told = store.stats().last_error.map(|error| error.to_string());
    assert!(told.is_some_and(|told| told.contains("as the test says")));
    store.insert(NewTrace::semantic(serde_json::json!(1)))?;
    due(&mut panics);
    panics.do_if_due(store.inner());
    assert_eq!(store.health(), Health::Healthy);
    Ok(())
}

#[test]
fn full_cycle_is_followed_soon() {
    let store = TraceStore::in_memory();
    let hour = Some(Duration::from_secs(3_600));
    for (changed, wait) in [(MOST_CHANGES, AFTER_FULL_CYCLE), (MOST_CHANGES - 1, Duration::from_secs(3_600))]
    {
        let mut task = PeriodicTask::new("task", hour, move |_| Ok(Cycle { changed, ..Cycle::default() }));
        let before = Instant::now();
        task.due = Some(before);
        task.do_if_due(store.inner());
        assert!(
            task.due.is_some_and(|due| due >= before + wait && due <= Instant::now() + wait),
            "{changed}"
        );
    }
}
