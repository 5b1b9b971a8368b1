//! The two halves of a trace, and the rules for their values.
//!
//! [`Content`] is what a trace says: large, seldom changed, shared by all versions of the trace.
//! [`Dynamics`] is what happens to it: small, copied at each write. A flush that finds the content it
//! wrote last time writes the numbers alone.

use super::names::{self, Names};
use super::{Micros, Origin, Payload, Tier, TraceId, TraceType};
use crate::error::{BoxError, Error, Result};
use crate::protocol::planted::{Mistake, planted};
use jiff::Timestamp;
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A content, for the states of its trace that have it. Without the count of weak references that another `Arc` has.
pub(crate) type SharedContent = triomphe::Arc<Content>;

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Content {
    pub(crate) birth: Incarnation,
    pub(crate) stored: StoredMark,
    pub(crate) kind: TraceType,
    pub(crate) origin: Origin,
    pub(crate) created_at: Micros,
    pub(crate) payload: Payload,
    pub(crate) names: Arc<Names>,
    pub(crate) rare: Rare,
}

/// The fields that few traces have set. They take memory where one is.
#[derive(Clone, Default)]
pub(crate) struct Rare(Option<Box<RareFields>>);

#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct RareFields {
    pub(crate) embedding: Option<Arc<[f32]>>,
    pub(crate) source_agent: Option<Box<str>>,
    pub(crate) encryption_key_id: Option<Box<str>>,
    pub(crate) parent: Option<TraceId>,
    pub(crate) children: Vec<TraceId>,
    pub(crate) end: Option<End>,
}

impl Rare {
    /// Clears a field with `clear`, if any is set.
    pub(super) fn clear(&mut self, clear: impl FnOnce(&mut RareFields)) {
        if let Some(fields) = &mut self.0 {
            clear(fields);
        }
    }

    /// Number of bytes beside the trace.
    fn bytes(&self) -> usize {
        let fields = self.0.as_ref().map_or(0, |_| size_of::<RareFields>());
        fields + size_of_val(&*self.children) + self.embedding.as_deref().map_or(0, size_of_val)
    }
}

impl Deref for Rare {
    type Target = RareFields;

    fn deref(&self) -> &RareFields {
        static NONE: RareFields = RareFields {
            embedding: None,
            source_agent: None,
            encryption_key_id: None,
            parent: None,
            children: Vec::new(),
            end: None,
        };
        self.0.as_deref().unwrap_or(&NONE)
    }
}

