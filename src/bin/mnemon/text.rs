//! What people see: numbers, durations, aligned tables and colours.

use crate::secrets;
use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use mnemon::Quarantined;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufWriter, Write, stderr, stdout};
use std::path::Path;
use std::time::Duration;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Writes to standard output; colours only to a terminal, and as NO_COLOR has it. That nobody reads any more, as after
/// `| head`, is no failure: what the command has done it has done, and its exit code says how that went.
pub fn print(text: &str) -> Result<()> {
    print_unless_closed(text).map(drop)
}

/// The same. Answers whether somebody still reads.
pub fn print_unless_closed(text: &str) -> Result<bool> {
    ignore_broken_pipe(writeln!(anstream::stdout().lock(), "{text}"))
}

/// Writes to standard output, byte for byte.
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = stdout().lock();
    ignore_broken_pipe(out.write_all(bytes).and_then(|()| out.flush())).map(drop)
}

/// Writes to standard error, with what would command a terminal spelled out, and without passwords. Where that fails
/// there is nobody to tell, and the exit code remains.
pub fn warn(text: impl Display) {
    let text = secrets::hidden(text.to_string());
    writeln!(stderr(), "{}", harmless_lines(&text)).ok();
}

/// The last line of standard output, under `--json`.
pub fn print_json(report: &impl Serialize) -> Result<()> {
    print_json_lines([report])
}

/// On standard output, one line each.
pub fn print_json_lines<T: Serialize>(items: impl IntoIterator<Item = T>) -> Result<()> {
    print_json_lines_unless_closed(items).map(drop)
}

/// The same. Answers whether somebody still reads.
pub fn print_json_lines_unless_closed<T: Serialize>(items: impl IntoIterator<Item = T>) -> Result<bool> {
    let mut out = BufWriter::new(stdout().lock());
    for item in items {
        let line = serde_json::to_string(&item)?;
        if !ignore_broken_pipe(writeln!(out, "{line}"))? {
            return Ok(false);
        }
    }
    ignore_broken_pipe(out.flush())
}

/// The last words of a command that failed, on standard error: what failed and why, and on a line of its own what to do.
pub fn fail(error: &anyhow::Error) {
    let (mut text, mut hint) = (String::new(), None);
    for cause in error.chain() {
        let failure = cause.downcast_ref::<mnemon::Error>();
        let said = failure.map_or_else(|| cause.to_string(), |failure| failure.message().to_owned());
        let colon = if text.is_empty() { "" } else { ": " };
        text.push_str(&format!("{colon}{said}"));
        hint = hint.or(failure.and_then(mnemon::Error::hint));
    }
    let text = secrets::hidden(text);
    writeln!(anstream::stderr(), "{} {}", styled(BAD, "error:"), harmless_lines(&text)).ok();
    if let Some(hint) = hint {
        writeln!(anstream::stderr(), "{} {}", styled(BOLD, "hint:"), harmless_lines(hint)).ok();
    }
}

const UNWRITABLE: &str = "standard output can't be written to";

/// Whether somebody still reads.
pub fn ignore_broken_pipe(written: io::Result<()>) -> Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context(UNWRITABLE),
    }
}

/// Whether it is because nobody reads standard output any more.
pub fn is_unread(error: &anyhow::Error) -> bool {
    let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is_closed))
}

/// What a column is called, and other words that stand beside what they speak of.
pub const DIM: Style = Style::new().dimmed();
pub const BOLD: Style = Style::new().bold();
pub const ID: Style = AnsiColor::Cyan.on_default();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// In this style, where there are colours.
pub fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Width and height of the terminal that standard output is.
pub fn window() -> Option<(u16, u16)> {
    terminal_size::terminal_size_of(stdout()).map(|(width, height)| (width.0, height.0))
}

/// How many columns a line may have: as many as the terminal; elsewhere as COLUMNS says, or 100.
pub fn line_width() -> usize {
    let terminal = || window().map(|(width, _)| usize::from(width));
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal().or_else(told).filter(|&width| width > 0).unwrap_or(100)
}

/// How many columns a text takes on a terminal: two for 日, none for an accent that is a letter of its own.
pub fn width(text: &str) -> usize {
    text.width()
}

/// As much of a text as fits so many columns; if something is missing it ends with `…`.
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let (mut end, mut used) = (0, 1);
    for (at, letter) in text.char_indices() {
        used += letter.width().unwrap_or(0);
        if used > columns {
            break;
        }
        end = at + letter.len_utf8();
    }
    Cow::Owned(format!("{}…", text[..end].trim_end()))
}

