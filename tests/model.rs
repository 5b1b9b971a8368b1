//! The store against a model of one thread and a few maps: whatever is done, in whatever order and however the
//! time moves, both give the same answers, and after a flush the file holds what the model does.
//!
//! `MNEMON_MODEL_CASES` sets how many sequences are tried.
#![cfg(feature = "sqlite")]

mod support;

use jiff::Timestamp;
use mnemon::{
    ErrorKind, Eviction, ManualClock, NewTrace, Order, Quota, StoreBuilder, Tier, Trace, TraceId, TraceStore,
    TraceType,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use support::{Scratch, clock, quietly, scratch, seconds};

type Tried<T = ()> = Result<T, TestCaseError>;

/// For what must not fail.
fn well<T>(outcome: Result<T, impl std::fmt::Debug>) -> Tried<T> {
    outcome.map_err(|error| TestCaseError::fail(format!("{error:?}")))
}

/// More than a trace has nearest neighbours.
const SLOTS: usize = 26;
const PARTITIONS: [&str; 2] = ["default", "other"];
const TAGS: [&str; 3] = ["a", "b", "日本"];
const MOST_TRACES: usize = 16;
const MOST_BYTES: usize = 500;
const STEP: f64 = 0.01;
const IMPRINT_SECONDS: i64 = 600;

fn id(slot: usize) -> TraceId {
    TraceId::from_reference(&slot.to_string())
}

fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// All that a test sets or the store changes.
#[derive(Clone, PartialEq, Debug)]
struct Record {
    kind: String,
    payload: String,
    tags: Vec<String>,
    partition: String,
    strength: f64,
    peak: f64,
    rate: f64,
    intensity: f64,
    confidence: f64,
    created: i64,
    reinforced: i64,
    decayed: i64,
    count: u32,
    revision: u64,
    tier: String,
    unresolved: bool,
    pinned: bool,
}

impl Record {
    fn of(trace: &Trace) -> Self {
        Self {
            kind: trace.trace_type().to_string(),
            payload: trace.payload().to_string(),
            tags: trace.tags().map(str::to_owned).collect(),
            partition: trace.partition().to_owned(),
            strength: trace.strength(),
            peak: trace.peak_strength(),
            rate: trace.base_decay_rate(),
            intensity: trace.emotional_intensity(),
            confidence: trace.confidence(),
            created: micros(trace.created_at()),
            reinforced: micros(trace.last_reinforced()),
            decayed: micros(trace.last_decayed()),
            count: trace.reinforcement_count(),
            revision: trace.revision(),
            tier: trace.tier().to_string(),
            unresolved: trace.is_unresolved(),
            pinned: trace.is_pinned(),
        }
    }

    fn is_firmware(&self) -> bool {
        self.kind == "firmware"
    }

    fn strength_at(&self, at: i64) -> f64 {
        if self.is_firmware() {
            return self.strength;
        }
        let ticks = ((at - self.reinforced) as f64 / 1e6 / 60.0).max(0.0);
        let left = (ticks + 1.0).powf(-(self.rate / (1.0 + 0.3 * self.intensity)));
        self.strength.min((self.peak * left).clamp(0.0, 1.0))
    }

    fn score_at(&self, at: i64, association: f64) -> f64 {
        let age = ((at - self.reinforced) as f64 / 1e6).max(0.0);
        self.strength_at(at) * (-age / 3_600.0).exp2() * (1.0 + self.intensity) * association
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Bond {
    count: u32,
    first: i64,
    last: i64,
}

type Rows = BTreeMap<TraceId, Record>;
type Bonds = BTreeMap<(TraceId, TraceId), Bond>;

#[derive(Clone, Debug)]
struct New {
    slot: usize,
    kind: TraceType,
    tags: Vec<&'static str>,
    partition: Option<&'static str>,
    strength: Option<f64>,
    rate: Option<f64>,
    intensity: f64,
    confidence: f64,
    age: Option<i64>,
    unresolved: bool,
    pinned: bool,
}

impl New {
    fn payload(&self) -> serde_json::Value {
        json!({"slot": self.slot, "kind": self.kind.as_str()})
    }

    fn trace(&self, now: Timestamp) -> NewTrace {
        let new = NewTrace::new(self.kind, self.payload())
            .id(id(self.slot))
            .tags(&self.tags)
            .emotional_intensity(self.intensity)
            .confidence(self.confidence)
            .unresolved(self.unresolved)
            .pinned(self.pinned);
        let new = self.partition.iter().fold(new, |new, partition| new.partition(partition));
        let new = self.strength.iter().fold(new, |new, strength| new.strength(*strength));
        let new = self.rate.iter().fold(new, |new, rate| new.base_decay_rate(*rate));
        self.age.iter().fold(new, |new, age| new.last_reinforced(now - jiff::SignedDuration::from_secs(*age)))
    }

    fn record(&self, now: i64, imprinting: bool) -> Record {
        let strength = self.strength.unwrap_or(self.kind.starting_strength());
        let tags: BTreeSet<_> = self.tags.iter().map(|tag| (*tag).to_owned()).collect();
        Record {
            kind: self.kind.to_string(),
            payload: self.payload().to_string(),
            tags: tags.into_iter().collect(),
            partition: self.partition.unwrap_or("default").to_owned(),
            strength,
            peak: strength,
            rate: self.rate.unwrap_or(self.kind.base_decay_rate()),
            intensity: self.intensity,
            confidence: self.confidence,
            created: now,
            reinforced: now - self.age.unwrap_or(0) * 1_000_000,
            decayed: now,
            count: u32::from(imprinting),
            revision: 1,
            tier: "hot".to_owned(),
            unresolved: self.unresolved,
            pinned: self.pinned,
        }
    }
}

#[derive(Clone, Debug)]
struct Edit {
    payload: Option<u8>,
    tags: Option<Vec<&'static str>>,
    strength: Option<f64>,
    confidence: Option<f64>,
    unresolved: Option<bool>,
    pinned: Option<bool>,
}

impl Edit {
    fn of<'a>(&self, edit: mnemon::TraceEdit<'a>) -> mnemon::TraceEdit<'a> {
        let edit = self.payload.iter().fold(edit, |edit, payload| edit.payload(json!(payload)));
        let edit = self.tags.iter().fold(edit, |edit, tags| edit.tags(tags));
        let edit = self.strength.iter().fold(edit, |edit, strength| edit.strength(*strength));
        let edit = self.confidence.iter().fold(edit, |edit, confidence| edit.confidence(*confidence));
        let edit = self.unresolved.iter().fold(edit, |edit, unresolved| edit.unresolved(*unresolved));
        self.pinned.iter().fold(edit, |edit, pinned| edit.pinned(*pinned))
    }

    fn apply(&self, record: &mut Record) {
        let before = record.clone();
        if let Some(payload) = self.payload {
            record.payload = payload.to_string();
        }
        if let Some(tags) = &self.tags {
            let tags: BTreeSet<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            record.tags = tags.into_iter().collect();
        }
        if let Some(strength) = self.strength {
            record.strength = strength;
            record.peak = record.peak.max(strength);
        }
        record.confidence = self.confidence.unwrap_or(record.confidence);
        record.unresolved = self.unresolved.unwrap_or(record.unresolved);
        record.pinned = self.pinned.unwrap_or(record.pinned);
        if *record != before {
            record.revision += 1;
        }
    }
}

#[derive(Clone, Debug)]
struct Wanted {
    types: Vec<TraceType>,
    tags: Vec<&'static str>,
    partition: Option<&'static str>,
    tiers: Vec<Tier>,
    unresolved: Option<bool>,
    since: Option<i64>,
    until: Option<i64>,
    min_strength: f64,
    order: Order,
    limit: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Insert(New),
    Update(usize, Edit),
    Remove(usize),
    Reinforce(usize),
    Retrieve(usize),
    CoActivate(usize, usize, usize),
    /// With every trace that there is.
    Befriend(usize, usize),
    Decay,
    Retier,
    EnforceQuota,
    EraseType(TraceType),
    ErasePartition(&'static str),
    Restore(Vec<New>),
    Query(Wanted),
    Rank(Vec<usize>),
    Associated(usize, f64, usize),
    Walk(usize, usize, f64),
    Flush,
    Reopen,
    /// By seconds, which may be negative.
    Move(i64),
}

fn slot() -> impl Strategy<Value = usize> {
    // Some more often than others.
    prop_oneof![0..6_usize, 0..SLOTS]
}

fn kind() -> impl Strategy<Value = TraceType> {
    select(TraceType::ALL)
}

fn tags() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(&TAGS), 0..3)
}

