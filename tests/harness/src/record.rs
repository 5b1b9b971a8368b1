//! What a store and its model say of a trace and of a link.

use crate::steps::micros;
use mnemon::{Trace, TraceId};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

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
    pub valid_until: Option<i64>,
    pub superseded_by: Option<TraceId>,
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
            valid_until: trace.valid_until().map(micros),
            superseded_by: trace.superseded_by(),
        }
    }

    pub fn is_firmware(&self) -> bool {
        self.kind == "firmware"
    }

    pub fn is_valid_at(&self, at: i64) -> bool {
        self.valid_until.is_none_or(|end| at < end)
    }

    pub fn strength_at(&self, at: i64) -> f64 {
        if self.is_firmware() {
            return self.strength;
        }
        let ticks = ((at - self.reinforced) as f64 / 1e6 / 60.0).max(0.0);
        let left = (ticks + 1.0).powf(-(self.rate / (1.0 + 0.3 * self.intensity)));
        let faded = (self.peak * left).clamp(0.0, 1.0);
        // A strength of a time to come is that of a wrong clock.
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
