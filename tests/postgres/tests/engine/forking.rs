//! A store in a child process that was forked from the one which opened it: it is the parent's there.

use crate::fork::fork;
use harness::{Outcome, manual_flush, note, process};
use mnemon::postgres::{follow, spaces};
use mnemon::{ErrorKind, StoreBuilder};
use postgres_tests::Server;
use tempfile::TempDir;

fn builder(folder: &TempDir) -> StoreBuilder {
    manual_flush().spill_to(folder.path())
}

fn is_forked<T>(outcome: mnemon::Result<T>) -> bool {
    outcome.is_err_and(|error| error.kind() == ErrorKind::Forked && error.to_string().contains("process "))
}

#[test]
fn child_leaves_store_to_its_parent() -> Outcome {
    process::alone(|| {
        let Some(server) = Server::start()? else { return Ok(()) };
        let (folder, url) = (TempDir::new()?, server.url());
        let store = builder(&folder).connect(&url)?;
        store.insert(note("flushed"))?;
        store.flush()?;
        let mut follower = follow(&url, "default", 0)?;
        store.insert(note("not flushed"))?;
        let row = "SELECT boot, epoch, watermark, clean, lease_until IS NULL FROM mnemon.spaces";
        // The keeper may not have connected yet.
        let is_kept = "SELECT count(*) > 1 FROM pg_stat_activity WHERE usename = 'mnemon'";
        harness::wait_until(|| server.sql(is_kept).is_ok_and(|kept| kept == "t"));
        let sessions =
            "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity WHERE usename = 'mnemon'";
        let before = (server.sql(row)?, server.sql(sessions)?);
        // For the child alone; this process does not let go of its own.
        let childs = store.clone();
        let child = fork(|| {
            let failures = [
                !is_forked(childs.flush()),
                !is_forked(childs.erase_partition("default")),
                !is_forked(childs.spill()),
                !is_forked(follower.read()),
                childs.len() != 2,
            ];
            let own = match childs.close() {
                Err(failed) if failed.error.kind() == ErrorKind::Forked => failed.store,
                _ => return 50,
            };
            drop(own);
            failures.iter().position(|failed| *failed).map_or(0, |at| at as i32 + 1)
        })?;
        assert_eq!(child.wait()?, 0, "which of the calls it was");
        assert_eq!((server.sql(row)?, server.sql(sessions)?), before, "the child is gone, and they are not");
        store.flush()?;
        follower.read()?;
        assert_eq!(server.sql(sessions)?, before.1, "no connection was lost");
        store.close()?;
        assert_eq!(builder(&folder).connect(&url)?.len(), 2);
        Ok(())
    })
}

#[test]
fn child_connects_on_its_own() -> Outcome {
    process::alone(|| {
        let Some(server) = Server::start()? else { return Ok(()) };
        let (folder, url) = (TempDir::new()?, server.url());
        let store = builder(&folder).connect(&url)?;
        store.insert(note("of the parent"))?;
        store.flush()?;
        let child = fork(|| {
            let refused = builder(&folder).connect(&url).err().map(|error| error.kind());
            if refused != Some(ErrorKind::InUse) {
                return 1;
            }
            let Ok(own) = builder(&folder).space("of the child").connect(&url) else { return 2 };
            let (Ok(_), Ok(_)) = (own.insert(note("of the child")), own.flush()) else { return 3 };
            if own.close().is_err() {
                return 4;
            }
            i32::from(!spaces(&url).is_ok_and(|spaces| spaces.len() == 2)) * 5
        })?;
        assert_eq!(child.wait()?, 0, "what it could not do");
        store.insert(note("of the parent"))?;
        store.flush()?;
        store.close()?;
        let rows = "SELECT string_agg(space || ' ' || n, ',' ORDER BY space)
            FROM (SELECT space, count(*) AS n FROM mnemon.readable GROUP BY space) AS s";
        assert_eq!(server.sql(rows)?, "default 2,of the child 1");
        Ok(())
    })
}
