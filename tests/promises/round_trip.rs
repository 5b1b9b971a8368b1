//! Every field of a trace, and every byte of its text, survives a restart.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::{Outcome, TestDir, by_id};
use jiff::Timestamp;
use mnemon::{ManualClock, NewTrace, Origin, Payload, Tier, Trace, TraceId, TraceStore, TraceType};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

type Traces = Vec<Arc<Trace>>;

/// Stores, closes, opens again, and answers what is there. For the store no time is to come: it would take it as now.
fn restarted(fill: impl FnOnce(&TraceStore) -> Outcome) -> Outcome<(Traces, Traces)> {
    let file = TestDir::new()?;
    let store = TraceStore::builder().clock(&ManualClock::at(Timestamp::MAX)).open_at(file.path())?;
    fill(&store)?;
    let before = by_id(&store);
    store.close()?;
    let store = TraceStore::builder().open_at(file.path())?;
    Ok((before, by_id(&store)))
}

fn full(kind: TraceType, origin: Origin, tier: Tier) -> Outcome<NewTrace> {
    let time = |text: &str| text.parse::<Timestamp>();
    Ok(NewTrace::new(kind, json!({"text": "café 日本"}))
        .embedding([0.5_f32, -1.25, f32::MIN_POSITIVE, f32::MAX])
        .strength(0.123_456_789_012_345)
        .peak_strength(0.987_654_321)
        .base_decay_rate(0.031)
        .emotional_valence(-0.75)
        .emotional_intensity(0.25)
        .tags(["β", "a", "a", "with space", "\"quoted\""])
        .origin(origin)
        .source_agent("agent-Ω")
        .partition("another")
        .created_at(time("1969-12-31T23:59:59.999999Z")?)
        .last_reinforced(time("2026-11-24T01:02:03.456789Z")?)
        .last_decayed(time("2026-11-24T01:02:04.000001Z")?)
        .reinforcement_count(u32::MAX)
        .confidence(1.0 / 3.0)
        .tier(tier)
        .encryption_key_id("key/1")
        .parent(TraceId::from_reference("parent"))
        .children([TraceId::from_reference("b"), TraceId::from_reference("a")])
        .unresolved(true)
        .consolidation_candidate(true)
        .pinned(true)
        .valid_until(time("2026-11-24T01:02:05.000001Z")?)
        .superseded_by(TraceId::from_reference("successor"))
        .revision(i64::MAX as u64))
}

#[test]
fn every_field_of_trace_survives() -> Outcome {
    let (before, after) = restarted(|store| {
        for &kind in TraceType::ALL {
            for &origin in Origin::ALL {
                for &tier in Tier::ALL {
                    store.insert(full(kind, origin, tier)?)?;
                }
            }
            store.insert(NewTrace::new(kind, json!(null)))?;
        }
        Ok(())
    })?;
    assert_eq!(before.len(), TraceType::ALL.len() * (Origin::ALL.len() * Tier::ALL.len() + 1));
    assert_eq!(before, after);
    let trace = after.iter().find(|trace| trace.is_pinned()).ok_or("a full trace")?;
    assert_eq!(trace.created_at().to_string(), "1969-12-31T23:59:59.999999Z");
    assert_eq!(trace.tags().collect::<Vec<_>>(), ["\"quoted\"", "a", "with space", "β"]);
    assert_eq!(trace.embedding(), Some(&[0.5, -1.25, f32::MIN_POSITIVE, f32::MAX][..]));
    assert_eq!(trace.children(), [TraceId::from_reference("b"), TraceId::from_reference("a")]);
    assert_eq!((trace.source_agent(), trace.encryption_key_id()), (Some("agent-Ω"), Some("key/1")));
    Ok(())
}

#[test]
fn every_byte_of_a_payload_survives() -> Outcome {
    let texts = [
        r#"{"b": 1, "a": 2, "b": 3}"#,
        " [ 1.0 , 1e3 , -0.0 , 12345678901234567890 ] ",
        r#""café 日本 Ελληνικά العربية 👩‍👩‍👧 e\u0301 é""#,
        r#""{\"not\": \"an object\"}""#,
        r#""\u0000 \n \\ \/ \ud83d\ude00""#,
        "[[],[[]],{}]",
        "null",
        "\"\"",
        "0",
    ];
    let (before, after) = restarted(|store| {
        for text in texts {
            store.insert(NewTrace::semantic(Payload::from_json(text)?))?;
        }
        Ok(())
    })?;
    assert_eq!(before, after);
    let mut stored: Vec<_> = after.iter().map(|trace| trace.payload().as_str()).collect();
    let mut given = texts;
    stored.sort_unstable();
    given.sort_unstable();
    assert_eq!(stored, given);
    Ok(())
}

