//! A space, the hosts that own it one after another, and the check of what is in it.

use crate::log::{Log, Told};
use crate::plan::{Plan, Point};
use crate::state::State;
use crate::world::World;
use harness::Outcome;
use mnemon::{Durability, ErrorKind, StoreBuilder, TraceStore};
use postgres_tests::{Server, psql, signal};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a host's lease is, and how long its flushes may take.
pub const LEASE: Duration = Duration::from_secs(3);
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long anything may take on a busy machine before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The host's orders, where this process is one.
const ORDERS: &str = "MNEMON_POSTGRES_HOST";

/// What a host is told.
#[derive(Clone, Serialize, Deserialize)]
pub struct Orders {
    pub url: String,
    space: String,
    pub wait_for_lease: Duration,
    pub relaxed: bool,
    pub seed: u64,
    /// The host's log; in its folder, the spills.
    expected: PathBuf,
}

/// A space of a server, and what must be in it.
pub struct Space {
    pub name: String,
    url: String,
    folder: TempDir,
    known: State,
}

impl Space {
    /// One by the name of the test.
    pub fn new(server: &Server, name: &str) -> Outcome<Self> {
        let (name, url, folder) = (name.to_owned(), server.url(), tempfile::tempdir()?);
        Ok(Self { name, url, folder, known: State::default() })
    }

    /// The server is now this one.
    pub fn moved_to(&mut self, server: &Server) {
        self.url = server.url();
    }

    /// Starts a host that reaches the server by this URL, and waits until it writes.
    pub fn host(&self, url: &str) -> Outcome<Host> {
        let mut host = self.waiting_host(url)?;
        host.wait_for("writing")?;
        Ok(host)
    }

    /// Starts a host that waits for the lease if another host has it.
    pub fn waiting_host(&self, url: &str) -> Outcome<Host> {
        self.host_with(url, |_| {})
    }

    pub fn host_with(&self, url: &str, change: impl FnOnce(&mut Orders)) -> Outcome<Host> {
        let mut orders = Orders {
            url: url.to_owned(),
            space: self.name.clone(),
            wait_for_lease: PATIENCE,
            relaxed: false,
            seed: 1,
            expected: tempfile::Builder::new().tempfile_in(self.folder.path())?.into_temp_path().keep()?,
        };
        change(&mut orders);
        Host::start(orders)
    }

    /// Builder of a store of this space that flushes only when asked.
    pub fn builder(&self) -> StoreBuilder {
        let builder =
            harness::manual_flush().space(self.name.as_str()).lease(LEASE).flush_timeout(FLUSH_TIMEOUT);
        builder.spill_to(self.folder.path())
    }

    /// Opens the space once its lease has ended, and closes it. Returns the time that the opening took since `began`.
    pub fn take_over(&self, began: Instant) -> Outcome<Duration> {
        let store = self.builder().wait_for_lease(PATIENCE).connect(&self.url)?;
        let took = began.elapsed();
        store.close()?;
        Ok(took)
    }

    /// Takes note of what a host was told, and looks at what is stored, once the lease has ended: a cut, not older
    /// than anything acknowledged, the same by SQL and by a store.
    pub fn check(&mut self, hosts: &[&Host]) -> Outcome<State> {
        for host in hosts {
            self.known = self.known.joined(host.told()?.durable);
        }
        let store = self.builder().wait_for_lease(PATIENCE).connect(&self.url)?;
        let state = State::of(&store)?;
        if !state.holds(&self.known) {
            return Err(format!("lost: {state:?} is there, and {:?} was acknowledged", self.known).into());
        }
        if !store.stats().quarantined.is_empty() {
            return Err(format!("rows that can't be read: {:?}", store.stats().quarantined).into());
        }
        let numbers = store.iter().fold((0, 0, 0), |(rows, revisions, bytes), trace| {
            (rows + 1, revisions + trace.revision(), bytes + trace.payload().as_str().len())
        });
        let expected = format!("{}|{}|{}|{}|0", numbers.0, numbers.1, numbers.2, store.link_count());
        let found = psql(&self.url, &self.sql())?;
        if found != expected {
            return Err(format!("SQL finds {found} and the store {expected}").into());
        }
        store.close()?;
        self.known = state;
        Ok(state)
    }

    /// Traces, their revisions and bytes, links, and links of which an end is missing.
    fn sql(&self) -> String {
        let space = format!("space = (SELECT space FROM mnemon.spaces WHERE name = '{}')", self.name);
        format!(
            "SELECT (SELECT count(*) || '|' || coalesce(sum(revision), 0) || '|' || coalesce(sum(octet_length(payload)), 0)
                FROM mnemon.traces WHERE {space}),
            (SELECT count(*) FROM mnemon.links WHERE {space}),
            (SELECT count(*) FROM mnemon.links l WHERE {space} AND 2 >
                (SELECT count(*) FROM mnemon.traces t WHERE t.space = l.space AND t.id IN (l.a, l.b)))"
        )
    }
}

/// Tries an event until one has taken at most a second more than `limit`: three at most. On a busy machine any one may
/// be late for want of a processor; what hangs, or takes longer by itself, is late each time.
pub fn within_a_second_of(limit: Duration, mut event: impl FnMut() -> Outcome<Duration>) -> Outcome {
    let mut late = Vec::new();
    for _ in 0..3 {
        let took = event()?;
        if took <= limit + Duration::from_secs(1) {
            return Ok(());
        }
        late.push(took);
    }
    Err(format!("each took more than {limit:?} and a second: {late:?}").into())
}

