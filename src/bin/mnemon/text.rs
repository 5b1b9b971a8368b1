//! What people see: numbers, durations, aligned tables, and progress on a terminal.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use mnemon::Quarantined;
use serde::Serialize;
use std::io::{Write, stdout};
use std::time::Duration;

/// Writes to standard output. A reader that has gone away is an error, not a panic as with `println!`.
pub fn say(text: &str) -> Result<()> {
    writeln!(stdout().lock(), "{text}").context("standard output can't be written to")
}

/// The last line of standard output, under `--json`.
pub fn say_json(report: &impl Serialize) -> Result<()> {
    say(&serde_json::to_string(report)?)
}

/// On standard error: rows that are in memory alone, or in the file alone.
pub fn warn_of_quarantined(rows: &[Quarantined]) {
    for Quarantined { id, reason, .. } in rows {
        let id = id.map_or_else(|| "an unknown id".to_owned(), |id| id.to_string());
        eprintln!("the row of {id} is set aside: {reason}");
    }
}

/// With thousands separators.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 line`, `2 lines`.
pub fn count(things: u64, one: &str) -> String {
    match things {
        1 => format!("1 {one}"),
        _ => format!("{} {one}s", number(things)),
    }
}

/// In the unit that suits it.
pub fn nanoseconds(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

/// In the unit that suits it.
pub fn duration(duration: Duration) -> String {
    nanoseconds(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Columns two spaces apart: the first to the left, the others to the right.
pub fn table<R: AsRef<[String]>>(rows: &[R]) -> String {
    let mut widths = Vec::new();
    for row in rows {
        for (column, cell) in row.as_ref().iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let line = |row: &R| {
        let cells =
            row.as_ref().iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
                0 => format!("  {cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            });
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A bar on standard error; nothing where that is no terminal.
pub fn bar(length: usize, doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length as u64).with_message(doing);
    match ProgressStyle::with_template("{msg} [{bar:40}] {human_pos} of {human_len}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// Something that moves on standard error while work of unknown length goes on; nothing where that is no terminal.
pub fn spinner(doing: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(doing);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

#[cfg(test)]
mod tests {
    use super::{nanoseconds, number, table};

    #[test]
    fn thousands_are_separated() {
        let shown = [0, 999, 1_000, 123_456, 1_234_567].map(number);
        assert_eq!(shown, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn durations_are_shown_in_the_unit_that_suits_them() {
        let shown = [0, 999, 1_000, 1_550_000, 2_000_000_000].map(nanoseconds);
        assert_eq!(shown, ["0 ns", "999 ns", "1.0 µs", "1.6 ms", "2.00 s"]);
    }

    #[test]
    fn columns_line_up_whatever_the_letters_are() {
        let rows = [["café", "1 µs"], ["a", "100 ns"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "  café    1 µs\n  a     100 ns");
    }
}
