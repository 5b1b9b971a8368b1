//! The program moves a store without loss: export and import, backup, verify and snapshots. It is run as a process;
//! what it prints is compared with `tests/cli/snapshots`, which [insta](https://insta.rs) reviews and updates.
#![cfg(feature = "cli")]

use assert_cmd::Command;
use harness::{Outcome, by_id, manual_flush};
use insta::assert_snapshot;
use jiff::Timestamp;
use mnemon::{Link, ManualClock, NewTrace, Origin, Payload, Tier, Trace, TraceId, TraceStore, TraceType};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A folder with stores and files.
struct TestDir(TempDir);

/// What a run of the program ended with.
#[derive(Debug)]
struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl TestDir {
    fn new() -> Outcome<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &str) -> Outcome<Output> {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &str, stdin: &str) -> Outcome<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
        let output =
            command.current_dir(self.0.path()).args(arguments.split(' ')).write_stdin(stdin).output()?;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// What it prints, when all is well.
    fn output(&self, arguments: &str) -> Outcome<String> {
        let ran = self.run(arguments)?;
        match (ran.code, ran.stderr.is_empty()) {
            (Some(0), true) => Ok(ran.stdout),
            _ => Err(format!("{arguments}: {ran:?}").into()),
        }
    }

    fn export(&self, name: &str) -> Outcome<String> {
        self.output(&format!("export {name}"))
    }

    fn names(&self) -> Outcome<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.0.path())? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// What a store's file holds.
    fn held(&self, name: &str) -> Outcome<(Vec<Arc<Trace>>, Vec<Link>)> {
        held(&self.path(name))
    }
}

impl Output {
    fn json(&self) -> Outcome<Value> {
        let last = self.stdout.lines().last().ok_or_else(|| format!("nothing on stdout: {self:?}"))?;
        Ok(serde_json::from_str(last).map_err(|error| format!("{error}: {self:?}"))?)
    }

    /// All of it, for a person to look at: exit code, both outputs, and no figure that differs each time.
    fn shown(&self, place: &TestDir) -> String {
        let tidy = |text: &str| {
            let text = text.replace(&*place.0.path().to_string_lossy(), "[folder]");
            text.lines().map(without_time).collect::<Vec<_>>().join("\n")
        };
        let code = self.code.map_or("none".to_owned(), |code| code.to_string());
        format!("exit code {code}\n--- out\n{}\n--- err\n{}", tidy(&self.stdout), tidy(&self.stderr))
    }
}

fn without_time(line: &str) -> String {
    match line.trim_start().strip_prefix("seconds") {
        Some(rest) => line.replace(rest.trim(), "[time]"),
        None => line.to_owned(),
    }
}

fn held(path: &Path) -> Outcome<(Vec<Arc<Trace>>, Vec<Link>)> {
    let store = TraceStore::builder().detached(path)?;
    assert!(store.stats().quarantined.is_empty());
    let traces = by_id(&store);
    let links = traces.iter().flat_map(|trace| {
        let id = trace.id();
        store.links(id).into_iter().filter(move |link| link.ends().0 == id)
    });
    let links = links.collect();
    Ok((traces, links))
}

fn id(n: u8) -> TraceId {
    TraceId::from_bytes([n; 16])
}

fn at(text: &str) -> Outcome<Timestamp> {
    Ok(text.parse()?)
}

/// Three traces and two links, the same each time.
fn harbour(path: &Path) -> Outcome<TraceStore> {
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

fn with_harbour() -> Outcome<TestDir> {
    let place = TestDir::new()?;
    harbour(&place.path("memory.db"))?.close()?;
    Ok(place)
}

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
        let told = place.run("import a.jsonl --db other.db --json")?.json()?;
        assert_eq!(told["traces"][field], expected, "{told}");
        assert_eq!(place.export("other.db")?, exported);
    }
    Ok(())
}

