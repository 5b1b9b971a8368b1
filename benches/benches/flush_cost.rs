//! What a flush costs, by how much has changed and by how much the store holds, beside the least that SQLite can do:
//! a prepared statement for each of the same rows of a copy of the same file, in one transaction, with the same
//! settings. Under `Durability::Committed`: a sync costs what the disk says. Payloads of 300 bytes.

use benches::figures::{Figure, Figures};
use benches::random::Random;
use benches::{Outcome, Pair, fill, in_turn, is_quick, must, size, sizes, timed};
use mnemon::{Durability, Payload, TraceId, TraceStore};
use rusqlite::{Connection, params};
use std::path::Path;
use std::time::Duration;

/// All that a trace has of numbers.
const NUMBERS: &str = "UPDATE traces SET strength = ?2, peak_strength = ?2, base_decay_rate = ?2,
    emotional_valence = ?2, emotional_intensity = ?2, confidence = ?2, last_reinforced = ?3, last_decayed = ?3,
    revision = ?3, reinforcement_count = ?3, tier = 'hot', unresolved = 0, consolidation_candidate = 0, pinned = 0
    WHERE row = ?1";
const PAYLOAD: &str = "UPDATE traces SET strength = ?2, peak_strength = ?2, base_decay_rate = ?2,
    emotional_valence = ?2, emotional_intensity = ?2, confidence = ?2, last_reinforced = ?3, last_decayed = ?3,
    revision = ?3, reinforcement_count = ?3, tier = 'hot', unresolved = 0, consolidation_candidate = 0, pinned = 0,
    type = 'episodic', origin = 'direct_experience', created_at = ?3, tags = NULL, payload = ?4
    WHERE row = ?1";

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Numbers,
    Rows,
}

fn main() -> Outcome {
    let mut figures = Figures::of("flush_cost")?;
    let (mut first, mut round) = (None, 0);
    for traces in sizes() {
        let folder = tempfile::tempdir()?;
        let (ours, copy) = (folder.path().join("ours.db"), folder.path().join("copy.db"));
        let filled = TraceStore::open(&ours)?;
        let mut ids = fill(&filled, traces)?;
        filled.close()?;
        std::fs::copy(&ours, &copy)?;
        let plain = connect(&copy)?;
        for changed in [1, 500, 10_000, 100_000].map(|count| if count > 1 { size(count) } else { 1 }) {
            if changed > traces || (changed == size(100_000) && traces != size(100_000)) {
                continue;
            }
            let mut bench =
                Bench { store: open(&ours, changed)?, plain: &plain, random: Random(11), round: &mut round };
            benches::settle(&bench.store);
            for (what, name) in [(What::Numbers, "numbers"), (What::Rows, "whole rows")] {
                let rounds = if changed > 1_000 { 7 } else { 41 };
                let before = bench.store.stats();
                let pair = bench.run(&mut ids, changed, what, rounds);
                let stats = bench.store.stats();
                let flushes = if is_quick() { 1 } else { rounds as u64 };
                let case = format!("{changed} {name} of {traces}");
                let figure =
                    Figure::new(&case, "time", pair.ours * 1e3, "ms").beside("plain SQL", pair.ratio);
                figures.say(match changed {
                    changed if what == What::Rows && changed == size(100_000) => figure.target(1.5),
                    _ if what == What::Rows => figure,
                    changed if changed == size(500) => figure.target(1.3),
                    changed if changed == size(100_000) => figure.target(1.15),
                    _ => figure,
                })?;
                let rows = |stats: &mnemon::Stats| stats.rows_updated + stats.rows_upserted;
                let rows = (rows(&stats) - rows(&before)) / flushes;
                let bytes = (stats.payload_bytes_serialized - before.payload_bytes_serialized) / flushes;
                figures.say(Figure::new(&case, "rows", rows as f64, "rows"))?;
                figures.say(Figure::new(&case, "payload", bytes as f64, "bytes"))?;
                if changed == size(500) && what == What::Numbers {
                    let smallest = *first.get_or_insert(pair.ours);
                    if traces == size(1_000_000) {
                        let flat = Figure::new("500 numbers of 1000000, flat", "time", pair.ours * 1e3, "ms");
                        figures.say(flat.beside("500 of 10000", pair.ours / smallest).target(1.3))?;
                    }
                    if traces == size(100_000) {
                        // Ruby 3.1, its own machine, 2026-11-23.
                        let times = 1_400.0 / (pair.ours * 1e3);
                        let then = Figure::new(&case, "times faster", pair.ours * 1e3, "ms").more_is_better();
                        figures.say(then.beside("the original, repaired", times).target(500.0))?;
                    }
                }
            }
            bench.store.close()?;
        }
    }
    Ok(())
}

