//! A store in a child process that was forked from the one which opened it: it writes nothing there, waits for nobody,
//! and the parent's goes on as if there were no child.
#![cfg(unix)]

use fault_tests::Outcome;
use fault_tests::fork::fork;
#[cfg(target_os = "linux")]
use fault_tests::fork::fork_into_a_pid_namespace;
use fault_tests::run::note;
use fault_tests::scratch::{database, folder, turn};
use fault_tests::state::{State, check_rows, reader};
use mnemon::{ErrorKind, Progress, Snapshots, TraceStore, TraceType, Upkeep};
use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tempfile::TempDir;

const NEVER: Duration = Duration::from_secs(3600);

fn quiet(path: &Path) -> mnemon::Result<TraceStore> {
    let upkeep = Upkeep { decay: Some(NEVER), tiers: None, quota: None };
    TraceStore::builder()
        .flush_interval(NEVER)
        .flush_threshold(usize::MAX)
        .lag_bound(NEVER)
        .upkeep(upkeep)
        .open(path)
}

/// One trace, not flushed.
fn with_a_trace() -> Outcome<(TempDir, PathBuf, TraceStore)> {
    let folder = folder()?;
    let path = database(&folder);
    let store = quiet(&path)?;
    store.insert(note(1, 40))?;
    Ok((folder, path, store))
}

fn is_forked<T>(outcome: mnemon::Result<T>) -> bool {
    outcome.is_err_and(|error| error.kind() == ErrorKind::Forked && error.to_string().contains("process "))
}

#[test]
fn waiting_in_child_is_an_error() -> Outcome {
    let _turn = turn();
    let (folder, path, store) = with_a_trace()?;
    store.flush()?;
    store.insert(note(2, 40))?;
    let before = State::of(&store);
    let files =
        || Ok::<_, std::io::Error>((fs::read(&path)?, fs::read(folder.path().join("memory.db-wal"))?));
    let bytes = files()?;
    let snapshots = Snapshots::in_folder(folder.path().join("snapshots"));
    // For the child alone; this process does not let go of its own.
    let childs = store.clone();
    let child = fork(|| {
        let context = &mut Context::from_waker(Waker::noop());
        let asked = pin!(childs.flush_async()).poll(context);
        let failures = [
            !is_forked(childs.flush()),
            !matches!(asked, Poll::Ready(Err(error)) if error.kind() == ErrorKind::Forked),
            !is_forked(childs.erase_type(TraceType::Sensory)),
            !is_forked(childs.restore([])),
            !is_forked(childs.save_snapshot(&snapshots)),
            !is_forked(childs.spill()),
            !is_forked(quiet(&path)),
        ];
        let other = match childs.close() {
            Err(failed) if failed.error.kind() == ErrorKind::Forked => failed.store,
            _ => return 50,
        };
        drop(other);
        failures.iter().position(|failed| *failed).map_or(0, |at| at as i32 + 1)
    })?;
    assert_eq!(child.wait()?, 0, "which of the calls it was");
    // In the parent the store goes on; nothing was flushed and nothing changed, but what it does itself.
    assert!(State::of(&store) == before);
    store.flush()?;
    check_rows(&reader(&path)?, &before)?;
    assert!(!folder.path().join("snapshots").exists() && !folder.path().join("memory.db.spill").exists());
    assert!(bytes.0.len() <= fs::metadata(&path)?.len() as usize);
    store.close()?;
    assert!(State::of(&quiet(&path)?) == before);
    Ok(())
}

/// The last handle of all, and the file as the parent has left it, to the byte.
#[test]
fn drop_in_child_touches_no_file() -> Outcome {
    let _turn = turn();
    let (folder, path, store) = with_a_trace()?;
    store.flush()?;
    store.insert(note(2, 40))?;
    let files = || -> Outcome<Vec<Vec<u8>>> {
        Ok(["", "-wal"]
            .into_iter()
            .map(|suffix| fs::read(folder.path().join(format!("memory.db{suffix}"))))
            .collect::<Result<_, _>>()?)
    };
    let before = files()?;
    let mut store = Some(store);
    let child = fork(|| {
        drop(store.take());
        0
    })?;
    assert_eq!(child.wait()?, 0);
    assert!(files()? == before);
    let store = store.ok_or("it is still here")?;
    assert_eq!(
        quiet(&path).err().map(|error| error.kind()),
        Some(ErrorKind::InUse),
        "its lock is still held"
    );
    let memory = State::of(&store);
    store.close()?;
    assert!(State::of(&quiet(&path)?) == memory);
    Ok(())
}

/// The child has a descriptor of the lock file too.
#[test]
fn child_keeps_no_closed_file_locked() -> Outcome {
    let _turn = turn();
    let (_folder, path, store) = with_a_trace()?;
    let (mut wait, mut go) = std::io::pipe()?;
    let child = fork(|| i32::from(wait.read(&mut [0]).is_err()))?;
    store.close()?;
    let store = quiet(&path)?;
    assert_eq!(store.len(), 1);
    store.close()?;
    go.write_all(b"!")?;
    assert_eq!(child.wait()?, 0);
    Ok(())
}

#[test]
fn child_opens_its_own_store() -> Outcome {
    let _turn = turn();
    let (folder, path, store) = with_a_trace()?;
    let other = folder.path().join("other.db");
    let child = fork(|| {
        let Ok(own) = quiet(&other) else { return 1 };
        let (Ok(_), Ok(_)) = (own.insert(note(7, 40)), own.flush()) else { return 2 };
        i32::from(own.close().is_err()) * 3
    })?;
    assert_eq!(child.wait()?, 0);
    store.close()?;
    assert_eq!((quiet(&path)?.len(), quiet(&other)?.len()), (1, 1));
    Ok(())
}

