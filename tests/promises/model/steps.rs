//! What can be done to a store and its model, and what both say of a trace and of a link.

use jiff::Timestamp;
use mnemon::{NewTrace, Order, Tier, Trace, TraceId, TraceType};
use proptest::prelude::*;
use serde_json::json;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};

pub type Tried<T = ()> = Result<T, TestCaseError>;

/// For what must not fail.
pub fn well<T>(outcome: Result<T, impl std::fmt::Debug>) -> Tried<T> {
    outcome.map_err(|error| TestCaseError::fail(format!("{error:?}")))
}

/// More than a trace has nearest neighbours.
pub const SLOTS: usize = 26;
pub const PARTITIONS: [&str; 2] = ["default", "other"];
pub const TAGS: [&str; 3] = ["a", "b", "日本"];
pub const MOST_TRACES: usize = 16;
pub const MOST_BYTES: usize = 500;
pub const STEP: f64 = 0.01;
pub const IMPRINT_SECONDS: i64 = 600;

pub fn id(slot: usize) -> TraceId {
    TraceId::from_reference(&slot.to_string())
}

pub fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// All that a test sets or the store changes.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    pub kind: String,
    pub payload: String,
    pub tags: Vec<String>,
    pub partition: String,
    pub strength: f64,
    pub peak: f64,
    pub rate: f64,
    pub intensity: f64,
    pub confidence: f64,
    pub created: i64,
    pub reinforced: i64,
    pub decayed: i64,
    pub count: u32,
    pub revision: u64,
    pub tier: String,
    pub unresolved: bool,
    pub pinned: bool,
}

impl Record {
    pub fn of(trace: &Trace) -> Self {
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

    pub fn is_firmware(&self) -> bool {
        self.kind == "firmware"
    }

    pub fn strength_at(&self, at: i64) -> f64 {
        if self.is_firmware() {
            return self.strength;
        }
        let ticks = ((at - self.reinforced) as f64 / 1e6 / 60.0).max(0.0);
        let left = (ticks + 1.0).powf(-(self.rate / (1.0 + 0.3 * self.intensity)));
        let faded = (self.peak * left).clamp(0.0, 1.0);
        // A checkpoint of a time to come is that of a wrong clock.
        if self.decayed > at.max(self.reinforced) { faded } else { self.strength.min(faded) }
    }

    pub fn score_at(&self, at: i64, association: f64) -> f64 {
        let age = ((at - self.reinforced) as f64 / 1e6).max(0.0);
        self.strength_at(at) * (-age / 3_600.0).exp2() * (1.0 + self.intensity) * association
    }

    /// What comes first by score is the least of these, but for the id.
    pub fn score_key(&self, at: i64, association: f64) -> (Reverse<Total>, Reverse<Total>, i64) {
        let (age, strength) = ((at - self.reinforced).max(0), self.strength_at(at));
        let log = (strength * (1.0 + self.intensity) * association).log2() - age as f64 / 1e6 / 3_600.0;
        (Reverse(Total(log)), Reverse(Total(strength)), age)
    }
}

/// A number in the order of all numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Total(f64);

impl Eq for Total {}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bond {
    pub count: u32,
    pub first: i64,
    pub last: i64,
}

pub type Rows = BTreeMap<TraceId, Record>;
pub type Bonds = BTreeMap<(TraceId, TraceId), Bond>;

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
}

impl New {
    pub fn payload(&self) -> serde_json::Value {
        json!({"slot": self.slot, "kind": self.kind.as_str()})
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
        let new = self.rate.iter().fold(new, |new, rate| new.base_decay_rate(*rate));
        self.age.iter().fold(new, |new, age| new.last_reinforced(now - jiff::SignedDuration::from_secs(*age)))
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
        }
    }
}

#[derive(Clone, Debug)]
pub struct Edit {
    pub payload: Option<u8>,
    pub tags: Option<Vec<&'static str>>,
    pub strength: Option<f64>,
    pub confidence: Option<f64>,
    pub unresolved: Option<bool>,
    pub pinned: Option<bool>,
}

impl Edit {
    pub fn of<'a>(&self, edit: mnemon::TraceEdit<'a>) -> mnemon::TraceEdit<'a> {
        let edit = self.payload.iter().fold(edit, |edit, payload| edit.payload(json!(payload)));
        let edit = self.tags.iter().fold(edit, |edit, tags| edit.tags(tags));
        let edit = self.strength.iter().fold(edit, |edit, strength| edit.strength(*strength));
        let edit = self.confidence.iter().fold(edit, |edit, confidence| edit.confidence(*confidence));
        let edit = self.unresolved.iter().fold(edit, |edit, unresolved| edit.unresolved(*unresolved));
        self.pinned.iter().fold(edit, |edit, pinned| edit.pinned(*pinned))
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
}

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
