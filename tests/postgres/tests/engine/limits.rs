//! Large cuts, slow networks, few connections and a host's subscriber: what is slow fails in time, and holds up nobody
//! else.

use harness::{Outcome, manual_flush, note, process, wait_until};
use mnemon::postgres::{follow, release};
use mnemon::{ErrorKind, Health, NewTrace, StoreBuilder, TraceStore};
use postgres_tests::{Proxy, Server, psql};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A store that flushes only when asked. The folder is that of its spills.
fn builder(folder: &TempDir) -> StoreBuilder {
    manual_flush().spill_to(folder.path())
}

/// A session that has a transaction open in which this was done; rolled back when dropped.
struct Session(Child);

impl Session {
    fn holding(server: &Server, sql: &str) -> Outcome<Self> {
        let mut psql = Command::new("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &server.url()]);
        let mut session = Self(psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        session.does(&format!("BEGIN; {sql}"))?;
        Ok(session)
    }

    fn does(&mut self, sql: &str) -> Outcome {
        writeln!(self.0.stdin.as_mut().ok_or("psql's input")?, "{sql};\n\\echo done")?;
        let output = BufReader::new(self.0.stdout.as_mut().ok_or("psql's output")?);
        output
            .lines()
            .find(|line| line.as_ref().is_ok_and(|line| line == "done"))
            .ok_or("psql has ended")??;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn large_partition_is_erased() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    server.sql("ALTER ROLE mnemon SET work_mem = '64kB'")?;
    let folder = TempDir::new()?;
    let store = builder(&folder).flush_timeout(Duration::from_secs(1)).connect(&server.url())?;
    store.insert_many([note("kept"), note("gone").partition("gone")])?;
    store.flush()?;
    server.sql(
        "INSERT INTO mnemon.traces SELECT (jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid()))).*
            FROM mnemon.traces t, generate_series(1, 20000);
        INSERT INTO mnemon.links SELECT space, a, b, 1, 0, 0
            FROM (SELECT space, id AS a, lead(id) OVER (ORDER BY id) AS b FROM mnemon.traces) AS l WHERE b IS NOT NULL",
    )?;
    assert_eq!(store.erase_partition("gone")?.rows, 20_001);
    let left = "SELECT count(*) FILTER (WHERE partition = 'gone'), count(*) FROM mnemon.traces";
    assert_eq!(server.sql(left)?, "0|20001");
    let with_ends = "SELECT count(*) FROM mnemon.links l
        JOIN mnemon.traces a ON a.space = l.space AND a.id = l.a
        JOIN mnemon.traces b ON b.space = l.space AND b.id = l.b";
    assert_eq!(
        server.sql(&format!("SELECT count(*) > 0, count(*) = ({with_ends}) FROM mnemon.links"))?,
        "t|t"
    );
    Ok(())
}

/// Calls a store from the thread that its flushes need.
struct Calling;

static CALLED: OnceLock<TraceStore> = OnceLock::new();
static ANSWER: OnceLock<Option<ErrorKind>> = OnceLock::new();

/// Held by the test, this holds up that thread.
static GATE: Mutex<()> = Mutex::new(());
static IS_HELD_UP: AtomicBool = AtomicBool::new(false);

impl Subscriber for Calling {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        thread::current().name() == Some("mnemon-postgres")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        if let Some(store) = CALLED.get().filter(|_| ANSWER.get().is_none()) {
            ANSWER.set(store.flush().err().map(|error| error.kind())).ok();
        }
        if GATE.try_lock().is_err() {
            IS_HELD_UP.store(true, Ordering::Relaxed);
            drop(GATE.lock());
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn subscriber_holds_up_no_flush() -> Outcome {
    process::alone(|| {
        let Some(server) = Server::start()? else { return Ok(()) };
        let proxy = Proxy::start(server.port())?;
        tracing::subscriber::set_global_default(Calling)?;
        let folder = TempDir::new()?;
        let builder = builder(&folder).flush_timeout(Duration::from_secs(1));
        let store = builder.connect(&server.url_at(proxy.port()))?;
        store.insert(note(1))?;
        CALLED.set(store.clone()).map_err(|_| "called before")?;
        proxy.reset();
        wait_until(|| ANSWER.get().is_some());
        assert_eq!(ANSWER.get(), Some(&Some(ErrorKind::WouldDeadlock)));
        store.flush()?;
        store.insert(note(2))?;
        let gate = GATE.lock()?;
        proxy.reset();
        wait_until(|| IS_HELD_UP.load(Ordering::Relaxed));
        let error = store.flush().err().ok_or("it was flushed without its thread")?;
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        drop(gate);
        store.flush()?;
        Ok(())
    })
}

#[test]
fn dirty_store_notices_take_over() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let store = builder(&folder).lease(Duration::from_millis(600)).connect(&server.url())?;
    store.insert(note("not flushed"))?;
    release(&server.url(), "default")?;
    let _successor = builder(&folder).connect(&server.url())?;
    wait_until(|| matches!(store.health(), Health::Degraded { kind: ErrorKind::InUse, .. }));
    Ok(())
}

#[test]
fn stricter_isolation_by_default_serves() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    server.sql("ALTER ROLE mnemon SET default_transaction_isolation = 'repeatable read'")?;
    let folder = TempDir::new()?;
    let store = builder(&folder).connect(&server.url())?;
    store.insert(note(1))?;
    let mut session = Session::holding(&server, "UPDATE mnemon.spaces SET followed_until = NULL")?;
    thread::scope(|scope| -> Outcome {
        let flushing = scope.spawn(|| store.flush());
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        wait_until(|| server.sql(waiting).is_ok_and(|sessions| sessions == "1"));
        session.does("COMMIT")?;
        flushing.join().map_err(|_| "a panic")??;
        Ok(())
    })?;
    let failed = store.stats().last_error;
    assert!(failed.is_none(), "it was tried again after {failed:?}");
    Ok(())
}

/// The server has committed, and neither answer nor question got through.
#[test]
fn erasure_in_doubt_frees_ids() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let proxy = Proxy::start(server.port())?;
    let (folder, url) = (TempDir::new()?, server.url_at(proxy.port()));
    let store = builder(&folder).connect(&url)?;
    let hers = store.insert(NewTrace::episodic(json!("a")).partition("hers"))?;
    store.close()?;
    server.sql("UPDATE mnemon.traces SET type = 'nonsense'")?;
    let store = builder(&folder).connect(&url)?;
    assert_eq!(store.stats().quarantined.len(), 1);
    proxy.lose_answers(2);
    // Fails, and is tried again, or is so by the next flush.
    drop(store.erase_partition("hers"));
    assert_eq!((proxy.answers_lost(), server.sql("SELECT count(*) FROM mnemon.traces")?.as_str()), (2, "0"));
    store.insert(note("of the same id").id(hers))?;
    assert_eq!(store.flush()?.rows_refused, 0);
    assert!(store.stats().quarantined.is_empty(), "{:?}", store.stats().quarantined);
    assert_eq!(server.sql("SELECT count(*) FROM mnemon.traces")?, "1");
    Ok(())
}

#[test]
fn short_lease_ends_no_other() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let proxy = Proxy::start(server.port())?;
    let (folder, url) = (TempDir::new()?, server.url_at(proxy.port()));
    let store = |name: &str, lease| builder(&folder).space(name).lease(lease).connect(&url);
    let _short = store("short", Duration::from_millis(300))?;
    let long = store("long", Duration::from_secs(5))?;
    let until = || server.sql("SELECT lease_until FROM mnemon.spaces WHERE name = 'long'");
    // A connection takes longer now than a third of the short lease, as does an answer.
    proxy.delay(Duration::from_millis(60));
    proxy.reset();
    let begun = Instant::now();
    for _ in 0..3 {
        let last = until()?;
        while until()? == last {
            assert!(begun.elapsed() < Duration::from_secs(30), "it is not renewed");
            assert_eq!(long.health(), Health::Healthy);
        }
    }
    Ok(())
}

#[test]
fn followers_that_wait_hold_up_no_flush() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let (folder, url) = (TempDir::new()?, server.url());
    builder(&folder).space("held").connect(&url)?.close()?;
    let store = builder(&folder).flush_timeout(Duration::from_secs(3)).connect(&url)?;
    let session = Session::holding(&server, "SELECT FROM mnemon.spaces WHERE name = 'held' FOR UPDATE")?;
    thread::scope(|scope| -> Outcome {
        let followers: Vec<_> = (0..8).map(|_| scope.spawn(|| follow(&url, "held", 0).map(drop))).collect();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        wait_until(|| server.sql(waiting).is_ok_and(|sessions| sessions.parse().is_ok_and(|n: u32| n >= 4)));
        let flushed: Outcome = (0..20).try_for_each(|n| {
            store.insert(note(n))?;
            store.flush()?;
            Ok(())
        });
        let late = builder(&folder).space("late").flush_timeout(Duration::from_millis(500)).connect(&url);
        drop(session);
        flushed?;
        let late = late.err().ok_or("it was opened")?;
        assert!(late.kind() == ErrorKind::Unreachable && late.to_string().contains("connection"), "{late}");
        for follower in followers {
            follower.join().map_err(|_| "a panic")??;
        }
        Ok(())
    })
}

/// Of numbers alone the flush is short; of a row that is gone all must be sent.
#[test]
fn large_rows_that_are_gone_are_written_again() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let proxy = Proxy::start(server.port())?;
    let folder = TempDir::new()?;
    let builder = builder(&folder).flush_timeout(Duration::from_secs(1));
    let store = builder.connect(&server.url_at(proxy.port()))?;
    let ids = store.insert_many((0..32).map(|_| note("x".repeat(1 << 19))))?;
    store.flush()?;
    for id in &ids {
        store.update(*id, |trace| trace.confidence(0.25))?;
    }
    psql(&server.url(), &format!("DELETE FROM mnemon.traces WHERE id = '{}'", ids[0]))?;
    // All takes two seconds and a half at least.
    proxy.delay(Duration::from_millis(10));
    assert_eq!(store.flush()?.rows_upserted, 32);
    Ok(())
}
