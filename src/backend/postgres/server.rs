//! The servers that this process is connected to: one thread for all of them, and a few connections for each.
//!
//! A store has no connection of its own. Each transaction carries what it needs, so that any connection will do, also
//! one of a pool in transaction mode, and a thousand spaces of one server take no more connections than a few.

use super::error::{Failure, Said};
use super::keeper::Leases;
use super::tls::Tls;
use crate::backend::BackendError;
use crate::error::ErrorKind;
use crate::guarded;
use crate::protocol::sync::{Mutex, lock};
use crate::protocol::{Process, at_work};
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{timeout, timeout_at};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config};

/// The number of connections to a server that flushes and loads share. One more renews the leases.
const MOST_CONNECTIONS: usize = 8;

/// The number of these that openings, loads, followers and reports may have: the others are for flushes.
const MOST_BESIDE_FLUSHES: usize = 4;

/// Time after the deadline in which the servers' thread says that it has passed.
const HELD_UP: Duration = Duration::from_secs(1);

/// Replaced in a child process at its first use there: the thread stayed in the parent.
static SERVERS: ArcSwapOption<Servers> = ArcSwapOption::const_empty();

struct Servers {
    process: Process,
    runtime: Handle,
    /// Ends the thread when it is dropped.
    _running: oneshot::Sender<()>,
    /// By URL.
    open: Mutex<HashMap<String, Weak<Server>>>,
}

impl Servers {
    fn current() -> Result<Arc<Self>, BackendError> {
        loop {
            let found = SERVERS.load_full();
            if let Some(servers) = found.as_ref().filter(|servers| servers.process.is_current()) {
                return Ok(servers.clone());
            }
            let new = Arc::new(Self::start().map_err(|error| {
                let message = "the thread mnemon-postgres can't be started: raise the limit on threads";
                BackendError::new(ErrorKind::Io, message).because(error)
            })?);
            let before = SERVERS.compare_and_swap(&found, Some(new.clone()));
            if before.as_ref().map(Arc::as_ptr) == found.as_ref().map(Arc::as_ptr) {
                // The parent's, if there is one: neither used nor closed in a child.
                std::mem::forget(found);
                return Ok(new);
            }
        }
    }

    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("mnemon-postgres".to_owned());
        // Flushes of all stores wait for it.
        thread.spawn(move || at_work(|| runtime.block_on(ended)))?;
        Ok(Self { process: Process::current(), runtime: handle, _running: running, open: Mutex::default() })
    }
}

/// A server, as one URL names it.
pub(super) struct Server {
    process: Process,
    runtime: Handle,
    config: Config,
    tls: Option<Tls>,
    /// Without user and password.
    place: String,
    idle: Mutex<Vec<Arc<Connection>>>,
    permits: Semaphore,
    beside_flushes: Semaphore,
    pub(super) leases: Leases,
}

impl Server {
    /// The one that the stores of this URL share.
    pub(super) fn of(url: &str) -> Result<Arc<Self>, BackendError> {
        let servers = Servers::current()?;
        if let Some(server) = lock(&servers.open).get(url).and_then(Weak::upgrade) {
            return Ok(server);
        }
        let config = parsed(url)?;
        let tls = (config.get_ssl_mode() != SslMode::Disable).then(Tls::new).transpose()?;
        let new = Arc::new(Self {
            process: servers.process,
            runtime: servers.runtime.clone(),
            place: place(&config),
            config,
            tls,
            idle: Mutex::default(),
            permits: Semaphore::new(MOST_CONNECTIONS),
            beside_flushes: Semaphore::new(MOST_BESIDE_FLUSHES),
            leases: Leases::default(),
        });
        let mut open = lock(&servers.open);
        open.retain(|_, server| server.strong_count() > 0);
        // Another thread may have been first.
        if let Some(server) = open.get(url).and_then(Weak::upgrade) {
            return Ok(server);
        }
        open.insert(url.to_owned(), Arc::downgrade(&new));
        Ok(new)
    }

    /// The URL without user and password.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether this runs in a child of the process that connected.
    pub(super) fn is_forked(&self) -> bool {
        !self.process.is_current()
    }

