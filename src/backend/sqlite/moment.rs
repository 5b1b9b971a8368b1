//! Reading a whole file with several connections at once, as of one moment.
//!
//! The rows of traces are divided by their numbers into parts, and each connection's thread takes one part after the
//! other. What is found is put together in the order of the parts, so that it does not depend on the threads.

#[cfg(test)]
mod tests;

use super::error::while_doing;
use super::file;
use super::look::{self, Looking};
use super::{links, rows_read, schema};
use crate::backend::{Loaded, RowNumber, Stored};
use crate::error::Result;
use crate::progress::Watch;
use crate::protocol::sync::{Mutex, lock};
use rusqlite::Connection;
use std::ops::RangeInclusive;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Highest number of connections.
const MOST_READERS: usize = 8;

/// Row numbers in a part at least: fewer are not worth a thread.
const PART: i64 = if cfg!(test) { 8 } else { 4_096 };

/// Parts for each connection, so that at the end none works alone for long.
const PARTS_EACH: usize = 8;

/// Rows after which progress is reported.
const ROWS: u64 = 4_096;

/// Rows after which a reader gives up its processor to a thread that waits for one: until the system takes it away, a
/// thread of the host could stand still for a tick of some milliseconds.
const TURN: u64 = 64;

type Part = RangeInclusive<RowNumber>;

const ALL: Part = RowNumber::MIN..=RowNumber::MAX;

/// A file as of one moment.
pub(crate) struct Moment<'c> {
    path: PathBuf,
    watermark: u64,
    /// The first one is there while nobody else writes, or is within a transaction.
    connection: &'c mut Connection,
    /// Each within a transaction of the same moment.
    others: Vec<Looking>,
    parts: Vec<Part>,
}

/// What came of one part.
struct Found<T> {
    part: usize,
    last_row: rusqlite::Result<RowNumber>,
    found: Vec<T>,
}

impl<'c> Moment<'c> {
    /// No value longer than `longest` bytes is read into memory.
    pub(super) fn of(path: &Path, longest: usize, connection: &'c mut Connection) -> rusqlite::Result<Self> {
        let store = schema::read_store(connection)?;
        let parts = divided(connection);
        let readers = thread::available_parallelism().map_or(1, usize::from).min(MOST_READERS);
        // One that can't be opened now, or sees a later moment, is done without.
        let other = |_| {
            let other = look::look_at(path)?;
            file::harden(&other, longest)?;
            other.execute_batch("BEGIN")?;
            Ok::<_, rusqlite::Error>((schema::read_store(&other)? == store).then_some(other))
        };
        let others = (1..readers.min(parts.len())).map_while(|at| other(at).ok().flatten()).collect();
        Ok(Self { path: path.to_owned(), watermark: store.0, connection, others, parts })
    }

    /// Reads what follows with one connection, row by row.
    pub(crate) fn in_order(&mut self) {
        self.others.clear();
        self.parts = vec![ALL];
    }

    /// Shows every row of a trace to `take`, on several threads, and reports progress to `watch` on this one. Returns
    /// the state, and what `take` has returned, in the order of rows.
    pub(crate) fn traces<T: Send>(
        &mut self,
        watch: Option<&Watch>,
        take: &(dyn Fn(Stored) -> Option<T> + Sync),
    ) -> Result<(Loaded, Vec<T>)> {
        let total = watch.map_or(0, |_| count(self.connection));
        let report = |done| watch.map_or(Ok(()), |watch| watch.tell("reading rows", done, total));
        report(0)?;
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        let parts = &self.parts;
        let connections =
            std::iter::once(&mut *self.connection).chain(self.others.iter_mut().map(|other| &mut **other));
        let connections = Mutex::new(connections.collect::<Vec<_>>());
        let (tell, told) = channel();
        let read = |tell: Sender<u64>| {
            let mut all = Vec::new();
            let Some(connection) = lock(&connections).pop() else { return all };
            loop {
                // In their order: a part before the first one that failed is read to its end.
                let part = next.fetch_add(1, Relaxed);
                let Some(rows) = parts.get(part).filter(|_| part < failed.load(Relaxed)) else { return all };
                let found = read_part(connection, part, rows, &tell, take);
                if found.last_row.is_err() {
                    failed.fetch_min(part, Relaxed);
                }
                all.push(found);
            }
        };
        let readers = lock(&connections).len();
        let (mut all, reported) = thread::scope(|scope| {
            let read = &read;
            let threads: Vec<_> = (0..readers)
                .map_while(|_| {
                    let (tell, thread) =
                        (tell.clone(), thread::Builder::new().name("mnemon-loader".to_owned()));
                    thread.spawn_scoped(scope, move || read(tell)).ok()
                })
                .collect();
            let mut all = if threads.is_empty() {
                read(tell)
            } else {
                drop(tell);
                Vec::new()
            };
            let mut done = 0;
            let reported = told.into_iter().try_for_each(|rows| {
                done += rows;
                report(done)
            });
            if reported.is_err() {
                failed.store(0, Relaxed);
            }
            for thread in threads {
                all.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            (all, reported)
        });
        reported?;
        all.sort_unstable_by_key(|found| found.part);
        let (mut last_row, mut taken) = (0, Vec::new());
        for found in all {
            last_row =
                last_row.max(found.last_row.map_err(|error| while_doing("reading", &self.path, error))?);
            taken.extend(found.found);
        }
        Ok((Loaded { watermark: self.watermark, last_row }, taken))
    }

    /// Shows every row of a link to `into`.
    pub(crate) fn links(&self, into: &mut dyn FnMut(Stored)) -> Result<()> {
        let read = links::load(self.connection, into);
        Ok(read.map_err(|error| while_doing("reading", &self.path, error))?)
    }
}

fn read_part<T>(
    connection: &Connection,
    part: usize,
    rows: &Part,
    tell: &Sender<u64>,
    take: &dyn Fn(Stored) -> Option<T>,
) -> Found<T> {
    let (mut found, mut read) = (Vec::new(), 0);
    let last_row = rows_read::load(connection, rows.clone(), &mut |stored| {
        found.extend(take(stored));
        read += 1;
        if read % TURN == 0 {
            thread::yield_now();
        }
        if read == ROWS {
            // Nobody listens any more where the reading has been interrupted.
            tell.send(std::mem::take(&mut read)).ok();
        }
    });
    tell.send(read).ok();
    Found { part, last_row, found }
}

/// The parts, in their order; one where there are few rows, or their numbers can't be read.
fn divided(connection: &Connection) -> Vec<Part> {
    let sql = "SELECT (SELECT min(row) FROM traces), (SELECT max(row) FROM traces)";
    let ends = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let Ok((lowest, highest)): rusqlite::Result<(RowNumber, RowNumber)> = ends else { return vec![ALL] };
    parts_of(lowest, highest)
}

fn parts_of(lowest: RowNumber, highest: RowNumber) -> Vec<Part> {
    let numbers = highest.checked_sub(lowest).unwrap_or(0);
    let parts = (numbers / PART).clamp(1, (MOST_READERS * PARTS_EACH) as i64);
    let first = |part| lowest + numbers / parts * part;
    let range = |part| {
        let from = if part == 0 { RowNumber::MIN } else { first(part) };
        let to = if part + 1 == parts { RowNumber::MAX } else { first(part + 1) - 1 };
        from..=to
    };
    (0..parts).map(range).collect()
}

/// Number of rows of traces; 0 if unknown.
fn count(connection: &Connection) -> u64 {
    let count = connection.query_row("SELECT count(*) FROM traces", [], |row| row.get(0));
    count.map_or(0, i64::unsigned_abs)
}
