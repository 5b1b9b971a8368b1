//! After any changes, recall answers what a look at every trace answers, with the same reading of texts.

use harness::steps::pick;
use harness::{Outcome, Rng, clock, flush_always, manual_flush, minutes};
use mnemon::{NewTrace, Recall, StoreBuilder, TextIndex, Trace, TraceId, TraceStore};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const WORDS: [&str; 12] = [
    "storm",
    "Storms",
    "quay",
    "pilot's",
    "tides",
    "今天的潮汐",
    "潮汐",
    "north quay",
    "cafe\u{301}",
    "the",
    "🎉",
    "noon",
];

fn text(rng: &mut Rng) -> String {
    (0..rng.usize(1..7)).map(|_| pick(rng, &WORDS)).collect::<Vec<_>>().join(" ")
}

fn payload(rng: &mut Rng) -> Value {
    match rng.u8(..3) {
        0 => json!(text(rng)),
        1 => json!({"storm": text(rng), "depth": 4, "more": [text(rng), {"said": text(rng)}]}),
        _ => json!([null, true, 7]),
    }
}

/// The texts of a trace: not the names of an object's values.
fn texts(trace: &Trace) -> Vec<String> {
    fn strings(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::String(text) => into.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
            Value::Object(entries) => entries.values().for_each(|value| strings(value, into)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    strings(&trace.payload().as_value().unwrap_or_default(), &mut all);
    all.extend(trace.tags().map(str::to_owned));
    all
}

fn change(store: &TraceStore, ids: &mut Vec<TraceId>, rng: &mut Rng) -> mnemon::Result<()> {
    let partition = pick(rng, &["ana", "ben"]);
    let new = NewTrace::semantic(payload(rng)).partition(partition).tag(pick(rng, &WORDS));
    let any = if ids.is_empty() { TraceId::new() } else { ids[rng.usize(..ids.len())] };
    match rng.u8(..12) {
        0..5 => ids.push(store.insert(new)?),
        5 | 6 => drop(store.update(any, |trace| trace.payload(payload(rng)))?),
        7 => drop(store.update(any, |trace| trace.tags([pick(rng, &WORDS)]))?),
        8 => drop(store.reinforce(any)?),
        9 => drop(store.remove(any)?),
        10 if rng.u8(..20) == 0 => drop(store.erase_partition(partition)?),
        10 if rng.u8(..20) == 0 => {
            let left = store.iter().filter(|_| rng.bool());
            store.restore(
                left.map(|left| NewTrace::new(left.trace_type(), left.payload().clone()).id(left.id())),
            )?;
        }
        _ => drop(store.flush()?),
    }
    Ok(())
}

fn check(store: &TraceStore, rng: &mut Rng) -> Outcome {
    let reading = TextIndex::english();
    let asked = text(rng);
    let (tag, within) = ((rng.u8(..3) == 0).then(|| pick(rng, &WORDS)), (rng.u8(..3) == 0).then_some("ana"));
    let quoted = (rng.u8(..3) == 0).then(|| pick(rng, &["north quay", "quay", "tides storm"]));
    let question = match quoted {
        Some(quoted) => format!("{asked} \"{quoted}\""),
        None => asked.clone(),
    };
    let ask = |limit: usize| -> Recall<'_> {
        let recall = store.recall(&*question).limit(limit);
        let recall = tag.iter().fold(recall, |recall, tag| recall.tagged(*tag));
        within.iter().fold(recall, |recall, within| recall.partition(*within))
    };
    // The texts are read by the same reading, each by itself.
    let expected = store.iter().filter(|trace| {
        let texts = texts(trace);
        let is_marked = texts.iter().any(|text| !reading.marks(&question, text).is_empty());
        let has_phrase = quoted.is_none_or(|quoted| texts.iter().any(|text| has_row(reading, quoted, text)));
        let meets =
            tag.is_none_or(|tag| trace.has_tag(tag)) && within.is_none_or(|name| trace.partition() == name);
        is_marked && has_phrase && meets
    });
    let expected: BTreeSet<_> = expected.map(|trace| trace.id()).collect();
    let all = ask(usize::MAX).run()?;
    let found: BTreeSet<_> = all.iter().map(|found| found.trace.id()).collect();
    assert_eq!(found.len(), all.len(), "a trace is given twice");
    assert_eq!(found, expected, "{question:?}, {tag:?}, {within:?}");
    // The best are the beginning of all, by falling scores, and the host's own ranking has the same traces.
    let limit = rng.usize(..6);
    let scores = |found: &[mnemon::Recalled]| {
        found.iter().map(|found| (found.trace.id(), found.score)).collect::<Vec<_>>()
    };
    assert!(all.is_sorted_by(|a, b| a.score >= b.score));
    assert_eq!(scores(&ask(limit).run()?), scores(&all[..limit.min(all.len())]));
    let relevance: BTreeMap<_, _> =
        all.iter().map(|found| (found.trace.id(), found.parts.relevance)).collect();
    let own = ask(usize::MAX).weigh(|parts| -parts.relevance).run()?;
    assert!(own.iter().all(|own| own.score == -relevance[&own.trace.id()]));
    assert!(own.is_sorted_by(|a, b| a.score >= b.score) && own.len() == all.len());
    assert!(all.is_empty() || all.iter().any(|found| found.parts.relevance == 1.0));
    Ok(())
}

/// Whether these words stand in a row, as far as marks say: without anything but spaces between them.
fn has_row(reading: TextIndex, quoted: &str, text: &str) -> bool {
    let words: Vec<_> = text.split(' ').collect();
    let wanted: Vec<_> = quoted.split(' ').collect();
    words
        .windows(wanted.len())
        .any(|row| row.iter().zip(&wanted).all(|(word, wanted)| !reading.marks(wanted, word).is_empty()))
}

fn run(builder: &StoreBuilder, seed: u64) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let clock = clock();
    let store = builder.clone().clock(&clock).text_index(TextIndex::english()).in_memory()?;
    let mut ids = Vec::new();
    for _ in 0..60 {
        for _ in 0..rng.u8(1..8) {
            change(&store, &mut ids, &mut rng)?;
        }
        clock.advance(minutes(rng.u64(..30)));
        check(&store, &mut rng)?;
    }
    Ok(())
}

#[test]
fn recall_equals_scan_of_all_texts() -> Outcome {
    for seed in 0..12 {
        let builder = if seed % 2 == 0 { manual_flush() } else { flush_always() };
        run(&builder, seed).map_err(|error| format!("seed {seed}: {error}"))?;
    }
    Ok(())
}
