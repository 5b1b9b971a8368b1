//! Retrieval: what a query finds, in which order, and how much it looks at for that; and ranking.
#![cfg(feature = "sqlite")]

use super::ranking::half;
use crate::OpenAt;
use harness::{Outcome, TestDir, clock, held, manual_flush, minutes, note, seconds, wait_until};
use mnemon::{ManualClock, NewTrace, Order, Tier, Trace, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::cmp::Ordering::Equal;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) fn ids(traces: &[Arc<Trace>]) -> Vec<TraceId> {
    traces.iter().map(|trace| trace.id()).collect()
}

pub(super) fn numbered(number: u128) -> TraceId {
    TraceId::from_bytes(number.to_be_bytes())
}

/// Every condition that a query may have, as a test of a trace.
#[derive(Clone, Default, Debug)]
struct Wanted {
    types: Vec<TraceType>,
    tags: Vec<&'static str>,
    partition: Option<&'static str>,
    tiers: Vec<Tier>,
    unresolved: Option<bool>,
    since: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
    min_strength: Option<f64>,
}

impl Wanted {
    fn query<'a>(&self, store: &'a TraceStore) -> mnemon::Query<'a> {
        let query = store.query().limit(usize::MAX);
        let query = self.types.iter().fold(query, |query, kind| query.of_type(*kind));
        let query = self.tags.iter().fold(query, |query, tag| query.tagged(*tag));
        let query = self.tiers.iter().fold(query, |query, tier| query.tier(*tier));
        let query = self.partition.iter().fold(query, |query, name| query.partition(*name));
        let query = self.unresolved.iter().fold(query, |query, unresolved| query.unresolved(*unresolved));
        let query = self.since.iter().fold(query, |query, at| query.since(*at));
        let query = self.until.iter().fold(query, |query, at| query.until(*at));
        self.min_strength.iter().fold(query, |query, strength| query.min_strength(*strength))
    }

    fn fits(&self, trace: &Trace, strength: f64) -> bool {
        (self.types.is_empty() || self.types.contains(&trace.trace_type()))
            && self.tags.iter().all(|wanted| trace.tags().any(|tag| tag == *wanted))
            && self.partition.is_none_or(|name| trace.partition() == name)
            && (self.tiers.is_empty() || self.tiers.contains(&trace.tier()))
            && self.unresolved.is_none_or(|unresolved| trace.is_unresolved() == unresolved)
            && self.since.is_none_or(|at| trace.created_at() >= at)
            && self.until.is_none_or(|at| trace.created_at() <= at)
            && self.min_strength.is_none_or(|least| strength >= least)
    }
}

/// 0 to `below`, the same each time, without a pattern.
fn scattered(n: u64, salt: u64, below: u64) -> u64 {
    let mixed = (n * 16 + salt + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) % below
}

fn varied(store: &TraceStore, clock: &ManualClock, count: u64) -> Outcome {
    let now = clock.now();
    store.insert_many((0..count).map(|n| {
        let pick = |salt, below| scattered(n, salt, below);
        let tags = ["a", "b", "c"].into_iter().enumerate().filter(|(at, _)| pick(*at as u64, 2) == 0);
        NewTrace::new(TraceType::ALL[pick(3, 7) as usize], json!(n))
            .tags(tags.map(|(_, tag)| tag))
            .partition(["default", "other"][pick(4, 2) as usize])
            .tier(Tier::ALL[pick(5, 4) as usize])
            .unresolved(pick(6, 2) == 0)
            .emotional_intensity(pick(7, 5) as f64 / 4.0)
            .created_at(now - minutes(pick(8, 100)))
            .last_reinforced(now - minutes(pick(9, 20)))
    }))?;
    Ok(())
}

