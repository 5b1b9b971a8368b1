//! A payload's JSON text, shown as it was given: numbers keep their digits and objects their order, which parsing
//! and writing them anew would not.

use crate::text::{harmless, harmless_lines};
use mnemon::Payload;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The parts of JSON text: punctuation, strings with their quotes, and other values. Of text that is no JSON, some
/// parts.
fn tokens(json: &str) -> impl Iterator<Item = &str> {
    const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
    let mut rest = json.trim_matches(SPACE);
    std::iter::from_fn(move || {
        let length = match rest.bytes().next()? {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            b'"' => string_length(rest),
            _ => rest.find(|c| SPACE.contains(&c) || "{}[],:\"".contains(c)).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        rest = after.trim_start_matches(SPACE);
        Some(token)
    })
}

/// With both quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// Without what stands between its parts: one line. `None` if it is no JSON.
pub fn compact(json: &str) -> Option<Box<RawValue>> {
    serde_json::from_str::<&RawValue>(json).ok()?;
    RawValue::from_string(tokens(json).collect()).ok()
}

/// A line for each part, two spaces to the right with each level; text that is no payload as it is, since it may be
/// nested without end.
pub fn pretty(json: &str) -> String {
    if Payload::from_json(json).is_err() {
        return harmless_lines(json);
    }
    let mut text = String::with_capacity(json.len() * 5 / 4);
    let (mut depth, mut before) = (0_usize, "");
    for token in tokens(json) {
        let closes = matches!(token, "}" | "]");
        if closes {
            depth = depth.saturating_sub(1);
        }
        let opened = matches!(before, "{" | "[");
        if opened != closes || before == "," {
            text.push('\n');
            text.extend(std::iter::repeat_n("  ", depth));
        }
        text.push_str(&harmless(token));
        if token == ":" {
            text.push(' ');
        }
        if matches!(token, "{" | "[") {
            depth += 1;
        }
        before = token;
    }
    text
}

/// One line that says what the payload does, about so many letters of it: texts without their names, which are
/// plain mostly, other values with them.
pub fn preview(json: &str, letters: usize) -> String {
    let mut text = String::new();
    let (mut counted, mut so_far) = (0, 0);
    for (name, value) in scalars(json) {
        if !text.is_empty() {
            text.push_str(" · ");
        }
        let (said, is_text) = plain(value);
        if let Some(name) = name.filter(|_| !is_text) {
            text.push_str(&plain(name).0);
            text.push(' ');
        }
        for word in said.split_whitespace() {
            if !text.is_empty() && !text.ends_with(' ') {
                text.push(' ');
            }
            text.push_str(word);
        }
        so_far += text[counted..].chars().count();
        counted = text.len();
        if so_far > letters {
            break;
        }
    }
    match harmless(text.trim_end()) {
        said if said.is_empty() => harmless(json.trim()).into_owned(),
        said => said.into_owned(),
    }
}

/// The values that hold no others, with the names they have in their objects.
fn scalars(json: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let mut tokens = tokens(json).peekable();
    let mut name = None;
    std::iter::from_fn(move || {
        loop {
            let token = tokens.next()?;
            match token {
                "{" | "[" | ":" => {}
                "}" | "]" | "," => name = None,
                value if tokens.peek() == Some(&":") => name = Some(value),
                value => return Some((name, value)),
            }
        }
    })
}

/// What a value says, and whether it is text.
fn plain(value: &str) -> (Cow<'_, str>, bool) {
    match serde_json::from_str::<String>(value) {
        Ok(text) => (Cow::Owned(text), true),
        Err(_) => (Cow::Borrowed(value), false),
    }
}

#[cfg(test)]
mod tests {
    use super::{compact, pretty, preview};

    const PAYLOAD: &str = r#" { "b": [1.0, 1e3,  12345678901234567890123],
        "a": {"said": "so \"it\" is\n\\", "x": []}, "c": {}, "d": true, "e": "café" } "#;

    #[test]
    fn shown_text_keeps_order_digits_and_letters() {
        let kept = r#"{"b":[1.0,1e3,12345678901234567890123],"a":{"said":"so \"it\" is\n\\","x":[]},"c":{},"d":true,"e":"café"}"#;
        let compact = |json: &str| super::compact(json).map(|json| json.to_string()).unwrap_or_default();
        assert_eq!(compact(PAYLOAD), kept);
        let lines = r#"{
  "b": [
    1.0,
    1e3,
    12345678901234567890123
  ],
  "a": {
    "said": "so \"it\" is\n\\",
    "x": []
  },
  "c": {},
  "d": true,
  "e": "café"
}"#;
        assert_eq!(pretty(PAYLOAD), lines);
        assert_eq!(compact(&pretty(PAYLOAD)), kept);
        assert_eq!(
            (compact("\"a\""), pretty(" 7 "), pretty("[]")),
            ("\"a\"".into(), "7".into(), "[]".into())
        );
    }

    #[test]
    fn a_preview_is_one_line_of_what_is_said() {
        let payload =
            r#"{"speaker": "Ana", "text": "the  tide\n turns", "n": 7, "ok": null, "more": ["x", 2]}"#;
        assert_eq!(preview(payload, 100), "Ana · the tide turns · n 7 · ok null · x · 2");
        assert_eq!(preview(r#"{"esc": "\u001b[2J"}"#, 100), "\\u{1b}[2J");
        assert_eq!(
            (preview("{}", 9), preview("\"\"", 9), preview(" 12 ", 9)),
            ("{}".into(), "\"\"".into(), "12".into())
        );
        let long = format!("[{}1]", "1,".repeat(100_000));
        assert!(preview(&long, 50).len() < 100);
        assert_eq!(preview(&long, usize::MAX).len(), 100_000 * " · 1".len() + 1);
        assert_eq!(preview("\"\u{85}\"", 9), "\"\\u{85}\"");
    }

    #[test]
    fn what_is_no_json_is_shown_all_the_same() {
        for text in ["", "\"", "\"\\", "{\"a\"", "]]é", "日本 \u{1b} \"日\\日"] {
            assert!(compact(text).is_none());
            assert_eq!(super::tokens(text).collect::<String>().replace(' ', ""), text.replace(' ', ""));
            drop((pretty(text), preview(text, 10)));
        }
        assert_eq!(preview("nope", 10), "nope");
        assert_eq!(pretty("{\"a\":\u{1b}\n[1"), "{\"a\":\\u{1b}\n[1");
        // Without its spaces it would be some.
        assert!(compact("1 2").is_none() && compact("tru e").is_none());
        // A level is two spaces: these would be terabytes.
        assert_eq!(pretty(&"[".repeat(1 << 20)).len(), 1 << 20);
        let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(pretty(&deep).len(), 2 << 20);
    }
}
