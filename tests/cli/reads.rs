//! What the program's reading commands show. They are run as processes, on a store made through the library; what they
//! print is compared with `tests/cli/snapshots`, which [insta](https://insta.rs) reviews and updates.
#![cfg(feature = "cli")]

use crate::program::{FACT, FAINT, FAR, LONELY, SOURCE, TIDE, TestDir, memories};
use harness::Outcome;
use mnemon::{Link, ManualClock, NewTrace, Order, TraceId, TraceStore};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// But for the last digit, which serde_json may read wrongly.
fn same(shown: &Value, number: f64) -> bool {
    shown.as_f64().is_some_and(|shown| (shown - number).abs() <= 1e-14 * number)
}

/// With as many digits as every machine computes.
fn rounded(json: &str) -> String {
    let mut short = String::with_capacity(json.len());
    let mut digits = None;
    for letter in json.chars() {
        digits = match (letter, digits) {
            ('.', _) => Some(0),
            ('0'..='9', Some(seen)) => Some(seen + 1),
            _ => None,
        };
        if digits.is_none_or(|seen| seen <= 9) {
            short.push(letter);
        }
    }
    short
}

#[test]
fn get_shows_fields_payload_and_links() -> Outcome {
    let place = TestDir::with_memories()?;
    insta::assert_snapshot!("get_80", place.shown(&format!("get memory.db {FACT}"), "80")?);
    insta::assert_snapshot!("get_120", place.shown(&format!("get memory.db {FACT}"), "120")?);
    insta::assert_snapshot!("get_plain", place.shown(&format!("get memory.db {LONELY}"), "80")?);
    insta::assert_snapshot!(
        "get_json",
        rounded(&place.shown(&format!("get memory.db {FACT} --json"), "80")?)
    );
    let object = &place.objects(&format!("get memory.db {FACT}"))?[0];
    let store = place.store()?;
    let trace = store.get(FACT.parse()?).ok_or("it is there")?;
    assert!(same(&object["strength_now"], store.strength(&trace)), "{object}");
    assert_eq!(object["payload"], trace.payload().as_value()?);
    Ok(())
}

