//! A status as people see it: a picture, or a line.

use super::status::Status;
use crate::text::{self, BAD, BOLD, DIM, DOUBTFUL, GOOD, harmless, number, styled};
use std::path::Path;
use std::time::Duration;

/// Columns of a value, and of the space between two of them.
const VALUE: usize = 12;
const BETWEEN: usize = 6;

/// Its lines, the most telling first; none is longer than `width`.
pub fn render(path: &Path, status: &Status, width: usize) -> Vec<String> {
    let mut lines = vec![head(path, status, width), String::new()];
    lines.push(format!("  {}  {}", label("health"), health(status, width)));
    if status.quarantined > 0 {
        let quarantined = format!("{} quarantined for their content", text::count(status.quarantined, "row"));
        lines.push(format!("  {}", styled(BAD, text::cut(&quarantined, width.saturating_sub(2)))));
    }
    lines.push(String::new());
    let left = [
        ("writes/s", rate(status.writes_per_second)),
        ("flushes/s", rate(status.flushes_per_second)),
        ("rows/s", rate(status.rows_per_second)),
        ("last flush", flush(status.last_flush_seconds)),
        ("mean flush", flush(status.mean_flush_seconds)),
        ("wal", bytes(status.wal_bytes)),
    ];
    let right = [
        ("dirty", number(status.dirty)),
        ("lag", lag(status)),
        ("traces", number(status.traces)),
        ("links", number(status.links)),
        ("committed", number(status.committed)),
        ("durable", number(status.durable)),
    ];
    let said = |(name, value): &(&str, String)| format!("{}  {value:>VALUE$}", label(name));
    let side_by_side = 2 * (2 + LABEL + VALUE) + BETWEEN + 2;
    for (left, right) in left.iter().zip(&right) {
        if width < side_by_side {
            lines.extend([left, right].map(|one| format!("  {}", said(one))))
        } else {
            lines.push(format!("  {}{:BETWEEN$}{}", said(left), "", said(right)))
        }
    }
    lines
}

/// Whose status it is, and how old.
fn head(path: &Path, status: &Status, width: usize) -> String {
    /// Columns that are enough of a name.
    const NAME: usize = 12;
    let age = match status.age().as_secs() {
        0 => "now".to_owned(),
        age => format!("{age} s ago"),
    };
    let of = format!("process {}, {age}", status.process);
    let name = path.display().to_string();
    match width.saturating_sub(of.len() + 4) {
        room if room >= NAME => {
            format!("{}  {}", styled(BOLD, text::cut(&name, room)), styled(DIM, of))
        }
        _ => styled(BOLD, text::cut(&name, width)),
    }
}

/// For where lines can't be replaced.
pub fn line(status: &Status) -> String {
    [
        status.at.strftime("%H:%M:%SZ").to_string(),
        match &status.trouble {
            Some(trouble) => format!("{}: {}", harmless(&status.health), harmless(trouble)),
            None => harmless(&status.health).into_owned(),
        },
        format!("{} writes/s", rate(status.writes_per_second)),
        format!("{} flushes/s", rate(status.flushes_per_second)),
        format!("{} rows/s", rate(status.rows_per_second)),
        format!("{} dirty", number(status.dirty)),
        format!("lag {}", lag(status)),
        format!("last flush {}", flush(status.last_flush_seconds)),
        format!("wal {}", bytes(status.wal_bytes)),
    ]
    .join("  ")
}

/// Columns of a name.
const LABEL: usize = 10;

fn label(name: &str) -> String {
    styled(DIM, format!("{name:<LABEL$}"))
}

fn health(status: &Status, width: usize) -> String {
    const INDENT: usize = 14;
    let style = match &*status.health {
        "healthy" => GOOD,
        "lagging" | "closed" => DOUBTFUL,
        _ => BAD,
    };
    let said = match &status.trouble {
        Some(trouble) => format!("{}: {trouble}", status.health),
        None => status.health.clone(),
    };
    styled(style, text::cut(&harmless(&said), width.saturating_sub(INDENT)))
}

fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate >= 100.0 => number(rate.round() as u64),
        Some(rate) => format!("{rate:.1}"),
    }
}

fn flush(took: Option<f64>) -> String {
    took.map_or("-".to_owned(), |took| text::duration(seconds(took)))
}

/// Nothing lags where nothing is dirty.
fn lag(status: &Status) -> String {
    match status.lag_seconds {
        0.0 => "-".to_owned(),
        lag => text::duration(seconds(lag)),
    }
}

/// What can't be a duration is none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}
