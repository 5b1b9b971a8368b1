//! Bad input is refused with the field's name, and changes nothing.

use harness::{Outcome, note};
use jiff::Timestamp;
use mnemon::{
    DecayCurve, ErrorKind, ManualClock, NewTrace, Origin, Payload, Tier, TraceEdit, TraceId, TraceStore,
    TraceType, Upkeep,
};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

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

type Attempt<'a> = Box<dyn FnOnce() -> mnemon::Result<()> + 'a>;

/// What was tried, and what became of it: every case must be refused, and none may panic.
#[derive(Default)]
struct Tally {
    tried: usize,
    refused: usize,
    panics: usize,
    taken: Vec<String>,
}

impl Tally {
    fn case(&mut self, what: impl Into<String>, attempt: impl FnOnce() -> mnemon::Result<()>) {
        self.tried += 1;
        match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Err(_)) => self.refused += 1,
            Ok(Ok(())) => self.taken.push(what.into()),
            Err(_) => {
                self.panics += 1;
                self.taken.push(format!("panicked: {}", what.into()));
            }
        }
    }

    fn told(self) {
        println!("bad inputs: {} tried, {} refused, panics {}", self.tried, self.refused, self.panics);
        assert!(self.taken.is_empty(), "{:?}", self.taken);
    }
}

/// Arrays, objects, or both by turns, one in the other; built and taken apart without recursion.
fn nested(depth: usize, shape: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, at| match (shape, at % 2) {
        (0, _) | (2, 0) => Value::Array(vec![inner]),
        _ => Value::Object([("a".to_owned(), inner)].into_iter().collect()),
    })
}

