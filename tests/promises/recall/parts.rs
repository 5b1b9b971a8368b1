//! What a score is made of, and what else a question can ask for.

use harness::Outcome;
use mnemon::{Fusion, NewTrace, Order, Query, Recalled, TextIndex, TraceId, TraceStore};
use std::collections::BTreeSet;

fn store() -> mnemon::Result<TraceStore> {
    TraceStore::builder().text_index(TextIndex::english()).in_memory()
}

fn ids(found: &[Recalled]) -> Vec<TraceId> {
    found.iter().map(|found| found.trace.id()).collect()
}

#[test]
fn text_and_vector_are_fused() -> Outcome {
    let store = store()?;
    let words = store.insert(NewTrace::text("storm storm storm").embedding([0.0, 1.0]))?;
    let both = store.insert(NewTrace::text("a storm at the quay").embedding([0.9, 0.1]))?;
    let near = store.insert(NewTrace::text("gale").embedding([1.0, 0.0]))?;
    let ask = || store.recall("storm").near([1.0, 0.0]);
    let found = ask().run()?;
    assert_eq!(found[0].trace.id(), both);
    assert_eq!(ids(&store.recall("storm").run()?), [words, both]);
    assert_eq!(ids(&store.recall("").near([1.0, 0.0]).run()?), [near, both, words]);
    assert_eq!(ask().fusion(Fusion::Weights { text: 1.0, vector: 0.0 }).run()?[0].trace.id(), words);
    assert_eq!(ask().fusion(Fusion::Weights { text: 0.0, vector: 1.0 }).run()?[0].trace.id(), near);
    // The one is second by both, which is worth more than first and third.
    let ranks = ask().fusion(Fusion::ReciprocalRanks).weigh(|parts| parts.similarity).run()?;
    assert_eq!(ids(&ranks), [near, both, words]);
    let parts = found[0].parts;
    assert!(
        parts.relevance > 0.0 && parts.relevance < 1.0 && (parts.similarity - 0.993_883_7).abs() < 1e-6,
        "{parts:?}"
    );
    Ok(())
}

#[test]
fn reciprocal_ranks_count_admitted_traces() -> Outcome {
    let store = store()?;
    let new = |text: &str, embedding: [f32; 2]| NewTrace::text(text).embedding(embedding);
    store.insert(new("storm storm", [1.0, 0.0]).tag("other"))?;
    let first = store.insert(new("storm", [0.9, 0.1]).tag("own"))?;
    let second = store.insert(new("storm far beyond the north quay", [0.5, 0.5]).tag("own"))?;
    let ask = store.recall("storm").near([1.0, 0.0]).tagged("own").fusion(Fusion::ReciprocalRanks);
    let found = ask.run()?;
    assert_eq!(ids(&found), [first, second]);
    // First by both: a match of 1.
    let weight = 1.0 + 0.1 * found[0].parts.strength + 0.05 * found[0].parts.recency;
    assert!((found[0].score - weight).abs() < 1e-6, "{}", found[0].score);
    Ok(())
}

#[test]
fn spread_finds_what_is_associated() -> Outcome {
    let store = store()?;
    let [question, answer, other] = ["who saw the storm?", "it was Ana", "Ana too"]
        .map(|text| store.insert(NewTrace::text(text).tag(if text == "Ana too" { "other" } else { "own" })));
    let (question, answer, other) = (question?, answer?, other?);
    for _ in 0..3 {
        store.co_activate(question, answer)?;
        store.co_activate(question, other)?;
    }
    let ask = || store.recall("storm").tagged("own");
    assert_eq!(ids(&ask().run()?), [question]);
    let found = ask().spread(0.3).run()?;
    assert_eq!(ids(&found), [question, answer], "what does not meet the conditions is not found");
    assert!((found[1].parts.lent - 0.3 * found[0].score).abs() < 1e-9);
    assert_eq!((found[1].score, found[1].parts.relevance), (found[1].parts.lent, 0.0));
    // Two that are both found are associated.
    let both = store.recall("storm Ana").tagged("own").run()?;
    assert!(both.len() == 2 && both.iter().all(|found| found.parts.association == 1.15));
    Ok(())
}

