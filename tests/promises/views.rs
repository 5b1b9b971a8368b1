//! Questions of the views are answered as by a look at every trace, whatever the flusher and the indexer are doing.
#![cfg(all(feature = "sqlite", feature = "testkit"))]

use super::retrieval::settle;
use crate::OpenAt;
use harness::steps::pick;
use harness::{Outcome, Rng, TestDir, clock, flush_always, manual_flush, minutes, note, seconds, wait_until};
use mnemon::testkit::{Call, Fault, Faults};
use mnemon::{ManualClock, NewTrace, Order, Query, Tier, Trace, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread;

const ORDERS: [Order; 4] = [Order::Strength, Order::Recency, Order::Score, Order::Created];

/// Traces by id, as one thread knows them.
type Known = BTreeMap<TraceId, Arc<Trace>>;

/// What a question asks, which every writer asks of its own partition.
#[derive(Clone, Debug)]
struct Question {
    partition: String,
    kind: Option<TraceType>,
    tag: Option<&'static str>,
    any_tag: Option<[&'static str; 2]>,
    no_tag: Option<&'static str>,
    parent: Option<TraceId>,
    odd: bool,
    paged: bool,
    tier: Option<Tier>,
    unresolved: Option<bool>,
    since: Option<jiff::Timestamp>,
    least: f64,
    order: Order,
    limit: usize,
}

impl Question {
    fn of(rng: &mut Rng, partition: &str, now: jiff::Timestamp) -> Self {
        Self {
            partition: partition.to_owned(),
            kind: (rng.u8(..3) == 0).then(|| pick(rng, TraceType::ALL)),
            tag: (rng.u8(..3) == 0).then(|| pick(rng, &["a", "b"])),
            any_tag: (rng.u8(..4) == 0).then(|| [pick(rng, &["a", "c"]), pick(rng, &["b", "none"])]),
            no_tag: (rng.u8(..4) == 0).then(|| pick(rng, &["a", "b", "none"])),
            parent: (rng.u8(..6) == 0).then(|| parent(partition)),
            odd: rng.u8(..6) == 0,
            paged: rng.u8(..12) == 0,
            tier: (rng.u8(..5) == 0).then(|| pick(rng, Tier::ALL)),
            unresolved: (rng.u8(..5) == 0).then(|| rng.bool()),
            since: (rng.u8(..5) == 0).then(|| now - minutes(rng.u64(..100))),
            least: pick(rng, &[0.0, 0.0, 0.3, 0.6]),
            order: pick(rng, &ORDERS),
            limit: pick(rng, &[0, 1, 5, 5, 50, usize::MAX]),
        }
    }

    fn ask<'a>(&self, store: &'a TraceStore) -> Query<'a> {
        let query = store.query().partition(&*self.partition).min_strength(self.least);
        let query = self.kind.iter().fold(query, |query, kind| query.of_type(*kind));
        let query = self.tag.iter().fold(query, |query, tag| query.tagged(*tag));
        let query = self.any_tag.iter().fold(query, |query, tags| query.tagged_any(*tags));
        let query = self.no_tag.iter().fold(query, |query, tag| query.untagged(*tag));
        let query = self.parent.iter().fold(query, |query, parent| query.parent(*parent));
        let query = if self.odd { query.filter(is_odd) } else { query };
        let query = self.tier.iter().fold(query, |query, tier| query.tier(*tier));
        let query = self.unresolved.iter().fold(query, |query, unresolved| query.unresolved(*unresolved));
        let query = self.since.iter().fold(query, |query, since| query.since(*since));
        query.order(self.order).limit(self.limit)
    }

    /// The answer by a look at every trace, without the limit.
    fn expected(&self, store: &TraceStore, known: &Known, now: jiff::Timestamp) -> Vec<TraceId> {
        let fits = |trace: &&Arc<Trace>| {
            trace.partition() == self.partition
                && self.kind.is_none_or(|kind| trace.trace_type() == kind)
                && self.tag.is_none_or(|tag| trace.has_tag(tag))
                && self.any_tag.is_none_or(|tags| tags.iter().any(|tag| trace.has_tag(tag)))
                && self.no_tag.is_none_or(|tag| !trace.has_tag(tag))
                && self.parent.is_none_or(|parent| trace.parent() == Some(parent))
                && (!self.odd || is_odd(trace))
                && self.tier.is_none_or(|tier| trace.tier() == tier)
                && self.unresolved.is_none_or(|unresolved| trace.is_unresolved() == unresolved)
                && self.since.is_none_or(|since| trace.created_at() >= since)
                && store.strength(trace) >= self.least
        };
        let mut found: Vec<_> = known.values().filter(fits).collect();
        let recency = |trace: &Trace| Reverse(trace.last_reinforced().min(now));
        let strength = |trace: &Trace| Reverse(store.strength(trace).to_bits());
        match self.order {
            Order::Strength => found.sort_by_key(|trace| (strength(trace), trace.id())),
            Order::Recency => found.sort_by_key(|trace| (recency(trace), trace.id())),
            Order::Created => found.sort_by_key(|trace| (Reverse(trace.created_at()), trace.id())),
            _ => {
                let ranked = store.rank(found.iter().map(|trace| trace.id()));
                return ranked.into_iter().map(|ranked| ranked.trace.id()).collect();
            }
        }
        found.into_iter().map(|trace| trace.id()).collect()
    }

    fn check(&self, store: &TraceStore, known: &Known, now: jiff::Timestamp) {
        let expected = self.expected(store, known, now);
        let some = &expected[..self.limit.min(expected.len())];
        assert_eq!(ids(&self.ask(store).run()), some, "{self:?}: {}", self.ask(store).explain());
        assert_eq!(self.ask(store).count(), expected.len(), "{self:?}");
        if self.paged && self.limit > 4 {
            let all: Vec<_> = self.ask(store).iter().map(|trace| trace.id()).collect();
            assert_eq!(all, some, "{self:?}");
            let (mut paged, mut next) = (Vec::new(), Some(None));
            while let Some(after) = next {
                let page = after.into_iter().fold(self.ask(store), Query::after).page();
                paged.extend(ids(&page.traces));
                next = page.next.map(|cursor| Some(cursor.to_string().parse().expect("its own text")));
            }
            assert_eq!(paged, expected, "{self:?}");
        }
    }
}