/// Text from a store, for a terminal: what would command it, or turn the order of letters around, is spelled out.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let commands = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(commands) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if commands(letter) { safe.extend(letter.escape_unicode()) } else { safe.push(letter) }
    }
    Cow::Owned(safe)
}

/// The same of each line.
pub fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

/// To three digits after the point; small ones as a power of ten, but for 0.
pub fn fraction(number: f64) -> String {
    match number {
        _ if number == 0.0 || number >= 0.0005 => format!("{number:.3}"),
        _ => format!("{number:.0e}"),
    }
}

/// Scores, given as their base-2 logarithms: with as many digits as tell each from the next where they differ, 3 to 12
/// after the point; small ones as a power of ten, however small.
pub fn scores(logarithms: &[f64]) -> Vec<String> {
    let differ = |(of, shown): (&[f64], &[String])| of[0] == of[1] || shown[0] != shown[1];
    let mut shown = Vec::new();
    for digits in 3..=12 {
        shown = logarithms.iter().map(|log| score(*log, digits)).collect();
        if logarithms.windows(2).zip(shown.windows(2)).all(differ) {
            break;
        }
    }
    shown
}

/// Three digits less after the point of what is multiplied by a power of ten.
fn score(log: f64, digits: usize) -> String {
    let number = log.exp2();
    if number >= 0.0005 || log == f64::NEG_INFINITY {
        return format!("{number:.digits$}");
    }
    let (log, digits) = (log * std::f64::consts::LOG10_2, digits - 3);
    let exponent = log.floor();
    match format!("{:.digits$}", 10_f64.powf(log - exponent)) {
        ten if ten.starts_with("10") => format!("{:.digits$}e{}", 1.0, exponent + 1.0),
        factor => format!("{factor}e{exponent}"),
    }
}

/// On standard error: rows that are in memory alone, or in the file alone.
pub fn warn_of_quarantined(rows: &[Quarantined]) {
    for Quarantined { id, reason, .. } in rows {
        let id = id.map_or_else(|| "an unknown id".to_owned(), |id| id.to_string());
        warn(format_args!("the row of {id} is quarantined: {reason}"));
    }
}

/// On standard error, of a store that is copied: that there is more, beside its file.
pub fn warn_of_spill(db: &Path) {
    let mut spill = db.canonicalize().unwrap_or_else(|_| db.to_owned()).into_os_string();
    spill.push(".spill");
    let spill = Path::new(&spill);
    if spill.exists() {
        let rest = "holds what the store could not write, which does not go along: open the store first";
        warn(format_args!("{} {rest}", spill.display()));
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

#[cfg(test)]
mod tests {
    use super::{cut, fraction, harmless, nanoseconds, number, scores, table};

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

    #[test]
    fn a_line_is_cut_between_letters_where_the_terminal_ends() {
        assert_eq!(cut("日本の海", 8), "日本の海");
        assert_eq!(cut("日本の海", 7), "日本の…");
        assert_eq!(cut("日本の海", 6), "日本…");
        assert_eq!(cut("the tide", 5), "the…");
    }

    #[test]
    fn what_would_command_a_terminal_is_spelled_out() {
        assert_eq!(harmless("caf\u{e9} \u{65e5}"), "caf\u{e9} \u{65e5}");
        assert_eq!(harmless("a\u{1b}[2J\u{9b}1m\u{202e}b"), "a\\u{1b}[2J\\u{9b}1m\\u{202e}b");
    }

    #[test]
    fn scores_that_differ_look_different() {
        assert_eq!(scores(&[0.5_f64.log2(), 0.25_f64.log2()]), ["0.500", "0.250"]);
        assert_eq!(scores(&[0.5_f64.log2(), 0.50004_f64.log2()]), ["0.50000", "0.50004"]);
        assert_eq!(scores(&[0.5_f64.log2(); 2]), ["0.500"; 2]);
        let (small, zero) = ((5e-4_f64 - 1e-9).log2(), f64::NEG_INFINITY);
        assert_eq!(
            scores(&[small, (9.6e-10_f64).log2(), -8_760.0, zero]),
            ["5e-4", "1e-9", "9e-2638", "0.000"]
        );
        assert_eq!(scores(&[-8_760.0, -8_760.000_1, zero]), ["9.4894e-2638", "9.4887e-2638", "0.0000000"]);
        assert_eq!(scores(&[-8_760.0, (-8_760.0_f64).next_down()]).len(), 2);
        assert!(scores(&[]).is_empty());
    }

    #[test]
    fn small_fractions_do_not_look_like_nothing() {
        assert_eq!(
            [0.0, 0.25, 1.0, 0.0005, 0.00049, 3e-300].map(fraction),
            ["0.000", "0.250", "1.000", "0.001", "5e-4", "3e-300"]
        );
    }
}
