//! Times as people and programs give them. Depends on nothing else of the program.

use anyhow::{Result, bail};
use jiff::Timestamp;
use jiff::civil::date;
use jiff::fmt::temporal::Pieces;

/// The first or the last time that there is, whichever this one lies beyond; `None` if it lies beyond neither.
pub fn end_before(text: &str) -> Option<Timestamp> {
    let beyond = Pieces::parse(text).ok().filter(|pieces| pieces.offset().is_some())?;
    match text.parse::<Timestamp>() {
        Err(_) if beyond.date() >= date(9999, 12, 30) => Some(LAST),
        Err(_) if beyond.date() <= date(-9999, 1, 2) => Some(Timestamp::MIN),
        _ => None,
    }
}

/// A store keeps microseconds.
const LAST: Timestamp = Timestamp::constant(253_402_207_200, 999_999_000);

/// The time that a field gives, or what is wrong with it.
pub fn parse(field: &str, text: &str) -> Result<Timestamp> {
    text.parse().or_else(|error| match end_before(text) {
        Some(end) if end == LAST => bail!("{field} is {text:?}: the last time is {end}"),
        Some(end) => bail!("{field} is {text:?}: the first time is {end}"),
        None => bail!("{field} is {text:?}: give a time such as 2026-03-03T07:30:00Z: {error}"),
    })
}
