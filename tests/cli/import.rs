//! `mnemon import`: what it takes, what it names, and what it leaves as it was.

use crate::harbour::{at, id, with_harbour};
use crate::program::TestDir;
use harness::{Outcome, manual_flush};
use insta::assert_snapshot;
use mnemon::{Link, NewTrace, Trace, TraceStore};
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

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
        let ran = place.run(&format!("import {name} bad.jsonl --json"))?;
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
    assert_snapshot!("lines_apart", place.run("import other.db doubled.jsonl")?.shown(&place));
    assert_eq!(place.held("other.db")?, place.held("memory.db")?);
    Ok(())
}

#[test]
fn file_cut_short_is_noticed() -> Outcome {
    let place = with_harbour()?;
    let exported = place.export("memory.db")?;
    let short: Vec<&str> = exported.lines().take(3).collect();
    fs::write(place.path("short.jsonl"), short.join("\n"))?;
    assert_snapshot!("cut_short", place.run("import other.db short.jsonl")?.shown(&place));
    assert_eq!(place.held("other.db")?.0.len(), 2);

    let more = r#""traces":18446744073709551615,"links":6"#;
    let most = exported.replace(r#""traces":3,"links":2"#, more);
    fs::write(place.path("most.jsonl"), most)?;
    let ran = place.run("import most.db most.jsonl")?;
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
        let ran = place.run("import other.db a.jsonl")?;
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

    let ran = place.run("import memory.db a.jsonl --on-conflict fail")?;
    assert_snapshot!("conflict_fail", ran.shown(&place));
    assert_eq!(place.held("memory.db")?, before);

    fs::copy(place.path("memory.db"), place.path("second.db"))?;
    let ran = place.run("import memory.db a.jsonl")?;
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

    let ran = place.run("import second.db a.jsonl --on-conflict replace")?;
    assert_snapshot!("conflict_replace", ran.shown(&place));
    let mut expected = of(&before);
    expected.0.extend(exported.0);
    expected.1.extend(exported.1);
    assert_eq!(of(&place.held("second.db")?), expected, "the link to a trace of the store's own stays");
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
        let import = scope.spawn(|| place.run("import other.db a.jsonl").map_err(|error| error.to_string()));
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
fn sealed_snapshot_is_imported() -> Outcome {
    let place = with_harbour()?;
    let saved = place.run("snapshot save memory.db --dir shots --json")?.json()?;
    let path = place.path("shots").join(saved["name"].as_str().ok_or("a name")?);
    fs::copy(&path, place.path("shot.mnemon"))?;
    let report = place.run("import other.db shot.mnemon --json")?.json()?;
    assert_eq!((&report["traces"]["inserted"], &report["links"]["inserted"]), (&json!(3), &json!(2)));
    assert_eq!(place.held("other.db")?, place.held("memory.db")?);

    let sealed = fs::read_to_string(&path)?;
    let short = sealed.lines().take(4).collect::<Vec<_>>().join("\n") + "\n";
    for (spoilt, expected) in [
        (sealed.replace("tides", "winds"), "its digest does not match what it holds"),
        (short, "it was cut short"),
    ] {
        fs::write(place.path("shot.mnemon"), spoilt)?;
        let ran = place.run("import third.db shot.mnemon")?;
        assert!(ran.code == Some(1) && ran.stderr.contains(expected), "{ran:?}");
        assert!(!place.path("third.db").exists());
    }
    let ran = place.run(&format!("ingest third.db {}", path.display()))?;
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
    let ran = place.run("import other.db kept.spill --json")?;
    assert_eq!((ran.code, &ran.json()?["traces"]["inserted"]), (Some(2), &json!(1)), "{ran:?}");
    assert!(ran.stderr.contains(&format!("line 3: it removes trace {}: only the store", id(3))), "{ran:?}");
    assert!(!ran.stderr.contains("announces"), "{ran:?}");
    let ran = place.run("ingest other.db kept.spill")?;
    assert!(ran.code == Some(1) && ran.stderr.contains("is what a store could not write"), "{ran:?}");
    Ok(())
}