fn strength() -> impl Strategy<Value = f64> {
    select(&[0.0, 0.01, 0.05, 0.1, 0.3, 0.5, 0.85, 0.95, 1.0])
}

fn maybe<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::of(of)
}

prop_compose! {
    fn new()(
        slot in slot(),
        kind in kind(),
        tags in tags(),
        partition in maybe(select(&PARTITIONS)),
        strength in maybe(strength()),
        rate in maybe(select(&[0.0, 0.01, 0.5, 3.0])),
        intensity in select(&[0.0, 0.5, 1.0]),
        confidence in select(&[0.0, 0.5, 0.9]),
        age in maybe(select(&[0, 60, 86_400, 90_000, 8_000_000, -500])),
        unresolved in any::<bool>(),
        pinned in prop::bool::weighted(0.2),
    ) -> New {
        New { slot, kind, tags, partition, strength, rate, intensity, confidence, age, unresolved, pinned }
    }
}

prop_compose! {
    /// Mostly without a slot that is there twice.
    fn list()(
        list in prop::collection::vec(new(), 0..=SLOTS),
        first in 0..SLOTS,
        distinct in prop::bool::weighted(0.9),
    ) -> Vec<New> {
        let numbered = list.into_iter().enumerate();
        let slot = |at: usize, new: &New| if distinct { (first + at) % SLOTS } else { new.slot };
        numbered.map(|(at, new)| New { slot: slot(at, &new), ..new }).collect()
    }
}

