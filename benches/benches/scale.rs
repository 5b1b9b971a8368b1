//! What questions, flushes, opening and closing cost as the store grows: traces made over a year, in 80 partitions,
//! with payloads of 300 bytes and two tags, of which one is on each hundredth. Beside SQLite with the indexes that a
//! user would make for each question.
//!
//! `-- 10000000` measures that many, instead of 100,000 and 1,000,000.

use benches::figures::{Figure, Figures};
use benches::random::{Random, shuffle};
use benches::{Outcome, beside_a_writer, is_quick, median, milliseconds, must, settle, size, trace};
use jiff::Timestamp;
use mnemon::{NewTrace, Order, Query, TraceId, TraceStore, TraceType, Upkeep};
use rusqlite::Connection;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PARTITIONS: usize = 80;
const ANSWERS: usize = 5;

fn main() -> Outcome {
    let mut figures = Figures::of("scale")?;
    let asked = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).next();
    let sizes = asked.map_or_else(|| vec![size(100_000), size(1_000_000)], |one| vec![one]);
    sizes.into_iter().try_for_each(|traces| on(&mut figures, traces))
}

/// One of `traces`, of every type in turn, made and last reinforced at one moment of the year before `now`.
fn year_old(n: usize, traces: usize, now: Timestamp) -> NewTrace {
    let kind = TraceType::ALL[1 + n % (TraceType::ALL.len() - 1)];
    let share = (n * 7_919 % traces) as f64 / traces as f64;
    let at = now.saturating_sub(Duration::from_secs(365 * 86_400).mul_f64(share)).unwrap_or(now);
    let new = trace(n).base_decay_rate(kind.base_decay_rate()).strength(strength(n));
    let new = new.created_at(at).last_reinforced(at).partition(partition(n % PARTITIONS));
    if n.is_multiple_of(101) { new.tags(["common", "rare"]) } else { new.tag("common") }
}

/// 0.2 to 1, without a pattern.
fn strength(n: usize) -> f64 {
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    0.2 + 0.8 * ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64
        / (1_u64 << 53) as f64
}

fn partition(n: usize) -> String {
    format!("partition {n}")
}

const QUESTIONS: [&str; 4] = ["all", "a partition", "a tag", "a partition and a tag"];

fn question<'a>(store: &'a TraceStore, of: &str, order: Order) -> Query<'a> {
    let query = store.query().order(order).limit(ANSWERS);
    match of {
        "all" => query,
        "a partition" => query.partition("partition 7"),
        "a tag" => query.tagged("rare"),
        _ => query.partition("partition 7").tagged("rare"),
    }
}

