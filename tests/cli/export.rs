//! `mnemon export`, and a store that is exported and imported again: nothing is lost.

use crate::harbour::{at, harbour, id, with_harbour};
use crate::program::TestDir;
use harness::{Outcome, manual_flush};
use insta::assert_snapshot;
use jiff::Timestamp;
use mnemon::{Link, ManualClock, NewTrace, Origin, Payload, Tier, Trace, TraceId, TraceType};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;

#[test]
fn export_is_readable_json_lines() -> Outcome {
    let place = with_harbour()?;
    let exported = place.export("memory.db")?;
    assert_snapshot!("export", exported);
    let lines: Vec<Value> = exported.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[2]["payload"]["said"], "café 日本");
    Ok(())
}

/// A store whose clock was early holds times to come.
#[test]
fn future_times_are_imported_unchanged() -> Outcome {
    let place = TestDir::new()?;
    let early = ManualClock::at(at("2999-01-01T00:00:00Z")?);
    let store = manual_flush().clock(&early).open(place.path("memory.db"))?;
    store.insert(NewTrace::semantic(json!("the tide is early")).id(id(1)))?;
    store.close()?;
    let exported = place.export("memory.db")?;
    fs::write(place.path("a.jsonl"), &exported)?;
    for (field, expected) in [("inserted", 1), ("unchanged", 1)] {
        let told = place.run("import other.db a.jsonl --json")?.json()?;
        assert_eq!(told["traces"][field], expected, "{told}");
        assert_eq!(place.export("other.db")?, exported);
    }
    Ok(())
}

#[test]
fn export_and_import_report_counts() -> Outcome {
    let place = with_harbour()?;
    assert_snapshot!("export_told", place.run("export memory.db a.jsonl --json")?.shown(&place));
    assert_snapshot!("import_told", place.run("import other.db a.jsonl")?.shown(&place));
    let again = place.run("import other.db a.jsonl --json")?;
    let mut report = again.json()?;
    assert!(
        report.as_object_mut().and_then(|report| report.remove("seconds")).is_some_and(|time| time.is_f64())
    );
    let unchanged = |n| json!({"in_file": n, "inserted": 0, "replaced": 0, "unchanged": n, "skipped": 0});
    let expected =
        json!({"traces": unchanged(3), "links": unchanged(2), "bad": 0, "announced": 5, "found": 5});
    assert_eq!((again.code, report), (Some(0), expected));
    assert_eq!(place.held("other.db")?, place.held("memory.db")?);
    Ok(())
}

#[test]
fn an_import_done_again_changes_nothing() -> Outcome {
    let place = with_harbour()?;
    place.output("export memory.db a.jsonl")?;
    let before = place.held("memory.db")?;
    for on_conflict in ["skip", "replace", "fail"] {
        let ran = place.run(&format!("import memory.db a.jsonl --on-conflict {on_conflict} --json"))?;
        let report = ran.json()?;
        let unchanged = (&report["traces"]["unchanged"], &report["links"]["unchanged"]);
        assert_eq!((ran.code, unchanged), (Some(0), (&json!(3), &json!(2))), "{report}");
        assert_eq!(place.held("memory.db")?, before);
    }
    Ok(())
}

