//! What one child is told: how to open the store, and where it is to end.

use std::str::FromStr;

/// Where a child ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Point {
    /// Wherever it is, by a signal from outside.
    Random,
    /// While it opens the store that the child before it has left, or makes one.
    Open,
    /// Within the closure of an update.
    Closure,
    /// While many traces are inserted.
    Insert,
    /// While the flusher cuts, captures, applies or commits.
    Flush,
    /// When a flush has just returned.
    Flushed,
    /// While a partition is erased.
    Erase,
    /// While one content takes the place of another.
    Restore,
    /// While the store closes, under its writers.
    Close,
}

pub const POINTS: [Point; 9] = [
    Point::Random,
    Point::Open,
    Point::Closure,
    Point::Insert,
    Point::Flush,
    Point::Flushed,
    Point::Erase,
    Point::Restore,
    Point::Close,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    pub point: Point,
    pub relaxed: bool,
    pub interval_micros: u64,
    /// How long an open takes, about.
    pub open_micros: u64,
    pub seed: u64,
}

impl Plan {
    pub fn to_line(self) -> String {
        let Self { point, relaxed, interval_micros, open_micros, seed } = self;
        format!("{point:?} {relaxed} {interval_micros} {open_micros} {seed}")
    }

    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        fn next<'a, T: FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Option<T> {
            words.next()?.parse().ok()
        }
        let point = words.next()?;
        Some(Self {
            point: POINTS.into_iter().find(|known| format!("{known:?}") == point)?,
            relaxed: next(&mut words)?,
            interval_micros: next(&mut words)?,
            open_micros: next(&mut words)?,
            seed: next(&mut words)?,
        })
    }
}
