//! Networks that reset, delay, swallow, and lose answers; and a pooler.

use crate::space::{FLUSH_TIMEOUT, Space, within_a_second_of};
use harness::{Outcome, Rng, note, wait_until};
use mnemon::ErrorKind;
use postgres_tests::{Pgbouncer, Proxy, Server, Way};
use std::thread;
use std::time::{Duration, Instant};

/// A host behind a proxy, while `fail` makes its network fail; then all is to be there.
fn behind_proxy(name: &str, fail: impl FnOnce(&Proxy, &mut crate::space::Host) -> Outcome) -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let proxy = Proxy::start(server.port())?;
    let mut space = Space::new(&server, name)?;
    let mut host = space.host(&server.url_at(proxy.port()))?;
    host.goes_on()?;
    fail(&proxy, &mut host)?;
    host.close()?;
    let state = space.check(&[&host])?;
    assert_eq!(state, host.told()?.durable);
    Ok(())
}

#[test]
fn reset_connections_lose_nothing() -> Outcome {
    behind_proxy("reset", |proxy, host| {
        let mut rng = Rng::with_seed(1);
        for _ in 0..20 {
            let resets = proxy.resets();
            proxy.reset_after(rng.usize(1..60_000));
            wait_until(|| proxy.resets() > resets);
            host.goes_on()?;
        }
        Ok(())
    })
}

#[test]
fn lost_answers_to_commit_are_resolved() -> Outcome {
    behind_proxy("answers", |proxy, host| {
        for answers in [1, 1, 2, 3] {
            let lost = proxy.answers_lost();
            proxy.lose_answers(answers);
            wait_until(|| proxy.answers_lost() == lost + answers);
            host.goes_on()?;
        }
        Ok(())
    })
}

/// Whether the server has carried the COMMIT out, or has not got it.
#[test]
fn lost_connection_is_no_failure() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let proxy = Proxy::start(server.port())?;
    let space = Space::new(&server, "in doubt")?;
    // Its lease is not renewed meanwhile.
    let builder = space.builder().lease(Duration::from_secs(600));
    let store = builder.connect(&server.url_at(proxy.port()))?;
    store.insert(note(0))?;
    store.flush()?;
    let before = proxy.sent();
    store.insert(note(1))?;
    store.flush()?;
    let whole = proxy.sent() - before;
    let cuts: [&dyn Fn(); 4] =
        [&|| proxy.lose_answers(1), &|| proxy.reset_after(1), &|| proxy.reset_after(whole / 2), &|| {
            proxy.reset_after(whole - 1)
        }];
    for (at, cut) in cuts.into_iter().enumerate() {
        store.insert(note(at + 2))?;
        let resets = proxy.resets() + proxy.answers_lost();
        cut();
        let report = store.flush()?;
        assert_eq!(proxy.resets() + proxy.answers_lost(), resets + 1);
        assert_eq!(report.rows_upserted, 1);
        let found = "SELECT watermark, (SELECT count(*) FROM mnemon.traces) FROM mnemon.spaces";
        assert_eq!(server.sql(found)?, format!("{}|{}", report.watermark, at + 3));
    }
    let failed = store.stats().last_error;
    assert!(failed.is_none(), "it was tried again after {failed:?}");
    Ok(())
}

#[test]
fn slow_network_only_delays() -> Outcome {
    behind_proxy("slow", |proxy, host| {
        proxy.delay(Duration::from_millis(100));
        host.goes_on()?;
        assert!(host.failures().is_empty(), "{:?}", host.failures());
        proxy.delay(Duration::ZERO);
        Ok(())
    })
}

#[test]
fn swallowed_flush_fails_in_time() -> Outcome {
    behind_proxy("swallowed", |proxy, host| {
        for _ in 0..3 {
            let before = host.failures().len();
            proxy.swallow(true);
            wait_until(|| host.failures().len() >= before + 2);
            proxy.swallow(false);
            host.goes_on()?;
        }
        for (error, took) in host.failures() {
            // Whoever asks while a flush is under way waits for that one too. A second and a half for a busy machine.
            assert!(took < 2 * FLUSH_TIMEOUT + Duration::from_millis(1_500), "{error} after {took:?}");
        }
        Ok(())
    })
}

