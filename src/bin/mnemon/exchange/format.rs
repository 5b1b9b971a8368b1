//! The lines of an export: each field by its name, a payload as the very JSON text that it is.

use crate::problem::{self, with_cause};
use crate::times;
use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use mnemon::{Link, NewTrace, Payload, Trace, TraceId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Of the format. A later one may have other lines.
const VERSION: u64 = 1;

/// What every store reads, whatever payloads it takes.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;

const HEADER: &str = "mnemon-export";
const TRACE: &str = "trace";
const LINK: &str = "link";

/// How every export begins.
pub const BEGINNING: &[u8] = br#"{"kind":"mnemon-export","#;

/// A line of a file that is imported.
pub enum Line {
    Header(Header),
    Trace(TraceId, Box<NewTrace>),
    Link(Link),
}

/// The first line: how many lines of each kind come after it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    kind: Kind,
    version: u64,
    pub traces: u64,
    pub links: u64,
}

impl Header {
    pub fn new(traces: usize, links: usize) -> Self {
        Self { kind: Kind::Header, version: VERSION, traces: traces as u64, links: links as u64 }
    }
}

/// Which fields a line has.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "mnemon-export")]
    Header,
    #[serde(rename = "trace")]
    Trace,
    #[serde(rename = "link")]
    Link,
}

/// What is read of a line before the rest.
#[derive(Deserialize)]
struct Begun<'a> {
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    version: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceLine<'a> {
    kind: Kind,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    partition: Cow<'a, str>,
    tags: Vec<Cow<'a, str>>,
    /// In one line.
    #[serde(borrow)]
    payload: &'a RawValue,
    /// The text that was stored, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_text: Option<Cow<'a, str>>,
    strength: f64,
    peak_strength: f64,
    base_decay_rate: f64,
    confidence: f64,
    emotional_valence: f64,
    emotional_intensity: f64,
    #[serde(borrow)]
    tier: Cow<'a, str>,
    #[serde(borrow)]
    origin: Cow<'a, str>,
    source_agent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    created_at: Cow<'a, str>,
    #[serde(borrow)]
    last_reinforced: Cow<'a, str>,
    #[serde(borrow)]
    last_decayed: Cow<'a, str>,
    reinforcement_count: u32,
    parent: Option<Cow<'a, str>>,
    children: Vec<Cow<'a, str>>,
    unresolved: bool,
    consolidation_candidate: bool,
    pinned: bool,
    encryption_key_id: Option<Cow<'a, str>>,
    embedding: Option<Cow<'a, [f32]>>,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkLine<'a> {
    kind: Kind,
    #[serde(borrow)]
    a: Cow<'a, str>,
    #[serde(borrow)]
    b: Cow<'a, str>,
    count: u32,
    #[serde(borrow)]
    first_at: Cow<'a, str>,
    #[serde(borrow)]
    last_at: Cow<'a, str>,
}

/// The line of a trace; an error if its payload is no JSON, as another program may have left it.
pub fn trace(trace: &Trace) -> Result<Vec<u8>> {
    let text = trace.payload().as_str();
    Payload::from_json(text)?;
    let payload = in_one_line(text);
    let written = TraceLine {
        kind: Kind::Trace,
        id: trace.id().to_string().into(),
        r#type: trace.trace_type().as_str().into(),
        partition: trace.partition().into(),
        tags: trace.tags().map(Cow::from).collect(),
        payload: serde_json::from_str(&payload)?,
        payload_text: (payload != text).then_some(text.into()),
        strength: trace.strength(),
        peak_strength: trace.peak_strength(),
        base_decay_rate: trace.base_decay_rate(),
        confidence: trace.confidence(),
        emotional_valence: trace.emotional_valence(),
        emotional_intensity: trace.emotional_intensity(),
        tier: trace.tier().as_str().into(),
        origin: trace.origin().as_str().into(),
        source_agent: trace.source_agent().map(Cow::from),
        created_at: shown(trace.created_at()),
        last_reinforced: shown(trace.last_reinforced()),
        last_decayed: shown(trace.last_decayed()),
        reinforcement_count: trace.reinforcement_count(),
        parent: trace.parent().map(|id| id.to_string().into()),
        children: trace.children().iter().map(|id| id.to_string().into()).collect(),
        unresolved: trace.is_unresolved(),
        consolidation_candidate: trace.is_consolidation_candidate(),
        pinned: trace.is_pinned(),
        encryption_key_id: trace.encryption_key_id().map(Cow::from),
        embedding: trace.embedding().map(Cow::from),
        revision: trace.revision(),
    };
    line(&written)
}

pub fn link(link: &Link) -> Result<Vec<u8>> {
    let (a, b) = link.ends();
    line(&LinkLine {
        kind: Kind::Link,
        a: a.to_string().into(),
        b: b.to_string().into(),
        count: link.count(),
        first_at: shown(link.first_at()),
        last_at: shown(link.last_at()),
    })
}