#[test]
fn id_prefix_is_enough_if_unique() -> Outcome {
    let place = TestDir::with_memories()?;
    for begun in ["b3a0e5f2", "b3a0e5f2-5", "B3A0E5F25A0D", &TIDE.replace('-', ""), TIDE, "b3a0e5f2-"] {
        assert_eq!(place.ids(&format!("get memory.db {begun}"))?, [TIDE], "{begun}");
    }
    assert_eq!(place.ids("get memory.db 0190163d-8695-7c01-9d8e-0c6f8f1c2a92")?, [SOURCE]);
    for (named, begun) in
        [("ambiguous", "0190163d"), ("unknown", "12345678"), ("short", "b3a0e5f"), ("no_id", "b3a0e5fx")]
    {
        for command in ["get", "walk"] {
            let ran = place.run(&format!("{command} memory.db {begun}"))?;
            assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{begun}: {ran:?}");
            insta::assert_snapshot!(format!("id_{named}"), ran.stderr);
        }
    }
    // What the table shows is enough for get.
    let table = place.shown("list memory.db", "80")?;
    for id in table
        .lines()
        .skip(1)
        .filter(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
    {
        if id.len() >= 8 {
            assert_eq!(place.ids(&format!("get memory.db {id}"))?.len(), 1, "{id}");
        }
    }
    Ok(())
}

#[test]
fn similar_ids_are_shown_by_ends() -> Outcome {
    let place = TestDir::new()?;
    let store = TraceStore::open(place.path("memory.db"))?;
    // Three of one moment; the last one of all begins as the second one ends.
    let ids = [
        "019de4a1-7c00-7abc-8d00-00aa11111111",
        "019de4a1-7c00-7abc-8d00-00ab22222222",
        "019de4a1-7c00-7abc-8d00-00bb33333333",
        "22222222-7c00-7abc-8d00-00aa44444444",
    ];
    for id in ids {
        store.insert(NewTrace::identity(json!("a tide")).id(id.parse()?))?;
    }
    let all: Vec<TraceId> = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    (0..3).try_for_each(|_| store.co_activate(all[0], all[1]).map(drop))?;
    store.close()?;
    let table = place.run("list memory.db")?.stdout;
    let shown: BTreeSet<_> = table
        .lines()
        .filter(|line| line.contains("tide"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(shown, ["a11111111", "b22222222", "b33333333", "a44444444"].into(), "{table}");
    for (id, end) in ids.iter().zip(["a11111111", "B22222222", "33333333", "00aa44444444"]) {
        for end in [end, &id[19..], id] {
            assert_eq!(place.ids(&format!("get memory.db {end}"))?, [*id], "{end}");
        }
    }
    assert_eq!(place.ids("walk memory.db 11111111 --min-strength 0")?, [ids[1]]);
    let tree = place.run("walk memory.db 11111111")?.stdout;
    assert!(tree.contains("11111111  a tide") && tree.contains("└─ b22222222  a tide"), "{tree}");
    let both = place.run("get memory.db 22222222")?;
    assert!(
        both.stderr.contains("2 ids begin or end with 22222222") && both.stderr.contains(ids[3]),
        "{both:?}"
    );
    Ok(())
}

#[test]
fn every_condition_narrows_the_list() -> Outcome {
    let place = TestDir::with_memories()?;
    let cases: [(&str, &[&str]); 17] = [
        ("", &[FACT, SOURCE, TIDE, LONELY, FAINT, FAR]),
        ("--type semantic", &[FACT]),
        ("--type semantic --type sensory", &[FACT, FAINT]),
        ("--tag ben", &[TIDE, FAR]),
        ("--tag ben --tag pilot", &[FAR]),
        ("--tag be", &[]),
        ("--partition harbour", &[FACT, SOURCE]),
        ("--tier cold", &[LONELY]),
        ("--tier cold --tier hot", &[FACT, SOURCE, TIDE, LONELY, FAINT, FAR]),
        ("--min-strength 0.1", &[FACT, SOURCE, TIDE, LONELY, FAR]),
        ("--since 2026-01-01T00:30:00Z", &[TIDE, LONELY, FAINT, FAR]),
        ("--until 2026-01-01T00:29:59.999999Z", &[FACT, SOURCE]),
        ("--since 2026-01-01 --until 2026-01-01 --unresolved", &[FACT]),
        ("--until 2025-12-31", &[]),
        // Beyond the last time that there is.
        ("--since 2026-01-01T00:30:00Z --until 9999-12-31", &[TIDE, LONELY, FAINT, FAR]),
        ("--until 9999-12-31T23:59:59Z --partition harbour", &[FACT, SOURCE]),
        ("--since 9999-12-31", &[]),
    ];
    for (condition, expected) in cases {
        let found: BTreeSet<_> = place.ids(&format!("list memory.db {condition}"))?.into_iter().collect();
        assert_eq!(found, expected.iter().map(|id| id.to_string()).collect(), "{condition}");
    }
    Ok(())
}

#[test]
fn list_has_asked_order_and_limit() -> Outcome {
    let place = TestDir::with_memories()?;
    let store = place.store()?;
    for (order, by) in [("strength", Order::Strength), ("recency", Order::Recency), ("score", Order::Score)] {
        let expected: Vec<_> =
            store.query().order(by).run().iter().map(|trace| trace.id().to_string()).collect();
        assert_eq!(place.ids(&format!("list memory.db --order {order}"))?, expected, "{order}");
        assert_eq!(
            place.ids(&format!("list memory.db --order {order} --limit 2"))?,
            expected[..2],
            "{order}"
        );
        for columns in ["80", "120"] {
            let shown = place.shown(&format!("list memory.db --order {order}"), columns)?;
            insta::assert_snapshot!(format!("list_{order}_{columns}"), shown);
        }
    }
    for object in place.objects("list memory.db --order score")? {
        let id: TraceId = object["id"].as_str().ok_or("no id")?.parse()?;
        assert!(same(&object["score"], store.rank([id])[0].score), "{object}");
    }
    insta::assert_snapshot!("list_full", place.shown("list memory.db --limit 2 --full", "80")?);
    insta::assert_snapshot!("list_some", place.shown("list memory.db --limit 1 --tag ben", "80")?);
    insta::assert_snapshot!("list_none", place.shown("list memory.db --tag nobody", "80")?);
    insta::assert_snapshot!(
        "list_json",
        rounded(&place.shown("list memory.db --limit 2 --order score --json", "80")?)
    );
    Ok(())
}

/// A score of a year later is 0 as a number.
#[test]
fn list_tells_old_scores_apart() -> Outcome {
    let place = TestDir::with_memories()?;
    let later = jiff::Timestamp::constant(1_798_761_600, 0);
    let store = TraceStore::builder().clock(&ManualClock::at(later)).detached(place.path("memory.db"))?;
    let command = "list memory.db --order score";
    let lines = place.run(&format!("{command} --at {later} --json"))?.stdout;
    let objects: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let ids: Vec<TraceId> = objects
        .iter()
        .map(|object| Ok(object["id"].as_str().ok_or("no id")?.parse()?))
        .collect::<Outcome<_>>()?;
    let shown = place.run(&format!("{command} --at {later}"))?.stdout;
    let small: BTreeSet<_> = shown.split_whitespace().filter(|word| word.contains("e-2")).collect();
    assert_eq!((small.len(), ids.len()), (6, 6), "{shown}");
    assert_eq!(store.rank(ids.clone()).len(), ids.len());
    for object in &objects {
        assert_eq!(object["score"], 0.0, "{object}");
        assert!(object["log_score"].as_f64().is_some_and(|log| log < -8_000.0), "{object}");
    }
    let logs: Vec<_> = objects.iter().filter_map(|object| object["log_score"].as_f64()).collect();
    assert!(logs.is_sorted_by(|a, b| a > b), "{logs:?}");
    Ok(())
}

#[test]
fn walk_shows_a_tree_of_associations() -> Outcome {
    let place = TestDir::with_memories()?;
    for columns in ["80", "120"] {
        insta::assert_snapshot!(
            format!("walk_{columns}"),
            place.shown(&format!("walk memory.db {FACT}"), columns)?
        );
    }
    insta::assert_snapshot!(
        "walk_middle",
        place.shown(&format!("walk memory.db {SOURCE} --min-strength 0"), "80")?
    );
    insta::assert_snapshot!("walk_limit", place.shown(&format!("walk memory.db {FACT} --limit 1"), "80")?);
    insta::assert_snapshot!("walk_nothing", place.shown(&format!("walk memory.db {LONELY}"), "80")?);
    let store = place.store()?;
    for (arguments, hops, least) in
        [("", 12, 0.1), ("--hops 2", 2, 0.1), ("--min-strength 0", 12, 0.0), ("--hops 0", 0, 0.1)]
    {
        let objects = place.objects(&format!("walk memory.db {FACT} {arguments}"))?;
        let mut walk = store.walk(FACT.parse()?, hops, least);
        let steps: Vec<_> = walk.by_ref().collect();
        assert_eq!(objects.len(), steps.len(), "{arguments}");
        for (object, step) in objects.iter().zip(steps) {
            let path: Vec<_> = walk.path(step.trace.id()).iter().map(|id| id.to_string()).collect();
            let link = store.link(step.from, step.trace.id()).ok_or("there is a link")?;
            assert_eq!(
                (&object["depth"], &object["path"]),
                (&json!(step.depth), &json!(path)),
                "{arguments}"
            );
            assert_eq!(
                (&object["id"], &object["count"]),
                (&json!(step.trace.id().to_string()), &json!(link.count()))
            );
        }
    }
    Ok(())
}

/// Where a path for each step would not fit: half a ring of 20,000 is 10,000 ids long.
#[cfg(target_os = "linux")]
#[test]
fn walk_memory_is_of_reached_traces() -> Outcome {
    const RING: u32 = 14_000;
    let place = TestDir::new()?;
    let store = TraceStore::open(place.path("memory.db"))?;
    let ring = store.insert_many((0..RING).map(|n| NewTrace::identity(json!(n)).base_decay_rate(0.0)))?;
    let at = jiff::Timestamp::UNIX_EPOCH;
    for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
        store.put_link(Link::new((*a, *b), 3, at, at)?)?;
    }
    store.close()?;
    for (arguments, lines) in [
        ("--limit 3", 6),
        ("--limit 3 --json", 3),
        ("--limit 14000", 14_002),
        ("--limit 14000 --full", 14_002),
    ] {
        let walk = format!("walk memory.db {} --hops 14000 {arguments}", ring[0]);
        let limited = format!("ulimit -v 1000000; exec {} {walk}", env!("CARGO_BIN_EXE_mnemon"));
        let ran =
            std::process::Command::new("sh").args(["-c", &limited]).current_dir(place.path("")).output()?;
        assert_eq!((ran.status.code(), &*String::from_utf8(ran.stderr)?), (Some(0), ""), "{arguments}");
        assert_eq!(String::from_utf8(ran.stdout)?.lines().count(), lines, "{arguments}");
    }
    Ok(())
}

#[test]
fn score_parts_make_the_score() -> Outcome {
    let place = TestDir::with_memories()?;
    let objects = place.objects("recall memory.db pilot bar")?;
    let later = place.run("recall memory.db pilot bar --json --at 2036-11-24")?.stdout;
    let later: Vec<Value> = later.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut associations = BTreeSet::new();
    for object in objects.iter().chain(&later) {
        let part = |name: &str| object[name].as_f64().ok_or_else(|| format!("no {name} in {object}"));
        let weight = 0.1 * part("strength_now")? + 0.05 * part("recency")? + 0.05 * (part("emotion")? - 1.0);
        let score = part("relevance")? * (1.0 + weight + part("association")? - 1.0);
        assert!((score - part("score")?).abs() < 1e-9, "{object}");
        associations.insert(object["association"].to_string());
    }
    assert_eq!(
        associations.len(),
        2,
        "some are associated with others found, some are not: {associations:?}"
    );
    let ids = |objects: &[Value]| objects.iter().map(|object| object["id"].to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&objects)[0], ids(&later)[0], "what answers best does so years later");
    Ok(())
}

#[test]
fn recall_finds_words_and_phrases() -> Outcome {
    let place = TestDir::with_memories()?;
    let cases: [(&str, &[&str]); 12] = [
        ("pilot", &[FACT, SOURCE, FAR]),
        ("PILOTS", &[FACT, SOURCE, FAR]),
        ("pilotage", &[FACT]),
        ("Day-1", &[FACT, SOURCE]),
        ("pilo", &[]),
        ("ilot", &[]),
        ("subject", &[]),
        ("1.10", &[FACT, SOURCE]),
        ("潮", &[TIDE]),
        ("pilot nobody", &[FACT, SOURCE, FAR]),
        ("what about the pilot?", &[FACT, SOURCE, FAR]),
        ("pilot --partition nowhere", &[]),
    ];
    for (words, expected) in cases {
        let found: BTreeSet<_> = place.ids(&format!("recall memory.db {words}"))?.into_iter().collect();
        assert_eq!(found, expected.iter().map(|id| id.to_string()).collect(), "{words}");
    }
    assert_eq!(
        place.objects("recall memory.db PILOTAGE bar soundings")?[0]["matched_tags"],
        json!(["Pilotage", "bar"])
    );
    assert_eq!(place.ids("recall memory.db pilot --limit 1")?.len(), 1);
    // An argument of several words is a phrase, if some trace has it.
    let phrase = |text: &str| -> Outcome<usize> {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_mnemon"));
        let ran =
            program.args(["recall", "memory.db", text, "--json"]).current_dir(place.path("")).output()?;
        Ok(String::from_utf8(ran.stdout)?.lines().count())
    };
    let words = place.ids("recall memory.db the pilot")?.len();
    assert_eq!((phrase("pilot nobody")?, words), (3, 3));
    for columns in ["80", "120"] {
        insta::assert_snapshot!(format!("recall_{columns}"), place.shown("recall memory.db pilot", columns)?);
    }
    insta::assert_snapshot!("recall_far_in_the_text", place.shown("recall memory.db soundings", "80")?);
    insta::assert_snapshot!("recall_full", place.shown("recall memory.db soundings --full", "80")?);
    insta::assert_snapshot!("recall_nothing", place.shown("recall memory.db nobody", "80")?);
    let later = place.run("recall memory.db pilot --limit 1 --at 2027-01-01")?;
    insta::assert_snapshot!("recall_long_ago", later.stdout);
    Ok(())
}

#[test]
fn store_in_use_reads_last_flush() -> Outcome {
    let place = TestDir::new()?;
    let store = memories(&place)?;
    let late = store.insert(NewTrace::semantic(json!("not flushed: pilot")))?;
    assert_eq!(place.ids("list memory.db")?.len(), 6);
    assert_eq!(place.ids("recall memory.db pilot")?.len(), 3);
    assert_eq!(place.ids(&format!("walk memory.db {FACT}"))?.len(), 3);
    assert_eq!(place.run(&format!("get memory.db {late}"))?.code, Some(1));
    store.close()?;
    assert_eq!(place.ids(&format!("get memory.db {late}"))?.len(), 1);
    Ok(())
}

#[test]
fn recall_answers_lines() -> Outcome {
    let place = TestDir::with_memories()?;
    let at = "2026-11-24T09:00:00Z";
    let ran = place.run_with(
        &format!("recall memory.db --lines --limit 2 --at {at}"),
        "who is the pilot?\n\nnobody\n",
    )?;
    let answers: Vec<Value> = ran.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let asked: Vec<_> = answers.iter().map(|answer| answer["question"].as_str().unwrap_or("none")).collect();
    assert_eq!(asked, ["who is the pilot?", "", "nobody"], "{ran:?}");
    let store = TraceStore::builder()
        .clock(&ManualClock::at(at.parse()?))
        .text_index(mnemon::TextIndex::english())
        .detached(place.path("memory.db"))?;
    let expected: Vec<_> = store.recall("who is the pilot?").limit(2).run()?;
    let expected: Vec<_> = expected
        .iter()
        .map(|found| json!({"id": found.trace.id().to_string(), "score": found.score}))
        .collect();
    assert_eq!(answers[0]["found"], json!(expected));
    assert_eq!((&answers[1]["found"], &answers[2]["found"]), (&json!([]), &json!([])));
    Ok(())
}
