//! What is written is there when the space is opened again; one owner; what is refused at the door.

use harness::{Outcome, State, manual_flush, note, wait_until};
use mnemon::jiff::Timestamp;
use mnemon::{
    Durability, ErrorKind, Health, NewTrace, Origin, Payload, Progress, StoreBuilder, Tier, TraceId,
    TraceStore, TraceType,
};
use postgres_tests::{Proxy, Server, psql};
use serde_json::json;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A store that flushes when it is told to, in this server. The folder is that of its spills.
fn builder(folder: &TempDir) -> StoreBuilder {
    manual_flush().spill_to(folder.path())
}

/// What another host would load: from a copy of the space, since the space is in use.
fn stored(server: &Server, folder: &TempDir) -> Outcome<State> {
    let url = server.url();
    let copied = builder(folder).space("reader").connect(&url)?;
    let copy_rows =
        "INSERT INTO mnemon.TABLE SELECT (jsonb_populate_record(t, jsonb_build_object('space', r.space))).*
        FROM mnemon.TABLE t, mnemon.spaces s, mnemon.spaces r
        WHERE t.space = s.space AND s.name = 'default' AND r.name = 'reader'";
    copied.close()?;
    for table in ["traces", "links"] {
        server.sql(&format!(
            "DELETE FROM mnemon.{table} WHERE space = (SELECT space FROM mnemon.spaces WHERE name = 'reader')"
        ))?;
        server.sql(&copy_rows.replace("TABLE", table))?;
    }
    let reader = builder(folder).space("reader").connect(&url)?;
    assert!(reader.stats().quarantined.is_empty(), "{:?}", reader.stats().quarantined);
    let state = State::of(&reader);
    reader.close()?;
    Ok(state)
}

