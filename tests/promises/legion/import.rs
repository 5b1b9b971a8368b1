//! The original's database goes in and comes out again; what can't go along is told, cell by cell, and stops nothing.

use super::{Database, columns};
use harness::{Outcome, by_id};
use mnemon::jiff::Timestamp;
use mnemon::legion::{self};
use mnemon::{ErrorKind, Link, NewTrace, Origin, Payload, Tier, TraceId, TraceStore, TraceType};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params, params_from_iter};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;

#[test]
fn text_is_text_whatever_it_resembles() -> Outcome {
    let database = Database::new()?;
    let texts = ["café 日本", "", " ", "[1, 2]", "7", "null", "\"quoted\"", "{not json", "{} and more"];
    let objects = [r#"{"a":1}"#, " {\"n\": 1.10, \"n\": 100000000000000000000000} "];
    let mut expected = BTreeMap::new();
    for content in texts {
        let id = TraceId::new();
        database.trace(id, content)?;
        expected.insert(id, Payload::text(content));
    }
    for content in objects {
        let id = TraceId::new();
        database.trace(id, content)?;
        expected.insert(id, Payload::from_json(content)?);
    }
    let (store, imported) = database.import()?;
    assert_eq!(imported.findings, []);
    let payloads: BTreeMap<_, _> = store.iter().map(|trace| (trace.id(), trace.payload().clone())).collect();
    assert_eq!(payloads, expected);
    Ok(())
}

#[test]
fn every_field_of_row_is_read() -> Outcome {
    let database = Database::new()?;
    let [id, parent, child] = [TraceId::new(), TraceId::new(), TraceId::new()];
    let cells: [Cell; 21] = [
        id.to_string().to_uppercase().into(),
        "trust".to_owned().into(),
        r#"{"who":"Ana"}"#.to_owned().into(),
        0.25.into(),
        0.5.into(),
        0.125.into(),
        "-0.75".to_owned().into(),
        0.375.into(),
        r#"["b","a"]"#.to_owned().into(),
        "mesh_transfer".to_owned().into(),
        "2024-02-29 23:59:59.123456".to_owned().into(),
        "2024-03-01T01:00:00+01:00".to_owned().into(),
        "2024-03-02 00:00:00 UTC".to_owned().into(),
        7.into(),
        0.875.into(),
        "cold".to_owned().into(),
        "agent-7".to_owned().into(),
        parent.to_string().into(),
        json!([child.to_string()]).to_string().into(),
        1.into(),
        "t".to_owned().into(),
    ];
    database.connection.execute(
        "INSERT INTO memory_traces (trace_id, trace_type, content, strength, peak_strength, base_decay_rate,
            emotional_valence, emotional_intensity, domain_tags, origin, created_at, last_reinforced, last_decayed,
            reinforcement_count, confidence, storage_tier, partition_id, parent_id, child_ids, unresolved,
            consolidation_candidate)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params_from_iter(cells),
    )?;
    let (store, imported) = database.import()?;
    assert_eq!(imported.findings, []);
    let expected = NewTrace::trust(json!({"who": "Ana"}))
        .id(id)
        .strength(0.25)
        .peak_strength(0.5)
        .base_decay_rate(0.125)
        .emotional_valence(-0.75)
        .emotional_intensity(0.375)
        .tags(["a", "b"])
        .origin(Origin::MeshTransfer)
        .created_at("2024-02-29T23:59:59.123456Z".parse::<Timestamp>()?)
        .last_reinforced("2024-03-01T00:00:00Z".parse::<Timestamp>()?)
        .last_decayed("2024-03-02T00:00:00Z".parse::<Timestamp>()?)
        .reinforcement_count(7)
        .confidence(0.875)
        .tier(Tier::Cold)
        .partition("agent-7")
        .parent(parent)
        .children([child])
        .unresolved(true)
        .consolidation_candidate(true);
    let other = TraceStore::in_memory();
    other.insert(expected)?;
    assert_eq!(by_id(&store), by_id(&other));
    Ok(())
}

