//! Servers that stop, are killed, fail over to a standby, or have no room left.

use crate::space::{Host, Space};
use harness::{Outcome, wait_until};
use postgres_tests::{Proxy, Server};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

#[test]
fn stopped_and_killed_server_loses_nothing() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut space = Space::new(&server, "restarted")?;
    let mut host = space.host(&server.url())?;
    for end in [Server::stop_at_once, Server::kill, Server::stop_at_once, Server::kill] {
        host.goes_on()?;
        end(&server)?;
        wait_for_failure(&mut host);
        server.start_again()?;
    }
    host.goes_on()?;
    host.close()?;
    let state = space.check(&[&host])?;
    assert_eq!(state, host.told()?.durable);
    Ok(())
}

/// Waits until another flush has failed.
fn wait_for_failure(host: &mut Host) {
    let before = host.failures().len();
    wait_until(|| host.failures().len() > before);
}

#[test]
fn synchronous_standby_has_all() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let standby = server.standby()?;
    server.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")?;
    server.sql("SELECT pg_reload_conf()")?;
    wait_until(|| {
        server.sql("SELECT sync_state FROM pg_stat_replication").is_ok_and(|state| state == "sync")
    });
    let mut space = Space::new(&server, "synchronous")?;
    // The host is killed with its server, so that its memory does not help.
    let mut host = space.host(&server.url())?;
    host.goes_on()?;
    server.kill()?;
    host.kill()?;
    standby.promote()?;
    space.moved_to(&standby);
    space.check(&[&host])?;
    Ok(())
}

#[test]
fn standby_that_lags_is_written_again() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let standby = server.standby()?;
    let proxy = Proxy::start(server.port())?;
    let mut space = Space::new(&server, "lagging")?;
    let mut host = space.host(&server.url_at(proxy.port()))?;
    host.goes_on()?;
    wait_until(|| standby.sql("SELECT count(*) FROM mnemon.spaces").is_ok_and(|spaces| spaces == "1"));
    standby.stop_at_once()?;
    (0..5).try_for_each(|_| host.goes_on())?;
    // What was acknowledged since is on the server alone, and in the host's memory.
    proxy.refuse(true);
    server.kill()?;
    standby.start_again()?;
    standby.promote()?;
    proxy.redirect(standby.port());
    proxy.refuse(false);
    host.goes_on()?;
    host.close()?;
    space.moved_to(&standby);
    let state = space.check(&[&host])?;
    assert_eq!(state, host.told()?.durable);
    Ok(())
}

/// A small file system in memory, unmounted with this value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one, which root alone may.
    fn new() -> Outcome<Option<Self>> {
        let folder = tempfile::Builder::new().prefix("mnemon-pg-").tempdir()?;
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=112m", "tmpfs"]).arg(folder.path()).output()?;
        if mounted.status.success() {
            return Ok(Some(Self(folder)));
        }
        eprintln!("skipped: {}", String::from_utf8_lossy(&mounted.stderr).trim_end());
        Ok(None)
    }

    /// Fills it up with a file.
    fn fill(&self) -> Outcome {
        let mut file = OpenOptions::new().create(true).append(true).open(self.ballast())?;
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    fn make_room(&self) -> Outcome {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.path().join("ballast")
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = Command::new("umount").arg("-l").arg(self.path()).output() {
            eprintln!("{error}");
        }
    }
}

#[test]
fn full_disk_loses_nothing() -> Outcome {
    let Some(disk) = SmallDisk::new()? else { return Ok(()) };
    let Some(server) = Server::start_in(disk.path())? else { return Ok(()) };
    let mut space = Space::new(&server, "full")?;
    let mut host = space.host(&server.url())?;
    for _ in 0..2 {
        host.goes_on()?;
        disk.fill()?;
        wait_for_failure(&mut host);
        disk.make_room()?;
        // A server that can't write its WAL ends.
        if server.sql("SELECT 1").is_err() {
            server.start_again()?;
        }
    }
    host.goes_on()?;
    host.close()?;
    let state = space.check(&[&host])?;
    assert_eq!(state, host.told()?.durable);
    Ok(())
}
