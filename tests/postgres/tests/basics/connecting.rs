//! Opening a space: progress, settings, passwords, schemas, connections and TLS.

use crate::builder;
use harness::{Outcome, manual_flush, note, wait_until};
use mnemon::{ErrorKind, Progress, StoreBuilder, TraceStore};
use postgres_tests::{Server, psql};
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

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
    child.args(["--exact", "connecting::tls_verifies_certificate_and_name", "--nocapture"]);
    let child = child.env(CHILD, &port).env("SSL_CERT_FILE", folder.path().join("ca.crt")).output()?;
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    assert_eq!(server.sql("SELECT payload FROM mnemon.traces")?, r#"{"note":"by TLS"}"#);
    Ok(())
}