/// Every field differs from its default, and no float is short.
fn full(n: usize) -> Outcome<NewTrace> {
    let x = 1.0 / (3.0 + n as f64);
    let kind = TraceType::ALL[n % TraceType::ALL.len()];
    let payload =
        Payload::from_json(format!(r#" {{"b": {n}.50, "a": ["caf\u00e9 日本 \u0000", 1e3, null]}} "#))?;
    let at = |hour| format!("2026-11-24T0{hour}:00:00.123456Z").parse::<Timestamp>();
    Ok(NewTrace::new(kind, payload)
        .id(TraceId::from_reference(&n.to_string()))
        .partition(["even", "odd"][n % 2])
        .origin(Origin::MeshTransfer)
        .embedding([0.1_f32, -1.0 / 3.0, f32::MIN_POSITIVE, n as f32])
        .tags(["a tag", "\"quoted\"\n"])
        .source_agent("another")
        .encryption_key_id("key 7")
        .parent(TraceId::from_reference("parent"))
        .children([TraceId::from_reference("2"), TraceId::from_reference("1")])
        .strength(x)
        .peak_strength(x * 1.7)
        .base_decay_rate(x / 7.0)
        .emotional_valence(-x / 1.1)
        .emotional_intensity(x / 1.3)
        .confidence(x / 1.9)
        .created_at(at(1)?)
        .last_reinforced(at(2)?)
        .last_decayed(at(3)?)
        .reinforcement_count(u32::MAX)
        .revision(i64::MAX as u64)
        .tier(Tier::Cold)
        .unresolved(true)
        .consolidation_candidate(true)
        .valid_until(at(4)?)
        .superseded_by(TraceId::from_reference("successor"))
        .pinned(true))
}

#[test]
fn reopening_finds_everything() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let mut store = builder(&folder).connect(&server.url())?;
    for round in 0..6 {
        let ids = store.insert_many((0..14).map(|n| full(100 * round + n)).collect::<Outcome<Vec<_>>>()?)?;
        let brief = store.insert(note(round))?;
        for (a, b) in ids.iter().zip(&ids[1..]).chain([(&ids[0], &brief)]) {
            store.co_activate(*a, *b)?;
        }
        store.flush()?;
        store.co_activate(ids[0], ids[1])?;
        store.reinforce(ids[2])?;
        store.update(ids[5], |trace| trace.payload(json!("another")).no_embedding().no_parent())?;
        store.update(ids[6], |trace| trace.confidence(2.0 / 3.0))?;
        store.remove(ids[7])?;
        store.remove(brief)?;
        store.insert(note("of the same id").id(brief))?;
        let report = store.flush()?;
        assert_eq!((report.rows_updated, report.rows_deleted), (2, 1), "{report:?}");
        assert_eq!(stored(&server, &folder)?, State::of(&store), "round {round}");
        match round {
            2 => assert!(store.erase_partition("odd")?.rows > 0),
            4 => assert!(store.erase_type(TraceType::Identity)?.links > 0),
            _ => {}
        }
        let (before, watermark) = (State::of(&store), store.watermark().durable);
        store.close()?;
        store = builder(&folder).connect(&server.url())?;
        assert_eq!(State::of(&store), before, "round {round}");
        assert!(store.watermark().durable >= watermark);
    }
    assert!(store.len() > 40 && store.link_count() > 20);
    Ok(())
}

#[test]
fn opening_tells_progress_and_may_be_interrupted() -> Outcome {
    const ROWS: u64 = 600;
    let Some(server) = Server::start()? else { return Ok(()) };
    let (folder, url) = (TempDir::new()?, server.url());
    let store = builder(&folder).connect(&url)?;
    store.insert_many((0..ROWS).map(note))?;
    store.close()?;
    let open: [fn(StoreBuilder, &str) -> mnemon::Result<TraceStore>; 2] =
        [|builder, url| builder.connect(url), |builder, url| builder.detached_space(url)];
    for open in open {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (telling, here) = (told.clone(), std::thread::current().id());
        let watched = builder(&folder).on_progress(move |Progress { step, done, total, .. }| {
            assert_eq!((std::thread::current().id(), step, total), (here, "reading rows", ROWS));
            telling.lock().unwrap_or_else(PoisonError::into_inner).push(done);
            ControlFlow::Continue(())
        });
        assert_eq!(open(watched, &url)?.len() as u64, ROWS);
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(told.is_sorted() && told.first() == Some(&0) && told.last() == Some(&ROWS), "{told:?}");
        let interrupted = builder(&folder).on_progress(|Progress { done, .. }| match done {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        });
        let error = open(interrupted, &url).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{error:?}");
        // It has given its lease up.
        assert_eq!(builder(&folder).connect(&url)?.len() as u64, ROWS);
    }
    Ok(())
}

#[test]
fn second_owner_is_refused_and_named() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let store = builder(&folder).connect(&server.url())?;
    let error = builder(&folder).connect(&server.url()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.to_string().contains(&format!("process {} on ", std::process::id())), "{error}");
    let other = builder(&folder).space("another").connect(&server.url())?;
    store.close()?;
    builder(&folder).connect(&server.url())?;
    drop(other);
    // What is dropped gives the space up as well.
    builder(&folder).space("another").connect(&server.url())?;
    Ok(())
}

#[test]
fn waiting_for_lease_ends_with_it() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let store = builder(&folder).connect(&server.url())?;
    let id = store.insert(note("kept"))?;
    store.close()?;
    // As of a host that is gone.
    server.sql("UPDATE mnemon.spaces SET lease_until = clock_timestamp() + interval '1.5 s'")?;
    let begun = Instant::now();
    let store = builder(&folder).wait_for_lease(Duration::from_secs(60)).connect(&server.url())?;
    assert!(begun.elapsed() > Duration::from_secs(1) && store.contains(id));
    Ok(())
}

#[test]
fn idle_store_keeps_its_lease() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let lease = Duration::from_secs(3);
    let _store = builder(&folder).lease(lease).connect(&server.url())?;
    let until = || server.sql("SELECT lease_until FROM mnemon.spaces");
    let mut renewed = 0;
    let mut last = until()?;
    let begun = Instant::now();
    while renewed < 4 {
        let now = until()?;
        renewed += usize::from(now != last);
        last = now;
        // A store that finds its lease ended takes it again.
        assert_eq!(server.sql("SELECT lease_until > clock_timestamp() FROM mnemon.spaces")?, "t");
        assert!(begun.elapsed() < Duration::from_secs(60), "renewed {renewed} times");
    }
    assert!(begun.elapsed() > lease);
    Ok(())
}

