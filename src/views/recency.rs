//! The order of last reinforcement, of all traces and of each partition's.

use super::by_partition::ByPartition;
use super::slots::Slots;
use super::sorted::SortedSlots;
use crate::trace::{Micros, Trace};

pub(super) type Recency = ByPartition<SortedSlots<Micros>>;

/// The key of the order.
pub(super) fn reinforced(trace: &Trace) -> Micros {
    trace.numbers.last_reinforced
}

impl Recency {
    /// The order of these traces.
    pub(super) fn of<'t>(traces: impl Iterator<Item = (u32, &'t Trace)>) -> Self {
        let mut places = ByPartition::<Vec<_>>::default();
        for (slot, trace) in traces {
            places.enter(trace.partition(), |places| places.push((reinforced(trace), slot)));
        }
        places.map(SortedSlots::of)
    }

    /// Moves a slot to the place of what it has now.
    pub(super) fn put<'t>(
        &mut self,
        slots: &Slots,
        slot: u32,
        was: Option<&'t Trace>,
        is: Option<&'t Trace>,
    ) {
        let place = |trace: &'t Trace| (reinforced(trace), trace.partition());
        let (had, has) = (was.map(place), is.map(place));
        if had == has {
            return;
        }
        if let Some((time, partition)) = had {
            self.leave(partition, |order| {
                order.remove(time, slot);
                order.len()
            });
        }
        if let Some((time, partition)) = has {
            let time_of = |slot| slots.get(slot).map_or(Micros::MIN, |trace| reinforced(trace));
            self.enter(partition, |order| order.insert(time, slot, time_of));
        }
    }
}
