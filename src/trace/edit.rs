//! A change to a trace.

use super::parts::ContentNumber;
use super::setters::shared_setters;
use super::{Content, Dynamics, Payload, Trace, TraceId, parts};
use crate::error::{Error, Result};
use crate::protocol::Head;
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
    problem: Option<Error>,
}

impl<'a> TraceEdit<'a> {
    pub(crate) fn of(old: &'a Trace) -> Self {
        Self { old, numbers: old.numbers, content: None, problem: None }
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
        if self.content.as_deref().unwrap_or(&self.old.content).tags.iter().any(|own| **own == *tag) {
            let tags = &mut self.content().tags;
            *tags = tags.iter().filter(|own| ***own != *tag).cloned().collect();
        }
        self
    }

    /// Removes the embedding.
    pub fn no_embedding(mut self) -> Self {
        self.content().embedding = None;
        self
    }

    /// Removes the parent.
    pub fn no_parent(mut self) -> Self {
        self.content().parent = None;
        self
    }

    /// Removes the id of the encryption key.
    pub fn no_encryption_key_id(mut self) -> Self {
        self.content().encryption_key_id = None;
        self
    }

    fn content(&mut self) -> &mut Content {
        self.content.get_or_insert_with(|| Box::new((*self.old.content).clone()))
    }

    /// The changed trace, or `None` if every field is equal to the old one.
    pub(crate) fn finish(self) -> Result<Option<Trace>> {
        let Self { old, mut numbers, content, problem } = self;
        if let Some(problem) = problem {
            return Err(problem);
        }
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
