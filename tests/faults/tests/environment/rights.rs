//! Rights that are taken away, and given back.

use super::{NOBODY, is_root, is_whole, quiet};
use fault_tests::Outcome;
use fault_tests::disk::{Call, Disk, Fault, How};
use fault_tests::run::note;
use fault_tests::scratch::{database, folder};
use mnemon::{ErrorKind, Health, Progress, TraceStore};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Runs this very test once more, as somebody whom rights keep from something; `true` in that process.
fn is_unprivileged(test: &str, folder: &Path) -> Outcome<bool> {
    if !is_root() {
        return Ok(true);
    }
    // Where the build is may be closed to others.
    let program = folder.join("program");
    fs::copy(std::env::current_exe()?, &program)?;
    for path in [folder, &program] {
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    let mut again = Command::new(&program);
    again
        .args(["--exact", &format!("rights::{test}"), "--nocapture"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir(folder);
    let output = again.env("TMPDIR", folder).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.contains("1 passed") {
        Ok(false)
    } else {
        Err(format!("{said}\n{}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// A file that may not be written, in a folder that may not: what is open goes on, what has to be reopened waits.
#[test]
fn lost_rights_are_recovered() -> Outcome {
    let folder = folder()?;
    if !is_unprivileged("lost_rights_are_recovered", folder.path())? {
        return Ok(());
    }
    let path = database(&folder);
    let disk = Disk::under(folder.path())?;
    let store = quiet(&path)?;
    store.insert(note(1, 40))?;
    store.flush()?;
    fs::set_permissions(&path, Permissions::from_mode(0o400))?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o500))?;
    store.insert(note(2, 40))?;
    store.flush()?;
    let next = disk.calls()[&Call::Sync] + 1;
    disk.set_fault(Some(Fault { call: Call::Sync, nth: next, times: 1, how: How::Error }));
    store.insert(note(3, 40))?;
    assert_eq!(store.flush().err().map(|error| error.kind()), Some(ErrorKind::Io));
    let error = store.flush().err().ok_or("it can't be written")?;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    assert!(matches!(store.health(), Health::Degraded { kind: ErrorKind::Unreachable, .. }));
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700))?;
    is_whole(store, &path)
}

#[test]
fn read_only_file_is_not_opened() -> Outcome {
    let folder = folder()?;
    let test = "read_only_file_is_not_opened";
    if !is_unprivileged(test, folder.path())? {
        return Ok(());
    }
    let path = database(&folder);
    let store = quiet(&path)?;
    store.insert(note(1, 40))?;
    store.close()?;
    let before = fs::read(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o400))?;
    let error = quiet(&path).err().ok_or("it can't be written")?;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    assert!(error.to_string().contains("memory.db"), "{error}");
    assert!(fs::read(&path)? == before);
    // SQLite gave what it made beside the file the file's own rights: that must not be in the way.
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let store = quiet(&path)?;
    store.insert(note(2, 40))?;
    store.flush()?;
    for file in fs::read_dir(folder.path())? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with("memory.db") {
            assert_eq!(file.metadata()?.mode() & 0o777, 0o600, "{:?}", file.file_name());
        }
    }
    assert_eq!(store.len(), 2);
    Ok(())
}

/// Names can be made in such a folder, and it can't be opened to be synced.
#[test]
fn backup_into_unsyncable_folder_says_so() -> Outcome {
    let folder = folder()?;
    if !is_unprivileged("backup_into_unsyncable_folder_says_so", folder.path())? {
        return Ok(());
    }
    let (path, elsewhere) = (database(&folder), folder.path().join("elsewhere"));
    let store = quiet(&path)?;
    store.insert(note(1, 40))?;
    store.flush()?;
    fs::create_dir(&elsewhere)?;
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o300))?;
    let to = elsewhere.join("monday.db");
    let error = mnemon::backup(&path, &to, Progress::ignore).err().ok_or("its folder can't be opened")?;
    let told = format!("{error:?}");
    assert_eq!(error.kind(), ErrorKind::Io, "{told}");
    assert!(error.message().contains("is written, and its folder could not be synced"), "{told}");
    assert!(error.hint().is_some_and(|hint| hint.contains("a power loss")), "{told}");
    assert!(told.contains("Permission denied"), "{told}");
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o700))?;
    assert_eq!(fs::read_dir(&elsewhere)?.count(), 1, "the copy, and nothing half done");
    assert_eq!(mnemon::verify(&to, Progress::ignore)?.traces, 1);
    Ok(())
}

/// An archive: nothing can be made beside it, so there can be no log, nor its index.
#[test]
fn file_in_read_only_folder_readable() -> Outcome {
    let folder = folder()?;
    if !is_unprivileged("file_in_read_only_folder_readable", folder.path())? {
        return Ok(());
    }
    // Characters that mean something in a URI.
    let archive = folder.path().join("100% of #1?");
    fs::create_dir(&archive)?;
    let path = archive.join("memory.db?mode=memory");
    let store = quiet(&path)?;
    let id = store.insert(note(1, 40))?;
    store.close()?;
    for file in fs::read_dir(&archive)? {
        fs::set_permissions(file?.path(), Permissions::from_mode(0o400))?;
    }
    fs::set_permissions(&archive, Permissions::from_mode(0o500))?;
    let before: Vec<_> = fs::read_dir(&archive)?.flatten().map(|file| file.file_name()).collect();
    assert_eq!(mnemon::inspect(&path)?.traces, 1);
    let report = mnemon::verify(&path, Progress::ignore)?;
    assert!(report.is_sound() && report.traces == 1, "{report:?}");
    assert!(TraceStore::builder().detached(&path)?.contains(id));
    assert_eq!(mnemon::backup(&path, folder.path().join("copy.db"), Progress::ignore)?.traces, 1);
    assert!(quiet(&path).is_err(), "a store writes");
    let after: Vec<_> = fs::read_dir(&archive)?.flatten().map(|file| file.file_name()).collect();
    assert_eq!(before, after);
    // With a log, it is not all in the file.
    fs::set_permissions(&archive, Permissions::from_mode(0o700))?;
    for file in fs::read_dir(&archive)? {
        fs::set_permissions(file?.path(), Permissions::from_mode(0o600))?;
    }
    let store = quiet(&path)?;
    store.insert(note(2, 40))?;
    store.flush()?;
    for suffix in ["", "-wal"] {
        let name = format!("memory.db?mode=memory{suffix}");
        fs::copy(archive.join(&name), folder.path().join(&name))?;
    }
    store.close()?;
    let copied = folder.path().join("memory.db?mode=memory");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o500))?;
    let error = mnemon::inspect(&copied).err().ok_or("its log can't be read without an index")?;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("copy it and its log")), "{error:?}");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700))?;
    assert_eq!(mnemon::inspect(&copied)?.traces, 2);
    Ok(())
}
