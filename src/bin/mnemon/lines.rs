//! The first pass: every line by itself.

use super::record::Record;
use super::report::BadLine;
use super::{in_parallel, refuse};
use crate::text;
use anyhow::Result;
use std::path::Path;

/// The records of a file and its bad lines, each in order. Blank lines are neither.
pub struct Lines {
    pub records: Vec<(usize, Record)>,
    pub bad: Vec<BadLine>,
}

impl Lines {
    pub fn parse(bytes: &[u8], threads: usize) -> Self {
        let numbered =
            bytes.split(|&byte| byte == b'\n').enumerate().map(|(at, line)| (at + 1, line.trim_ascii()));
        let lines: Vec<_> = numbered.filter(|(_, line)| !line.is_empty()).collect();
        let bar = text::bar(lines.len(), "reading");
        let pieces = in_parallel(&lines, threads, |piece| {
            let mut read = Self { records: Vec::with_capacity(piece.len()), bad: Vec::new() };
            for &(line, bytes) in piece {
                match Record::parse(bytes) {
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

    pub fn refuse_bad(&self, file: &Path) -> Result<()> {
        refuse(&self.bad, file)
    }
}