type Cut = fn(&Proxy);

/// The ways in which a network is cut so that nothing gets through.
const CUTS: [(&str, Cut); 7] = [
    ("reset", |proxy| proxy.refuse(true)),
    ("refused", |proxy| proxy.listen(false)),
    ("delayed", |proxy| proxy.delay(FLUSH_TIMEOUT)),
    ("swallowed", |proxy| proxy.swallow(true)),
    ("swallowed up", |proxy| proxy.swallow_one_way(Way::Up)),
    ("swallowed down", |proxy| proxy.swallow_one_way(Way::Down)),
    ("answers to COMMIT lost", |proxy| proxy.lose_answers(u64::MAX)),
];

fn mend(proxy: &Proxy) {
    proxy.listen(true);
    proxy.refuse(false);
    proxy.delay(Duration::ZERO);
    proxy.swallow(false);
    proxy.lose_answers(0);
}

/// A flush, and an opening of another space, fail within their timeout and a second; once the network is mended, all is
/// there, and nothing twice.
fn fails_in_time(server: &Server, name: &str, cut: Cut) -> Outcome {
    let proxy = Proxy::start(server.port())?;
    let url = server.url_at(proxy.port());
    let space = Space::new(server, name)?;
    // Its lease does not end meanwhile.
    let store = space.builder().lease(Duration::from_secs(60)).connect(&url)?;
    let mut written = 0;
    within_a_second_of(FLUSH_TIMEOUT, || {
        store.insert(note(written))?;
        written += 1;
        cut(&proxy);
        let began = Instant::now();
        let failed = store.flush().err().ok_or("it was flushed")?;
        let took = began.elapsed();
        assert_eq!(failed.kind(), ErrorKind::Unreachable, "{failed:?}");
        mend(&proxy);
        store.flush()?;
        let rows = format!("SELECT count(*) FROM mnemon.readable WHERE space = '{name}'");
        assert_eq!(server.sql(&rows)?, written.to_string());
        Ok(took)
    })?;
    within_a_second_of(FLUSH_TIMEOUT, || {
        let other = Space::new(server, &format!("{name}, opened"))?;
        cut(&proxy);
        let began = Instant::now();
        let failed = other.builder().connect(&url).err().ok_or("it was opened")?;
        let took = began.elapsed();
        assert_eq!(failed.kind(), ErrorKind::Unreachable, "{failed:?}");
        mend(&proxy);
        Ok(took)
    })
}

#[test]
fn cut_networks_fail_in_time() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    // Makes the schema.
    Space::new(&server, "first")?.builder().connect(&server.url())?.close()?;
    thread::scope(|scope| {
        let server = &server;
        let cuts = CUTS.iter().map(|(name, cut)| {
            scope.spawn(move || fails_in_time(server, name, *cut).map_err(|error| format!("{name}: {error}")))
        });
        let cuts: Vec<_> = cuts.collect();
        cuts.into_iter().try_for_each(|cut| Ok(cut.join().map_err(|_| "a panic")??))
    })
}

#[test]
fn pooler_in_transaction_mode_serves() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let Some(pooler) = Pgbouncer::start(&server, 2)? else { return Ok(()) };
    let url = server.url_at(pooler.port());
    let mut space = Space::new(&server, "pooled")?;
    let mut other_space = Space::new(&server, "other")?;
    let (mut host, mut other) = (space.host(&url)?, other_space.host(&url)?);
    for host in [&host, &other] {
        (0..5).try_for_each(|_| host.goes_on())?;
    }
    host.kill()?;
    space.check(&[&host])?;
    other.close()?;
    assert!(other.failures().is_empty(), "{:?}", other.failures());
    other_space.check(&[&other])?;
    Ok(())
}