#[test]
fn unusable_cell_is_told_and_defaulted() -> Outcome {
    let database = Database::new()?;
    let blob = || Cell::from(vec![0xff, 0x00]);
    let text = |text: &str| Cell::from(text.to_owned());
    let long = format!(r#"["{}"]"#, "x".repeat(1_025));
    let bad = [
        ("strength", 1.5.into()),
        ("strength", text("strong")),
        ("peak_strength", (-0.1).into()),
        ("base_decay_rate", f64::INFINITY.into()),
        ("emotional_valence", text("1.5")),
        ("emotional_valence", text("[1]")),
        ("emotional_valence", text("{")),
        ("emotional_valence", blob()),
        ("emotional_intensity", 2.into()),
        ("domain_tags", text("harbour")),
        ("domain_tags", text(r#"{"a": 1}"#)),
        ("origin", text("hearsay")),
        ("created_at", text("yesterday")),
        ("created_at", text("2024-13-01 00:00:00")),
        ("created_at", 0.into()),
        ("last_reinforced", text("99999-01-01 00:00:00")),
        ("last_decayed", blob()),
        ("reinforcement_count", (-1).into()),
        ("reinforcement_count", 4_294_967_296_i64.into()),
        ("reinforcement_count", 1.5.into()),
        ("confidence", text("NaN")),
        ("storage_tier", text("tepid")),
        ("partition_id", text("")),
        ("partition_id", text("a\0b")),
        ("parent_id", text("nobody")),
        ("child_ids", text("no list")),
        ("associated_traces", 7.into()),
        ("unresolved", 2.into()),
        ("consolidation_candidate", text("yes")),
    ];
    let mut expected = Vec::new();
    for (column, cell) in bad {
        expected.push((database.cell(column, cell)?, column));
    }
    // Of lists the elements that can be used are kept.
    let partly = [
        ("domain_tags", r#"["good", 7, ""]"#, 2),
        ("domain_tags", long.as_str(), 1),
        ("child_ids", r#"["nobody", "67e55044-10b1-426f-9247-bb680e5fe0c8"]"#, 1),
    ];
    for (column, cell, left_out) in partly {
        let row = database.cell(column, text(cell))?;
        expected.extend((0..left_out).map(|_| (row, column)));
    }
    let finer = database.cell("created_at", text("2024-05-01 12:00:00.0000009"))?;
    expected.push((finer, "created_at"));

    let (store, imported) = database.import()?;
    assert_eq!(columns(&imported.findings), expected);
    assert!(imported.findings.iter().all(|finding| finding.reason.len() < 200), "{:?}", imported.findings);
    assert_eq!(imported.traces, 29 + 4);
    let semantic = TraceType::Semantic;
    for trace in store.iter() {
        assert_eq!(trace.trace_type(), semantic);
        // The schema's own defaults stand in the cells that were left alone.
        assert!([1.0, semantic.starting_strength()].contains(&trace.strength()), "{trace:?}");
        assert_eq!((trace.emotional_valence(), trace.confidence()), (0.0, 0.5));
        assert_eq!(
            (trace.origin(), trace.tier(), trace.partition()),
            (Origin::DirectExperience, Tier::Hot, "default")
        );
        assert!(trace.tags().all(|tag| tag == "good") && trace.children().len() < 2);
    }
    Ok(())
}

#[test]
fn many_unusable_elements_are_counted() -> Outcome {
    let database = Database::new()?;
    database.cell("child_ids", format!("[{}0]", "0,".repeat(99)))?;
    let (_, imported) = database.import()?;
    let reasons: Vec<_> = imported.findings.iter().map(|finding| &*finding.reason).collect();
    assert_eq!(reasons.len(), 21, "{reasons:?}");
    assert_eq!((reasons[0], reasons[20]), ("left out: 0 is no text", "left out: 80 more of its elements"));
    Ok(())
}

#[test]
fn row_without_essentials_is_left_out() -> Outcome {
    let database = Database::new()?;
    let id = TraceId::new();
    database.trace(id, "kept")?;
    let twice = database.cell("trace_id", id.to_string().to_uppercase())?;
    let mut expected = vec![(twice, "trace_id")];
    let not_utf8 = database.trace(TraceId::new(), "{}")?;
    database
        .connection
        .execute("UPDATE memory_traces SET content = CAST(x'7bff7d' AS TEXT) WHERE id = ?1", [not_utf8])?;
    expected.push((not_utf8, "content"));
    for (column, cell) in [("trace_id", "7"), ("trace_type", "rumour"), ("trace_type", "")] {
        expected.push((database.cell(column, cell.to_owned())?, column));
    }
    expected.push((database.cell("content", vec![1, 2])?, "content"));
    let (store, imported) = database.import()?;
    assert_eq!(columns(&imported.findings), expected);
    let all: Vec<_> = store.iter().map(|trace| trace.payload().clone()).collect();
    assert_eq!(all, [Payload::text("kept")]);

    // What this store takes is for it to say.
    let strict = TraceStore::builder().max_payload_bytes(3).in_memory()?;
    let imported = legion::read(database.path())?.store_in(&strict)?;
    assert_eq!((imported.traces, imported.findings.len()), (0, expected.len() + 1));
    let last = imported.findings.last().ok_or("it was stored")?.to_string();
    assert!(last.starts_with("memory_traces, row 1, trace_id: left out: payload is"), "{last}");
    Ok(())
}

#[test]
fn emotion_keeps_its_main_number() -> Outcome {
    let cases = [
        (r#"{"joy": 0.5, "valence": -0.25}"#, -0.25),
        (r#"{"score": 0.1, "polarity": 0.2, "sentiment": 0.3, "emotional_valence": 0.4}"#, 0.4),
        (r#"{"score": 0.1, "polarity": 0.2}"#, 0.2),
        (r#"{"joy": 0.5, "why": "the sea"}"#, 0.5),
        (r#"{"joy": 0.5, "fear": 0.1}"#, 0.0),
        (r#"{"valence": "high"}"#, 0.0),
        (r#"{"valence": 7}"#, 1.0),
        ("{}", 0.0),
    ];
    for (cell, expected) in cases {
        let database = Database::new()?;
        let row = database.cell("emotional_valence", cell.to_owned())?;
        let (store, imported) = database.import()?;
        assert_eq!(columns(&imported.findings), [(row, "emotional_valence")], "{cell}");
        let found: Vec<_> = store.iter().map(|trace| trace.emotional_valence()).collect();
        assert_eq!(found, [expected], "{cell}");
    }
    for (cell, expected) in [("0.3", 0.3), ("-1", -1.0), ("null", 0.0)] {
        let database = Database::new()?;
        database.cell("emotional_valence", cell.to_owned())?;
        let (store, imported) = database.import()?;
        assert_eq!(imported.findings, []);
        assert!(store.iter().all(|trace| trace.emotional_valence() == expected), "{cell}");
    }
    Ok(())
}

#[test]
fn pair_keeps_larger_count() -> Outcome {
    let database = Database::new()?;
    let mut ids: Vec<_> = (0..5).map(|_| TraceId::new()).collect();
    ids.sort();
    let rows: Vec<_> = ids.iter().map(|&id| database.trace(id, "{}")).collect::<Outcome<_>>()?;
    let [a, b, c, d, e] = ids[..] else { unreachable!() };
    database.connection.execute(
        "UPDATE memory_traces SET last_reinforced = '2025-01-01 00:00:00', created_at = '2024-06-01 00:00:00'
         WHERE id = ?1",
        [rows[1]],
    )?;
    database.pair(a, b, 4)?;
    database.pair(b, a, 4)?;
    database.pair(a, c, 2)?;
    let differs = database.pair(c, a, 9)?;
    database.pair(d, a, 1)?;
    let nobody = TraceId::new();
    let dangling = [database.pair(nobody, a, 3)?, database.pair(a, nobody, 3)?];
    let itself = database.pair(a, a, 3)?;
    let never = database.pair(b, c, 0)?;
    let no_id = database.pair("x", b, 1)?;
    let list = json!([b, d, e, nobody, a, e].map(|id| id.to_string())).to_string();
    database
        .connection
        .execute("UPDATE memory_traces SET associated_traces = ?2 WHERE id = ?1", params![rows[0], list])?;
    let (store, imported) = database.import()?;
    let expected = [
        (rows[0], "associated_traces"), // e: no pair
        (rows[0], "associated_traces"), // nobody
        (rows[0], "associated_traces"), // itself
        (differs, "coactivation_count"),
        (dangling[0], "trace_id_a"),
        (dangling[1], "trace_id_b"),
        (itself, "trace_id_b"),
        (never, "coactivation_count"),
        (no_id, "trace_id_a"),
    ];
    assert_eq!(columns(&imported.findings), expected);
    let counts: Vec<_> = store.links(a).iter().map(|link| (link.other(a), link.count())).collect();
    assert_eq!(counts, [(Some(b), 4), (Some(c), 9), (Some(d), 1), (Some(e), 3)]);
    assert_eq!((store.link_count(), imported.links), (4, 4));
    let (first, last) = ("2024-06-01T00:00:00Z".parse()?, "2025-01-01T00:00:00Z".parse()?);
    assert_eq!(store.link(a, b), Some(Link::new((a, b), 4, first, last)?));

    // The same again changes nothing; what is here and is more stays.
    store.co_activate(a, d)?;
    let before = (by_id(&store), store.links(a));
    let again = legion::read(database.path())?.store_in(&store)?;
    assert_eq!((again.traces, again.traces_known, again.links, again.links_known), (0, 5, 0, 4));
    assert_eq!((by_id(&store), store.links(a)), before);
    Ok(())
}

#[test]
fn older_original_reads_what_is_there() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("old.db");
    let id = TraceId::new();
    Connection::open(&path)?.execute_batch(&format!(
        "CREATE TABLE memory_traces (trace_id TEXT, trace_type TEXT, content TEXT, later TEXT AS ('x') STORED);
         INSERT INTO memory_traces VALUES ('{id}', 'episodic', 'the ferry was late');"
    ))?;
    let original = legion::read(&path)?;
    assert_eq!((original.traces(), original.links(), original.findings()), (1, 0, &[][..]));
    let store = TraceStore::builder().partition("mine").in_memory()?;
    original.store_in(&store)?;
    let trace = store.get(id).ok_or("stored")?;
    assert_eq!((trace.partition(), trace.strength()), ("mine", 0.6));
    Ok(())
}

#[test]
fn foreign_database_is_refused_unrun() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("original.db");
    let refused = |kind: ErrorKind| -> Outcome {
        let error = legion::read(&path).err().ok_or("it was read")?;
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        Ok(())
    };
    refused(ErrorKind::Unreachable)?;
    assert!(!path.exists());
    fs::write(&path, "something else, which is no database")?;
    refused(ErrorKind::Corrupt)?;
    for schema in [
        "CREATE TABLE other (a)",
        "CREATE TABLE memory_traces (a)",
        "CREATE TABLE t (trace_id, trace_type, content); CREATE VIEW memory_traces AS SELECT * FROM t",
        "CREATE VIRTUAL TABLE memory_traces USING fts5(trace_id, trace_type, content)",
    ] {
        fs::remove_file(&path)?;
        Connection::open(&path)?.execute_batch(schema)?;
        refused(ErrorKind::NotAStore)?;
    }
    Ok(())
}