pub fn header(header: &Header) -> Result<Vec<u8>> {
    line(header)
}

fn line(written: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(written)?;
    line.push(b'\n');
    Ok(line)
}

fn shown(time: Timestamp) -> Cow<'static, str> {
    format!("{time:.6}").into()
}

/// The same value. In JSON a line break stands between the parts of a value, and never within one.
fn in_one_line(json: &str) -> Cow<'_, str> {
    let json = json.trim_ascii();
    if json.contains(['\n', '\r']) {
        Cow::Owned(json.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(json)
    }
}

impl Line {
    /// The line, or what is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        Self::read(line).map_err(|error| match error.downcast::<serde_json::Error>() {
            Ok(error) => problem::of(line, &error),
            // A payload has a place of its own in the line.
            Err(error) => with_cause(error).replace(" at line 1 column ", ", at its column "),
        })
    }

    fn read(line: &str) -> Result<Self> {
        let begun: Begun<'_> = serde_json::from_str(line)?;
        match begun.kind.as_deref() {
            Some(HEADER) => {
                if let Some(version) = begun.version.filter(|version| *version != VERSION) {
                    bail!("version is {version}, and this mnemon knows {VERSION}: use a newer one");
                }
                Ok(Line::Header(serde_json::from_str(line)?))
            }
            Some(TRACE) => serde_json::from_str::<TraceLine<'_>>(line)?.into_line(),
            Some(LINK) => serde_json::from_str::<LinkLine<'_>>(line)?.into_line(),
            Some(kind) => bail!("kind is {kind:?}: give {HEADER}, {TRACE} or {LINK}"),
            None => bail!("there is no kind: give {HEADER}, {TRACE} or {LINK}"),
        }
    }
}

impl TraceLine<'_> {
    fn into_line(self) -> Result<Line> {
        let id = id("id", &self.id)?;
        let mut new = NewTrace::new(self.r#type.parse()?, self.payload()?)
            .id(id)
            .partition(self.partition)
            .tags(self.tags)
            .strength(self.strength)
            .peak_strength(self.peak_strength)
            .base_decay_rate(self.base_decay_rate)
            .confidence(self.confidence)
            .emotional_valence(within("emotional_valence", self.emotional_valence, -1.0)?)
            .emotional_intensity(within("emotional_intensity", self.emotional_intensity, 0.0)?)
            .tier(self.tier.parse()?)
            .origin(self.origin.parse()?)
            .created_at(times::parse("created_at", &self.created_at)?)
            .last_reinforced(times::parse("last_reinforced", &self.last_reinforced)?)
            .last_decayed(times::parse("last_decayed", &self.last_decayed)?)
            .reinforcement_count(self.reinforcement_count)
            .children(
                self.children.iter().map(|child| self::id("children", child)).collect::<Result<Vec<_>>>()?,
            )
            .unresolved(self.unresolved)
            .consolidation_candidate(self.consolidation_candidate)
            .pinned(self.pinned)
            .revision(self.revision);
        if let Some(agent) = self.source_agent {
            new = new.source_agent(agent);
        }
        if let Some(parent) = self.parent {
            new = new.parent(self::id("parent", &parent)?);
        }
        if let Some(key) = self.encryption_key_id {
            new = new.encryption_key_id(key);
        }
        if let Some(vector) = self.embedding {
            new = new.embedding(vector.into_owned());
        }
        // The library's own checks of the rest.
        new.clone().into_trace()?;
        Ok(Line::Trace(id, Box::new(new)))
    }

    fn payload(&self) -> Result<Payload> {
        let payload = self.payload.get();
        let text = self.payload_text.as_deref().unwrap_or(payload);
        ensure!(
            text.len() <= MAX_PAYLOAD_BYTES,
            "payload is {} bytes: give at most {MAX_PAYLOAD_BYTES}",
            text.len()
        );
        ensure!(
            self.payload_text.is_none() || in_one_line(text) == payload,
            "payload_text does not say what payload does: change both, or leave payload_text out"
        );
        Ok(Payload::from_json(text)?)
    }
}

impl LinkLine<'_> {
    fn into_line(self) -> Result<Line> {
        let ends = (id("a", &self.a)?, id("b", &self.b)?);
        let (first, last) =
            (times::parse("first_at", &self.first_at)?, times::parse("last_at", &self.last_at)?);
        Ok(Line::Link(Link::new(ends, self.count, first, last)?))
    }
}

fn id(field: &str, text: &str) -> Result<TraceId> {
    text.parse().or_else(|_| bail!("{field} is {text:?}: give a UUID"))
}

/// The library would bring it into its range; a line that is out of it is no trace's.
fn within(field: &str, value: f64, low: f64) -> Result<f64> {
    if (low..=1.0).contains(&value) {
        Ok(value)
    } else {
        bail!("{field} is {value}: give a number from {low} to 1")
    }
}
