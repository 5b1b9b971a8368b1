//! In a store with a text index, embeddings have one number of dimensions, as long as there are any.
//!
//! An embedding is counted before the write that adds it takes place, and no longer once the write has failed or
//! another one has removed it: so two threads never add embeddings of two numbers.

use super::inner::Inner;
use crate::error::{Error, Result};
use crate::protocol::Change;
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Number of embeddings, in the lower bits, and of their dimensions, which says nothing if there are none.
///
/// Relaxed throughout: it tells of nothing but itself.
#[derive(Default)]
pub(super) struct Embeddings(AtomicU64);

/// Bits of the number of embeddings. That of dimensions is at most 65,536.
const COUNT: u32 = 40;

const fn packed(dimensions: usize, count: u64) -> u64 {
    (dimensions as u64) << COUNT | count
}

const fn unpacked(packed: u64) -> (usize, u64) {
    ((packed >> COUNT) as usize, packed & ((1 << COUNT) - 1))
}

/// Fails if there are embeddings, and of another number of dimensions.
fn check(field: &str, found: usize, packed: u64) -> Result<()> {
    let (wanted, count) = unpacked(packed);
    if count == 0 || found == wanted {
        return Ok(());
    }
    let give = format_args!("the embeddings of this store have {wanted}: give as many");
    Err(Error::invalid(field, format_args!("of {found} dimensions"), give))
}

fn dimensions(trace: &Trace) -> Option<usize> {
    trace.embedding().map(<[_]>::len)
}

/// Counts the embeddings of one write. What it has counted and the write did not add is no longer counted after it.
pub(super) struct Counting<'a> {
    /// `None` in a store without a text index.
    embeddings: Option<&'a Embeddings>,
    /// How many are counted too much.
    ahead: i64,
}

impl Inner {
    pub(super) fn counting(&self) -> Counting<'_> {
        #[cfg(all(feature = "recall", not(loom)))]
        let is_indexed = self.settings.text_index.is_some();
        #[cfg(not(all(feature = "recall", not(loom))))]
        let is_indexed = false;
        Counting { embeddings: is_indexed.then_some(&self.embeddings), ahead: 0 }
    }

    /// Counts the embeddings that were loaded, while nobody writes. If a store without an index has left several
    /// numbers of dimensions, the most frequent one counts, and of equally frequent ones the smallest.
    pub(super) fn count_embeddings(&self) {
        let Some(embeddings) = self.counting().embeddings else { return };
        let mut counts = BTreeMap::<usize, u64>::new();
        let count = |_, found: Option<usize>| {
            found.into_iter().for_each(|found| *counts.entry(found).or_default() += 1);
            Ok(())
        };
        // The closure does not fail.
        self.scan(dimensions, count).ok();
        let most = counts.iter().max_by_key(|(found, count)| (**count, usize::MAX - **found));
        let dimensions = most.map_or(0, |(found, _)| *found);
        embeddings.0.store(packed(dimensions, counts.values().sum()), Relaxed);
    }

    /// Fails for a number of dimensions that the embeddings of the store don't have.
    #[cfg(all(feature = "recall", not(loom)))]
    pub(super) fn check_dimensions(&self, field: &str, found: usize) -> Result<()> {
        check(field, found, self.embeddings.0.load(Relaxed))
    }
}

impl Counting<'_> {
    /// Fails if the change brings a new embedding, of other dimensions than the store has.
    pub(super) fn admit(&mut self, old: Option<&Trace>, change: &Change<Trace>) -> Result<()> {
        match change {
            // By reference: a change is large, and each move of it shows in an update.
            Change::Put(new) if self.embeddings.is_some() => self.add(old, new),
            _ => Ok(()),
        }
    }

    fn add(&mut self, old: Option<&Trace>, new: &Trace) -> Result<()> {
        let Some(embeddings) = self.embeddings else { return Ok(()) };
        let Some(found) = dimensions(new).filter(|found| old.and_then(dimensions) != Some(*found)) else {
            return Ok(());
        };
        let add = |now| {
            let (_, count) = unpacked(now);
            check("embedding", found, now).is_ok().then(|| packed(found, count + 1))
        };
        let added = embeddings.0.fetch_update(Relaxed, Relaxed, add);
        added.map_or_else(|now| check("embedding", found, now), |_| Ok(()))?;
        self.ahead += 1;
        Ok(())
    }

    /// Fails if these traces, which take the place of everything, have embeddings of several numbers of dimensions;
    /// counts those that they have.
    pub(super) fn replace_all(&mut self, traces: &[Arc<Trace>]) -> Result<()> {
        let (Some(embeddings), Some(first)) =
            (self.embeddings, traces.iter().find_map(|new| dimensions(new)))
        else {
            return Ok(());
        };
        let mut count = 0;
        for found in traces.iter().filter_map(|new| dimensions(new)) {
            check("embedding", found, packed(first, 1))?;
            count += 1;
        }
        let replace = |now| Some(packed(first, unpacked(now).1 + count));
        // The closure does not refuse.
        embeddings.0.fetch_update(Relaxed, Relaxed, replace).ok();
        self.ahead += count as i64;
        Ok(())
    }

    /// Fails if one of these changes, each from and to a trace, has a new embedding of other dimensions than the store
    /// has. Returns how many embeddings more there are after all of them.
    pub(super) fn admit_all<'t>(
        &mut self,
        changes: impl Iterator<Item = (Option<&'t Trace>, Option<&'t Trace>)>,
    ) -> Result<i64> {
        if self.embeddings.is_none() {
            return Ok(0);
        }
        changes.map(|(old, new)| new.map_or(Ok(()), |new| self.add(old, new)).map(|()| gain(old, new))).sum()
    }

    /// The write has taken place.
    pub(super) fn done(&mut self, old: Option<&Trace>, new: Option<&Trace>) {
        if self.embeddings.is_some() {
            self.gained(gain(old, new));
        }
    }

    /// The write has taken place, and there are so many embeddings more.
    pub(super) fn gained(&mut self, embeddings: i64) {
        self.ahead -= embeddings;
    }
}

fn gain(old: Option<&Trace>, new: Option<&Trace>) -> i64 {
    let has = |trace: Option<&Trace>| i64::from(trace.and_then(dimensions).is_some());
    has(new) - has(old)
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if let Some(embeddings) = self.embeddings.filter(|_| self.ahead != 0) {
            // Below 0, this adds. The number in the lower bits stays within them: it is that of traces and of writes.
            embeddings.0.fetch_sub(self.ahead as u64, Relaxed);
        }
    }
}
