use super::*;
use crate::trace::{NewTrace, TraceType};
use crate::{DecayCurve, ManualClock, Quota, StoreBuilder, Tier, TraceStore, Upkeep};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The thread sleeps: the tests run its cycles.
const NEVER: Upkeep = Upkeep { decay: Some(Duration::MAX), tiers: Some(Duration::MAX), quota: None };

fn clock() -> ManualClock {
    ManualClock::at(Micros::clamped(1_800_000_000_000_000).into())
}

fn builder(clock: &ManualClock) -> StoreBuilder {
    TraceStore::builder().clock(clock).flush_interval(HOUR).upkeep(NEVER)
}

/// The views have every change then.
fn settle(store: &TraceStore) -> Result<()> {
    store.flush()?;
    while store.state().index() {}
    Ok(())
}

/// A step of a history. Traces are named by their number.
#[derive(Clone, Debug)]
enum Step {
    Insert {
        kind: TraceType,
        strength: f64,
        rate: f64,
        pinned: bool,
        age: i64,
    },
    Reinforce(usize),
    Pin(usize, bool),
    Weaken(usize, f64),
    Remove(usize),
    /// So many microseconds from now; for ever, if `None`.
    End(usize, Option<i64>),
    Settle,
    /// By so many microseconds.
    Move(i64),
    /// To a time at which a trace needs something, or so many microseconds later, with views that have every change.
    MoveToDue(usize, i64),
    Upkeep,
}

fn times() -> impl Strategy<Value = i64> {
    const DAYS: i64 = 86_400_000_000;
    let near = proptest::sample::select(vec![0, 60_000_000, 3_600_000_000, DAYS, 90 * DAYS]);
    prop_oneof![near.prop_flat_map(|micros| micros - 1..=micros + 2), 0..3 * DAYS, 0..200 * DAYS]
}

fn steps() -> impl Strategy<Value = Step> {
    let kinds = proptest::sample::select(TraceType::ALL.to_vec());
    let strengths = || prop_oneof![Just(0.01), 0.0..=0.02, 0.0..=1.0];
    let rates = prop_oneof![Just(0.0), Just(0.01), 0.0..=3.0];
    let insert = (kinds, strengths(), rates, any::<bool>(), times());
    let any_trace = || 0..30_usize;
    prop_oneof![
        6 => insert.prop_map(|(kind, strength, rate, pinned, age)| {
            Step::Insert { kind, strength, rate, pinned, age }
        }),
        2 => any_trace().prop_map(Step::Reinforce),
        1 => (any_trace(), any::<bool>()).prop_map(|(at, pinned)| Step::Pin(at, pinned)),
        1 => (any_trace(), strengths()).prop_map(|(at, strength)| Step::Weaken(at, strength)),
        1 => any_trace().prop_map(Step::Remove),
        2 => (any_trace(), proptest::option::weighted(0.8, times())).prop_map(|(at, end)| Step::End(at, end)),
        2 => Just(Step::Settle),
        3 => times().prop_map(Step::Move),
        1 => times().prop_map(|micros| Step::Move(-micros)),
        3 => (any_trace(), -1..=2_i64).prop_map(|(at, later)| Step::MoveToDue(at, later)),
        5 => Just(Step::Upkeep),
    ]
}

fn curves() -> impl Strategy<Value = DecayCurve> {
    let half_lives = (1..60 * 86_400_u64).prop_map(Duration::from_secs);
    prop_oneof![
        Just(DecayCurve::PowerLaw),
        Just(DecayCurve::None),
        half_lives.prop_map(|half_life| DecayCurve::Exponential { half_life }),
    ]
}

/// Two stores that are written alike: one is kept up by automatic cycles, the other by full ones.
struct Pair {
    clock: ManualClock,
    stores: [TraceStore; 2],
    ids: Vec<TraceId>,
}

impl Pair {
    fn new(curve: DecayCurve) -> Result<Self> {
        let clock = clock();
        let builder = builder(&clock).decay_curve(curve);
        Ok(Self { stores: [builder.clone().in_memory()?, builder.in_memory()?], clock, ids: Vec::new() })
    }

