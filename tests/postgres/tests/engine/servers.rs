//! Servers that stop, are killed, fail over to a standby, or have no room left.

use crate::space::{Host, Space};
use harness::{Outcome, note, wait_until};
use mnemon::ErrorKind;
use postgres_tests::{Proxy, Server};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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

/// The owner at the time of the standby's last state has closed the space since, and its lease there may still run.
#[test]
fn standby_that_lags_behind_opening_is_written_again() -> Outcome {
    for closes_first in [true, false] {
        let Some(server) = Server::start()? else { return Ok(()) };
        let standby = server.standby()?;
        let proxy = Proxy::start(server.port())?;
        let mut space = Space::new(&server, "opening")?;
        let mut first = Some(space.builder().lease(Duration::from_secs(15)).connect(&server.url())?);
        let close = |first: Option<mnemon::TraceStore>| first.map_or(Ok(()), |store| store.close().map(drop));
        first.as_ref().ok_or("a store")?.flush()?;
        if closes_first {
            close(first.take())?;
        }
        let row = "SELECT boot, epoch, lease_until IS NULL FROM mnemon.spaces";
        wait_until(|| standby.sql(row).is_ok_and(|found| server.sql(row).is_ok_and(|row| row == found)));
        standby.stop_at_once()?;
        close(first.take())?;
        let mut host = space.host(&server.url_at(proxy.port()))?;
        host.goes_on()?;
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
    }
    Ok(())
}

/// The server loses openings, and then another host opens and closes the space.
#[test]
fn opening_after_lost_ones_is_not_taken_over() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let space = Space::new(&server, "lost")?;
    for lost in [1, 2] {
        space.builder().connect(&server.url())?.close()?;
        server.sql("DROP TABLE IF EXISTS was; CREATE TABLE was AS TABLE mnemon.spaces")?;
        for _ in 1..lost {
            space.builder().connect(&server.url())?.close()?;
        }
        // Its keeper does not look before it flushes, and after a flush that has failed it takes the space again first.
        let store = space.builder().lease(Duration::from_secs(60)).connect(&server.url())?;
        store.insert(note("lost"))?;
        store.flush()?;
        store.insert(note("late"))?;
        server.sql("ALTER TABLE mnemon.spaces RENAME TO away")?;
        assert_eq!(store.flush().err().map(|error| error.kind()), Some(ErrorKind::Unreachable));
        server.sql(
            "ALTER TABLE mnemon.away RENAME TO spaces;
            UPDATE mnemon.spaces SET (boot, epoch, watermark, lease_until) =
                (SELECT gen_random_uuid(), epoch + 1, watermark, NULL::timestamptz FROM was)",
        )?;
        let row = "SELECT boot, epoch, watermark FROM mnemon.spaces";
        let found = server.sql(row)?;
        for _ in 0..2 {
            assert_eq!(store.flush().err().map(|error| error.kind()), Some(ErrorKind::InUse), "{lost} lost");
        }
        assert_eq!(server.sql(row)?, found, "{lost} lost");
    }
    Ok(())
}

#[test]
fn unreadable_rows_outlive_lost_commits() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let space = Space::new(&server, "unreadable")?;
    let store = space.builder().connect(&server.url())?;
    let ids = store.insert_many((0..4).map(note))?;
    store.co_activate(ids[0], ids[1])?;
    store.co_activate(ids[1], ids[2])?;
    store.co_activate(ids[2], ids[3])?;
    store.close()?;
    server.sql(&format!(
        "UPDATE mnemon.traces SET type = 'nonsense' WHERE id = '{}';
        UPDATE mnemon.links SET count = -1 WHERE '{}' IN (a, b)",
        ids[0], ids[3]
    ))?;
    let store = space.builder().connect(&server.url())?;
    assert_eq!((store.len(), store.stats().quarantined.len()), (3, 3), "a row and two links");
    store.insert(note("newer"))?;
    store.flush()?;
    server.sql(
        "UPDATE mnemon.spaces SET watermark = watermark - 1;
        DELETE FROM mnemon.traces WHERE type <> 'nonsense'",
    )?;
    store.insert(note("newest"))?;
    assert_eq!(store.flush().err().map(|error| error.kind()), Some(ErrorKind::Io));
    store.flush()?;
    // Its id is still taken.
    store.insert(note("in its place").id(ids[0]))?;
    assert_eq!(store.flush()?.rows_refused, 1);
    store.close()?;
    let rows =
        "SELECT count(*), count(*) FILTER (WHERE type = 'nonsense'), (SELECT count(*) FROM mnemon.links)
        FROM mnemon.traces";
    assert_eq!(server.sql(rows)?, "6|1|3");
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
