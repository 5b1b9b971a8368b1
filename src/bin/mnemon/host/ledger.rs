//! The state that writers were acknowledged, and its comparison with a store.

use mnemon::{Trace, TraceId, TraceStore};
use serde::Serialize;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// The newest that anyone was told of each trace. The order of what is entered does not matter: a trace's
/// revisions rise, and a removed one never comes back.
#[derive(Default)]
pub struct Ledger(HashMap<TraceId, Told>);

enum Told {
    Trace(Arc<Trace>),
    Removed,
}

/// What a store holds, against a ledger.
#[derive(Default, Serialize)]
pub struct Verify {
    /// Traces in the store.
    pub rows: u64,
    /// In the ledger, and not in the store.
    pub missing: u64,
    /// Other in the store than in the ledger, in any field.
    pub stale: u64,
    /// In the store, and not in the ledger.
    pub extra: u64,
    /// The first of those, for a person.
    #[serde(skip)]
    pub examples: Vec<String>,
}

impl Ledger {
    /// What a store holds.
    pub fn of(store: &TraceStore) -> Self {
        Self(store.iter().map(|trace| (trace.id(), Told::Trace(trace))).collect())
    }

    pub fn ids(&self) -> impl Iterator<Item = TraceId> {
        self.0.keys().copied()
    }

    /// After a write answered with this.
    pub fn keep(&mut self, trace: Arc<Trace>) {
        match self.0.entry(trace.id()) {
            Entry::Vacant(place) => {
                place.insert(Told::Trace(trace));
            }
            Entry::Occupied(mut place) => match place.get() {
                Told::Trace(known) if known.revision() < trace.revision() => {
                    place.insert(Told::Trace(trace));
                }
                _ => {}
            },
        }
    }

    /// After a removal.
    pub fn removed(&mut self, id: TraceId) {
        self.0.insert(id, Told::Removed);
    }

    /// Takes over what another has been told.
    pub fn merge(&mut self, other: Self) {
        for (id, told) in other.0 {
            match told {
                Told::Trace(trace) => self.keep(trace),
                Told::Removed => self.removed(id),
            }
        }
    }

    pub fn verify(&self, store: &TraceStore) -> Verify {
        let mut verify = Verify { rows: store.len() as u64, ..Verify::default() };
        for (id, told) in &self.0 {
            if let Told::Trace(expected) = told {
                match store.get(*id) {
                    None => verify.missing(expected),
                    Some(found) if found != *expected => verify.stale(expected, &found),
                    Some(_) => {}
                }
            }
        }
        for found in store {
            if !matches!(self.0.get(&found.id()), Some(Told::Trace(_))) {
                verify.extra(&found);
            }
        }
        verify
    }
}

impl Verify {
    pub fn is_good(&self) -> bool {
        self.missing + self.stale + self.extra == 0
    }

    fn missing(&mut self, expected: &Trace) {
        self.missing += 1;
        self.example(|| format!("missing: {} at revision {}", expected.id(), expected.revision()));
    }

    fn stale(&mut self, expected: &Trace, found: &Trace) {
        self.stale += 1;
        self.example(|| format!("stale:\n  acknowledged {expected:?}\n  in the file  {found:?}"));
    }

    fn extra(&mut self, found: &Trace) {
        self.extra += 1;
        self.example(|| format!("extra: {} at revision {}", found.id(), found.revision()));
    }

    fn example(&mut self, example: impl FnOnce() -> String) {
        const ENOUGH: usize = 5;
        if self.examples.len() < ENOUGH {
            self.examples.push(example());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Verify};
    use mnemon::{NewTrace, Result, TraceId, TraceStore};
    use serde_json::json;

    fn counts(verify: &Verify) -> [u64; 4] {
        [verify.rows, verify.missing, verify.stale, verify.extra]
    }

    #[test]
    fn the_order_in_which_acknowledgements_come_in_does_not_matter() -> Result<()> {
        let store = TraceStore::in_memory();
        let (kept, removed) =
            (store.insert(NewTrace::semantic(json!(1)))?, store.insert(NewTrace::semantic(json!(2)))?);
        let (mut late, mut early) = (Ledger::default(), Ledger::of(&store));
        late.removed(removed);
        late.keep(store.update(kept, |trace| trace.confidence(0.1))?.unwrap());
        store.update(kept, |trace| trace.confidence(0.2))?.into_iter().for_each(|trace| early.keep(trace));
        store.remove(removed)?;
        late.merge(early);
        assert_eq!(counts(&late.verify(&store)), [1, 0, 0, 0]);
        Ok(())
    }

    #[test]
    fn whatever_differs_is_counted_as_what_it_is() -> Result<()> {
        let store = TraceStore::in_memory();
        let ids: Vec<TraceId> = store.insert_many((0..6).map(|n| NewTrace::semantic(json!(n))))?;
        let mut ledger = Ledger::of(&store);
        ledger.removed(ids[0]); // extra
        store.insert(NewTrace::semantic(json!("nobody was told")))?; // extra
        store.remove(ids[1])?; // missing
        store.update(ids[2], |trace| trace.pinned(true))?; // stale
        let verify = ledger.verify(&store);
        assert_eq!(counts(&verify), [6, 1, 1, 2]);
        assert_eq!((verify.examples.len(), verify.is_good()), (4, false));
        Ok(())
    }
}