    fn take(&mut self, step: &Step) -> Result<()> {
        let [due, full] = &self.stores;
        let id = |at: usize| self.ids.get(at % self.ids.len().max(1)).copied().unwrap_or_else(TraceId::new);
        match *step {
            Step::Insert { kind, strength, rate, pinned, age } => {
                let reinforced: jiff::Timestamp = Micros::from(self.clock.now()).plus(-age).into();
                let new = NewTrace::new(kind, json!(1)).id(TraceId::new()).created_at(reinforced);
                let new = new.strength(strength).base_decay_rate(rate).pinned(pinned);
                self.ids.push(due.insert(new.clone())?);
                full.insert(new)?;
            }
            Step::Reinforce(at) => self.each(|store| store.reinforce(id(at)).map(drop))?,
            Step::Pin(at, pinned) => {
                self.each(|store| store.update(id(at), |trace| trace.pinned(pinned)).map(drop))?;
            }
            Step::Weaken(at, strength) => {
                self.each(|store| store.update(id(at), |trace| trace.strength(strength)).map(drop))?;
            }
            Step::Remove(at) => self.each(|store| store.remove(id(at)).map(drop))?,
            Step::End(at, end) => {
                let end = end.map(|end| jiff::Timestamp::from(Micros::from(self.clock.now()).plus(-end)));
                self.each(|store| {
                    let edited = store.update(id(at), |trace| match end {
                        Some(end) => trace.valid_until(end),
                        None => trace.no_valid_until(),
                    });
                    edited.map(drop)
                })?;
            }
            Step::Settle => settle(due)?,
            Step::Move(by) => self.clock.set(Micros::from(self.clock.now()).plus(by).into()),
            Step::MoveToDue(at, later) => {
                let Some(trace) = due.get(id(at)) else { return Ok(()) };
                let (curve, kind) = (due.inner().settings.curve, trace.trace_type());
                let (_, until) = curve.times_of_tier(kind, &trace.numbers);
                let faded = curve.fades_away(kind, &trace.numbers).latest;
                let time = match (trace.end(), at) {
                    (Some(end), _) if at % 3 == 0 => end.plus(7 * 86_400_000_000),
                    (_, ..15) => until,
                    _ => faded,
                };
                let time = time.plus(later);
                let is_near =
                    time.micros_since(Micros::from(self.clock.now())).abs() < 100 * 365 * 86_400_000_000;
                if is_near {
                    settle(due)?;
                    self.clock.set(time.into());
                    self.upkeep()?;
                }
            }
            Step::Upkeep => self.upkeep()?,
        }
        Ok(())
    }

    fn upkeep(&self) -> Result<()> {
        let [due, full] = &self.stores;
        let cycle = due.inner().prune_due()?;
        assert_eq!(cycle.changed, full.decay()?.traces);
        let cycle = due.inner().update_due_tiers()?;
        assert_eq!(cycle.changed, full.update_tiers()?);
        self.ids.iter().for_each(|id| assert_eq!(due.get(*id), full.get(*id)));
        Ok(())
    }

