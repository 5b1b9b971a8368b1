//! The order of last reinforcement, of all traces and of each partition's.

use super::slots::Slots;
use super::sorted::SortedSlots;
use crate::trace::{Micros, Trace};
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Recency {
    all: SortedSlots<Micros>,
    partitions: HashMap<Box<str>, SortedSlots<Micros>, foldhash::fast::RandomState>,
}

/// The key of the order.
pub(super) fn reinforced(trace: &Trace) -> Micros {
    trace.numbers.last_reinforced
}

fn place(trace: &Trace) -> (Micros, &str) {
    (reinforced(trace), trace.partition())
}

impl Recency {
    /// The order of these traces.
    pub(super) fn of<'t>(traces: impl Iterator<Item = (u32, &'t Trace)>) -> Self {
        let (mut all, mut partitions) = (Vec::new(), HashMap::<_, Vec<_>>::new());
        for (slot, trace) in traces {
            all.push((reinforced(trace), slot));
            partitions.entry(trace.partition()).or_default().push((reinforced(trace), slot));
        }
        let partitions = partitions.into_iter().map(|(name, own)| (name.into(), SortedSlots::of(own)));
        Self { all: SortedSlots::of(all), partitions: partitions.collect() }
    }

    /// The order of a partition, or of all traces.
    pub(super) fn order(&self, partition: Option<&str>) -> Option<&SortedSlots<Micros>> {
        partition.map_or(Some(&self.all), |name| self.partitions.get(name))
    }

    pub(super) fn all(&self) -> &SortedSlots<Micros> {
        &self.all
    }

    /// Moves a slot to the place of what it has now.
    pub(super) fn put(&mut self, slots: &Slots, slot: u32, was: Option<&Trace>, is: Option<&Trace>) {
        let (had, has) = (was.map(place), is.map(place));
        if had == has {
            return;
        }
        if let Some((time, partition)) = had {
            self.all.remove(time, slot);
            if let Some(own) = self.partitions.get_mut(partition) {
                own.remove(time, slot);
                if own.len() == 0 {
                    self.partitions.remove(partition);
                }
            }
        }
        if let Some((time, partition)) = has {
            let time_of = |slot| slots.get(slot).map_or(Micros::MIN, |trace| reinforced(trace));
            self.all.insert(time, slot, time_of);
            if !self.partitions.contains_key(partition) {
                self.partitions.insert(partition.into(), SortedSlots::default());
            }
            if let Some(own) = self.partitions.get_mut(partition) {
                own.insert(time, slot, time_of);
            }
        }
    }
}
