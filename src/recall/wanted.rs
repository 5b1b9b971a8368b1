//! The words that a question looks for.

use super::payload;
use super::text::{Role, TextIndex};
use crate::trace::Trace;

/// The words of a question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Each once, with its number.
    pub(super) words: Vec<(Box<str>, u32)>,
    /// Words in a row, all of which a text must have.
    pub(super) phrases: Vec<Vec<Box<str>>>,
}

impl Wanted {
    pub(crate) fn of(index: TextIndex, question: &str) -> Self {
        let (mut words, mut stops): (Vec<Box<str>>, Vec<Box<str>>) = Default::default();
        let mut phrases = Vec::new();
        let mut parts: Vec<_> = question.split(['"', '“', '”', '„']).collect();
        // A quotation mark without another one quotes nothing.
        let open = if parts.len() % 2 == 0 { parts.pop() } else { None };
        for (part, is_quoted) in
            parts.into_iter().zip([false, true].into_iter().cycle()).chain(open.map(|part| (part, false)))
        {
            let row = index.row(part);
            if is_quoted && !row.is_empty() {
                phrases.push(row.iter().map(|(word, _)| word.clone()).collect());
            }
            for (word, role) in row {
                if role == Role::Stop { stops.push(word) } else { words.push(word) }
            }
        }
        let mut words = if words.is_empty() { stops } else { words };
        words.sort_unstable();
        let words = words.chunk_by(|a, b| a == b).map(|same| (same[0].clone(), same.len() as u32)).collect();
        Self { words, phrases }
    }

    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        let phrases = self.phrases.iter().flatten().map(|word| &**word);
        self.words.iter().map(|(word, _)| &**word).chain(phrases)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether each phrase stands in one of the texts of a trace.
    pub(crate) fn has_phrases_in(&self, index: TextIndex, trace: &Trace) -> bool {
        let mut left: Vec<_> = self.phrases.iter().collect();
        if !left.is_empty() {
            payload::texts(trace, &mut |text| {
                let row = index.row(text);
                left.retain(|phrase| {
                    let is_it =
                        |part: &[(Box<str>, Role)]| part.iter().map(|(word, _)| word).eq(phrase.iter());
                    // A letter of a pair is in no row, and is a word that a phrase may be of.
                    let has_letter = |letter: &str| {
                        let mut has = false;
                        index.tokens(text, &mut |token| has |= token.word == letter);
                        has
                    };
                    let is_letter = matches!(&phrase[..], [word] if has_letter(word));
                    !is_letter && !row.windows(phrase.len()).any(is_it)
                });
            });
        }
        left.is_empty()
    }
}
