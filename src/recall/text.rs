//! Text: the words of a text, in the form in which they are compared.

mod letters;
#[cfg(test)]
mod tests;

use super::payload;
use crate::trace::Trace;
use letters::{Kind, kind, push_folded};
use rust_stemmers::{Algorithm, Stemmer};
use std::borrow::Cow;
use std::ops::Range;

/// How a [text index](crate::StoreBuilder::text_index) reads texts: which words are forms of one word.
///
/// Texts are compared by word, without regard to capitals (`HAUPTSTRASSE` is `Hauptstraße`), to the Unicode form
/// (NFKC: composed or decomposed accents, full width or not), to the kind of apostrophe (`don’t` is `don't`), to a final
/// `'s`, and to Hebrew and Arabic vowel points. Accents count: `resume` is not `résumé`. Han, Kana, Hangul, Thai, Lao,
/// Khmer and Burmese are compared by pairs of letters, so that a word is found inside a longer one; a letter alone is
/// found too. An emoji is a word. Of a word longer than 64 letters the first 64 count.
///
/// ```
/// use mnemon::{NewTrace, TextIndex, TraceStore};
///
/// let store = TraceStore::builder().text_index(TextIndex::english()).in_memory()?;
/// store.insert(NewTrace::text("Ana walked the dogs"))?;
/// assert_eq!(store.recall("who walks a dog?").run()?.len(), 1);
/// # Ok::<(), mnemon::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextIndex {
    language: Option<Language>,
}

/// A language whose word forms a [`TextIndex`] knows, by a Snowball stemmer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the language of its name")]
pub enum Language {
    Arabic,
    Danish,
    Dutch,
    English,
    Finnish,
    French,
    German,
    Greek,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Romanian,
    Russian,
    Spanish,
    Swedish,
    Tamil,
    Turkish,
}

impl Language {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::Arabic => Algorithm::Arabic,
            Self::Danish => Algorithm::Danish,
            Self::Dutch => Algorithm::Dutch,
            Self::English => Algorithm::English,
            Self::Finnish => Algorithm::Finnish,
            Self::French => Algorithm::French,
            Self::German => Algorithm::German,
            Self::Greek => Algorithm::Greek,
            Self::Hungarian => Algorithm::Hungarian,
            Self::Italian => Algorithm::Italian,
            Self::Norwegian => Algorithm::Norwegian,
            Self::Portuguese => Algorithm::Portuguese,
            Self::Romanian => Algorithm::Romanian,
            Self::Russian => Algorithm::Russian,
            Self::Spanish => Algorithm::Spanish,
            Self::Swedish => Algorithm::Swedish,
            Self::Tamil => Algorithm::Tamil,
            Self::Turkish => Algorithm::Turkish,
        }
    }
}

/// English: forms of a word are one word (`walks`, `walked`), and words such as `the` and `what` count only where a
/// question has no others.
impl Default for TextIndex {
    fn default() -> Self {
        Self::english()
    }
}

/// Longest word, in letters.
const LONGEST: usize = 64;

/// The role of a token in a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// A word, a pair of letters, or a letter that stands alone.
    Word,
    /// A word that says little: a question looks for it only if it has no others.
    Stop,
    /// A letter of a pair: a text has it, and no question asks for it.
    Letter,
}

/// A word as it is compared, and where the text has it.
#[derive(Debug)]
pub(super) struct Token<'t> {
    pub(super) word: &'t str,
    pub(super) at: Range<usize>,
    pub(super) role: Role,
}

impl TextIndex {
    /// Reads texts as English: forms of a word are one word (`walks`, `walked`), and words such as `the` and `what`
    /// count only where a question has no others.
    pub fn english() -> Self {
        Self::stemmed(Language::English)
    }

    /// Reads texts as of a language: forms of a word are one word.
    pub fn stemmed(language: Language) -> Self {
        Self { language: Some(language) }
    }

    /// Reads texts of any language: each form of a word is a word of its own.
    pub fn plain() -> Self {
        Self { language: None }
    }

