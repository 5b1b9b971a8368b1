//! The values of cells of the original's tables, or the reasons why they can't be used.

use crate::trace::{Payload, TraceId, checked_name};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rusqlite::types::ValueRef;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The reason why a cell can't be used.
pub(super) type Wrong = Cow<'static, str>;

/// A value, and the parts of its cell that it does not express.
pub(super) struct Partly<T> {
    pub(super) value: T,
    pub(super) lost: Vec<Wrong>,
}

impl<T> Partly<T> {
    fn all(value: T) -> Self {
        Self { value, lost: Vec::new() }
    }
}

pub(super) fn text(cell: ValueRef<'_>) -> Result<&str, Wrong> {
    match cell {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_err(|_| "not UTF-8".into()),
        other => Err(format!("{}, not text", kind(other)).into()),
    }
}

fn kind(cell: ValueRef<'_>) -> &'static str {
    match cell {
        ValueRef::Null => "NULL",
        ValueRef::Integer(_) => "an integer",
        ValueRef::Real(_) => "a float",
        ValueRef::Text(_) => "text",
        ValueRef::Blob(_) => "a blob",
    }
}

/// Quotes text for a finding, shortened to [`SHOWN`] characters.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

/// Shortens JSON for a finding to [`SHOWN`] characters, without adding quotes.
fn shown_json(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let more = text.chars().nth(SHOWN).map(|_| '…');
    text.chars().take(SHOWN).map(plain).chain(more).collect()
}

/// Maximum number of characters shown.
const SHOWN: usize = 40;

pub(super) fn parsed<T: FromStr>(cell: ValueRef<'_>) -> Result<T, Wrong> {
    let text = text(cell)?;
    text.parse().map_err(|_| format!("{} is none that there is", shown(text)).into())
}

pub(super) fn name(cell: ValueRef<'_>) -> Result<&str, Wrong> {
    checked_name("it", text(cell)?).map_err(|error| error.to_string().into())
}

pub(super) fn id(cell: ValueRef<'_>) -> Result<TraceId, Wrong> {
    id_in(text(cell)?)
}

fn id_in(text: &str) -> Result<TraceId, Wrong> {
    text.parse().map_err(|_| format!("{} is no UUID", shown(text)).into())
}

/// Parses a content: the original stores objects as JSON, and everything else as text of its own.
pub(super) fn content(cell: ValueRef<'_>) -> Result<Payload, Wrong> {
    let text = text(cell)?;
    Ok(as_object(text).unwrap_or_else(|| Payload::text(text)))
}

/// Returns the object if the original would read this text as one.
pub(super) fn as_object(text: &str) -> Option<Payload> {
    text.trim_start().starts_with('{').then(|| Payload::from_json(text).ok()).flatten()
}

fn number(cell: ValueRef<'_>) -> Result<f64, Wrong> {
    match cell {
        ValueRef::Real(number) => Ok(number),
        ValueRef::Integer(number) => Ok(number as f64),
        other => Err(format!("{}, not a number", kind(other)).into()),
    }
}

fn within(number: f64, high: f64) -> Result<f64, Wrong> {
    if (0.0..=high).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number:?} is out of its range").into())
    }
}

/// A number from 0 to 1.
pub(super) fn fraction(cell: ValueRef<'_>) -> Result<f64, Wrong> {
    within(number(cell)?, 1.0)
}

/// A finite number of 0 or more.
pub(super) fn rate(cell: ValueRef<'_>) -> Result<f64, Wrong> {
    within(number(cell)?, f64::MAX)
}

pub(super) fn count(cell: ValueRef<'_>) -> Result<u32, Wrong> {
    match cell {
        ValueRef::Integer(number) => {
            u32::try_from(number).map_err(|_| format!("{number} is out of its range").into())
        }
        other => Err(format!("{}, not an integer", kind(other)).into()),
    }
}

/// A flag, 0 or 1; the original's library once wrote `f` and `t`.
pub(super) fn flag(cell: ValueRef<'_>) -> Result<bool, Wrong> {
    match cell {
        ValueRef::Integer(0) | ValueRef::Text(b"f") => Ok(false),
        ValueRef::Integer(1) | ValueRef::Text(b"t") => Ok(true),
        _ => Err("neither 0 nor 1".into()),
    }
}

