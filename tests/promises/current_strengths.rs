//! The SQL view `current_traces`: the strengths that a reader of the file computes are those of the store.
#![cfg(feature = "sqlite")]

use harness::{Outcome, Rng, TestDir, clock, manual_flush, minutes, seconds};
use jiff::Timestamp;
use mnemon::{DecayCurve, NewTrace, TraceId, TraceStore, TraceType};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const CURVES: [DecayCurve; 6] = [
    DecayCurve::PowerLaw,
    DecayCurve::Exponential { half_life: Duration::from_secs(3_600) },
    DecayCurve::Exponential { half_life: Duration::from_millis(1_234) },
    DecayCurve::Exponential { half_life: Duration::MAX },
    DecayCurve::Exponential { half_life: Duration::ZERO },
    DecayCurve::None,
];

/// A time of which SQLite's Julian days say each microsecond.
const EXACT: Duration = Duration::from_secs(86_400 / 128);

/// A reader with the functions that the SQLite of these tests is built without, and with a clock that stands still.
fn reader_at(file: &TestDir, now: Timestamp) -> Outcome<Connection> {
    let reader = file.reader()?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    reader.create_scalar_function("pow", 2, flags, |of| Ok(of.get::<f64>(0)?.powf(of.get(1)?)))?;
    let days = now.as_microsecond() as f64 / 86_400e6 + 2_440_587.5;
    reader.create_scalar_function("julianday", 1, flags, move |_| Ok(days))?;
    Ok(reader)
}

