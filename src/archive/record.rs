//! Traces, links and removals as lines, and back.

use crate::backend::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::trace::{Link, LinkKey, NewTrace, Payload, Trace, TraceId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// What one line says.
pub(super) enum Entry {
    Trace(Trace),
    Link(Link),
    /// In spills only, as are the next two.
    RemovedTrace(TraceId),
    RemovedLink(LinkKey),
    Erased(Scope),
}

pub(super) const TRACE: &str = "trace";
pub(super) const LINK: &str = "link";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceLine<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
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
    /// The text that was stored, if it differs.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkLine<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
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

/// The other lines of a spill.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Removal<'a> {
    RemovedTrace { id: Cow<'a, str> },
    RemovedLink { a: Cow<'a, str>, b: Cow<'a, str> },
    ErasedType { r#type: Cow<'a, str> },
    ErasedPartition { partition: Cow<'a, str> },
}

/// Appends the line of a trace, without its end. A payload that is not JSON is written as text beside `null`.
pub(super) fn write_trace(trace: &Trace, line: &mut Vec<u8>) -> serde_json::Result<()> {
    let (n, c, text) = (&trace.numbers, &*trace.content, trace.payload().as_str());
    let payload = in_one_line(text);
    let (payload, is_text) = match serde_json::from_str(&payload) {
        Ok(json) => (json, payload == text),
        Err(_) => (RawValue::NULL, false),
    };
    let written = TraceLine {
        kind: TRACE.into(),
        id: trace.id().to_string().into(),
        r#type: c.kind.as_str().into(),
        partition: (&*c.names.partition).into(),
        tags: c.names.tags.iter().map(|tag| Cow::from(&**tag)).collect(),
        payload,
        payload_text: (!is_text).then_some(text.into()),
        strength: n.strength,
        peak_strength: n.peak_strength,
        base_decay_rate: n.base_decay_rate,
        confidence: n.confidence,
        emotional_valence: n.emotional_valence,
        emotional_intensity: n.emotional_intensity,
        tier: n.tier.as_str().into(),
        origin: c.origin.as_str().into(),
        source_agent: c.rare.source_agent.as_deref().map(Cow::from),
        created_at: time_text(trace.created_at()),
        last_reinforced: time_text(trace.last_reinforced()),
        last_decayed: time_text(trace.last_decayed()),
        reinforcement_count: n.reinforcement_count,
        parent: c.rare.parent.map(|id| id.to_string().into()),
        children: c.rare.children.iter().map(|id| id.to_string().into()).collect(),
        unresolved: n.unresolved,
        consolidation_candidate: n.consolidation_candidate,
        pinned: n.pinned,
        encryption_key_id: c.rare.encryption_key_id.as_deref().map(Cow::from),
        embedding: c.rare.embedding.as_deref().map(Cow::from),
        revision: n.revision,
        valid_until: trace.valid_until().map(time_text),
        superseded_by: trace.superseded_by().map(|id| id.to_string().into()),
    };
    serde_json::to_writer(line, &written)
}

/// Appends the line of a link, without its end.
pub(super) fn write_link(link: &Link, line: &mut Vec<u8>) -> serde_json::Result<()> {
    let (a, b) = link.ends();
    let written = LinkLine {
        kind: LINK.into(),
        a: a.to_string().into(),
        b: b.to_string().into(),
        count: link.count(),
        first_at: time_text(link.first_at()),
        last_at: time_text(link.last_at()),
    };
    serde_json::to_writer(line, &written)
}

fn time_text(time: Timestamp) -> Cow<'static, str> {
    format!("{time:.6}").into()
}

/// The same JSON. Line breaks stand between the parts of a value, and never within one.
fn in_one_line(json: &str) -> Cow<'_, str> {
    let json = json.trim_ascii();
    if json.contains(['\n', '\r']) { Cow::Owned(json.replace(['\n', '\r'], " ")) } else { json.into() }
}

/// Reads lines after the header.
pub(super) struct Records {
    /// Whether payloads are taken without a check, as those of rows are.
    trusting: bool,
}

impl Records {
    pub(super) fn new(trusting: bool) -> Self {
        Self { trusting }
    }

    /// The content of a line of this kind. The error is [`Corrupt`](ErrorKind::Corrupt) if the line has not the fields
    /// of its kind, and [`InvalidInput`](ErrorKind::InvalidInput) if a value can't be used.
    pub(super) fn read(&mut self, kind: &str, line: &str) -> Result<Entry> {
        match kind {
            TRACE => self.trace(serde_json::from_str(line).map_err(malformed)?).map(Entry::Trace),
            LINK => serde_json::from_str::<LinkLine<'_>>(line).map_err(malformed)?.link(),
            "removed-trace" | "removed-link" | "erased-type" | "erased-partition" => {
                serde_json::from_str::<Removal<'_>>(line).map_err(malformed)?.entry()
            }
            kind => Err(Error::invalid_text("kind", kind, format_args!("give {TRACE} or {LINK}"))),
        }
    }

    /// Checks what a new trace is checked for.
    fn trace(&mut self, line: TraceLine<'_>) -> Result<Trace> {
        let payload = line.payload(self.trusting)?;
        let mut new = NewTrace::new(line.r#type.parse()?, payload)
            .id(id("id", &line.id)?)
            .partition(&line.partition)
            .tags(line.tags)
            .strength(line.strength)
            .peak_strength(line.peak_strength)
            .base_decay_rate(line.base_decay_rate)
            .confidence(line.confidence)
            .emotional_valence(within("emotional_valence", line.emotional_valence, -1.0)?)
            .emotional_intensity(within("emotional_intensity", line.emotional_intensity, 0.0)?)
            .tier(line.tier.parse()?)
            .origin(line.origin.parse()?)
            .created_at(time("created_at", &line.created_at)?)
            .last_reinforced(time("last_reinforced", &line.last_reinforced)?)
            .last_decayed(time("last_decayed", &line.last_decayed)?)
            .reinforcement_count(line.reinforcement_count)
            .children(line.children.iter().map(|child| id("children", child)).collect::<Result<Vec<_>>>()?)
            .unresolved(line.unresolved)
            .consolidation_candidate(line.consolidation_candidate)
            .pinned(line.pinned)
            .revision(line.revision);
        if let Some(agent) = line.source_agent {
            new = new.source_agent(agent);
        }
        if let Some(parent) = line.parent {
            new = new.parent(id("parent", &parent)?);
        }
        if let Some(key) = line.encryption_key_id {
            new = new.encryption_key_id(key);
        }
        if let Some(vector) = line.embedding {
            new = new.embedding(vector.into_owned());
        }
        if let Some(at) = line.valid_until {
            new = new.valid_until(time("valid_until", &at)?);
        }
        if let Some(successor) = line.superseded_by {
            new = new.superseded_by(id("superseded_by", &successor)?);
        }
        new.into_trace()
    }
}

impl TraceLine<'_> {
    fn payload(&self, trusting: bool) -> Result<Payload> {
        let payload = self.payload.get();
        let text = self.payload_text.as_deref().unwrap_or(payload);
        let is_same = self.payload_text.is_none() || in_one_line(text) == payload;
        match (trusting, is_same) {
            (true, true) => Ok(Payload::trusted(text)),
            (true, false) if payload == "null" => Ok(Payload::trusted(text)),
            (false, true) => Payload::from_json(text),
            (_, false) => Err(Error::new(
                ErrorKind::InvalidInput,
                "payload_text does not say what payload does: change both, or leave payload_text out",
            )),
        }
    }
}

impl LinkLine<'_> {
    fn link(&self) -> Result<Entry> {
        let ends = (id("a", &self.a)?, id("b", &self.b)?);
        let times = (time("first_at", &self.first_at)?, time("last_at", &self.last_at)?);
        Link::new(ends, self.count, times.0, times.1).map(Entry::Link)
    }
}

