//! Values of every kind and at the ends of their ranges, given to every call: nothing panics.

use harness::{Outcome, note};
use jiff::Timestamp;
use mnemon::{
    DecayCurve, ManualClock, NewTrace, Origin, Payload, Tier, TraceEdit, TraceId, TraceStore, TraceType,
    Upkeep,
};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

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

/// Its stack is that of any thread: 2 MiB, too little for 200,000 calls of the smallest function.
#[test]
fn deep_nesting_is_refused() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(note(1))?;
    let mut tally = Tally::default();
    for (depth, shape) in
        [128, 1_000, 200_000].into_iter().flat_map(|depth| [0, 1, 2].map(|shape| (depth, shape)))
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
                store.reinforce(*id)?;
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