#[test]
fn partition_recalls_its_own() -> Outcome {
    let store = store()?;
    let (ana, ben) = (store.in_partition("ana"), store.in_partition("ben"));
    let own = ana.insert(NewTrace::text("the storm"))?;
    let other = ben.insert(NewTrace::text("the storm"))?;
    for _ in 0..3 {
        store.co_activate(own, other)?;
    }
    assert_eq!(ids(&ana.recall("storm").spread(1.0).run()?), [own]);
    assert_eq!(ids(&ana.recall("storm").partition("ben").run()?), []);
    Ok(())
}

#[test]
fn query_takes_a_text() -> Outcome {
    let new =
        || (0..30).map(|n| NewTrace::text(&format!("tide{} {}", n % 7, "tide ".repeat(n % 4))).tag("sea"));
    let (store, plain) = (store()?, TraceStore::in_memory());
    for store in [&store, &plain] {
        store.insert_many(new())?;
        store.insert(NewTrace::text("calm"))?;
        let ask = || store.query().text("tide tide3").tagged("sea").order(Order::Relevance);
        let all: Vec<_> = ask().run();
        // A text of the form `tideN` alone has no such word, unless N is 3.
        assert_eq!(
            (all.len(), ask().count()),
            ((0..30).filter(|n| n % 4 > 0 || n % 7 == 3).count(), all.len())
        );
        assert!(ask().explain().contains("each with a word of the text"));
        let (mut paged, mut next) = (Vec::new(), None);
        loop {
            let page = next.into_iter().fold(ask().limit(4), Query::after).page();
            paged.extend(page.traces);
            let Some(cursor) = page.next else { break };
            next = Some(cursor.to_string().parse()?);
        }
        assert!(paged == all, "pages are all of it, in order");
        assert_eq!(ask().filter(|trace| trace.id() == all[3].id()).run(), [all[3].clone()]);
        let newest = store.query().text("tide").order(Order::Created).limit(3).run();
        assert!(newest.len() == 3 && newest.is_sorted_by(|a, b| a.created_at() >= b.created_at()));
    }
    let relevant = store.query().text("tide tide3").order(Order::Relevance).run();
    let recalled = store.recall("tide tide3").weigh(|parts| parts.relevance).limit(1).run()?;
    assert_eq!(relevant[0].payload(), recalled[0].trace.payload());
    // Without a text all are equal.
    assert_eq!(store.query().order(Order::Relevance).limit(5).run().len(), 5);
    Ok(())
}

#[test]
fn phrases_and_spaced_tags_are_found() -> Outcome {
    let store = store()?;
    let tagged = store.insert(NewTrace::text("slack water").tag("north quay"))?;
    let said = store.insert(NewTrace::text("to the North Quay's end"))?;
    let apart = store.insert(NewTrace::text("north of the quay"))?;
    let found =
        |text: &str| -> Outcome<BTreeSet<_>> { Ok(ids(&store.recall(text).run()?).into_iter().collect()) };
    assert_eq!(found("\"north quay\"")?, BTreeSet::from([tagged, said]));
    assert_eq!(found("north quay")?, BTreeSet::from([tagged, said, apart]));
    assert_eq!(found("\"north of the quay\"")?, BTreeSet::from([apart]));
    assert_eq!(found("\"of the\"")?, BTreeSet::from([apart]));
    Ok(())
}

#[test]
fn filter_and_weigh_call_the_store() -> Outcome {
    let store = store()?;
    store.insert_many((0..50).map(|n| NewTrace::text(&format!("storm {n}"))))?;
    // The host's code runs outside any lock, also of a store that it writes to.
    let ask = store
        .recall("storm")
        .filter(|trace| store.reinforce(trace.id()).is_ok() && store.recall("storm").run().is_ok())
        .weigh(
            |parts| if parts.relevance > 0.0 && store.flush().is_ok() { parts.strength } else { f64::NAN },
        );
    assert_eq!(ask.limit(7).run()?.len(), 7);
    assert_eq!(store.recall("storm").weigh(|_| f64::NAN).run()?.len(), 0);
    Ok(())
}
