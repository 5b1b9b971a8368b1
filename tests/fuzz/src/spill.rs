//! The file of a spill, beside its database.

use super::sealed::{Line, file_of, lines};
use super::{Held, holds, same_as, says, template};
use harness::{Outcome, TestDir, clock, manual_flush};
use mnemon::{ErrorKind, TraceId, TraceStore};
use std::collections::BTreeMap;
use std::fs;
use std::sync::OnceLock;

const REFUSED: [ErrorKind; 5] = [
    ErrorKind::NotASnapshot,
    ErrorKind::NotAStore,
    ErrorKind::NewerSchema,
    ErrorKind::Corrupt,
    ErrorKind::InvalidInput,
];

/// A spill is refused, stays where it is, and leaves the database as it was; or it is applied: it is gone, and every
/// trace is as its last line says, in memory and when the file is opened again.
pub fn check(data: &[u8]) -> Outcome {
    let scratch = TestDir::new()?;
    let file = file_of(data);
    let path = scratch.path().with_file_name("memory.db.spill");
    fs::write(scratch.path(), template::file()?)?;
    fs::write(&path, &file)?;
    static BEFORE: OnceLock<Held> = OnceLock::new();
    let before = template::once(&BEFORE, held_before)?;
    match open(&scratch) {
        Ok(store) => {
            holds(!path.exists(), "an applied spill is still there")?;
            let after = Held::of(&store);
            applied(&store, before, &lines(&file))?;
            store.close()?;
            let again = open(&scratch)?;
            holds(again.stats().quarantined.is_empty(), "what was applied can't be read")?;
            same_as("opened again", &after, &Held::of(&again))?;
            again.close()?;
        }
        Err(refused) => {
            says(&refused, &REFUSED)?;
            holds(fs::read(&path)? == file, "a refused spill is gone or changed")?;
            fs::remove_file(&path)?;
            let store = open(&scratch)?;
            same_as("a refused spill changes the database", before, &Held::of(&store))?;
            store.close()?;
        }
    }
    Ok(())
}

/// By the template.
fn held_before() -> Outcome<Held> {
    let scratch = TestDir::new()?;
    fs::write(scratch.path(), template::file()?)?;
    let store = open(&scratch)?;
    let held = Held::of(&store);
    store.close()?;
    Ok(held)
}

fn open(scratch: &TestDir) -> mnemon::Result<TraceStore> {
    manual_flush().clock(&clock()).open(scratch.path())
}

/// What the lines say of each trace they name; those that the database has caught up with say nothing.
fn applied(store: &TraceStore, before: &Held, lines: &[Line]) -> Outcome {
    let [header, lines @ ..] = lines else { return Err("a spill without a header is applied".into()) };
    if header.watermark.unwrap_or_default() <= watermark()? {
        return same_as("a spill that is caught up with changes the store", before, &Held::of(store));
    }
    let mut last: BTreeMap<TraceId, Option<&str>> = BTreeMap::new();
    for line in lines {
        let is_removal = line.kind == "removed-trace";
        if line.kind == "trace" || is_removal {
            let id =
                line.id.as_deref().and_then(|id| id.parse().ok()).ok_or("a trace without id is applied")?;
            last.insert(id, (!is_removal).then(|| line.payload()));
        }
    }
    for (id, payload) in last {
        let held = store.get(id).map(|trace| trace.payload().to_string());
        holds(held.as_deref() == payload, format_args!("of {id} {payload:?} is spilled, and held {held:?}"))?;
    }
    Ok(())
}

/// Of the template.
fn watermark() -> Outcome<u64> {
    static WATERMARK: OnceLock<u64> = OnceLock::new();
    let known = template::once(&WATERMARK, || {
        let scratch = TestDir::new()?;
        fs::write(scratch.path(), template::file()?)?;
        Ok(mnemon::inspect(scratch.path())?.watermark)
    });
    known.copied()
}
