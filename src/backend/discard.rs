//! The backend of a store that lives in memory alone.

use super::{Applied, Backend, BackendError, Batch, LinkChange, Loaded, Reopened, Stored, TraceChange};

/// Takes every batch and keeps nothing.
pub(crate) struct Discard;

impl Backend for Discard {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        Ok(Loaded::default())
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        let mut applied = Applied::default();
        for change in batch.traces {
            match change {
                TraceChange::Delete { .. } => applied.deleted += 1,
                TraceChange::Upsert { .. } => applied.upserted += 1,
                TraceChange::UpdateNumbers { .. } => applied.updated += 1,
            }
        }
        for change in batch.links {
            match change {
                LinkChange::Delete(..) => applied.links_deleted += 1,
                LinkChange::Upsert(_) => applied.links_upserted += 1,
            }
        }
        Ok(applied)
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        Ok(Reopened::Same)
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn tidy(&mut self, _: bool) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn close(&mut self, _: u64) -> Result<(), BackendError> {
        Ok(())
    }
}
