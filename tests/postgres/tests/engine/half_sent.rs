//! Hosts that are cut off, or stopped, with half a transaction sent.

use crate::space::{FLUSH_TIMEOUT, LEASE, PATIENCE, Space, within_a_second_of};
use harness::{Outcome, note, wait_until};
use mnemon::ErrorKind;
use postgres_tests::{Proxy, Server, Way};
use std::thread;
use std::time::{Duration, Instant};

/// A transaction that holds rows, and waits for its client.
const HALF_SENT: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE backend_xid IS NOT NULL AND wait_event = 'ClientRead' AND application_name = 'half sent'";

/// How much of a cut of so many bytes the network lets through.
type Part = fn(&Proxy, usize);

/// A cut of which the server gets one part alone. Returns the time from then until another opening has the
/// space, in which is nothing of that cut.
fn take_over(server: &Server, name: &str, part: Part) -> Outcome<Duration> {
    let proxy = Proxy::start(server.port())?;
    let space = Space::new(server, name)?;
    let store =
        space.builder().connect(&format!("{}?application_name={name}", server.url_at(proxy.port())))?;
    let write = || store.insert_many((0..100).map(|n| note(format!("{n} {}", "x".repeat(10_000)))));
    write()?;
    let before = proxy.sent();
    store.flush()?;
    let whole = proxy.sent() - before;
    let late = write()?;
    part(&proxy, whole);
    thread::scope(|scope| {
        let flushing = scope.spawn(|| store.flush());
        let is_half_sent = HALF_SENT.replace("half sent", name);
        wait_until(|| server.sql(&is_half_sent).is_ok_and(|sent| sent == "1"));
        let began = Instant::now();
        let next = space.builder().wait_for_lease(PATIENCE).connect(&server.url())?;
        let took = began.elapsed();
        assert!(next.len() == 100 && !next.contains(late[0]), "nothing of the half is there");
        assert!(flushing.join().map_err(|_| "a panic")?.is_err());
        // The rest comes.
        proxy.swallow(false);
        wait_until(|| store.flush().is_err_and(|error| error.kind() == ErrorKind::InUse));
        next.insert(note("of the next"))?;
        next.flush()?;
        next.close()?;
        assert_eq!(space.builder().connect(&server.url())?.len(), 101);
        Ok(took)
    })
}

#[test]
fn half_sent_cut_holds_up_no_take_over() -> Outcome {
    const PARTS: [Part; 4] = [
        |proxy, whole| proxy.swallow_after(whole / 50),
        |proxy, whole| proxy.swallow_after(whole / 3),
        |proxy, whole| proxy.swallow_after(whole / 2),
        |proxy, _| proxy.swallow_commit(),
    ];
    let Some(server) = Server::start()? else { return Ok(()) };
    Space::new(&server, "first")?.builder().connect(&server.url())?.close()?;
    let test = |at: usize, part| {
        let mut tries = 0;
        within_a_second_of(LEASE + FLUSH_TIMEOUT, || {
            tries += 1;
            take_over(&server, &format!("part{at}try{tries}"), part)
        })
        .map_err(|error| format!("part {at}: {error}"))
    };
    thread::scope(|scope| {
        let parts: Vec<_> =
            PARTS.iter().enumerate().map(|(at, part)| scope.spawn(move || test(at, *part))).collect();
        parts.into_iter().try_for_each(|part| Ok(part.join().map_err(|_| "a panic")??))
    })
}

/// Nobody opens the space, and the server hears of no end of the connection.
#[test]
fn abandoned_transaction_ends_with_its_lease() -> Outcome {
    const OPEN: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE backend_xid IS NOT NULL AND state = 'idle in transaction'";
    let Some(server) = Server::start()? else { return Ok(()) };
    let space = Space::new(&server, "abandoned")?;
    let is_open = |open: &str| server.sql(OPEN).is_ok_and(|found| found == open);
    within_a_second_of(LEASE, || {
        let proxy = Proxy::start(server.port())?;
        let waiting = space.builder().wait_for_lease(PATIENCE);
        let store = waiting.connect(&server.url_at(proxy.port()))?;
        thread::scope(|scope| {
            // It waits for the answer to its fence, which does not come.
            proxy.swallow_one_way(Way::Down);
            let erasing = scope.spawn(|| store.erase_partition("default"));
            wait_until(|| is_open("1"));
            proxy.swallow(true);
            let began = Instant::now();
            wait_until(|| is_open("0"));
            let took = began.elapsed();
            assert!(erasing.join().map_err(|_| "a panic")?.is_err());
            Ok(took)
        })
    })
}

/// A host that is stopped meanwhile does not even close its connections.
#[test]
fn stopped_host_with_half_sent_cut_is_fenced() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut space = Space::new(&server, "stopped")?;
    let mut halves = 0;
    for bytes in [4_000, 15_000, 40_000] {
        let proxy = Proxy::start(server.port())?;
        let mut first = space.host(&server.url_at(proxy.port()))?;
        first.goes_on()?;
        proxy.swallow_after(bytes);
        wait_until(|| proxy.swallowed() > 0);
        first.signal("STOP")?;
        let half = HALF_SENT.replace("half sent", "mnemon");
        halves += server.sql(&half)?.parse::<u32>()?;
        within_a_second_of(LEASE + FLUSH_TIMEOUT, || space.take_over(Instant::now()))?;
        let mut second = space.host(&server.url())?;
        second.goes_on()?;
        first.signal("CONT")?;
        proxy.swallow(false);
        let lost = first.wait_for("lost")?;
        assert!(lost.contains(&second.id().to_string()), "it names the new owner: {lost}");
        first.close_without_lease()?;
        second.goes_on()?;
        second.close()?;
        let state = space.check(&[&first, &second])?;
        assert_eq!(state, second.told()?.durable, "nothing of the first is in the space");
    }
    assert!(halves > 0, "no transaction was half sent");
    Ok(())
}
