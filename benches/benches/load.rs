//! What opening a file costs, beside a bare `SELECT` over the same rows, and the same with an insert into a DashMap:
//! the least that a store in memory can do.

use benches::figures::{Figure, Figures};
use benches::{Outcome, fill, in_turn, must, sizes, timed};
use dashmap::DashMap;
use mnemon::TraceStore;
use rusqlite::Connection;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A trace as a bare program would keep it.
struct Record {
    _payload: Box<str>,
    _numbers: [f64; 6],
    _counts: [i64; 8],
    _names: [Box<str>; 4],
    _tags: Option<Box<str>>,
}

fn main() -> Outcome {
    let mut figures = Figures::of("load")?;
    for traces in sizes() {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("load.db");
        let store = TraceStore::open(&path)?;
        fill(&store, traces)?;
        store.close()?;
        let rounds = if traces > 500_000 { 3 } else { 9 };
        let ours = || {
            let started = Instant::now();
            let opened = must(TraceStore::open(&path));
            let time = started.elapsed();
            assert_eq!(opened.len(), traces);
            must(opened.close());
            time
        };
        let case = format!("{traces} traces");
        let bare = in_turn(rounds, ours, || timed(|| assert_eq!(must(select(&path, |_| {})), traces)));
        let figure = Figure::new(&case, "time", bare.ours * 1e3, "ms");
        figures.say(figure.clone().beside("bare SELECT", bare.ratio))?;
        let mapped = in_turn(rounds, ours, || {
            let map = DashMap::new();
            let time = timed(|| {
                let mut next = 0_u128;
                let read = select(&path, |record| {
                    next += 1;
                    map.insert(uuid::Uuid::from_u128(next), Arc::new(record));
                });
                assert_eq!(must(read), traces);
            });
            drop(black_box(map));
            time
        });
        figures.say(figure.beside("SELECT and DashMap insert", mapped.ratio).target(1.2))?;
        let rate = Figure::new(case, "traces", traces as f64 / mapped.ours.min(bare.ours), "1/s");
        figures.say(rate.more_is_better().target(400_000.0))?;
    }
    Ok(())
}

/// Every column of every row, as a value of the program's own.
fn select(path: &Path, mut each: impl FnMut(Record)) -> rusqlite::Result<usize> {
    let connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA cache_size = -65536; PRAGMA mmap_size = 0")?;
    let mut statement = connection.prepare(
        "SELECT id, strength, peak_strength, base_decay_rate, emotional_valence, emotional_intensity, confidence,
         last_reinforced, last_decayed, revision, reinforcement_count, unresolved, consolidation_candidate, pinned,
         created_at, tier, type, origin, partition, tags, payload FROM traces",
    )?;
    let (mut rows, mut count) = (statement.query([])?, 0);
    while let Some(row) = rows.next()? {
        black_box(row.get_ref(0)?.as_blob()?);
        let mut numbers = [0.0; 6];
        for (at, number) in numbers.iter_mut().enumerate() {
            *number = row.get(at + 1)?;
        }
        let mut counts = [0; 8];
        for (at, count) in counts.iter_mut().enumerate() {
            *count = row.get(at + 7)?;
        }
        let text = |at: usize| row.get_ref(at).and_then(|value| Ok(Box::from(value.as_str()?)));
        each(Record {
            _numbers: numbers,
            _counts: counts,
            _names: [text(15)?, text(16)?, text(17)?, text(18)?],
            _tags: row.get(19)?,
            _payload: text(20)?,
        });
        count += 1;
    }
    Ok(count)
}
