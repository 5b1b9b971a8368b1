//! Bad input is refused with the field's name, and changes nothing.

use harness::{Outcome, note};
use mnemon::{ErrorKind, NewTrace, Origin, Payload, Tier, TraceEdit, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn long() -> String {
    "x".repeat(1_025)
}

#[test]
fn bad_trace_names_its_field() -> Outcome {
    let store = TraceStore::builder().max_payload_bytes(100).in_memory()?;
    let cases: Vec<(&str, NewTrace)> = vec![
        ("strength", note(1).strength(f64::NAN)),
        ("strength", note(1).strength(-0.1)),
        ("peak_strength", note(1).peak_strength(1.1)),
        ("confidence", note(1).confidence(f64::INFINITY)),
        ("base_decay_rate", note(1).base_decay_rate(-1.0)),
        ("base_decay_rate", note(1).base_decay_rate(f64::INFINITY)),
        ("emotional_valence", note(1).emotional_valence(f64::NAN)),
        ("emotional_intensity", note(1).emotional_intensity(f64::NAN)),
        ("tag", note(1).tag("")),
        ("tag", note(1).tags(["good", "with\0nul"])),
        ("tag", note(1).tag(long())),
        ("tags", note(1).tags((0..2_000).map(|n| n.to_string()))),
        ("source_agent", note(1).source_agent("")),
        ("partition", note(1).partition(long())),
        ("encryption_key_id", note(1).encryption_key_id("a\0b")),
        ("embedding[1]", note(1).embedding([0.0, f32::NAN])),
        ("embedding", note(1).embedding(vec![0.0; 70_000])),
        ("children", note(1).children((0..70_000).map(|_| TraceId::from_bytes([0; 16])))),
        ("revision", note(1).revision(0)),
        ("revision", note(1).revision(u64::MAX)),
        ("payload", note("a payload of more than a hundred bytes ".repeat(4))),
        ("strength", note(1).strength(2.0).confidence(2.0)),
    ];
    for (field, new) in cases {
        let error = store.insert(new.clone()).err().ok_or_else(|| format!("{field} was taken"))?;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().starts_with(&format!("{field} is ")), "{field}: {error}");
        assert!(store.insert_many([note(1), new, note(2)]).is_err());
        assert_eq!((store.len(), store.stats().dirty), (0, 0), "nothing was stored");
    }
    Ok(())
}

#[test]
fn emotion_is_clamped() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(note(1).emotional_valence(-7.0).emotional_intensity(f64::INFINITY))?;
    let trace = store.get(id).ok_or("the trace is there")?;
    assert_eq!((trace.emotional_valence(), trace.emotional_intensity()), (-1.0, 1.0));
    Ok(())
}

#[test]
fn payload_must_be_readable_json() -> Outcome {
    let deep = "[".repeat(500) + &"]".repeat(500);
    for bad in ["", "{", "{'a': 1}", "[1,]", "nan", "1e999", r#""\ud800""#, "\"\0\"", &deep] {
        let error = Payload::from_json(bad).err().ok_or_else(|| format!("{bad} was taken"))?;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with("payload "), "{error}");
        assert!(std::error::Error::source(&error).is_some(), "what is wrong with it is the cause");
    }
    Ok(())
}

#[test]
fn unknown_names_list_the_known_ones() {
    let unknown = ["Semantic", "", "warm "].map(|name| {
        let errors =
            [name.parse::<TraceType>().err(), name.parse::<Origin>().err(), name.parse::<Tier>().err()];
        errors.map(|error| error.map(|error| error.to_string()))
    });
    for errors in unknown {
        let [kind, origin, tier] = errors.map(Option::unwrap_or_default);
        assert!(kind.starts_with("type is ") && kind.contains("semantic, episodic"), "{kind}");
        assert!(origin.starts_with("origin is ") && origin.contains("mesh_transfer"), "{origin}");
        assert!(tier.starts_with("tier is ") && tier.contains("hot, warm, cold, erased"), "{tier}");
    }
}

#[test]
fn an_id_is_stored_once() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(note("first"))?;
    store.flush()?;
    let error = store.insert(note("second").id(id)).err().ok_or("it was stored twice")?;
    assert_eq!((error.kind(), error.to_string().contains(&id.to_string())), (ErrorKind::AlreadyExists, true));
    let twice = TraceId::new();
    for many in [vec![note(1), note(2).id(id)], vec![note(1).id(twice), note(2).id(twice)]] {
        let error = store.insert_many(many).err().ok_or("it was stored twice")?;
        assert_eq!((error.kind(), store.len()), (ErrorKind::AlreadyExists, 1));
        assert_eq!(store.stats().dirty, 0, "seen before the first was stored");
    }
    assert_eq!(
        store.get(id).map(|trace| trace.payload().to_string()),
        Some(r#"{"note":"first"}"#.to_owned())
    );
    Ok(())
}

#[test]
fn a_bad_update_changes_nothing() -> Outcome {
    let store = TraceStore::builder().max_payload_bytes(100).in_memory()?;
    let id = store.insert(note(1))?;
    store.flush()?;
    let before = store.get(id);
    type Edit = fn(TraceEdit<'_>) -> TraceEdit<'_>;
    let edits: [(&str, Edit); 5] = [
        ("confidence", |trace| trace.confidence(-1.0)),
        ("strength", |trace| trace.confidence(0.9).strength(f64::NAN)),
        ("tag", |trace| trace.tag("")),
        ("payload", |trace| trace.payload(json!("x".repeat(200)))),
        ("embedding[0]", |trace| trace.embedding([f32::INFINITY])),
    ];
    for (field, edit) in edits {
        for outcome in [store.update(id, edit), store.update_if(id, 1, edit)] {
            let error = outcome.err().ok_or_else(|| format!("{field} was taken"))?;
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().starts_with(&format!("{field} is ")), "{field}: {error}");
        }
    }
    assert_eq!((store.get(id), store.stats().dirty), (before, 0));
    Ok(())
}

#[test]
fn a_conflict_names_both_revisions() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(note(1))?;
    store.update(id, |trace| trace.confidence(0.9))?;
    let error = store.update_if(id, 1, |trace| trace.confidence(0.1)).err().ok_or("it was set")?;
    assert_eq!(error.kind(), ErrorKind::RevisionConflict);
    assert!(error.to_string().contains("revision 2, not 1"), "{error}");
    assert_eq!(store.update_if(id, 2, |trace| trace.confidence(0.1))?.map(|trace| trace.revision()), Some(3));
    assert_eq!(store.update_if(TraceId::new(), 1, |trace| trace)?, None, "an unknown id is no conflict");
    Ok(())
}

#[test]
fn panicking_closure_changes_nothing() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(note(1))?;
    let before = store.get(id);
    let panicked = catch_unwind(AssertUnwindSafe(|| store.update(id, |_| panic!("of the caller's own"))));
    assert!(panicked.is_err());
    assert_eq!(store.get(id), before);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| store.update(id, |trace| trace.confidence(0.75)));
        other.join().map_err(|_| "a lock was poisoned")
    })??;
    store.flush()?;
    assert_eq!(store.get(id).map(|trace| trace.confidence()), Some(0.75));
    Ok(())
}
