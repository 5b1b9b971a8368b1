//! An order of all traces, and one of each partition's.

use std::collections::HashMap;

#[derive(Default)]
pub(super) struct ByPartition<O> {
    all: O,
    own: HashMap<Box<str>, O, foldhash::fast::RandomState>,
}

impl<O: Default> ByPartition<O> {
    pub(super) fn all(&self) -> &O {
        &self.all
    }

    /// The order of a partition, or of all traces.
    pub(super) fn order(&self, partition: Option<&str>) -> Option<&O> {
        partition.map_or(Some(&self.all), |name| self.own.get(name))
    }

    /// Has a trace of a partition enter both of its orders.
    pub(super) fn enter(&mut self, partition: &str, enter: impl Fn(&mut O)) {
        enter(&mut self.all);
        match self.own.get_mut(partition) {
            Some(own) => enter(own),
            None => enter(self.own.entry(partition.into()).or_default()),
        }
    }

    /// Has a trace of a partition leave both of its orders. `leave` returns the number of those left: an empty order
    /// does not stay.
    pub(super) fn leave(&mut self, partition: &str, leave: impl Fn(&mut O) -> usize) {
        leave(&mut self.all);
        if self.own.get_mut(partition).is_some_and(|own| leave(own) == 0) {
            self.own.remove(partition);
        }
    }

    pub(super) fn map<P>(self, into: impl Fn(O) -> P) -> ByPartition<P> {
        let own = self.own.into_iter().map(|(name, own)| (name, into(own))).collect();
        ByPartition { all: into(self.all), own }
    }
}