/// Any trace that a store takes.
fn any_trace() -> impl Strategy<Value = NewTrace> {
    let words = prop_oneof![
        "\\PC{1,20}".prop_map(String::from),
        Just("\u{1}\u{7f}\"\\/\u{2028}日本\u{10ffff}\n\r\t".to_owned()),
    ];
    let fraction = || {
        prop_oneof![
            4 => 0.0..=1.0,
            1 => prop::sample::select(vec![0.0, -0.0, 1.0, 5e-324, f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0, 1.0 / 3.0])
        ]
    };
    let rate = prop_oneof![0.0..=1.0, Just(f64::MAX), Just(1e-300), Just(0.1 + 0.2)];
    let embedded = prop_oneof![
        any::<f32>().prop_filter("finite", |number| number.is_finite()),
        prop::sample::select(vec![-0.0, 1e-45, f32::MAX, f32::MIN_POSITIVE, 0.1, 16_777_217.0])
    ];
    let time = || {
        let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        prop_oneof![
            1 => (first..=last, 0..1_000_000),
            1 => (0..4_000_000_000_i64, 0..1_000_000),
            1 => prop::sample::select(vec![(first, 0), (last, 999_999), (-1, 999_999)])
        ]
        .prop_map(|(second, micro)| Timestamp::new(second, micro * 1_000).unwrap_or_default())
    };
    let said = (prop::sample::select(TraceType::ALL), any_payload(), vec(words.clone(), 0..4));
    let numbers = (fraction(), fraction(), rate, fraction(), fraction(), -1.0..=1.0);
    let times = (time(), time(), time());
    let counts = (any::<u32>(), 1..=i64::MAX as u64, any::<[bool; 3]>(), prop::sample::select(Tier::ALL));
    let from =
        (option::of(words.clone()), option::of(words.clone()), words, prop::sample::select(Origin::ALL));
    let near = (option::of(any::<[u8; 16]>()), vec(any::<[u8; 16]>(), 0..3), option::of(vec(embedded, 0..5)));
    (said, numbers, times, counts, from, near).prop_map(|(said, numbers, times, counts, from, near)| {
        let mut new = NewTrace::new(said.0, said.1)
            .tags(said.2)
            .strength(numbers.0)
            .peak_strength(numbers.1)
            .base_decay_rate(numbers.2)
            .confidence(numbers.3)
            .emotional_intensity(numbers.4)
            .emotional_valence(numbers.5)
            .created_at(times.0)
            .last_reinforced(times.1)
            .last_decayed(times.2)
            .reinforcement_count(counts.0)
            .revision(counts.1)
            .unresolved(counts.2[0])
            .consolidation_candidate(counts.2[1])
            .pinned(counts.2[2])
            .tier(counts.3)
            .partition(from.2)
            .origin(from.3)
            .children(near.1.into_iter().map(TraceId::from_bytes));
        if let Some(agent) = from.0 {
            new = new.source_agent(agent);
        }
        if let Some(key) = from.1 {
            new = new.encryption_key_id(key);
        }
        if let Some(parent) = near.0 {
            new = new.parent(TraceId::from_bytes(parent));
        }
        match near.2 {
            Some(vector) => new.embedding(vector),
            None => new,
        }
    })
}

/// Any text that a payload may have, however it is written.
fn any_payload() -> impl Strategy<Value = Payload> {
    let odd = prop::sample::select(vec![
        "null",
        r#"{"a":1,"a":2,"":[],"a":{}}"#,
        "123456789012345678901234567890",
        "[18446744073709551615,-9223372036854775808,1e308,-0.0,0.1e-5,1E+2]",
        r#""\u0000 \ud83d\ude00 é \/ 日本""#,
        "\"\u{7f}\u{2028}\u{feff}\"",
        "{\n\t\"k\" :\r\n [ 1 ,\n2 ]\n}",
        r#"{"kind":"link","a":"not one"}"#,
        "\"\"",
    ]);
    let text = prop_oneof![
        odd.prop_map(String::from),
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        any::<f64>().prop_map(|number| Value::from(number).to_string()),
        Just(format!("{}7{}", "[".repeat(126), "]".repeat(126))),
    ];
    let around = || prop::sample::select(vec!["", "", "", " ", "\n", "\r\n\t "]);
    (around(), text, around()).prop_filter_map("a payload", |(before, text, after)| {
        Payload::from_json(format!("{before}{text}{after}")).ok()
    })
}