/// Makes room for the fields: to set one. [`Rare::clear`] needs none.
impl DerefMut for Rare {
    fn deref_mut(&mut self) -> &mut RareFields {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for Rare {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Rare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The end of a trace's validity.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct End {
    pub(crate) at: Micros,
    pub(crate) superseded_by: Option<TraceId>,
}

/// What is set of the end of a trace's validity.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct EndChange {
    /// Whether the trace has no end before the rest is set.
    pub(super) is_cleared: bool,
    pub(super) at: Option<Micros>,
    pub(super) superseded_by: Option<TraceId>,
}

impl EndChange {
    /// Returns the end of a trace that had `old`. A successor without a time ends the validity now, unless it has ended
    /// before.
    pub(super) fn of(
        self,
        id: TraceId,
        old: Option<End>,
        now: impl FnOnce() -> Micros,
    ) -> Result<Option<End>> {
        let old = old.filter(|_| !self.is_cleared);
        let superseded_by = self.superseded_by.or(old.and_then(|old| old.superseded_by));
        if self.superseded_by == Some(id) {
            return Err(Error::invalid("superseded_by", id, "give the id of another trace"));
        }
        let at = match (self.at, self.superseded_by) {
            (Some(at), _) => Some(at),
            (None, Some(_)) => Some(old.map_or(Micros::MAX, |old| old.at).min(now())),
            (None, None) => old.map(|old| old.at),
        };
        Ok(at.map(|at| End { at, superseded_by }))
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Dynamics {
    pub(crate) strength: f64,
    pub(crate) peak_strength: f64,
    pub(crate) base_decay_rate: f64,
    pub(crate) emotional_valence: f64,
    pub(crate) emotional_intensity: f64,
    pub(crate) confidence: f64,
    pub(crate) last_reinforced: Micros,
    pub(crate) last_decayed: Micros,
    pub(crate) revision: u64,
    pub(crate) reinforcement_count: u32,
    pub(crate) tier: Tier,
    pub(crate) unresolved: bool,
    pub(crate) consolidation_candidate: bool,
    pub(crate) pinned: bool,
}

impl Dynamics {
    /// Reads the fields of the first and of the last cache line, about: see [`fetch`](crate::protocol::fetch).
    pub(crate) fn touch(&self) -> usize {
        self.strength.to_bits() as usize ^ usize::from(self.pinned)
    }
}

#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
impl Dynamics {
    /// These numbers as the setters would have taken them.
    pub(super) fn checked(self) -> Result<Self> {
        fraction("strength", self.strength)?;
        fraction("peak_strength", self.peak_strength)?;
        rate("base_decay_rate", self.base_decay_rate)?;
        fraction("confidence", self.confidence)?;
        checked_revision(self.revision)?;
        Ok(Self {
            emotional_valence: clamped("emotional_valence", self.emotional_valence, -1.0)?,
            emotional_intensity: clamped("emotional_intensity", self.emotional_intensity, 0.0)?,
            ..self
        })
    }
}

/// Tells a trace from a later one of the same id: each is born once, and keeps it through all its changes. Not
/// kept in files, and no part of what a trace is: any two are equal.
#[derive(Clone, Copy)]
pub(crate) struct Incarnation(u64);

impl Incarnation {
    pub(super) const UNBORN: Self = Self(0);

    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only that no two are the same counts.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn is(self, other: Self) -> bool {
        self.0 == other.0
    }

    /// 1 or more.
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

impl Content {
    pub(super) fn set_tags(&mut self, tags: &[Arc<str>]) {
        self.names = Names::shared(&self.names.partition, tags);
    }

    pub(super) fn set_partition(&mut self, partition: &Arc<str>) {
        self.names = Names::shared(partition, &self.names.tags);
    }

    /// Number of bytes that dropping it frees, about.
    pub(crate) fn bytes(&self) -> usize {
        let tags: usize = self.names.tags.iter().map(|tag| tag.len()).sum();
        size_of::<Self>() + self.payload.as_str().len() + tags + self.rare.bytes()
    }
}

impl PartialEq for Incarnation {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The same for all, so that what is equal prints the same.
impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

/// Whether a commit has written this content to the row of its trace, or it was loaded from there. By this, and by what
/// is remembered of the row, the flusher knows what it need not write. A content that was replaced is never a trace's
/// again, and a copy has no mark. No part of what a content is: any two are equal.
#[derive(Default)]
pub(crate) struct StoredMark(AtomicBool);

impl StoredMark {
    // Relaxed: only whoever does the flusher's work uses it.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for StoredMark {
    fn clone(&self) -> Self {
        Self(AtomicBool::new(planted(Mistake::StoredMarkCopied) && self.is_set()))
    }
}

impl PartialEq for StoredMark {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The same for all, so that what is equal prints the same.
impl fmt::Debug for StoredMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

pub(super) fn time(field: &str, at: impl TryInto<Timestamp, Error: Into<BoxError>>) -> Result<Micros> {
    let at = at.try_into().map_err(|error| {
        let error = std::io::Error::other(error.into());
        Error::invalid(field, "out of range", "give a time between the years -9999 and 9999").because(error)
    })?;
    Ok(at.into())
}

pub(super) fn fraction(field: &str, value: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(Error::invalid(field, value, "give a number from 0 to 1"))
    }
}

pub(super) fn clamped(field: &str, value: f64, low: f64) -> Result<f64> {
    if value.is_nan() {
        Err(Error::invalid(field, value, format_args!("give a number from {low} to 1")))
    } else {
        Ok(value.clamp(low, 1.0))
    }
}

pub(super) fn rate(field: &str, value: f64) -> Result<f64> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(Error::invalid(field, value, "give a finite number that is not negative"))
    }
}

/// What an SQL integer holds.
pub(crate) const MAX_REVISION: u64 = i64::MAX as u64;

pub(super) fn checked_revision(revision: u64) -> Result<u64> {
    match revision {
        1..=MAX_REVISION => Ok(revision),
        _ => Err(Error::invalid("revision", revision, "give a number from 1 to 2^63 - 1")),
    }
}

const MAX_NAME: usize = 1_024;
const MAX_TAGS: usize = 1_024;
/// The longest JSON array that tags within these limits make: each byte of a tag an escape of six.
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
const MAX_TAGS_JSON: usize = MAX_TAGS * (6 * MAX_NAME + 3) + 2;

const MAX_CHILDREN: usize = 65_536;
const MAX_DIMENSIONS: usize = 65_536;

pub(crate) fn name<'a>(field: &str, value: &'a str) -> Result<&'a str> {
    match value.len() {
        0 => Err(Error::invalid(field, "empty", "leave it out, or give a name")),
        1..=MAX_NAME if value.contains('\0') => {
            Err(Error::invalid(field, format_args!("{value:?}"), "give a name without NUL characters"))
        }
        1..=MAX_NAME => Ok(value),
        long => Err(too_many(field, long, "bytes", MAX_NAME)),
    }
}

fn too_many(field: &str, found: usize, unit: &str, most: usize) -> Error {
    Error::invalid(field, format_args!("{found} {unit}"), format_args!("give at most {most}"))
}

/// Returns the tags sorted, each once.
pub(super) fn checked_tags<S: AsRef<str>>(given: impl IntoIterator<Item = S>) -> Result<Vec<Arc<str>>> {
    let given = given.into_iter();
    let mut set = Vec::with_capacity(given.size_hint().0.min(MAX_TAGS));
    for tag in given {
        if set.len() == MAX_TAGS {
            return Err(too_many("tags", MAX_TAGS + 1, "or more", MAX_TAGS));
        }
        set.push(names::shared(name("tag", tag.as_ref())?));
    }
    set.sort_unstable();
    set.dedup();
    Ok(set)
}

/// As [`checked_tags`], of a JSON array.
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
pub(super) fn tags_of_json(json: &str) -> Result<Vec<Arc<str>>> {
    if json.len() > MAX_TAGS_JSON {
        return Err(too_many("tags", json.len(), "bytes of JSON", MAX_TAGS_JSON));
    }
    let tags: Vec<Cow<'_, str>> = serde_json::from_str(json)
        .map_err(|error| Error::invalid_text("tags", json, "give a JSON array of strings").because(error))?;
    checked_tags(&tags)
}

pub(super) fn checked_children(given: impl IntoIterator<Item = TraceId>) -> Result<Vec<TraceId>> {
    let mut ids: Vec<_> = given.into_iter().take(MAX_CHILDREN + 1).collect();
    if ids.len() > MAX_CHILDREN {
        return Err(too_many("children", MAX_CHILDREN + 1, "or more", MAX_CHILDREN));
    }
    ids.shrink_to_fit();
    Ok(ids)
}

pub(super) fn checked_embedding(vector: impl Into<Box<[f32]>>) -> Result<Arc<[f32]>> {
    let vector = vector.into();
    if vector.len() > MAX_DIMENSIONS {
        return Err(too_many("embedding", vector.len(), "numbers", MAX_DIMENSIONS));
    }
    match vector.iter().position(|number| !number.is_finite()) {
        Some(at) => Err(Error::invalid(&format!("embedding[{at}]"), vector[at], "give finite numbers")),
        None => Ok(vector.into()),
    }
}
