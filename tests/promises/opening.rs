//! What is no store of ours is refused with the reason, and left as it was.
#![cfg(feature = "sqlite")]

use super::flushed;
use harness::process::own_process;
use harness::{Outcome, TestDir, manual_flush, note, rows};
use mnemon::{ErrorKind, Progress, TraceId, TraceStore, inspect};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every file of a folder, with its bytes.
fn contents(folder: &Path) -> Outcome<BTreeMap<PathBuf, Vec<u8>>> {
    let files = fs::read_dir(folder)?.map(|entry| {
        let path = entry?.path();
        Ok((path.clone(), fs::read(path)?))
    });
    files.collect()
}

fn refused(path: &Path) -> Outcome<mnemon::Error> {
    let error = TraceStore::open(path).err().ok_or("it was opened")?;
    assert!(error.to_string().contains(&*path.to_string_lossy()), "the message names the path: {error}");
    Ok(error)
}

#[test]
fn a_file_has_one_owner() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    store.insert(note(1))?;
    let error = refused(file.path())?;
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    store.flush()?;
    store.close()?;
    assert_eq!(manual_flush().open(file.path())?.len(), 1, "the next owner finds all");
    Ok(())
}

/// Runs itself as the other process, which holds the file until it is killed.
#[test]
fn file_of_other_process_is_refused() -> Outcome {
    const PATH: &str = "MNEMON_TEST_HOLDS";
    let Some(mut command) = own_process(|| {
        let store = TraceStore::open(std::env::var_os(PATH).ok_or("the parent names a file")?)?;
        store.insert(note("of the other process"))?;
        store.flush()?;
        println!("\nheld");
        // Until the parent ends it, or ends.
        std::io::stdin().read_line(&mut String::new())?;
        Ok(())
    })?
    else {
        return Ok(());
    };
    let file = TestDir::new()?;
    let mut other = command.env(PATH, file.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut told = BufReader::new(other.stdout.take().ok_or("it has a stdout")?).lines();
    let held = told.any(|line| line.is_ok_and(|line| line == "held"));
    let (error, report) = (TraceStore::open(file.path()).err(), inspect(file.path()));
    other.kill()?;
    other.wait()?;
    assert!(held, "the other process has the file");
    let error = error.ok_or("it was opened twice")?;
    assert_eq!(error.kind(), ErrorKind::InUse);
    let message = error.to_string();
    assert!(message.contains(&file.path().display().to_string()), "{message}");
    assert!(message.contains(&format!("process {}", other.id())), "{message}");
    let report = report?;
    assert_eq!((report.in_use_by, report.clean, report.traces), (Some(other.id()), false, 1));
    let after = inspect(file.path())?;
    assert_eq!((after.in_use_by, after.clean), (None, false), "it had no chance to close");
    assert_eq!(manual_flush().open(file.path())?.len(), 1, "what was flushed survives the kill");
    Ok(())
}

#[test]
fn file_without_database_is_left_alone() -> Outcome {
    let file = TestDir::new()?;
    fs::write(file.path(), "Dear diary,\n".repeat(1_000))?;
    let before = contents(file.folder())?;
    assert_eq!(refused(file.path())?.kind(), ErrorKind::NotAStore);
    assert_eq!(inspect(file.path()).err().map(|error| error.kind()), Some(ErrorKind::NotAStore));
    assert!(contents(file.folder())? == before, "nothing was changed, and no file put beside it");
    Ok(())
}

#[test]
fn another_applications_database_is_left_alone() -> Outcome {
    for (id, schema) in [(0, "CREATE TABLE traces (x)"), (77, "SELECT 1")] {
        let file = TestDir::new()?;
        let other = Connection::open(file.path())?;
        other.execute_batch(&format!("PRAGMA application_id = {id}; PRAGMA user_version = 1; {schema}"))?;
        drop(other);
        let before = contents(file.folder())?;
        let error = refused(file.path())?;
        assert_eq!(error.kind(), ErrorKind::NotAStore);
        assert!(error.to_string().contains(&format!("id {id}")), "{error}");
        assert!(contents(file.folder())? == before);
    }
    Ok(())
}

/// The files of a database as a process leaves them that ends in the middle of a transaction, with a part of it in
/// the file and the way back in a journal; `before` was committed before.
fn left_in_the_middle(to: &Path, before: &str) -> Outcome {
    let other = TestDir::new()?;
    let writer = Connection::open(other.path())?;
    writer.execute_batch(before)?;
    writer.execute_batch("PRAGMA cache_size = 1; BEGIN; CREATE TABLE half (x)")?;
    for _ in 0..100 {
        writer.execute("INSERT INTO half VALUES (zeroblob(4000))", [])?;
    }
    let journal = |path: &Path| path.with_extension("db-journal");
    fs::copy(other.path(), to)?;
    fs::copy(journal(other.path()), journal(to))?;
    Ok(())
}

#[test]
fn half_made_file_is_made_anew() -> Outcome {
    let file = TestDir::new()?;
    left_in_the_middle(file.path(), "")?;
    assert!(fs::metadata(file.path())?.len() > 0, "a part of it is there");
    let before = contents(file.folder())?;
    assert_eq!(inspect(file.path()).err().map(|error| error.kind()), Some(ErrorKind::NotAStore));
    assert!(contents(file.folder())? == before, "who looks changes nothing");
    let store = manual_flush().open(file.path())?;
    store.insert(note(1))?;
    store.close()?;
    assert_eq!(manual_flush().open(file.path())?.len(), 1);
    assert_eq!(rows(&file.reader()?)?, 1);
    Ok(())
}

#[test]
fn database_with_journal_is_left_alone() -> Outcome {
    let file = TestDir::new()?;
    left_in_the_middle(file.path(), "CREATE TABLE whole (x)")?;
    let before = contents(file.folder())?;
    refused(file.path())?;
    assert!(contents(file.folder())? == before);
    Ok(())
}

#[test]
fn original_database_is_left_alone() -> Outcome {
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/legion_local.db");
    if !original.exists() {
        eprintln!("skipped: {} is not there", original.display());
        return Ok(());
    }
    let file = TestDir::new()?;
    fs::copy(original, file.path())?;
    let before = contents(file.folder())?;
    assert_eq!(refused(file.path())?.kind(), ErrorKind::NotAStore);
    assert!(contents(file.folder())? == before);
    Ok(())
}

#[test]
fn a_newer_schema_is_left_alone() -> Outcome {
    let file = TestDir::new()?;
    manual_flush().open(file.path())?.close()?;
    file.reader()?.execute_batch("PRAGMA user_version = 99")?;
    let before = fs::read(file.path())?;
    let error = refused(file.path())?;
    assert_eq!(error.kind(), ErrorKind::NewerSchema);
    assert!(error.to_string().contains("version 99") && error.to_string().contains("up to 2"), "{error}");
    assert!(fs::read(file.path())? == before);
    Ok(())
}

#[test]
fn path_to_nowhere_is_named() -> Outcome {
    let file = TestDir::new()?;
    assert_eq!(refused(&file.folder().join("missing/memory.db"))?.kind(), ErrorKind::Unreachable);
    assert_eq!(refused(file.folder())?.kind(), ErrorKind::Unreachable);
    assert_eq!(inspect(file.path()).err().map(|error| error.kind()), Some(ErrorKind::Unreachable));
    assert!(!file.path().exists(), "looking makes no file");
    Ok(())
}

#[test]
fn damaged_file_is_named_left_alone() -> Outcome {
    let (file, store, _) = flushed(2_000)?;
    store.close()?;
    let whole = fs::read(file.path())?;
    for at in [4096, 4096 * 5, whole.len() / 2, whole.len() - 4096] {
        let mut damaged = whole.clone();
        damaged[at..at + 4096].fill(0xAA);
        fs::write(file.path(), &damaged)?;
        match TraceStore::open(file.path()) {
            // The damage may be where loading does not look.
            Ok(store) => assert_eq!(store.len() + store.stats().quarantined.len(), 2_000, "page at {at}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "page at {at}: {error:?}");
                assert!(fs::read(file.path())?[at..at + 4096] == damaged[at..at + 4096]);
            }
        }
    }
    Ok(())
}

#[test]
fn bad_row_is_quarantined_stays() -> Outcome {
    let (file, store, ids) = flushed(6)?;
    store.close()?;
    let spoil = |id: TraceId, sql: &str| -> Outcome {
        let spoilt =
            file.reader()?.execute(&format!("UPDATE traces SET {sql} WHERE id = ?1"), [id.as_bytes()])?;
        assert_eq!(spoilt, 1);
        Ok(())
    };
    spoil(ids[0], "tier = 'lukewarm'")?;
    spoil(ids[1], "confidence = 2.0")?;
    spoil(ids[2], "tags = 'not json'")?;
    spoil(ids[3], "created_at = 9223372036854775807")?;
    let store = manual_flush().open(file.path())?;
    assert_eq!((store.len(), store.get(ids[4]).is_some()), (2, true));
    let quarantined = store.stats().quarantined;
    let reasons: Vec<_> = quarantined.iter().map(|row| (row.id, row.reason.as_str())).collect();
    for (id, part) in [(ids[0], "lukewarm"), (ids[1], "confidence"), (ids[2], "tags"), (ids[3], "created_at")]
    {
        assert!(
            reasons.iter().any(|(of, reason)| *of == Some(id) && reason.contains(part)),
            "{part}: {reasons:?}"
        );
    }
    store.insert(note("more"))?;
    store.close()?;
    assert_eq!(rows(&file.reader()?)?, 7, "nothing of it was deleted");
    let tier: String =
        file.reader()?
            .query_row("SELECT tier FROM traces WHERE id = ?1", [ids[0].as_bytes()], |row| row.get(0))?;
    assert_eq!(tier, "lukewarm", "nor put right");
    Ok(())
}

#[test]
fn senseless_settings_are_named() -> Outcome {
    let error = TraceStore::builder().flush_threshold(0).in_memory().err().ok_or("it was opened")?;
    assert_eq!(
        (error.kind(), error.to_string().contains("flush_threshold")),
        (ErrorKind::InvalidInput, true)
    );
    let error = TraceStore::builder().partition("").in_memory().err().ok_or("it was opened")?;
    assert_eq!((error.kind(), error.to_string().contains("partition")), (ErrorKind::InvalidInput, true));
    Ok(())
}

#[test]
#[cfg(unix)]
fn files_belong_to_their_owner_alone() -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    store.insert(note(1))?;
    store.flush()?;
    let made = contents(file.folder())?;
    assert!(made.len() >= 3, "the file, its log and its lock: {:?}", made.keys());
    for path in made.keys() {
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    Ok(())
}

/// Closing a descriptor of its own would make a process give up SQLite's locks on the file; another connection
/// would then take itself for the last one, and remove the log that the store goes on writing.
#[test]
fn inspecting_keeps_the_locks() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    store.insert(note("before"))?;
    store.flush()?;
    inspect(file.path())?;
    refused(file.path())?;
    // A connection of another process, since the locks of one are shared.
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('select count(*) from traces').fetchall(); c.close()";
    let other = Command::new("python3").args(["-c", script]).arg(file.path()).status();
    if !other.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no python3 with sqlite3 to open the file with");
        return Ok(());
    }
    store.insert(note("after"))?;
    store.flush()?;
    assert_eq!(rows(&file.reader()?)?, 2);
    Ok(())
}