prop_compose! {
    fn edit()(
        payload in maybe(any::<u8>()),
        tags in maybe(tags()),
        strength in maybe(strength()),
        confidence in maybe(select(&[0.0, 0.5, 0.9])),
        unresolved in maybe(any::<bool>()),
        pinned in maybe(any::<bool>()),
    ) -> Edit {
        Edit { payload, tags, strength, confidence, unresolved, pinned }
    }
}

prop_compose! {
    fn wanted()(
        types in prop::collection::vec(kind(), 0..3),
        tags in prop::collection::vec(select(&TAGS), 0..2),
        partition in maybe(select(&PARTITIONS)),
        tiers in prop::collection::vec(select(Tier::ALL), 0..3),
        unresolved in maybe(any::<bool>()),
        since in maybe(-4_000..4_000_i64),
        until in maybe(-4_000..4_000_i64),
        min_strength in strength(),
        order in select(&[Order::Strength, Order::Recency, Order::Score]),
        limit in 0..12_usize,
        narrow in [any::<bool>(), any::<bool>()],
    ) -> Wanted {
        // Most that combine everything find nothing.
        let [by_what, by_when] = narrow;
        let (since, until, tiers) = if by_when { (since, until, tiers) } else { (None, None, Vec::new()) };
        let (types, tags) = if by_what { (types, tags) } else { (Vec::new(), Vec::new()) };
        let min_strength = if by_when { min_strength } else { 0.0 };
        Wanted { types, tags, partition, tiers, unresolved, since, until, min_strength, order, limit }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => new().prop_map(Step::Insert),
        8 => (slot(), edit()).prop_map(|(slot, edit)| Step::Update(slot, edit)),
        4 => slot().prop_map(Step::Remove),
        6 => slot().prop_map(Step::Reinforce),
        2 => (0..4_usize).prop_map(Step::Retrieve),
        8 => (slot(), slot(), 1..4_usize).prop_map(|(a, b, times)| Step::CoActivate(a, b, times)),
        4 => (slot(), 1..5_usize).prop_map(|(slot, times)| Step::Befriend(slot, times)),
        3 => Just(Step::Decay),
        2 => Just(Step::Retier),
        1 => Just(Step::EnforceQuota),
        1 => kind().prop_map(Step::EraseType),
        1 => select(&PARTITIONS).prop_map(Step::ErasePartition),
        2 => list().prop_map(Step::Restore),
        6 => wanted().prop_map(Step::Query),
        3 => prop::collection::vec(slot(), 0..8).prop_map(Step::Rank),
        3 => (slot(), strength(), 0..24_usize).prop_map(|(slot, least, limit)| Step::Associated(slot, least, limit)),
        3 => (slot(), 0..5_usize, strength()).prop_map(|(slot, hops, least)| Step::Walk(slot, hops, least)),
        4 => Just(Step::Flush),
        2 => Just(Step::Reopen),
        6 => select(&[1, 59, 61, 600, 3_600, 100_000, 9_000_000, -30, -700, -100_000]).prop_map(Step::Move),
    ]
}