impl Removal<'_> {
    fn entry(&self) -> Result<Entry> {
        Ok(match self {
            Removal::RemovedTrace { id: removed } => Entry::RemovedTrace(id("id", removed)?),
            Removal::RemovedLink { a, b } => {
                let ends = LinkKey::of(id("a", a)?, id("b", b)?);
                Entry::RemovedLink(ends.ok_or_else(|| Error::invalid("b", b, "give another id than a"))?)
            }
            Removal::ErasedType { r#type } => Entry::Erased(Scope::Type(r#type.parse()?)),
            Removal::ErasedPartition { partition } => {
                Entry::Erased(Scope::Partition(Arc::from(&**partition)))
            }
        })
    }
}

pub(super) fn malformed(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Corrupt, "it can't be parsed").because(error)
}

fn id(field: &str, text: &str) -> Result<TraceId> {
    text.parse().map_err(|_| Error::invalid_text(field, text, "give a UUID"))
}

fn time(field: &str, text: &str) -> Result<Timestamp> {
    text.parse().map_err(|error: jiff::Error| {
        Error::invalid_text(field, text, "give a time such as 2026-03-03T07:30:00Z").because(error)
    })
}

/// Refuses what the builder of a trace would bring into its range: no trace has it.
fn within(field: &str, value: f64, low: f64) -> Result<f64> {
    if (low..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(Error::invalid(field, value, format_args!("give a number from {low} to 1")))
    }
}
