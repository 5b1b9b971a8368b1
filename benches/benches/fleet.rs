//! What one host costs a PostgreSQL server: one process with many spaces, to which it makes 500 changes a second at
//! random, at three intervals between flushes. Prints commits, WAL and processor time of the server for each second,
//! and what one row and one commit take of the WAL: the figures that `guide::fleet` multiplies.

use benches::figures::{Figure, Figures};
use benches::random::Random;
use benches::{Outcome, fill, insert_all, is_quick, quiet, size, trace};
use mnemon::{TraceId, TraceStore};
use postgres_tests::Server;
use std::path::Path;
use std::time::{Duration, Instant};

/// Changes a second, of numbers.
const RATE: f64 = 500.0;
/// Traces of each space.
const TRACES: usize = 100;

fn main() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut figures = Figures::of("fleet")?;
    // With so many files, a checkpoint within a measurement would write whole pages into the WAL at random.
    server.sql("ALTER SYSTEM SET checkpoint_timeout = '1h'")?;
    server.sql("ALTER SYSTEM SET max_wal_size = '16GB'")?;
    server.sql("SELECT pg_reload_conf()")?;
    of_each_row(&server, &mut figures)?;

    let spaces = size(1_000);
    for interval in [1, 10, 60] {
        let of_host =
            |n| TraceStore::builder().space(format!("host {interval} {n}")).lease(Duration::from_secs(300));
        let every = Duration::from_secs(interval);
        let mut stores = Vec::with_capacity(spaces);
        for n in 0..spaces {
            let store =
                of_host(n).flush_interval(every).flush_threshold(usize::MAX).connect(&server.url())?;
            let ids = insert_all(&store, TRACES, trace)?;
            store.flush()?;
            stores.push((store, ids));
        }
        server.sql("CHECKPOINT")?;
        // What each page costs once after a checkpoint is paid here, and the flushers come out of step.
        let round = Duration::from_secs(if is_quick() { 2 } else { interval.max(20) });
        change(&stores, round);
        let before = Spent::so_far(&server)?;
        let changes = change(&stores, round);
        let spent = Spent::so_far(&server)?.since(&before, round);
        let case =
            |what: &str| format!("{spaces} spaces, {RATE} changes/s, a flush each {interval} s: {what}");
        figures.say(Figure::new(case("made"), "changes", changes as f64 / round.as_secs_f64(), "/s"))?;
        figures.say(Figure::new(case("commits"), "commits", spent.commits, "/s"))?;
        figures.say(Figure::new(case("WAL"), "bytes", spent.wal / 1e3, "kB/s"))?;
        figures.say(Figure::new(case("server"), "processor", spent.processor * 1e3, "ms/s"))?;
        let started = Instant::now();
        for (store, _) in stores {
            store.close()?;
        }
        println!("closed in {:.1} s", started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Number of changes that were made at the rate in that time, each to a trace of a space at random.
fn change(stores: &[(TraceStore, Vec<TraceId>)], time: Duration) -> usize {
    let (started, mut random, mut made) = (Instant::now(), Random(7), 0);
    while started.elapsed() < time {
        while (made as f64) < started.elapsed().as_secs_f64() * RATE {
            let (store, ids) = &stores[random.below(stores.len())];
            let confidence = made as f64 % 100.0 / 100.0;
            drop(benches::must(
                store.update(ids[random.below(TRACES)], |trace| trace.confidence(confidence)),
            ));
            made += 1;
        }
        // The rate is of the benchmark, not a wait for anything.
        std::thread::sleep(Duration::from_millis(1));
    }
    made
}

/// Bytes of the WAL for one row of a large cut, and for a cut of one row, without the whole pages that follow a
/// checkpoint.
fn of_each_row(server: &Server, figures: &mut Figures) -> Outcome {
    let store = quiet().space("rows").connect(&server.url())?;
    let (rows, cuts) = (size(10_000), size(500));
    let ids = fill(&store, rows)?;
    store.flush()?;
    server.sql("VACUUM mnemon.traces")?;
    let wal = || Ok::<_, Box<dyn std::error::Error>>(Spent::so_far(server)?.wal);
    let touch = |ids: &[TraceId], round: usize| {
        ids.iter().for_each(|id| {
            drop(benches::must(store.update(*id, |trace| trace.confidence(round as f64 / 10.0))))
        });
        benches::must(store.flush());
    };
    // The first round moves rows to pages with room, and writes whole pages.
    (1..3).for_each(|round| touch(&ids, round));
    let before = wal()?;
    (3..6).for_each(|round| touch(&ids, round));
    let of_numbers = (wal()? - before) / (3 * rows) as f64;
    figures.say(Figure::new("a row of numbers, in a large cut", "WAL", of_numbers, "bytes"))?;
    let before = wal()?;
    ids.iter().take(cuts).enumerate().for_each(|(n, id)| touch(&[*id], n % 10));
    figures.say(Figure::new(
        "a cut of one row of numbers",
        "WAL",
        (wal()? - before) / cuts as f64,
        "bytes",
    ))?;
    let before = wal()?;
    insert_all(&store, rows, trace)?;
    store.flush()?;
    figures.say(Figure::new("a new row of 300 bytes", "WAL", (wal()? - before) / rows as f64, "bytes"))?;
    store.close()?;
    Ok(())
}

/// What the server has spent, since it was started or in each second.
struct Spent {
    commits: f64,
    /// Bytes.
    wal: f64,
    /// Seconds, of all its processes.
    processor: f64,
}

impl Spent {
    fn so_far(server: &Server) -> Outcome<Self> {
        let folder = server.sql("SHOW data_directory")?;
        let postmaster = std::fs::read_to_string(Path::new(folder.trim()).join("postmaster.pid"))?;
        let postmaster = postmaster.lines().next().ok_or("no process")?.to_owned();
        let number = |sql: &str| -> Outcome<f64> { Ok(server.sql(sql)?.trim().parse()?) };
        Ok(Self {
            commits: number("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")?,
            wal: number("SELECT pg_current_wal_insert_lsn() - '0/0'")?,
            processor: processor(&postmaster)?,
        })
    }

    fn since(self, before: &Self, time: Duration) -> Self {
        let each = |now: f64, before: f64| (now - before) / time.as_secs_f64();
        Self {
            commits: each(self.commits, before.commits),
            wal: each(self.wal, before.wal),
            processor: each(self.processor, before.processor),
        }
    }
}

/// Seconds of the processor that this process, its children and those that have ended have taken.
fn processor(postmaster: &str) -> Outcome<f64> {
    const TICKS: f64 = 100.0;
    let mut ticks = 0.0;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
        // The name in parentheses may hold anything.
        let Some((start, rest)) = stat.rsplit_once(") ") else { continue };
        let pid = start.split(' ').next().unwrap_or_default();
        let fields: Vec<_> = rest.split(' ').collect();
        if pid == postmaster || fields[1] == postmaster {
            let own = &fields[11..if pid == postmaster { 15 } else { 13 }];
            ticks += own.iter().filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
        }
    }
    Ok(ticks / TICKS)
}
