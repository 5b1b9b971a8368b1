//! A store as the commands see it that only read: as of one moment, also while a host has it open.

use crate::text::{self, number};
use crate::trace;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use mnemon::{ManualClock, Trace, TraceId, TraceStore};
use std::cell::OnceCell;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// Which store, and when.
#[derive(Args)]
pub struct Source {
    /// The store.
    db: PathBuf,
    /// Take strengths and scores as of this time instead of now: 2026-11-24T09:00:00Z, or a day.
    #[arg(long, value_name = "TIME", value_parser = from)]
    at: Option<Timestamp>,
}

/// A copy of a store, at one time.
pub struct Seen {
    /// Not taken apart at the end, which the process does at once: nothing of it is to be written.
    pub store: ManuallyDrop<TraceStore>,
    path: PathBuf,
    /// In order.
    ids: OnceCell<Vec<TraceId>>,
}

impl Source {
    /// Warns of rows that can't be read.
    pub fn open(&self) -> Result<Seen> {
        let at = self.at.unwrap_or_else(Timestamp::now);
        let store = TraceStore::builder().clock(&ManualClock::at(at)).detached(&self.db)?;
        text::warn_of_quarantined(&store.stats().quarantined);
        Ok(Seen { store: ManuallyDrop::new(store), path: self.db.clone(), ids: OnceCell::new() })
    }
}

impl Seen {
    /// The trace with this id, or the one whose id begins so.
    pub fn find(&self, id: &Wanted) -> Result<Arc<Trace>> {
        let (first, last) = (u128::from_be_bytes(id.first), u128::from_be_bytes(id.last));
        let ids = self.ids();
        let from = ids.partition_point(|id| bits(*id) < first);
        let to = ids.partition_point(|id| bits(*id) <= last);
        match &ids[from..to] {
            [] => bail!(
                "{} holds no trace with the id {id}: see which there are with `mnemon list {0}`",
                self.path.display()
            ),
            [one] => self.store.get(*one).with_context(|| format!("trace {one} is gone")),
            many => Err(self.ambiguous(id, many)),
        }
    }

    fn ambiguous(&self, id: &Wanted, candidates: &[TraceId]) -> anyhow::Error {
        const SHOWN: usize = 10;
        let mut message =
            format!("{} ids begin with {id}: give more of the one you mean", number(candidates.len() as u64));
        for trace in candidates.iter().take(SHOWN).filter_map(|id| self.store.get(*id)) {
            let line = format!("{}  {:<10}  {}", trace.id(), trace.trace_type(), trace::preview(&trace));
            message.push_str("\n  ");
            message.push_str(&text::cut(&line, text::line_width().saturating_sub(2)));
        }
        if candidates.len() > SHOWN {
            message.push_str(&format!("\n  and {} more", number((candidates.len() - SHOWN) as u64)));
        }
        anyhow!(message)
    }

    /// How many hex digits tell these ids, each by itself, from all others of the store: 8 at least.
    pub fn digits<'a>(&self, shown: impl IntoIterator<Item = &'a Trace>) -> Digits {
        let ids = self.ids();
        let alike = |a: TraceId, b: TraceId| (bits(a) ^ bits(b)).leading_zeros() as usize / 4;
        let needed = shown.into_iter().map(|trace| {
            let id = trace.id();
            let at = ids.partition_point(|other| *other < id);
            let before = at.checked_sub(1).and_then(|at| ids.get(at));
            let near = [before, ids.get(at + 1)];
            near.into_iter().flatten().map(|near| alike(*near, id) + 1).max().unwrap_or(0)
        });
        Digits(needed.max().unwrap_or(0).max(LEAST_DIGITS))
    }

    fn ids(&self) -> &[TraceId] {
        self.ids.get_or_init(|| {
            let mut ids: Vec<_> = self.store.iter().map(|trace| trace.id()).collect();
            ids.sort_unstable();
            ids
        })
    }
}

/// How much of an id is shown.
#[derive(Clone, Copy)]
pub struct Digits(usize);

impl Digits {
    pub const ALL: Self = Self(32);

    pub fn of(self, id: TraceId) -> String {
        let mut left = self.0;
        let shown = id.to_string();
        let fits = shown.chars().take_while(|letter| {
            let fits = left > 0;
            left -= usize::from(fits && *letter != '-');
            fits
        });
        fits.collect()
    }
}

fn bits(id: TraceId) -> u128 {
    u128::from_be_bytes(*id.as_bytes())
}

const LEAST_DIGITS: usize = 8;

/// An id as it is given on the command line: all of it, or how it begins.
#[derive(Clone)]
pub struct Wanted {
    text: String,
    first: [u8; 16],
    last: [u8; 16],
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(id) = text.parse::<TraceId>() {
            return Ok(Self { text: id.to_string(), first: *id.as_bytes(), last: *id.as_bytes() });
        }
        let digits: Vec<_> = text.chars().filter(|letter| *letter != '-').collect();
        let values: Option<Vec<_>> = digits.iter().map(|letter| letter.to_digit(16)).collect();
        let values = values.filter(|values| (LEAST_DIGITS..=32).contains(&values.len()));
        let values = values.context("give a UUID, or 8 or more of the hex digits that it begins with")?;
        let begun = values.iter().fold(0, |bits: u128, digit| bits << 4 | u128::from(*digit));
        let open = 128 - 4 * values.len() as u32;
        let first = begun.checked_shl(open).unwrap_or(begun);
        let rest = 1_u128.checked_shl(open).map_or(u128::MAX, |bit| bit - 1);
        Ok(Self { text: text.to_owned(), first: first.to_be_bytes(), last: (first | rest).to_be_bytes() })
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A time, or when a day begins (UTC).
pub fn from(text: &str) -> Result<Timestamp> {
    time(text, "T00:00:00Z")
}

/// A time, or when a day ends (UTC).
pub fn to(text: &str) -> Result<Timestamp> {
    time(text, "T23:59:59.999999Z")
}

fn time(text: &str, of_day: &str) -> Result<Timestamp> {
    let time = text.parse().or_else(|_| format!("{text}{of_day}").parse());
    time.map_err(|_| anyhow!("give a time such as 2026-11-24T09:00:00Z, or a day such as 2026-11-24"))
}

/// A strength: 0 to 1.
pub fn strength(text: &str) -> Result<f64> {
    text.parse().ok().filter(|strength| (0.0..=1.0).contains(strength)).context("give a number from 0 to 1")
}

/// Takes one of the names of a [`TraceType`](mnemon::TraceType) or a [`Tier`](mnemon::Tier).
pub fn named<T>(names: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = mnemon::Error> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}
