//! What the files of schema 1 hold: written out here, so that a file is compared with something else than itself.

use harness::Outcome;
use jiff::Timestamp;
use mnemon::{NewTrace, Origin, Payload, Tier, TraceId, TraceType};
use serde_json::json;

/// A trace of each type, of which the first has every field; one with nothing but a text; and one that says little.
pub(crate) fn traces() -> Outcome<Vec<NewTrace>> {
    let time = |text: &str| text.parse::<Timestamp>();
    let (created, reinforced) = (time("2026-03-03T07:30:00.000001Z")?, time("2026-03-04T08:00:00Z")?);
    let first = NewTrace::new(TraceType::Episodic, json!({"text": "café 日本"}))
        .id(id(0))
        .embedding([0.5_f32, -1.25, f32::MIN_POSITIVE, f32::MAX])
        .strength(0.123_456_789_012_345)
        .peak_strength(0.987_654_321)
        .base_decay_rate(0.031)
        .emotional_valence(-0.75)
        .emotional_intensity(0.25)
        .tags(["β", "a", "with space", "\"quoted\""])
        .origin(Origin::Imprint)
        .source_agent("agent-Ω")
        .partition("another")
        .created_at(time("1969-12-31T23:59:59.999999Z")?)
        .last_reinforced(reinforced)
        .last_decayed(reinforced)
        .reinforcement_count(u32::MAX)
        .confidence(1.0 / 3.0)
        .tier(Tier::Warm)
        .encryption_key_id("key/1")
        .parent(TraceId::from_reference("parent"))
        .children([TraceId::from_reference("b"), TraceId::from_reference("a")])
        .unresolved(true)
        .consolidation_candidate(true)
        .pinned(true)
        .revision(i64::MAX as u64);
    let others = TraceType::ALL.iter().enumerate().map(|(at, kind)| {
        let new = NewTrace::new(*kind, json!({"n": at}))
            .id(id(at + 1))
            .tag("plain")
            .partition(format!("p{}", at % 2));
        new.created_at(created)
            .tier(Tier::ALL[at % Tier::ALL.len()])
            .origin(Origin::ALL[at % Origin::ALL.len()])
    });
    let last =
        NewTrace::semantic(Payload::from_json(" [ 1.0 , 1e3 , -0.0 ] ")?).id(id(20)).created_at(created);
    Ok([first].into_iter().chain(others).chain([last]).collect())
}

/// The trace of this id is the one whose row nobody can read.
pub(crate) fn unreadable() -> TraceId {
    id(30)
}

/// Pairs of traces, each linked as often as it says.
pub(crate) fn links() -> [(TraceId, TraceId, u32); 3] {
    [(id(0), id(1), 3), (id(1), id(2), 1), (id(5), id(20), 2)]
}

pub(crate) fn id(n: usize) -> TraceId {
    TraceId::from_reference(&format!("schema-1/{n}"))
}
