//! Hosts that are killed, stopped, or one too many.

use crate::space::{LEASE, Space};
use harness::Outcome;
use mnemon::ErrorKind;
use postgres_tests::{Proxy, Server};
use std::time::{Duration, Instant};

#[test]
fn killed_host_loses_nothing() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut space = Space::new(&server, "killed")?;
    for _ in 0..3 {
        let mut host = space.host(&server.url())?;
        host.goes_on()?;
        host.kill()?;
        let killed = Instant::now();
        let mut next = space.host(&server.url())?;
        let took = killed.elapsed();
        // A second for the opening; the rest is for the machine.
        assert!(took < LEASE + Duration::from_secs(10), "taken over after {took:?}");
        next.goes_on()?;
        next.close()?;
        space.check(&[&host, &next])?;
    }
    Ok(())
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
    for round in 1..=3 {
        let mut first = space.host(&server.url())?;
        first.goes_on()?;
        first.signal("STOP")?;
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
    Ok(())
}

#[test]
fn late_packets_of_former_owner_are_fenced() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut space = Space::new(&server, "late")?;
    for _ in 0..3 {
        let proxy = Proxy::start(server.port())?;
        let mut first = space.host(&server.url_at(proxy.port()))?;
        first.goes_on()?;
        proxy.swallow(true);
        harness::wait_until(|| proxy.swallowed() > 0);
        first.kill()?;
        let mut second = space.host(&server.url())?;
        second.goes_on()?;
        proxy.swallow(false);
        second.goes_on()?;
        second.close()?;
        let state = space.check(&[&first, &second])?;
        assert_eq!(state, second.told()?.durable, "nothing of the first is in the space");
    }
    Ok(())
}
