//! Who owns a space: leases, take-overs, spills and releases.

use crate::builder;
use harness::{Outcome, note, wait_until};
use mnemon::{ErrorKind, Health};
use postgres_tests::{Proxy, Server};
use std::time::{Duration, Instant};
use tempfile::TempDir;

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
