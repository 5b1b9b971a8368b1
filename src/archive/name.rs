//! The files' names: `snapshot-2026-11-24T10-15-30.123456Z.mnemon`, legal on every system.
//!
//! Names order the files as they were saved. One that is saved when the folder holds a name of this time or a later
//! one, as after the clock was set back, gets the number after that name's: `Z_2.mnemon`, and so on. While a file is
//! written, its name has `.partial` after it.

use crate::trace::Micros;
use jiff::Timestamp;
use std::fmt;
use std::path::{Path, PathBuf};

const BEFORE: &str = "snapshot-";
const AFTER: &str = ".mnemon";
const PARTIAL: &str = ".partial";

/// Ordered by time, then by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Name {
    pub(super) time: Timestamp,
    number: u32,
}

impl Name {
    /// The first name of this microsecond.
    pub(super) fn of(taken_at: Timestamp) -> Self {
        Self { time: Micros::from(taken_at).into(), number: 1 }
    }

    /// The name after this one, of the same microsecond; `None` if it has no more numbers.
    pub(super) fn next(self) -> Option<Self> {
        Some(Self { number: self.number.checked_add(1)?, ..self })
    }

    /// `None` if it is no name of ours, to the letter.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
        let (time, number) = match stem.split_once('_') {
            Some((time, number)) => (time, number.parse().ok()?),
            None => (stem, 1),
        };
        let (date, time) = time.split_once('T')?;
        let time = format!("{date}T{}", time.replace('-', ":")).parse().ok()?;
        let parsed = Self { time, number };
        (parsed.to_string() == name).then_some(parsed)
    }

    pub(super) fn parse_partial(name: &str) -> Option<Self> {
        Self::parse(name.strip_suffix(PARTIAL)?)
    }

    pub(super) fn in_folder(self, folder: &Path) -> PathBuf {
        folder.join(self.to_string())
    }

    pub(super) fn partial_in_folder(self, folder: &Path) -> PathBuf {
        folder.join(format!("{self}{PARTIAL}"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = format!("{:.6}", self.time).replace(':', "-");
        match self.number {
            1 => write!(f, "{BEFORE}{time}{AFTER}"),
            number => write!(f, "{BEFORE}{time}_{number}{AFTER}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Name;
    use jiff::Timestamp;

    #[test]
    fn a_name_is_read_back_and_sorts_by_time() -> Result<(), jiff::Error> {
        let at: Timestamp = "2026-11-24T10:15:30.120000999Z".parse()?;
        let first = Name::of(at);
        assert_eq!(first.to_string(), "snapshot-2026-11-24T10-15-30.120000Z.mnemon");
        let next = |name: Name| name.next().unwrap();
        let tenth = (1..10).fold(first, |name, _| next(name));
        let later = Name::of("2026-11-24T10:15:30.120001Z".parse()?);
        assert_eq!(tenth.to_string(), "snapshot-2026-11-24T10-15-30.120000Z_10.mnemon");
        assert!(first < next(first) && next(first) < tenth && tenth < later);
        for name in [first, tenth, later, Name::of(Timestamp::MIN), next(Name::of(Timestamp::MAX))] {
            assert_eq!(Name::parse(&name.to_string()), Some(name), "{name}");
        }
        assert_eq!(Name { number: u32::MAX, ..first }.next(), None);
        Ok(())
    }

    #[test]
    fn what_is_not_a_name_to_the_letter_is_none() {
        for foreign in [
            "",
            "snapshot-.mnemon",
            "snapshot-2026-11-24T10-15-30.120000Z.mnemon.partial",
            "snapshot-2026-11-24T10-15-30.120000Z.mnemon.bak",
            "snapshot-2026-11-24T10-15-30.12Z.mnemon",
            "snapshot-2026-11-24T10-15-30.120000Z_1.mnemon",
            "snapshot-2026-11-24T10-15-30.120000Z_02.mnemon",
            "snapshot-2026-11-24T10-15-30.120000+00.mnemon",
            "snapshot-2026-13-24T10-15-30.120000Z.mnemon",
            "Snapshot-2026-11-24T10-15-30.120000Z.mnemon",
            "copy of snapshot-2026-11-24T10-15-30.120000Z.mnemon",
        ] {
            assert_eq!(Name::parse(foreign), None, "{foreign}");
        }
    }
}