fn on(figures: &mut Figures, traces: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("scale.db");
    let now = Timestamp::now();
    let before = resident();
    let store = TraceStore::open(&path)?;
    let mut ids = benches::insert_all(&store, traces, |n| year_old(n, traces, now))?;
    store.flush()?;
    settle(&store);
    shuffle(&mut ids, &mut Random(7));
    let beyond = (resident() - before) as f64 / traces as f64 - benches::PAYLOAD as f64;
    let case = |what: &str| format!("{what}, {traces} traces");
    figures.say(Figure::new(
        case("memory beyond the payload, resident, two terms"),
        "bytes",
        beyond,
        "bytes each",
    ))?;

    let bare = Bare::of(&folder.path().join("bare.db"), traces, now)?;
    for (name, order) in [("latest", Order::Recency), ("strongest", Order::Strength), ("best", Order::Score)]
    {
        for of in QUESTIONS {
            let ours =
                percentiles(301, Duration::ZERO, || drop(black_box(question(&store, of, order).run())));
            let mut figure = Figure::new(case(&format!("{name} of {of}")), "p50", ours.0, "us").target(50.0);
            if let Some(theirs) = bare.ask(name, of)? {
                println!("{:<52} p50          {theirs:>12.3} us, SQLite", "");
            }
            if traces > 1_000_000 {
                figure = figure.target(100.0);
            }
            figures.say(figure)?;
        }
    }
    drop(bare);
    // Never the number that the trace has: an update that changes nothing lists nothing.
    let change = |number: u64, id| {
        let number = (number % 100_003) as f64 / 100_003.0;
        assert!(must(store.update(id, |trace| trace.confidence(number))).is_some());
    };
    for (rate, name) in [(10_000, "10,000 changes a second"), (0, "a writer at full speed")] {
        let target = rate > 0 && traces <= 1_000_000;
        for of in QUESTIONS {
            let (p50, p99) = beside_a_writer(&ids, rate, change, || {
                percentiles(1_001, Duration::from_millis(1), || {
                    drop(black_box(question(&store, of, Order::Recency).run()))
                })
            });
            let name = case(&format!("latest of {of}, {name}"));
            let [p50, p99] =
                [("p50", p50), ("p99", p99)].map(|(metric, value)| Figure::new(&name, metric, value, "us"));
            figures.say(if target { p50.target(200.0) } else { p50 })?;
            figures.say(if target { p99.target(2_000.0) } else { p99 })?;
        }
    }

    flushes(figures, &store, &ids, &case)?;
    let inserted = median((0..9).map(|_| {
        let new: Vec<_> = (0..1_000).map(|n| trace(n).tags(["one", "two", "three"])).collect();
        let started = Instant::now();
        new.into_iter().for_each(|new| _ = black_box(must(store.insert(new))));
        started.elapsed().as_secs_f64() * 1e6
    }));
    figures.say(Figure::new(case("insert with three tags"), "time", inserted, "ns"))?;
    store.flush()?;
    let decay = Instant::now();
    store.decay()?;
    figures.say(Figure::new(case("a full decay cycle"), "time", milliseconds(decay), "ms"))?;
    let tiers = Instant::now();
    store.update_tiers()?;
    figures.say(Figure::new(case("a first update of tiers"), "time", milliseconds(tiers), "ms"))?;
    store.flush()?;

    let started = Instant::now();
    store.close()?;
    let name = case("close right after a flush of everything");
    figures.say(Figure::new(name, "time", milliseconds(started), "ms"))?;
    let select = median((0..3).map(|_| must(read_all(&path))));
    let mut closes = Vec::new();
    let open = median((0..3).map(|_| {
        // The memory of the store before is given back beside what comes next.
        while !must(tasks("mnemon-free")).is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let started = Instant::now();
        let store = must(TraceStore::open(&path));
        let time = milliseconds(started);
        settle(&store);
        let started = Instant::now();
        must(store.close());
        closes.push(milliseconds(started));
        time
    }));
    let figure = Figure::new(case("open"), "time", open, "ms").beside("one SELECT", open / select);
    figures.say(figure.target(0.8))?;
    let close = median(closes.into_iter());
    figures.say(Figure::new(case("close, nothing to write"), "time", close, "ms").target(1_000.0))?;
    let cycles = upkeep(&path)?;
    figures.say(Figure::new(case("a cycle of decay and of tiers, little due"), "CPU", cycles, "us"))?;
    // With the usual periods tiers come less often.
    let share = cycles / 60e6 * 100.0;
    figures.say(Figure::new(case("upkeep, little due"), "CPU", share, "% of a core").target(0.1))
}

/// Microseconds of CPU that a cycle of decay and one of tiers take, in the first hour after opening.
fn upkeep(path: &Path) -> Outcome<f64> {
    let period = Duration::from_millis(20);
    let upkeep = Upkeep { decay: Some(period), tiers: Some(period), quota: None };
    let store = TraceStore::builder().upkeep(upkeep).open(path)?;
    settle(&store);
    let (started, before) = (Instant::now(), cpu_of("mnemon-upkeep")?);
    std::thread::sleep(if is_quick() { period * 10 } else { Duration::from_secs(10) });
    let (cycles, used) = (started.elapsed().div_duration_f64(period), cpu_of("mnemon-upkeep")? - before);
    store.close()?;
    Ok(used / cycles)
}

/// Microseconds of CPU that the threads of this name have used.
fn cpu_of(name: &str) -> Outcome<f64> {
    let mut sum = 0.0;
    for task in tasks(name)? {
        let nanoseconds = std::fs::read_to_string(task.join("schedstat"))?;
        let nanoseconds = nanoseconds.split_whitespace().next().ok_or("schedstat has three numbers")?;
        sum += nanoseconds.parse::<f64>()? / 1e3;
    }
    Ok(sum)
}

/// What the system says of the threads of this name.
fn tasks(name: &str) -> Outcome<Vec<PathBuf>> {
    let tasks = std::fs::read_dir("/proc/self/task")?.map(|task| Ok(task?.path()));
    let tasks = tasks.collect::<std::io::Result<Vec<_>>>()?;
    // One that ends meanwhile has none.
    let is_it =
        |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
    Ok(tasks.into_iter().filter(is_it).collect())
}