#[test]
fn updated_fields_survive_others_stay() -> Outcome {
    let file = TestDir::new()?;
    let store = TraceStore::builder().open_at(file.path())?;
    let id = store.insert(full(TraceType::Episodic, Origin::Imprint, Tier::Warm)?.revision(1))?;
    store.flush()?;
    let changed = store.update(id, |trace| {
        trace
            .payload(json!(["new"]))
            .no_embedding()
            .strength(1.0)
            .base_decay_rate(0.0)
            .emotional_valence(2.0)
            .emotional_intensity(0.5)
            .confidence(0.0)
            .tags(["only"])
            .source_agent("other")
            .no_encryption_key_id()
            .no_parent()
            .children([])
            .unresolved(false)
            .consolidation_candidate(false)
            .pinned(false)
    })?;
    let changed = changed.ok_or("the trace is there")?;
    store.close()?;
    let store = TraceStore::builder().open_at(file.path())?;
    assert_eq!(store.get(id), Some(changed.clone()));
    assert_eq!((changed.strength(), changed.peak_strength(), changed.emotional_valence()), (1.0, 1.0, 1.0));
    assert_eq!((changed.parent(), changed.embedding(), changed.encryption_key_id()), (None, None, None));
    assert_eq!((changed.revision(), changed.partition(), changed.origin()), (2, "another", Origin::Imprint));
    Ok(())
}

/// Only numbers are written then, by a statement of its own.
#[test]
fn updated_numbers_alone_survive() -> Outcome {
    let file = TestDir::new()?;
    let store = TraceStore::builder().open_at(file.path())?;
    let id = store.insert(full(TraceType::Semantic, Origin::Imprint, Tier::Cold)?.revision(7))?;
    store.flush()?;
    let changed = store.update(id, |trace| {
        trace
            .strength(0.99)
            .base_decay_rate(0.071)
            .emotional_valence(-0.31)
            .emotional_intensity(0.62)
            .confidence(0.43)
            .unresolved(false)
            .consolidation_candidate(true)
            .pinned(false)
    })?;
    let report = store.flush()?;
    assert_eq!((report.rows_updated, report.rows_upserted), (1, 0), "the way that is tested is taken");
    store.close()?;
    let store = TraceStore::builder().open_at(file.path())?;
    let after = store.get(id);
    assert_eq!(after, changed);
    let after = after.ok_or("the trace is there")?;
    assert_eq!((after.strength(), after.peak_strength(), after.base_decay_rate()), (0.99, 0.99, 0.071));
    assert_eq!((after.emotional_valence(), after.emotional_intensity()), (-0.31, 0.62));
    assert_eq!((after.confidence(), after.revision(), after.tier()), (0.43, 8, Tier::Cold));
    assert_eq!(
        (after.is_unresolved(), after.is_consolidation_candidate(), after.is_pinned()),
        (false, true, false)
    );
    Ok(())
}

/// Each row of a batch has one number that the others don't have.
#[test]
fn numbers_of_rows_in_one_batch_are_their_own() -> Outcome {
    let changes: [fn(NewTrace) -> NewTrace; 13] = [
        |new| new.strength(0.5),
        |new| new.peak_strength(0.75),
        |new| new.base_decay_rate(0.5),
        |new| new.emotional_valence(0.5),
        |new| new.emotional_intensity(0.5),
        |new| new.confidence(0.5),
        |new| new.last_reinforced(Timestamp::UNIX_EPOCH),
        |new| new.last_decayed(Timestamp::UNIX_EPOCH),
        |new| new.reinforcement_count(1),
        |new| new.tier(Tier::Hot),
        |new| new.unresolved(false),
        |new| new.consolidation_candidate(false),
        |new| new.pinned(false),
    ];
    let (before, after) = restarted(|store| {
        let made = full(TraceType::Semantic, Origin::Imprint, Tier::Cold)?;
        let made = |n: usize| made.clone().id(TraceId::from_reference(&n.to_string())).revision(7);
        let ids: Vec<_> = (0..changes.len()).map(|n| store.insert(made(n))).collect::<Result<_, _>>()?;
        store.flush()?;
        for (n, change) in changes.iter().enumerate() {
            assert_eq!(store.replace(change(made(n)))?.revision(), 8, "{n}");
        }
        // Revisions too.
        assert!(store.update(ids[3], |trace| trace.confidence(0.25))?.is_some());
        let report = store.flush()?;
        assert_eq!((report.rows_updated, report.rows_upserted), (13, 0), "the way that is tested is taken");
        Ok(())
    })?;
    assert_eq!(before, after);
    Ok(())
}

