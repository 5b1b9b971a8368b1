//! Text of a limited number of bytes, whatever is written into it.

use std::fmt::{self, Write};

/// The mark at the end of text that was cut.
const MARK: char = '…';

#[derive(Debug)]
pub(super) struct Text {
    text: String,
    most: usize,
    cut: bool,
}

impl Text {
    /// An empty text for at most `most` bytes; the mark of a cut comes on top of that.
    pub(super) fn new(most: usize) -> Self {
        Self { text: String::new(), most, cut: false }
    }

    /// The output of `value`. If `value` fails, as it is made to once there is no more room, the text is its output
    /// up to then.
    pub(super) fn of(value: impl fmt::Display, most: usize) -> Self {
        let mut text = Self::new(most);
        let _ = write!(text, "{value}");
        text
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the text, with the mark if it was cut.
    pub(super) fn marked(mut self) -> String {
        if self.cut {
            self.text.push(MARK);
        }
        self.text
    }
}

impl Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.cut {
            return Err(fmt::Error);
        }
        let fits = head(more, self.most - self.text.len());
        self.text.push_str(fits);
        self.cut = fits.len() < more.len();
        // The error stops the formatting of text that would not fit.
        if self.cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Returns the longest prefix of `text`, in whole characters, of at most `most` bytes.
pub(super) fn head(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::{Text, head};
    use std::fmt::Write;

    #[test]
    fn text_is_cut_between_characters_and_says_so() {
        for (most, kept) in [(0, "…"), (1, "a…"), (2, "a…"), (3, "aé…"), (5, "aé…"), (6, "aé日")]
        {
            let text = Text::of("aé日", most);
            assert_eq!(text.is_cut(), kept.ends_with('…'), "{most}");
            assert_eq!(text.marked(), kept, "{most}");
        }
        assert_eq!((head("", 3), head("日", 2), head("日x", 3)), ("", "", "日"));
    }

    /// Like a value that goes on writing after an error.
    #[test]
    fn nothing_is_added_after_a_cut() {
        let mut text = Text::new(4);
        assert!(text.write_str("ab").is_ok());
        assert!(text.write_str("日本").is_err());
        assert!(text.write_str("c").is_err());
        assert_eq!(text.marked(), "ab…");
    }
}