struct Model {
    start: i64,
    now: i64,
    traces: Rows,
    links: Bonds,
    /// As of the last flush.
    stored: Rows,
}

impl Model {
    fn imprinting(&self) -> bool {
        self.now < self.start + IMPRINT_SECONDS * 1_000_000
    }

    fn strength(&self, id: TraceId) -> f64 {
        self.traces.get(&id).map_or(f64::NAN, |record| record.strength_at(self.now))
    }

    fn remove(&mut self, id: TraceId) -> (Option<Record>, usize) {
        let before = self.links.len();
        let gone = self.traces.remove(&id);
        self.links.retain(|(a, b), _| *a != id && *b != id);
        (gone, before - self.links.len())
    }

    fn remove_all(&mut self, gone: impl Fn(&Record) -> bool) -> (usize, usize) {
        let ids: Vec<_> = self.traces.iter().filter(|(_, record)| gone(record)).map(|(id, _)| *id).collect();
        let links = ids.iter().map(|id| self.remove(*id).1).sum();
        (ids.len(), links)
    }

    /// Whether it was reinforced.
    fn reinforce(&mut self, id: TraceId) -> bool {
        let (now, factor) = (self.now, if self.imprinting() { 3.0 } else { 1.0 });
        let Some(record) = self.traces.get_mut(&id).filter(|record| !record.is_firmware()) else {
            return false;
        };
        record.strength = (record.strength_at(now) + 0.10 * factor).min(1.0);
        record.peak = record.peak.max(record.strength);
        (record.reinforced, record.decayed) = (now, now);
        record.count += 1;
        record.revision += 1;
        true
    }

    fn co_activate(&mut self, a: TraceId, b: TraceId) -> Option<(u32, bool)> {
        if a == b || !self.traces.contains_key(&a) || !self.traces.contains_key(&b) {
            return None;
        }
        let now = self.now;
        let bond = self.links.entry((a.min(b), a.max(b))).or_insert(Bond { count: 0, first: now, last: now });
        (bond.count, bond.last) = (bond.count + 1, now);
        Some((bond.count, bond.count == 3))
    }

    fn by_strength(&self, ids: &mut [TraceId]) {
        ids.sort_by(|a, b| self.strength(*b).total_cmp(&self.strength(*a)).then(a.cmp(b)));
    }

    fn associated(&self, id: TraceId, min_strength: f64) -> Vec<TraceId> {
        let ends = self.links.iter().filter(|(_, bond)| bond.count >= 3);
        let mut near: Vec<_> = ends
            .filter_map(|((a, b), bond)| match (*a == id, *b == id) {
                (true, _) => Some((Reverse((bond.count, bond.last)), *b)),
                (_, true) => Some((Reverse((bond.count, bond.last)), *a)),
                _ => None,
            })
            .collect();
        near.sort();
        near.truncate(20);
        let strong = near.into_iter().map(|(_, id)| id).filter(|id| self.strength(*id) >= min_strength);
        let mut strong: Vec<_> = strong.collect();
        self.by_strength(&mut strong);
        strong
    }

    fn walk(&self, start: TraceId, max_hops: usize, min_strength: f64) -> Vec<Vec<TraceId>> {
        let (mut seen, mut paths) = (BTreeSet::from([start]), Vec::new());
        let mut queue = VecDeque::from([vec![start]]);
        while let Some(path) = queue.pop_front() {
            if path.len() > max_hops {
                continue;
            }
            for next in path.last().into_iter().flat_map(|last| self.associated(*last, min_strength)) {
                if seen.insert(next) {
                    let further: Vec<_> = path.iter().copied().chain([next]).collect();
                    paths.push(further.clone());
                    queue.push_back(further);
                }
            }
        }
        paths
    }