    fn each(&self, write: impl Fn(&TraceStore) -> Result<()>) -> Result<()> {
        self.stores.iter().try_for_each(write)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn automatic_cycles_do_what_full_ones_do(
        curve in curves(),
        steps in proptest::collection::vec(steps(), 1..80),
    ) {
        let mut pair = Pair::new(curve).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for step in steps.iter().chain([&Step::Settle, &Step::Upkeep]) {
            pair.take(step).map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
    }
}

#[test]
fn cycles_visit_what_is_due() -> Outcome {
    let clock = clock();
    let half_life = 30 * DAY;
    let store = builder(&clock).decay_curve(DecayCurve::Exponential { half_life }).in_memory()?;
    let inner = store.inner();
    let new = |n: usize| NewTrace::semantic(json!(n));
    store.insert_many((0..20_000).map(new))?;
    store.insert_many((0..7).map(|n| new(n).base_decay_rate(25.0)))?;
    let now = clock.now();
    store.insert_many((0..11).map(|n| new(n).last_reinforced(now - DAY + HOUR * 3 / 2)))?;
    settle(&store)?;
    let nothing = Cycle::default();
    assert_eq!((inner.prune_due()?, inner.update_due_tiers()?), (nothing, nothing));
    clock.advance(2 * HOUR);
    assert_eq!(inner.prune_due()?, Cycle { visited: 7, changed: 7 });
    settle(&store)?;
    // The second order of tiers is asked when the views may lack the changes of the first.
    let tiers = inner.update_due_tiers()?;
    assert!(tiers.changed == 11 && (11..=22).contains(&tiers.visited), "{tiers:?}");
    settle(&store)?;
    assert_eq!((inner.prune_due()?, inner.update_due_tiers()?), (nothing, nothing));
    Ok(())
}

/// The clock set back: tiers are those of then.
#[test]
fn earlier_tiers_come_back() -> Outcome {
    let clock = clock();
    let store = builder(&clock).in_memory()?;
    let start = clock.now();
    let ids = store.insert_many((0..100).map(|n| NewTrace::semantic(json!(n))))?;
    for (day, tier) in [(2, Tier::Warm), (100, Tier::Cold), (2, Tier::Warm), (0, Tier::Hot), (0, Tier::Hot)] {
        clock.set(start + day * DAY);
        store.inner().update_due_tiers()?;
        let tiers: Vec<_> = ids.iter().filter_map(|id| store.get(*id)).map(|trace| trace.tier()).collect();
        assert_eq!(tiers, [tier; 100]);
        settle(&store)?;
    }
    Ok(())
}

#[test]
fn no_upkeep_keeps_no_due_times() -> Outcome {
    let clock = clock();
    let tiers = Upkeep { decay: None, ..NEVER };
    for builder in [builder(&clock).upkeep(tiers), builder(&clock).prune(false)] {
        let store = builder.in_memory()?;
        store.insert_many((0..10).map(|n| NewTrace::semantic(json!(n)).strength(0.0)))?;
        settle(&store)?;
        let count = |due| store.state().ask(|_, views| views.due(due, Micros::MAX, Place::default()).count());
        assert_eq!((count(DueFor::Pruning), count(DueFor::LaterTier)), (Some(0), Some(10)));
        assert_eq!(store.len(), 10);
    }
    Ok(())
}

#[test]
fn cycles_are_bounded() -> Outcome {
    let clock = clock();
    let quota = Quota { max_traces: 12_000, ..Quota::default() };
    let store = builder(&clock).quota(quota).in_memory()?;
    let inner = store.inner();
    let faded = (0..12_000).map(|n| NewTrace::semantic(json!(n)).strength(0.01));
    store.insert_many(faded.map(|new| new.last_reinforced(clock.now() - DAY)))?;
    let kept = store.insert_many((0..10).map(|n| NewTrace::semantic(json!(n))))?;
    let cycles = |cycle: &dyn Fn() -> Result<Cycle>| -> Result<Vec<usize>> {
        let mut changed = Vec::new();
        loop {
            let cycle = cycle()?;
            changed.push(cycle.changed);
            if !cycle.is_full() {
                return Ok(changed);
            }
            if changed.len() == 1 {
                settle(&store)?;
            }
        }
    };
    assert_eq!(cycles(&|| inner.update_due_tiers())?, [5_000, 5_000, 2_000]);
    assert_eq!(cycles(&|| inner.evict_due())?, [10]);
    assert_eq!(cycles(&|| inner.prune_due())?, [5_000, 5_000, 1_990]);
    assert_eq!(store.len(), kept.len());

    let quota = Quota { max_traces: 10, ..Quota::default() };
    let store = builder(&clock).quota(quota).in_memory()?;
    let ids: Vec<_> = (0..12_010).map(|n| TraceId::from_reference(&n.to_string())).collect();
    let aged = |n: usize| NewTrace::semantic(json!(n)).id(ids[n]);
    // Many of one time, and the newest first.
    store
        .insert_many((0..12_010).map(|n| aged(n).last_reinforced(clock.now() - HOUR * (n / 1_000) as u32)))?;
    let oldest_first = |store: &TraceStore| -> Vec<Arc<Trace>> {
        let mut all: Vec<_> = store.iter().collect();
        all.sort_by_key(|trace| (trace.last_reinforced(), trace.id()));
        all
    };
    let mut expected = oldest_first(&store);
    for evicted in [5_000, 5_000, 2_000, 0] {
        assert_eq!(store.inner().evict_due()?.changed, evicted);
        expected.drain(..evicted);
        assert_eq!(oldest_first(&store), expected);
        if evicted == 5_000 {
            settle(&store)?;
        }
    }
    Ok(())
}
