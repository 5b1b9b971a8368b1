//! Scores: how well a text answers a question, and how much a trace matters beside that.

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
pub(super) struct Relevance {
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
            // A text that the index does not have yet may have a word that all others have.
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
    pub(super) fn of(&self, words: &super::index::Words) -> f32 {
        let parts = self.words.iter().map(|(word, weight)| (weight, words.count(word)));
        let found = parts.filter(|(_, count)| *count > 0);
        found.map(|(weight, count)| self.of_word(*weight, count, words.length())).sum()
    }
}
