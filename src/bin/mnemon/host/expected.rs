//! The state that writers were acknowledged, and its comparison with a store.

use mnemon::{Trace, TraceId, TraceStore};
use serde::Serialize;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Strength at which a decay cycle removes a trace: see [`TraceStore::decay`].
const PRUNED_AT: f64 = 0.01;

/// The newest that anyone was told of each trace. The order of what is entered does not matter: a trace's
/// revisions rise, and a removed one never comes back.
#[derive(Default)]
pub struct Expected {
    traces: HashMap<TraceId, Recorded>,
    /// How often two traces were linked at most; a link counts up until one of its traces goes.
    links: HashMap<(TraceId, TraceId), u32>,
}

enum Recorded {
    Trace(Arc<Trace>),
    Removed,
}

/// What a store holds, against what is expected.
#[derive(Default, Serialize)]
pub struct Verify {
    /// Traces in the store.
    pub rows: u64,
    /// Links in the store.
    pub links: u64,
    /// Traces and links that are expected, and not in the store.
    pub missing: u64,
    /// Other in the store than expected, in any field.
    pub stale: u64,
    /// In the store, and not expected.
    pub extra: u64,
    /// The first of those, for a person.
    #[serde(skip)]
    pub examples: Vec<String>,
}

impl Expected {
    /// What a store holds.
    pub fn of(store: &TraceStore) -> Self {
        let traces = store.iter().map(|trace| (trace.id(), Recorded::Trace(trace))).collect();
        Self { traces, links: links(store) }
    }

    pub fn ids(&self) -> impl Iterator<Item = TraceId> {
        self.traces.keys().copied()
    }

    /// After a write answered with this.
    pub fn keep(&mut self, trace: Arc<Trace>) {
        match self.traces.entry(trace.id()) {
            Entry::Vacant(place) => {
                place.insert(Recorded::Trace(trace));
            }
            Entry::Occupied(mut place) => match place.get() {
                Recorded::Trace(known) if known.revision() < trace.revision() => {
                    place.insert(Recorded::Trace(trace));
                }
                _ => {}
            },
        }
    }

    /// After a removal.
    pub fn removed(&mut self, id: TraceId) {
        self.traces.insert(id, Recorded::Removed);
    }

    /// After a co-activation that was answered with this count.
    pub fn linked(&mut self, a: TraceId, b: TraceId, count: u32) {
        let known = self.links.entry((a.min(b), a.max(b))).or_default();
        *known = count.max(*known);
    }

    /// Takes over what another has been told.
    pub fn merge(&mut self, other: Self) {
        for ((a, b), count) in other.links {
            self.linked(a, b, count);
        }
        for (id, told) in other.traces {
            match told {
                Recorded::Trace(trace) => self.keep(trace),
                Recorded::Removed => self.removed(id),
            }
        }
    }

    /// `strength` says how strong a trace is by now. Nobody is told what decay cycles do: they may have removed what
    /// has faded away.
    pub fn verify(&self, store: &TraceStore, strength: impl Fn(&Trace) -> f64) -> Verify {
        let found_links = links(store);
        let mut verify =
            Verify { rows: store.len() as u64, links: found_links.len() as u64, ..Verify::default() };
        for (id, told) in &self.traces {
            if let Recorded::Trace(expected) = told {
                match store.get(*id) {
                    None if strength(expected) <= PRUNED_AT => {}
                    None => verify.missing(expected),
                    Some(found) if found != *expected => verify.stale(expected, &found),
                    Some(_) => {}
                }
            }
        }
        for found in store.iter() {
            if !matches!(self.traces.get(&found.id()), Some(Recorded::Trace(_))) {
                verify.extra(&found);
            }
        }
        for (ends, expected) in &self.links {
            match found_links.get(ends) {
                None if !store.contains(ends.0) || !store.contains(ends.1) => {}
                found if found == Some(expected) => {}
                found => verify.link(*ends, Some(*expected), found.copied()),
            }
        }
        for (ends, count) in &found_links {
            if !self.links.contains_key(ends) {
                verify.link(*ends, None, Some(*count));
            }
        }
        verify
    }
}