fn any_link() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, u32, i64, i64)> {
    let micros = || -62_000_000_000_000_000..200_000_000_000_000_000_i64;
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=u32::MAX, micros(), micros())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn second_export_has_the_same_bytes(
        traces in vec(any_trace(), 0..30),
        links in vec(any_link(), 0..30),
    ) {
        let outcome = || -> Outcome {
            let place = TestDir::new()?;
            let store = manual_flush().open(place.path("memory.db"))?;
            let ids = store.insert_many(traces)?;
            for (a, b, count, first, last) in links {
                if ids.is_empty() {
                    break;
                }
                let (a, b) = (*a.get(&ids), *b.get(&ids));
                let (first, last) = (Timestamp::from_microsecond(first)?, Timestamp::from_microsecond(last)?);
                if let Ok(link) = Link::new((a, b), count, first, last) {
                    store.put_link(link)?;
                }
            }
            store.close()?;
            place.output("export memory.db a.jsonl")?;
            place.output("import other.db a.jsonl")?;
            place.output("export other.db b.jsonl")?;
            let (a, b) = (fs::read_to_string(place.path("a.jsonl"))?, fs::read_to_string(place.path("b.jsonl"))?);
            assert_eq!(a, b);
            let (held, again) = (place.held("memory.db")?, place.held("other.db")?);
            assert_eq!(held.0.len(), ids.len());
            assert_eq!(&held, &again);
            for (trace, again) in held.0.iter().zip(&again.0) {
                assert_eq!(trace.payload().as_str(), again.payload().as_str());
                let bits = |trace: &Trace| trace.embedding().map(|vector| vector.iter().map(|n| n.to_bits()).collect::<Vec<_>>());
                assert_eq!(bits(trace), bits(again));
            }
            Ok(())
        };
        outcome().map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

#[test]
fn store_in_use_exports_not_imports() -> Outcome {
    let place = TestDir::new()?;
    let store = harbour(&place.path("memory.db"))?;
    store.insert(NewTrace::sensory(json!("not flushed")))?;
    let exported = place.export("memory.db")?;
    assert!(
        exported
            .starts_with(r#"{"kind":"mnemon-export","version":1,"traces":3,"links":2,"written_by":"mnemon "#),
        "{exported}"
    );
    let ran = place.run_with("import memory.db -", &exported)?;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains(&format!("memory.db is in use by process {}", std::process::id())),
        "{ran:?}"
    );
    assert_eq!(place.run_with("import other.db -", &exported)?.code, Some(0));
    store.close()?;
    Ok(())
}

#[test]
fn export_is_private_replaces_only_exports() -> Outcome {
    let place = with_harbour()?;
    for _ in 0..2 {
        place.output("export memory.db a.jsonl")?;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(place.path("a.jsonl"))?.permissions().mode() & 0o777, 0o600);
    }
    fs::write(place.path("letter.txt"), "Dear Ana")?;
    let store = fs::read(place.path("memory.db"))?;
    for name in ["letter.txt", "memory.db"] {
        let ran = place.run(&format!("export memory.db {name}"))?;
        let expected = format!("{name} is there, and is no export: give another name, or move it away\n");
        assert!(ran.code == Some(1) && ran.stderr.ends_with(&expected), "{ran:?}");
    }
    assert_eq!(fs::read_to_string(place.path("letter.txt"))?, "Dear Ana");
    assert!(fs::read(place.path("memory.db"))? == store);
    let ran = place.run("export memory.db nowhere/a.jsonl")?;
    assert!(ran.stderr.contains("nowhere/a.jsonl can't be written: check that its folder exists"), "{ran:?}");
    let ran = place.run("export nowhere.db b.jsonl")?;
    assert!(ran.code == Some(1) && ran.stderr.contains("nowhere.db"), "{ran:?}");
    let left: Vec<_> = place.names()?.into_iter().filter(|name| name.contains("jsonl")).collect();
    assert_eq!(left, ["a.jsonl"], "nothing is left of what did not become whole");
    let ran = place.run("export memory.db --json")?;
    assert!(ran.code == Some(1) && ran.stderr.contains("--json needs a FILE"), "{ran:?}");
    Ok(())
}

#[test]
fn trace_without_json_is_not_exported() -> Outcome {
    let place = with_harbour()?;
    Connection::open(place.path("memory.db"))?.execute_batch(
        "UPDATE traces SET payload = '{' WHERE id = x'01010101010101010101010101010101';
         UPDATE traces SET tier = 'tepid' WHERE id = x'02020202020202020202020202020202';",
    )?;
    let ran = place.run("export memory.db a.jsonl")?;
    assert_snapshot!("left_out", ran.shown(&place));
    let exported = fs::read_to_string(place.path("a.jsonl"))?;
    assert!(
        exported
            .starts_with(r#"{"kind":"mnemon-export","version":1,"traces":1,"links":0,"written_by":"mnemon "#),
        "{exported}"
    );
    assert_eq!(place.run("import other.db a.jsonl")?.code, Some(0));
    Ok(())
}

#[test]
fn spill_beside_store_is_named() -> Outcome {
    let place = with_harbour()?;
    fs::write(place.path("memory.db.spill"), "left")?;
    for command in
        ["export memory.db a.jsonl", "snapshot save memory.db --dir shots", "export-legion memory.db a.db"]
    {
        let ran = place.run(command)?;
        assert!(ran.stderr.contains("memory.db.spill holds what the store could not write"), "{ran:?}");
    }
    Ok(())
}
