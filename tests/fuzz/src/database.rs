//! A whole database file.

use super::{Held, holds, same_as, says};
use harness::{Outcome, TestDir, by_id, clock, manual_flush, note};
use mnemon::{ErrorKind, StoreBuilder, Trace};
use rusqlite::Connection;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Of opening.
const REFUSED: [ErrorKind; 4] =
    [ErrorKind::NotAStore, ErrorKind::NewerSchema, ErrorKind::Corrupt, ErrorKind::Unreachable];

/// Of a file that SQLite finds fault with later on.
const FAILED: [ErrorKind; 4] =
    [ErrorKind::Corrupt, ErrorKind::NotAStore, ErrorKind::Unreachable, ErrorKind::TimedOut];

/// A file is refused with a clear reason, or opened: then all of it can be read, and what is written into it is
/// there when it is opened again. Where SQLite itself finds the file damaged, and that could not be seen at
/// once, writing may fail, and must say so.
pub fn check(file: &[u8]) -> Outcome {
    let scratch = TestDir::new()?;
    fs::write(scratch.path(), file)?;
    let sound = is_sound(scratch.path());
    let report = mnemon::inspect(scratch.path());
    let store = match builder().open(scratch.path()) {
        Ok(store) => store,
        Err(refused) => return says(&refused, &REFUSED),
    };
    if let Err(failed) = &report {
        // A database with nothing in it is nobody's yet.
        let is_new = failed.kind() == ErrorKind::NotAStore && store.is_empty();
        holds(is_new || !sound, format_args!("it opens, and can't be inspected: {failed:?}"))?;
    }
    store.iter().try_for_each(|trace| read(&trace))?;
    let before = store.stats().quarantined;
    for trace in by_id(&store) {
        let confidence = if trace.confidence() == 0.5 { 0.25 } else { 0.5 };
        store.update(trace.id(), |trace| trace.confidence(confidence))?;
    }
    store.insert(note("new"))?;
    let flushed = (0..4).map(|_| store.flush()).find_map(|flushed| match flushed {
        Err(failed) => says(&failed, &FAILED).err().map(Err),
        Ok(report) => Some(Ok(report)),
    });
    let Some(flushed) = flushed else {
        return holds(!sound, "a sound file can't be written");
    };
    let report = flushed?;
    let held = Held::of(&store);
    if !sound {
        return Ok(());
    }
    holds(report.rows_refused == 0, format_args!("rows are refused: {report:?}"))?;
    store.close()?;
    let again = builder().open(scratch.path())?;
    same_as("opened again", &held, &Held::of(&again))?;
    holds(again.stats().quarantined == before, "other rows are quarantined than before")?;
    again.close()?;
    Ok(())
}

fn builder() -> StoreBuilder {
    manual_flush().clock(&clock()).close_timeout(Duration::from_secs(1))
}

fn read(trace: &Trace) -> Outcome {
    let unit = [trace.strength(), trace.peak_strength(), trace.emotional_intensity(), trace.confidence()];
    holds(unit.iter().all(|number| (0.0..=1.0).contains(number)), format_args!("out of range: {trace:?}"))?;
    holds(trace.tags().all(|tag| !tag.is_empty()), "a tag is empty")?;
    // An answer either way: the payload of a file is not parsed before.
    let _ = trace.payload().as_value();
    Ok(())
}

/// As SQLite judges it.
fn is_sound(path: &Path) -> bool {
    let checked = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|file| file.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)));
    checked.is_ok_and(|answer| answer == "ok")
}