fn combinations(now: jiff::Timestamp) -> Vec<Wanted> {
    use TraceType::{Episodic, Firmware, Semantic};
    let mut all = Vec::new();
    for types in [vec![], vec![Semantic], vec![Firmware, Episodic], vec![Semantic, Semantic]] {
        for tags in [vec![], vec!["a"], vec!["a", "b"], vec!["unknown"]] {
            for partition in [None, Some("other")] {
                for tiers in [vec![], vec![Tier::Warm], vec![Tier::Warm, Tier::Erased]] {
                    for unresolved in [None, Some(true), Some(false)] {
                        for (since, until) in
                            [(None, None), (Some(80), None), (None, Some(30)), (Some(70), Some(20))]
                        {
                            for min_strength in [None, Some(0.4)] {
                                let [since, until] =
                                    [since, until].map(|age| age.map(|age| now - minutes(age)));
                                all.push(Wanted {
                                    types: types.clone(),
                                    tags: tags.clone(),
                                    partition,
                                    tiers: tiers.clone(),
                                    unresolved,
                                    since,
                                    until,
                                    min_strength,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

#[test]
fn query_meets_all_conditions() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    varied(&store, &clock, 700)?;
    let all: Vec<_> = store.iter().collect();
    let mut found = 0;
    for wanted in combinations(clock.now()) {
        let expected: BTreeSet<_> = all
            .iter()
            .filter(|trace| wanted.fits(trace, store.strength(trace)))
            .map(|trace| trace.id())
            .collect();
        let answer = wanted.query(&store).run();
        found += answer.len();
        assert_eq!(answer.len(), expected.len(), "{wanted:?}: each once");
        assert!(answer.iter().all(|trace| expected.contains(&trace.id())), "{wanted:?}");
    }
    assert!(found > 10_000, "the conditions are met by many: {found}");
    Ok(())
}

#[test]
fn time_and_strength_bounds_are_inclusive() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let id = store.insert(note(1).strength(0.3).base_decay_rate(0.0))?;
    let (now, moment) = (clock.now(), std::time::Duration::from_micros(1));
    let found = |query: mnemon::Query<'_>| ids(&query.run()) == [id];
    assert!(found(store.query().since(now)) && found(store.query().until(now)));
    assert!(!found(store.query().since(now + moment)) && !found(store.query().until(now - moment)));
    assert!(found(store.query().min_strength(0.3)) && !found(store.query().min_strength(0.3_f64.next_up())));
    Ok(())
}

#[test]
fn since_and_until_use_creation_time() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let id = store.insert(note(1))?;
    clock.advance(minutes(10));
    assert!(store.reinforce(id)?.is_some());
    assert!(store.query().since(clock.now()).run().is_empty());
    assert_eq!(ids(&store.query().until(clock.now() - minutes(10)).run()), [id]);
    Ok(())
}

#[test]
fn tags_match_exactly_as_spelled() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let id = store.insert(note(1).tags(["harbour", "café 日本"]))?;
    for tag in ["harbour", "café 日本"] {
        assert_eq!(ids(&store.query().tagged(tag).run()), [id]);
    }
    for tag in ["Harbour", "harbou", "harbour ", "", "cafe 日本", "semantic", "default"] {
        assert!(store.query().tagged(tag).run().is_empty(), "{tag:?}");
    }
    Ok(())
}

#[test]
fn nan_matches_nothing() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    store.insert_many([note(1), note(2).strength(0.0), NewTrace::firmware(json!(3))])?;
    let found = |least| store.query().min_strength(least).run().len();
    assert_eq!([f64::NAN, f64::INFINITY, -1.0, f64::NEG_INFINITY, 0.0].map(found), [0, 0, 3, 3, 3]);
    Ok(())
}

#[test]
fn query_orders_by_strength_recency_score() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    varied(&store, &clock, 500)?;
    clock.advance(seconds(90));
    let now = clock.now();
    let weight = |trace: &Trace, order: Order| {
        let strength = store.strength_at(trace, now);
        let age = now.duration_since(trace.last_reinforced()).as_secs_f64().max(0.0);
        match order {
            Order::Strength => strength,
            Order::Recency => -age,
            Order::Created => trace.created_at().as_microsecond() as f64,
            _ => strength * (-age / 3_600.0).exp2() * (1.0 + trace.emotional_intensity()),
        }
    };
    for order in [Order::Strength, Order::Recency, Order::Score, Order::Created] {
        let mut expected: Vec<_> = store.iter().collect();
        expected.sort_by(|a, b| {
            let by_weight = weight(b, order).partial_cmp(&weight(a, order)).unwrap_or(Equal);
            let by_strength = store.strength_at(b, now).total_cmp(&store.strength_at(a, now));
            let by_recency = b.last_reinforced().cmp(&a.last_reinforced());
            let ties = if order == Order::Score { by_strength.then(by_recency) } else { Equal };
            by_weight.then(ties).then(a.id().cmp(&b.id()))
        });
        let found = store.query().order(order).limit(usize::MAX).run();
        assert_eq!(ids(&found), ids(&expected), "{order:?}");
        for limit in [0, 1, 2, 7, 499, 500, 501] {
            let found = store.query().order(order).limit(limit).run();
            assert_eq!(ids(&found), ids(&expected[..limit.min(500)]), "{order:?} {limit}");
        }
    }
    assert_eq!(store.query().run(), store.query().order(Order::Strength).run(), "by strength unless said");
    Ok(())
}

#[test]
fn smaller_id_comes_first_among_equals() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let numbers = (0..300_u128).map(|n| n * 7 % 300);
    store.insert_many(numbers.map(|n| note(1).id(numbered(n))))?;
    for order in [Order::Strength, Order::Recency, Order::Score, Order::Created] {
        for limit in [1, 10, 299, 300] {
            let found = store.query().order(order).limit(limit).run();
            assert_eq!(ids(&found), (0..limit as u128).map(numbered).collect::<Vec<_>>(), "{order:?}");
        }
    }
    Ok(())
}

#[test]
fn close_times_order_at_range_end() -> Outcome {
    let moment = std::time::Duration::from_micros(1);
    let clock = ManualClock::at(jiff::Timestamp::MAX);
    let store = manual_flush().clock(&clock).in_memory()?;
    for (n, latest) in
        [jiff::Timestamp::MAX, "1700-01-01T00:00:00Z".parse()?, jiff::Timestamp::MIN + minutes(1)]
            .into_iter()
            .enumerate()
    {
        let partition = n.to_string();
        let later = |n: u128| note(n).partition(&partition).last_reinforced(latest - moment * (2 - n as u32));
        let ids_by_age = store.insert_many((0..3).map(|n| later(n).id(TraceId::new())))?;
        let found = store.query().partition(&*partition).order(Order::Recency).run();
        let newest_first: Vec<_> = ids_by_age.into_iter().rev().collect();
        assert_eq!(ids(&found), newest_first, "before {latest}");
    }
    Ok(())
}

/// Of a trace that was reinforced while the clock was years early, and one that was reinforced just now.
fn early_and_just_used() -> Outcome<(TraceStore, [TraceId; 2])> {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let [used, early] = [1, 2].map(|n| note(n).id(numbered(n)).base_decay_rate(0.0));
    let [used, early] = [store.insert(used)?, store.insert(early)?];
    let now = clock.now() + minutes(1);
    clock.advance(minutes(5_256_000));
    assert!(store.reinforce(early)?.is_some());
    clock.set(now);
    assert!(store.reinforce(used)?.is_some());
    Ok((store, [used, early]))
}

#[test]
fn future_reinforcement_does_not_come_first() -> Outcome {
    let (store, [used, early]) = early_and_just_used()?;
    for order in [Order::Recency, Order::Score] {
        assert_eq!(ids(&store.query().order(order).run()), [used, early], "{order:?}");
    }
    Ok(())
}

#[test]
fn inserted_times_are_at_most_now() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let now = clock.now();
    let later = |n: u32| note(n).created_at(now + minutes(2)).last_decayed(now + minutes(1));
    let mut stored = vec![store.insert(later(1))?, store.insert(later(2).last_reinforced(now + seconds(1)))?];
    stored.extend(store.insert_many([later(3).strength(0.2).peak_strength(0.9)])?);
    for id in &stored {
        let trace = held(&store, *id)?;
        assert_eq!((trace.last_reinforced(), trace.last_decayed()), (now, now));
        assert_eq!(trace.created_at(), now + minutes(2), "what it says of itself stays");
    }
    assert_eq!(store.strength(&*held(&store, stored[2])?), 0.2);
    store.restore([later(4)])?;
    assert!(store.iter().all(|trace| trace.last_reinforced() == now));
    Ok(())
}

#[test]
fn future_links_are_not_nearer() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let hub = store.insert(half())?;
    let near = store.insert_many((1..=21).map(|n| half().id(numbered(n))))?;
    let now = clock.now();
    for (at, id) in near.iter().enumerate().rev() {
        // The last one was active with it while the clock was early.
        clock.set(if at == 20 { now + minutes(5_256_000) } else { now });
        for _ in 0..3 {
            store.co_activate(hub, *id)?;
        }
    }
    let found: BTreeSet<_> = store.associated(hub, 0.0, 20).iter().map(|trace| trace.id()).collect();
    assert_eq!(found, near[..20].iter().copied().collect());
    Ok(())
}

#[test]
fn query_has_no_silent_limit() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    store.insert_many((0..150).map(note))?;
    let found = |query: mnemon::Query<'_>| query.run().len();
    assert_eq!(found(store.query()), 150);
    assert_eq!([0, 1, 150, 1_000].map(|limit| found(store.query().limit(limit))), [0, 1, 150, 150]);
    Ok(())
}

