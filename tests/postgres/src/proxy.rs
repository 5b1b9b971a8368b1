//! A network that fails as a test tells it to.

use harness::{Outcome, wait_until};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a connection looks whether it is to be reset, while nothing comes.
const GLANCE: Duration = Duration::from_millis(5);

/// What a client sends to commit, and what the server answers: the tag of the message `CommandComplete`.
const COMMITTED: &[u8] = b"COMMIT\0";

/// A direction, as the client sees it.
#[derive(Clone, Copy)]
pub enum Way {
    Up,
    Down,
}

/// What happens once clients have sent so many bytes.
#[derive(Clone, Copy)]
enum Limit {
    Reset,
    Swallow,
}

/// A TCP proxy between clients and one server, on a port of its own. Resets all connections when dropped.
pub struct Proxy {
    port: u16,
    network: Arc<Network>,
    accepting: Mutex<Option<JoinHandle<()>>>,
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
    swallows_up: bool,
    swallows_down: bool,
    /// Number of threads that keep something.
    swallowed: u64,
    delay: Duration,
    answers_to_lose: u64,
    answers_lost: u64,
    /// Number of bytes that clients have sent so far, and that they may send yet.
    sent: usize,
    limit: Option<(usize, Limit)>,
    swallows_commit: bool,
    is_deaf: bool,
    closed: bool,
}

impl Proxy {
    /// Listens before a server on `target`, a port of this machine.
    pub fn start(target: u16) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = State { target, ..State::default() };
        let network = Arc::new(Network { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Mutex::new(Some(network.clone().accept(listener)));
        Ok(Self { port, network, accepting })
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

    /// With `false`, closes the port, so that new connections are refused, and resets the others; with `true`, opens it
    /// again.
    pub fn listen(&self, listens: bool) {
        let mut accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(|state| (state.is_deaf, state.resets) = (!listens, state.resets + u64::from(!listens)));
        match accepting.take() {
            None if listens => wait_until(|| {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port));
                *accepting = listener.ok().map(|listener| self.network.clone().accept(listener));
                accepting.is_some()
            }),
            Some(thread) if !listens => {
                self.wake();
                thread.join().expect("no panic");
            }
            same => *accepting = same,
        }
    }

    /// Wakes the thread that accepts; if it can't be reached, there is none.
    fn wake(&self) {
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }

    /// Keeps every connection open and delivers nothing, either way, also not that one has ended. With `false`, all
    /// that was kept is delivered, also what clients sent who have gone since.
    pub fn swallow(&self, swallows: bool) {
        self.set(|state| (state.swallows_up, state.swallows_down) = (swallows, swallows));
    }

    /// Keeps every connection open and delivers nothing one way, until `swallow` is called with `false`.
    pub fn swallow_one_way(&self, way: Way) {
        self.set(|state| match way {
            Way::Up => state.swallows_up = true,
            Way::Down => state.swallows_down = true,
        });
    }

    /// Delivers so many bytes more that clients send, in the middle of a message or not, and swallows the rest, as well
    /// as each answer from then on.
    pub fn swallow_after(&self, bytes: usize) {
        self.set(|state| state.limit = Some((bytes, Limit::Swallow)));
    }

    /// Swallows the next COMMIT of a client, what comes after it, and each answer from then on.
    pub fn swallow_commit(&self) {
        self.set(|state| state.swallows_commit = true);
    }

    /// Number of bytes that clients have sent so far.
    pub fn sent(&self) -> usize {
        self.network.look().sent
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
        self.set(|state| state.limit = Some((bytes, Limit::Reset)));
    }

    /// Number of resets of all connections so far.
    pub fn resets(&self) -> u64 {
        self.network.look().resets
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(|state| (state.closed, state.refuses, state.resets) = (true, true, state.resets + 1));
        self.wake();
    }
}

impl Network {
    fn look(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state when nothing of what `is_swallowed` says is swallowed any more.
    fn pass(&self, is_swallowed: fn(&State) -> bool) -> State {
        let mut state = self.look();
        if is_swallowed(&state) {
            state.swallowed += 1;
            let passing = self.changed.wait_while(state, |state| is_swallowed(state) && !state.closed);
            state = passing.unwrap_or_else(PoisonError::into_inner);
            state.swallowed -= 1;
        }
        *state
    }

    /// Takes connections until the network is closed, or its port.
    fn accept(self: Arc<Self>, listener: TcpListener) -> JoinHandle<()> {
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let network = self.clone();
                let state = *network.look();
                if state.closed || state.is_deaf {
                    return;
                }
                std::thread::spawn(move || network.connect(client));
            }
        })
    }

    fn connect(self: Arc<Self>, client: TcpStream) {
        let State { target, refuses, resets, .. } =
            self.pass(|state| state.swallows_up && state.swallows_down);
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
        let is_swallowed: fn(&State) -> bool =
            if up { |state| state.swallows_up } else { |state| state.swallows_down };
        let is_over = || *over.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = vec![0; 64 << 10];
        // The end of what came before: an answer may come in two pieces.
        let mut tail = Vec::new();
        while !is_over() && self.look().resets == resets {
            let read = match from.read(&mut bytes) {
                // The other side still gets what is on its way.
                Ok(0) => {
                    self.pass(is_swallowed);
                    return drop(to.shutdown(Shutdown::Write));
                }
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => {
                    self.pass(is_swallowed);
                    break;
                }
            };
            let chunk = &bytes[..read];
            let delay = self.pass(is_swallowed).delay;
            std::thread::sleep(delay);
            tail.extend_from_slice(chunk);
            let send = {
                let mut state = self.look();
                if state.resets != resets {
                    break;
                }
                let committed = tail.windows(COMMITTED.len()).any(|bytes| bytes == COMMITTED);
                if !up && committed && state.answers_to_lose > 0 {
                    state.answers_to_lose -= 1;
                    state.answers_lost += 1;
                    break;
                }
                state.sent += if up { read } else { 0 };
                if up && committed && state.swallows_commit {
                    state.swallows_commit = false;
                    // The text of a message comes after its kind and its length.
                    let text = chunk.windows(COMMITTED.len()).position(|bytes| bytes == COMMITTED);
                    state.limit = Some((text.unwrap_or(0).saturating_sub(5), Limit::Swallow));
                }
                match state.limit.filter(|_| up) {
                    Some((left, limit)) if left <= read => {
                        state.limit = None;
                        match limit {
                            Limit::Reset => state.resets += 1,
                            Limit::Swallow => (state.swallows_up, state.swallows_down) = (true, true),
                        }
                        left
                    }
                    left => {
                        state.limit = left.map(|(left, limit)| (left - read, limit)).or(state.limit);
                        read
                    }
                }
            };
            tail.drain(..tail.len().saturating_sub(COMMITTED.len() - 1));
            let (now, later) = chunk.split_at(send);
            if to.write_all(now).is_err() {
                break;
            }
            if !later.is_empty() && self.pass(is_swallowed).resets == resets && to.write_all(later).is_err() {
                break;
            }
        }
        *over.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}
