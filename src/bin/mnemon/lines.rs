//! A file of JSON lines, each read and checked by itself.

use crate::text::{self, number};
use anyhow::{Context, Result};
use std::fs;
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

impl<R: Send> Lines<R> {
    /// `record` reads one line, which is an object as far as its first letter tells.
    pub fn parse(bytes: &[u8], threads: usize, record: impl Fn(&str) -> Result<R, String> + Sync) -> Self {
        let numbered =
            bytes.split(|&byte| byte == b'\n').enumerate().map(|(at, line)| (at + 1, line.trim_ascii()));
        let lines: Vec<_> = numbered.filter(|(_, line)| !line.is_empty()).collect();
        let bar = text::bar(lines.len(), "reading");
        let pieces = in_parallel(&lines, threads, |piece| {
            let mut read = Self { records: Vec::with_capacity(piece.len()), bad: Vec::new() };
            for &(line, bytes) in piece {
                match object(bytes).and_then(&record) {
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

/// A struct could be read from an array too, field by field.
fn object(line: &[u8]) -> Result<&str, String> {
    let line = str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 at byte {}: save the file as UTF-8", error.valid_up_to() + 1))?;
    match line.starts_with('{') {
        true => Ok(line),
        false => Err("not a JSON object: write one record a line".to_owned()),
    }
}

/// The first bad lines, on standard error.
pub fn warn(bad: &[BadLine]) {
    for BadLine { line, reason } in bad.iter().take(SHOWN) {
        eprintln!("line {line}: {reason}");
    }
    if bad.len() > SHOWN {
        eprintln!("and {} more", number((bad.len() - SHOWN) as u64));
    }
}

/// The file, or standard input for `-`.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        stdin().read_to_end(&mut bytes).context("standard input can't be read")?;
        return Ok(bytes);
    }
    fs::read(file)
        .with_context(|| format!("{} can't be read: give the path of a file of records", file.display()))
}

/// As many as were asked for, or as the machine runs at once.
pub fn threads(given: Option<NonZeroUsize>) -> usize {
    given.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
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

pub fn with_cause(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

/// In bytes.
const MOST_NAMES: usize = 240;

/// What is wrong with a line, in which field. The parser saw one line alone: its `at line 1` would be misleading.
pub fn problem(line: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text.rsplit_once(" at line ").map_or(&*text, |(problem, _)| problem);
    let problem = match problem.split_once("`, expected one of") {
        // The names of all the fields that there are would hide what is wrong.
        Some((unknown, fields)) if fields.len() > MOST_NAMES => {
            format!("{unknown}`: leave it out, or look at its spelling")
        }
        _ => problem.to_owned(),
    };
    let column = error.column();
    let names_its_field = problem.starts_with("unknown ") || problem.starts_with("missing ");
    match field_at(line, column).filter(|_| !names_its_field) {
        Some(field) => format!("{field}: {problem} (column {column})"),
        None => format!("{problem} (column {column})"),
    }
}

/// The name of the object's field that the text before this column ends in.
fn field_at(line: &str, column: usize) -> Option<&str> {
    let mut field = None;
    let (mut depth, mut last_string) = (0, None);
    let mut letters = line.char_indices();
    while let Some((at, letter)) = letters.next() {
        if at >= column {
            break;
        }
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' if depth == 1 => field = last_string,
            ',' if depth == 1 => field = None,
            '"' => {
                let mut escaped = false;
                let end = letters.find(|(_, letter)| {
                    let ends = *letter == '"' && !escaped;
                    escaped = *letter == '\\' && !escaped;
                    ends
                });
                last_string = end.and_then(|(end, _)| line.get(at + 1..end));
            }
            _ => {}
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::problem;
    use serde::Deserialize;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read for what is wrong with it")]
    struct Record {
        name: String,
        numbers: Vec<f32>,
        count: Option<u32>,
    }

    #[test]
    fn the_field_of_a_bad_value_is_named() -> Result<(), String> {
        let cases = [
            (r#"{"name": 7}"#, "name: invalid type: integer `7`, expected a string (column 10)"),
            (r#"{"name": "a \" b: ", "numbers": [1, "x"]}"#, "numbers: invalid type: string \"x\""),
            (r#"{"numbers": [[1]], "name": ""}"#, "numbers: invalid type: sequence"),
            (r#"{"name": "é", "numbers": [], "count": -1}"#, "count: invalid value: integer `-1`"),
            (
                r#"{"name": "é", "colour": 1}"#,
                "unknown field `colour`, expected one of `name`, `numbers`, `count` (column ",
            ),
            (r#"{"name": "é"}"#, "missing field `numbers` (column 14)"),
            (r#"{"name": "é", "numbers": [1.]}"#, "numbers: invalid number (column "),
            (r#"{"name": "é" nonsense}"#, "name: expected `,` or `}` (column "),
        ];
        for (line, expected) in cases {
            let error = serde_json::from_str::<Record>(line).err().ok_or(line)?;
            let problem = problem(line, &error);
            assert!(problem.starts_with(expected), "{problem} for {line}");
        }
        Ok(())
    }
}