/// The former owner was stopped, say, and goes on.
#[test]
fn former_owner_writes_nothing_and_spills() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let store = builder(&folder).connect(&server.url())?;
    let kept = store.insert(note("flushed"))?;
    store.flush()?;
    server.sql("UPDATE mnemon.spaces SET lease_until = NULL")?;
    let successor = builder(&folder).connect(&server.url())?;
    let lost = store.insert(note("not flushed"))?;
    let error = store.flush().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
    assert!(
        error.to_string().contains(&format!("taken over by process {} on", std::process::id())),
        "{error}"
    );
    assert!(matches!(store.health(), Health::Degraded { kind: ErrorKind::InUse, .. }), "{}", store.health());
    store.update(lost, |trace| trace.confidence(0.25))?;
    let failed = store.close().unwrap_err();
    assert_eq!(failed.error.kind(), ErrorKind::InUse);
    let message = failed.error.to_string();
    let spill = message.rsplit(' ').next().ok_or("a path")?;
    let spilled = std::fs::read_to_string(spill)?;
    assert!(
        spilled.contains("not flushed") && spilled.contains("0.25") && !spilled.contains(&kept.to_string())
    );
    assert!(!failed.store.health().is_ready());
    assert_eq!(successor.iter().map(|trace| trace.id()).collect::<Vec<_>>(), [kept]);
    successor.insert(note("of the successor"))?;
    successor.close()?;
    // It is not for whoever comes later.
    let third = builder(&folder).connect(&server.url())?;
    assert!(third.len() == 2 && !third.contains(lost) && std::path::Path::new(spill).exists());
    Ok(())
}

#[test]
fn idle_store_notices_take_over() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let store = builder(&folder).lease(Duration::from_millis(600)).connect(&server.url())?;
    mnemon::postgres::release(&server.url(), "default")?;
    let _successor = builder(&folder).connect(&server.url())?;
    wait_until(|| matches!(store.health(), Health::Degraded { kind: ErrorKind::InUse, .. }));
    Ok(())
}

/// The server was away when the host had to end.
#[test]
fn spill_is_applied_by_next_opening() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let proxy = Proxy::start(server.port())?;
    let store = builder(&folder).connect(&server.url_at(proxy.port()))?;
    let gone = store.insert(note("gone"))?;
    store.flush()?;
    proxy.refuse(true);
    let id = store.insert(note("spilled"))?;
    store.remove(gone)?;
    let info = store.spill()?;
    assert_eq!(info.traces, 2);
    // As of a host that is gone.
    server.sql("UPDATE mnemon.spaces SET lease_until = NULL")?;
    let next = builder(&folder).connect(&server.url())?;
    assert!(next.contains(id) && !next.contains(gone) && !info.path.exists());
    next.close()?;
    let next = builder(&folder).connect(&server.url())?;
    assert!(next.contains(id) && next.len() == 1);
    drop(store);
    Ok(())
}

#[test]
fn spaces_are_listed_and_released() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let url = server.url();
    assert_eq!(mnemon::postgres::spaces(&url)?, []);
    let store = builder(&folder).space("a").connect(&url)?;
    let ids = store.insert_many((0..3).map(note))?;
    store.co_activate(ids[0], ids[1])?;
    let watermark = store.flush()?.watermark;
    builder(&folder).space("b").connect(&url)?.close()?;
    let spaces = mnemon::postgres::spaces(&url)?;
    let [a, b] = &*spaces else { return Err(format!("{spaces:?}").into()) };
    assert_eq!(
        (&*a.name, a.traces, a.links, a.watermark, a.is_clean, a.is_over),
        ("a", 3, 1, watermark, false, false)
    );
    let content = mnemon::postgres::inspect(&url, "a")?;
    let count = |name: &str, n| [(name.to_owned(), n)].into();
    assert_eq!((&content.report.name, content.report.traces, content.report.links), (&a.name, 3, 1));
    assert_eq!(content.by_type, count("semantic", 3));
    assert_eq!(content.by_partition, count("default", 3));
    assert_eq!(content.by_tier, count("hot", 3));
    let unknown = mnemon::postgres::inspect(&url, "c").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert!(a.lease_until.is_some() && a.owner.as_deref().is_some_and(|owner| owner.starts_with("process")));
    assert_eq!((&*b.name, b.traces, b.links, b.lease_until, b.is_clean), ("b", 0, 0, None, true));
    assert_eq!(mnemon::postgres::release(&url, "a")?, a.owner);
    assert_eq!(mnemon::postgres::release(&url, "c").unwrap_err().kind(), ErrorKind::NotFound);
    store.insert(note("too late"))?;
    assert_eq!(store.flush().unwrap_err().kind(), ErrorKind::InUse);
    assert_eq!(builder(&folder).space("a").connect(&url)?.len(), 3);
    Ok(())
}

