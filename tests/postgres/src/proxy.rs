//! A network that fails as a test tells it to.

use harness::Outcome;
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a connection looks whether it is to be reset, while nothing comes.
const GLANCE: Duration = Duration::from_millis(5);

/// What the server answers when it has committed: the tag of the message `CommandComplete`.
const COMMITTED: &[u8] = b"COMMIT\0";

/// A TCP proxy between clients and one server, on a port of its own. Resets all connections when dropped.
pub struct Proxy {
    port: u16,
    network: Arc<Network>,
}

struct Network {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// The port of the server.
    target: u16,
    /// Connections of an earlier number are reset.
    resets: u64,
    refuses: bool,
    swallows: bool,
    /// Number of threads that keep something.
    swallowed: u64,
    delay: Duration,
    answers_to_lose: u64,
    answers_lost: u64,
    /// Number of bytes of clients after which all connections are reset.
    reset_after: Option<usize>,
    closed: bool,
}

impl Proxy {
    /// Listens before a server on `target`, a port of this machine.
    pub fn start(target: u16) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = State { target, ..State::default() };
        let network = Arc::new(Network { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = network.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let network = accepting.clone();
                if network.look().closed {
                    return;
                }
                std::thread::spawn(move || network.connect(client));
            }
        });
        Ok(Self { port, network })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.network.look());
        self.network.changed.notify_all();
    }

    /// Leads new connections to another port, and resets the others.
    pub fn redirect(&self, target: u16) {
        self.set(|state| (state.target, state.resets) = (target, state.resets + 1));
    }

    /// Resets every connection; new ones are taken.
    pub fn reset(&self) {
        self.set(|state| state.resets += 1);
    }

    /// Resets every connection, and each new one until this is called with `false`.
    pub fn refuse(&self, refuses: bool) {
        self.set(|state| {
            state.refuses = refuses;
            state.resets += u64::from(refuses);
        });
    }

    /// Keeps every connection open and delivers nothing, either way. With `false`, all that was kept is delivered, also
    /// what clients sent who have gone since.
    pub fn swallow(&self, swallows: bool) {
        self.set(|state| state.swallows = swallows);
    }

    /// Number of connections of which something is kept now.
    pub fn swallowed(&self) -> u64 {
        self.network.look().swallowed
    }

    /// Delivers everything so much later, each way.
    pub fn delay(&self, delay: Duration) {
        self.set(|state| state.delay = delay);
    }

    /// Lets the server carry out the next COMMITs, so many, and resets the connection in place of each answer.
    pub fn lose_answers(&self, answers: u64) {
        self.set(|state| state.answers_to_lose = answers);
    }

    /// Number of answers lost so far.
    pub fn answers_lost(&self) -> u64 {
        self.network.look().answers_lost
    }

    /// Resets every connection once clients have sent so many bytes, in the middle of a message or not.
    pub fn reset_after(&self, bytes: usize) {
        self.set(|state| state.reset_after = Some(bytes));
    }

    /// Number of resets of all connections so far.
    pub fn resets(&self) -> u64 {
        self.network.look().resets
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(|state| (state.closed, state.refuses, state.resets) = (true, true, state.resets + 1));
        // Wakes the thread that accepts; if it can't be reached, there is none.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl Network {
    fn look(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state when nothing is swallowed any more.
    fn pass(&self) -> State {
        let mut state = self.look();
        state.swallowed += 1;
        let passing = self.changed.wait_while(state, |state| state.swallows && !state.closed);
        let mut state = passing.unwrap_or_else(PoisonError::into_inner);
        state.swallowed -= 1;
        *state
    }

    fn connect(self: Arc<Self>, client: TcpStream) {
        let State { target, refuses, resets, .. } = self.pass();
        // A connection whose last handle is dropped is reset.
        let at_once = |stream: &TcpStream| SockRef::from(stream).set_linger(Some(Duration::ZERO));
        if at_once(&client).is_err() || refuses {
            return;
        }
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { return };
        for stream in [&client, &server] {
            let prepared = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(GLANCE)));
            if prepared.and_then(|()| at_once(stream)).is_err() {
                return;
            }
        }
        let over = Arc::new(Mutex::new(false));
        let ways = (client.try_clone(), server.try_clone());
        let (Ok(to_client), Ok(to_server)) = ways else { return };
        let (other, other_over) = (self.clone(), over.clone());
        std::thread::spawn(move || other.carry(server, to_client, false, resets, &other_over));
        self.carry(client, to_server, true, resets, &over);
    }

    /// Carries bytes one way, up to the server or down, until the connection is over.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, up: bool, resets: u64, over: &Mutex<bool>) {
        let is_over = || *over.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = vec![0; 64 << 10];
        // The end of what came before: an answer may come in two pieces.
        let mut tail = Vec::new();
        while !is_over() && self.look().resets == resets {
            let read = match from.read(&mut bytes) {
                // The other side still gets what is on its way.
                Ok(0) => return drop(to.shutdown(Shutdown::Write)),
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            let chunk = &bytes[..read];
            let delay = self.pass().delay;
            std::thread::sleep(delay);
            tail.extend_from_slice(chunk);
            let send = {
                let mut state = self.look();
                let committed = tail.windows(COMMITTED.len()).any(|bytes| bytes == COMMITTED);
                if !up && committed && state.answers_to_lose > 0 {
                    state.answers_to_lose -= 1;
                    state.answers_lost += 1;
                    break;
                }
                match state.reset_after.filter(|_| up) {
                    Some(left) if left <= read => {
                        (state.reset_after, state.resets) = (None, state.resets + 1);
                        left
                    }
                    left => {
                        state.reset_after = left.map(|left| left - read).or(state.reset_after);
                        read
                    }
                }
            };
            tail.drain(..tail.len().saturating_sub(COMMITTED.len() - 1));
            if to.write_all(&chunk[..send]).is_err() {
                break;
            }
        }
        *over.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}