fn ids(traces: &[Arc<Trace>]) -> Vec<TraceId> {
    traces.iter().map(|trace| trace.id()).collect()
}

fn is_odd(trace: &Trace) -> bool {
    trace.id().as_bytes()[15] % 2 == 1
}

/// Of a third of the traces of a partition.
fn parent(partition: &str) -> TraceId {
    TraceId::from_reference(partition)
}

/// One change of a writer's own traces, and what the store has after it.
fn change(store: &TraceStore, rng: &mut Rng, partition: &str, known: &mut Known) -> mnemon::Result<()> {
    let some = known.keys().nth(rng.usize(..known.len().max(1))).copied();
    let id = match (rng.u8(..10), some) {
        (0..3, _) | (_, None) => {
            let age = store_age(rng);
            let new = NewTrace::new(pick(rng, TraceType::ALL), json!(rng.u32(..)));
            let new = if rng.u8(..3) == 0 { new.parent(parent(partition)) } else { new };
            store.insert(
                new.partition(partition)
                    .tags(["a", "b"].into_iter().filter(|_| rng.bool()))
                    .unresolved(rng.bool())
                    .tier(pick(rng, Tier::ALL))
                    .strength(rng.f64())
                    .created_at(clock().now() - age)
                    .last_reinforced(clock().now() - age / 2),
            )?
        }
        (3, Some(id)) => {
            store.remove(id)?;
            id
        }
        (4..6, Some(id)) => {
            let tag = pick(rng, &["a", "b", "c"]);
            store.update(id, |trace| trace.tags([tag]))?;
            id
        }
        (6, Some(id)) => {
            store.update(id, |trace| trace.unresolved(rng.bool()).no_parent())?;
            id
        }
        (_, Some(id)) => {
            store.reinforce(id)?;
            id
        }
    };
    match store.get(id) {
        Some(trace) => known.insert(id, trace),
        None => known.remove(&id),
    };
    Ok(())
}

