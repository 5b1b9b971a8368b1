//! `mnemon export` and `mnemon import`: a store as JSON lines, and back, with nothing lost. The lines are the library's
//! ([`mnemon::archive`]).
//!
//! - [`export`]: writing them;
//! - [`import`]: what becomes of each, beside the others and beside what the store holds;
//! - [`report`]: what an import tells;
//! - [`file`]: a file that is there when it is whole.

mod export;
mod file;
mod import;
mod report;

pub use export::Export;
pub use import::{Import, open};

/// What every store reads, whatever payloads it takes.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;

/// What the help of both says of the format.
const FORMAT: &str = r#"The format is one JSON object a line:
  {"kind":"mnemon-export","version":1,"traces":2,"links":1,"written_by":"…"}
  {"kind":"trace","id":"…","type":"semantic","partition":"…","tags":[…],"payload":…,…}
  {"kind":"link","a":"…","b":"…","count":3,"first_at":"…","last_at":"…"}

Traces come in the order of their ids, with every field, then links. Times are RFC 3339, UTC, to the microsecond. A payload is the very JSON that was stored. Where that text has line breaks, or spaces around it, payload is the same value in one line, and payload_text is the text as it was stored. A snapshot is the same with a digest or signature as its last line, and can be imported too."#;