/// A CHECK of the user's own stands for what a server may refuse.
#[test]
fn refused_row_is_left_out() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let store = builder(&folder).connect(&server.url())?;
    server.sql("ALTER TABLE mnemon.traces ADD CONSTRAINT good CHECK (payload NOT LIKE '%bad%')")?;
    let good = store.insert_many((0..1_000).map(note))?;
    let bad = store.insert(note("bad"))?;
    store.co_activate(good[0], good[1])?;
    store.co_activate(good[0], bad)?;
    let report = store.flush()?;
    assert_eq!((report.rows_upserted, report.links_upserted, report.rows_refused), (1_000, 1, 2));
    let quarantined = store.stats().quarantined;
    assert_eq!(quarantined.iter().map(|row| row.id).collect::<Vec<_>>(), [Some(bad)]);
    assert!(
        quarantined[0].reason.contains("good") && !quarantined[0].reason.contains("bad"),
        "{quarantined:?}"
    );
    server.sql("ALTER TABLE mnemon.traces DROP CONSTRAINT good")?;
    store.update(bad, |trace| trace.confidence(0.3))?;
    store.flush()?;
    assert_eq!(stored(&server, &folder)?, State::of(&store));
    assert!(store.stats().quarantined.is_empty());
    Ok(())
}

#[test]
fn unreadable_row_stays_until_it_is_erased() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let store = builder(&folder).connect(&server.url())?;
    let hers = store.insert(NewTrace::episodic(json!("a")).partition("hers"))?;
    store.co_activate(hers, store.insert(note("b"))?)?;
    store.close()?;
    server.sql("UPDATE mnemon.traces SET type = 'nonsense' WHERE type = 'episodic'")?;
    let store = builder(&folder).connect(&server.url())?;
    assert_eq!((store.len(), store.stats().quarantined.len()), (1, 2), "the row and the link");
    // Its id is taken.
    store.insert(note("c").id(hers))?;
    assert_eq!(store.flush()?.rows_refused, 1);
    store.remove(hers)?;
    store.close()?;
    assert_eq!(server.sql("SELECT type FROM mnemon.traces WHERE partition = 'hers'")?, "nonsense");
    let store = builder(&folder).connect(&server.url())?;
    assert_eq!(store.erase_partition("hers")?.rows, 1);
    store.insert(note("d").id(hers))?;
    store.flush()?;
    assert!(store.stats().quarantined.is_empty());
    assert_eq!(stored(&server, &folder)?, State::of(&store));
    Ok(())
}

/// A fail-over to a standby that had not got them, or a backup put in place.
#[test]
fn lost_commits_are_written_again() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let store = builder(&folder).connect(&server.url())?;
    let ids = store.insert_many((0..20).map(note))?;
    store.flush()?;
    server.sql("CREATE TABLE t AS TABLE mnemon.traces; CREATE TABLE s AS TABLE mnemon.spaces")?;
    store.remove(ids[0])?;
    store.update(ids[1], |trace| trace.confidence(0.2))?;
    store.insert(note("newer"))?;
    store.flush()?;
    let restore = "BEGIN; DELETE FROM mnemon.traces; INSERT INTO mnemon.traces TABLE t;
        UPDATE mnemon.spaces SET watermark = (SELECT watermark FROM s); COMMIT";
    server.sql(restore)?;
    store.update(ids[2], |trace| trace.confidence(0.3))?;
    assert_eq!(store.flush().unwrap_err().kind(), ErrorKind::Io);
    store.flush()?;
    assert_eq!(stored(&server, &folder)?, State::of(&store));
    Ok(())
}

