//! The index of texts: which slots have a word, and how often.

mod postings;
#[cfg(test)]
mod tests;

use super::score::Relevance;
use super::text::{Role, TextIndex, Wanted};
use super::texts::{Entry, Texts};
use crate::trace::Trace;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use postings::Postings;
use roaring::RoaringBitmap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// The index of one store, by the slots of its views.
pub(crate) struct Index {
    reading: TextIndex,
    terms: Vec<Term>,
    /// Numbers of terms that no text has.
    free: Vec<u32>,
    by_word: HashTable<u32>,
    hasher: RandomState,
    /// The numbers of the terms of each slot.
    terms_of: Vec<Box<[u32]>>,
    /// The number of words of each slot.
    lengths: Vec<u32>,
    texts: Texts,
    /// Number of traces with words, and of all their words.
    with_words: u32,
    all_words: u64,
}

/// A word that some text has.
#[derive(Default)]
struct Term {
    word: Box<str>,
    postings: Postings,
}

/// The words of one trace, ready to be put into the index.
pub(crate) struct Words {
    text: String,
    /// Where each word stands in `text`, sorted by word, each once, with its number.
    words: Vec<(u32, u32, u32)>,
    length: u32,
}

impl Words {
    /// Reads the words of a trace: of the strings of its payload, unless the host encrypted it, and of its tags.
    pub(crate) fn of(reading: TextIndex, trace: &Trace) -> Self {
        let (mut text, mut words, mut length) = (String::new(), Vec::new(), 0);
        super::payload::texts(trace, &mut |part| {
            reading.tokens(part, &mut |token| {
                let from = text.len() as u32;
                text.push_str(token.word);
                words.push((from, text.len() as u32, 1));
                length += u32::from(token.role == Role::Word);
            });
        });
        let word = |(from, to, _): &(u32, u32, u32)| &text[*from as usize..*to as usize];
        words.sort_unstable_by(|a, b| word(a).cmp(word(b)));
        words.dedup_by(|next, first| {
            let is_same = word(next) == word(first);
            first.2 += u32::from(is_same);
            is_same
        });
        Self { text, words, length }
    }

    fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.words.iter().map(|(from, to, count)| (&self.text[*from as usize..*to as usize], *count))
    }

    /// Number of words, without those that say little.
    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// How often it has a word.
    pub(super) fn count(&self, word: &str) -> u32 {
        let found =
            self.words.binary_search_by(|(from, to, _)| self.text[*from as usize..*to as usize].cmp(word));
        found.map_or(0, |at| self.words[at].2)
    }
}

/// What the index says of a question.
pub(super) struct Matches {
    /// Of each slot; 0 if it has none of the words.
    pub(super) relevance: Vec<f32>,
    /// The slots that have all words of the phrases, if there are any.
    pub(super) required: Option<RoaringBitmap>,
    /// For texts that the index does not have.
    pub(super) scale: Relevance,
    pub(super) texts: Texts,
}

impl Index {
    pub(crate) fn new(reading: TextIndex) -> Self {
        Self {
            reading,
            terms: Vec::new(),
            free: Vec::new(),
            by_word: HashTable::new(),
            hasher: RandomState::default(),
            terms_of: Vec::new(),
            lengths: Vec::new(),
            texts: Texts::default(),
            with_words: 0,
            all_words: 0,
        }
    }

    pub(crate) fn reading(&self) -> TextIndex {
        self.reading
    }

    /// Whether the index has what this trace says.
    pub(crate) fn has(&self, slot: u32, trace: &Trace) -> bool {
        self.texts.get(slot).is_some_and(|entry| Arc::ptr_eq(&entry.content, &trace.content))
    }

    /// Takes in what a trace says, in the place of what the slot said.
    pub(crate) fn put(&mut self, slot: u32, trace: &Trace, words: &Words) {
        self.remove(slot);
        let at = slot as usize;
        if self.terms_of.len() <= at {
            self.terms_of.resize_with(at + 1, Box::default);
            self.lengths.resize(at + 1, 0);
        }
        let mut terms = Vec::with_capacity(words.words.len());
        for (word, count) in words.iter() {
            let term = self.term(word);
            self.terms[term as usize].postings.insert(slot, count);
            terms.push(term);
        }
        self.terms_of[at] = terms.into();
        self.lengths[at] = words.length;
        self.with_words += u32::from(words.length > 0);
        self.all_words += u64::from(words.length);
        self.texts.set(slot, Some(Entry { id: trace.id(), content: Arc::clone(&trace.content) }));
    }

    /// Forgets what a slot said, and the words that no other has.
    pub(crate) fn remove(&mut self, slot: u32) {
        if self.texts.get(slot).is_none() {
            return;
        }
        self.texts.set(slot, None);
        let length = std::mem::take(&mut self.lengths[slot as usize]);
        self.with_words -= u32::from(length > 0);
        self.all_words -= u64::from(length);
        for number in std::mem::take(&mut self.terms_of[slot as usize]) {
            let term = &mut self.terms[number as usize];
            term.postings.remove(slot);
            if term.postings.len() == 0 {
                let hash = self.hasher.hash_one(&*term.word);
                if let Ok(found) = self.by_word.find_entry(hash, |found| *found == number) {
                    found.remove();
                }
                *term = Term::default();
                self.free.push(number);
            }
        }
    }

    fn find(&self, word: &str) -> Option<u32> {
        let is_it = |number: &u32| *self.terms[*number as usize].word == *word;
        self.by_word.find(self.hasher.hash_one(word), is_it).copied()
    }

    fn term(&mut self, word: &str) -> u32 {
        if let Some(found) = self.find(word) {
            return found;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.terms.push(Term::default());
            (self.terms.len() - 1) as u32
        });
        self.terms[number as usize].word = word.into();
        let Self { terms, by_word, hasher, .. } = self;
        let hash = |number: &u32| hasher.hash_one(&*terms[*number as usize].word);
        by_word.insert_unique(hash(&number), number, hash);
        number
    }

    /// Scores every text. The cost is proportional to the number of texts that have each word of the question.
    pub(super) fn matches(&self, wanted: &Wanted) -> Matches {
        let known = |word: &str| Some(&self.terms[self.find(word)? as usize].postings);
        let scale = Relevance::new(
            wanted
                .words
                .iter()
                .map(|(word, times)| (word.clone(), *times, known(word).map_or(0, Postings::len))),
            self.with_words,
            self.all_words,
        );
        let mut relevance = vec![0.0; self.lengths.len()];
        for (word, weight) in scale.words() {
            for (slot, count) in known(word).into_iter().flat_map(Postings::iter) {
                let at = slot as usize;
                relevance[at] += scale.of_word(weight, u32::from(count), self.lengths[at]);
            }
        }
        let required = wanted.phrases.iter().flatten().map(|word| {
            known(word).into_iter().flat_map(Postings::iter).map(|(slot, _)| slot).collect::<RoaringBitmap>()
        });
        let required = required.reduce(|all, with| all & with);
        Matches { relevance, required, scale, texts: self.texts.clone() }
    }

    /// Every word that some text has.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.by_word.iter().map(|number| &*self.terms[*number as usize].word)
    }
}
