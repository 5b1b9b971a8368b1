//! A file has one owner, by whatever name it is opened; and what belongs to the file is never written elsewhere.
#![cfg(target_os = "linux")]

use fault_tests::Outcome;
use fault_tests::fork::{close_all_from, fork};
use fault_tests::run::note;
use fault_tests::scratch::{database, folder, turn};
use fault_tests::state::{State, reader};
use mnemon::{ErrorKind, Progress, TraceStore, inspect, verify};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const NEVER: Duration = Duration::from_secs(3600);

fn quiet(path: &Path) -> mnemon::Result<TraceStore> {
    let builder = TraceStore::builder().flush_interval(NEVER).flush_threshold(usize::MAX).lag_bound(NEVER);
    builder.close_timeout(Duration::from_millis(300)).open(path)
}

/// A store with one flushed trace.
fn with_one(path: &Path) -> mnemon::Result<TraceStore> {
    let store = quiet(path)?;
    store.insert(note(1, 40))?;
    store.flush()?;
    Ok(store)
}

/// The file of such a store has a second name.
fn with_two_names() -> Outcome<(TempDir, PathBuf, PathBuf, TraceStore)> {
    let folder = folder()?;
    let (path, other) = (database(&folder), folder.path().join("other.db"));
    let store = with_one(&path)?;
    fs::hard_link(&path, &other)?;
    Ok((folder, path, other, store))
}

fn kind_of(outcome: mnemon::Result<TraceStore>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind())
}

/// Another process that does something to the file, and the first line that it says.
fn outsider(what: &str, path: &Path) -> Outcome<(Child, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outsider"));
    let mut outsider = command.arg(what).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    BufReader::new(outsider.stdout.take().ok_or("it speaks")?).read_line(&mut said)?;
    Ok((outsider, said.trim().to_owned()))
}

/// What another process says that ends by itself.
fn ask(what: &str, path: &Path) -> Outcome<String> {
    let (mut outsider, said) = outsider(what, path)?;
    drop(outsider.stdin.take());
    outsider.wait()?;
    Ok(said)
}

/// Whether a connection of this process has its shared lock on the file: <https://www.sqlite.org/src/file/src/os.h>.
fn is_locked_by_sqlite(path: &Path) -> Outcome<bool> {
    let (process, inode) = (std::process::id().to_string(), format!(":{}", fs::metadata(path)?.ino()));
    Ok(fs::read_to_string("/proc/locks")?.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [_, "POSIX", _, _, owner, file, "1073741826", _]
            if owner == process && file.ends_with(&inode))
    }))
}

/// One path bound over another, until it is dropped.
struct Bound(PathBuf);

impl Bound {
    fn new(from: &Path, at: &Path) -> Result<Self, String> {
        let mount = Command::new("mount").arg("--bind").args([from, at]).output();
        let output = mount.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(Self(at.to_owned()))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.0.display());
        }
    }
}

fn skip(why: &str) -> Outcome {
    println!("skipped: {why}");
    Ok(())
}

/// The store's file has a second name: nobody gets in by it while the store is open, and everybody after that.
fn has_one_owner_by_both_names(path: &Path, other: &Path, store: TraceStore) -> Outcome {
    let memory = State::of(&store);
    let process = std::process::id().to_string();
    let error = quiet(other).err().ok_or("it was opened twice")?;
    assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
    assert!(error.to_string().contains(&format!("process {process}")), "{error}");
    let said = ask("own", other)?;
    assert!(said.starts_with("in use: ") && said.contains(&format!("process {process}")), "{said}");
    // By a name with another log it can't be read in this process either.
    let is_of_its_own = fs::metadata(other.with_extension("db-wal")).is_err();
    let read = verify(other, Progress::ignore)
        .map(|report| report.is_sound())
        .map_err(|error| (error.kind(), error.to_string()));
    if !is_of_its_own {
        assert_eq!(read, Ok(true))
    } else {
        assert!(read.is_err_and(|(kind, message)| {
            kind == ErrorKind::Unreachable && message.contains("other.db is another name of")
        }))
    }
    store.insert(note(2, 40))?;
    store.flush()?;
    store.close()?;
    assert_eq!(ask("own", other)?, "owned");
    let store = quiet(path)?;
    assert_eq!(store.len(), memory.traces.len() + 1);
    Ok(store.close().map(drop)?)
}

#[test]
fn hard_links_have_one_owner() -> Outcome {
    let _turn = turn();
    let (_folder, path, other, store) = with_two_names()?;
    has_one_owner_by_both_names(&path, &other, store)?;
    // The other way round.
    let (mut owner, said) = outsider("own", &other)?;
    assert_eq!(said, "owned");
    let error = quiet(&path).err().ok_or("another process has it")?;
    assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
    assert!(error.to_string().contains(&format!("process {}", owner.id())), "{error}");
    assert_eq!(verify(&other, Progress::ignore)?.in_use_by, Some(owner.id()));
    drop(owner.stdin.take());
    owner.wait()?;
    assert_eq!((inspect(&path)?.traces, inspect(&path)?.in_use_by), (2, None));
    Ok(())
}

#[test]
fn folder_mounted_twice_has_one_owner() -> Outcome {
    let _turn = turn();
    let folder = folder()?;
    let (home, second) = (folder.path().join("home"), folder.path().join("second"));
    fs::create_dir(&home)?;
    fs::create_dir(&second)?;
    let _bound = match Bound::new(&home, &second) {
        Ok(bound) => bound,
        Err(why) => return skip(&why),
    };
    let store = with_one(&home.join("memory.db"))?;
    has_one_owner_by_both_names(&home.join("memory.db"), &second.join("memory.db"), store)
}