/// How many entries a query looks at, once the views have every change.
pub(super) fn visited(store: &TraceStore, query: mnemon::Query<'_>) -> u64 {
    let count = |query: mnemon::Query<'_>| {
        let before = store.stats().entries_visited;
        query.run();
        store.stats().entries_visited - before
    };
    settle(store);
    count(query)
}

/// Returns when the views have every change.
pub(super) fn settle(store: &TraceStore) {
    store.flush().ok();
    wait_until(|| store.query().limit(0).explain().ends_with(": 0 looked at, 0 of them just changed"));
}

#[test]
fn query_looks_at_few() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let (start, at) = (clock.now(), |n: u64| clock.now() - minutes(n));
    store.insert_many((0..10_000).map(|n| {
        let kind = if n % 10 == 0 { TraceType::Episodic } else { TraceType::Semantic };
        let new = NewTrace::new(kind, json!(n)).partition(if n < 500 { "small" } else { "large" });
        let new = if n % 50 == 0 { new.tags(["rare", "common"]) } else { new.tag("common") };
        new.created_at(at(n)).last_reinforced(at(n))
    }))?;
    settle(&store);
    let query = || store.query().limit(5);
    for order in [Order::Strength, Order::Recency, Order::Score] {
        let few = |query: mnemon::Query<'_>, most| {
            let query = query.order(order);
            let (line, visits) = (query.explain(), visited(&store, query));
            assert!(visits <= most, "{order:?}, at most {most}: {line}");
        };
        // Those of nearly the same strength are not kept in order, and a score may be that of an older one.
        let most = if order == Order::Recency { 600 } else { 1_200 };
        few(query(), most);
        few(query().partition("small"), most);
        few(query().partition("large"), most);
        few(query().tagged("rare"), most);
        few(query().tagged("rare").of_type(TraceType::Episodic).partition("large"), most);
        few(query().of_type(TraceType::Episodic).tagged("common"), most);
        few(query().of_type(TraceType::Episodic).partition("small"), most);
        few(query().since(start - minutes(20)), most);
        for none in [query().tagged("none"), query().of_type(TraceType::Trust), query().partition("none")] {
            few(none, 0);
        }
    }
    assert_eq!(visited(&store, store.query().tagged("rare").limit(usize::MAX)), 200, "each once");
    let twice = store.query().of_type(TraceType::Episodic).of_type(TraceType::Episodic).limit(usize::MAX);
    assert_eq!(visited(&store, twice), 1_000, "each once");
    Ok(())
}

