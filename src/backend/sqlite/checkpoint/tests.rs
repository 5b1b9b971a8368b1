//! Rounds, at a backend's calls.

use super::round::{Round, Task};
use super::{MOVE_FROM, RESTART_FROM, WAIT_FROM};
use crate::Durability::{self, Durable};
use crate::backend::sqlite::file_identity::FileIdentity;
use crate::backend::sqlite::look::look_at;
use crate::backend::sqlite::{Claim, Sqlite, inspect};
use crate::backend::{Backend, Batch, Reopened, Scope, TraceChange};
use crate::error::ErrorKind;
use crate::trace::{Defaults, Micros, NewTrace, TraceType};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Number of bytes that take some 240 pages.
const LARGE: usize = 1_000_000;

/// A new file, with its folder.
fn open() -> Outcome<(tempfile::TempDir, PathBuf, Sqlite)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().canonicalize()?.join("memory.db");
    let sqlite = Sqlite::open(&path, 1 << 20, None, Claim::default())?;
    Ok((folder, path, sqlite))
}

/// Commits traces, each in a row of its own, as the next cut.
fn commit(sqlite: &mut Sqlite, rows: std::ops::Range<i64>, durability: Durability) -> Outcome {
    let defaults = Defaults {
        partition: &"default".into(),
        now: Micros::from(jiff::Timestamp::now()),
        imprinting: false,
    };
    // Another one for each cut, as SQLite writes no page that stays the same; `c` for the first.
    let letter = char::from(b'b' + (1 + sqlite.committed % 24) as u8);
    let payload = serde_json::Value::from(letter.to_string().repeat(LARGE));
    let changes = rows.map(|row| {
        let trace = NewTrace::semantic(&payload).with_defaults(&defaults)?;
        Ok(TraceChange::Upsert { row, trace: Arc::new(trace) })
    });
    let changes = changes.collect::<Outcome<Vec<_>>>()?;
    sqlite.apply(&Batch::new(sqlite.committed + 1, durability).traces(&changes))?;
    Ok(())
}

/// A file with more in its log than is left there, and a round that moves it.
fn with_round() -> Outcome<(tempfile::TempDir, PathBuf, Sqlite)> {
    let (folder, path, mut sqlite) = open()?;
    commit(&mut sqlite, 1..9, Durable)?;
    assert!(sqlite.pages()?.left() > MOVE_FROM);
    assert!(!sqlite.tidy(false)? && sqlite.round.is_some());
    Ok((folder, path, sqlite))
}

fn wait_for_round(sqlite: &Sqlite) {
    while sqlite.round.as_ref().is_some_and(|round| !round.is_over()) {
        std::thread::yield_now();
    }
}

#[test]
fn round_moves_log_beside_commits() -> Outcome {
    let (_folder, path, mut sqlite) = with_round()?;
    commit(&mut sqlite, 9..10, Durable)?;
    wait_for_round(&sqlite);
    sqlite.tidy(false)?;
    assert!(sqlite.pages()?.left() <= MOVE_FROM);
    assert_eq!(sqlite.reopen()?, Reopened::Same);
    sqlite.close(sqlite.committed)?;
    assert_eq!(inspect(path)?.traces, 9);
    Ok(())
}

/// Neither syncs the log while the other one does.
#[test]
fn transaction_is_between_two_passes() -> Outcome {
    let (_folder, _path, mut sqlite) = with_round()?;
    let writing = sqlite.begin_writing()?;
    assert!(writing.is_some() && sqlite.round.is_some(), "it waits for no whole round");
    Ok(())
}

#[test]
fn round_says_nothing_of_later_commits() -> Outcome {
    let (_folder, _path, mut sqlite) = with_round()?;
    wait_for_round(&sqlite);
    let before = sqlite.committed;
    commit(&mut sqlite, 9..10, Durability::Committed)?;
    assert!(!sqlite.tidy(false)?);
    assert_eq!(sqlite.durable, before);
    Ok(())
}

#[test]
fn complete_round_makes_commits_durable() -> Outcome {
    let (_folder, _path, mut sqlite) = open()?;
    commit(&mut sqlite, 1..9, Durability::Committed)?;
    assert!(!sqlite.tidy(false)?);
    assert!(sqlite.durable < sqlite.committed);
    wait_for_round(&sqlite);
    assert!(sqlite.tidy(false)?);
    assert_eq!(sqlite.durable, sqlite.committed);
    Ok(())
}

#[test]
fn small_log_starts_no_round() -> Outcome {
    let (_folder, _path, mut sqlite) = open()?;
    commit(&mut sqlite, 1..2, Durable)?;
    assert!(!sqlite.tidy(false)? && sqlite.round.is_none());
    assert!(sqlite.tidy(true)? && sqlite.round.is_none());
    assert_eq!(sqlite.wal_bytes(), 0);
    Ok(())
}