#[test]
#[cfg(unix)]
fn symlink_is_the_same_file() -> Outcome {
    let file = TestDir::new()?;
    let alias = file.folder().join("alias.db");
    std::os::unix::fs::symlink(file.path(), &alias)?;
    let store = manual_flush().open(file.path())?;
    let error = TraceStore::open(&alias).err().ok_or("it was opened twice")?;
    assert_eq!(error.kind(), ErrorKind::InUse);
    store.insert(note(1))?;
    store.close()?;
    let store = TraceStore::open(&alias)?;
    store.insert(note(2))?;
    store.close()?;
    assert_eq!(manual_flush().open(file.path())?.len(), 2);
    Ok(())
}

#[test]
fn log_of_lost_file_is_quarantined() -> Outcome {
    let scratch = TestDir::new()?;
    let (path, log) = (scratch.path(), scratch.folder().join("memory.db-wal"));
    let store = manual_flush().open(scratch.path())?;
    store.insert(note("in the log alone"))?;
    store.flush()?;
    let (file, flushed) = (fs::read(path)?, fs::read(&log)?);
    store.close()?;
    fs::remove_file(path)?;
    fs::write(&log, &flushed)?;

    let another = manual_flush().open(scratch.path())?;
    assert!(another.is_empty());
    another.insert(note("in another file"))?;
    another.close()?;
    let names =
        fs::read_dir(scratch.folder())?.map(|entry| Ok(entry?.path())).collect::<Outcome<Vec<_>>>()?;
    let aside =
        names.iter().find(|name| name.to_string_lossy().contains(".orphaned-")).ok_or("it is gone")?;
    assert!(fs::read(aside)? == flushed);

    // With its file it is all there.
    let found = scratch.folder().join("found.db");
    fs::write(&found, file)?;
    fs::rename(aside, scratch.folder().join("found.db-wal"))?;
    assert_eq!(TraceStore::open(found)?.len(), 1);
    Ok(())
}

#[test]
fn inspecting_empty_file_leaves_its_log() -> Outcome {
    let scratch = TestDir::new()?;
    fs::write(scratch.path(), "")?;
    let before = ["memory.db-wal", "memory.db-journal"].map(|name| (scratch.folder().join(name), "precious"));
    for (path, content) in &before {
        fs::write(path, content)?;
    }
    assert!(inspect(scratch.path()).is_err());
    assert!(mnemon::verify(scratch.path(), Progress::ignore).is_err());
    assert!(mnemon::backup(scratch.path(), scratch.folder().join("copy.db"), Progress::ignore).is_err());
    assert!(TraceStore::builder().detached(scratch.path()).is_err());
    #[cfg(feature = "legion")]
    assert!(mnemon::legion::read(scratch.path()).is_err());
    for (path, content) in &before {
        assert_eq!(fs::read(path)?, content.as_bytes());
    }
    Ok(())
}
