//! Rows that are refused, unreadable, gone, or lost by the server.

use crate::{builder, stored};
use harness::{Outcome, State, note, wait_until};
use mnemon::{Durability, ErrorKind, NewTrace, TraceStore};
use postgres_tests::Server;
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;

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
