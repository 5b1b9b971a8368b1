//! A file that can't be opened: the error says which, its cause says why, once, and its hint what to do.
#![cfg(all(feature = "sqlite", unix))]

use harness::process::own_process;
use harness::{Outcome, TestDir, manual_flush, note};
use mnemon::{Error, ErrorKind, Progress, TraceStore};
use std::error::Error as _;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// What it was caused by, down to the first cause.
fn causes(error: &Error) -> String {
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.join(": ")
}

/// As every door of the library says it.
fn check(path: &Path, expected_cause: &str, expected_hint: &str) -> Outcome {
    let elsewhere = TestDir::new()?;
    let opened = TraceStore::open(path).map(drop);
    let inspected = mnemon::inspect(path).map(drop);
    let backed_up = mnemon::backup(path, elsewhere.path(), Progress::ignore).map(drop);
    for failed in [opened, inspected, backed_up] {
        let error = failed.err().ok_or_else(|| format!("{} is opened", path.display()))?;
        let (cause, hint) = (causes(&error), error.hint().unwrap_or_default());
        let told = format!("{error:?}");
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{told}");
        assert_eq!(error.message(), format!("cannot open {}", path.display()), "{told}");
        assert!(cause.contains(expected_cause) && hint.contains(expected_hint), "{told}");
        assert_eq!(error.to_string(), format!("{} ({hint})", error.message()));
        assert_eq!(told, format!("unreachable: {}: {cause}; hint: {hint}", error.message()));
        assert_eq!(told.matches(expected_cause).count(), 1, "said once: {told}");
    }
    Ok(())
}

#[test]
fn each_reason_is_told_apart() -> Outcome {
    let scratch = TestDir::new()?;
    let folder = scratch.folder();
    check(&folder.join("no/memory.db"), "its folder", "make the folder")?;

    symlink("nowhere.db", folder.join("link.db"))?;
    check(&folder.join("link.db"), "it is a link to nowhere.db, which is not there", "remove the link")?;

    fs::create_dir(folder.join("folder.db"))?;
    check(&folder.join("folder.db"), "it is no file", "give the path of a file")?;

    fs::write(folder.join("letter"), "Dear Ana")?;
    check(&folder.join("letter/memory.db"), "Not a directory", "give the path of a file")?;

    // Shorter than the system's own limit, and too long for SQLite.
    let deep = (0..10).fold(folder.to_owned(), |deep, _| deep.join("f".repeat(60)));
    fs::create_dir_all(&deep)?;
    check(&deep.join("memory.db"), "bytes, and SQLite takes 504 at most", "give a shorter path")?;

    check(&folder.join("n".repeat(300)), "File name too long", "give a shorter path")
}

/// Beside a file of this name there would be no room for the names of its log, or of what is quarantined.
#[test]
fn too_long_name_is_refused() -> Outcome {
    let scratch = TestDir::new()?;
    let longest = scratch.folder().join("n".repeat(226));
    TraceStore::open(&longest)?.close()?;
    let path = scratch.folder().join("n".repeat(227));
    let error = TraceStore::open(&path).err().ok_or("what is quarantined could not be named")?;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(causes(&error).contains("its name has 227 bytes"), "{error:?}");
    assert_eq!(error.hint(), Some("give a shorter path"));
    assert!(!path.exists());
    Ok(())
}

/// In a process of its own, where a shell has set the limit.
#[test]
fn too_many_open_files_are_named() -> Outcome {
    const PATH: &str = "MNEMON_TEST_LIMITED";
    let Some(command) = own_process(|| {
        let path = std::env::var_os(PATH).ok_or("the parent names a file")?;
        let path = Path::new(&path);
        let mut held: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        // SQLite needs several: with none left, and with one fewer than enough.
        loop {
            match TraceStore::open(path) {
                Ok(store) => {
                    store.close()?;
                    break;
                }
                Err(error) => {
                    let told = format!("{error:?}");
                    assert_eq!(error.kind(), ErrorKind::Unreachable, "{told}");
                    assert!(told.contains("Too many open files"), "{told}");
                    let is_of_lock_file = error.message().contains(".lock");
                    let hint = error.hint().unwrap_or_default();
                    assert!(is_of_lock_file || hint.contains("ulimit -n"), "{told}");
                }
            }
            held.pop().ok_or("it does not open with none held")?;
        }
        assert!(held.len() > 3, "it was refused for some of them");
        Ok(())
    })?
    else {
        return Ok(());
    };
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    store.insert(note(1))?;
    store.close()?;
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args());
    limited
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env(PATH, scratch.path());
    let output = limited.output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