/// The flush of 500 changes: usually, and the one that follows a flush of everything.
fn flushes(
    figures: &mut Figures,
    store: &TraceStore,
    ids: &[TraceId],
    case: &impl Fn(&str) -> String,
) -> Outcome {
    let mut round = 0.0;
    let mut flush = |ids: &[TraceId]| {
        round += 1.0;
        ids.iter()
            .for_each(|id| drop(must(store.update(*id, |trace| trace.confidence(round % 100.0 / 100.0)))));
        let started = Instant::now();
        must(store.flush());
        milliseconds(started)
    };
    let few = &ids[..500.min(ids.len())];
    let usual = median((0..9).map(|_| flush(few)));
    figures.say(Figure::new(case("flush of 500"), "time", usual, "ms"))?;
    flush(ids);
    let after = flush(few);
    let figure = Figure::new(case("flush of 500 after a flush of all"), "time", after, "ms");
    figures.say(figure.beside("a usual flush of 500", after / usual).target(3.0))
}

/// p50 and p99, in microseconds, of so many questions, or of those of five seconds. With a pause before each, a writer
/// beside them is seen at many moments.
fn percentiles(times: usize, pause: Duration, mut work: impl FnMut()) -> (f64, f64) {
    let began = Instant::now();
    let mut all = Vec::with_capacity(times);
    while all.len() < times && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(pause);
        let started = Instant::now();
        work();
        all.push(started.elapsed().as_secs_f64() * 1e6);
    }
    all.sort_unstable_by(f64::total_cmp);
    (all[all.len() / 2], all[all.len() * 99 / 100])
}

/// The same records in SQLite, with an index for each question.
struct Bare(Connection);

impl Bare {
    fn of(path: &Path, traces: usize, now: Timestamp) -> Outcome<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;
             CREATE TABLE traces (id INTEGER PRIMARY KEY, part INTEGER, rare INTEGER, at INTEGER, strength REAL, payload TEXT);
             BEGIN",
        )?;
        {
            let mut insert = connection.prepare("INSERT INTO traces VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            let payload = "x".repeat(benches::PAYLOAD);
            for n in 0..traces {
                let at = now.as_microsecond()
                    - (365 * 86_400_000_000_i64 / traces as i64) * (n * 7_919 % traces) as i64;
                let rare = n.is_multiple_of(101);
                insert.execute((n as i64, (n % PARTITIONS) as i64, rare, at, strength(n), &payload))?;
            }
        }
        connection.execute_batch(
            "COMMIT; CREATE INDEX latest ON traces (at); CREATE INDEX strongest ON traces (strength);
             CREATE INDEX latest_part ON traces (part, at); CREATE INDEX strongest_part ON traces (part, strength);
             CREATE INDEX latest_rare ON traces (rare, at); CREATE INDEX strongest_rare ON traces (rare, strength);
             CREATE INDEX latest_both ON traces (part, rare, at); CREATE INDEX strongest_both ON traces (part, rare, strength)",
        )?;
        Ok(Self(connection))
    }

    /// p50 in microseconds, of what an index can answer.
    fn ask(&self, name: &str, of: &str) -> Outcome<Option<f64>> {
        let column = match name {
            "latest" => "at",
            "strongest" => "strength",
            _ => return Ok(None),
        };
        let condition = match of {
            "all" => "1",
            "a partition" => "part = 7",
            "a tag" => "rare = 1",
            _ => "part = 7 AND rare = 1",
        };
        let sql = format!("SELECT * FROM traces WHERE {condition} ORDER BY {column} DESC LIMIT {ANSWERS}");
        let mut statement = self.0.prepare(&sql)?;
        let mut ask = || -> rusqlite::Result<()> {
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                black_box(row.get_ref(5)?.as_str()?);
            }
            Ok(())
        };
        Ok(Some(percentiles(301, Duration::ZERO, || must(ask())).0))
    }
}

/// Milliseconds of one SELECT of every column.
fn read_all(path: &Path) -> rusqlite::Result<f64> {
    let started = Instant::now();
    let connection = Connection::open(path)?;
    let mut statement = connection.prepare("SELECT * FROM traces")?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            black_box(row.get_ref(column)?);
        }
    }
    Ok(milliseconds(started))
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) * 1_024
}