fn store_age(rng: &mut Rng) -> std::time::Duration {
    seconds(rng.u64(..6_000))
}

/// Each of four writers knows what it has written, and nobody else writes in its partition: so every answer is known,
/// to the last place, while the others write, the flusher commits and the indexer applies.
#[test]
fn answers_are_exact_under_four_writers() -> Outcome {
    const WRITERS: u64 = 4;
    let rounds = if cfg!(debug_assertions) { 600 } else { 6_000 };
    let file = TestDir::new()?;
    let clock = clock();
    let store = flush_always().clock(&clock).open_at(file.path())?;
    let start = Barrier::new(WRITERS as usize);
    thread::scope(|scope| -> Outcome {
        let writers = (0..WRITERS).map(|writer| {
            let (store, start, clock) = (&store, &start, &clock);
            scope.spawn(move || -> mnemon::Result<()> {
                let partition = format!("writer {writer}");
                let (mut rng, mut known) = (Rng::with_seed(writer), Known::new());
                start.wait();
                for _ in 0..rounds {
                    change(store, &mut rng, &partition, &mut known)?;
                    Question::of(&mut rng, &partition, clock.now()).check(store, &known, clock.now());
                }
                Ok(())
            })
        });
        let writers: Vec<_> = writers.collect();
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok(())
    })?;
    settle(&store);
    let known: Known = store.iter().map(|trace| (trace.id(), trace)).collect();
    let mut rng = Rng::with_seed(99);
    for writer in 0..WRITERS {
        for _ in 0..200 {
            Question::of(&mut rng, &format!("writer {writer}"), clock.now()).check(
                &store,
                &known,
                clock.now(),
            );
        }
    }
    Ok(())
}

/// Time moves on, so that strengths fall out of the places that the views have them in, and now and then back.
#[test]
fn answers_are_exact_as_time_goes() -> Outcome {
    let moving: ManualClock = clock();
    let store = manual_flush().clock(&moving).in_memory()?;
    let (mut rng, mut known) = (Rng::with_seed(7), Known::new());
    for round in 0..1_500_u64 {
        change(&store, &mut rng, "default", &mut known)?;
        match round % 100 {
            50 => settle(&store),
            // Before all that the views were made for.
            55 => moving.set(moving.now() - minutes(3_000)),
            60 | 70 => moving.advance(minutes(rng.u64(..500))),
            80 => moving.set(moving.now() - minutes(100)),
            _ => {}
        }
        Question::of(&mut rng, "default", moving.now()).check(&store, &known, moving.now());
    }
    Ok(())
}

/// While a commit hangs, the views go on: a question does not look at all that waits for the disk.
#[test]
fn views_go_on_during_hanging_commit() -> Outcome {
    let faults = Faults::new();
    let store = flush_always().open_with(faults.backend())?;
    faults.fail(Call::Apply).with(Fault::Hang);
    let mut ids = vec![store.insert(note(0).tag("here"))?];
    faults.wait_until_hanging();
    for n in 1..5_000 {
        ids.push(store.insert(note(n).tag("here"))?);
    }
    let all = || store.query().tagged("here").limit(usize::MAX).run().len();
    assert_eq!(all(), ids.len());
    let visited = || {
        let before = store.stats().entries_visited;
        store.query().order(Order::Recency).limit(5).run();
        store.stats().entries_visited - before
    };
    wait_until(|| visited() < 600);
    assert_eq!(all(), ids.len());
    faults.release();
    store.flush()?;
    assert_eq!((all(), faults.live().len()), (ids.len(), ids.len()), "what was cut for views is committed");
    Ok(())
}
