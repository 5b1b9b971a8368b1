//! A store as the commands see it that only read: as of one moment, also while a host has it open.

use crate::location::Location;
use crate::text::{self, number};
use crate::times;
use crate::trace;
use anyhow::{Context, Result, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use jiff::Timestamp;
use mnemon::{ManualClock, StoreBuilder, Trace, TraceId, TraceStore};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::str::FromStr;
use std::sync::Arc;

/// Which store, and when.
#[derive(Args)]
pub struct Source {
    /// The store.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// Take strengths and scores as of this time instead of now: 2026-11-24T09:00:00Z, or a day.
    #[arg(long, value_name = "TIME", value_parser = from)]
    at: Option<Timestamp>,
}

/// A copy of a store, at one time.
pub struct OpenedStore {
    /// Not taken apart at the end, which the process does at once: nothing of it is to be written.
    pub store: ManuallyDrop<TraceStore>,
    location: Location,
    ids: OnceCell<Ids>,
}

impl Source {
    /// Warns of rows that can't be read.
    pub fn open(&self) -> Result<OpenedStore> {
        self.open_with(|builder| builder)
    }

    pub fn open_with(&self, set: impl FnOnce(StoreBuilder) -> StoreBuilder) -> Result<OpenedStore> {
        let at = self.at.unwrap_or_else(Timestamp::now);
        let builder = set(TraceStore::builder().clock(&ManualClock::at(at)));
        let store = self.db.detached(builder)?;
        text::warn_of_quarantined(&store.stats().quarantined);
        Ok(OpenedStore::of(store, &self.db))
    }
}

impl OpenedStore {
    pub fn of(store: TraceStore, location: &Location) -> Self {
        Self { store: ManuallyDrop::new(store), location: location.clone(), ids: OnceCell::new() }
    }

    /// The trace with this id, or the one whose id begins or ends so.
    pub fn find(&self, id: &IdPrefix) -> Result<Arc<Trace>> {
        match &self.ids().like(id)[..] {
            [] => bail!(
                "{} holds no trace with the id {id}: see which there are with `mnemon list {0}`",
                self.location
            ),
            [one] => self.store.get(*one).with_context(|| format!("trace {one} is gone")),
            many => Err(self.ambiguous(id, many)),
        }
    }

    fn ambiguous(&self, id: &IdPrefix, candidates: &[TraceId]) -> anyhow::Error {
        const SHOWN: usize = 10;
        let mut message = format!(
            "{} ids begin or end with {id}: give more of the one you mean",
            number(candidates.len() as u64)
        );
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

    /// How many of the hex digits that each of these ids ends with tell it from all others of the store: 8 at least.
    pub fn digits<'a>(&self, shown: impl IntoIterator<Item = &'a Trace>) -> Digits {
        let ids = self.ids();
        let needed = shown.into_iter().map(|trace| ids.needed(trace.id())).max();
        Digits(needed.unwrap_or(LEAST_DIGITS))
    }

    fn ids(&self) -> &Ids {
        self.ids.get_or_init(|| Ids::of(self.store.iter().map(|trace| bits(trace.id()))))
    }
}

/// The ids of a store, to look for some by their first or last digits.
struct Ids {
    /// In order.
    forward: Vec<u128>,
    /// Each with its bits in reverse, so that what it ends with stands first; in order.
    backward: Vec<u128>,
}

impl Ids {
    fn of(ids: impl Iterator<Item = u128>) -> Self {
        let mut forward: Vec<_> = ids.collect();
        let mut backward: Vec<_> = forward.iter().map(|id| id.reverse_bits()).collect();
        forward.sort_unstable();
        backward.sort_unstable();
        Self { forward, backward }
    }

    /// Those that begin or end with these digits, in order.
    fn like(&self, IdPrefix { digits, count, .. }: &IdPrefix) -> Vec<TraceId> {
        let open = 128 - 4 * *count as u32;
        let begun = digits << open;
        let ended = beginning(&self.backward, digits.reverse_bits(), open).iter().map(|id| id.reverse_bits());
        let found: BTreeSet<_> = beginning(&self.forward, begun, open).iter().copied().chain(ended).collect();
        found.into_iter().map(|id| TraceId::from_bytes(id.to_be_bytes())).collect()
    }

    /// The number of digits at the end of this id that no other one ends or begins with.
    fn needed(&self, id: TraceId) -> usize {
        let end = bits(id).reverse_bits();
        let at = self.backward.partition_point(|other| *other < end);
        let near = [at.checked_sub(1), Some(at + 1)].into_iter().flatten();
        let alike =
            near.filter_map(|near| Some((self.backward.get(near)? ^ end).leading_zeros() as usize / 4));
        let mut count = alike.max().map_or(0, |alike| alike + 1).max(LEAST_DIGITS);
        while count < DIGITS && self.like(&IdPrefix::ending(id, count)).len() > 1 {
            count += 1;
        }
        count
    }
}

/// Those in the list that are the same as `first` but for their last `open` bits, at most 96.
fn beginning(sorted: &[u128], first: u128, open: u32) -> &[u128] {
    let last = first | ((1 << open) - 1);
    let from = sorted.partition_point(|id| *id < first);
    let to = sorted.partition_point(|id| *id <= last);
    &sorted[from..to]
}

/// How much of an id is shown: its end, where ids that were made at one time differ.
#[derive(Clone, Copy)]
pub struct Digits(usize);

impl Digits {
    pub const ALL: Self = Self(DIGITS);

    pub fn of(self, id: TraceId) -> String {
        let shown = id.to_string();
        let is_digit = |(_, letter): &(usize, char)| *letter != '-';
        let first = shown.char_indices().rev().filter(is_digit).nth(self.0 - 1);
        shown[first.map_or(0, |(at, _)| at)..].to_owned()
    }
}

fn bits(id: TraceId) -> u128 {
    u128::from_be_bytes(*id.as_bytes())
}

/// Of a whole id, in hex.
const DIGITS: usize = 32;

const LEAST_DIGITS: usize = 8;

/// An id as it is given on the command line: all of it, or how it begins or ends.
#[derive(Clone)]
pub struct IdPrefix {
    text: String,
    digits: u128,
    /// How many digits are given.
    count: usize,
}

impl IdPrefix {
    fn ending(id: TraceId, count: usize) -> Self {
        let digits = bits(id) & (u128::MAX >> (128 - 4 * count));
        Self { text: Digits(count).of(id), digits, count }
    }
}

impl FromStr for IdPrefix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(id) = text.parse::<TraceId>() {
            return Ok(Self::ending(id, DIGITS));
        }
        let digits: Vec<_> = text.chars().filter(|letter| *letter != '-').collect();
        let values: Option<Vec<_>> = digits.iter().map(|letter| letter.to_digit(16)).collect();
        let values = values.filter(|values| (LEAST_DIGITS..=DIGITS).contains(&values.len()));
        let values =
            values.context("give a UUID, or 8 or more of the hex digits that it begins or ends with")?;
        let digits = values.iter().fold(0, |bits, digit| bits << 4 | u128::from(*digit));
        Ok(Self { text: text.to_owned(), digits, count: values.len() })
    }
}

impl std::fmt::Display for IdPrefix {
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
    let whole = format!("{text}{of_day}");
    let time = text.parse().or_else(|_| whole.parse());
    let beyond = || times::end_before(text).or_else(|| times::end_before(&whole));
    time.or_else(|error| beyond().ok_or(error))
        .map_err(|_| anyhow!("give a time such as 2026-11-24T09:00:00Z, or a day such as 2026-11-24"))
}

/// A strength: 0 to 1.
pub fn strength(text: &str) -> Result<f64> {
    text.parse().ok().filter(|strength| (0.0..=1.0).contains(strength)).context("give a number from 0 to 1")
}

/// A valence: -1 to 1.
pub fn valence(text: &str) -> Result<f64> {
    text.parse().ok().filter(|valence| (-1.0..=1.0).contains(valence)).context("give a number from -1 to 1")
}

/// Takes one of the names of a [`TraceType`](mnemon::TraceType) or a [`Tier`](mnemon::Tier).
pub fn named<T>(names: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = mnemon::Error> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}