    /// Returns the parts of a text, as byte ranges in their order, that a question's words find there: to mark them.
    ///
    /// ```
    /// # use mnemon::TextIndex;
    /// assert_eq!(TextIndex::english().marks("who walks a dog?", "Ana walked the dogs"), [4..10, 15..19]);
    /// ```
    pub fn marks(&self, question: &str, text: &str) -> Vec<Range<usize>> {
        let wanted = Wanted::of(*self, question);
        let mut marks: Vec<Range<usize>> = Vec::new();
        self.tokens(text, &mut |token: Token<'_>| {
            let is_found = wanted.words().any(|word| word == token.word);
            match marks.last_mut().filter(|last| token.at.start <= last.end) {
                _ if !is_found => {}
                Some(last) => last.end = last.end.max(token.at.end),
                None => marks.push(token.at),
            }
        });
        marks
    }

    /// Calls a closure with each token of a text, in order.
    pub(super) fn tokens(&self, text: &str, each: &mut impl FnMut(Token<'_>)) {
        let stemmer = self.language.map(|language| Stemmer::create(language.algorithm()));
        let elides = matches!(self.language, Some(Language::French | Language::Italian));
        let mut letters = text.char_indices().map(|(at, letter)| (at, letter, kind(letter))).peekable();
        let mut word = String::new();
        let mut pairs = Pairs::default();
        while let Some((from, first, of)) = letters.next() {
            if of == Kind::Word {
                // To the end of the word: an apostrophe belongs to it if a letter follows.
                let (mut end, mut length) = (from + first.len_utf8(), 1);
                loop {
                    let mut after = letters.clone();
                    let joint = after.next_if(|(.., of)| *of == Kind::Apostrophe && !elides);
                    let Some((at, letter, of)) = after.next() else { break };
                    if !(of == Kind::Word || (matches!(of, Kind::Mark | Kind::Joiner) && joint.is_none())) {
                        break;
                    }
                    letters = after;
                    length += 1;
                    end = if length <= LONGEST { at + letter.len_utf8() } else { end };
                }
                push_folded(&mut word, &text[from..end]);
                self.word(stemmer.as_ref(), &mut word, from..end, each);
            } else if of == Kind::Letter {
                let mut end = from + first.len_utf8();
                while let Some((at, letter, _)) =
                    letters.next_if(|(.., of)| matches!(of, Kind::Mark | Kind::LetterMark))
                {
                    end = at + letter.len_utf8();
                }
                pairs.push(&text[from..end], from..end, each);
                if letters.peek().is_none_or(|(.., of)| *of != Kind::Letter) {
                    pairs.finish(each);
                }
            } else if of == Kind::Emoji {
                let mut end = from + first.len_utf8();
                if letters::is_flag(first)
                    && let Some((at, second, _)) = letters.next_if(|(_, letter, _)| letters::is_flag(*letter))
                {
                    end = at + second.len_utf8();
                }
                each(Token { word: &text[from..end], at: from..end, role: Role::Word });
            }
        }
    }

    /// Tells of a word as it is compared, and leaves none.
    fn word(
        &self,
        stemmer: Option<&Stemmer>,
        word: &mut String,
        at: Range<usize>,
        each: &mut impl FnMut(Token<'_>),
    ) {
        if word.ends_with("'s") {
            word.truncate(word.len() - 2);
        }
        let is_stop =
            self.language == Some(Language::English) && STOP_WORDS.binary_search(&word.as_str()).is_ok();
        let stem = stemmer.map_or(Cow::Borrowed(word.as_str()), |stemmer| stemmer.stem(word));
        // A stemmer leaves nothing of some words, and marks alone fold to nothing.
        let word_is = if stem.is_empty() { Cow::Borrowed(word.as_str()) } else { stem };
        if !word_is.is_empty() {
            each(Token { word: &word_is, at, role: if is_stop { Role::Stop } else { Role::Word } });
        }
        word.clear();
    }
}

/// Letters of a script without spaces that follow each other.
#[derive(Default)]
struct Pairs {
    /// The letter before and this one, folded.
    text: String,
    /// Length of the letter before.
    middle: usize,
    last: Option<Range<usize>>,
    is_pair: bool,
}

impl Pairs {
    fn push(&mut self, letter: &str, at: Range<usize>, each: &mut impl FnMut(Token<'_>)) {
        self.text.drain(..self.middle);
        self.middle = self.text.len();
        push_folded(&mut self.text, letter);
        if let Some(last) = self.last.replace(at.clone()) {
            if !self.is_pair {
                each(Token { word: &self.text[..self.middle], at: last.clone(), role: Role::Letter });
            }
            self.is_pair = true;
            each(Token { word: &self.text, at: last.start..at.end, role: Role::Word });
            each(Token { word: &self.text[self.middle..], at, role: Role::Letter });
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(Token<'_>)) {
        if let Some(last) = self.last.take().filter(|_| !self.is_pair) {
            each(Token { word: &self.text, at: last, role: Role::Word });
        }
        *self = Self::default();
    }
}

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

    fn words(&self) -> impl Iterator<Item = &str> {
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
                    !row.windows(phrase.len()).any(is_it)
                });
            });
        }
        left.is_empty()
    }
}

impl TextIndex {
    /// The words of a text in a row.
    pub(super) fn row(&self, text: &str) -> Vec<(Box<str>, Role)> {
        let mut row = Vec::new();
        self.tokens(text, &mut |token| {
            if token.role != Role::Letter {
                row.push((token.word.into(), token.role));
            }
        });
        row
    }
}

/// English words that say little, sorted.
#[rustfmt::skip]
const STOP_WORDS: [&str; 167] = [
    "a", "about", "above", "after", "again", "against", "all", "also", "am", "an", "and", "any", "are", "aren't",
    "as", "at", "be", "because", "been", "before", "being", "below", "between", "both", "but", "by", "can", "can't",
    "cannot", "could", "couldn't", "did", "didn't", "do", "does", "doesn't", "doing", "don't", "down", "during",
    "each", "few", "for", "from", "further", "had", "hadn't", "has", "hasn't", "have", "haven't", "having", "he",
    "he'd", "he'll", "her", "here", "hers", "herself", "him", "himself", "his", "how", "i", "i'd", "i'll", "i'm",
    "i've", "if", "in", "into", "is", "isn't", "it", "it'd", "it'll", "its", "itself", "just", "let", "me", "more",
    "most", "my", "myself", "no", "nor", "not", "of", "off", "on", "once", "only", "or", "other", "our", "ours",
    "ourselves", "out", "over", "own", "same", "she", "she'd", "she'll", "should", "shouldn't", "so", "some", "such",
    "than", "that", "that'll", "the", "their", "theirs", "them", "themselves", "then", "there", "these", "they",
    "they'd", "they'll", "they're", "they've", "this", "those", "through", "to", "too", "under", "until", "up",
    "very", "was", "wasn't", "we", "we'd", "we'll", "we're", "we've", "were", "weren't", "what", "when", "where",
    "which", "while", "who", "whom", "whose", "why", "will", "with", "won't", "would", "wouldn't", "you", "you'd",
    "you'll", "you're", "you've", "your", "yours", "yourself", "yourselves",
];
