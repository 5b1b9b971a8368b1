//! What can be done to a store, in random order or as a test says.

use crate::Rng;
use crate::from_start;
use crate::record::Record;
use jiff::{SignedDuration, Timestamp};
use mnemon::{ErrorKind, NewTrace, Order, Tier, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::collections::BTreeSet;

/// More than a trace has nearest neighbours.
pub const SLOTS: usize = 26;
pub const PARTITIONS: [&str; 2] = ["default", "other"];
pub const TAGS: [&str; 3] = ["a", "b", "日本"];
pub const STRENGTHS: [f64; 9] = [0.0, 0.01, 0.05, 0.1, 0.3, 0.5, 0.85, 0.95, 1.0];
pub const MOST_TRACES: usize = 16;
pub const MOST_BYTES: usize = 600;
pub const IMPRINT_SECONDS: i64 = 600;

pub fn id(slot: usize) -> TraceId {
    TraceId::from_reference(&slot.to_string())
}

/// One of these.
pub fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

/// As often one as none.
pub fn maybe<T>(rng: &mut Rng, of: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.bool().then(|| of(rng))
}

pub fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

#[derive(Clone, Debug)]
pub struct New {
    pub slot: usize,
    pub kind: TraceType,
    pub tags: Vec<&'static str>,
    pub partition: Option<&'static str>,
    pub strength: Option<f64>,
    pub rate: Option<f64>,
    pub intensity: f64,
    pub confidence: f64,
    pub age: Option<i64>,
    pub unresolved: bool,
    pub pinned: bool,
    /// In seconds from the start.
    pub valid_until: Option<i64>,
    /// Tells traces of one slot and type apart.
    pub n: u64,
}

impl New {
    /// A trace that no fixed rule sets apart from others, of this slot.
    pub fn random(rng: &mut Rng, slot: usize, n: u64) -> Self {
        let tags = 0..rng.usize(..3);
        Self {
            slot,
            kind: pick(rng, TraceType::ALL),
            tags: tags.map(|_| pick(rng, &TAGS)).collect(),
            partition: maybe(rng, |rng| pick(rng, &PARTITIONS)),
            strength: maybe(rng, |rng| pick(rng, &STRENGTHS)),
            rate: maybe(rng, |rng| pick(rng, &[0.0, 0.01, 0.5, 3.0])),
            intensity: pick(rng, &[0.0, 0.5, 1.0]),
            confidence: pick(rng, &[0.0, 0.5, 0.9]),
            age: maybe(rng, |rng| pick(rng, &[0, 60, 86_400, 90_000, 8_000_000, -500])),
            unresolved: rng.bool(),
            pinned: rng.u8(..5) == 0,
            valid_until: maybe(rng, |rng| pick(rng, &ENDS)).filter(|_| rng.bool()),
            n,
        }
    }

    pub fn payload(&self) -> serde_json::Value {
        json!({"slot": self.slot, "kind": self.kind.as_str(), "n": self.n})
    }

    pub fn trace(&self, now: Timestamp) -> NewTrace {
        let new = NewTrace::new(self.kind, self.payload())
            .id(id(self.slot))
            .tags(&self.tags)
            .emotional_intensity(self.intensity)
            .confidence(self.confidence)
            .unresolved(self.unresolved)
            .pinned(self.pinned);
        let new = self.partition.iter().fold(new, |new, partition| new.partition(partition));
        let new = self.strength.iter().fold(new, |new, strength| new.strength(*strength));
        let new = self.valid_until.iter().fold(new, |new, end| new.valid_until(from_start(*end)));
        let new = self.rate.iter().fold(new, |new, rate| new.base_decay_rate(*rate));
        self.age.iter().fold(new, |new, age| new.last_reinforced(now - SignedDuration::from_secs(*age)))
    }

    pub fn record(&self, now: i64, imprinting: bool) -> Record {
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
            reinforced: now - self.age.unwrap_or(0).max(0) * 1_000_000,
            decayed: now,
            count: u32::from(imprinting),
            revision: 1,
            tier: "hot".to_owned(),
            unresolved: self.unresolved,
            pinned: self.pinned,
            valid_until: self.valid_until.map(|end| micros(from_start(end))),
            superseded_by: None,
        }
    }
}