/// So is a row that somebody has deleted.
#[test]
fn missing_row_is_written_whole() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let store = builder(&folder).connect(&server.url())?;
    let ids = store.insert_many((0..10).map(note))?;
    store.flush()?;
    server.sql(&format!("DELETE FROM mnemon.traces WHERE id = '{}'", ids[3]))?;
    store.update(ids[3], |trace| trace.confidence(0.1))?;
    store.update(ids[4], |trace| trace.confidence(0.1))?;
    let report = store.flush()?;
    assert_eq!((report.rows_upserted, report.rows_updated), (2, 0));
    assert_eq!(stored(&server, &folder)?, State::of(&store));
    Ok(())
}

#[test]
fn committed_becomes_durable_when_idle() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let builder = TraceStore::builder().spill_to(folder.path()).flush_interval(Duration::ZERO);
    let store = builder.durability(Durability::Committed).connect(&server.url())?;
    store.insert(note("relaxed"))?;
    wait_until(|| store.watermark().committed > 0);
    wait_until(|| store.watermark().durable == store.watermark().committed);
    assert_eq!(store.stats().dirty, 0);
    Ok(())
}

/// Whatever the statistics say: with these a join with the table would scan it.
#[test]
fn number_updates_go_by_index() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let store = builder(&folder).connect(&server.url())?;
    let ids = store.insert_many((0..10_000).map(note))?;
    store.close()?;
    server.sql("VACUUM ANALYZE mnemon.traces")?;
    let table = "FROM pg_stat_user_tables WHERE schemaname = 'mnemon' AND relname = 'traces'";
    // Counted at the latest when a connection ends.
    let is_counted = |what: &str| {
        wait_until(|| server.sql(&format!("SELECT {what} {table}")).is_ok_and(|counted| counted == "t"))
    };
    is_counted("n_tup_ins = 10000");
    let scans = || -> Outcome<u64> { Ok(server.sql(&format!("SELECT seq_scan {table}"))?.parse()?) };
    let before = scans()?;
    let store = builder(&folder).connect(&server.url())?;
    for id in &ids[..2_000] {
        store.update(*id, |trace| trace.confidence(0.75))?;
    }
    assert_eq!(store.flush()?.rows_updated, 2_000);
    store.close()?;
    is_counted("n_tup_upd = 2000");
    // That of the load.
    assert_eq!(scans()? - before, 1);
    Ok(())
}

#[test]
fn invalid_settings_are_named() -> Outcome {
    let url = "postgres://nobody@localhost:1/none";
    let builder = TraceStore::builder;
    let field = |builder: StoreBuilder| {
        builder.connect(url).map(drop).map_err(|error| error.field().map(str::to_owned))
    };
    for (builder, name) in [
        (builder().space(""), "space"),
        (builder().space("a\0b"), "space"),
        (builder().lease(Duration::from_millis(1)), "lease"),
        (builder().flush_timeout(Duration::MAX), "flush_timeout"),
        (builder().max_payload_bytes(1 << 30), "max_payload_bytes"),
    ] {
        assert_eq!(field(builder), Err(Some(name.to_owned())));
    }
    assert_eq!(field(builder().keep_history(3)), Err(Some("keep_history".to_owned())));
    Ok(())
}

#[test]
fn errors_of_opening_show_no_password() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let port = server.port();
    for (url, kind) in [
        (format!("postgres://nobody:s3cret@127.0.0.1:{port}/mnemon"), ErrorKind::Unreachable),
        (format!("postgres://mnemon:s3cret@127.0.0.1:{port}/none"), ErrorKind::Unreachable),
        ("postgres://mnemon:s3cret@127.0.0.1:1/none".to_owned(), ErrorKind::Unreachable),
        ("postgres://mnemon:s?3cret=s3cret@127.0.0.1:1/none".to_owned(), ErrorKind::Unreachable),
        (format!("postgres://mnemon:s3cret@127.0.0.1:{port}/mnemon?sslmode=require"), ErrorKind::Unreachable),
    ] {
        let error = builder(&folder).connect(&url).map(drop).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(!format!("{error:?}").contains("3cret"), "{error:?}");
    }
    Ok(())
}

