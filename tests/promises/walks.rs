//! Associated traces, and walks over them.
#![cfg(feature = "sqlite")]

use super::links::{associate, ids, traces};
use harness::Outcome;
use mnemon::{NewTrace, TraceId, TraceStore};
use serde_json::json;
use std::collections::BTreeSet;

#[test]
fn highest_counts_are_associated() -> Outcome {
    let store = TraceStore::in_memory();
    let hub = store.insert(NewTrace::semantic(json!("hub")))?;
    let mut others = Vec::new();
    for n in 0..25_u32 {
        let strength = 0.2 + f64::from(n) / 100.0;
        let other = store.insert(NewTrace::identity(json!(n)).strength(strength).base_decay_rate(0.0))?;
        // The first ones have the highest counts, the last ones are the strongest.
        associate(&store, hub, other, 3 + 25 - n)?;
        others.push(other);
    }
    let expected: Vec<_> = others[..20].iter().rev().copied().collect();
    assert_eq!(ids(&store.associated(hub, 0.0, 20)), expected, "20 by count, in the order of strength");
    assert_eq!(ids(&store.associated(hub, 0.0, 99)), expected, "never more");
    assert_eq!(ids(&store.associated(hub, 0.0, 3)), expected[..3]);
    assert_eq!(ids(&store.associated(hub, 0.35, 20)), expected[..5], "0.39 to 0.35");
    assert_eq!(store.links(hub).len(), 25, "all of them are kept");
    assert!(others.iter().all(|other| ids(&store.associated(*other, 0.0, 20)) == [hub]), "on both sides");
    associate(&store, hub, others[24], 30)?;
    assert!(ids(&store.associated(hub, 0.0, 20)).contains(&others[24]), "and may come back");
    Ok(())
}

#[test]
fn walk_is_breadth_first() -> Outcome {
    let store = TraceStore::in_memory();
    let all = traces(&store, 8)?;
    // 0 - 1 - 2 - 3 - 4, and 0 - 5 - 2, and 6 apart; 7 is too weak and the only way to 6.
    for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 2), (4, 7), (7, 6)] {
        associate(&store, all[a], all[b], 3)?;
    }
    store.update(all[7], |trace| trace.strength(0.05))?;
    store.update(all[0], |trace| trace.strength(0.02))?;
    let mut walk = store.walk(all[0], 12, 0.1);
    let steps: Vec<_> = walk.by_ref().collect();
    let depths: Vec<_> = steps.iter().map(|step| step.depth).collect();
    assert_eq!(depths, [1, 1, 2, 3, 4]);
    let reached: BTreeSet<_> = steps.iter().map(|step| step.trace.id()).collect();
    assert_eq!(
        reached,
        all[1..=5].iter().copied().collect(),
        "each once, without the start, past nothing weak"
    );
    for step in &steps {
        let path = walk.path(step.trace.id());
        assert_eq!((path.len(), path[0]), (step.depth + 1, all[0]));
        assert_eq!(path[step.depth - 1..], [step.from, step.trace.id()]);
        for pair in path.windows(2) {
            assert!(store.link(pair[0], pair[1]).is_some_and(|link| link.is_associated()), "over links");
        }
    }
    assert_eq!(
        (walk.path(all[0]), walk.path(all[6])),
        (vec![all[0]], vec![]),
        "the start, and one not reached"
    );
    assert_eq!(store.walk(all[0], 2, 0.1).count(), 3, "two hops");
    assert_eq!(store.walk(all[0], 0, 0.1).count() + store.walk(TraceId::new(), 12, 0.1).count(), 0);
    assert_eq!(store.walk(all[0], 12, 0.0).count(), 7, "with the weak one, and what is behind it");
    Ok(())
}

#[test]
fn walk_searches_no_further_than_asked() -> Outcome {
    let store = TraceStore::in_memory();
    let all = traces(&store, 5)?;
    for pair in all.windows(2) {
        associate(&store, pair[0], pair[1], 3)?;
    }
    let mut walk = store.walk(all[0], 12, 0.0);
    assert_eq!(walk.by_ref().take(2).map(|step| step.trace.id()).collect::<Vec<_>>(), all[1..3]);
    store.remove(all[3])?;
    assert_eq!(walk.next().map(|step| step.depth), None, "what is behind is looked for only now");
    Ok(())
}
