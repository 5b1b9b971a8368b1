//! Where the next page of a query begins.

use crate::error::{Error, Result};
use crate::memory::{Order, SortKey};
use crate::trace::{Micros, TraceId};
use std::fmt;
use std::str::FromStr;

/// The place in the results of a query after which the next page begins, from [`Query::page`](super::Query::page). Its
/// text can be given to a client, and parsed when that asks for the next page.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cursor {
    pub(super) order: Order,
    /// The time that the strengths and scores of the first page are of.
    pub(super) at: Micros,
    /// Of the last result so far.
    pub(super) key: SortKey,
}

const ORDERS: [(char, Order); 5] = [
    ('s', Order::Strength),
    ('r', Order::Recency),
    ('o', Order::Score),
    ('c', Order::Created),
    ('t', Order::Relevance),
];

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, at, key } = self;
        let SortKey { strength, log_score, relevance, time, id } = key;
        // No order is by both.
        let log_score = if *order == Order::Relevance { relevance } else { log_score };
        let order = ORDERS.iter().find(|(_, named)| named == order).map_or('s', |(letter, _)| *letter);
        let (strength, log_score) = (strength.to_bits(), log_score.to_bits());
        let id = u128::from_be_bytes(*id.as_bytes());
        write!(f, "{order}.{:x}.{strength:x}.{log_score:x}.{:x}.{id:x}", at.get(), time.get())
    }
}

/// Parses the text of a cursor.
impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| {
            Error::invalid_text("cursor", text, "give the text of one that a page has returned")
        })
    }
}

fn parse(text: &str) -> Option<Cursor> {
    let mut parts = text.split('.');
    let mut next = || parts.next();
    let letter = next()?;
    let (_, order) = ORDERS.iter().find(|(named, _)| letter.chars().eq([*named]))?;
    let bits = |part: Option<&str>| u64::from_str_radix(part?, 16).ok();
    // As `{:x}` writes a negative number.
    let time = |part| Some(Micros::clamped(bits(part)? as i64));
    let at = time(next())?;
    let (strength, log_score) = (f64::from_bits(bits(next())?), f64::from_bits(bits(next())?));
    let time = time(next())?;
    let id = TraceId::from_bytes(u128::from_str_radix(next()?, 16).ok()?.to_be_bytes());
    let (log_score, relevance) = match order {
        Order::Relevance => (0.0, log_score),
        _ => (log_score, 0.0),
    };
    let key = SortKey { strength, log_score, relevance, time, id };
    next().is_none().then_some(Cursor { order: *order, at, key })
}
