//! A file keeps former contents of its traces, if it is told to: each cut has a row together with its history.
#![cfg(feature = "sqlite")]

use harness::{Outcome, Rng, TestDir, manual_flush, note, rounds};
use mnemon::{ErrorKind, NewTrace, Progress, Trace, TraceId, TraceStore, TraceType, verify};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;

fn payloads(history: &[Trace]) -> Vec<String> {
    history.iter().map(|trace| trace.payload().to_string()).collect()
}

/// Number of entries; -1 if the file has no table for them.
fn entries(file: &TestDir) -> Outcome<i64> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name GLOB 'trace_history*'";
    if file.reader()?.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(-1);
    }
    Ok(file.reader()?.query_row("SELECT count(*) FROM trace_history", [], |row| row.get(0))?)
}

/// Sets the payload, and flushes.
fn say(store: &TraceStore, id: TraceId, what: u64) -> Outcome {
    store.update(id, |trace| trace.payload(json!(what)))?;
    store.flush()?;
    Ok(())
}

#[test]
fn last_contents_are_kept_newest_first() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().keep_history(3).open(file.path())?;
    let id = store.insert(NewTrace::semantic(json!(0)).tag("a").embedding([1.0]))?;
    store.flush()?;
    assert!(store.history(id)?.is_empty());
    let first = harness::held(&store, id)?;
    say(&store, id, 1)?;
    assert_eq!(store.history(id)?, [(*first).clone()]);
    // Numbers alone, and what no flush has seen.
    store.reinforce(id)?;
    store.flush()?;
    store.update(id, |trace| trace.tag("never stored"))?;
    store.update(id, |trace| trace.untag("never stored"))?;
    store.flush()?;
    assert_eq!(entries(&file)?, 1);
    for what in 2..6 {
        say(&store, id, what)?;
    }
    assert_eq!(payloads(&store.history(id)?), ["4", "3", "2"]);
    // Any part of the content counts.
    let until = "2027-01-01T00:00:00Z".parse::<jiff::Timestamp>()?;
    store.update(id, |trace| trace.no_embedding())?;
    store.flush()?;
    store.update(id, |trace| trace.valid_until(until))?;
    store.flush()?;
    store.update(id, |trace| trace.tag("b"))?;
    store.flush()?;
    let history = store.history(id)?;
    assert_eq!(history.iter().map(Trace::valid_until).collect::<Vec<_>>(), [Some(until), None, None]);
    assert_eq!(history[2].embedding(), Some(&[1.0][..]));
    assert_eq!(store.in_partition("default").history(id)?.len(), 3);
    assert!(store.in_partition("other").history(id)?.is_empty());
    assert!(verify(file.path(), Progress::ignore)?.is_sound());
    store.close()?;
    Ok(())
}

#[test]
fn settings_of_each_opening_decide() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let id = store.insert(NewTrace::semantic(json!(0)))?;
    store.flush()?;
    say(&store, id, 1)?;
    assert_eq!(entries(&file)?, -1, "off: no byte of it");
    store.close()?;
    let store = manual_flush().keep_history(5).open(file.path())?;
    (2..6).try_for_each(|what| say(&store, id, what))?;
    assert_eq!(payloads(&store.history(id)?), ["4", "3", "2", "1"]);
    store.close()?;
    let store = manual_flush().open(file.path())?;
    say(&store, id, 6)?;
    assert_eq!(payloads(&store.history(id)?), ["4", "3", "2", "1"], "what is there stays");
    store.close()?;
    let store = manual_flush().keep_history(2).open(file.path())?;
    assert_eq!(payloads(&store.history(id)?), ["4", "3"]);
    let copy = file.folder().join("copy.db");
    mnemon::backup(file.path(), &copy, Progress::ignore)?;
    store.close()?;
    assert_eq!(payloads(&TraceStore::open(copy)?.history(id)?), ["4", "3"]);
    manual_flush().keep_history(0).open(file.path())?.close()?;
    assert_eq!(entries(&file)?, -1);
    let refused = TraceStore::in_memory().history(id).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::InvalidInput));
    Ok(())
}

/// A person's own table or index of that name is left alone, and the refusal says what to do.
#[test]
fn own_history_table_is_refused() -> Outcome {
    for own in ["CREATE TABLE trace_history (what TEXT)", "CREATE INDEX trace_history_of_row ON links (b)"] {
        let file = TestDir::new()?;
        manual_flush().open(file.path())?.close()?;
        file.reader()?.execute_batch(own)?;
        let refused = manual_flush().keep_history(5).open(file.path()).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotAStore, "{refused}");
        assert!(refused.to_string().contains("rename it"), "{refused}");
        // An index is in nobody's way where no history is kept.
        if own.contains("INDEX") {
            manual_flush().keep_history(0).open(file.path())?.close()?;
        }
    }
    Ok(())
}

#[test]
fn removed_trace_takes_its_history_along() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().keep_history(5).open(file.path())?;
    let ids = store.insert_many((0..3).map(note))?;
    store.flush()?;
    for n in 0..3 {
        ids.iter().try_for_each(|id| say(&store, *id, n))?;
    }
    assert_eq!(entries(&file)?, 9);
    store.remove(ids[0])?;
    // Another trace of that id, which has its row.
    store.remove(ids[1])?;
    store.insert(note("another").id(ids[1]).partition("other"))?;
    store.flush()?;
    assert!(store.history(ids[0])?.is_empty() && store.history(ids[1])?.is_empty());
    assert_eq!((store.history(ids[2])?.len(), entries(&file)?), (3, 3));
    // Also where none is added.
    store.close()?;
    let store = manual_flush().open(file.path())?;
    store.restore([note("restored").id(ids[2]), note("new")])?;
    store.flush()?;
    assert_eq!((store.history(ids[2])?.len(), entries(&file)?), (0, 0));
    store.close()?;
    Ok(())
}