/// A change of the end of a trace's validity.
#[derive(Clone, Copy, Debug)]
pub enum End {
    None,
    /// In seconds from the start.
    At(i64),
    By(u8),
    ByAt(u8, i64),
}

/// Ends of validities, in seconds from the start.
pub const ENDS: [i64; 6] = [-100, 0, 60, 600, 4_000, 9_000_000];

fn successor(n: u8) -> TraceId {
    TraceId::from_reference(&format!("successor/{n}"))
}

impl End {
    fn of<'a>(self, edit: mnemon::TraceEdit<'a>) -> mnemon::TraceEdit<'a> {
        match self {
            End::None => edit.no_valid_until(),
            End::At(end) => edit.valid_until(from_start(end)),
            End::By(n) => edit.superseded_by(successor(n)),
            End::ByAt(n, end) => edit.superseded_by(successor(n)).valid_until(from_start(end)),
        }
    }

    fn apply(self, record: &mut Record, now: i64) {
        let before = record.valid_until.unwrap_or(i64::MAX);
        record.valid_until = match self {
            End::None => None,
            End::At(end) | End::ByAt(_, end) => Some(micros(from_start(end))),
            End::By(_) => Some(before.min(now)),
        };
        record.superseded_by = match self {
            End::None => None,
            End::At(_) => record.superseded_by,
            End::By(n) | End::ByAt(n, _) => Some(successor(n)),
        };
    }
}

#[derive(Clone, Default, Debug)]
pub struct Edit {
    pub payload: Option<u64>,
    pub tags: Option<Vec<&'static str>>,
    pub strength: Option<f64>,
    pub confidence: Option<f64>,
    pub unresolved: Option<bool>,
    pub pinned: Option<bool>,
    pub end: Option<End>,
}

impl Edit {
    pub fn of<'a>(&self, edit: mnemon::TraceEdit<'a>) -> mnemon::TraceEdit<'a> {
        let edit = self.payload.iter().fold(edit, |edit, payload| edit.payload(json!(payload)));
        let edit = self.tags.iter().fold(edit, |edit, tags| edit.tags(tags));
        let edit = self.strength.iter().fold(edit, |edit, strength| edit.strength(*strength));
        let edit = self.confidence.iter().fold(edit, |edit, confidence| edit.confidence(*confidence));
        let edit = self.unresolved.iter().fold(edit, |edit, unresolved| edit.unresolved(*unresolved));
        let edit = self.pinned.iter().fold(edit, |edit, pinned| edit.pinned(*pinned));
        self.end.iter().fold(edit, |edit, end| end.of(edit))
    }

    pub fn apply(&self, record: &mut Record, now: i64) {
        let before = record.clone();
        if let Some(payload) = self.payload {
            record.payload = payload.to_string();
        }
        if let Some(tags) = &self.tags {
            let tags: BTreeSet<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            record.tags = tags.into_iter().collect();
        }
        if let Some(strength) = self.strength {
            if record.strength != strength {
                record.decayed = record.decayed.min(now);
            }
            record.strength = strength;
            record.peak = record.peak.max(strength);
        }
        record.confidence = self.confidence.unwrap_or(record.confidence);
        record.unresolved = self.unresolved.unwrap_or(record.unresolved);
        record.pinned = self.pinned.unwrap_or(record.pinned);
        self.end.iter().for_each(|end| end.apply(record, now));
        if *record != before {
            record.revision += 1;
        }
    }
}

#[derive(Clone, Debug)]
pub struct Wanted {
    pub types: Vec<TraceType>,
    pub tags: Vec<&'static str>,
    pub partition: Option<&'static str>,
    pub tiers: Vec<Tier>,
    pub unresolved: Option<bool>,
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub min_strength: f64,
    pub order: Order,
    pub limit: usize,
    pub include_invalid: bool,
}