/// A time, in UTC unless it names an offset.
pub(super) fn time(cell: ValueRef<'_>) -> Result<Partly<Timestamp>, Wrong> {
    let text = text(cell)?;
    let wrong = || Wrong::from(format!("{} is no timestamp", shown(text)));
    let plain = text.trim_end_matches(" UTC");
    let time = match plain.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => {
            let time = plain.parse::<DateTime>();
            time.and_then(|time| TimeZone::UTC.to_timestamp(time)).map_err(|_| wrong())?
        }
    };
    let micros = Timestamp::from_microsecond(time.as_microsecond()).map_err(|_| wrong())?;
    let lost =
        if micros == time { Vec::new() } else { vec!["what is finer than a microsecond is not kept".into()] };
    Ok(Partly { value: micros, lost })
}

/// A valence from -1 to 1: a number, or an object with a number that stands for it. 0 if there is none.
pub(super) fn valence(cell: ValueRef<'_>) -> Result<Partly<f64>, Wrong> {
    let number = match cell {
        ValueRef::Text(_) => {
            let text = text(cell)?;
            let unusable =
                || Wrong::from(format!("{} is neither a number nor an object of some", shown(text)));
            match serde_json::from_str(text).map_err(|_| unusable())? {
                Value::Object(of) => {
                    let number = scalar(&of).clamp(-1.0, 1.0);
                    return Ok(Partly {
                        value: number,
                        lost: vec![format!("of {} only {number} is kept", shown_json(text)).into()],
                    });
                }
                Value::Null => 0.0,
                Value::Number(number) => number.as_f64().ok_or_else(unusable)?,
                _ => return Err(unusable()),
            }
        }
        other => number(other)?,
    };
    if (-1.0..=1.0).contains(&number) {
        Ok(Partly::all(number))
    } else {
        Err(format!("{number:?} is out of its range").into())
    }
}

fn scalar(of: &serde_json::Map<String, Value>) -> f64 {
    let named = ["valence", "emotional_valence", "sentiment", "polarity", "score"];
    let named = named.iter().find_map(|&name| of.get(name)?.as_f64());
    let mut numbers = of.values().filter_map(Value::as_f64);
    named.or_else(|| numbers.next().filter(|_| numbers.next().is_none())).unwrap_or(0.0)
}

/// A JSON array of tags.
pub(super) fn tags(cell: ValueRef<'_>) -> Result<Partly<Vec<String>>, Wrong> {
    array(cell, |tag| match checked_name("a tag", tag) {
        Ok(tag) => Ok(tag.to_owned()),
        Err(error) => Err(format!("left out: {error}").into()),
    })
}

/// A JSON array of ids.
pub(super) fn ids(cell: ValueRef<'_>) -> Result<Partly<Vec<TraceId>>, Wrong> {
    array(cell, |id| id_in(id).map_err(|wrong| format!("left out: {wrong}").into()))
}

/// Numbers as pgvector writes them: `[1,0.5]`.
pub(super) fn embedding(cell: ValueRef<'_>) -> Result<Box<[f32]>, Wrong> {
    let text = text(cell)?;
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let numbers = inner.and_then(|inner| inner.split(',').map(|number| number.trim().parse().ok()).collect());
    numbers.ok_or_else(|| format!("{} is no list of numbers", shown(text)).into())
}

/// Maximum number of unusable elements of an array that are named: a cell may have millions.
const NAMED: usize = 20;

fn array<T>(
    cell: ValueRef<'_>,
    mut element: impl FnMut(&str) -> Result<T, Wrong>,
) -> Result<Partly<Vec<T>>, Wrong> {
    let text = text(cell)?;
    let Ok(Value::Array(elements)) = serde_json::from_str(text) else {
        return Err(format!("{} is no JSON array", shown(text)).into());
    };
    let mut all = Partly::all(Vec::new());
    let mut unnamed = 0;
    for one in elements {
        let value = match &one {
            Value::String(text) => element(text),
            other => Err(format!("left out: {} is no text", shown_json(&other.to_string())).into()),
        };
        match value {
            Ok(value) => all.value.push(value),
            Err(wrong) if all.lost.len() < NAMED => all.lost.push(wrong),
            Err(_) => unnamed += 1,
        }
    }
    if unnamed > 0 {
        all.lost.push(format!("left out: {unnamed} more of its elements").into());
    }
    Ok(all)
}

/// Formats a time like the original: UTC, to the microsecond.
pub(super) struct Time(pub(super) Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = TimeZone::UTC.to_datetime(self.0);
        match time.year() {
            year @ ..0 => write!(f, "-{:06}", year.unsigned_abs())?,
            year => write!(f, "{year:04}")?,
        }
        write!(f, "{}", time.strftime("-%m-%d %H:%M:%S.%6f"))
    }
}
