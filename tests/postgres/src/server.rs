//! A PostgreSQL server in a temporary folder.

use crate::programs::{free_port, give_away, program, run, server_programs, signal, skip, unprivileged};
use harness::{Outcome, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Settings of every server: durable like one in production, and small.
const SETTINGS: &str = "
fsync = on
listen_addresses = '127.0.0.1'
max_connections = 60
shared_buffers = 32MB
wal_keep_size = 16MB
max_wal_size = 16MB
wal_receiver_timeout = 5s
";

/// Who may connect how: everybody as anybody, but `guarded` with a password.
const ACCESS: &str = "
local all all trust
host all guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
local replication all trust
";

/// A server with a database `mnemon`, owned by the user `mnemon`. Stopped and deleted with this value.
pub struct Server {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    /// Deleted with the server; none if the folder belongs to somebody else.
    owned: Option<TempDir>,
}

impl Server {
    /// Starts a server, or returns `None` and says why if PostgreSQL is not installed.
    pub fn start() -> Outcome<Option<Self>> {
        let folder = tempfile::Builder::new().prefix("mnemon-pg-").tempdir()?;
        let server = Self::start_in(folder.path())?;
        Ok(server.map(|mut server| {
            server.owned = Some(folder);
            server
        }))
    }

    /// Starts a server in a folder that exists.
    pub fn start_in(folder: &Path) -> Outcome<Option<Self>> {
        let Some(programs) = server_programs() else {
            skip("PostgreSQL is not installed")?;
            return Ok(None);
        };
        give_away(folder)?;
        let server = Self { programs, folder: folder.to_owned(), port: free_port()?, owned: None };
        let initdb = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale"];
        // Segments of 1 MiB: a full disk is soon there.
        run(server.command("initdb").args(initdb).arg("--wal-segsize=1").arg("-D").arg(server.data()))?;
        let settings = server.data().join("postgresql.conf");
        fs::write(&settings, fs::read_to_string(&settings)? + SETTINGS)?;
        fs::write(server.data().join("pg_hba.conf"), ACCESS)?;
        server.start_again()?;
        server.sql_in("postgres", "CREATE ROLE mnemon LOGIN")?;
        server.sql_in("postgres", "CREATE DATABASE mnemon OWNER mnemon")?;
        Ok(Some(server))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        unprivileged(&self.programs.join(program), &self.folder)
    }

    fn control(&self, arguments: &[&str]) -> Outcome {
        run(self.command("pg_ctl").arg("-D").arg(self.data()).args(["-w", "-t", "60"]).args(arguments))
            .map(drop)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL of the database, over TCP.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// Returns the URL of the database by way of another port, such as a proxy's.
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://mnemon@127.0.0.1:{port}/mnemon")
    }

    /// Runs SQL as the superuser: see [`psql`].
    pub fn sql(&self, sql: &str) -> Outcome<String> {
        self.sql_in("mnemon", sql)
    }

    fn sql_in(&self, database: &str, sql: &str) -> Outcome<String> {
        let (folder, port) = (self.folder.display(), self.port);
        psql(&format!("host={folder} port={port} user=postgres dbname={database}"), sql)
    }

    /// Starts the server after it was stopped or killed.
    pub fn start_again(&self) -> Outcome {
        let log = self.folder.join("log");
        let options = format!("-p {} -k {}", self.port, self.folder.display());
        let began = Instant::now();
        loop {
            // What is left of a killed server may hold its memory for a moment.
            match self.control(&["-l", &log.display().to_string(), "-o", &options, "start"]) {
                Err(error) if began.elapsed() > Duration::from_secs(60) => {
                    return Err(format!("{error}\n{}", fs::read_to_string(&log).unwrap_or_default()).into());
                }
                Err(_) if self.process().is_err() => std::thread::sleep(Duration::from_millis(100)),
                Err(error) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Stops the server without a checkpoint: each connection ends at once, and the next start recovers from the WAL.
    pub fn stop_at_once(&self) -> Outcome {
        self.control(&["-m", "immediate", "stop"])
    }

    /// Kills the server's first process; the others end when they notice.
    pub fn kill(&self) -> Outcome {
        let process = self.process()?;
        signal("KILL", process)?;
        wait_until(|| signal("0", process).is_err());
        Ok(fs::remove_file(self.data().join("postmaster.pid"))?)
    }

    /// Returns the id of the server's first process.
    fn process(&self) -> Outcome<u32> {
        let file = fs::read_to_string(self.data().join("postmaster.pid"))?;
        Ok(file.lines().next().unwrap_or_default().parse()?)
    }

    /// Starts a standby that follows this server by streaming replication.
    pub fn standby(&self) -> Outcome<Self> {
        let owned = tempfile::Builder::new().prefix("mnemon-pg-").tempdir()?;
        let (programs, folder, port) = (self.programs.clone(), owned.path().to_owned(), free_port()?);
        give_away(&folder)?;
        let standby = Self { programs, folder, port, owned: Some(owned) };
        let mut copy = self.command("pg_basebackup");
        copy.args(["-R", "-X", "stream", "-c", "fast", "-U", "postgres"]).arg("-h").arg(&self.folder);
        run(copy.args(["-p", &self.port.to_string()]).arg("-D").arg(standby.data()))?;
        standby.start_again()?;
        Ok(standby)
    }

    /// Makes the standby a server that takes writes.
    pub fn promote(&self) -> Outcome {
        self.control(&["promote"])
    }
}

/// Runs SQL by way of any URL and returns what psql prints: a row a line, its columns separated by `|`.
pub fn psql(url: &str, sql: &str) -> Outcome<String> {
    let mut psql = Command::new(program("psql").ok_or("psql is not installed")?);
    run(psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]))
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process().is_ok()
            && let Err(error) = self.stop_at_once()
        {
            eprintln!("{error}");
        }
    }
}