struct Bench<'a> {
    store: TraceStore,
    plain: &'a Connection,
    random: Random,
    /// Counts all rounds: each writes another number.
    round: &'a mut u64,
}

impl Bench<'_> {
    fn run(&mut self, ids: &mut [TraceId], changed: usize, what: What, rounds: usize) -> Pair {
        let mut rows: Vec<_> = (1..=ids.len() as i64).collect();
        let Self { store, plain, random, round } = self;
        let (mut others, mut theirs) = (Random(11), **round);
        in_turn(
            rounds,
            || {
                **round += 1;
                choose(ids, changed, random);
                flush(store, &ids[..changed], **round, what)
            },
            || {
                theirs += 1;
                choose(&mut rows, changed, &mut others);
                let time = timed(|| must(update(plain, &rows[..changed], theirs, what)));
                // As the store does after a flush, and outside its time as well.
                must(plain.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())));
                time
            },
        )
    }
}

/// Brings another choice to the front.
fn choose<T>(items: &mut [T], count: usize, random: &mut Random) {
    for i in 0..count {
        let j = i + random.below(items.len() - i);
        items.swap(i, j);
    }
}

/// Flushes as soon as so many have changed.
fn open(path: &Path, threshold: usize) -> mnemon::Result<TraceStore> {
    let store =
        TraceStore::builder().durability(Durability::Committed).flush_interval(Duration::from_secs(3_600));
    store.flush_threshold(threshold).open(path)
}

/// What the flusher took for it, from the cut to the commit: the last of the changes reaches the threshold.
fn flush(store: &TraceStore, ids: &[TraceId], round: u64, what: What) -> Duration {
    // Never what a trace has already: an update that changes nothing would make nothing dirty.
    let before = store.watermark().committed;
    let number = (round % 100_000) as f64 / 100_000.0;
    for id in ids {
        // Nor what it was made with.
        let payload = || Payload::text(&format!("{round:1>298}"));
        must(store.update(*id, |trace| match what {
            What::Numbers => trace.confidence(number),
            What::Rows => trace.payload(payload()),
        }));
    }
    while store.watermark().committed == before {
        // One that spins would take a processor that the flusher may need.
        std::thread::sleep(Duration::from_micros(20));
    }
    let flushed = store.stats().last_flush;
    assert_eq!(flushed.rows_updated + flushed.rows_upserted, ids.len() as u64);
    flushed.elapsed
}

/// Never what is there already: SQLite does not write a page for that.
fn update(plain: &Connection, rows: &[i64], round: u64, what: What) -> rusqlite::Result<()> {
    plain.execute_batch("BEGIN IMMEDIATE")?;
    let mut statement = plain.prepare_cached(if what == What::Rows { PAYLOAD } else { NUMBERS })?;
    let mut sorted = rows.to_vec();
    sorted.sort_unstable();
    let (number, payload) = (round as f64 / 1e6, format!("\"{round:2>298}\""));
    for row in sorted {
        match what {
            What::Numbers => statement.execute(params![row, number, round as i64])?,
            What::Rows => statement.execute(params![row, number, round as i64, payload])?,
        };
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