    /// Does some work on the servers' thread and waits for it, until the deadline at most; a little longer if something
    /// holds that thread up.
    pub(super) fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let (give, take) = mpsc::sync_channel(1);
        let task = self.spawn(async move {
            let done = timeout_at(deadline.into(), work).await.unwrap_or(Err(Failure::TimedOut));
            // Whoever waits may have given up.
            give.send(done).ok();
        })?;
        match take.recv_timeout(deadline.saturating_duration_since(Instant::now()) + HELD_UP) {
            Ok(done) => done,
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(panicked().into()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                task.abort();
                Err(Failure::TimedOut)
            }
        }
    }

    /// Does some work that may take long, for as long as the server can be reached: each time that half of `patience` has
    /// passed, a new connection has the other half to be made.
    pub(super) async fn while_reachable<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = timeout(patience / 2, &mut work).await {
                return done;
            }
            if !matches!(timeout(patience / 2, self.dial()).await, Ok(Ok(_))) {
                return Err(Failure::TimedOut);
            }
        }
    }

    pub(super) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<AbortHandle, Failure> {
        if self.is_forked() {
            let message = format!(
                "the connection to {} belongs to process {}, which this one was forked from",
                self.place,
                self.process.id()
            );
            return Err(BackendError::new(ErrorKind::Forked, message).into());
        }
        Ok(self.runtime.spawn(work).abort_handle())
    }

    /// A connection for a flush, as soon as one is free.
    pub(super) async fn lend(&self) -> Result<Lent<'_>, Failure> {
        let permit = permit(&self.permits).await?;
        self.lend_with(permit, None).await
    }

    /// A connection for what must not hold up flushes, if one is free before the deadline.
    pub(super) async fn lend_until(&self, deadline: Instant) -> Result<Lent<'_>, Failure> {
        let both = async { Ok((permit(&self.beside_flushes).await?, permit(&self.permits).await?)) };
        let (beside, permit) =
            timeout_at(deadline.into(), both).await.unwrap_or(Err(Failure::NoConnection))?;
        self.lend_with(permit, Some(beside)).await
    }

    async fn lend_with<'s>(
        &'s self,
        permit: SemaphorePermit<'s>,
        beside: Option<SemaphorePermit<'s>>,
    ) -> Result<Lent<'s>, Failure> {
        let idle =
            std::iter::from_fn(|| lock(&self.idle).pop()).find(|connection| !connection.client.is_closed());
        let connection = match idle {
            Some(connection) => connection,
            None => Arc::new(self.dial().await?),
        };
        Ok(Lent { connection, server: self, _permits: (permit, beside), is_given_back: false })
    }

    /// A new connection, beside those that are lent.
    pub(super) async fn dial(&self) -> Result<Connection, Failure> {
        let (client, task) = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                (client, tokio::spawn(ended(connection)))
            }
            None => {
                let (client, connection) = self.config.connect(tokio_postgres::NoTls).await?;
                (client, tokio::spawn(ended(connection)))
            }
        };
        Ok(Connection { client, task: task.abort_handle() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.leases.wake_keeper();
    }
}

async fn permit(permits: &Semaphore) -> Result<SemaphorePermit<'_>, Failure> {
    let closed = |_| BackendError::new(ErrorKind::Backend, "no connections are lent any more");
    Ok(permits.acquire().await.map_err(closed)?)
}

/// The failure of work whose end was never told.
pub(super) fn panicked() -> BackendError {
    BackendError::new(ErrorKind::Backend, "the thread mnemon-postgres panicked: report it")
}

/// Works until the connection has ended.
async fn ended(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        let error = Said::by(&error);
        guarded::run(|| tracing::debug!(%error, "a connection to PostgreSQL has ended"));
    }
}

/// A connection; it ends in good order when it is dropped.
pub(super) struct Connection {
    client: Client,
    task: AbortHandle,
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A connection while it is used. Unless it is given back it is closed at once, whatever is under way on it.
pub(super) struct Lent<'s> {
    connection: Arc<Connection>,
    server: &'s Server,
    _permits: (SemaphorePermit<'s>, Option<SemaphorePermit<'s>>),
    is_given_back: bool,
}

impl Lent<'_> {
    /// For others to use. No transaction may be open.
    pub(super) fn give_back(mut self) {
        self.is_given_back = true;
        lock(&self.server.idle).push(self.connection.clone());
    }

    /// Rolls back what failed, and gives the connection back if that works.
    pub(super) async fn roll_back(self) {
        if self.batch_execute("ROLLBACK").await.is_ok() {
            self.give_back();
        }
    }

    /// Puts a new connection in the place of one that has failed.
    pub(super) async fn renew(&mut self) -> Result<(), Failure> {
        self.connection.task.abort();
        self.connection = Arc::new(self.server.dial().await?);
        Ok(())
    }
}

impl Deref for Lent<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connection.client
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if !self.is_given_back {
            self.connection.task.abort();
            // What ended this one may have ended them all.
            lock(&self.server.idle).clear();
        }
    }
}

/// The error of a malformed URL quotes nothing of it: anything may be a part of the password.
fn parsed(url: &str) -> Result<Config, BackendError> {
    // All that TLS is used for is verified here.
    let known =
        url.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require");
    // An `@` that is not written as %40 has ended the password too soon.
    let is_whole = |host: &Host| !matches!(host, Host::Tcp(name) if name.contains('@'));
    let config = known.parse().ok().filter(|config: &Config| config.get_hosts().iter().all(is_whole));
    let mut config = config.ok_or_else(|| {
        BackendError::new(ErrorKind::Unreachable, "the URL of the database is malformed")
            .with_hint("give postgres://user:password@host:port/database, with special characters as %XX")
    })?;
    config
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3)
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    if config.get_connect_timeout().is_none() {
        // Of several hosts, the next one is tried then.
        config.connect_timeout(Duration::from_secs(3));
    }
    if config.get_application_name().is_none() {
        config.application_name("mnemon");
    }
    Ok(config)
}

fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let port = ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(host) => format!("{host}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    let hosts: Vec<_> = hosts.collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgres://{}/{database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::{parsed, place};

    #[test]
    fn place_has_no_user_and_no_password() -> Result<(), Box<dyn std::error::Error>> {
        for (url, shown) in [
            (
                "postgres://agent:s3cret@a,b:5433/memory?sslmode=verify-full",
                "postgres://a:5432,b:5433/memory",
            ),
            ("host=/run/pg dbname=memory user=agent password=s3cret", "postgres:///run/pg:5432/memory"),
        ] {
            assert_eq!(place(&parsed(url)?), shown);
        }
        Ok(())
    }

    #[test]
    fn malformed_url_is_not_quoted() {
        for url in [
            "postgres://agent:s3cret@host:port/memory",
            "postgres://agent:s@3cret@host/memory",
            "postgres://a@host/memory?3cret=1",
            "s3cret",
        ] {
            let error = parsed(url).err().map(|error| format!("{error:?} {error}"));
            assert!(error.as_ref().is_some_and(|error| !error.contains("3cret")), "{error:?}");
        }
    }
}
