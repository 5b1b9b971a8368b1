//! Text: the words of a text, in the form in which they are compared.

mod letters;
#[cfg(test)]
mod tests;

use super::wanted::Wanted;
use crate::guarded;
use foldhash::fast::RandomState;
use letters::{Kind, is_flag, kind, push_folded};
use rust_stemmers::{Algorithm, Stemmer};
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

/// How a [text index](crate::StoreBuilder::text_index) reads texts: which words are forms of one word.
///
/// Texts are compared by word, without regard to capitals (`HAUPTSTRASSE` is `Hauptstraße`), to the Unicode form (NFKC:
/// composed or decomposed accents, full width or not), to the kind of apostrophe (`don’t` is `don't`), to a final `'s`,
/// and to Hebrew and Arabic vowel points. Accents count: `resume` is not `résumé`. Han, Kana, Hangul, Thai, Lao, Khmer
/// and Burmese are compared by pairs of letters, so that a word is found inside a longer one; a letter alone is found
/// too. An emoji is a word. Of a word longer than 64 letters the first 64 count.
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

/// A language whose word forms a [`TextIndex`] knows, by a Snowball stemmer. Greek is missing: its stemmer panics on
/// some words.
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
        let (mut word, mut pairs) = (String::new(), Pairs::default());
        // The letter at a place, where it ends, and what it does.
        let letter_at = |at: usize| {
            let letter = text[at..].chars().next()?;
            Some((letter, at + letter.len_utf8(), kind(letter)))
        };
        let mut at = 0;
        while let Some((first, end, of)) = letter_at(at) {
            let from = at;
            at = end;
            match of {
                Kind::Word => {
                    at = self.end_of_word(text, from, end);
                    let end = text[from..at].char_indices().nth(LONGEST).map_or(at, |(cut, _)| from + cut);
                    push_folded(&mut word, &text[from..end]);
                    self.word(stemmer.as_ref(), &mut word, from..end, each);
                }
                Kind::Letter => {
                    while let Some((_, end, Kind::Mark | Kind::LetterMark)) = letter_at(at) {
                        at = end;
                    }
                    pairs.push(&text[from..at], from..at, each);
                    if !matches!(letter_at(at), Some((_, _, Kind::Letter))) {
                        pairs.finish(each);
                    }
                }
                Kind::Emoji => {
                    let second = letter_at(at).filter(|(second, ..)| is_flag(first) && is_flag(*second));
                    at = second.map_or(at, |(_, end, _)| end);
                    each(Token { word: &text[from..at], at: from..at, role: Role::Word });
                }
                Kind::LetterMark | Kind::Mark | Kind::Joiner | Kind::Apostrophe | Kind::Other => {}
            }
        }
    }

    /// The end of the word whose first letter is there.
    fn end_of_word(&self, text: &str, from: usize, mut at: usize) -> usize {
        let elides = matches!(self.language, Some(Language::French | Language::Italian));
        let bytes = text.as_bytes();
        if bytes[from].is_ascii() {
            // Most words are nothing else.
            at += bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            if bytes.get(at).is_none_or(|byte| byte.is_ascii() && *byte != b'\'') {
                return at;
            }
        }
        loop {
            let mut letters = text[at..].chars();
            let mut next = || letters.next().map(|letter| (kind(letter), letter.len_utf8()));
            let Some((mut of, mut length)) = next() else { return at };
            // An apostrophe belongs to the word if a letter follows.
            let is_joint = of == Kind::Apostrophe && !elides;
            if is_joint {
                let Some((after, more)) = next() else { return at };
                (of, length) = (after, length + more);
            }
            if !(of == Kind::Word || !is_joint && matches!(of, Kind::Mark | Kind::Joiner)) {
                return at;
            }
            at += length;
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
        let is_stop = self.language == Some(Language::English) && STOP_WORDS.contains(word.as_str());
        let stemmer = stemmer.filter(|_| !is_stop);
        let stem = stemmer.map_or(Cow::Borrowed(word.as_str()), |stemmer| stem(stemmer, word));
        // A stemmer leaves nothing of some words, and marks alone fold to nothing.
        let word_is = if stem.is_empty() { Cow::Borrowed(word.as_str()) } else { stem };
        if !word_is.is_empty() {
            each(Token { word: &word_is, at, role: if is_stop { Role::Stop } else { Role::Word } });
        }
        word.clear();
    }
}

/// The stem of a word; the word itself if the stemmer panics, as some did on words that nobody would write. Reading is
/// done on threads that would begin again with the same text, and for questions.
fn stem<'w>(stemmer: &Stemmer, word: &'w str) -> Cow<'w, str> {
    guarded::caught(|| stemmer.stem(word)).unwrap_or(Cow::Borrowed(word))
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

/// English words that say little.
#[rustfmt::skip]
static STOP_WORDS: LazyLock<HashSet<&str, RandomState>> = LazyLock::new(|| HashSet::from_iter([
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
]));
