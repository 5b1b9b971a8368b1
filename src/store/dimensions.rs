//! In a store with a text index, all embeddings have as many dimensions as the first one.

use super::inner::Inner;
use crate::error::{Error, Result};
use crate::trace::Trace;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Inner {
    /// Fails for a number of dimensions that the embeddings of the store don't have.
    pub(super) fn check_dimensions(&self, field: &str, found: usize) -> Result<()> {
        match self.dimensions.load(Relaxed) {
            0 => Ok(()),
            wanted => check(field, found, wanted),
        }
    }

    /// Fails for a new embedding of other dimensions; the first one sets their number.
    pub(super) fn check_embedding(&self, new: &Trace, old: Option<&Trace>) -> Result<()> {
        let length = |trace: &Trace| trace.embedding().map(<[_]>::len);
        let found = length(new).filter(|_| self.settings.text_index.is_some());
        let Some(found) = found.filter(|found| old.and_then(length) != Some(*found)) else { return Ok(()) };
        // Relaxed: the number is all that it tells.
        match self.dimensions.compare_exchange(0, found, Relaxed, Relaxed) {
            Ok(_) => Ok(()),
            Err(wanted) => check("embedding", found, wanted),
        }
    }

    /// Takes the number of dimensions of what takes the place of everything.
    pub(super) fn restore_dimensions(&self, traces: &[Arc<Trace>]) -> Result<()> {
        let mut embeddings = traces.iter().filter_map(|trace| trace.embedding());
        let first = embeddings.next().map_or(0, <[_]>::len);
        if self.settings.text_index.is_some() {
            embeddings.try_for_each(|embedding| check("embedding", embedding.len(), first))?;
        }
        self.dimensions.store(first, Relaxed);
        Ok(())
    }
}

fn check(field: &str, found: usize, wanted: usize) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let give = format_args!("the embeddings of this store have {wanted}: give as many");
    Err(Error::invalid(field, format_args!("of {found} dimensions"), give))
}
