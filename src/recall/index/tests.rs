use super::{Index, Words};
use crate::recall::Wanted;
use crate::recall::text::TextIndex;
use crate::trace::{Defaults, Micros, NewTrace, Trace};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn trace(text: &str, tag: &str) -> Trace {
    let defaults = Defaults { partition: &Arc::from("default"), now: Micros::clamped(0), imprinting: false };
    NewTrace::text(text).tag(tag).with_defaults(&defaults).unwrap_or_else(|error| unreachable!("{error}"))
}

/// BM25 by a look at every text.
fn relevance(said: &BTreeMap<u32, Trace>, question: &str, slot: u32) -> f64 {
    let reading = TextIndex::english();
    let read = |trace: &Trace| -> (Vec<String>, usize) {
        let mut words = Vec::new();
        let mut length = 0;
        crate::recall::payload::texts(trace, &mut |text| {
            reading.tokens(text, &mut |token| {
                length += usize::from(token.role == crate::recall::text::Role::Word);
                words.push(token.word.to_owned());
            });
        });
        (words, length)
    };
    let all: Vec<_> = said.values().map(read).filter(|(_, length)| *length > 0).collect();
    let average = all.iter().map(|(_, length)| *length).sum::<usize>() as f64 / all.len().max(1) as f64;
    let Some((words, length)) = said.get(&slot).map(read) else { return 0.0 };
    let of_word = |word: &str| {
        let tf = words.iter().filter(|has| **has == *word).count() as f64;
        let with =
            said.values().filter(|trace| read(trace).0.iter().any(|has| **has == *word)).count() as f64;
        let idf = (1.0 + (all.len() as f64 - with + 0.5) / (with + 0.5)).ln();
        idf * tf * 1.9 / (tf + 0.9 * (0.6 + 0.4 * length as f64 / average.max(1.0)))
    };
    Wanted::of(reading, question).words.iter().map(|(word, times)| f64::from(*times) * of_word(word)).sum()
}

#[derive(Clone, Debug)]
enum Step {
    Put(u32, String, String),
    Remove(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let text =
        "(storm|Storms|quay|pilot|tides|潮汐|大潮|Ana's|moon){1}( (storm|bar|tide|the|潮|ebb|moons)){0,4}";
    let step = prop_oneof![
        3 => (0..24_u32, text, "[a-c]").prop_map(|(slot, text, tag)| Step::Put(slot, text, tag)),
        1 => (0..24_u32).prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// After any changes the index says what a look at every text says, and has no word that no text has.
    #[test]
    fn index_is_a_look_at_every_text(steps in steps(), question in "(storm|tides|潮|the bar|moon moon|b|none)( quay)?") {
        let mut index = Index::new(TextIndex::english());
        let mut said = BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(slot, text, tag) => {
                    let trace = trace(&text, &tag);
                    index.put(slot, &trace, &Words::of(index.reading(), &trace));
                    assert!(index.has(slot, &trace));
                    said.insert(slot, trace);
                }
                Step::Remove(slot) => {
                    index.remove(slot);
                    said.remove(&slot);
                }
            }
        }
        let matches = index.matches(&Wanted::of(index.reading(), &question), &[], &[]);
        for slot in 0..24 {
            let (found, expected) = (matches.relevance.get(slot as usize).copied(), relevance(&said, &question, slot));
            let found = f64::from(found.unwrap_or(0.0));
            prop_assert!((found - expected).abs() <= 1e-4 * expected.max(1.0), "{slot}: {found}, not {expected}");
            // What the index does not have is scored alike.
            if let Some(trace) = said.get(&slot) {
                let alone = f64::from(matches.scale.of(&Words::of(index.reading(), trace)));
                prop_assert!((alone - expected).abs() <= 1e-4 * expected.max(1.0), "{slot}: {alone}, not {expected}");
            }
        }
        let mut words = BTreeSet::new();
        for trace in said.values() {
            words.extend(Words::of(index.reading(), trace).iter().map(|(word, _)| word.to_owned()));
        }
        prop_assert_eq!(index.words().map(str::to_owned).collect::<BTreeSet<_>>(), words);
    }
}

/// Blocks are divided and joined, and stay in order.
#[test]
fn postings_are_a_sorted_set() {
    let mut rng = harness::Rng::with_seed(7);
    let (mut postings, mut expected) = (super::Postings::default(), BTreeMap::new());
    for round in 0..60_000_u32 {
        let slot = rng.u32(..3_000);
        // More is put in at first, and more is taken out at last.
        if rng.u32(..60_000) > round {
            if expected.insert(slot, (slot % 300).min(255) as u8).is_none() {
                postings.insert(slot, slot % 300);
            }
        } else {
            expected.remove(&slot);
            postings.remove(slot);
        }
        assert_eq!(postings.len() as usize, expected.len());
        if round % 1_000 == 0 {
            assert!(postings.iter().eq(expected.iter().map(|(slot, count)| (*slot, *count))));
        }
    }
}
