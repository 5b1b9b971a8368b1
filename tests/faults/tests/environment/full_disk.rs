//! A full disk, and what SQLite takes for one: a quota, a limit on file sizes.

use super::{NEVER, command, is_whole, quiet, skip};
use fault_tests::Outcome;
use fault_tests::disk::{Call, Disk, Fault, How};
use fault_tests::run::note;
use fault_tests::scratch::{database, folder};
use fault_tests::state::State;
use mnemon::{ErrorKind, Health, TraceStore};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A file system of its own, unmounted at the end.
struct Mount(PathBuf);

impl Mount {
    fn new(at: PathBuf, arguments: &[&str]) -> Result<Self, String> {
        fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        let at_text = at.to_string_lossy().into_owned();
        command("mount", &[arguments, &[&at_text]].concat()).map(|_| Self(at))
    }
}

/// One in memory that a few traces fill.
fn small(at: &Path) -> Result<Mount, String> {
    Mount::new(at.to_owned(), &["-t", "tmpfs", "-o", "size=700k", "tmpfs"])
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = command("umount", &[&self.0.to_string_lossy()]);
        if let Err(why) = unmounted {
            eprintln!("{why}");
        }
    }
}

/// Fills the disk until a flush says so, changes what memory holds, has room made, and looks.
fn fill_and_make_room(path: &Path, make_room: impl FnOnce() -> Outcome) -> Outcome {
    let store = quiet(path)?;
    let kept = store.insert(note(0, 100))?;
    store.flush()?;
    let mut n = 0;
    let error = loop {
        n += 1;
        store.insert(note(n, 20_000))?;
        match store.flush() {
            Ok(_) if n > 10_000 => return Err("the disk does not get full".into()),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error:?}");
    assert!(
        matches!(store.health(), Health::Degraded { kind: ErrorKind::DiskFull, .. }),
        "{:?}",
        store.health()
    );
    store.update(kept, |trace| trace.confidence(0.2))?;
    assert!(store.flush().is_err());
    assert_eq!(store.len(), n + 1, "memory serves");
    make_room()?;
    is_whole(store, path)
}

#[test]
fn full_memory_file_system_recovers() -> Outcome {
    let folder = folder()?;
    let at = folder.path().join("small");
    let mount = match small(&at) {
        Ok(mount) => mount,
        Err(why) => return skip(&why),
    };
    let path = at.join("memory.db");
    fill_and_make_room(&path, || {
        command("mount", &["-o", "remount,size=64m", &at.to_string_lossy()])?;
        Ok(())
    })?;
    drop(mount);
    Ok(())
}

#[test]
fn full_device_recovers() -> Outcome {
    let folder = folder()?;
    let (device, at) = (folder.path().join("device"), folder.path().join("small"));
    fs::File::create(&device)?.set_len(4 << 20)?;
    let device = device.to_string_lossy().into_owned();
    // Blocks that nobody but root may use would not be full for root.
    let made = command("mkfs.ext4", &["-q", "-m", "0", &device])
        .and_then(|_| Mount::new(at.clone(), &["-o", "loop", &device]));
    let mount = match made {
        Ok(mount) => mount,
        Err(why) => return skip(&why),
    };
    let ballast = at.join("ballast");
    fs::write(&ballast, vec![1; 2 << 20])?;
    fill_and_make_room(&at.join("memory.db"), || Ok(fs::remove_file(ballast)?))?;
    drop(mount);
    Ok(())
}

/// SQLite tells a used-up quota from nothing but a broken disk.
#[test]
fn exhausted_quota_is_full_disk() -> Outcome {
    let folder = folder()?;
    let path = database(&folder);
    let disk = Disk::under(folder.path())?;
    let store = quiet(&path)?;
    store.insert(note(1, 40))?;
    store.flush()?;
    let next = disk.calls()[&Call::Write] + 1;
    for how in [How::Quota, How::Error] {
        let kind = if how == How::Quota { ErrorKind::DiskFull } else { ErrorKind::Io };
        disk.set_fault(Some(Fault { call: Call::Write, nth: next, times: u64::MAX / 2, how }));
        store.insert(note(2, 40)).ok();
        let error = store.flush().err().ok_or("nothing can be written")?;
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(matches!(store.health(), Health::Degraded { kind: found, .. } if found == kind));
    }
    disk.set_fault(None);
    is_whole(store, &path)
}

/// As a shell's `ulimit -f` sets it; the signal would end the process, were it not ignored.
#[test]
fn file_size_limit_is_full_disk() -> Outcome {
    const INSIDE: &str = "FAULT_TESTS_LIMITED";
    if std::env::var_os(INSIDE).is_none() {
        let script = "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\"";
        let program = std::env::current_exe()?;
        let mut limited = Command::new("sh");
        limited.args(["-c", script]).arg(program).args(["--exact", "file_size_limit_is_full_disk"]);
        let output = limited.env(INSIDE, "1").output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return Ok(());
    }
    let folder = folder()?;
    let store = quiet(&database(&folder))?;
    for n in 0..100 {
        store.insert(note(n, 20_000))?;
    }
    let error = store.flush().err().ok_or("no file may have so much")?;
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error:?}");
    // Its drop would wait for room that does not come.
    std::mem::forget(store);
    Ok(())
}

