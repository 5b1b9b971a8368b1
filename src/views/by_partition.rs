//! An order of all traces, and one of each partition's.

use std::collections::HashMap;

/// While all traces are of one partition, the order of all is that of the partition too.
#[derive(Default)]
pub(super) struct ByPartition<O> {
    all: O,
    /// The partition of all traces, until there is a second one.
    only: Option<Box<str>>,
    own: HashMap<Box<str>, O, foldhash::fast::RandomState>,
}

impl<O: Default + Clone> ByPartition<O> {
    pub(super) fn all(&self) -> &O {
        &self.all
    }

    /// The order of a partition, or of all traces.
    pub(super) fn order(&self, partition: Option<&str>) -> Option<&O> {
        match partition {
            Some(name) if self.only.as_deref() != Some(name) => self.own.get(name),
            _ => Some(&self.all),
        }
    }

    /// Has a trace of a partition enter both of its orders.
    pub(super) fn enter(&mut self, partition: &str, enter: impl Fn(&mut O)) {
        if self.own.is_empty() {
            let only = self.only.get_or_insert_with(|| partition.into());
            if **only == *partition {
                return enter(&mut self.all);
            }
            // Once: then there are several, and traces that come and go don't copy it each time.
            self.own.extend(self.only.take().map(|only| (only, self.all.clone())));
        }
        enter(&mut self.all);
        match self.own.get_mut(partition) {
            Some(own) => enter(own),
            None => enter(self.own.entry(partition.into()).or_default()),
        }
    }

    /// Has a trace of a partition leave both of its orders. `leave` returns the number of those left: an empty order
    /// does not stay.
    pub(super) fn leave(&mut self, partition: &str, leave: impl Fn(&mut O) -> usize) {
        if leave(&mut self.all) == 0 {
            self.only = None;
        }
        if self.own.get_mut(partition).is_some_and(|own| leave(own) == 0) {
            self.own.remove(partition);
        }
    }

    pub(super) fn map<P>(self, into: impl Fn(O) -> P) -> ByPartition<P> {
        let own = self.own.into_iter().map(|(name, own)| (name, into(own))).collect();
        ByPartition { all: into(self.all), only: self.only, own }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::ByPartition;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        /// Beside an order of each partition, whether there are others or not.
        #[test]
        fn orders_of_few_and_of_many(
            steps in prop::collection::vec((any::<bool>(), 0..3_u8, 0..4_u8), 1..200),
        ) {
            let mut by = ByPartition::<BTreeSet<(u8, u8)>>::default();
            let mut model = BTreeMap::<String, BTreeSet<(u8, u8)>>::new();
            for (enters, partition, item) in steps {
                let (name, item) = (partition.to_string(), (partition, item));
                if enters {
                    by.enter(&name, |order| order.extend([item]));
                    model.entry(name).or_default().insert(item);
                } else if let Some(own) = model.get_mut(&name)
                    && own.remove(&item)
                {
                    by.leave(&name, |order| {
                        assert!(order.remove(&item));
                        order.len()
                    });
                    model.retain(|_, own| !own.is_empty());
                }
                let all: BTreeSet<_> = model.values().flatten().copied().collect();
                prop_assert_eq!(by.all(), &all);
                prop_assert_eq!(by.order(None), Some(&all));
                for name in ["0", "1", "2"] {
                    prop_assert_eq!(by.order(Some(name)), model.get(name));
                }
                let map = |by: &ByPartition<BTreeSet<_>>| {
                    let lens = ByPartition { all: by.all.clone(), only: by.only.clone(), own: by.own.clone() };
                    lens.map(|order| order.len())
                };
                prop_assert_eq!(map(&by).order(Some("0")).copied(), model.get("0").map(BTreeSet::len));
            }
        }
    }
}
