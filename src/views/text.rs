//! The index of what the traces say, as one of the views.

use super::TraceViews;
use super::conditions::Conditions;
use super::sets::Sets;
use crate::protocol::Unsettled;
use crate::recall::{Index, Matches, TextIndex, Wanted, Words};
use crate::trace::{Micros, SharedContent, Trace, TraceId};
use roaring::RoaringBitmap;
use std::collections::HashMap;
use std::sync::Arc;

/// Words that were read before they are needed, and of which content.
pub(crate) type ReadWords = HashMap<TraceId, (SharedContent, Words)>;

/// The index, and what is about to be put into it.
pub(super) struct TextView {
    index: Index,
    /// Read before the lock of the views was taken.
    ahead: ReadWords,
    /// Traces that were there before the index was.
    unread: Vec<TraceId>,
    /// How often the index was emptied, to be read again.
    epoch: u64,
}

impl TextView {
    fn new(reading: TextIndex, unread: Vec<TraceId>, epoch: u64) -> Self {
        Self { index: Index::new(reading), ahead: ReadWords::new(), unread, epoch }
    }

    /// None of these traces read.
    pub(super) fn emptied(&self, unread: Vec<TraceId>) -> Self {
        Self::new(self.index.reading(), unread, self.epoch + 1)
    }

    /// Takes in what a slot says now. What it said already costs a comparison.
    pub(super) fn put(&mut self, slot: u32, new: Option<&Trace>) {
        let Some(new) = new else { return self.index.remove(slot) };
        if self.index.has(slot, new) {
            return;
        }
        let words = match self.ahead.remove(&new.id()) {
            Some((content, words)) if SharedContent::ptr_eq(&content, &new.content) => words,
            _ => Words::of(self.index.reading(), new),
        };
        self.index.put(slot, new, &words);
    }
}

impl TraceViews {
    pub(crate) fn with_text(mut self, reading: Option<TextIndex>) -> Self {
        self.text = reading.map(|reading| TextView::new(reading, Vec::new(), 0));
        self
    }

    /// How texts are read, if they are.
    pub(crate) fn reading(&self) -> Option<TextIndex> {
        self.text.as_ref().map(|text| text.index.reading())
    }

    /// Those of these traces that say what the index lacks.
    pub(crate) fn unread(&self, traces: &[Option<Arc<Trace>>]) -> Vec<Arc<Trace>> {
        let Some(text) = &self.text else { return Vec::new() };
        let is_unread =
            |trace: &&Arc<Trace>| self.slots.find(trace.id()).is_none_or(|slot| !text.index.has(slot, trace));
        traces.iter().flatten().filter(is_unread).cloned().collect()
    }

    /// Words that are about to be put in.
    pub(crate) fn read_ahead(&mut self, words: ReadWords) {
        if let Some(text) = &mut self.text {
            text.ahead = words;
        }
    }

    /// Takes some of the traces that were there before the index was; none once the index has all.
    pub(crate) fn take_unread(&mut self, most: usize) -> Vec<TraceId> {
        let Some(text) = &mut self.text else { return Vec::new() };
        let from = text.unread.len().saturating_sub(most);
        text.unread.split_off(from)
    }

    /// Has the index show what the store has of an id, and the other views what they show.
    pub(crate) fn put_text(&mut self, id: TraceId, new: Option<Arc<Trace>>) -> Option<Arc<Trace>> {
        if let (Some(text), Some(slot)) = (&mut self.text, self.slots.find(id)) {
            text.put(slot, new.as_deref());
        }
        new
    }

    /// Number of traces that were there before the index was, and that it does not have.
    pub(crate) fn left_to_read(&self) -> usize {
        self.text.as_ref().map_or(0, |text| text.unread.len())
    }

    /// Another number once the index was emptied.
    pub(crate) fn text_epoch(&self) -> u64 {
        self.text.as_ref().map_or(0, |text| text.epoch)
    }

    /// Forgets what the index has, which is to be read again.
    pub(crate) fn read_again(&mut self) {
        if let Some(text) = &mut self.text {
            // The first slot last, which is taken first: postings grow at their ends.
            *text = text.emptied(self.slots.iter().rev().map(|(_, trace)| trace.id()).collect());
        }
    }

    /// What the index says of a question, with the slots that may meet the conditions at a time, and of the traces that
    /// say what the index lacks, unless that may be stale. `None` if there is no index. `words` has what was read
    /// before.
    pub(crate) fn matches(
        &self,
        unsettled: &Unsettled<TraceId, Trace>,
        conditions: &Conditions,
        wanted: &Wanted,
        mut words: ReadWords,
        stale_ok: bool,
        at: Micros,
    ) -> Option<Matches> {
        let index = &self.text.as_ref()?.index;
        let (mut outdated, mut as_read, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        for (id, trace) in unsettled.iter() {
            let slot = self.slots.find(*id);
            match (slot, trace) {
                (Some(slot), Some(trace)) if index.has(slot, trace) => as_read.push(slot),
                _ if stale_ok => {}
                (slot, trace) => {
                    outdated.extend(slot.filter(|slot| index.has_any(*slot)));
                    unread.extend(trace.clone());
                }
            }
        }
        let words = unread.iter().map(|trace| match words.remove(&trace.id()) {
            Some((content, words)) if SharedContent::ptr_eq(&content, &trace.content) => words,
            _ => Words::of(index.reading(), trace),
        });
        let words: Vec<_> = words.collect();
        let mut matches = index.matches(wanted, &outdated, &words);
        let mut within = match Sets::of(conditions, self) {
            Some(sets) => sets.intersection().map(|slots| slots.into_owned()),
            None => Some(RoaringBitmap::new()),
        };
        // They say what they said, and may have come to meet the conditions.
        within.iter_mut().for_each(|within| within.extend(&as_read));
        // And these may be out of the sets, though they are valid at the time asked for, which is past.
        within.iter_mut().for_each(|within| within.extend(self.ends.still_valid(at)));
        matches.within = match (within, matches.within) {
            (Some(a), Some(b)) => Some(a & b),
            (a, b) => a.or(b),
        };
        matches.unread = unread;
        Some(matches)
    }

    /// Every word that the index has.
    #[cfg(test)]
    pub(crate) fn indexed_words(&self) -> std::collections::BTreeSet<String> {
        self.text.iter().flat_map(|text| text.index.words()).map(str::to_owned).collect()
    }
}