#[test]
fn schema_of_another_is_left_alone() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    for (n, (sql, kind)) in [
        ("CREATE SCHEMA mnemon; CREATE TABLE mnemon.notes (n int)", ErrorKind::NotAStore),
        ("CREATE SCHEMA mnemon; CREATE TABLE mnemon.version (n int)", ErrorKind::NotAStore),
        (
            "CREATE SCHEMA mnemon; CREATE TABLE mnemon.version AS SELECT true AS one, 1 AS version",
            ErrorKind::NotAStore,
        ),
        (
            "CREATE SCHEMA mnemon; CREATE TABLE mnemon.version AS SELECT true AS one, 3 AS version",
            ErrorKind::NewerSchema,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        server.sql(&format!("CREATE DATABASE test_{n}"))?;
        let url = format!("postgres://postgres@127.0.0.1:{}/test_{n}", server.port());
        psql(&url, sql)?;
        let error = builder(&folder).connect(&url).map(drop).unwrap_err();
        assert_eq!(error.kind(), kind, "{sql}: {error:?}");
        let count = "SELECT count(*) FROM pg_class WHERE relnamespace = 'mnemon'::regnamespace";
        assert_eq!(psql(&url, count)?, "1");
    }
    Ok(())
}

#[test]
fn many_spaces_share_few_connections() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let stores = (0..40).map(|n| builder(&folder).space(format!("space {n}")).connect(&server.url()));
    let stores = stores.collect::<mnemon::Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let write = |store: &TraceStore| store.insert(note("one")).and_then(|_| store.flush());
        let flushes: Vec<_> = stores.iter().map(|store| scope.spawn(move || write(store))).collect();
        flushes.into_iter().try_for_each(|flush| flush.join().expect("no panic").map(drop))
    })?;
    let connections = "SELECT count(*) <= 9 FROM pg_stat_activity WHERE application_name = 'mnemon'";
    assert_eq!(server.sql(connections)?, "t");
    assert_eq!(server.sql("SELECT count(*) FROM mnemon.traces")?, "40");
    Ok(())
}

/// The child has the test's authority among its roots, and this process has not.
#[test]
fn tls_verifies_certificate_and_name() -> Outcome {
    const CHILD: &str = "MNEMON_TEST_TLS_PORT";
    let open = |host: &str, port: &str| {
        let builder = manual_flush().flush_timeout(Duration::from_secs(60));
        builder.connect(&format!("postgres://mnemon@{host}:{port}/mnemon?sslmode=verify-full"))
    };
    if let Ok(port) = std::env::var(CHILD) {
        let store = open("localhost", &port)?;
        store.insert(note("by TLS"))?;
        store.close()?;
        let error = open("127.0.0.1", &port).map(drop).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Unreachable && format!("{error:?}").contains("certificate"),
            "{error:?}"
        );
        return Ok(());
    }
    let Some(server) = Server::start()? else { return Ok(()) };
    let folder = TempDir::new()?;
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=authority -keyout ca.key -out ca.crt -days 2 &&
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr &&
        printf 'subjectAltName=DNS:localhost' >names &&
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names &&
        chmod 711 . && chmod 640 server.key && { [ $(id -u) != 0 ] || chgrp postgres server.key; }";
    let made = Command::new("sh").args(["-c", script]).current_dir(folder.path()).output();
    let made = made?;
    if !made.status.success() {
        eprintln!("skipped: no certificates: {}", String::from_utf8_lossy(&made.stderr));
        return Ok(());
    }
    for (setting, file) in [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")] {
        server.sql(&format!("ALTER SYSTEM SET {setting} = '{}'", folder.path().join(file).display()))?;
    }
    server.sql("ALTER SYSTEM SET ssl = on")?;
    server.sql("SELECT pg_reload_conf()")?;
    wait_until(|| server.sql("SHOW ssl").is_ok_and(|ssl| ssl == "on"));
    let port = server.port().to_string();
    let error = open("localhost", &port).map(drop).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Unreachable && format!("{error:?}").contains("certificate"),
        "{error:?}"
    );
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["--exact", "tls_verifies_certificate_and_name", "--nocapture"]);
    let child = child.env(CHILD, &port).env("SSL_CERT_FILE", folder.path().join("ca.crt")).output()?;
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    assert_eq!(server.sql("SELECT payload FROM mnemon.traces")?, r#"{"note":"by TLS"}"#);
    Ok(())
}