    fn rank(&self, ids: &[TraceId]) -> Vec<(TraceId, f64)> {
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        let near: BTreeSet<_> = ids.iter().flat_map(|id| self.associated(*id, 0.0)).collect();
        let known = ids.iter().filter_map(|id| Some((*id, self.traces.get(id)?)));
        let mut ranked: Vec<_> = known
            .map(|(id, record)| (id, record.score_at(self.now, if near.contains(&id) { 1.15 } else { 1.0 })))
            .collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked
    }

    fn query(&self, wanted: &Wanted) -> Vec<TraceId> {
        let at = |seconds: i64| self.start + seconds * 1_000_000;
        let fits = |record: &Record| {
            (wanted.types.is_empty() || wanted.types.iter().any(|kind| record.kind == kind.as_str()))
                && wanted.tags.iter().all(|tag| record.tags.iter().any(|has| has == tag))
                && wanted.partition.is_none_or(|partition| record.partition == partition)
                && (wanted.tiers.is_empty() || wanted.tiers.iter().any(|tier| record.tier == tier.as_str()))
                && wanted.unresolved.is_none_or(|unresolved| record.unresolved == unresolved)
                && wanted.since.is_none_or(|since| record.created >= at(since))
                && wanted.until.is_none_or(|until| record.created <= at(until))
                && record.strength_at(self.now) >= wanted.min_strength
        };
        let mut found: Vec<_> = self.traces.iter().filter(|(_, record)| fits(record)).collect();
        found.sort_by(|(a_id, a), (b_id, b)| {
            let first = match wanted.order {
                Order::Recency => b.reinforced.cmp(&a.reinforced),
                Order::Score => b.score_at(self.now, 1.0).total_cmp(&a.score_at(self.now, 1.0)),
                _ => b.strength_at(self.now).total_cmp(&a.strength_at(self.now)),
            };
            first.then(a_id.cmp(b_id))
        });
        found.into_iter().take(wanted.limit).map(|(id, _)| *id).collect()
    }

    /// How many have faded, were checkpointed, and were pruned.
    fn decay(&mut self) -> (usize, usize, usize) {
        let (now, mut checkpointed, mut faded) = (self.now, 0, 0);
        let pruned =
            |record: &Record| !record.is_firmware() && !record.pinned && record.strength_at(now) <= 0.01;
        let (pruned, _) = self.remove_all(pruned);
        for record in self.traces.values_mut() {
            let strength = record.strength_at(now);
            faded += usize::from(strength < record.strength);
            if record.strength - strength > STEP {
                (record.strength, record.decayed) = (strength, now);
                checkpointed += 1;
            }
        }
        (faded + pruned, checkpointed, pruned)
    }

    fn retier(&mut self) -> usize {
        let mut moved = 0;
        for record in self.traces.values_mut() {
            let tier = match self.now - record.reinforced {
                _ if record.strength_at(self.now) <= 0.01 => "erased",
                ..=86_400_000_000 => "hot",
                86_400_000_001..=7_776_000_000_000 => "warm",
                _ => "cold",
            };
            moved += usize::from(record.tier != tier);
            record.tier = tier.to_owned();
        }
        moved
    }

    fn enforce_quota(&mut self) -> (usize, bool) {
        let mut evicted = 0;
        loop {
            let bytes: usize = self.traces.values().map(|record| record.payload.len()).sum();
            if self.traces.len() <= MOST_TRACES && bytes <= MOST_BYTES {
                return (evicted, false);
            }
            let loose = self.traces.iter().filter(|(_, record)| !record.is_firmware() && !record.pinned);
            let Some((_, id)) = loose.map(|(id, record)| (record.reinforced, *id)).min() else {
                return (evicted, true);
            };
            self.remove(id);
            evicted += 1;
        }
    }
}

/// The store, and the model of it.
struct Pair {
    /// Always there between two steps. Stands before the file: it must be dropped first.
    store: Option<TraceStore>,
    file: Scratch,
    clock: ManualClock,
    model: Model,
}

