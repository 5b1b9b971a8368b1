//! Ranking: ordering given traces by how much they matter.

use super::TraceStore;
use super::inner::Inner;
use crate::memory::{Ranked, by_rank};
use crate::trace::{Micros, TraceId};
use std::collections::HashSet;

impl TraceStore {
    /// Returns those of the given traces that the store holds, each once, with their retrieval scores for now, best
    /// first. Ties are ordered by strength (stronger first), then by how recently they were reinforced, then by id
    /// (smaller first). A trace counts as associated if another trace of the list has it among its
    /// [associated](Self::associated) traces. Ranks traces that are not valid any more like others.
    ///
    /// The cost is proportional to the number of links of the given traces.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// let calm = store.insert(NewTrace::episodic(json!("a calm day")))?;
    /// let storm = store.insert(NewTrace::episodic(json!("the storm")).emotional_intensity(1.0))?;
    /// let ranked = store.rank([calm, storm]);
    /// assert_eq!(ranked[0].trace.id(), storm);
    /// assert!(ranked[0].score > ranked[1].score);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn rank(&self, ids: impl IntoIterator<Item = TraceId>) -> Vec<Ranked> {
        self.inner().rank(ids.into_iter().collect(), self.inner().now())
    }
}

impl Inner {
    pub(super) fn rank(&self, ids: HashSet<TraceId>, at: Micros) -> Vec<Ranked> {
        let scoring = self.scoring(at);
        let near = ids.iter().flat_map(|id| self.associated(*id, 0.0, None));
        let associated: HashSet<_> = near.map(|near| near.id()).filter(|id| ids.contains(id)).collect();
        let known = ids.iter().filter_map(|id| self.traces().get(id));
        let ranked = known.map(|trace| {
            let strength = self.strength(&trace, at);
            let is_associated = associated.contains(&trace.id());
            Ranked::new(trace, strength, scoring, is_associated)
        });
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_unstable_by(by_rank(scoring));
        ranked
    }
}
