//! Hosts that are killed, stopped, or one too many.

use crate::space::{FLUSH_TIMEOUT, LEASE, Space, within_a_second_of};
use harness::{Outcome, note, wait_until};
use mnemon::{ErrorKind, TraceId, TraceStore};
use postgres_tests::{Proxy, Server};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[test]
fn killed_host_loses_nothing() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut space = Space::new(&server, "killed")?;
    within_a_second_of(LEASE, || {
        let mut host = space.host(&server.url())?;
        host.goes_on()?;
        host.kill()?;
        let took = space.take_over(Instant::now())?;
        let mut next = space.host(&server.url())?;
        next.goes_on()?;
        next.close()?;
        space.check(&[&host, &next])?;
        Ok(took)
    })
}

#[test]
fn second_host_is_refused() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut space = Space::new(&server, "second")?;
    let mut host = space.host(&server.url())?;
    let mut second = space.host_with(&server.url(), |orders| orders.wait_for_lease = Duration::ZERO)?;
    let refused = second.wait_for("refused")?;
    assert!(refused.starts_with(&format!("{:?}", ErrorKind::InUse)), "{refused}");
    assert!(refused.contains(&host.id().to_string()), "it names the owner: {refused}");
    host.goes_on()?;
    host.close()?;
    space.check(&[&host])?;
    Ok(())
}

#[test]
fn host_stopped_beyond_lease_is_fenced() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut space = Space::new(&server, "stopped")?;
    let mut took = Vec::new();
    for round in 1..=3 {
        let mut first = space.host(&server.url())?;
        first.goes_on()?;
        first.signal("STOP")?;
        took.push(space.take_over(Instant::now())?);
        let mut second = space.host(&server.url())?;
        second.goes_on()?;
        first.signal("CONT")?;
        let lost = first.wait_for("lost")?;
        assert!(lost.contains(&second.id().to_string()), "it names the new owner: {lost}");
        let (why, spills) = first.close_without_lease()?;
        assert_eq!(spills, round, "what it had not flushed is kept: {why}");
        second.goes_on()?;
        second.close()?;
        let state = space.check(&[&first, &second])?;
        assert_eq!(state, second.told()?.durable, "nothing of the first is in the space");
    }
    let mut took = took.into_iter();
    within_a_second_of(LEASE, || Ok(took.next().ok_or("three rounds")?))
}

#[test]
fn late_packets_of_former_owner_are_fenced() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut space = Space::new(&server, "late")?;
    let mut took = Vec::new();
    for _ in 0..3 {
        let proxy = Proxy::start(server.port())?;
        let mut first = space.host(&server.url_at(proxy.port()))?;
        first.goes_on()?;
        proxy.swallow(true);
        harness::wait_until(|| proxy.swallowed() > 0);
        first.kill()?;
        took.push(space.take_over(Instant::now())?);
        let mut second = space.host(&server.url())?;
        second.goes_on()?;
        proxy.swallow(false);
        second.goes_on()?;
        second.close()?;
        let state = space.check(&[&first, &second])?;
        assert_eq!(state, second.told()?.durable, "nothing of the first is in the space");
    }
    // Its last transaction may be half there: it ends with the timeout of one that is idle, after the lease at most.
    let mut took = took.into_iter();
    within_a_second_of(LEASE + FLUSH_TIMEOUT, || Ok(took.next().ok_or("three rounds")?))
}

/// The row is locked by whoever writes to it, or looks at it.
const HOLD: &str = "BEGIN; SELECT FROM mnemon.spaces FOR UPDATE; SELECT pg_sleep";

fn wait_for_lock(server: &Server) {
    let locked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until(|| server.sql(locked).is_ok_and(|sleeping| sleeping == "1"));
}

#[test]
fn opening_does_not_wait_for_owner() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let space = Space::new(&server, "locked")?;
    let _owner = space.builder().lease(Duration::from_secs(60)).connect(&server.url())?;
    std::thread::scope(|scope| {
        let holding = scope.spawn(|| server.sql(&format!("{HOLD}(30)")).map_err(|error| error.to_string()));
        wait_for_lock(&server);
        let began = Instant::now();
        let refused = space.builder().flush_timeout(Duration::from_secs(50)).connect(&server.url());
        let took = began.elapsed();
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")?;
        assert!(holding.join().is_ok_and(|ended| ended.is_err()), "it was held all the time");
        let refused = refused.err().ok_or("it was opened")?;
        assert_eq!(refused.kind(), ErrorKind::InUse, "{refused:?}");
        assert!(took < Duration::from_secs(20), "it waited for the row: {took:?}");
        Ok(())
    })
}