fn builder(clock: &ManualClock, start: i64) -> Tried<StoreBuilder> {
    let imprint = well(Timestamp::from_microsecond(start + IMPRINT_SECONDS * 1_000_000))?;
    let quota = Quota {
        max_traces: MOST_TRACES,
        max_bytes: MOST_BYTES as u64,
        eviction: Eviction::LeastRecentlyReinforced,
    };
    Ok(quietly().clock(clock).checkpoint_step(STEP).quota(quota).imprint_until(imprint))
}

fn ids(traces: &[Arc<Trace>]) -> Vec<TraceId> {
    traces.iter().map(|trace| trace.id()).collect()
}

impl Pair {
    fn new() -> Tried<Self> {
        let (file, clock) = (well(scratch())?, clock());
        let start = micros(clock.now());
        let store = well(builder(&clock, start)?.open(file.path()))?;
        let (traces, links, stored) = Default::default();
        let model = Model { start, now: start, traces, links, stored };
        Ok(Self { file, clock, store: Some(store), model })
    }

    fn store(&self) -> Tried<&TraceStore> {
        self.store.as_ref().ok_or_else(|| TestCaseError::fail("there is no store"))
    }

    fn take(&mut self, step: &Step) -> Tried {
        match step {
            Step::Reopen => return self.reopen(),
            Step::Move(by) => return self.move_time(*by),
            _ => {}
        }
        let store = self.store()?.clone();
        let model = &mut self.model;
        match step {
            Step::Insert(new) => {
                let done = store.insert(new.trace(self.clock.now())).map_err(|error| error.kind());
                if model.traces.contains_key(&id(new.slot)) {
                    prop_assert_eq!(done, Err(ErrorKind::AlreadyExists));
                } else {
                    prop_assert_eq!(done, Ok(id(new.slot)));
                    model.traces.insert(id(new.slot), new.record(model.now, model.imprinting()));
                }
            }
            Step::Update(slot, edit) => {
                let done = well(store.update(id(*slot), |trace| edit.of(trace)))?;
                if let Some(record) = model.traces.get_mut(&id(*slot)) {
                    edit.apply(record);
                }
                prop_assert_eq!(done.map(|trace| Record::of(&trace)), model.traces.get(&id(*slot)).cloned());
            }
            Step::Remove(slot) => {
                let gone = well(store.remove(id(*slot)))?;
                prop_assert_eq!(gone.map(|trace| Record::of(&trace)), model.remove(id(*slot)).0);
            }
            Step::Reinforce(slot) => {
                let done = well(store.reinforce(id(*slot)))?;
                prop_assert_eq!(done.is_reinforced(), model.reinforce(id(*slot)));
                let after = done.trace().map(|trace| Record::of(&trace));
                prop_assert_eq!(after.as_ref(), model.traces.get(&id(*slot)));
            }
            Step::Retrieve(limit) => {
                let found = well(store.retrieve_and_reinforce(*limit))?;
                let strong = model.traces.keys().copied().filter(|id| model.strength(*id) >= 0.1);
                let mut strong: Vec<_> = strong.collect();
                model.by_strength(&mut strong);
                strong.truncate(*limit);
                for id in &strong {
                    model.reinforce(*id);
                }
                prop_assert_eq!(ids(&found), strong);
            }
            Step::CoActivate(a, b, times) => {
                for _ in 0..*times {
                    co_activate(&store, model, id(*a), id(*b))?;
                }
            }
            Step::Befriend(slot, times) => {
                for other in model.traces.keys().copied().collect::<Vec<_>>() {
                    for _ in 0..*times {
                        co_activate(&store, model, id(*slot), other)?;
                    }
                }
            }
            Step::Decay => {
                let report = well(store.decay())?;
                prop_assert_eq!((report.decayed, report.checkpointed, report.pruned), model.decay());
            }
            Step::Retier => prop_assert_eq!(well(store.retier())?, model.retier()),
            Step::EnforceQuota => {
                let report = well(store.enforce_quota())?;
                prop_assert_eq!((report.evicted, report.over), model.enforce_quota());
            }
            Step::EraseType(kind) => {
                let report = well(store.erase_type(*kind))?;
                self.erased(report, |record| record.kind == kind.as_str())?;
            }
            Step::ErasePartition(partition) => {
                let report = well(store.erase_partition(partition))?;
                self.erased(report, |record| record.partition == *partition)?;
            }
            Step::Restore(list) => {
                let now = self.clock.now();
                let done = store.restore(list.iter().map(|new| new.trace(now))).map_err(|error| error.kind());
                let distinct: BTreeSet<_> = list.iter().map(|new| new.slot).collect();
                if distinct.len() < list.len() {
                    prop_assert_eq!(done, Err(ErrorKind::AlreadyExists));
                } else {
                    prop_assert_eq!(done, Ok(list.len()));
                    let imprinting = model.imprinting();
                    model.links.clear();
                    let records = list.iter().map(|new| (id(new.slot), new.record(model.now, imprinting)));
                    model.traces = records.collect();
                }
            }
            Step::Query(wanted) => {
                let found = query(&store, wanted, model.start)?.run();
                prop_assert_eq!(ids(&found), model.query(wanted));
                for trace in found {
                    prop_assert_eq!(Some(&Record::of(&trace)), model.traces.get(&trace.id()));
                }
            }
            Step::Rank(slots) => {
                let asked: Vec<_> = slots.iter().map(|slot| id(*slot)).collect();
                let ranked = store.rank(asked.iter().copied());
                let ranked: Vec<_> = ranked.iter().map(|ranked| (ranked.trace.id(), ranked.score)).collect();
                prop_assert_eq!(ranked, model.rank(&asked));
            }
            Step::Associated(slot, least, limit) => {
                let mut expected = model.associated(id(*slot), *least);
                expected.truncate(*limit);
                prop_assert_eq!(ids(&store.associated(id(*slot), *least, *limit)), expected);
            }
            Step::Walk(slot, hops, least) => {
                let steps = store.walk(id(*slot), *hops, *least);
                let well_formed = steps.iter().all(|step| {
                    step.path.len() == step.depth + 1 && step.path.last() == Some(&step.trace.id())
                });
                prop_assert!(well_formed);
                let paths: Vec<_> = steps.into_iter().map(|step| step.path).collect();
                prop_assert_eq!(paths, model.walk(id(*slot), *hops, *least));
            }
            Step::Flush => {
                well(store.flush())?;
                self.check_file()?;
            }
            Step::Reopen | Step::Move(_) => {}
        }
        self.check_memory()
    }

