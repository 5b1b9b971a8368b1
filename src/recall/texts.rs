//! What the index has read, by slot, as a question takes it along.

use crate::trace::{SharedContent, TraceId};
use std::sync::Arc;

/// What a slot says, and of which trace.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) id: TraceId,
    pub(crate) content: SharedContent,
    pub(super) embedded: Option<Embedded>,
}

/// An embedding, where the search for vectors finds it without a look at the content.
#[derive(Clone)]
pub(super) struct Embedded {
    pub(super) vector: Arc<[f32]>,
    /// In space.
    pub(super) length: f32,
}

/// The entries of all slots. A clone shares them, and stays as it is: what is changed later is copied before, together
/// with its neighbours.
#[derive(Clone, Default)]
pub(crate) struct Texts {
    parts: Vec<Arc<Vec<Option<Entry>>>>,
}

/// Number of slots that are copied together.
const PART: usize = 512;

impl Texts {
    pub(crate) fn get(&self, slot: u32) -> Option<&Entry> {
        self.parts.get(slot as usize / PART)?.get(slot as usize % PART)?.as_ref()
    }

    pub(super) fn set(&mut self, slot: u32, entry: Option<Entry>) {
        let (part, at) = (slot as usize / PART, slot as usize % PART);
        while self.parts.len() <= part {
            self.parts.push(Arc::new(vec![None; PART]));
        }
        Arc::make_mut(&mut self.parts[part])[at] = entry;
    }

    /// The parts, each with the number of its first slot.
    pub(super) fn parts(&self) -> impl ExactSizeIterator<Item = (u32, &[Option<Entry>])> {
        self.parts.iter().enumerate().map(|(number, part)| ((number * PART) as u32, &***part))
    }
}
