//! The state of a store in a file, for programs and people outside its host.
//!
//! Uses only the public interface of the store.

use crate::error::{Error, ErrorKind, Result, is_no_room};
use crate::state::Health;
use crate::store::{Stats, TraceStore};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A small JSON file with the state of a store, for people and programs outside its host: `mnemon top` shows it. The
/// host writes it from a thread of its own, usually once a second; `mnemon top` takes a file older than ten seconds
/// for that of a host that has ended.
///
/// ```
/// use mnemon::{NewTrace, StatusFile, TraceStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("memory.db.status");
/// let store = TraceStore::in_memory();
/// let mut status = StatusFile::new(&path);
/// store.insert(NewTrace::semantic(serde_json::json!("slack water at noon")))?;
/// status.write(&store, Some(1))?;
/// assert!(std::fs::read_to_string(&path)?.contains(r#""health":"healthy""#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The file holds one object, in which an unknown number is null:
///
/// | field | what |
/// |---|---|
/// | `mnemon_status` | the version of this format: 1; what a later one adds can be passed over |
/// | `at`, `process` | when it was written, UTC, and the host's process |
/// | `health`, `trouble` | `healthy`, `lagging`, `degraded` or `closed`; why it is degraded |
/// | `traces`, `links` | those in memory |
/// | `dirty`, `lag_seconds` | changes that are not committed, and the age of the oldest of them |
/// | `writes` | writes so far, where the host counts them |
/// | `flushes`, `rows` | flushes that wrote something, and rows that they wrote or deleted, since the opening |
/// | `last_flush_seconds`, `mean_flush_seconds` | from the cut to the commit |
/// | `seconds` | since the file was last written: the time that the rates are of |
/// | `writes_per_second`, `flushes_per_second`, `rows_per_second` | those rates |
/// | `wal_bytes` | bytes in the write-ahead log, as of the last flush |
/// | `committed`, `durable` | the [watermarks](crate::Watermark) |
/// | `quarantined` | rows [quarantined](Stats::quarantined) for their content |
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    last: Option<Sample>,
}

/// The values from which rates are computed, as differences.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    writes: Option<u64>,
    flushes: u64,
    rows: u64,
}

impl StatusFile {
    /// A status file at this path; writes nothing yet. A file that is already there must be a status file, of any
    /// host. Each write creates a second file beside it, with `.new` appended to the name, which then replaces it.
    /// The file gets the process's default permissions, so that others may read it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), last: None }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file with the current state of the store: a reader finds the old file or the new one, each
    /// complete. `writes` is the number of writes that the host has made so far, if it counts them: the store does not
    /// count them.
    ///
    /// Costs as much as [`stats`](TraceStore::stats), plus writing a small file, which is not synced.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists), on the first write, if the path holds anything other than a
    /// status file; [`Unreachable`](ErrorKind::Unreachable), [`DiskFull`](ErrorKind::DiskFull) or
    /// [`Io`](ErrorKind::Io), naming the path. The old file stays unchanged.
    pub fn write(&mut self, store: &TraceStore, writes: Option<u64>) -> Result<()> {
        if self.last.is_none() {
            self.refuse_other()?;
        }
        let stats = store.stats();
        let now = Sample {
            at: Instant::now(),
            writes,
            flushes: stats.flushes,
            rows: stats.rows_upserted
                + stats.rows_updated
                + stats.rows_deleted
                + stats.links_upserted
                + stats.links_deleted,
        };
        let text = report(store, &stats, now, self.last).to_string();
        self.replace(&text).map_err(|error| self.unwritable(error))?;
        self.last = Some(now);
        Ok(())
    }

    /// A mistyped path must not cost a store.
    fn refuse_other(&self) -> Result<()> {
        match is_replaceable(&self.path) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let remedy = "and is no status file: give another name, or move it away";
                let message = format!("{} is there, {remedy}", self.path.display());
                Err(Error::new(ErrorKind::AlreadyExists, message))
            }
            Err(error) => Err(self.unwritable(error)),
        }
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        file.write_all(text.as_bytes())?;
        drop(file);
        fs::rename(&beside, &self.path)
    }

    fn unwritable(&self, error: io::Error) -> Error {
        let (kind, remedy) = match error.kind() {
            _ if is_no_room(&error) => (ErrorKind::DiskFull, "make room"),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                (ErrorKind::Unreachable, "check that its folder exists and may be written")
            }
            _ => (ErrorKind::Io, "check its folder and disk"),
        };
        Error::new(kind, format!("cannot write {}", self.path.display())).with_hint(remedy).because(error)
    }
}

/// Limit on the size of a file to read, in bytes: more than a status takes, less than a database. A database must not
/// be opened here: closing it would release the locks that this process holds on it.
const MOST: u64 = 4_096;

/// Returns whether the path is free, or holds a status file or what a power loss may leave of an unsynced one.
fn is_replaceable(path: &Path) -> io::Result<bool> {
    let there = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        there => there?,
    };
    if !there.is_file() || there.len() >= MOST {
        return Ok(false);
    }
    let mut found = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut found)?;
    let status = serde_json::from_slice::<Value>(&found);
    Ok(status.is_ok_and(|status| status.get(FORMAT).is_some()) || found.iter().all(|byte| *byte == 0))
}

/// The name of the field with the version of the format.
const FORMAT: &str = "mnemon_status";

fn report(store: &TraceStore, stats: &Stats, now: Sample, last: Option<Sample>) -> Value {
    let (health, watermark) = (store.health(), store.watermark());
    let seconds = last.map(|last| (now.at - last.at).as_secs_f64()).filter(|seconds| *seconds > 0.0);
    let rate = |of: fn(Sample) -> Option<u64>| {
        let more = of(now)?.saturating_sub(of(last?)?);
        Some(more as f64 / seconds?)
    };
    let flush = (stats.flushes > 0).then_some(stats.last_flush.elapsed.as_secs_f64());
    let trouble = stats.last_error.as_ref().filter(|_| matches!(health, Health::Degraded { .. }));
    json!({
        FORMAT: 1,
        "at": Timestamp::now().to_string(),
        "process": std::process::id(),
        "health": health.name(),
        "trouble": trouble.map(Error::to_string),
        "traces": stats.traces,
        "links": stats.links,
        "dirty": stats.dirty,
        "lag_seconds": stats.oldest_unflushed.unwrap_or_default().as_secs_f64(),
        "writes": now.writes,
        "flushes": now.flushes,
        "rows": now.rows,
        "last_flush_seconds": flush,
        "mean_flush_seconds": flush.map(|_| stats.flush_time.as_secs_f64() / stats.flushes as f64),
        "seconds": seconds,
        "writes_per_second": rate(|sample| sample.writes),
        "flushes_per_second": rate(|sample| Some(sample.flushes)),
        "rows_per_second": rate(|sample| Some(sample.rows)),
        "wal_bytes": stats.wal_bytes,
        "committed": watermark.committed,
        "durable": watermark.durable,
        "quarantined": stats.quarantined.len(),
    })
}