/// Nothing more goes into the file, for good as the store sees it; the folder takes a spill.
#[test]
fn full_disk_close_returns_and_spills() -> Outcome {
    let folder = folder()?;
    let path = database(&folder);
    let spill = folder.path().join("memory.db.spill");
    let disk = Disk::under(folder.path())?;
    let builder = || TraceStore::builder().flush_interval(NEVER).close_timeout(Duration::from_millis(300));
    let store = builder().open(&path)?;
    let kept = store.insert(note(1, 40))?;
    store.flush()?;
    store.insert(note(2, 40))?;
    let next = disk.calls()[&Call::Write] + 1;
    disk.set_fault(Some(Fault { call: Call::Write, nth: next, times: u64::MAX / 2, how: How::Full }));
    let failed = store.close().err().ok_or("the disk is full")?;
    assert_eq!(failed.error.kind(), ErrorKind::DiskFull, "{failed:?}");
    let store = failed.store;
    assert!(matches!(store.health(), Health::Degraded { kind: ErrorKind::DiskFull, .. }));
    store.update(kept, |trace| trace.confidence(0.2))?;
    store.insert(note(3, 40))?;
    let memory = State::of(&store);
    let report = store.spill()?;
    assert_eq!((report.traces, fs::metadata(&spill)?.mode() & 0o777), (3, 0o600));
    // Its drop waits no longer than a close, and the flusher is let go when its process ends: here, with room.
    let again = store.close().err().ok_or("the disk is still full")?;
    assert!(State::of(&again.store) == memory, "a second failure changes nothing either");
    // The file as the end of the process would leave it, and its spill.
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere)?;
    for suffix in ["", "-wal", ".spill"] {
        let name = format!("memory.db{suffix}");
        fs::copy(folder.path().join(&name), elsewhere.join(&name))?;
    }
    let copy = quiet(&elsewhere.join("memory.db"))?;
    assert!(State::of(&copy) == memory, "the next open applies it");
    assert!(!elsewhere.join("memory.db.spill").exists());
    copy.close()?;
    disk.set_fault(None);
    again.store.close()?;
    let store = quiet(&path)?;
    assert!(State::of(&store) == memory, "and the close that succeeded needed none");
    assert!(!spill.exists(), "what the file has caught up with is deleted");
    Ok(())
}

#[test]
fn full_disk_close_succeeds_with_room() -> Outcome {
    let folder = folder()?;
    let at = folder.path().join("small");
    let mount = match small(&at) {
        Ok(mount) => mount,
        Err(why) => return skip(&why),
    };
    let path = at.join("memory.db");
    let builder = TraceStore::builder().flush_interval(NEVER).close_timeout(Duration::from_millis(300));
    let store = builder.open(&path)?;
    store.insert(note(0, 100))?;
    store.flush()?;
    for n in 1..100 {
        store.insert(note(n, 20_000))?;
    }
    let failed = store.close().err().ok_or("it does not fit")?;
    assert_eq!(failed.error.kind(), ErrorKind::DiskFull, "{failed:?}");
    let store = failed.store;
    store.insert(note(100, 100))?;
    let error = store.spill().err().ok_or("nor does the spill")?;
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error:?}");
    let left: Vec<_> =
        fs::read_dir(&at)?.map(|file| file.map(|file| file.file_name())).collect::<Result<_, _>>()?;
    assert!(
        !left.iter().any(|name| name.to_string_lossy().contains("spill")),
        "no part of it stays: {left:?}"
    );
    let memory = State::of(&store);
    command("mount", &["-o", "remount,size=64m", &at.to_string_lossy()])?;
    // Nothing, if the flusher has tried again before.
    let spilled = store.spill()?.traces;
    assert!([0, 100].contains(&spilled), "{spilled}");
    store.close()?;
    let store = quiet(&path)?;
    assert!(State::of(&store) == memory);
    store.close()?;
    drop(mount);
    Ok(())
}