impl Wanted {
    /// The query, with times from `start` on.
    pub fn query<'a>(&self, store: &'a TraceStore, start: Timestamp) -> mnemon::Query<'a> {
        let at = |seconds: i64| start + SignedDuration::from_secs(seconds);
        let query = store.query().min_strength(self.min_strength).order(self.order).limit(self.limit);
        let query = if self.include_invalid { query.include_invalid() } else { query };
        let query = self.types.iter().fold(query, |query, kind| query.of_type(*kind));
        let query = self.tags.iter().fold(query, |query, tag| query.tagged(*tag));
        let query = self.tiers.iter().fold(query, |query, tier| query.tier(*tier));
        let query = self.partition.iter().fold(query, |query, partition| query.partition(*partition));
        let query = self.unresolved.iter().fold(query, |query, unresolved| query.unresolved(*unresolved));
        let query = self.since.iter().fold(query, |query, since| query.since(at(*since)));
        self.until.iter().fold(query, |query, until| query.until(at(*until)))
    }
}

/// An operation on a store.
#[derive(Clone, Debug)]
pub enum Step {
    Insert(New),
    Update(usize, Edit),
    Remove(usize),
    Reinforce(usize),
    Retrieve(usize),
    CoActivate(usize, usize, usize),
    /// With every trace that there is.
    Befriend(usize, usize),
    /// Of the four kinds of steps that a group can have.
    Group(Vec<Step>),
    Decay,
    UpdateTiers,
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

impl Step {
    /// Does it to the store, whatever there is: what is missing, there already, or changed meanwhile is no error.
    /// Reopening and moving the time are the caller's.
    pub fn apply(&self, store: &TraceStore, now: Timestamp) -> mnemon::Result<()> {
        let done = match self {
            Step::Insert(new) => store.insert(new.trace(now)).map(drop),
            Step::Update(slot, edit) => store.update(id(*slot), |trace| edit.of(trace)).map(drop),
            Step::Remove(slot) => store.remove(id(*slot)).map(drop),
            Step::Reinforce(slot) => store.reinforce(id(*slot)).map(drop),
            Step::Retrieve(limit) => store.retrieve_and_reinforce(*limit).map(drop),
            Step::CoActivate(a, b, times) => {
                (0..*times).try_for_each(|_| store.co_activate(id(*a), id(*b)).map(drop))
            }
            Step::Befriend(slot, times) => {
                let others = (0..SLOTS).filter(|other| other != slot && store.contains(id(*other)));
                others
                    .into_iter()
                    .try_for_each(|other| Step::CoActivate(*slot, other, *times).apply(store, now))
            }
            Step::Group(steps) => group(store, steps, now),
            Step::Decay => store.decay().map(drop),
            Step::UpdateTiers => store.update_tiers().map(drop),
            Step::EnforceQuota => store.enforce_quota().map(drop),
            Step::EraseType(kind) => store.erase_type(*kind).map(drop),
            Step::ErasePartition(partition) => store.erase_partition(partition).map(drop),
            Step::Restore(list) => store.restore(list.iter().map(|new| new.trace(now))).map(drop),
            Step::Query(wanted) => {
                drop(wanted.query(store, now).run());
                Ok(())
            }
            Step::Rank(slots) => {
                drop(store.rank(slots.iter().map(|slot| id(*slot))));
                Ok(())
            }
            Step::Associated(slot, least, limit) => {
                drop(store.associated(id(*slot), *least, *limit));
                Ok(())
            }
            Step::Walk(slot, hops, least) => {
                store.walk(id(*slot), *hops, *least).for_each(drop);
                Ok(())
            }
            Step::Flush => store.flush().map(drop),
            Step::Reopen | Step::Move(_) => Ok(()),
        };
        use ErrorKind::{AlreadyExists, InvalidInput, NotFound, RevisionConflict};
        match done {
            Err(error)
                if matches!(error.kind(), AlreadyExists | InvalidInput | NotFound | RevisionConflict) =>
            {
                Ok(())
            }
            done => done,
        }
    }
}

/// Does these steps as a group.
pub fn group(store: &TraceStore, steps: &[Step], now: Timestamp) -> mnemon::Result<()> {
    store.apply(|group| {
        for step in steps {
            match step {
                Step::Insert(new) => drop(group.insert(new.trace(now))?),
                Step::Update(slot, edit) => group.update(id(*slot), |trace| edit.of(trace)),
                Step::Remove(slot) => group.remove(id(*slot)),
                Step::CoActivate(a, b, times) => (0..*times).for_each(|_| group.link(id(*a), id(*b))),
                _ => unreachable!("no group has {step:?}"),
            }
        }
        Ok(())
    })
}