fn take_apart(value: Value) {
    let mut parts = vec![value];
    while let Some(part) = parts.pop() {
        match part {
            Value::Array(items) => parts.extend(items),
            Value::Object(entries) => parts.extend(entries.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
}

/// Its stack is that of any thread: 2 MiB.
#[test]
fn deep_nesting_is_refused() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(note(1))?;
    let mut tally = Tally::default();
    for (depth, shape) in
        [128, 1_000, 100_000, 1_000_000].into_iter().flat_map(|depth| [0, 1, 2].map(|shape| (depth, shape)))
    {
        let what = |door| format!("{door}: {depth} deep, shape {shape}");
        tally.case(what("value"), || Payload::try_from(nested(depth, shape)).map(drop));
        tally.case(what("new trace"), || store.insert(NewTrace::semantic(nested(depth, shape))).map(drop));
        let mut value = Some(nested(depth, shape));
        tally.case(what("edit"), || {
            store.update(id, |trace| trace.payload(value.take().unwrap_or_default())).map(drop)
        });
        let value = nested(depth, shape);
        tally.case(what("borrowed"), || Payload::try_from(&value).map(drop));
        tally.case(what("serialized"), || Payload::new(&value).map(drop));
        take_apart(value);
        let text = match shape {
            0 => "[".repeat(depth) + &"]".repeat(depth),
            1 => r#"{"a":"#.repeat(depth) + "null" + &"}".repeat(depth),
            _ => r#"[{"a":"#.repeat(depth) + "null" + &"}]".repeat(depth),
        };
        tally.case(what("text"), || Payload::from_json(text.as_str()).map(drop));
        tally.case(what("text without end"), || Payload::from_json(&text[..text.len() / 2]).map(drop));
    }
    for shape in 0..3 {
        let payload = Payload::try_from(nested(127, shape))?;
        payload.as_value()?;
    }
    assert_eq!((store.len(), store.get(id).map(|trace| trace.revision())), (1, Some(1)));
    tally.told();
    Ok(())
}

#[test]
fn bad_values_are_refused_without_panic() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(note(1))?;
    let mut tally = Tally::default();
    let insert = |new: NewTrace| store.insert(new).map(drop);
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    type New = fn(NewTrace, f64) -> NewTrace;
    type Edit = fn(TraceEdit<'_>, f64) -> TraceEdit<'_>;
    let fractions: [(&str, New, Option<Edit>); 3] = [
        ("strength", |new, value| new.strength(value), Some(|edit, value| edit.strength(value))),
        ("peak_strength", |new, value| new.peak_strength(value), None),
        ("confidence", |new, value| new.confidence(value), Some(|edit, value| edit.confidence(value))),
    ];
    let others: [(&str, New, Option<Edit>); 3] = [
        (
            "base_decay_rate",
            |new, value| new.base_decay_rate(value),
            Some(|edit, value| edit.base_decay_rate(value)),
        ),
        (
            "emotional_valence",
            |new, value| new.emotional_valence(value),
            Some(|edit, value| edit.emotional_valence(value)),
        ),
        (
            "emotional_intensity",
            |new, value| new.emotional_intensity(value),
            Some(|edit, value| edit.emotional_intensity(value)),
        ),
    ];
    let of_fractions = [nan, -nan, inf, -inf, -1e-9, 1.0 + 1e-9, f64::MAX, f64::MIN, -f64::MIN_POSITIVE];
    let given = fractions.iter().flat_map(|field| of_fractions.iter().map(move |value| (field, *value)));
    let given = given.chain(others.iter().flat_map(|field| [(field, nan), (field, -nan)]));
    let given = given.chain([inf, -inf, -1.0, f64::MIN].map(|value| (&others[0], value)));
    for ((name, new, edit), value) in given {
        tally.case(format!("{name} {value}"), || insert(new(note(1), value)));
        if let Some(edit) = edit {
            tally.case(format!("edit {name} {value}"), || {
                store.update(id, |trace| edit(trace, value)).map(drop)
            });
        }
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        tally.case(format!("embedding {value}"), || insert(note(1).embedding(vec![0.5, value])));
        tally.case(format!("edit embedding {value}"), || {
            store.update(id, |trace| trace.embedding(vec![value])).map(drop)
        });
    }
    for value in [nan, inf, -inf, -0.1, 1.1] {
        let builder = TraceStore::builder().checkpoint_step(value);
        tally.case(format!("checkpoint_step {value}"), || builder.in_memory().map(drop));
    }
    let builder = TraceStore::builder().recency_half_life(Duration::ZERO);
    tally.case("recency_half_life 0", || builder.in_memory().map(drop));
    for text in [
        "".to_owned(),
        "\0".to_owned(),
        "a\0".to_owned(),
        "x".repeat(1_025),
        "é".repeat(513),
        "x".repeat(10_000_000),
    ] {
        let shown = format!("{:.5?} of {} bytes", text, text.len());
        let attempts: [(&str, Attempt<'_>); 8] = [
            ("tag", Box::new(|| insert(note(1).tag(&text)))),
            ("tags", Box::new(|| insert(note(1).tags(["good", &text])))),
            ("partition", Box::new(|| insert(note(1).partition(&text)))),
            ("source_agent", Box::new(|| insert(note(1).source_agent(&text)))),
            ("encryption_key_id", Box::new(|| insert(note(1).encryption_key_id(&text)))),
            ("edit tag", Box::new(|| store.update(id, |trace| trace.tag(&text)).map(drop))),
            (
                "the store's partition",
                Box::new(|| TraceStore::builder().partition(text.as_str()).in_memory().map(drop)),
            ),
            (
                "the store's name",
                Box::new(|| TraceStore::builder().name(text.as_str()).in_memory().map(drop)),
            ),
        ];
        for (field, attempt) in attempts {
            tally.case(format!("{field} {shown}"), attempt);
        }
        let names: [(&str, Attempt<'_>); 4] = [
            ("id", Box::new(|| text.parse::<TraceId>().map(drop))),
            ("type", Box::new(|| text.parse::<TraceType>().map(drop))),
            ("origin", Box::new(|| text.parse::<Origin>().map(drop))),
            ("tier", Box::new(|| text.parse::<Tier>().map(drop))),
        ];
        for (field, attempt) in names {
            tally.case(format!("{field} {shown}"), || {
                let refused = attempt();
                if let Err(error) = &refused {
                    assert!(error.to_string().len() < 1_000, "{field}: {} bytes", error.to_string().len());
                }
                refused
            });
        }
    }
    // Floods that never end are not waited for.
    tally.case("tags without end", || insert(note(1).tags(std::iter::repeat("t"))));
    tally.case("children without end", || insert(note(1).children(std::iter::repeat_with(TraceId::new))));
    tally.case("tags", || insert(note(1).tags((0..1_025).map(|n| n.to_string()))));
    tally.case("tags one by one", || insert((0..1_025).fold(note(1), |new, n| new.tag(n.to_string()))));
    tally.case("embedding", || insert(note(1).embedding(vec![0.0; 65_537])));
    tally.case("revision 0", || insert(note(1).revision(0)));
    tally.case("revision 2^63", || insert(note(1).revision(1 << 63)));
    tally.case("payload", || insert(note("x".repeat(1 << 20))));
    for text in [
        "",
        " ",
        "nul",
        "NaN",
        "Infinity",
        "-",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e999",
        "-1e999",
        "tru",
        "'a'",
        "{a: 1}",
        "{\"a\"}",
        "{\"a\": 1,}",
        "[1,]",
        "[1 2]",
        "[",
        "]",
        "{}{}",
        "// no\n1",
        "/* no */ 1",
        "\u{feff}{}",
        "\"",
        "\"\n\"",
        "\"\t\"",
        "\"\0\"",
        "\0",
        "1\0",
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        r#""\u12""#,
        r#""\x41""#,
        "\u{2028}",
        "undefined",
    ] {
        tally.case(format!("payload {text:?}"), || Payload::from_json(text).map(drop));
    }
    let known = "0190163d-8694-739b-aea5-966c26f8ad91";
    store.insert(note(1).id(known.parse()?))?;
    for spelling in [
        known.to_owned(),
        known.to_uppercase(),
        known.replace('-', ""),
        format!("{{{known}}}"),
        format!("urn:uuid:{known}"),
    ] {
        let again: TraceId = spelling.parse()?;
        tally.case(format!("id {spelling}"), || insert(note(2).id(again)));
        tally.case(format!("ids {spelling}"), || store.insert_many([note(3), note(2).id(again)]).map(drop));
        let other = TraceId::new();
        tally.case("ids twice", || store.insert_many([note(3).id(other), note(2).id(other)]).map(drop));
        tally.case("restored ids twice", || {
            store.restore([note(3).id(again), note(2).id(known.parse()?)]).map(drop)
        });
    }
    for text in [
        "0190163d-8694-739b-aea5-966c26f8ad9",
        "0190163d-8694-739b-aea5-966c26f8ad9g",
        "0190163d_8694_739b_aea5_966c26f8ad91",
        " 0190163d-8694-739b-aea5-966c26f8ad91",
    ] {
        tally.case(format!("id {text:?}"), || text.parse::<TraceId>().map(drop));
    }
    tally.case("a link to itself", || store.co_activate(id, id).map(drop));
    tally.case("a link to nowhere", || store.co_activate(id, TraceId::new()).map(drop));
    assert_eq!(
        (store.len(), store.get(id).map(|trace| trace.revision())),
        (2, Some(1)),
        "and nothing has changed"
    );
    tally.told();
    Ok(())
}

/// What is asked, not stored, may be anything.
#[test]
fn range_ends_do_no_harm() -> Outcome {
    let ends = [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX];
    let mut tried = 0;
    for (made, now) in ends.into_iter().flat_map(|made| ends.map(|now| (made, now))) {
        let clock = ManualClock::at(made);
        let curve = DecayCurve::Exponential { half_life: Duration::ZERO };
        for curve in [DecayCurve::PowerLaw, curve, DecayCurve::None] {
            let store = TraceStore::builder().clock(&clock).decay_curve(curve).prune(false).in_memory()?;
            clock.set(made);
            let given = note(1)
                .created_at(now)
                .last_reinforced(made)
                .last_decayed(now)
                .reinforcement_count(u32::MAX)
                .revision(i64::MAX as u64)
                .base_decay_rate(f64::MAX);
            let ids = store.insert_many([note(0), given])?;
            store.co_activate(ids[0], ids[1])?;
            clock.set(now);
            clock.advance(Duration::MAX);
            store.co_activate(ids[0], ids[1])?;
            store.decay()?;
            store.update_tiers()?;
            store.enforce_quota()?;
            for id in &ids {
                let trace = store.get(*id).ok_or("it is there")?;
                for at in ends {
                    assert!((0.0..=1.0).contains(&store.strength_at(&trace, at)));
                    tried += 1;
                }
                let _ = store.reinforce(*id)?;
                store.update(*id, |trace| trace.confidence(0.9))?;
                let trace = store.get(*id).ok_or("it is there")?;
                assert!((1..=i64::MAX as u64).contains(&trace.revision()));
            }
            for bound in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
                let _ = (
                    store.associated(ids[0], bound, usize::MAX),
                    store.walk(ids[0], usize::MAX, bound).count(),
                );
                let _ = store.query().min_strength(bound).limit(usize::MAX).run();
                tried += 3;
            }
            store.flush()?;
        }
    }
    let long = Duration::MAX;
    let upkeep = Upkeep { decay: Some(long), tiers: Some(long), quota: Some(long) };
    let builder =
        TraceStore::builder().flush_interval(long).lag_bound(long).close_timeout(long).upkeep(upkeep);
    let store = builder.flush_threshold(usize::MAX).max_payload_bytes(usize::MAX).in_memory()?;
    store.insert(note(1))?;
    store.flush()?;
    store.close()?;
    println!("ends of ranges: {tried} tried, panics 0");
    Ok(())
}

/// What was sized as a limit once is read again by who has a lower one.
#[test]
#[cfg(feature = "sqlite")]
fn store_opens_at_range_ends() -> Outcome {
    let file = harness::TestDir::new()?;
    // A row of SQLite's has at most 1,000,000,000 bytes, 16 MiB of which are kept for the rest of it.
    const MOST: usize = 1_000_000_000 - (16 << 20);
    for bytes in [MOST + 1, usize::MAX] {
        let refused = TraceStore::builder().max_payload_bytes(bytes).open(file.path()).err();
        let refused = refused.ok_or("what it would take could not be written")?;
        assert_eq!(refused.kind(), mnemon::ErrorKind::InvalidInput, "{refused}");
        assert!(refused.to_string().contains("max_payload_bytes") && !file.path().exists(), "{refused}");
    }
    let store = TraceStore::builder().max_payload_bytes(MOST).open(file.path())?;
    store.insert(note("x".repeat(3 << 20)))?;
    store.close()?;
    let store = TraceStore::builder().max_payload_bytes(0).open(file.path())?;
    assert_eq!((store.len(), store.stats().quarantined.len()), (1, 0));
    assert!(store.insert(note(1)).is_err());
    Ok(())
}