#[test]
fn what_an_update_adds_survives() -> Outcome {
    let file = TestDir::new()?;
    let store = TraceStore::builder().open_at(file.path())?;
    let id = store.insert(NewTrace::procedural(json!("bare")))?;
    store.flush()?;
    let [parent, a, b] = ["parent", "a", "b"].map(TraceId::from_reference);
    let changed = store.update(id, |trace| {
        trace
            .embedding([0.25_f32, -8.0])
            .tags(["one", "two"])
            .tag("three")
            .source_agent("agent")
            .encryption_key_id("key")
            .parent(parent)
            .children([b, a])
    })?;
    store.close()?;
    let after = TraceStore::builder().open_at(file.path())?.get(id);
    assert_eq!(after, changed);
    let after = after.ok_or("the trace is there")?;
    assert_eq!(after.embedding(), Some(&[0.25, -8.0][..]));
    assert_eq!(after.tags().collect::<Vec<_>>(), ["one", "three", "two"]);
    assert_eq!((after.source_agent(), after.encryption_key_id()), (Some("agent"), Some("key")));
    assert_eq!((after.parent(), after.children()), (Some(parent), &[b, a][..]));
    Ok(())
}

#[test]
fn extreme_numbers_survive() -> Outcome {
    let (before, after) = restarted(|store| {
        store.insert(NewTrace::semantic(json!(1)).embedding([]).base_decay_rate(f64::MAX))?;
        store.insert(
            NewTrace::semantic(json!(2))
                .embedding([f32::MIN, f32::from_bits(1), -0.0])
                .strength(f64::from_bits(1))
                .confidence(f64::EPSILON)
                .reinforcement_count(u32::MAX),
        )?;
        Ok(())
    })?;
    assert_eq!(before, after);
    Ok(())
}

/// The latest time of all is what a host writes for "never".
#[test]
fn the_ends_of_time_survive() -> Outcome {
    // What a store keeps of a time: its microsecond.
    let ends = [Timestamp::MIN, Timestamp::MAX];
    let kept = |time: Timestamp| time.as_microsecond();
    let ids = ends.map(|time| TraceId::from_reference(&time.to_string()));
    let (before, after) = restarted(|store| {
        for (id, time) in ids.into_iter().zip(ends) {
            let new = NewTrace::semantic(json!("when")).id(id).created_at(time).valid_until(time);
            store.insert(new.last_reinforced(time).last_decayed(time))?;
        }
        Ok(())
    })?;
    for traces in [before, after] {
        for (id, time) in ids.into_iter().zip(ends) {
            let trace =
                traces.iter().find(|trace| trace.id() == id).ok_or_else(|| format!("{time} is gone"))?;
            let times = [trace.created_at(), trace.last_reinforced(), trace.last_decayed()];
            assert_eq!(times.map(kept), [kept(time); 3]);
            assert_eq!(trace.valid_until().map(kept), Some(kept(time)));
        }
    }
    Ok(())
}

fn any_payload() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_filter("JSON has no such number", |n| n.is_finite()).prop_map(|n| json!(n)),
        any::<String>().prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| json!(items)),
            prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn any_name() -> impl Strategy<Value = String> {
    "[^\u{0}]{1,40}"
}

prop_compose! {
    fn any_trace()(
        kind in prop::sample::select(TraceType::ALL),
        payload in any_payload(),
        tags in prop::collection::vec(any_name(), 0..5),
        agent in any_name(),
        partition in any_name(),
        numbers in [0.0..=1.0_f64, 0.0..=1.0, 0.0..=1.0, 0.0..=1.0],
        micros in -377_705_000_000_000_000..253_402_200_000_000_000_i64,
        embedding in prop::option::of(prop::collection::vec(-1e30_f32..1e30, 0..8)),
        end in prop::option::of((any::<bool>(), -377_705_000_000_000_000..253_402_200_000_000_000_i64)),
    ) -> NewTrace {
        let new = NewTrace::new(kind, payload)
            .tags(tags)
            .source_agent(agent)
            .partition(partition)
            .strength(numbers[0])
            .confidence(numbers[1])
            .emotional_intensity(numbers[2])
            .emotional_valence(numbers[3] * 2.0 - 1.0)
            .created_at(Timestamp::from_microsecond(micros).unwrap_or_default());
        let new = match end {
            Some((true, _)) => new.superseded_by(TraceId::from_reference("successor")),
            Some((false, micros)) => new.valid_until(Timestamp::from_microsecond(micros).unwrap_or_default()),
            None => new,
        };
        embedding.into_iter().fold(new, |new, vector| new.embedding(vector))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_trace_survives(traces in prop::collection::vec(any_trace(), 1..40)) {
        let kept = restarted(|store| {
            store.insert_many(traces)?;
            Ok(())
        });
        let (before, after) = kept.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        prop_assert_eq!(before, after);
    }
}
