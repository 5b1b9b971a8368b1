//! The header of an archive, and the limits on its lines.

use super::error::ReadError;
use crate::trace::Micros;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

pub(super) const VERSION: u64 = 1;

/// Longer than any header, in bytes.
pub(super) const MAX_HEADER: u64 = 1 << 10;

/// The longest line that is written or read, in bytes, its end included. More than SQLite lets a row hold, with
/// the payload as JSON and, in escapes, as text.
pub(super) const MAX_LINE: u64 = if cfg!(test) { 1 << 20 } else { 1 << 33 };

/// The golden files of the tests outlast a release.
const WRITTEN_BY: &str =
    if cfg!(test) { "mnemon 0.1.0" } else { concat!("mnemon ", env!("CARGO_PKG_VERSION")) };

/// What an archive is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Kind {
    #[serde(rename = "mnemon-export")]
    Export,
    #[serde(rename = "mnemon-snapshot")]
    Snapshot,
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        allow(dead_code, reason = "written beside a database")
    )]
    #[serde(rename = "mnemon-spill")]
    Spill,
}

const KINDS: [Kind; 3] = [Kind::Export, Kind::Snapshot, Kind::Spill];

/// The kinds of headers begin with it, and no other line does.
pub(super) const HEADER: &str = "mnemon-";

impl Kind {
    /// The first bytes of each that the crate writes, in every version.
    pub(super) fn beginning(self) -> &'static [u8] {
        match self {
            Kind::Export => br#"{"kind":"mnemon-export","version":"#,
            Kind::Snapshot => br#"{"kind":"mnemon-snapshot","version":"#,
            Kind::Spill => br#"{"kind":"mnemon-spill","version":"#,
        }
    }

    pub(super) fn is_sealed(self) -> bool {
        self != Kind::Export
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Export => "an export",
            Kind::Snapshot => "a snapshot",
            Kind::Spill => "a spill",
        }
    }
}

#[derive(Clone, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) kind: Kind,
    version: u64,
    /// Number of lines about traces; in a spill, removed ones included.
    pub(super) traces: u64,
    /// Number of lines about links; in a spill, removed ones included.
    pub(super) links: u64,
    /// Number of erasures, in a spill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) erased: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_by: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    /// The cut that it is the state of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) watermark: Option<u64>,
    /// The durable watermark that a spill goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) durable: Option<u64>,
    /// The opening of the store that a spill belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<String>,
}

/// As much of a line as says which it is.
#[derive(Deserialize)]
pub(super) struct Begun<'a> {
    #[serde(borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
    version: Option<u64>,
}

impl Header {
    pub(super) fn new(kind: Kind, traces: u64, links: u64) -> Self {
        Self {
            kind,
            version: VERSION,
            traces,
            links,
            erased: None,
            written_by: Some(WRITTEN_BY.into()),
            created_at: None,
            watermark: None,
            durable: None,
            session: None,
        }
    }

    pub(super) fn created(self, at: Timestamp, watermark: u64) -> Self {
        let at = Timestamp::from(Micros::from(at));
        Self { created_at: Some(format!("{at:.6}")), watermark: Some(watermark), ..self }
    }

    pub(super) fn created_at(&self) -> Result<Timestamp, ReadError> {
        let text = self.required("created_at", self.created_at.as_deref())?;
        text.parse().map_err(|error| ReadError::line(1, format_args!("created_at is {text:?}: {error}")))
    }

    pub(super) fn watermark(&self) -> Result<u64, ReadError> {
        self.required("watermark", self.watermark)
    }

    /// A field that this kind of header must have.
    pub(super) fn required<T>(&self, name: &str, field: Option<T>) -> Result<T, ReadError> {
        field.ok_or_else(|| ReadError::line(1, format_args!("missing field `{name}`")))
    }

    /// Reads the first line of a file, as far as it fits; `wanted` is `None` for any kind.
    pub(super) fn parse(line: &[u8], wanted: Option<Kind>) -> Result<Self, ReadError> {
        let name = wanted.map_or("an export or a snapshot", Kind::name);
        let foreign = |what: &str| ReadError::Foreign(format!("{what}: give the path of {name}"));
        let text = trimmed(line);
        if text.is_empty() {
            return Err(foreign("is empty"));
        }
        let begun = Some(text).filter(|text| text.starts_with(b"{"));
        let begun = begun.and_then(|text| serde_json::from_slice::<Begun<'_>>(text).ok());
        let is_header = |kind: &str| kind.starts_with(HEADER);
        let begins = begun.as_ref().and_then(|begun| begun.kind.as_deref()).is_some_and(is_header);
        if !begins && !KINDS.iter().any(|kind| text.starts_with(kind.beginning())) {
            return Err(foreign("does not begin with a header"));
        }
        // The version first: the rest of a newer header may look different.
        let version = begun.and_then(|begun| begun.version).or_else(|| version_of(text));
        if let Some(version) = version.filter(|version| *version > VERSION) {
            return Err(ReadError::Newer(version));
        }
        let header: Self = serde_json::from_slice(text).map_err(|error| {
            if line.ends_with(b"\n") {
                ReadError::line(1, error.to_string().replace(" at line 1 column ", ", column "))
            } else {
                ReadError::Damaged("its first line has no end")
            }
        })?;
        match (header.version, wanted) {
            (_, Some(wanted)) if wanted != header.kind => Err(foreign(&format!("is {}", header.kind.name()))),
            (VERSION, _) => Ok(header),
            (other, _) => Err(ReadError::line(1, format_args!("there is no version {other}"))),
        }
    }
}

/// The version of a header that begins as the crate writes it, whatever follows.
fn version_of(text: &[u8]) -> Option<u64> {
    let rest = KINDS.iter().find_map(|kind| text.strip_prefix(kind.beginning()))?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// A line without the white space around it, and without the byte order mark that some programs begin UTF-8 with.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii();
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii()
}
