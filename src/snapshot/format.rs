//! The lines of a file, and what they must hold together.
//!
//! ```text
//! {"mnemon_snapshot":1,"taken_at":"2026-11-24T10:15:30.123456Z","watermark":7,"traces":2,"links":1}
//! {"trace":{"id":"…","type":"episodic",…,"payload":"{\"text\": \"…\"}"}}
//! {"trace":{…}}
//! {"link":{"a":"…","b":"…","count":3,"first_at":…,"last_at":…}}
//! {"sha512":"…"}
//! ```
//!
//! Traces come before links. Times are microseconds since the Unix epoch; a payload is the text as it was
//! given, in a JSON string; an embedding is hexadecimal, four bytes a number, little-endian.

use super::record::{LinkLine, TraceLine};
use super::refusal::Refusal;
use super::{SnapshotHeader, State};
use crate::trace::{LinkKey, Micros, TraceId};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::HashSet;
use std::io::Read;

pub(super) const VERSION: u64 = 1;

/// How every file begins, of every version.
pub(super) const BEGINNING: &[u8] = br#"{"mnemon_snapshot":"#;

const MAX_HEADER: u64 = 1 << 10;

/// No longer line is written or read, its end included. More than SQLite lets a row hold, with the escapes.
pub(super) const MAX_LINE: u64 = if cfg!(test) { 1 << 20 } else { 1 << 31 };

#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    mnemon_snapshot: u64,
    #[serde(serialize_with = "time_as_text", deserialize_with = "time_from_text")]
    pub(super) taken_at: Timestamp,
    pub(super) watermark: u64,
    pub(super) traces: u64,
    pub(super) links: u64,
}

impl Header {
    pub(super) fn of(state: &State) -> Self {
        Self {
            mnemon_snapshot: VERSION,
            taken_at: Micros::from(state.taken_at).into(),
            watermark: state.watermark,
            traces: state.traces.len() as u64,
            links: state.links.len() as u64,
        }
    }

    /// From the beginning of a file. The version comes first: a newer one may look different from there on.
    pub(super) fn read(file: impl Read) -> Result<Self, Refusal> {
        let mut start = Vec::new();
        file.take(MAX_HEADER).read_to_end(&mut start)?;
        let version = version_of(&start)?;
        if version > VERSION {
            return Err(Refusal::Newer(version));
        }
        match start.iter().position(|&byte| byte == b'\n') {
            Some(end) => Self::parse(&start[..end]),
            None => Err(Refusal::damaged("its first line has no end")),
        }
    }

    pub(super) fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let header: Self =
            serde_json::from_slice(line).map_err(|error| Refusal::line(1, not_a_line(error)))?;
        match header.mnemon_snapshot {
            VERSION => Ok(header),
            other => Err(Refusal::line(1, format_args!("there is no version {other}"))),
        }
    }
}

fn version_of(start: &[u8]) -> Result<u64, Refusal> {
    let rest = match start.strip_prefix(BEGINNING) {
        Some(rest) => rest,
        None if start.is_empty() => return Err(Refusal::Foreign("is empty")),
        None => return Err(Refusal::Foreign("does not begin as a snapshot does")),
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let version = str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse().ok());
    version.ok_or_else(|| Refusal::line(1, "the version is no number"))
}

impl From<&Header> for SnapshotHeader {
    fn from(&Header { watermark, traces, links, .. }: &Header) -> Self {
        Self { watermark, traces, links }
    }
}

/// Without the line, which is always the first for serde.
pub(super) fn not_a_line(error: serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", ", column ")
}

/// A line after the header.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<'a> {
    #[serde(borrow)]
    Trace(Box<TraceLine<'a>>),
    Link(LinkLine),
}

/// What the lines so far hold: each trace and each link once, and links between traces that are there.
#[derive(Default)]
pub(super) struct Known {
    traces: HashSet<TraceId>,
    links: HashSet<LinkKey>,
}

impl Known {
    pub(super) fn add_trace(&mut self, id: TraceId) -> Result<(), String> {
        if self.traces.insert(id) { Ok(()) } else { Err(format!("there is another trace {id}")) }
    }

    pub(super) fn add_link(&mut self, ends: LinkKey) -> Result<(), String> {
        if let Some(end) = ends.ids().iter().find(|end| !self.traces.contains(end)) {
            return Err(format!("the link is to trace {end}, which is not there"));
        }
        if self.links.insert(ends) {
            Ok(())
        } else {
            Err(format!("there is another link of {} and {}", ends.ids()[0], ends.ids()[1]))
        }
    }
}

fn time_as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.6}"))
}

fn time_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    <&str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}
