//! A change to a trace.

use super::parts::{ContentNumber, EndChange};
use super::setters::shared_setters;
use super::{Content, Dynamics, Micros, Payload, Trace, TraceId, parts};
use crate::error::{BoxError, Error, Result};
use crate::protocol::Head;
use jiff::Timestamp;
use std::sync::Arc;

/// A change to one trace, passed to the closure of [`update`](crate::TraceStore::update): fields that you set
/// change, the others stay. Id, type, origin, partition and time of creation can't change.
///
/// Each setter accepts the same values as the setter of that name on [`NewTrace`](crate::NewTrace). An invalid
/// value makes the update fail, and nothing changes.
#[derive(Debug)]
#[must_use = "return the edit from the closure"]
pub struct TraceEdit<'a> {
    old: &'a Trace,
    numbers: Dynamics,
    /// A copy, made when something in it is first set.
    content: Option<Box<Content>>,
    /// Few edits change it: it is no part of what each step of an edit moves.
    end: Option<Box<EndChange>>,
    problem: Option<Error>,
}

impl<'a> TraceEdit<'a> {
    pub(crate) fn of(old: &'a Trace) -> Self {
        Self { old, numbers: old.numbers, content: None, end: None, problem: None }
    }

    shared_setters!();

    /// The trace before this change.
    pub fn before(&self) -> &'a Trace {
        self.old
    }

    /// Sets the strength: 0 to 1. Raises the peak strength to it if it is higher.
    pub fn strength(self, strength: f64) -> Self {
        self.check(parts::fraction("strength", strength), |this, strength| {
            this.numbers.strength = strength;
            this.numbers.peak_strength = this.numbers.peak_strength.max(strength);
        })
    }

    /// Removes a tag, if the trace has it.
    pub fn untag(mut self, tag: &str) -> Self {
        let tags = &self.content.as_deref().unwrap_or(&self.old.content).names.tags;
        if tags.iter().any(|own| **own == *tag) {
            let rest: Vec<_> = tags.iter().filter(|own| ***own != *tag).cloned().collect();
            self.content().set_tags(&rest);
        }
        self
    }

    /// Removes the embedding.
    pub fn no_embedding(mut self) -> Self {
        self.content().rare.clear(|rare| rare.embedding = None);
        self
    }

    /// Removes the parent.
    pub fn no_parent(mut self) -> Self {
        self.content().rare.clear(|rare| rare.parent = None);
        self
    }

    /// Removes the id of the encryption key.
    pub fn no_encryption_key_id(mut self) -> Self {
        self.content().rare.clear(|rare| rare.encryption_key_id = None);
        self
    }

    /// Removes the end of the validity, and the mark of a successor: the trace is valid again.
    pub fn no_valid_until(mut self) -> Self {
        self.end = Some(Box::new(EndChange { is_cleared: true, ..EndChange::default() }));
        self
    }

    fn content(&mut self) -> &mut Content {
        self.content.get_or_insert_with(|| Box::new((*self.old.content).clone()))
    }

    /// The changed trace, or `None` if every field is equal to the old one.
    pub(crate) fn finish(mut self, now: impl FnOnce() -> Micros) -> Result<Option<Trace>> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if let Some(change) = self.end.take() {
            let old_end = self.old.content.rare.end;
            let end = change.of(self.old.id, old_end, now)?;
            if end != old_end {
                self.content().rare.end = end;
            }
        }
        let Self { old, mut numbers, content, .. } = self;
        // Equal content keeps its number, and is shared: by that the flusher knows what it need not write.
        let content = content.filter(|content| **content != *old.content);
        if content.is_none() && numbers == old.numbers {
            return Ok(None);
        }
        numbers.revision = numbers.revision.saturating_add(1).min(parts::MAX_REVISION);
        let content = content.map_or_else(
            || old.content.clone(),
            |mut content| {
                content.number = ContentNumber::after(old.content.number);
                Arc::new(*content)
            },
        );
        Ok(Some(Trace { head: Head::default(), id: old.id, content, numbers }))
    }
}