/// The count of each link.
fn links(store: &TraceStore) -> HashMap<(TraceId, TraceId), u32> {
    let links = store.iter().flat_map(|trace| store.links(trace.id()));
    links.map(|link| (link.ends(), link.count())).collect()
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
        self.example(|| format!("stale:\n  acknowledged {expected:?}\n  in the store {found:?}"));
    }

    fn extra(&mut self, found: &Trace) {
        self.extra += 1;
        self.example(|| format!("extra: {} at revision {}", found.id(), found.revision()));
    }

    fn link(&mut self, ends: (TraceId, TraceId), expected: Option<u32>, found: Option<u32>) {
        let counted = match (expected, found) {
            (Some(_), None) => &mut self.missing,
            (None, Some(_)) => &mut self.extra,
            _ => &mut self.stale,
        };
        *counted += 1;
        self.example(|| {
            format!("link {} - {}: acknowledged {expected:?}, in the store {found:?}", ends.0, ends.1)
        });
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
    use super::{Expected, Verify};
    use mnemon::{NewTrace, Result, Trace, TraceId, TraceStore};
    use serde_json::json;

    /// No time passes.
    fn told_strength(trace: &Trace) -> f64 {
        trace.strength()
    }

    fn counts(verify: &Verify) -> [u64; 4] {
        [verify.rows, verify.missing, verify.stale, verify.extra]
    }

    #[test]
    fn the_order_in_which_acknowledgements_come_in_does_not_matter() -> Result<()> {
        let store = TraceStore::in_memory();
        let (kept, removed) =
            (store.insert(NewTrace::semantic(json!(1)))?, store.insert(NewTrace::semantic(json!(2)))?);
        let (mut late, mut early) = (Expected::default(), Expected::of(&store));
        late.removed(removed);
        late.keep(store.update(kept, |trace| trace.confidence(0.1))?.unwrap());
        store.update(kept, |trace| trace.confidence(0.2))?.into_iter().for_each(|trace| early.keep(trace));
        store.remove(removed)?;
        late.merge(early);
        assert_eq!(counts(&late.verify(&store, told_strength)), [1, 0, 0, 0]);
        Ok(())
    }

    #[test]
    fn whatever_differs_is_counted_as_what_it_is() -> Result<()> {
        let store = TraceStore::in_memory();
        let ids: Vec<TraceId> = store.insert_many((0..6).map(|n| NewTrace::semantic(json!(n))))?;
        let mut expected = Expected::of(&store);
        expected.removed(ids[0]); // extra
        store.insert(NewTrace::semantic(json!("nobody was told")))?; // extra
        store.remove(ids[1])?; // missing
        store.update(ids[2], |trace| trace.pinned(true))?; // stale
        let verify = expected.verify(&store, told_strength);
        assert_eq!(counts(&verify), [6, 1, 1, 2]);
        assert_eq!((verify.examples.len(), verify.is_good()), (4, false));
        Ok(())
    }
    #[test]
    fn links_are_counted_too_unless_one_of_their_traces_is_gone() -> Result<()> {
        let store = TraceStore::in_memory();
        let ids: Vec<TraceId> = store.insert_many((0..5).map(|n| NewTrace::semantic(json!(n))))?;
        for pair in ids.windows(2) {
            store.co_activate(pair[0], pair[1])?;
        }
        let mut expected = Expected::of(&store);
        store.remove(ids[0])?;
        expected.removed(ids[0]);
        assert_eq!(counts(&expected.verify(&store, told_strength)), [4, 0, 0, 0]);
        store.co_activate(ids[1], ids[2])?; // stale
        store.co_activate(ids[1], ids[4])?; // extra
        expected.linked(ids[2], ids[4], 1); // missing
        assert_eq!(counts(&expected.verify(&store, told_strength)), [4, 1, 1, 1]);
        Ok(())
    }

    #[test]
    fn what_has_faded_away_may_be_gone() -> Result<()> {
        let store = TraceStore::in_memory();
        let id = store.insert(NewTrace::semantic(json!(0.5)).strength(0.5))?;
        let expected = Expected::of(&store);
        store.remove(id)?;
        assert_eq!(counts(&expected.verify(&store, |_| 0.011)), [0, 1, 0, 0], "it is missing");
        assert_eq!(counts(&expected.verify(&store, |_| 0.01)), [0, 0, 0, 0]);
        Ok(())
    }
}
