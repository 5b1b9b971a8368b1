//! What a flush costs beside the least that SQLite can do: 100,000 traces with payloads of 300 bytes, of which 500
//! have changed a number, under `Durability::Relaxed`.
//!
//! The other side is a prepared `UPDATE … WHERE row = ?` for the same 500 rows of a copy of the same file, in one
//! transaction, with the same settings: once with all the numbers that a trace has, once with two.

mod support;

use mnemon::{Durability, TraceId, TraceStore};
use rusqlite::{Connection, params};
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use support::{Random, fill, in_turn, report, timed};

const TRACES: usize = 100_000;
const CHANGED: usize = 500;
const ROUNDS: usize = 41;

const ALL_NUMBERS: &str = "UPDATE traces SET strength = ?2, peak_strength = ?2, base_decay_rate = ?2,
    emotional_valence = ?2, emotional_intensity = ?2, confidence = ?2, last_reinforced = ?3, last_decayed = ?3,
    revision = ?3, reinforcement_count = ?3, tier = 'hot', unresolved = 0, consolidation_candidate = 0, pinned = 0
    WHERE row = ?1";
const TWO_NUMBERS: &str = "UPDATE traces SET confidence = ?2, revision = ?3 WHERE row = ?1";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (ours, copy) = (folder.path().join("ours.db"), folder.path().join("copy.db"));
    let filled = TraceStore::open(&ours)?;
    let mut ids = fill(&filled, TRACES)?;
    filled.close()?;
    std::fs::copy(&ours, &copy)?;

    let store = TraceStore::builder()
        .durability(Durability::Relaxed)
        .flush_interval(Duration::from_secs(3600))
        .flush_threshold(CHANGED)
        .open(&ours)?;
    let plain = connect(&copy)?;
    let rows: Vec<_> = (1..=TRACES as i64).collect();
    // Never what a trace has already: an update that changes nothing would make nothing dirty.
    let mut number = 0.0;
    let (mut random, mut others) = (Random(11), Random(11));
    for (what, sql) in [("all numbers", ALL_NUMBERS), ("two numbers", TWO_NUMBERS)] {
        let mut rows = rows.clone();
        let pair = in_turn(
            ROUNDS,
            || {
                number += 1.0 / 1_024.0;
                choose(&mut ids, &mut random);
                background_flush(&store, &ids[..CHANGED], number + 1.0 / 4_096.0)
            },
            || {
                choose(&mut rows, &mut others);
                // An error here ends the benchmark: there is nothing to compare with.
                let time =
                    timed(|| update(&plain, sql, &rows[..CHANGED]).unwrap_or_else(|error| panic!("{error}")));
                // As the store does after a flush, and outside its time as well.
                plain
                    .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                    .unwrap_or_else(|error| panic!("{error}"));
                time
            },
        );
        report(&format!("flush of {CHANGED} of {TRACES}, beside plain SQL of {what}"), "ms", &pair, 1e3, 2.0);
    }
    let stats = store.stats();
    println!("rows updated {}, payload bytes {}", stats.rows_updated, stats.payload_bytes_serialized);
    Ok(())
}

/// Brings another choice of rows to the front.
fn choose<T>(items: &mut [T], random: &mut Random) {
    for i in 0..CHANGED {
        let j = i + random.below(items.len() - i);
        items.swap(i, j);
    }
}

/// The last of the changes reaches the threshold, which begins the flush.
fn background_flush(store: &TraceStore, ids: &[TraceId], confidence: f64) -> Duration {
    let before = store.watermark();
    for id in ids {
        assert!(store.update(*id, |trace| trace.confidence(confidence)).is_ok());
    }
    while store.watermark() == before {
        std::hint::spin_loop();
    }
    let flushed = store.stats().last_flush;
    assert_eq!(flushed.rows_updated, CHANGED as u64);
    flushed.elapsed
}

fn update(plain: &Connection, sql: &str, rows: &[i64]) -> rusqlite::Result<()> {
    plain.execute_batch("BEGIN IMMEDIATE")?;
    let mut statement = plain.prepare_cached(sql)?;
    let mut sorted = rows.to_vec();
    sorted.sort_unstable();
    for row in sorted {
        statement.execute(params![row, row as f64 / 1e6, row])?;
    }
    plain.execute_batch("COMMIT")
}

/// As the store sets its connection up.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536; PRAGMA mmap_size = 0; PRAGMA synchronous = NORMAL;
         PRAGMA wal_autocheckpoint = 0;",
    )?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    Ok(connection)
}
