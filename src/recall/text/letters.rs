//! Letters: which of them make words, and how they are compared.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// What a letter does in a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Stands in a word.
    Word,
    /// Stands in a text without spaces.
    Letter,
    /// Belongs to the letter before, of a script without spaces.
    LetterMark,
    /// Belongs to the letter before.
    Mark,
    /// Invisible, within a word.
    Joiner,
    Apostrophe,
    Emoji,
    /// Ends a word.
    Other,
}

pub(super) fn kind(letter: char) -> Kind {
    match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' => Kind::Word,
        '\'' | '‘' | '’' | 'ʼ' | '＇' => Kind::Apostrophe,
        '\0'..='\x7f' => Kind::Other,
        // Soft hyphen, zero-width non-joiner and joiner, word joiner.
        '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{2060}' => Kind::Joiner,
        // Vowels and finals of Korean in parts, voicing marks of half-width Kana.
        '\u{1160}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7ff}' | '\u{ff9e}' | '\u{ff9f}' => Kind::LetterMark,
        _ if is_combining_mark(letter) => Kind::Mark,
        _ if letter.is_alphanumeric() => {
            if is_without_spaces(letter) {
                Kind::Letter
            } else {
                Kind::Word
            }
        }
        _ if is_emoji(letter) => Kind::Emoji,
        _ => Kind::Other,
    }
}

/// Whether a letter is of a script whose words are not separated by spaces, or, as in Korean, are with their endings.
fn is_without_spaces(letter: char) -> bool {
    matches!(letter,
        // Thai, Lao; Burmese; Khmer.
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}'
        | '\u{1780}'..='\u{17ff}'
        // Hangul.
        | '\u{1100}'..='\u{115f}' | '\u{3131}'..='\u{318e}' | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{ffa0}'..='\u{ffdc}'
        // Han and Kana.
        | '\u{2e80}'..='\u{3130}' | '\u{31a0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9d}' | '\u{1b000}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}')
}

fn is_emoji(letter: char) -> bool {
    let is_skin_tone = ('\u{1f3fb}'..='\u{1f3ff}').contains(&letter);
    matches!(letter, '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
        && !is_skin_tone
}

/// Whether two of these make a flag.
pub(super) fn is_flag(letter: char) -> bool {
    ('\u{1f1e6}'..='\u{1f1ff}').contains(&letter)
}

/// Appends letters in the form in which they are compared: NFKC, small, and without vowel points.
pub(super) fn push_folded(to: &mut String, letters: &str) {
    if letters.is_ascii() {
        to.extend(letters.chars().map(|letter| letter.to_ascii_lowercase()));
        return;
    }
    for letter in letters.nfkc() {
        match letter {
            '‘' | '’' | 'ʼ' => to.push('\''),
            // Hebrew and Arabic vowel points, and the stroke that widens an Arabic word.
            '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}' | '\u{5c4}' | '\u{5c5}' | '\u{5c7}' => {
            }
            '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' => {}
            _ if kind(letter) == Kind::Joiner || ('\u{fe00}'..='\u{fe0f}').contains(&letter) => {}
            // Of `İ` the small letter has a dot that `i` has anyway.
            '\u{307}' if to.ends_with('i') => {}
            // By way of the capitals, which makes one of `ß` and `ss`, and of `σ` and `ς`.
            _ => letter.to_uppercase().flat_map(char::to_lowercase).for_each(|small| {
                if small != '\u{307}' || !to.ends_with('i') {
                    to.push(small);
                }
            }),
        }
    }
}