    fn erased(&mut self, report: mnemon::ErasureReport, scope: impl Fn(&Record) -> bool) -> Tried {
        let rows = self.model.stored.values().filter(|record| scope(record)).count();
        let (traces, links) = self.model.remove_all(scope);
        prop_assert_eq!((report.traces, report.links, report.rows), (traces, links, rows as u64));
        self.check_file()
    }

    fn reopen(&mut self) -> Tried {
        if let Some(store) = self.store.take() {
            well(store.close())?;
        }
        self.store = Some(well(builder(&self.clock, self.model.start)?.open(self.file.path()))?);
        self.check_file()?;
        self.check_memory()
    }

    fn move_time(&mut self, by: i64) -> Tried {
        let seconds = seconds(by.unsigned_abs());
        let now = self.clock.now();
        self.clock.set(if by < 0 { now - seconds } else { now + seconds });
        self.model.now = micros(self.clock.now());
        self.check_memory()
    }

    fn check_memory(&self) -> Tried {
        let (store, model) = (self.store()?, &self.model);
        let held: Rows = store.iter().map(|trace| (trace.id(), Record::of(&trace))).collect();
        prop_assert_eq!(&held, &model.traces);
        prop_assert_eq!((store.len(), store.link_count()), (model.traces.len(), model.links.len()));
        let mut links = Bonds::new();
        for slot in 0..SLOTS {
            let id = id(slot);
            prop_assert_eq!(store.get(id).map(|trace| Record::of(&trace)), model.traces.get(&id).cloned());
            if let Some(trace) = store.get(id) {
                prop_assert_eq!(store.strength(&trace), model.strength(id));
            }
            links.extend(store.links(id).into_iter().map(|link| {
                let (first, last) = (micros(link.first_at()), micros(link.last_at()));
                (link.ends(), Bond { count: link.count(), first, last })
            }));
        }
        prop_assert_eq!(&links, &model.links);
        Ok(())
    }

