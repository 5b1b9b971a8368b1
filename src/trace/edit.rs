//! A change to a trace.

use super::parts::{EndChange, SharedContent};
use super::setters::shared_setters;
use super::{Content, Dynamics, Micros, Payload, Trace, TraceId, parts};
use crate::error::{BoxError, Error, Result};
use crate::protocol::{Fresh, Head};
use jiff::Timestamp;

/// A change to one trace, passed to the closure of [`update`](crate::TraceStore::update): fields that you set
/// change, the others stay. Id, type, origin, partition and time of creation can't change.
///
/// Each setter accepts the same values as the setter of that name on [`NewTrace`](crate::NewTrace). An invalid
/// value makes the update fail, and nothing changes.
#[derive(Debug)]
#[must_use = "return the edit from the closure"]
pub struct TraceEdit<'a> {
    old: &'a Trace,
    /// Elsewhere: each setter takes the edit and returns it, so it should be small.
    draft: &'a mut Draft,
}

/// What an edit has set.
#[derive(Debug)]
struct Draft {
    numbers: Dynamics,
    /// A copy, made when something in it is first set.
    content: Option<Box<Content>>,
    end: Option<Box<EndChange>>,
    problem: Option<Error>,
}

impl Trace {
    /// Returns the trace as `change` makes it, or `None` if every field is equal.
    pub(crate) fn edited(
        &self,
        now: impl FnOnce() -> Micros,
        change: impl FnOnce(TraceEdit<'_>) -> Result<TraceEdit<'_>>,
    ) -> Result<Option<Fresh<Self>>> {
        let mut draft = Draft { numbers: self.numbers, content: None, end: None, problem: None };
        let _ = change(TraceEdit { old: self, draft: &mut draft })?;
        draft.finish(self, now)
    }
}

impl<'a> TraceEdit<'a> {
    shared_setters!();

    /// The trace before this change.
    pub fn before(&self) -> &'a Trace {
        self.old
    }

    /// Sets the strength: 0 to 1. Raises the peak strength to it if it is higher.
    pub fn strength(self, strength: f64) -> Self {
        self.check(parts::fraction("strength", strength), |this, strength| {
            let numbers = &mut this.draft.numbers;
            numbers.strength = strength;
            numbers.peak_strength = numbers.peak_strength.max(strength);
        })
    }

    /// Removes a tag, if the trace has it.
    pub fn untag(mut self, tag: &str) -> Self {
        let tags = &self.draft.content.as_deref().unwrap_or(&self.old.content).names.tags;
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
    pub fn no_valid_until(self) -> Self {
        self.draft.end = Some(Box::new(EndChange { is_cleared: true, ..EndChange::default() }));
        self
    }

    fn content(&mut self) -> &mut Content {
        self.draft.content(self.old)
    }

    fn draft(&mut self) -> &mut Draft {
        self.draft
    }
}

impl Draft {
    fn content(&mut self, old: &Trace) -> &mut Content {
        self.content.get_or_insert_with(|| Box::new((*old.content).clone()))
    }

    /// Works in place: moving a draft that was just written makes an update slower.
    fn finish(&mut self, old: &Trace, now: impl FnOnce() -> Micros) -> Result<Option<Fresh<Trace>>> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        if let Some(change) = self.end.take() {
            let old_end = old.content.rare.end;
            let end = change.of(old.id, old_end, now)?;
            if end != old_end {
                self.content(old).rare.end = end;
            }
        }
        // Equal content is shared: by its mark the flusher knows what it need not write.
        let content = self.content.take().filter(|content| **content != *old.content);
        let numbers = &mut self.numbers;
        if content.is_none() && *numbers == old.numbers {
            return Ok(None);
        }
        numbers.revision = numbers.revision.saturating_add(1).min(parts::MAX_REVISION);
        let content = content.map_or_else(|| old.content.clone(), |content| SharedContent::new(*content));
        Ok(Some(Trace { head: Head::default(), id: old.id, content, numbers: *numbers }.into()))
    }
}