/// A transaction took longer than the lease, and its connection was reset: its owner goes on at once.
#[test]
fn lease_that_ends_in_a_transaction_is_not_taken() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let space = Space::new(&server, "reset")?;
    space.builder().connect(&server.url())?.close()?;
    server.sql("UPDATE mnemon.spaces SET lease_until = clock_timestamp()")?;
    let goes_on = "ROLLBACK; SELECT pg_sleep(0.02);
        UPDATE mnemon.spaces SET lease_until = clock_timestamp() + interval '1 h'";
    let held = format!("{HOLD}(3); {goes_on}");
    std::thread::scope(|scope| {
        let holding = scope.spawn(|| server.sql(&held).map_err(|error| error.to_string()));
        wait_for_lock(&server);
        let waiting = space.builder().flush_timeout(Duration::from_secs(10));
        let refused = waiting.wait_for_lease(Duration::from_secs(5)).connect(&server.url());
        assert!(holding.join().is_ok_and(|ended| ended.is_ok()));
        let refused = refused.err().ok_or("it was taken from its owner")?;
        assert_eq!(refused.kind(), ErrorKind::InUse, "{refused:?}");
        Ok(())
    })
}

#[test]
fn keeper_comes_back_to_a_locked_row() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let space = Space::new(&server, "kept")?;
    // Renewed every four seconds.
    let _owner = space.builder().lease(Duration::from_secs(12)).connect(&server.url())?;
    let until = || server.sql("SELECT lease_until FROM mnemon.spaces");
    let first = until()?;
    wait_until(|| until().is_ok_and(|until| until != first));
    let held = until()?;
    server.sql(&format!("{HOLD}(4.5); COMMIT; CREATE TABLE ended AS SELECT clock_timestamp() AS at"))?;
    wait_until(|| until().is_ok_and(|until| until != held));
    let late = "SELECT lease_until - interval '12 s' - at FROM mnemon.spaces, ended";
    assert_eq!(server.sql(&format!("SELECT ({late}) < interval '1 s'"))?, "t", "{}", server.sql(late)?);
    Ok(())
}

/// A store that can't reach the server any more has spilled these notes, and its lease has ended. Returns it with the
/// path of the spill.
fn cut_off(server: &Server, space: &Space, notes: &[&str]) -> Outcome<(TraceStore, PathBuf, Vec<TraceId>)> {
    let proxy = Proxy::start(server.port())?;
    let store = space.builder().connect(&server.url_at(proxy.port()))?;
    proxy.refuse(true);
    let ids = store.insert_many(notes.iter().map(note))?;
    let spill = store.spill()?.path;
    server.sql("UPDATE mnemon.spaces SET lease_until = NULL")?;
    assert_eq!(server.sql("SELECT count(*) FROM mnemon.traces")?, "0");
    Ok((store, spill, ids))
}

#[test]
fn spill_outlives_opening_elsewhere() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let (space, elsewhere) = (Space::new(&server, "spilled")?, Space::new(&server, "spilled")?);
    let (store, spill, ids) = cut_off(&server, &space, &["spilled"])?;
    let id = ids[0];
    for _ in 0..2 {
        elsewhere.builder().connect(&server.url())?.close()?;
    }
    let next = space.builder().connect(&server.url())?;
    assert!(next.contains(id) && !spill.exists());
    next.close()?;
    drop(store);
    Ok(())
}

/// A host that has applied a spill dies before it has deleted the file, and another that opens the space has no such
/// file and writes.
#[test]
fn spill_left_after_applying_is_deleted() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let (space, elsewhere) = (Space::new(&server, "applied")?, Space::new(&server, "applied")?);
    let (store, spill, ids) = cut_off(&server, &space, &["kept", "gone"])?;
    let (kept, gone, bytes) = (ids[0], ids[1], std::fs::read(&spill)?);
    let next = space.builder().connect(&server.url())?;
    assert!(next.contains(kept) && next.contains(gone) && !spill.exists());
    next.close()?;
    for at in [&space, &elsewhere, &space] {
        // What the power loss has brought back.
        std::fs::write(&spill, &bytes)?;
        let store = at.builder().connect(&server.url())?;
        store.remove(gone)?;
        assert!(store.len() == 1 && store.contains(kept), "it is not applied again");
        assert_eq!(spill.exists(), std::ptr::eq(at, &elsewhere), "whoever finds it deletes it");
        store.close()?;
    }
    drop(store);
    Ok(())
}

/// Another opening has written since: its changes are not of this history, and wait for a person.
#[test]
fn spill_that_was_not_applied_stays() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let (space, elsewhere) = (Space::new(&server, "not applied")?, Space::new(&server, "not applied")?);
    let (store, spill, ids) = cut_off(&server, &space, &["spilled"])?;
    let id = ids[0];
    let next = elsewhere.builder().connect(&server.url())?;
    next.insert(note("newer"))?;
    next.close()?;
    for _ in 0..2 {
        let next = space.builder().connect(&server.url())?;
        assert!(next.len() == 1 && !next.contains(id) && spill.exists());
        next.close()?;
    }
    drop(store);
    Ok(())
}