/// When idle it does not make the flush wait that may come meanwhile.
#[test]
fn idle_empties_log_after_round() -> Outcome {
    let (_folder, _path, mut sqlite) = open()?;
    commit(&mut sqlite, 1..9, Durable)?;
    assert!(!sqlite.tidy(true)? && sqlite.round.is_some());
    wait_for_round(&sqlite);
    assert!(sqlite.tidy(true)?);
    assert_eq!(sqlite.wal_bytes(), 0);
    Ok(())
}

#[test]
fn erasure_empties_log_despite_round() -> Outcome {
    let (_folder, path, mut sqlite) = with_round()?;
    let erased = [Scope::Type(TraceType::Semantic)];
    sqlite.apply(&Batch::new(sqlite.committed + 1, Durable).erased(&erased))?;
    assert!(sqlite.round.is_none());
    assert_eq!((sqlite.wal_bytes(), sqlite.to_scrub), (0, false));
    let left = fs::read(path)?.iter().filter(|byte| **byte == b'c').count();
    assert!(left < LARGE / 100, "{left} letters of a payload");
    Ok(())
}

#[test]
fn close_waits_for_round() -> Outcome {
    let (_folder, path, mut sqlite) = with_round()?;
    sqlite.close(sqlite.committed)?;
    assert!(sqlite.round.is_none());
    drop(sqlite);
    assert_eq!(fs::metadata(path.with_extension("db-wal")).ok().map(|log| log.len()), None);
    Ok(())
}

#[test]
fn reopening_ends_round() -> Outcome {
    let (_folder, _path, mut sqlite) = with_round()?;
    assert_eq!(sqlite.reopen()?, Reopened::Same);
    assert!(sqlite.round.is_none());
    assert!(!sqlite.tidy(false)? && sqlite.round.is_some(), "all is to be moved again, or what is left");
    Ok(())
}

/// What a round is told of a file that it can't open.
fn round_of_another_file(sqlite: &mut Sqlite, path: &Path) -> Outcome<Round> {
    let pages = sqlite.pages()?;
    let elsewhere = path.parent().ok_or("a folder")?;
    Ok(Round::start(Task {
        path: path.to_owned(),
        longest: sqlite.longest,
        boot: sqlite.boot,
        place: FileIdentity::of(elsewhere)?,
        committed: sqlite.committed,
        pages,
        file: sqlite.last_write.file(),
        lock: sqlite.lock.clone().ok_or("it is owned")?,
    })?)
}

#[test]
fn flusher_moves_log_where_no_round_begins() -> Outcome {
    let (_folder, path, mut sqlite) = open()?;
    commit(&mut sqlite, 1..9, Durable)?;
    sqlite.round = Some(round_of_another_file(&mut sqlite, &path)?);
    wait_for_round(&sqlite);
    assert!(sqlite.tidy(false)?, "it has moved the log itself");
    assert!(sqlite.round.is_none() && sqlite.beside);
    Ok(())
}

#[test]
fn file_changed_between_rounds_is_noticed() -> Outcome {
    let (_folder, path, mut sqlite) = with_round()?;
    wait_for_round(&sqlite);
    let length = fs::metadata(&path)?.len();
    fs::OpenOptions::new().write(true).open(&path)?.set_len(length - 1)?;
    assert!(!sqlite.is_untouched()?);
    assert_eq!(sqlite.tidy(false).err().map(|error| error.kind()), Some(ErrorKind::Unreachable));
    Ok(())
}

#[test]
fn log_changed_during_round_is_noticed() -> Outcome {
    let (_folder, path, mut sqlite) = with_round()?;
    let log = path.with_extension("db-wal");
    fs::OpenOptions::new().append(true).open(&log)?.set_len(fs::metadata(&log)?.len() + 1)?;
    assert!(!sqlite.is_untouched()?);
    Ok(())
}

/// A reader keeps each round from moving the newest commit, so that none of them is complete, and is gone only between
/// a round and the next commit.
#[test]
fn log_is_bounded_while_readers_come_and_go() -> Outcome {
    let (_folder, path, mut sqlite) = open()?;
    let (mut longest, mut written) = (0, 0);
    for turn in 0..40 {
        let reader = look_at(&path)?;
        reader.execute_batch("BEGIN; SELECT count(*) FROM store;")?;
        let before = sqlite.pages()?.logged;
        commit(&mut sqlite, 1 + turn % 8..3 + turn % 8, Durable)?;
        let after = sqlite.pages()?.logged;
        (longest, written) =
            (longest.max(after), written + if after > before { after - before } else { after });
        sqlite.tidy(false)?;
        wait_for_round(&sqlite);
        drop(reader);
        sqlite.tidy(false)?;
        wait_for_round(&sqlite);
    }
    // Each commit has some 490 pages.
    let most = RESTART_FROM + 4 * 490;
    assert!(longest < most && written > 4 * most, "{longest} pages of {written}");
    Ok(())
}

#[test]
fn flusher_waits_for_round_when_log_has_grown() -> Outcome {
    let (_folder, _path, mut sqlite) = with_round()?;
    let logged = sqlite.pages()?.logged;
    sqlite.round.as_mut().ok_or("it is under way")?.logged = logged - WAIT_FROM - 1;
    sqlite.tidy(false)?;
    assert!(sqlite.round.is_none());
    Ok(())
}
