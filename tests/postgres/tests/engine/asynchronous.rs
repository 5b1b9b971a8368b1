//! Servers and roles whose commits are not durable by default: what is told to be durable is.

use harness::{Outcome, manual_flush, note, wait_until};
use mnemon::{Durability, StoreBuilder, TraceStore};
use postgres_tests::Server;
use std::time::Duration;
use tempfile::TempDir;

/// What `write` has a store do is there after the server was killed. Its WAL is written only where a commit asks for it.
fn survives_kill(change: fn(StoreBuilder) -> StoreBuilder, write: fn(&TraceStore) -> Outcome) -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    server.sql("ALTER ROLE mnemon SET synchronous_commit = off")?;
    server.sql("ALTER SYSTEM SET wal_writer_delay = '10s'")?;
    server.sql("ALTER SYSTEM SET checkpoint_timeout = '1h'")?;
    server.sql("SELECT pg_reload_conf()")?;
    let folder = TempDir::new()?;
    let builder = change(manual_flush().spill_to(folder.path()).lease(Duration::from_secs(600)));
    let store = builder.connect(&server.url())?;
    write(&store)?;
    server.kill()?;
    server.start_again()?;
    assert_eq!(server.sql("SELECT count(*) FROM mnemon.traces")?, "1");
    Ok(())
}

#[test]
fn flush_survives_kill_of_server() -> Outcome {
    survives_kill(
        |builder| builder,
        |store| {
            store.insert(note("flushed"))?;
            store.flush()?;
            Ok(())
        },
    )
}

#[test]
fn idle_sync_survives_kill_of_server() -> Outcome {
    survives_kill(
        |builder| builder.durability(Durability::Committed).flush_threshold(1),
        |store| {
            store.insert(note("committed"))?;
            wait_until(|| store.watermark().durable > 0);
            Ok(())
        },
    )
}