    /// What another program finds in the file, after a flush.
    fn check_file(&mut self) -> Tried {
        prop_assert_eq!(self.store()?.stats().dirty, 0);
        let (rows, bonds) = well(stored(&self.file))?;
        prop_assert_eq!(&rows, &self.model.traces);
        prop_assert_eq!(&bonds, &self.model.links);
        self.model.stored = rows;
        Ok(())
    }
}

fn co_activate(store: &TraceStore, model: &mut Model, a: TraceId, b: TraceId) -> Tried {
    let done = store.co_activate(a, b);
    match model.co_activate(a, b) {
        Some(expected) => prop_assert_eq!(well(done).map(|done| (done.count, done.formed))?, expected),
        None => {
            let kind = if a == b { ErrorKind::InvalidInput } else { ErrorKind::NotFound };
            prop_assert_eq!(done.map_err(|error| error.kind()), Err(kind));
        }
    }
    Ok(())
}

fn query<'a>(store: &'a TraceStore, wanted: &Wanted, start: i64) -> Tried<mnemon::Query<'a>> {
    let at = |seconds: i64| well(Timestamp::from_microsecond(start + seconds * 1_000_000));
    let mut query = store.query().min_strength(wanted.min_strength).order(wanted.order).limit(wanted.limit);
    for kind in &wanted.types {
        query = query.of_type(*kind);
    }
    for tag in &wanted.tags {
        query = query.tagged(*tag);
    }
    for tier in &wanted.tiers {
        query = query.tier(*tier);
    }
    if let Some(partition) = wanted.partition {
        query = query.partition(partition);
    }
    if let Some(unresolved) = wanted.unresolved {
        query = query.unresolved(unresolved);
    }
    if let Some(since) = wanted.since {
        query = query.since(at(since)?);
    }
    if let Some(until) = wanted.until {
        query = query.until(at(until)?);
    }
    Ok(query)
}

fn stored(file: &Scratch) -> support::Outcome<(Rows, Bonds)> {
    let reader = file.reader()?;
    let id = |row: &rusqlite::Row<'_>, at| row.get::<_, [u8; 16]>(at).map(TraceId::from_bytes);
    let mut statement = reader.prepare(
        "SELECT id, type, payload, coalesce(tags, '[]'), partition, strength, peak_strength, base_decay_rate,
            emotional_intensity, confidence, created_at, last_reinforced, last_decayed, reinforcement_count,
            revision, tier, unresolved, pinned FROM traces",
    )?;
    let rows = statement.query_map([], |row| {
        let tags: String = row.get(3)?;
        let record = Record {
            kind: row.get(1)?,
            payload: row.get(2)?,
            tags: serde_json::from_str(&tags).unwrap_or_default(),
            partition: row.get(4)?,
            strength: row.get(5)?,
            peak: row.get(6)?,
            rate: row.get(7)?,
            intensity: row.get(8)?,
            confidence: row.get(9)?,
            created: row.get(10)?,
            reinforced: row.get(11)?,
            decayed: row.get(12)?,
            count: row.get(13)?,
            revision: row.get::<_, i64>(14)?.unsigned_abs(),
            tier: row.get(15)?,
            unresolved: row.get(16)?,
            pinned: row.get(17)?,
        };
        Ok((id(row, 0)?, record))
    })?;
    let mut links = reader.prepare("SELECT a, b, count, first_at, last_at FROM links")?;
    let bonds = links.query_map([], |row| {
        Ok(((id(row, 0)?, id(row, 1)?), Bond { count: row.get(2)?, first: row.get(3)?, last: row.get(4)? }))
    })?;
    Ok((rows.collect::<Result<_, _>>()?, bonds.collect::<Result<_, _>>()?))
}

fn cases() -> u32 {
    let asked = std::env::var("MNEMON_MODEL_CASES").ok().and_then(|cases| cases.parse().ok());
    asked.unwrap_or(512)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn the_store_answers_as_its_model_does(steps in prop::collection::vec(step(), 1..80)) {
        let mut pair = Pair::new()?;
        for step in &steps {

            pair.take(step)?;
        }
        pair.take(&Step::Flush)?;
        pair.take(&Step::Reopen)?;
    }
}
