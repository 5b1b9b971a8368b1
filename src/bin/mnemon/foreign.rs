//! What a file is that does not hold JSON lines of the kind wanted, and which command takes it.

use anyhow::{Result, bail};
use std::path::Path;

/// What a command reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Records,
    /// An export, snapshot or spill.
    Archive,
}

/// Refuses a file that is another kind of file as a whole, which would be thousands of bad lines.
pub fn refuse(bytes: &[u8], file: &Path, wanted: Wanted) -> Result<()> {
    match is(bytes) {
        Some(Kind::Export | Kind::Snapshot | Kind::Spill) if wanted == Wanted::Archive => Ok(()),
        Some(kind) => bail!("{} {}", file.display(), kind.told()),
        None => Ok(()),
    }
}

/// A file that does not hold records.
#[derive(Clone, Copy)]
enum Kind {
    Export,
    Snapshot,
    Spill,
    Database,
    Array,
    Indented,
    Utf16,
    Compressed,
    Binary,
}

impl Kind {
    /// What it is, and what to do with it.
    fn told(self) -> &'static str {
        match self {
            Kind::Export => "is an export: take it in with `mnemon import`",
            Kind::Snapshot => {
                "is a snapshot: `mnemon snapshot restore` puts it in the place of what a store holds, and \
                 `mnemon import` merges it"
            }
            Kind::Spill => "is what a store could not write: open that store, and it is applied",
            Kind::Database => {
                "is an SQLite database: `mnemon import-legion` takes one of the original system, \
                 and `mnemon export` makes an export of a store"
            }
            Kind::Array => "is a JSON array: give one object a line, as `jq -c '.[]'` makes of it",
            Kind::Indented => {
                "has an object over several lines: give one object a line, as `jq -c .` makes of it"
            }
            Kind::Utf16 => "is UTF-16: make UTF-8 of it, as `iconv -f UTF-16 -t UTF-8` does",
            Kind::Compressed => "is compressed: unpack it first, as `gzip -dc` or `zstd -dc` does",
            Kind::Binary => "is binary, and no text: give one JSON object a line",
        }
    }
}

/// How an export begins, and the others.
pub const EXPORT: &[u8] = br#"{"kind":"mnemon-export","#;
const SNAPSHOT: &[u8] = br#"{"kind":"mnemon-snapshot","#;
const SPILL: &[u8] = br#"{"kind":"mnemon-spill","#;

/// Text has no zero byte, and what is none has one within so many bytes. Nothing after them is looked at.
pub const SOON: usize = 4_096;

/// `None` of what may hold records.
fn is(bytes: &[u8]) -> Option<Kind> {
    let head = &bytes[..bytes.len().min(SOON)];
    let text = unmarked(head);
    match head {
        [b'S', b'Q', b'L', b'i', b't', b'e', b' ', b'f', b'o', b'r', b'm', b'a', b't', b' ', b'3', 0, ..] => {
            Some(Kind::Database)
        }
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Kind::Compressed),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'{' | b'[', ..] | [b'{' | b'[', 0, ..] => {
            Some(Kind::Utf16)
        }
        _ if head.contains(&0) => Some(Kind::Binary),
        _ if text.starts_with(EXPORT) => Some(Kind::Export),
        _ if text.starts_with(SNAPSHOT) => Some(Kind::Snapshot),
        _ if text.starts_with(SPILL) => Some(Kind::Spill),
        _ if text.starts_with(b"[") => Some(Kind::Array),
        _ if first_line(text) == b"{" => Some(Kind::Indented),
        _ => None,
    }
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii()
}

/// Without the byte order mark that some programs begin UTF-8 with, which is inside a file where several were put
/// together, and without white space at both ends.
pub fn unmarked(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii();
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii()
}
