//! Bytes as lower-case hexadecimal text, and back.

use std::fmt;

pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Appends the bytes: `write!` costs too much for an embedding.
pub(super) fn push(text: &mut String, bytes: impl IntoIterator<Item = u8>) {
    let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'a' + value - 10 });
    for byte in bytes {
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
}

/// `None` if it is not pairs of lower-case digits.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    match rest {
        [] => pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect(),
        _ => None,
    }
}

pub(super) fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() == 2 * N { bytes(text)?.try_into().ok() } else { None }
}
