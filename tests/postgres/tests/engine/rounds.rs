//! Random rounds of everything that can happen to a host, its network and its server.
//!
//! `MNEMON_POSTGRES_ROUNDS=1000 cargo test --release -p postgres-tests rounds -- --nocapture` for a long run;
//! `MNEMON_POSTGRES_SEED=69` begins with that round.

use crate::space::{FLUSH_TIMEOUT, Space};
use harness::{Outcome, Rng, wait_until};
use postgres_tests::{Proxy, Server};
use std::thread::sleep;
use std::time::Duration;

/// Number of rounds that are played on one space.
const LINEAGE: u64 = 10;

#[derive(Clone, Copy, Debug)]
enum Event {
    Reset {
        bytes: usize,
    },
    Refuse {
        millis: u64,
    },
    Delay {
        millis: u64,
    },
    Swallow {
        millis: u64,
    },
    LoseAnswers(u64),
    StopServer,
    KillServer,
    /// Another host takes over meanwhile.
    StopHost,
    /// Another host takes over, and then comes what the first had sent.
    LatePackets,
    KillHost,
}

impl Event {
    fn random(rng: &mut Rng) -> Self {
        let timeout = FLUSH_TIMEOUT.as_millis() as u64;
        match rng.u8(..20) {
            0..4 => Event::Reset { bytes: rng.usize(1..100_000) },
            4..6 => Event::Refuse { millis: rng.u64(1..500) },
            6..8 => Event::Delay { millis: rng.u64(1..60) },
            8..10 => Event::Swallow { millis: rng.u64(1..timeout * 3 / 2) },
            10..14 => Event::LoseAnswers(rng.u64(1..4)),
            14 => Event::StopServer,
            15 => Event::KillServer,
            16 => Event::StopHost,
            17 => Event::LatePackets,
            _ => Event::KillHost,
        }
    }

    /// Whether the host does not go on after it.
    fn ends_host(self) -> bool {
        matches!(self, Event::StopHost | Event::LatePackets | Event::KillHost)
    }
}

fn number(variable: &str, default: u64) -> Outcome<u64> {
    Ok(std::env::var(variable).map_or(Ok(default), |number| number.parse())?)
}

#[test]
fn random_events_lose_nothing() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let (first, rounds) = (number("MNEMON_POSTGRES_SEED", 0)?, number("MNEMON_POSTGRES_ROUNDS", 10)?);
    let mut space = Space::new(&server, "round")?;
    for seed in first..first + rounds {
        if seed.is_multiple_of(LINEAGE) {
            space = Space::new(&server, &format!("rounds from {seed}"))?;
        }
        let mut events = Vec::new();
        round(&server, &mut space, seed, &mut events)
            .map_err(|error| format!("round {seed}, {events:?}: {error}"))?;
        eprintln!("round {seed}: {events:?}");
    }
    Ok(())
}

fn round(server: &Server, space: &mut Space, seed: u64, events: &mut Vec<Event>) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let proxy = Proxy::start(server.port())?;
    let url = server.url_at(proxy.port());
    let mut host = space.host_with(&url, |orders| (orders.relaxed, orders.seed) = (rng.bool(), seed))?;
    host.wait_for("writing")?;
    for _ in 0..rng.u8(1..5) {
        // At any moment, of a cut or between two.
        sleep(Duration::from_micros(rng.u64(..50_000)));
        let event = Event::random(&mut rng);
        events.push(event);
        match event {
            Event::Reset { bytes } => {
                let resets = proxy.resets();
                proxy.reset_after(bytes);
                wait_until(|| proxy.resets() > resets);
            }
            Event::Refuse { millis } => {
                proxy.refuse(true);
                sleep(Duration::from_millis(millis));
                proxy.refuse(false);
            }
            Event::Delay { millis } => {
                proxy.delay(Duration::from_millis(millis));
                host.goes_on()?;
                proxy.delay(Duration::ZERO);
            }
            Event::Swallow { millis } => {
                proxy.swallow(true);
                sleep(Duration::from_millis(millis));
                proxy.swallow(false);
            }
            Event::LoseAnswers(answers) => {
                let lost = proxy.answers_lost();
                proxy.lose_answers(answers);
                wait_until(|| proxy.answers_lost() == lost + answers);
            }
            Event::StopServer => {
                server.stop_at_once()?;
                server.start_again()?;
            }
            Event::KillServer => {
                server.kill()?;
                server.start_again()?;
            }
            Event::StopHost => {
                host.signal("STOP")?;
                let mut next = space.host(&url)?;
                host.signal("CONT")?;
                host.wait_for("lost")?;
                next.goes_on()?;
                next.close()?;
                let state = space.check(&[&host, &next])?;
                same(state, next.told()?.durable)?;
            }
            Event::LatePackets => {
                proxy.swallow(true);
                sleep(Duration::from_millis(rng.u64(..50)));
                host.kill()?;
                let mut next = space.host(&server.url())?;
                proxy.swallow(false);
                next.goes_on()?;
                next.close()?;
                let state = space.check(&[&host, &next])?;
                same(state, next.told()?.durable)?;
            }
            Event::KillHost => {
                host.kill()?;
                mnemon::postgres::release(&server.url(), &space.name)?;
                space.check(&[&host])?;
            }
        }
        if event.ends_host() {
            return Ok(());
        }
    }
    host.goes_on()?;
    for (error, took) in host.failures() {
        // Whoever asks while a flush is under way waits for that one too. Each has a second beyond its timeout.
        if took > 2 * (FLUSH_TIMEOUT + Duration::from_secs(1)) {
            return Err(format!("{error} only after {took:?}").into());
        }
    }
    host.close()?;
    let state = space.check(&[&host])?;
    same(state, host.told()?.durable)
}

fn same(found: crate::state::State, closed: crate::state::State) -> Outcome {
    if found == closed {
        Ok(())
    } else {
        Err(format!("{found:?} is there, and {closed:?} was closed").into())
    }
}
