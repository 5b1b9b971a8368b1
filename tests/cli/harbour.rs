//! A store of three traces and two links, to be moved about.

use crate::program::TestDir;
use harness::{Outcome, manual_flush};
use jiff::Timestamp;
use mnemon::{Link, NewTrace, Origin, Payload, Tier, TraceId, TraceStore};
use serde_json::json;
use std::path::Path;

pub fn id(n: u8) -> TraceId {
    TraceId::from_bytes([n; 16])
}

pub fn at(text: &str) -> Outcome<Timestamp> {
    Ok(text.parse()?)
}

/// Three traces and two links, the same each time.
pub fn harbour(path: &Path) -> Outcome<TraceStore> {
    let store = manual_flush().open(path)?;
    let noon = at("2026-03-03T12:00:00Z")?;
    let common = |new: NewTrace, n: u8| new.id(id(n)).partition("harbour").created_at(noon);
    store.insert(
        common(NewTrace::semantic(json!({"fact": "tides turn twice a day"})), 1).tags(["sea", "tide"]),
    )?;
    let quoted =
        Payload::from_json("{\n  \"said\": \"café 日本\", \"n\": 12345678901234567890,\n  \"n\": 1.0 }\n")?;
    let full = common(NewTrace::episodic(quoted), 2)
        .emotional_valence(-0.25)
        .emotional_intensity(0.5)
        .confidence(0.1)
        .origin(Origin::MeshTransfer)
        .source_agent("pilot")
        .encryption_key_id("key-7")
        .parent(id(1))
        .children([id(3), id(9)])
        .embedding([0.1, -1.5, 3.0e-45])
        .tier(Tier::Warm)
        .pinned(true)
        .unresolved(true)
        .last_reinforced(at("2026-03-04T12:00:00.000001Z")?)
        .reinforcement_count(3)
        .revision(7);
    store.insert(full)?;
    store.insert(common(NewTrace::trust(json!(["Ana", true, null])), 3))?;
    store.put_link(Link::new((id(1), id(2)), 3, noon, at("2026-03-05T00:00:00Z")?)?)?;
    store.put_link(Link::new((id(3), id(1)), 1, noon, noon)?)?;
    store.flush()?;
    Ok(store)
}

pub fn with_harbour() -> Outcome<TestDir> {
    let place = TestDir::new()?;
    harbour(&place.path("memory.db"))?.close()?;
    Ok(place)
}