fn current_strengths(reader: &Connection) -> Outcome<BTreeMap<TraceId, f64>> {
    let mut statement = reader.prepare("SELECT id, current_strength FROM current_traces")?;
    let rows = statement.query_map([], |row| Ok((TraceId::from_bytes(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Of any numbers, also with strengths as of a time of their own.
fn any(random: &mut Rng, now: Timestamp) -> NewTrace {
    let kind = TraceType::ALL[random.usize(..TraceType::ALL.len())];
    let mut at = || now - seconds(random.u64(..1_000_000));
    let new = NewTrace::new(kind, json!(1)).created_at(at()).last_reinforced(at()).last_decayed(at());
    let mut number = || f64::from(random.u32(..=1_000)) / 1_000.0;
    let (strength, peak) = (number(), number());
    let new = new.strength(strength).peak_strength(peak.max(strength)).emotional_intensity(number());
    let rate = [0.0, 0.001, 0.02, number(), number() * 3.0, 1e9][random.usize(..6)];
    let new = new.base_decay_rate(rate);
    let ends = [now, now + EXACT, now + EXACT * 2, now - EXACT * 500];
    if random.bool() { new.valid_until(ends[random.usize(..4)]) } else { new }
}

fn check(store: &TraceStore, file: &TestDir, at: Timestamp) -> Outcome {
    let reader = reader_at(file, at)?;
    let found = current_strengths(&reader)?;
    assert_eq!(found.len(), store.len());
    let mut statement = reader.prepare("SELECT id FROM current_traces WHERE is_valid")?;
    let valid = statement.query_map([], |row| row.get(0).map(TraceId::from_bytes))?;
    let valid = valid.collect::<Result<BTreeSet<_>, _>>()?;
    let expected = store.iter().filter(|trace| trace.is_valid_at(at)).map(|trace| trace.id());
    assert_eq!(valid, expected.collect());
    for trace in store.iter() {
        let (found, expected) = (found[&trace.id()], store.strength_at(&trace, at));
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}, at {at}: {trace:?}");
    }
    Ok(())
}

#[test]
fn view_has_the_stores_strengths() -> Outcome {
    let mut random = Rng::with_seed(23);
    for curve in CURVES {
        let (file, clock) = (TestDir::new()?, clock());
        let store = manual_flush().clock(&clock).decay_curve(curve).open(file.path())?;
        store.insert_many((0..500).map(|_| any(&mut random, clock.now())))?;
        store.flush()?;
        for later in [0, 1, 2, 77, 128 * 400] {
            check(&store, &file, clock.now() + EXACT * later)?;
        }
        // Before some of the times of which the strengths are.
        check(&store, &file, clock.now() - EXACT * 500)?;
    }
    Ok(())
}

#[test]
fn view_is_of_the_last_curve() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    for (n, curve) in CURVES.into_iter().chain(CURVES).enumerate() {
        let store = manual_flush().clock(&clock).decay_curve(curve).open(file.path())?;
        store.insert(NewTrace::semantic(json!(n)))?;
        store.flush()?;
        check(&store, &file, clock.now() + EXACT)?;
        store.close()?;
    }
    let curve = DecayCurve::default();
    let version =
        || -> Outcome<i64> { Ok(file.reader()?.query_row("PRAGMA schema_version", [], |row| row.get(0))?) };
    manual_flush().decay_curve(curve).open(file.path())?.close()?;
    let before = version()?;
    manual_flush().decay_curve(curve).open(file.path())?.close()?;
    assert_eq!(version()?, before, "a view that is right is left alone");
    Ok(())
}

/// The clock is that of SQLite: between two readings of the host's.
#[test]
fn view_is_as_of_the_query() -> Outcome {
    let file = TestDir::new()?;
    let curve = DecayCurve::Exponential { half_life: seconds(1) };
    let store = manual_flush().decay_curve(curve).open(file.path())?;
    let id = store.insert(NewTrace::semantic(json!(1)))?;
    store.flush()?;
    let trace = store.get(id).ok_or("it is there")?;
    let reader = file.reader()?;
    reader.create_scalar_function("pow", 2, FunctionFlags::SQLITE_UTF8, |of| {
        Ok(of.get::<f64>(0)?.powf(of.get(1)?))
    })?;
    // SQLite's has milliseconds.
    let clock = Timestamp::now;
    let before = clock() - Duration::from_millis(1);
    let found = current_strengths(&reader)?[&id];
    let after = clock() + Duration::from_millis(1);
    let [most, least] = [before, after].map(|at| store.strength_at(&trace, at));
    assert!(least <= found && found <= most, "{found} is not in {least} to {most}");
    Ok(())
}

#[test]
fn file_without_view_gets_one() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let store = manual_flush().clock(&clock).open(file.path())?;
    store.insert(NewTrace::semantic(json!(1)))?;
    store.close()?;
    Connection::open(file.path())?.execute_batch("DROP VIEW current_traces")?;
    let names = || -> Outcome<i64> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'current_traces'";
        Ok(file.reader()?.query_row(sql, [], |row| row.get(0))?)
    };
    assert_eq!(mnemon::inspect(file.path())?.traces, 1);
    assert!(mnemon::verify(file.path(), mnemon::Progress::ignore)?.is_sound());
    assert_eq!(manual_flush().detached(file.path())?.len(), 1);
    assert_eq!(names()?, 0, "who only reads changes nothing");
    let store = manual_flush().clock(&clock).open(file.path())?;
    assert_eq!(names()?, 1);
    clock.advance(minutes(1));
    check(&store, &file, clock.now() + EXACT)?;
    store.close()?;
    assert!(mnemon::verify(file.path(), mnemon::Progress::ignore)?.is_sound());
    let copy = file.path().with_extension("copy");
    mnemon::backup(file.path(), &copy, mnemon::Progress::ignore)?;
    assert_eq!(TraceStore::open(&copy)?.len(), 1);
    Ok(())
}

/// A person may have given the name away: that is left as it is.
#[test]
fn what_else_has_the_name_stays() -> Outcome {
    for (mine, count) in [
        ("CREATE TABLE Current_Traces (x)", 1),
        ("CREATE INDEX current_traces ON traces (tier)", 1),
        ("CREATE VIEW CURRENT_TRACES AS SELECT load_extension('x'), * FROM elsewhere", 0),
        ("CREATE TRIGGER current_traces AFTER INSERT ON traces BEGIN SELECT RAISE(FAIL, 'no'); END", 1),
    ] {
        let file = TestDir::new()?;
        TraceStore::open(file.path())?.close()?;
        let other = Connection::open(file.path())?;
        other.execute_batch(&format!("DROP VIEW current_traces; {mine}"))?;
        let store = TraceStore::open(file.path())?;
        store.insert(NewTrace::semantic(json!(1)))?;
        store.close()?;
        let sql = "SELECT count(*) FROM sqlite_schema WHERE sql = ?1";
        let found: i64 = other.query_row(sql, [mine], |row| row.get(0))?;
        assert_eq!(found, count, "{mine}");
        assert_eq!(TraceStore::open(file.path())?.len(), 1, "{mine}");
    }
    Ok(())
}

/// The statements of the guide, on a store with what they ask for.
#[test]
fn guide_statements_find_what_they_say() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let store = manual_flush().clock(&clock).open(file.path())?;
    let [tide, moon, bar] = store.insert_many([
        NewTrace::text("tide").tags(["sea", "sky"]).strength(0.9),
        NewTrace::text("moon").tag("sky").strength(0.5),
        NewTrace::text("bar").partition("harbour").tag("sea").strength(0.1),
    ])?[..] else {
        unreachable!()
    };
    store.co_activate(tide, bar)?;
    for _ in 0..3 {
        store.co_activate(tide, moon)?;
    }
    store.flush()?;
    let reader = reader_at(&file, clock.now())?;
    let page = include_str!("../../src/guide/memory.md");
    let statements: Vec<_> =
        page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let mut answers = Vec::new();
    for statement in &statements {
        let mut statement = reader.prepare(statement)?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let value = |n| {
                Ok(match row.get_ref(n)? {
                    rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                    rusqlite::types::ValueRef::Real(number) => format!("{number:.1}"),
                    other => format!("{other:?}"),
                })
            };
            (0..columns).map(value).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        answers.push(rows.collect::<Result<Vec<_>, _>>()?);
    }
    let hex = |id: TraceId| id.to_string().replace('-', "");
    assert_eq!(
        answers,
        [
            vec![
                vec![hex(tide), r#""tide""#.to_owned(), "0.9".to_owned()],
                vec![hex(moon), r#""moon""#.to_owned(), "0.5".to_owned()],
                vec![hex(bar), r#""bar""#.to_owned(), "0.1".to_owned()],
            ],
            vec![vec!["sky".to_owned(), "2".to_owned()], vec!["sea".to_owned(), "1".to_owned()]],
            {
                let pair = |count: &str, a: TraceId, b: TraceId| {
                    let name = |id| {
                        if id == tide {
                            r#""tide""#
                        } else if id == moon {
                            r#""moon""#
                        } else {
                            r#""bar""#
                        }
                    };
                    vec![count.to_owned(), name(a.min(b)).to_owned(), name(a.max(b)).to_owned()]
                };
                vec![pair("3", tide, moon), pair("1", tide, bar)]
            },
        ]
    );
    Ok(())
}
