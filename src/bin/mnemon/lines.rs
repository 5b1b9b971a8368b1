//! A file of JSON lines, each read and checked by itself.

use crate::foreign;
use crate::interrupt;
use crate::line_error;
use crate::location::Location;
use crate::progress;
use crate::text::{self, number};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, stdin};
use std::num::NonZeroUsize;
use std::path::Path;

/// The records of a file and its bad lines, each in order. Blank lines are neither.
pub struct Lines<R> {
    pub records: Vec<(usize, R)>,
    pub bad: Vec<BadLine>,
}

/// A line that is not stored.
pub struct BadLine {
    pub line: usize,
    pub reason: String,
}

/// So many bad lines are shown: a wrong file has thousands.
const SHOWN: usize = 20;

/// In columns: a reason may quote a field as long as its line.
const REASON: usize = 1_000;

impl<R: Send> Lines<R> {
    /// `record` reads one line, which is an object as far as its first letter tells.
    pub fn parse(bytes: &[u8], threads: usize, record: impl Fn(&str) -> Result<R, String> + Sync) -> Self {
        let numbered = bytes
            .split(|&byte| byte == b'\n')
            .enumerate()
            .map(|(at, line)| (at + 1, foreign::unmarked(line)));
        let lines: Vec<_> = numbered.filter(|(_, line)| !line.is_empty()).collect();
        let bar = progress::bar(lines.len(), "reading");
        let pieces = in_parallel(&lines, threads, |piece| {
            let mut read = Self { records: Vec::with_capacity(piece.len()), bad: Vec::new() };
            for &(line, bytes) in piece {
                if interrupt::has_come() {
                    break;
                }
                match line_error::object(bytes).and_then(&record) {
                    Ok(record) => read.records.push((line, record)),
                    Err(reason) => read.bad.push(BadLine { line, reason }),
                }
                bar.inc(1);
            }
            read
        });
        bar.finish_and_clear();
        let mut all = Self { records: Vec::with_capacity(lines.len()), bad: Vec::new() };
        for piece in pieces {
            all.records.extend(piece.records);
            all.bad.extend(piece.bad);
        }
        all
    }
}

/// The first bad lines, on standard error.
pub fn warn(bad: &[BadLine]) {
    for BadLine { line, reason } in bad.iter().take(SHOWN) {
        text::warn(format_args!("line {line}: {}", text::cut(reason, REASON)));
    }
    if bad.len() > SHOWN {
        text::warn(format_args!("and {} more", number((bad.len() - SHOWN) as u64)));
    }
}

/// The whole file, or all of standard input for `-`.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input(file)?.read_to_end(&mut bytes).with_context(|| unreadable(file))?;
    Ok(bytes)
}

/// The file, or standard input for `-`.
pub fn input(file: &Path) -> Result<Box<dyn Read>> {
    if file == Path::new("-") {
        return Ok(Box::new(stdin()));
    }
    Ok(Box::new(File::open(file).with_context(|| unreadable(file))?))
}

/// Says so, and what to do.
pub fn unreadable(file: &Path) -> String {
    if file == Path::new("-") {
        return "standard input can't be read".to_owned();
    }
    format!("{} can't be read: give the path of a file of records", Location::from(file.to_owned()))
}

/// A system has no more to give, or not for long.
const MOST_THREADS: usize = 1_024;

/// As many as were asked for, or as the machine runs at once.
pub fn threads(given: Option<NonZeroUsize>) -> usize {
    let threads = given.or_else(|| std::thread::available_parallelism().ok());
    threads.map_or(1, NonZeroUsize::get).min(MOST_THREADS)
}

/// Cuts `items` into a piece for each thread, and answers what became of each piece, in order.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let piece = items.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = items.chunks(piece).map(|piece| scope.spawn(|| work(piece))).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
