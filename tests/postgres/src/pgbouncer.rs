//! PgBouncer, which gives each transaction any of a few connections to the server.

use crate::Server;
use crate::programs::{free_port, give_away, program, run, signal, skip, unprivileged};
use harness::Outcome;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A pooler in transaction mode before a server. Ended with this value.
pub struct Pgbouncer {
    folder: TempDir,
    port: u16,
}

impl Pgbouncer {
    /// Starts a pooler with so many connections to the server, or returns `None` and says why if PgBouncer is not
    /// installed.
    pub fn start(server: &Server, connections: u32) -> Outcome<Option<Self>> {
        let Some(program) = program("pgbouncer") else {
            skip("PgBouncer is not installed")?;
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("mnemon-pgbouncer-").tempdir()?;
        give_away(folder.path())?;
        let pooler = Self { port: free_port()?, folder };
        let path = pooler.folder.path().display();
        let settings = format!(
            "[databases]
mnemon = host=127.0.0.1 port={} user=mnemon
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
logfile = {path}/log
pidfile = {path}/pid
",
            server.port(),
            pooler.port
        );
        fs::write(pooler.folder.path().join("settings"), settings)?;
        run(unprivileged(&program, pooler.folder.path()).args(["-d", "settings"]))?;
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, pooler.port)).is_err() {
            if began.elapsed() > Duration::from_secs(20) {
                return Err(fs::read_to_string(pooler.folder.path().join("log"))?.into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Some(pooler))
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let process = fs::read_to_string(self.folder.path().join("pid")).ok();
        if let Some(process) = process.and_then(|process| process.trim().parse().ok())
            && let Err(error) = signal("KILL", process)
        {
            eprintln!("{error}");
        }
    }
}