#[test]
fn export_and_import_report_counts() -> Outcome {
    let place = with_harbour()?;
    assert_snapshot!("export_told", place.run("export memory.db a.jsonl --json")?.shown(&place));
    assert_snapshot!("import_told", place.run("import a.jsonl --db other.db")?.shown(&place));
    let again = place.run("import a.jsonl --db other.db --json")?;
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
        let ran = place.run(&format!("import a.jsonl --db memory.db --on-conflict {on_conflict} --json"))?;
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
            place.output("import a.jsonl --db other.db")?;
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
fn bad_line_is_named_rest_stored() -> Outcome {
    let place = with_harbour()?;
    let exported = place.export("memory.db")?;
    let lines: Vec<&str> = exported.lines().collect();
    let cases = [
        (2, r#""strength":0.5"#, r#""strength":1.5"#),
        (2, r#""strength":0.5,"#, ""),
        (2, r#""type":"semantic""#, r#""type":"dream""#),
        (2, r#""partition":"harbour""#, r#""partition":"""#),
        (2, r#""tags":["sea","tide"]"#, r#""tags":"sea""#),
        (2, r#""created_at":"2026-03-03T12:00:00.000000Z""#, r#""created_at":"noon""#),
        (2, r#""children":[]"#, r#""children":["the second"]"#),
        (2, r#""emotional_valence":0.0"#, r#""emotional_valence":-1.5"#),
        (2, r#""revision":1"#, r#""revision":0"#),
        (2, r#""kind":"trace""#, r#""kind":"memory""#),
        (2, r#""kind":"trace","#, ""),
        (2, r#""kind":"trace""#, r#""kind":"link""#),
        (2, r#""pinned":false"#, r#""pinned":false,"colour":"red""#),
        (2, r#""payload":{"fact":"tides turn twice a day"}"#, r#""payload":{"fact":"\ud800"}"#),
        (3, r#""said": "café 日本", "n": 12345678901234567890,   "n": 1.0 },"#, r#""said": "tea" },"#),
        (3, "[0.1,-1.5,", "[1e999,-1.5,"),
        (5, r#""count":3"#, r#""count":0"#),
        (5, r#""b":"02020202-0202-0202-0202-020202020202""#, r#""b":"09090909-0909-0909-0909-090909090909""#),
        (5, r#""b":"02020202-0202-0202-0202-020202020202""#, r#""b":"01010101-0101-0101-0101-010101010101""#),
    ];
    let mut told = Vec::new();
    for (line, from, to) in cases {
        let mut lines = lines.clone();
        let changed = lines[line - 1].replace(from, to);
        assert_ne!(changed, lines[line - 1], "a case that is none");
        lines[line - 1] = &changed;
        fs::write(place.path("bad.jsonl"), lines.join("\n"))?;
        let name = format!("other-{}.db", told.len());
        let ran = place.run(&format!("import bad.jsonl --db {name} --json"))?;
        assert_eq!(ran.code, Some(2), "{to}: {ran:?}");
        let report = ran.json()?;
        assert!(report["bad"].as_u64() >= Some(1), "{to}: {report}");
        let stored = report["traces"]["inserted"].as_u64();
        assert_eq!(stored, Some(if line < 5 { 2 } else { 3 }), "{to}: {report}");
        assert!(ran.stderr.starts_with(&format!("line {line}: ")), "{to}: {}", ran.stderr);
        told.push(format!("{to}\n    {}", ran.stderr.lines().next().unwrap_or_default()));
    }
    assert_snapshot!("bad_lines", told.join("\n"));
    Ok(())
}

#[test]
fn contradicting_lines_are_bad() -> Outcome {
    let place = with_harbour()?;
    let exported = place.export("memory.db")?;
    let lines: Vec<&str> = exported.lines().collect();
    let mut doubled: Vec<&str> = lines.clone();
    doubled.extend([lines[1], lines[4], lines[0], "nonsense", "[1]"]);
    fs::write(place.path("doubled.jsonl"), doubled.join("\n"))?;
    assert_snapshot!("lines_apart", place.run("import doubled.jsonl --db other.db")?.shown(&place));
    assert_eq!(place.held("other.db")?, place.held("memory.db")?);
    Ok(())
}

#[test]
fn file_cut_short_is_noticed() -> Outcome {
    let place = with_harbour()?;
    let exported = place.export("memory.db")?;
    let short: Vec<&str> = exported.lines().take(3).collect();
    fs::write(place.path("short.jsonl"), short.join("\n"))?;
    assert_snapshot!("cut_short", place.run("import short.jsonl --db other.db")?.shown(&place));
    assert_eq!(place.held("other.db")?.0.len(), 2);

    let more = r#""traces":18446744073709551615,"links":6"#;
    let most = exported.replace(r#""traces":3,"links":2"#, more);
    fs::write(place.path("most.jsonl"), most)?;
    let ran = place.run("import most.jsonl --db most.db")?;
    assert!(
        ran.code == Some(2) && ran.stderr.contains("announces 18,446,744,073,709,551,615 lines"),
        "{ran:?}"
    );
    assert_eq!(place.held("most.db")?.0.len(), 3);
    Ok(())
}

#[test]
fn foreign_file_makes_no_store() -> Outcome {
    let place = with_harbour()?;
    let exported = place.export("memory.db")?;
    let headless: String = exported.lines().skip(1).map(|line| format!("{line}\n")).collect();
    let cases = [
        (String::new(), "the archive is empty"),
        ("\n\n".to_owned(), "the archive is empty"),
        (
            headless,
            "a.jsonl can't be imported: the archive does not begin with a header: give the path of an export",
        ),
        (r#"{"type": "semantic", "payload": 1}"#.to_owned(), "; `mnemon ingest` takes records"),
        ("SQLite format 3\0 ...".to_owned(), "is an SQLite database: "),
        (
            exported.replacen(r#""version":1"#, r#""version":2,"era":"new""#, 1),
            "the archive has archive version 2, and this version of mnemon knows up to 1: use a newer one",
        ),
    ];
    for (content, expected) in cases {
        fs::write(place.path("a.jsonl"), content)?;
        let ran = place.run("import a.jsonl --db other.db")?;
        assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(expected), "{}", ran.stderr);
        assert!(!place.path("other.db").exists());
    }
    Ok(())
}

#[test]
fn conflict_is_skipped_replaced_or_fails() -> Outcome {
    let place = with_harbour()?;
    place.output("export memory.db a.jsonl")?;
    let exported = place.held("memory.db")?;
    let store = TraceStore::open(place.path("memory.db"))?;
    store.update(id(1), |trace| trace.payload(json!("another fact")))?;
    store.remove(id(3))?;
    store.insert(NewTrace::sensory(json!("its own")).id(id(7)))?;
    store.put_link(Link::new(
        (id(1), id(2)),
        9,
        at("2026-01-01T00:00:00Z")?,
        at("2026-01-02T00:00:00Z")?,
    )?)?;
    store.co_activate(id(1), id(7))?;
    store.close()?;
    let before = place.held("memory.db")?;

    let ran = place.run("import a.jsonl --db memory.db --on-conflict fail")?;
    assert_snapshot!("conflict_fail", ran.shown(&place));
    assert_eq!(place.held("memory.db")?, before);

    fs::copy(place.path("memory.db"), place.path("second.db"))?;
    let ran = place.run("import a.jsonl --db memory.db")?;
    assert_snapshot!("conflict_skip", ran.shown(&place));
    let skipped = place.held("memory.db")?;
    let of = |held: &(Vec<Arc<Trace>>, Vec<Link>)| -> (BTreeMap<_, _>, BTreeMap<_, _>) {
        let traces = held.0.iter().map(|trace| (trace.id(), trace.clone())).collect();
        (traces, held.1.iter().map(|link| (link.ends(), *link)).collect())
    };
    let (mut expected, exported) = (of(&before), of(&exported));
    expected.0.insert(id(3), exported.0[&id(3)].clone());
    expected.1.insert((id(1), id(3)), exported.1[&(id(1), id(3))]);
    assert_eq!(of(&skipped), expected);

    let ran = place.run("import a.jsonl --db second.db --on-conflict replace")?;
    assert_snapshot!("conflict_replace", ran.shown(&place));
    let mut expected = of(&before);
    expected.0.extend(exported.0);
    expected.1.extend(exported.1);
    assert_eq!(of(&place.held("second.db")?), expected, "the link to a trace of the store's own stays");
    Ok(())
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
    let ran = place.run_with("import - --db memory.db", &exported)?;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains(&format!("memory.db is in use by process {}", std::process::id())),
        "{ran:?}"
    );
    assert_eq!(place.run_with("import - --db other.db", &exported)?.code, Some(0));
    store.close()?;
    Ok(())
}

#[test]
fn readers_see_an_import_whole() -> Outcome {
    const TRACES: u64 = 12_000;
    let place = TestDir::new()?;
    let store = manual_flush().open(place.path("memory.db"))?;
    store.insert_many((0..TRACES).map(harness::note))?;
    store.close()?;
    place.output("export memory.db a.jsonl")?;
    std::thread::scope(|scope| -> Outcome {
        let import =
            scope.spawn(|| place.run("import a.jsonl --db other.db").map_err(|error| error.to_string()));
        while !import.is_finished() {
            // Until it is made it is not there, or not yet a store.
            if let Ok(seen) = mnemon::inspect(place.path("other.db")) {
                assert!([0, TRACES].contains(&seen.traces), "{} traces", seen.traces);
            }
        }
        let ran = import.join().map_err(|_| "the import panicked")??;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        Ok(())
    })?;
    assert_eq!(mnemon::inspect(place.path("other.db"))?.traces, TRACES);
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
    assert_eq!(place.run("import a.jsonl --db other.db")?.code, Some(0));
    Ok(())
}

#[test]
fn backup_reports_and_never_overwrites() -> Outcome {
    let place = TestDir::new()?;
    let store = harbour(&place.path("memory.db"))?;
    let ran = place.run("backup memory.db monday.db --json")?;
    // SQLite's own layout decides how long the file is.
    let bytes = fs::metadata(place.path("monday.db"))?.len();
    assert_eq!(ran.json()?["bytes"], bytes);
    assert_snapshot!("backup", ran.shown(&place));
    assert_snapshot!("backup_refused", place.run("backup memory.db monday.db")?.shown(&place));
    assert_eq!(place.held("monday.db")?, place.held("memory.db")?);
    store.close()?;

    Connection::open(place.path("memory.db"))?.execute("UPDATE traces SET pinned = 7 WHERE pinned", [])?;
    assert_snapshot!("backup_unsound_row", place.run("backup memory.db tuesday.db")?.shown(&place));
    Ok(())
}

#[test]
fn verify_exits_with_its_verdict() -> Outcome {
    let place = with_harbour()?;
    assert_snapshot!("verify_sound", place.run("verify memory.db")?.shown(&place));
    assert_snapshot!("verify_sound_json", place.run("verify memory.db --json")?.shown(&place));
    Connection::open(place.path("memory.db"))?.execute_batch(
        "UPDATE traces SET payload = '{' WHERE id = x'01010101010101010101010101010101';
         DELETE FROM traces WHERE id = x'02020202020202020202020202020202';",
    )?;
    fs::write(place.path("memory.db.spill"), "left")?;
    let row = |text: String| -> Outcome<String> {
        // Which row a trace has is the store's choice.
        let store = Connection::open(place.path("memory.db"))?;
        let sql = "SELECT row FROM traces WHERE id = x'01010101010101010101010101010101'";
        let row: i64 = store.query_row(sql, [], |row| row.get(0))?;
        Ok(text
            .replace(&format!("row {row}"), "row [row]")
            .replace(&format!("\"row\":{row}"), "\"row\":[row]"))
    };
    assert_snapshot!("verify_findings", row(place.run("verify memory.db")?.shown(&place))?);
    assert_snapshot!("verify_findings_json", row(place.run("verify memory.db --json")?.shown(&place))?);
    assert_snapshot!("verify_nowhere", place.run("verify nowhere.db")?.shown(&place));
    Ok(())
}

#[test]
fn snapshots_save_list_restore_prune() -> Outcome {
    let place = TestDir::new()?;
    let store = harbour(&place.path("memory.db"))?;
    assert_eq!(place.output("snapshot list --dir shots")?, "there is no snapshot in shots\n");
    let saved = place.run("snapshot save memory.db --dir shots --json")?;
    let report = saved.json()?;
    assert_eq!(
        (saved.code, &report["traces"], &report["links"]),
        (Some(0), &json!(3), &json!(2)),
        "{saved:?}"
    );
    store.insert(NewTrace::sensory(json!("later")).id(id(8)))?;
    store.close()?;
    let first = report["name"].as_str().ok_or("a name")?.to_owned();
    let later = place.run("snapshot save memory.db --dir shots --json")?.json()?;

    let list = place.output("snapshot list --dir shots --json")?;
    let names: Vec<Value> = list.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let names: Vec<_> = names.iter().map(|info| &info["name"]).collect();
    assert_eq!(names, [&later["name"], &json!(first)], "the newest first");

    // By name the older one, else the newest.
    let restored = place.run(&format!("snapshot restore --db memory.db --dir shots --name {first}"))?;
    assert_snapshot!("restored", restored.shown(&place).replace(&first, "[name]"));
    assert_eq!(place.held("memory.db")?.0.len(), 3);
    let restored = place.run("snapshot restore --db fresh.db --dir shots --json")?;
    assert_eq!(restored.json()?["traces"], 4, "{restored:?}");
    assert_eq!(place.held("fresh.db")?.0.len(), 4);

    fs::write(place.path("shots").join("snapshot-2020-01-01T00-00-00.000000Z.mnemon"), "no snapshot")?;
    let list = place.run("snapshot list --dir shots")?;
    let mut shown = list.shown(&place);
    for name in [&report["name"], &later["name"]] {
        shown =
            shown.replace(name.as_str().unwrap_or_default(), "snapshot-[the time it was saved at].mnemon");
    }
    assert_snapshot!("snapshot_list", shown);

    let pruned = place.run("snapshot prune --dir shots --keep 1 --json")?;
    assert_eq!(pruned.json()?, json!({"deleted": [first], "kept": 1}), "{pruned:?}");
    assert_snapshot!("pruned", pruned.shown(&place).replace(&first, "[name]"));
    Ok(())
}

#[test]
fn refused_snapshot_changes_and_makes_nothing() -> Outcome {
    let place = with_harbour()?;
    let saved = place.run("snapshot save memory.db --dir shots --json")?.json()?;
    let name = saved["name"].as_str().ok_or("a name")?;
    let path = place.path("shots").join(name);
    let spoilt = fs::read_to_string(&path)?.replace("tides", "winds");
    fs::write(&path, spoilt)?;
    let before = place.held("memory.db")?;
    for db in ["memory.db", "fresh.db"] {
        let ran = place.run(&format!("snapshot restore --db {db} --dir shots"))?;
        assert!(ran.code == Some(1) && ran.stderr.contains("is damaged"), "{ran:?}");
    }
    assert_eq!(place.held("memory.db")?, before);
    assert!(!place.path("fresh.db").exists());
    let ran = place.run("snapshot restore --db memory.db --dir nowhere")?;
    assert!(
        ran.code == Some(1) && ran.stderr.contains("there is no snapshot in nowhere: save one first"),
        "{ran:?}"
    );
    Ok(())
}

#[test]
fn sealed_snapshot_is_imported() -> Outcome {
    let place = with_harbour()?;
    let saved = place.run("snapshot save memory.db --dir shots --json")?.json()?;
    let path = place.path("shots").join(saved["name"].as_str().ok_or("a name")?);
    fs::copy(&path, place.path("shot.mnemon"))?;
    let report = place.run("import shot.mnemon --db other.db --json")?.json()?;
    assert_eq!((&report["traces"]["inserted"], &report["links"]["inserted"]), (&json!(3), &json!(2)));
    assert_eq!(place.held("other.db")?, place.held("memory.db")?);

    let sealed = fs::read_to_string(&path)?;
    let short = sealed.lines().take(4).collect::<Vec<_>>().join("\n") + "\n";
    for (spoilt, expected) in [
        (sealed.replace("tides", "winds"), "its digest does not match what it holds"),
        (short, "it was cut short"),
    ] {
        fs::write(place.path("shot.mnemon"), spoilt)?;
        let ran = place.run("import shot.mnemon --db third.db")?;
        assert!(ran.code == Some(1) && ran.stderr.contains(expected), "{ran:?}");
        assert!(!place.path("third.db").exists());
    }
    let ran = place.run(&format!("ingest {} --db third.db", path.display()))?;
    assert!(
        ran.code == Some(1) && ran.stderr.contains("is a snapshot: `mnemon snapshot restore`"),
        "{ran:?}"
    );
    Ok(())
}

/// As one that a store has kept, for its file did not take every row.
#[test]
fn spill_is_imported_without_removals() -> Outcome {
    let place = with_harbour()?;
    let path = place.path("memory.db");
    let store = manual_flush().open(&path)?;
    let lock = Connection::open(&path)?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    store.update(id(1), |trace| trace.confidence(0.9))?;
    store.remove(id(3))?;
    fs::rename(store.spill()?.path, place.path("kept.spill"))?;
    lock.execute_batch("ROLLBACK")?;
    store.close()?;
    let ran = place.run("import kept.spill --db other.db --json")?;
    assert_eq!((ran.code, &ran.json()?["traces"]["inserted"]), (Some(2), &json!(1)), "{ran:?}");
    assert!(ran.stderr.contains(&format!("line 3: it removes trace {}: only the store", id(3))), "{ran:?}");
    assert!(!ran.stderr.contains("announces"), "{ran:?}");
    let ran = place.run("ingest kept.spill --db other.db")?;
    assert!(ran.code == Some(1) && ran.stderr.contains("is what a store could not write"), "{ran:?}");
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn folder_name_need_not_be_text() -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    let place = with_harbour()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
    command.current_dir(place.path("")).args(["snapshot", "save", "memory.db", "--json", "--dir"]);
    command.arg(std::ffi::OsStr::from_bytes(b"shots-\xff")).assert().success();
    Ok(())
}

#[test]
fn spill_beside_store_is_named() -> Outcome {
    let place = with_harbour()?;
    fs::write(place.path("memory.db.spill"), "left")?;
    for command in [
        "export memory.db a.jsonl",
        "snapshot save memory.db --dir shots",
        "export-legion a.db --db memory.db",
    ] {
        let ran = place.run(command)?;
        assert!(ran.stderr.contains("memory.db.spill holds what the store could not write"), "{ran:?}");
    }
    Ok(())
}

#[test]
fn key_refuses_what_it_never_signed() -> Outcome {
    let place = with_harbour()?;
    fs::write(place.path("raw.key"), [7; 32])?;
    fs::write(place.path("hex.key"), "07".repeat(32) + "\n")?;
    fs::write(place.path("other.key"), [8; 32])?;
    fs::write(place.path("no.key"), "secret")?;
    place.output("snapshot save memory.db --dir signed --key raw.key")?;
    place.output("snapshot save memory.db --dir unsigned")?;
    place.output("snapshot restore --db memory.db --dir signed --key hex.key")?;
    place.output("snapshot restore --db memory.db --dir signed")?;
    for (folder, key, expected) in [
        ("signed", "other.key", "use a file that the required key has signed"),
        ("unsigned", "raw.key", "use a file that the required key has signed"),
        ("signed", "no.key", "no.key is no key: give 32 bytes"),
        ("signed", "nowhere.key", "nowhere.key can't be read"),
    ] {
        let ran = place.run(&format!("snapshot restore --db memory.db --dir {folder} --key {key}"))?;
        assert!(ran.code == Some(1) && ran.stderr.contains(expected), "{ran:?}");
    }
    Ok(())
}

#[test]
fn help_names_exit_codes() -> Outcome {
    let place = TestDir::new()?;
    let commands = ["export", "import", "backup", "verify"].map(str::to_owned).into_iter();
    let snapshots = ["save", "restore", "list", "prune"].map(|command| format!("snapshot {command}"));
    for command in commands.chain(snapshots) {
        for help in ["-h", "--help"] {
            let shown = place.output(&format!("{command} {help}"))?;
            assert!(shown.contains("Exit codes: 0 "), "{command} {help}: {shown}");
        }
    }
    Ok(())
}
