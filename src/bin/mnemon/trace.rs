//! A trace as it is shown: in a line, and as JSON.

use crate::json;
use crate::opened_store::OpenedStore;
use jiff::Timestamp;
use mnemon::{Trace, TraceId};
use serde::Serialize;
use serde_json::value::RawValue;

/// What its payload says, in one line that a terminal can be given: as much as a wide one shows.
pub fn preview(trace: &Trace) -> String {
    const LETTERS: usize = 400;
    json::preview(trace.payload().as_str(), LETTERS)
}

/// What its payload says, in one line that a terminal can be given: all of it.
pub fn whole(trace: &Trace) -> String {
    json::preview(trace.payload().as_str(), usize::MAX)
}

/// A trace's fields as they are stored, and `strength_now`. Times are UTC, to the microsecond.
#[derive(Serialize)]
pub struct TraceJson<'a> {
    id: String,
    r#type: &'static str,
    partition: &'a str,
    tags: Vec<&'a str>,
    payload: Option<Box<RawValue>>,
    /// Where another program has put text into the file that is no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_text: Option<&'a str>,
    strength_now: f64,
    strength: f64,
    peak_strength: f64,
    base_decay_rate: f64,
    confidence: f64,
    emotional_valence: f64,
    emotional_intensity: f64,
    tier: &'static str,
    origin: &'static str,
    source_agent: Option<&'a str>,
    created_at: Timestamp,
    last_reinforced: Timestamp,
    last_decayed: Timestamp,
    reinforcement_count: u32,
    parent: Option<String>,
    children: Vec<String>,
    unresolved: bool,
    consolidation_candidate: bool,
    pinned: bool,
    encryption_key_id: Option<&'a str>,
    embedding: Option<&'a [f32]>,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<String>,
}

impl<'a> TraceJson<'a> {
    pub fn of(trace: &'a Trace, seen: &OpenedStore) -> Self {
        let text = trace.payload().as_str();
        // One line, for one object a line.
        let payload = json::compact(text);
        Self {
            id: trace.id().to_string(),
            r#type: trace.trace_type().as_str(),
            partition: trace.partition(),
            tags: trace.tags().collect(),
            payload_text: payload.is_none().then_some(text),
            payload,
            strength_now: seen.store.strength(trace),
            strength: trace.strength(),
            peak_strength: trace.peak_strength(),
            base_decay_rate: trace.base_decay_rate(),
            confidence: trace.confidence(),
            emotional_valence: trace.emotional_valence(),
            emotional_intensity: trace.emotional_intensity(),
            tier: trace.tier().as_str(),
            origin: trace.origin().as_str(),
            source_agent: trace.source_agent(),
            created_at: trace.created_at(),
            last_reinforced: trace.last_reinforced(),
            last_decayed: trace.last_decayed(),
            reinforcement_count: trace.reinforcement_count(),
            parent: trace.parent().map(|id| id.to_string()),
            children: trace.children().iter().map(TraceId::to_string).collect(),
            unresolved: trace.is_unresolved(),
            consolidation_candidate: trace.is_consolidation_candidate(),
            pinned: trace.is_pinned(),
            encryption_key_id: trace.encryption_key_id(),
            embedding: trace.embedding(),
            revision: trace.revision(),
            valid_until: trace.valid_until(),
            superseded_by: trace.superseded_by().map(|id| id.to_string()),
        }
    }
}

/// When, as in `2026-11-24 09:00`: UTC.
pub fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

/// When, as in `2026-11-24`: UTC.
pub fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}
