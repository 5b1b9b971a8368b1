//! Which traces the writers write to.

use super::workload::Random;
use mnemon::TraceId;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The ids known to every writer. A place holds the id of a removed trace until the writer that removed
/// it puts a new one there, so the number of traces stays about level.
pub struct Targets(Vec<Mutex<TraceId>>);

/// A place in [`Targets`].
#[derive(Clone, Copy)]
pub struct Place(usize);

impl Targets {
    /// At least one id.
    pub fn new(ids: Vec<TraceId>) -> Self {
        Self(ids.into_iter().map(Mutex::new).collect())
    }

    pub fn any(&self, random: &mut Random) -> (Place, TraceId) {
        let place = Place(random.below(self.0.len()));
        (place, *self.at(place))
    }

    /// From here on others write to it too.
    pub fn publish(&self, place: Place, id: TraceId) {
        *self.at(place) = id;
    }

    fn at(&self, place: Place) -> MutexGuard<'_, TraceId> {
        self.0[place.0].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