/// The host is process 1, as in a container, and so is a child that it forks into a PID namespace.
#[test]
#[cfg(target_os = "linux")]
fn child_with_same_pid_is_recognized() -> Outcome {
    let _turn = turn();
    const AGAIN: &str = "MNEMON_TEST_IS_PROCESS_1";
    if std::env::var_os(AGAIN).is_none() {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork"]).arg(std::env::current_exe()?);
        let output = command
            .args(["--exact", "child_with_same_pid_is_recognized", "--nocapture"])
            .env(AGAIN, "1")
            .output();
        let said = match output {
            Err(error) => return skip(&format!("unshare: {error}")),
            Ok(output) => [output.stdout, output.stderr].concat(),
        };
        let said = String::from_utf8_lossy(&said);
        return if !said.contains("running 1 test") {
            skip(said.trim())
        } else if said.contains("test result: ok. 1 passed") {
            Ok(())
        } else {
            Err(said.into())
        };
    }
    assert_eq!(std::process::id(), 1);
    let (_folder, path, store) = with_a_trace()?;
    let mut feed = store.subscribe(10);
    let childs = store.clone();
    fork_into_a_pid_namespace()?;
    let child = fork(|| {
        let context = &mut Context::from_waker(Waker::noop());
        let answers = [
            std::process::id() == 1,
            matches!(feed.poll_recv(context), Poll::Ready(None)),
            feed.recv().is_none(),
            is_forked(childs.flush()),
            is_forked(quiet(&path)),
        ];
        drop(childs);
        answers.iter().position(|is_so| !is_so).map_or(0, |at| at as i32 + 1)
    })?;
    assert_eq!(child.wait()?, 0, "which of the answers it was");
    store.flush()?;
    assert!(feed.try_recv().is_some());
    store.close()?;
    assert_eq!(mnemon::inspect(&path)?.traces, 1);
    Ok(())
}

#[cfg(target_os = "linux")]
fn skip(why: &str) -> Outcome {
    println!("skipped: {why}");
    Ok(())
}

/// What SQLite keeps of an open file comes into the child with the fork, and is not true there.
#[test]
fn file_open_at_fork_is_refused() -> Outcome {
    let _turn = turn();
    let (folder, path, store) = with_a_trace()?;
    store.flush()?;
    let copy = folder.path().join("copy.db");
    let (mut wait, mut go) = std::io::pipe()?;
    let child = fork(|| {
        if wait.read(&mut [0]).is_err() {
            return 1;
        }
        let answers = [
            is_forked(quiet(&path)),
            is_forked(mnemon::inspect(&path)),
            is_forked(mnemon::verify(&path, Progress::ignore)),
            is_forked(mnemon::backup(&path, &copy, Progress::ignore)),
            is_forked(TraceStore::builder().detached(&path)),
            // And again, with nothing forgotten.
            is_forked(quiet(&path)),
        ];
        answers.iter().position(|is_so| !is_so).map_or(0, |at| at as i32 + 2)
    })?;
    store.close()?;
    go.write_all(b"!")?;
    assert_eq!(child.wait()?, 0, "which of the answers it was");
    // One that was closed at the fork is the child's as well as anybody's.
    let child = fork(|| {
        let Ok(own) = quiet(&path) else { return 1 };
        let (Ok(_), Ok(_)) = (own.insert(note(7, 40)), own.flush()) else { return 2 };
        i32::from(own.close().is_err()) * 3
    })?;
    assert_eq!(child.wait()?, 0);
    assert_eq!(quiet(&path)?.len(), 2);
    Ok(())
}

/// As when a daemon is made after the store was opened: the owner ends, and its child lives on with the descriptors.
#[test]
#[cfg(target_os = "linux")]
fn orphaned_child_gives_up_the_lock() -> Outcome {
    let _turn = turn();
    let folder = folder()?;
    let path = database(&folder);
    let (mut wait, go) = std::io::pipe()?;
    let (mut hears, mut says) = std::io::pipe()?;
    // Its end is told by there being nobody else who could write.
    let mut go = Some(go);
    let owner = fork(|| {
        drop(go.take());
        let Ok(store) = quiet(&path) else { return 1 };
        let (Ok(_), Ok(_)) = (store.insert(note(1, 40)), store.flush()) else { return 2 };
        let mut store = Some(store);
        let daemon = fork(|| {
            if wait.read(&mut [0]).is_err() {
                return 1;
            }
            drop(store.take());
            if says.write_all(b"d").is_err() || wait.read(&mut [0]).is_err() {
                return 1;
            }
            let own = is_forked(quiet(&path));
            let said = says.write_all(if own { b"y" } else { b"n" });
            // Lives on, until the test is through.
            i32::from(said.is_err() || wait.read(&mut [0]).is_err())
        });
        let Ok(daemon) = daemon else { return 3 };
        daemon.detach();
        // It ends as it is, with nothing closed.
        std::mem::forget(store);
        0
    })?;
    let process = owner.id();
    assert_eq!(owner.wait()?, 0);
    drop(says);
    let error = quiet(&path).err().ok_or("the child has the lock")?;
    assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
    let message = error.to_string();
    assert!(message.contains(&format!("process {process}")) && message.contains("child"), "{message}");
    let mut go = go.ok_or("it is still here")?;
    let mut answer = || -> Outcome<u8> {
        go.write_all(b"!")?;
        let mut said = [0];
        hears.read_exact(&mut said)?;
        Ok(said[0])
    };
    assert_eq!(answer()?, b'd');
    assert_eq!(quiet(&path)?.len(), 1, "the drop has given up the lock");
    assert_eq!(answer()?, b'y', "in the child it is refused as forked, and not as in use");
    assert_eq!(quiet(&path)?.len(), 1);
    drop(go);
    Ok(())
}