#[test]
fn erasing_leaves_no_byte_of_history() -> Outcome {
    let file = TestDir::new()?;
    let (secret, other) = ("the vault is behind the clock", "the clock is slow");
    let store = manual_flush().keep_history(5).open(file.path())?;
    let kinds = [(TraceType::Semantic, "mine"), (TraceType::Sensory, "yours"), (TraceType::Semantic, "ours")];
    let ids = kinds.map(|(kind, partition)| {
        let text = if partition == "ours" { other } else { secret };
        store.insert(NewTrace::new(kind, json!(text)).partition(partition))
    });
    for n in 0..3 {
        store.flush()?;
        for id in &ids {
            store.update(id.clone()?, |trace| trace.payload(json!({"n": n})))?;
        }
    }
    store.flush()?;
    // In the history alone by now.
    let has = |text: &str| -> Outcome<bool> {
        let mut bytes = fs::read(file.path())?;
        bytes.extend(fs::read(file.path().with_extension("db-wal")).unwrap_or_default());
        Ok(bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    assert!(has(secret)? && has(other)?);
    store.erase_partition("mine")?;
    store.erase_type(TraceType::Sensory)?;
    assert!(!has(secret)? && has(other)?);
    assert_eq!(store.history(ids[2].clone()?)?.len(), 3);
    assert!(verify(file.path(), Progress::ignore)?.is_sound());
    store.close()?;
    Ok(())
}

#[test]
fn entries_that_cannot_be_are_found() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().keep_history(5).open(file.path())?;
    let ids = store.insert_many((0..2).map(note))?;
    store.flush()?;
    ids.iter().try_for_each(|id| say(&store, *id, 7))?;
    store.close()?;
    let reader = file.reader()?;
    reader.execute("UPDATE trace_history SET tier = 'lukewarm' WHERE id = ?1", [ids[0].as_bytes()])?;
    reader.execute("UPDATE trace_history SET row = 99 WHERE id = ?1", [ids[1].as_bytes()])?;
    drop(reader);
    let found = verify(file.path(), Progress::ignore)?.findings;
    let parts: Vec<_> = found.iter().map(|finding| (finding.part, finding.row)).collect();
    assert_eq!(parts, [("history", Some(1)), ("history", Some(2))], "{found:?}");
    let store = manual_flush().open(file.path())?;
    assert_eq!(store.history(ids[0]).map_err(|error| error.kind()), Err(ErrorKind::Corrupt));
    store.close()?;
    Ok(())
}

/// Random writes, flushes and reopenings, beside a plain model.
#[test]
fn history_is_that_of_the_model() -> Outcome {
    const KEPT: usize = 3;
    let mut rng = Rng::with_seed(41);
    let file = TestDir::new()?;
    let open = || manual_flush().keep_history(KEPT as u32).open(file.path());
    let mut store = open()?;
    let ids: Vec<_> = (0..6).map(|n| TraceId::from_reference(&format!("{n}"))).collect();
    // What is in memory; what is stored, with former contents, the newest first.
    let mut live = BTreeMap::<TraceId, (u64, u64)>::new();
    let mut stored = BTreeMap::<TraceId, (u64, u64, Vec<u64>)>::new();
    for step in 0..rounds(500, 1_500) {
        let id = ids[rng.usize(..ids.len())];
        let what = rng.u8(..10);
        match what {
            0..5 => {
                let what = rng.u64(..4);
                if let Some((_, content)) = live.get_mut(&id) {
                    *content = what;
                    store.update(id, |trace| trace.payload(json!(what)))?;
                } else {
                    // Another trace, though no field of it says so.
                    live.insert(id, (step, what));
                    let created = harness::from_start(-1_000_000_000);
                    store.insert(NewTrace::semantic(json!(what)).id(id).created_at(created))?;
                }
            }
            5 => _ = store.reinforce(id)?,
            6 => {
                live.remove(&id);
                store.remove(id)?;
            }
            _ => {
                store.flush()?;
                stored.retain(|id, (born, ..)| live.get(id).is_some_and(|(now, _)| now == born));
                for (id, (born, content)) in &live {
                    let (_, was, history) = stored.entry(*id).or_insert((*born, *content, Vec::new()));
                    if was != content {
                        history.insert(0, std::mem::replace(was, *content));
                        history.truncate(KEPT);
                    }
                }
                if what == 9 {
                    store.close()?;
                    store = open()?;
                }
            }
        }
        // Whatever is not flushed changes no history: a look at one is enough.
        let changed = if what >= 7 { &ids[..] } else { &[id] };
        for id in changed {
            let history = stored.get(id).map_or(&[][..], |(.., history)| history);
            let expected: Vec<_> = history.iter().map(u64::to_string).collect();
            assert_eq!(payloads(&store.history(*id)?), expected, "step {step}");
        }
    }
    assert!(verify(file.path(), Progress::ignore)?.is_sound());
    store.close()?;
    Ok(())
}