/// A process that has a store of the space and writes. Killed when dropped.
pub struct Host {
    process: Child,
    lines: Receiver<String>,
    orders: Orders,
    heard: Vec<String>,
}

impl Host {
    fn start(orders: Orders) -> Outcome<Self> {
        let output = File::create(orders.expected.with_extension("stderr"))?;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--exact", "space::host", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ORDERS, serde_json::to_string(&orders)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()?;
        let output = BufReader::new(process.stdout.take().ok_or("the host's output")?);
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, lines, orders, heard: Vec::new() })
    }

    /// Waits for a line that begins with a word, and returns the rest of it.
    pub fn wait_for(&mut self, word: &str) -> Outcome<String> {
        let began = Instant::now();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
            let rest = line.strip_prefix(word).map(|rest| rest.trim_start().to_owned());
            self.heard.push(line);
            if let Some(rest) = rest {
                return Ok(rest);
            }
        }
        let errors = std::fs::read_to_string(self.orders.expected.with_extension("stderr"))?;
        Err(format!("the host did not say {word:?} within {PATIENCE:?}: {:#?}\n{errors}", self.heard).into())
    }

    pub fn told(&self) -> Outcome<Told> {
        Ok(Told::read(&self.orders.expected)?)
    }

    /// Waits until more was acknowledged than is now.
    pub fn goes_on(&self) -> Outcome {
        // The flush under way may have begun before what the test has just done.
        let (began, enough) = (Instant::now(), self.told()?.acknowledged + 2);
        while self.told()?.acknowledged < enough {
            if began.elapsed() > PATIENCE {
                let errors = std::fs::read_to_string(self.orders.expected.with_extension("stderr"))?;
                return Err(format!("nothing was acknowledged in {PATIENCE:?}\n{errors}").into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub fn signal(&self, name: &str) -> Outcome {
        signal(name, self.process.id())
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn kill(&mut self) -> Outcome {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Lets the host close its store, and waits for its end.
    pub fn close(&mut self) -> Outcome {
        self.end("closed").map(drop)
    }

    /// Lets the host, which has lost its lease, close its store. Returns why that fails, and the number of spills of
    /// the space.
    pub fn close_without_lease(&mut self) -> Outcome<(String, usize)> {
        let why = self.end("not closed")?;
        let folder = self.orders.expected.parent().ok_or("a folder")?;
        let is_spill = |path: &Path| path.extension().is_some_and(|extension| extension == "spill");
        let spills = folder.read_dir()?.flatten().filter(|entry| is_spill(&entry.path()));
        Ok((why, spills.count()))
    }

    fn end(&mut self, word: &str) -> Outcome<String> {
        writeln!(self.process.stdin.as_mut().ok_or("the host's input")?, "close")?;
        let rest = self.wait_for(word)?;
        self.process.wait()?;
        Ok(rest)
    }

    /// The failures of flushes heard of so far: kinds, and how long each took.
    pub fn failures(&mut self) -> Vec<(String, Duration)> {
        self.heard.extend(self.lines.try_iter());
        let failed = self.heard.iter().filter_map(|line| line.strip_prefix("failed "));
        let failed = failed.filter_map(|line| line.split_once(' '));
        failed
            .map(|(millis, error)| {
                (error.to_owned(), Duration::from_millis(millis.parse().unwrap_or(u64::MAX)))
            })
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.kill().ok();
    }
}

fn say(text: String) {
    // Whoever reads it may be gone.
    writeln!(std::io::stdout(), "{text}").ok();
}

#[test]
#[ignore = "the other tests run it, as a process of its own"]
fn host() -> Outcome {
    let Ok(orders) = std::env::var(ORDERS) else { return Ok(()) };
    let Orders { url, space, wait_for_lease, relaxed, seed, expected } = serde_json::from_str(&orders)?;
    let log = Arc::new(Log::open(&expected)?);
    let durability = if relaxed { Durability::Committed } else { Durability::Durable };
    let builder = TraceStore::builder().space(space).lease(LEASE).flush_timeout(FLUSH_TIMEOUT);
    let builder = builder.spill_to(expected.parent().ok_or("a folder")?);
    let opened = builder.durability(durability).wait_for_lease(wait_for_lease).connect(&url);
    say(String::new());
    let store = opened.inspect_err(|error| say(format!("refused {:?} {error}", error.kind())))?;
    log.opened();
    let plan = Plan { point: Point::Random, relaxed, interval_micros: 0, open_micros: 0, seed };
    let mut world = World::of(store.clone(), plan, log.clone())?;
    world.tolerates = |error, after| {
        static LOST: Once = Once::new();
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        let line = format!("{} {:?} {error}{causes}", after.as_millis(), error.kind());
        match error.kind() {
            ErrorKind::InUse => LOST.call_once(|| say(format!("lost {line}"))),
            _ => say(format!("failed {line}")),
        }
        // Who fails at once would do so again and again.
        std::thread::sleep(Duration::from_millis(10));
        true
    };
    say("writing".to_owned());
    world.run_all(|| {
        let mut line = String::new();
        match std::io::stdin().read_line(&mut line) {
            Ok(read) if read > 0 => {}
            _ => std::process::exit(1),
        }
    });
    let state = world.state();
    store.close().inspect_err(|failed| say(format!("not closed: {failed}")))?;
    log.durable(state);
    say("closed".to_owned());
    Ok(())
}
