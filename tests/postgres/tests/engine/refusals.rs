//! Servers that refuse: passwords, rights and schemas; and how many connections a process takes.

use harness::{Outcome, manual_flush, note};
use mnemon::{ErrorKind, TraceStore};
use postgres_tests::{Server, psql};

fn refused(url: &str) -> Outcome<mnemon::Error> {
    Ok(TraceStore::connect(url).err().ok_or("it was opened")?)
}

#[test]
fn wrong_password_is_refused() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    server.sql(
        "CREATE ROLE guarded LOGIN PASSWORD 'a right one'; GRANT CREATE ON DATABASE mnemon TO guarded",
    )?;
    let url = |password: &str| server.url().replace("mnemon@", &format!("guarded:{password}@"));
    let error = refused(&url("a%20wrong%20one"))?;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    assert!(!format!("{error:?}").contains("wrong one") && !format!("{error:?}").contains("wrong%20one"));
    assert_eq!(refused(&server.url().replace("mnemon@", "guarded@"))?.kind(), ErrorKind::Unreachable);
    TraceStore::connect(&url("a%20right%20one"))?.close()?;
    Ok(())
}

#[test]
fn missing_rights_are_named() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    server.sql("CREATE ROLE guest LOGIN")?;
    let guest = server.url().replace("mnemon@", "guest@");
    assert_eq!(refused(&guest)?.kind(), ErrorKind::Unreachable, "it may not make the schema");
    TraceStore::connect(&server.url())?.close()?;
    assert_eq!(refused(&guest)?.kind(), ErrorKind::Unreachable, "it may not use the schema");

    server.sql(
        "GRANT USAGE ON SCHEMA mnemon TO guest;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA mnemon TO guest",
    )?;
    let store = manual_flush().space("a guest's").connect(&guest)?;
    server.sql("REVOKE INSERT, UPDATE ON mnemon.traces FROM guest")?;
    store.insert(note(1))?;
    let error = store.flush().err().ok_or("it was flushed")?;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    server.sql("GRANT INSERT, UPDATE ON mnemon.traces TO guest")?;
    store.flush()?;
    assert_eq!(psql(&server.url(), "SELECT count(*) FROM mnemon.traces")?, "1");
    store.close()?;
    Ok(())
}

#[test]
fn newer_schema_is_left_alone() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    TraceStore::connect(&server.url())?.close()?;
    server.sql("UPDATE mnemon.version SET version = version + 1")?;
    assert_eq!(refused(&server.url())?.kind(), ErrorKind::NewerSchema);
    Ok(())
}

#[test]
fn older_schema_is_brought_forward() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let store = TraceStore::connect(&server.url())?;
    let id = store.insert(note(1))?;
    store.close()?;
    server.sql("ALTER TABLE mnemon.spaces DROP COLUMN applied; UPDATE mnemon.version SET version = 1")?;
    // Who only reads changes nothing.
    assert!(TraceStore::builder().detached_space(&server.url())?.contains(id));
    assert_eq!(server.sql("SELECT version FROM mnemon.version")?, "1");
    let store = TraceStore::connect(&server.url())?;
    store.insert(note(2))?;
    store.close()?;
    assert_eq!(TraceStore::connect(&server.url())?.len(), 2);
    assert_eq!(server.sql("SELECT version FROM mnemon.version")?, "2");
    Ok(())
}

#[test]
fn foreign_schema_is_left_alone() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    for tables in [
        "CREATE TABLE mnemon.traces (n int)",
        "CREATE TABLE mnemon.version (n int)",
        "CREATE TABLE mnemon.another ()",
    ] {
        psql(&server.url(), &format!("CREATE SCHEMA mnemon; {tables}"))?;
        let columns = "SELECT string_agg(table_name || column_name, ',' ORDER BY 1)
            FROM information_schema.columns WHERE table_schema = 'mnemon'";
        let before = server.sql(columns)?;
        assert_eq!(refused(&server.url())?.kind(), ErrorKind::NotAStore, "{tables}");
        assert_eq!(server.sql(columns)?, before, "{tables}");
        server.sql("DROP SCHEMA mnemon CASCADE")?;
    }
    Ok(())
}

#[test]
fn thousand_spaces_share_few_connections() -> Outcome {
    const SPACES: usize = 1_000;
    let Some(server) = Server::start()? else { return Ok(()) };
    let stores = (0..SPACES).map(|n| {
        let store = manual_flush().space(format!("space {n}")).connect(&server.url())?;
        store.insert(note(n))?;
        Ok(store)
    });
    let stores = stores.collect::<mnemon::Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let flushing: Vec<_> = stores
            .chunks(SPACES / 20)
            .map(|some| scope.spawn(|| some.iter().try_for_each(|store| store.flush().map(drop))))
            .collect();
        flushing.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    let connections: usize =
        server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'mnemon'")?.parse()?;
    assert!((1..=12).contains(&connections), "{connections} connections");
    assert_eq!(server.sql("SELECT count(*), count(DISTINCT space) FROM mnemon.traces")?, "1000|1000");
    stores.into_iter().try_for_each(|store| store.close().map(drop))?;
    Ok(())
}
