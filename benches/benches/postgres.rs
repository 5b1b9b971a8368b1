//! What a space of a PostgreSQL database costs, on a server that the benchmark starts: flushes of 500 of 100,000 traces
//! and loading them, beside the same SQL by hand in a table that is alike; and how long it takes to take a space over
//! whose host was killed.

use benches::figures::{Figure, Figures};
use benches::random::{Random, shuffle};
use benches::{Outcome, Pair, fill, in_turn, median, milliseconds, must, quiet, size, timed};
use mnemon::{TraceId, TraceStore};
use postgres_tests::Server;
use serde_json::json;
use std::cell::Cell;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls};

/// The space that a host holds which is to be killed.
const HELD: &str = "held";
const LEASE: Duration = Duration::from_secs(2);
const CHANGED: usize = 500;

fn main() -> Outcome {
    if let Ok(url) = std::env::var("MNEMON_HOST") {
        return hold(&url);
    }
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut figures = Figures::of("postgres")?;
    let url = server.url();
    let traces = size(100_000);
    let store = quiet().connect(&url)?;
    let mut ids = fill(&store, traces)?;
    store.flush()?;
    shuffle(&mut ids, &mut Random(7));
    server.sql("CREATE SCHEMA bare; CREATE TABLE bare.traces (LIKE mnemon.traces INCLUDING ALL);
        ALTER TABLE bare.traces SET (fillfactor = 80); INSERT INTO bare.traces SELECT * FROM mnemon.traces;
        CREATE TABLE bare.spaces (space integer PRIMARY KEY, watermark bigint); INSERT INTO bare.spaces VALUES (1, 0);
        GRANT USAGE ON SCHEMA bare TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA bare TO PUBLIC; ANALYZE")?;
    let bare = Bare::connect(&url)?;

    let rounds = Cell::new(0);
    let some = || {
        let round = rounds.get() + 1;
        rounds.set(round);
        let from = round * CHANGED % (ids.len() - CHANGED);
        (round, ids[from..from + CHANGED].to_vec())
    };
    for what in ["numbers", "whole rows"] {
        let Pair { ours, theirs, ratio } = in_turn(
            15,
            || {
                let (n, ids) = some();
                for id in ids {
                    must(store.update(id, |trace| match what {
                        "numbers" => trace.confidence(n as f64 % 100.0 / 100.0),
                        _ => trace.payload(json!("x".repeat(benches::PAYLOAD - n % 10))),
                    }));
                }
                timed(|| _ = must(store.flush()))
            },
            || {
                let (n, ids) = some();
                timed(|| must(bare.write(n, &ids, what == "whole rows")))
            },
        );
        let case = format!("{CHANGED} {what} of {traces}");
        println!("{case:<52} time         {:>12.3} ms, by hand", theirs * 1e3);
        figures.say(
            Figure::new(case, "time", ours * 1e3, "ms").beside("the same SQL by hand", ratio).target(1.3),
        )?;
    }
    store.close()?;

    let Pair { ours, ratio, .. } = in_turn(
        5,
        || {
            let started = Instant::now();
            let store = must(quiet().connect(&url));
            let time = started.elapsed();
            must(store.close());
            time
        },
        || timed(|| must(bare.read_all())),
    );
    figures.say(
        Figure::new(format!("load of {traces}"), "time", ours * 1e3, "ms")
            .beside("SELECT alone", ratio)
            .target(1.2),
    )?;

    let times = (0..3).map(|_| must(taken_over(&url)));
    let beyond = median(times) - LEASE.as_secs_f64() * 1e3;
    figures.say(Figure::new("a killed host's space, beyond the lease", "time", beyond, "ms").target(1_000.0))
}

/// A host that renews its lease until it is killed.
fn hold(url: &str) -> Outcome {
    let _store = TraceStore::builder().space(HELD).lease(LEASE).connect(url)?;
    println!("held");
    loop {
        std::thread::sleep(LEASE);
    }
}

/// Milliseconds from the kill of a host until another one has its space.
fn taken_over(url: &str) -> Outcome<f64> {
    let mut host = Command::new(std::env::current_exe()?)
        .env("MNEMON_HOST", url)
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let said = host.stdout.take().ok_or("no output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut String::new())?;
    host.kill()?;
    let started = Instant::now();
    let store = TraceStore::builder().space(HELD).lease(LEASE).wait_for_lease(10 * LEASE).connect(url)?;
    let time = milliseconds(started);
    host.wait()?;
    store.close()?;
    Ok(time)
}

/// What a user would write by hand.
struct Bare {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Bare {
    fn connect(url: &str) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls))?;
        runtime.spawn(connection);
        Ok(Self { runtime, client })
    }

    fn write(&self, n: usize, ids: &[TraceId], whole: bool) -> Outcome {
        let ids: Vec<_> = ids.iter().map(|id| uuid::Uuid::from_bytes(*id.as_bytes())).collect();
        let rows = ids.len();
        let floats = |value: f64| vec![value; rows];
        let (integers, names) = (|value: i64| vec![value; rows], |value: &'static str| vec![value; rows]);
        let confidence = floats(n as f64 % 100.0 / 100.0);
        let (half, zero, now, one, count) = (floats(0.5), floats(0.0), integers(1), integers(2), integers(0));
        let (tier, flag, kind, origin) =
            (names("hot"), vec![false; rows], names("semantic"), names("direct_experience"));
        let (partition, payload) =
            (names("default"), vec![format!("\"{}\"", "y".repeat(benches::PAYLOAD - 2 - n % 10)); rows]);
        let mut values: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&ids, Type::UUID_ARRAY)];
        values.extend(
            [&half, &half, &zero, &zero, &zero, &confidence].map(|column| (column as _, Type::FLOAT8_ARRAY)),
        );
        values.extend([&now, &now, &one, &count].map(|column| (column as _, Type::INT8_ARRAY)));
        values.push((&tier, Type::TEXT_ARRAY));
        values.extend([&flag, &flag, &flag].map(|column| (column as _, Type::BOOL_ARRAY)));
        let numbers = "strength, peak_strength, base_decay_rate, emotional_valence, emotional_intensity, confidence,
            last_reinforced, last_decayed, revision, reinforcement_count, tier, unresolved, consolidation_candidate, pinned";
        let sets = |names: &str, from: &str| {
            names
                .split(',')
                .map(|name| format!("{0} = {from}.{0}", name.trim()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let arrays = (1..=15).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        let sql = if whole {
            values.extend([&kind, &origin, &partition].map(|column| (column as _, Type::TEXT_ARRAY)));
            values.extend([(&now as _, Type::INT8_ARRAY), (&payload as _, Type::TEXT_ARRAY)]);
            let all = format!("{numbers}, type, origin, partition, created_at, payload");
            format!("INSERT INTO bare.traces (space, id, {all}) SELECT 1, u.* FROM unnest({arrays}, $16, $17, $18, $19, $20) AS u
                ON CONFLICT (space, id) DO UPDATE SET {}", sets(&all, "excluded"))
        } else {
            format!(
                "UPDATE bare.traces t SET {} FROM unnest({arrays}) AS u (id, {numbers})
                WHERE t.space = 1 AND t.id = u.id",
                sets(numbers, "u")
            )
        };
        self.runtime.block_on(async {
            let begin = "BEGIN; UPDATE bare.spaces SET watermark = watermark + 1; SET LOCAL jit = off;
                SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";
            self.client.batch_execute(begin).await?;
            let changed = self.client.execute_typed(&sql, &values).await?;
            self.client.batch_execute("COMMIT").await?;
            if changed == rows as u64 { Ok(()) } else { Err(format!("{changed} rows of {rows}").into()) }
        })
    }

    fn read_all(&self) -> Outcome {
        use futures_util::TryStreamExt;
        self.runtime.block_on(async {
            let rows =
                self.client.query_typed_raw("SELECT * FROM bare.traces", Vec::<(&str, Type)>::new()).await?;
            let mut rows = std::pin::pin!(rows);
            while let Some(row) = rows.try_next().await? {
                std::hint::black_box(row.try_get::<_, &str>("payload")?);
            }
            Ok(())
        })
    }
}
