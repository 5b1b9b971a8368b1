//! Scores: how well a text answers a question, and how much a trace matters beside that.

use crate::memory::Scoring;
use crate::trace::Trace;

/// How the relevance of a text and the similarity of an embedding become one [match](ScoreParts), for a
/// [question](crate::TraceStore::recall) that has both.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Fusion {
    /// `(text × relevance + vector × similarity / highest similarity) / (text + vector)`. Default: one half of each.
    Weights {
        /// Weight of the relevance: 0 or more.
        text: f64,
        /// Weight of the similarity: 0 or more.
        vector: f64,
    },
    /// Reciprocal ranks: `30.5 / (60 + rank by relevance) + 30.5 / (60 + rank by similarity)`, where the first has rank
    /// 1, and only the first 1,000 by each have one.
    ReciprocalRanks,
}

impl Default for Fusion {
    fn default() -> Self {
        Self::Weights { text: 0.5, vector: 0.5 }
    }
}

/// The parts of the score of a [recalled](crate::Recalled) trace. Unless [weighed](crate::Recall::weigh) otherwise,
///
/// ```text
/// score = match × (1 + 0.10 × strength + 0.05 × recency + 0.05 × (emotion - 1) + (association - 1)) + lent
/// ```
///
/// where the match is the relevance, the similarity divided by the highest, or both by their [`Fusion`]: 0 to 1. What
/// is found is therefore ordered by its match, and the rest decides between what matches about as well.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct ScoreParts {
    /// BM25 of the text for the question, divided by the highest of those that meet the conditions: 0 to 1.
    pub relevance: f64,
    /// Cosine of the angle between the embedding and the one that the question is near to: -1 to 1; 0 if there is none.
    pub similarity: f64,
    /// Strength now: 0 to 1.
    pub strength: f64,
    /// `2^(-t / h)`, 0 to 1, where `t` is the time since the last reinforcement and `h` the
    /// [half-life](crate::StoreBuilder::recency_half_life).
    pub recency: f64,
    /// 1 + the emotional intensity: 1 to 2.
    pub emotion: f64,
    /// 1.15 if another one of what is found is associated with this one, otherwise 1.
    pub association: f64,
    /// What the associated traces have lent: see [`spread`](crate::Recall::spread). 0 or more.
    pub lent: f64,
}

/// What a trace is scored by, before what is found beside it is known.
#[derive(Clone, Copy)]
pub(crate) struct Signals {
    /// Divided by the highest.
    pub(crate) relevance: f64,
    pub(crate) similarity: f64,
    pub(crate) strength: f64,
}

impl ScoreParts {
    pub(crate) fn new(trace: &Trace, signals: Signals, scoring: Scoring) -> Self {
        let Signals { relevance, similarity, strength } = signals;
        let (recency, emotion) = (scoring.recency(trace), 1.0 + trace.emotional_intensity());
        Self { relevance, similarity, strength, recency, emotion, association: 1.0, lent: 0.0 }
    }
}

const STRENGTH: f64 = 0.10;
const RECENCY: f64 = 0.05;
const EMOTION: f64 = 0.05;

/// The most that a match is multiplied by, without an association.
pub(crate) const MOST_WEIGHT: f64 = 1.0 + STRENGTH + RECENCY + EMOTION;

/// The score of a match, unless the host weighs the parts.
pub(crate) fn weighed(matching: f64, parts: &ScoreParts) -> f64 {
    let ScoreParts { strength, recency, emotion, association, lent, .. } = parts;
    let weight = STRENGTH * strength + RECENCY * recency + EMOTION * (emotion - 1.0) + (association - 1.0);
    matching * (1.0 + weight) + lent
}

/// BM25: how fast a word that is repeated adds less.
const K1: f32 = 0.9;

/// BM25: how much the length of a text counts.
const B: f32 = 0.4;

/// BM25 (Robertson and Zaragoza, 2009) of the texts of a store for one question: the sum over its words of
///
/// ```text
/// ln(1 + (N - n + 0.5) / (n + 0.5)) × tf × (k1 + 1) / (tf + k1 × (1 - b + b × length / average))
/// ```
///
/// where `N` is the number of texts, `n` that of those with the word, and `tf` how often this one has it.
pub(crate) struct Relevance {
    /// With their weights.
    words: Vec<(Box<str>, f32)>,
    /// `k1 × (1 - b)`, and `k1 × b / average`.
    flat: f32,
    by_length: f32,
}

impl Relevance {
    /// Of words, each with how often the question has it and how many texts do.
    pub(super) fn new(words: impl Iterator<Item = (Box<str>, u32, u32)>, texts: u32, all_words: u64) -> Self {
        let weight = |times: u32, with: u32| {
            // Texts of letters alone, of which no pair is made, don't count among all.
            let (all, with) = (f64::from(texts.max(with)), f64::from(with));
            let rarity = (1.0 + (all - with + 0.5) / (with + 0.5)).ln();
            (f64::from(times) * rarity * f64::from(K1 + 1.0)) as f32
        };
        let average = all_words as f32 / texts.max(1) as f32;
        Self {
            words: words.map(|(word, times, with)| (word, weight(times, with))).collect(),
            flat: K1 * (1.0 - B),
            by_length: K1 * B / average.max(1.0),
        }
    }

    pub(super) fn words(&self) -> impl Iterator<Item = (&str, f32)> {
        self.words.iter().map(|(word, weight)| (&**word, *weight))
    }

    /// What a word of this weight adds.
    pub(super) fn of_word(&self, weight: f32, count: u32, length: u32) -> f32 {
        let count = count.min(u32::from(u8::MAX)) as f32;
        weight * count / (count + self.flat + self.by_length * length as f32)
    }

    /// Of a text that the index does not have.
    pub(crate) fn of(&self, words: &super::Words) -> f32 {
        let parts = self.words.iter().map(|(word, weight)| (weight, words.count(word)));
        let found = parts.filter(|(_, count)| *count > 0);
        found.map(|(weight, count)| self.of_word(*weight, count, words.length())).sum()
    }
}