/// Not even where all others are stronger.
#[test]
fn partition_has_its_own_ranking() -> Outcome {
    let file = TestDir::new()?;
    let clock = clock();
    let open = || manual_flush().clock(&clock).open(file.path());
    let store = open()?;
    store.insert_many((0..20_000).map(|n| {
        let (strength, partition) = if n % 10 == 0 { (0.5, "weak") } else { (0.9, "strong") };
        let new = if n % 20 == 0 { NewTrace::firmware(json!(n)) } else { NewTrace::semantic(json!(n)) };
        new.strength(strength - n as f64 / 1e6).partition(partition).tag(if n % 3 == 0 {
            "third"
        } else {
            "other"
        })
    }))?;
    let look = |store: &TraceStore| {
        let strongest = || store.query().partition("weak").limit(5);
        let both = || strongest().tagged("third").of_type(TraceType::Firmware);
        let seen = [visited(store, strongest()), visited(store, both())];
        assert!(seen[0] <= 30 && seen[1] <= 200, "{seen:?}: {}", strongest().explain());
        both().run().iter().map(|trace| trace.payload().as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(look(&store), ["0", "60", "120", "180", "240"]);
    store.retain(|trace| trace.payload().as_str() != "60")?;
    assert_eq!(look(&store), ["0", "120", "180", "240", "300"]);
    store.close()?;
    assert_eq!(look(&open()?), ["0", "120", "180", "240", "300"], "and after a restart");
    Ok(())
}

#[test]
fn removed_traces_cost_queries_nothing() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().clock(&clock()).open_at(file.path())?;
    let ids = store.insert_many((0..1_000).map(|n| note(n).tag("old")))?;
    for id in &ids[..400] {
        store.update(*id, |trace| trace.tags(["new"]))?;
    }
    for id in &ids[400..600] {
        store.remove(*id)?;
    }
    let look = |store: &TraceStore| {
        let query = || store.query();
        [query().tagged("old"), query().tagged("new"), query().of_type(TraceType::Semantic)]
            .map(|query| visited(store, query.limit(usize::MAX)))
    };
    assert_eq!(look(&store), [400, 400, 800]);
    store.close()?;
    assert_eq!(look(&TraceStore::builder().open_at(file.path())?), [400, 400, 800], "nor after a restart");
    Ok(())
}