/// Its log would lie where the mount does not reach.
#[test]
fn file_mounted_alone_is_refused() -> Outcome {
    let _turn = turn();
    let folder = folder()?;
    let (path, inside) = (database(&folder), folder.path().join("inside"));
    with_one(&path)?.close()?;
    fs::create_dir(&inside)?;
    let at = inside.join("memory.db");
    File::create(&at)?;
    let bound = match Bound::new(&path, &at) {
        Ok(bound) => bound,
        Err(why) => return skip(&why),
    };
    let before = fs::read(&path)?;
    let error = quiet(&at).err().ok_or("it is a mount point")?;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains("memory.db is mounted by itself") && message.contains("mount its folder"),
        "{message}"
    );
    assert!(fs::read(&path)? == before && fs::read_dir(&inside)?.count() == 1);
    // Reading is no danger, and what is not in use has no log.
    assert_eq!(inspect(&at)?.traces, 1);
    drop(bound);
    assert_eq!(quiet(&path)?.len(), 1);
    Ok(())
}

/// Closing a descriptor of a file gives up all locks that the process has on it, SQLite's too. Then another process
/// could take the file for its own, and throw away a log that is in use, but for what a recent SQLite does against it.
#[test]
fn connections_keep_their_posix_locks() -> Outcome {
    let _turn = turn();
    let (folder, path, other, store) = with_two_names()?;
    let is_of_it = |link: &Path| fs::read_link(link).is_ok_and(|file| file.starts_with(folder.path()));
    let descriptors = || {
        let all = fs::read_dir("/proc/self/fd")?.collect::<Result<Vec<_>, _>>()?;
        Ok::<_, std::io::Error>(all.iter().filter(|link| is_of_it(&link.path())).count())
    };
    let mut open = Vec::new();
    for _ in 0..3 {
        assert_eq!(kind_of(quiet(&path)), Some(ErrorKind::InUse));
        assert_eq!(kind_of(quiet(&other)), Some(ErrorKind::InUse));
        assert_eq!(inspect(&path)?.in_use_by, Some(std::process::id()));
        assert!(verify(&path, Progress::ignore)?.is_sound());
        open.push(descriptors()?);
    }
    assert_eq!(open[0], open[2], "no descriptors pile up");
    assert!(is_locked_by_sqlite(&path)?);
    // One of the host's own connections outlives the store.
    let own = reader(&path)?;
    let count = || own.query_row("SELECT count(*) FROM traces", [], |row| row.get::<_, i64>(0));
    assert_eq!(count()?, 1);
    store.close()?;
    assert!(is_locked_by_sqlite(&path)?);
    let store = quiet(&path)?;
    store.close()?;
    assert!(is_locked_by_sqlite(&path)? && count()? == 1);
    drop(own);
    assert!(!is_locked_by_sqlite(&path)?);
    // What was kept open for it goes at the next occasion.
    assert_eq!((inspect(&path)?.traces, descriptors()?), (1, 0));
    Ok(())
}

/// What closes every descriptor from the third on has closed SQLite's, and the host's next files get their numbers.
#[test]
fn closed_descriptors_are_noticed_before_writing() -> Outcome {
    let _turn = turn();
    let folder = folder()?;
    let path = database(&folder);
    let spill = folder.path().join("memory.db.spill");
    let victims: Vec<_> = (0..64).map(|n| folder.path().join(format!("victim-{n}"))).collect();
    let child = fork(|| {
        let Ok(store) = with_one(&path) else { return 1 };
        if close_all_from(3).is_err() {
            return 3;
        }
        let make = |path: &PathBuf| File::options().read(true).write(true).create_new(true).open(path);
        let Ok(mut files) = victims.iter().map(make).collect::<Result<Vec<_>, _>>() else { return 4 };
        let Ok(_) = store.insert(note(2, 40)) else { return 5 };
        for _ in 0..3 {
            let told = store.flush().err().map(|error| (error.kind(), error.to_string()));
            if !told.is_some_and(|(kind, message)| {
                kind == ErrorKind::Unreachable && message.contains("closed") && message.contains("memory.db")
            }) {
                return 6;
            }
        }
        if store.len() != 2 || !store.spill().is_ok_and(|report| report.traces == 1) {
            return 7;
        }
        // Nor is it opened anew in this process, where SQLite takes the closed descriptors for its own.
        let error = store.close().err().map(|failed| failed.error.kind());
        if error != Some(ErrorKind::Unreachable) || kind_of(quiet(&path)) != Some(ErrorKind::Unreachable) {
            return 8;
        }
        // None of the host's was closed or written.
        let mut is_untouched = |(file, path): (&mut File, &PathBuf)| {
            let (Ok(file_is), Ok(path_is)) = (file.metadata(), path.metadata()) else { return false };
            let mut bytes = Vec::new();
            file_is.ino() == path_is.ino() && file.read_to_end(&mut bytes).is_ok() && bytes.is_empty()
        };
        if files.iter_mut().zip(&victims).all(&mut is_untouched) {
            i32::from(files[0].as_raw_fd() > 10) * 9
        } else {
            10
        }
    })?;
    assert_eq!(child.wait()?, 0);
    assert!(spill.exists());
    let store = quiet(&path)?;
    assert_eq!(store.len(), 2, "what was spilled is applied");
    Ok(store.close().map(drop)?)
}
