//! What the surroundings do to a store: a disk that is full, a lock that another process holds, rights that are
//! taken away, a folder that goes. Memory serves all the while, health tells, and afterwards the store goes on.
#![cfg(unix)]

use fault_tests::Outcome;
use fault_tests::disk::{Call, Disk, Fault, How};
use fault_tests::run::note;
use fault_tests::scratch::{database, folder};
use fault_tests::state::{State, check_rows, reader};
use mnemon::{ErrorKind, Health, Progress, TraceStore};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NEVER: Duration = Duration::from_secs(3600);
const NOBODY: u32 = 65_534;

fn quiet(path: &Path) -> mnemon::Result<TraceStore> {
    TraceStore::builder().flush_interval(NEVER).flush_threshold(usize::MAX).lag_bound(NEVER).open(path)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn until(what: &str, mut so: impl FnMut() -> bool) -> Outcome {
    let started = Instant::now();
    while !so() {
        if started.elapsed() > Duration::from_secs(60) {
            return Err(format!("it does not come about that {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Memory and rows agree, now and after reopening.
fn is_whole(store: TraceStore, path: &Path) -> Outcome {
    let memory = State::of(&store);
    until("the store is healthy", || store.flush().is_ok() && store.health() == Health::Healthy)?;
    check_rows(&reader(path)?, &memory)?;
    store.close()?;
    let store = quiet(path)?;
    assert!(State::of(&store) == memory, "reopened as it was");
    Ok(store.close().map(drop)?)
}

/// Runs a command, which may be missing or not allowed.
fn command(name: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(name).args(arguments).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

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

fn skip(why: &str) -> Outcome {
    println!("skipped: {why}");
    Ok(())
}

/// SQLite waits 5 seconds; two of its waits are taken for contention, the third for a failure.
#[test]
fn lock_outlasting_all_waiting_is_busy() -> Outcome {
    let folder = folder()?;
    let path = database(&folder);
    let store = quiet(&path)?;
    store.insert(note(1, 40))?;
    store.flush()?;
    let mut locker = Command::new(env!("CARGO_BIN_EXE_outsider"))
        .arg("lock")
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    BufReader::new(locker.stdout.take().ok_or("it speaks")?).read_line(&mut said)?;
    assert_eq!(said.trim(), "locked");
    let started = Instant::now();
    store.insert(note(2, 40))?;
    let error = store.flush().err().ok_or("the file is locked")?;
    assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    assert!(started.elapsed() > Duration::from_secs(10), "it was waited for");
    assert!(matches!(store.health(), Health::Degraded { kind: ErrorKind::Busy, .. }));
    store.insert(note(3, 40))?;
    drop(locker.stdin.take());
    locker.wait()?;
    is_whole(store, &path)
}

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
    again.args(["--exact", test, "--nocapture"]).uid(NOBODY).gid(NOBODY).current_dir(folder);
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

#[test]
fn lost_folder_comes_back() -> Outcome {
    let folder = folder()?;
    let home = folder.path().join("home");
    fs::create_dir(&home)?;
    let path = home.join("memory.db");
    let store = quiet(&path)?;
    let first = store.insert(note(1, 40))?;
    store.insert(note(2, 4_000))?;
    store.flush()?;
    fs::remove_dir_all(&home)?;
    store.update(first, |trace| trace.confidence(0.3))?;
    for _ in 0..3 {
        let error = store.flush().err().ok_or("the folder is gone")?;
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    }
    assert!(matches!(store.health(), Health::Degraded { kind: ErrorKind::Unreachable, .. }));
    assert_eq!(store.len(), 2, "memory serves");
    fs::create_dir(&home)?;
    is_whole(store, &path)
}

/// The lock file went with the folder.
#[test]
fn store_owns_file_of_returned_folder() -> Outcome {
    let folder = folder()?;
    let home = folder.path().join("home");
    fs::create_dir(&home)?;
    let path = home.join("memory.db");
    let store = quiet(&path)?;
    store.insert(note(1, 40))?;
    store.flush()?;
    fs::remove_dir_all(&home)?;
    store.insert(note(2, 40))?;
    assert!(store.flush().is_err());
    fs::create_dir(&home)?;
    store.flush()?;
    assert_eq!(quiet(&path).err().map(|error| error.kind()), Some(ErrorKind::InUse));
    is_whole(store, &path)
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
    assert_eq!(store.spill()?.traces, 100);
    store.close()?;
    let store = quiet(&path)?;
    assert!(State::of(&store) == memory);
    store.close()?;
    drop(mount);
    Ok(())
}
