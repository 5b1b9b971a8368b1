//! What is written is there when the space is opened again; one owner; what is refused at the door.

mod connecting;
mod owners;
mod rows;

use harness::{Outcome, State, manual_flush, note};
use mnemon::jiff::Timestamp;
use mnemon::{NewTrace, Origin, Payload, StoreBuilder, Tier, TraceId, TraceType};
use postgres_tests::Server;
use serde_json::json;
use tempfile::TempDir;

/// A store that flushes when it is told to, in this server. The folder is that of its spills.
fn builder(folder: &TempDir) -> StoreBuilder {
    manual_flush().spill_to(folder.path())
}

/// What another host would load: from a copy of the space, since the space is in use.
fn stored(server: &Server, folder: &TempDir) -> Outcome<State> {
    let url = server.url();
    let copied = builder(folder).space("reader").connect(&url)?;
    let copy_rows =
        "INSERT INTO mnemon.TABLE SELECT (jsonb_populate_record(t, jsonb_build_object('space', r.space))).*
        FROM mnemon.TABLE t, mnemon.spaces s, mnemon.spaces r
        WHERE t.space = s.space AND s.name = 'default' AND r.name = 'reader'";
    copied.close()?;
    for table in ["traces", "links"] {
        server.sql(&format!(
            "DELETE FROM mnemon.{table} WHERE space = (SELECT space FROM mnemon.spaces WHERE name = 'reader')"
        ))?;
        server.sql(&copy_rows.replace("TABLE", table))?;
    }
    let reader = builder(folder).space("reader").connect(&url)?;
    assert!(reader.stats().quarantined.is_empty(), "{:?}", reader.stats().quarantined);
    let state = State::of(&reader);
    reader.close()?;
    Ok(state)
}

/// Every field differs from its default, and no float is short.
fn full(n: usize) -> Outcome<NewTrace> {
    let x = 1.0 / (3.0 + n as f64);
    let kind = TraceType::ALL[n % TraceType::ALL.len()];
    let payload =
        Payload::from_json(format!(r#" {{"b": {n}.50, "a": ["caf\u00e9 日本 \u0000", 1e3, null]}} "#))?;
    let at = |hour| format!("2026-11-24T0{hour}:00:00.123456Z").parse::<Timestamp>();
    Ok(NewTrace::new(kind, payload)
        .id(TraceId::from_reference(&n.to_string()))
        .partition(["even", "odd"][n % 2])
        .origin(Origin::MeshTransfer)
        .embedding([0.1_f32, -1.0 / 3.0, f32::MIN_POSITIVE, n as f32])
        .tags(["a tag", "\"quoted\"\n"])
        .source_agent("another")
        .encryption_key_id("key 7")
        .parent(TraceId::from_reference("parent"))
        .children([TraceId::from_reference("2"), TraceId::from_reference("1")])
        .strength(x)
        .peak_strength(x * 1.7)
        .base_decay_rate(x / 7.0)
        .emotional_valence(-x / 1.1)
        .emotional_intensity(x / 1.3)
        .confidence(x / 1.9)
        .created_at(at(1)?)
        .last_reinforced(at(2)?)
        .last_decayed(at(3)?)
        .reinforcement_count(u32::MAX)
        .revision(i64::MAX as u64)
        .tier(Tier::Cold)
        .unresolved(true)
        .consolidation_candidate(true)
        .valid_until(at(4)?)
        .superseded_by(TraceId::from_reference("successor"))
        .pinned(true))
}

#[test]
fn reopening_finds_everything() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let mut store = builder(&folder).connect(&server.url())?;
    for round in 0..6 {
        let ids = store.insert_many((0..14).map(|n| full(100 * round + n)).collect::<Outcome<Vec<_>>>()?)?;
        let brief = store.insert(note(round))?;
        for (a, b) in ids.iter().zip(&ids[1..]).chain([(&ids[0], &brief)]) {
            store.co_activate(*a, *b)?;
        }
        store.flush()?;
        store.co_activate(ids[0], ids[1])?;
        store.reinforce(ids[2])?;
        store.update(ids[5], |trace| trace.payload(json!("another")).no_embedding().no_parent())?;
        store.update(ids[6], |trace| trace.confidence(2.0 / 3.0))?;
        store.remove(ids[7])?;
        store.remove(brief)?;
        store.insert(note("of the same id").id(brief))?;
        let report = store.flush()?;
        assert_eq!((report.rows_updated, report.rows_deleted), (2, 1), "{report:?}");
        assert_eq!(stored(&server, &folder)?, State::of(&store), "round {round}");
        match round {
            2 => assert!(store.erase_partition("odd")?.rows > 0),
            4 => assert!(store.erase_type(TraceType::Identity)?.links > 0),
            _ => {}
        }
        let (before, watermark) = (State::of(&store), store.watermark().durable);
        store.close()?;
        store = builder(&folder).connect(&server.url())?;
        assert_eq!(State::of(&store), before, "round {round}");
        assert!(store.watermark().durable >= watermark);
    }
    assert!(store.len() > 40 && store.link_count() > 20);
    Ok(())
}
