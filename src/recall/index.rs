//! The index of texts: which slots have a word, and how often.

mod postings;
#[cfg(test)]
mod tests;

use super::score::Relevance;
use super::text::{Role, TextIndex};
use super::texts::{Embedded, Entry, Texts};
use super::vectors::{self, Near};
use super::wanted::Wanted;
use crate::trace::{SharedContent, Trace};
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
    /// Reads the words of a trace: of the strings of its payload, and of its tags.
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
pub(crate) struct Matches {
    /// Of each slot, and then of the texts that the index lacks; 0 if it has none of the words.
    pub(crate) relevance: Vec<f32>,
    /// Number of slots.
    pub(crate) slots: usize,
    /// The traces whose texts the index lacks.
    pub(crate) unread: Vec<Arc<Trace>>,
    /// No other slot can be an answer: those with all words of the phrases, and of the conditions. `None`: any can.
    pub(crate) within: Option<RoaringBitmap>,
    /// For other texts.
    pub(crate) scale: Relevance,
    /// Of the slots.
    pub(crate) texts: Texts,
}

impl Matches {
    /// The cosines of the embeddings in the slots that can be answers.
    pub(crate) fn cosines(&self, to: &Near<'_>) -> Vec<(u32, f32)> {
        vectors::cosines(&self.texts, self.within.as_ref(), to)
    }
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
        self.texts.get(slot).is_some_and(|entry| SharedContent::ptr_eq(&entry.content, &trace.content))
    }

    /// Whether the index has what a slot said at some time.
    pub(crate) fn has_any(&self, slot: u32) -> bool {
        self.texts.get(slot).is_some()
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
        let embedding = trace.content.rare.embedding.clone();
        let embedded = embedding.map(|vector| Embedded { length: vectors::length(&vector), vector });
        self.texts.set(slot, Some(Entry { id: trace.id(), content: trace.content.clone(), embedded }));
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

    /// Scores every text, but for the slots that are out of date, in whose place are texts that the index lacks: these
    /// count as if it had them. The cost is proportional to the number of texts that have each word of the question.
    pub(crate) fn matches(&self, wanted: &Wanted, outdated: &[u32], unread: &[Words]) -> Matches {
        let known = |word: &str| {
            let number = self.find(word)?;
            Some((number, &self.terms[number as usize].postings))
        };
        let texts_with = |word: &str| {
            let indexed = known(word).map_or(0, |(number, postings)| {
                let had = |slot: &&u32| self.terms_of[**slot as usize].contains(&number);
                postings.len() - outdated.iter().filter(had).count() as u32
            });
            indexed + unread.iter().filter(|words| words.count(word) > 0).count() as u32
        };
        let lengths_of =
            |slots: &[u32]| slots.iter().map(|slot| self.lengths[*slot as usize]).collect::<Vec<_>>();
        let (gone, new) = (lengths_of(outdated), unread.iter().map(|words| words.length).collect::<Vec<_>>());
        let texts = |lengths: &[u32]| lengths.iter().filter(|length| **length > 0).count() as u32;
        let words = |lengths: &[u32]| lengths.iter().map(|length| u64::from(*length)).sum::<u64>();
        let scale = Relevance::new(
            wanted.words.iter().map(|(word, times)| (word.clone(), *times, texts_with(word))),
            self.with_words + texts(&new) - texts(&gone),
            self.all_words + words(&new) - words(&gone),
        );
        let mut relevance = vec![0.0; self.lengths.len()];
        let slots_with = |word: &str| known(word).into_iter().flat_map(|(_, postings)| postings.iter());
        for (word, weight) in scale.words() {
            for (slot, count) in slots_with(word) {
                let at = slot as usize;
                relevance[at] += scale.of_word(weight, u32::from(count), self.lengths[at]);
            }
        }
        outdated.iter().for_each(|slot| relevance[*slot as usize] = 0.0);
        let slots = wanted.phrases.iter().flatten();
        let slots = slots.map(|word| slots_with(word).map(|(slot, _)| slot).collect::<RoaringBitmap>());
        let within = slots.reduce(|all, with| all & with);
        let (slots, unread) = (relevance.len(), unread.iter().map(|words| scale.of(words)));
        relevance.extend(unread);
        let unread = Vec::new();
        Matches { relevance, slots, unread, within, scale, texts: self.texts.clone() }
    }

    /// Every word that some text has.
    #[cfg(test)]
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.by_word.iter().map(|number| &*self.terms[*number as usize].word)
    }
}
