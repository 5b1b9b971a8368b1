//! A trace and a link as lines, and back.

use super::hex;
use crate::error::Error;
use crate::trace::{Link, NewTrace, Payload, Trace, TraceId, timestamp};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceLine<'a> {
    id: Id,
    r#type: &'a str,
    origin: &'a str,
    #[serde(borrow)]
    partition: Cow<'a, str>,
    created_at: i64,
    last_reinforced: i64,
    last_decayed: i64,
    revision: u64,
    reinforcement_count: u32,
    tier: &'a str,
    strength: f64,
    peak_strength: f64,
    base_decay_rate: f64,
    emotional_valence: f64,
    emotional_intensity: f64,
    confidence: f64,
    unresolved: bool,
    consolidation_candidate: bool,
    pinned: bool,
    tags: Vec<Cow<'a, str>>,
    source_agent: Option<Cow<'a, str>>,
    encryption_key_id: Option<Cow<'a, str>>,
    parent: Option<Id>,
    children: Vec<Id>,
    embedding: Option<Floats<'a>>,
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

impl<'a> From<&'a Trace> for TraceLine<'a> {
    fn from(trace: &'a Trace) -> Self {
        let (n, c) = (&trace.numbers, &*trace.content);
        Self {
            id: Id(trace.id()),
            r#type: c.kind.as_str(),
            origin: c.origin.as_str(),
            partition: Cow::Borrowed(&c.partition),
            created_at: c.created_at.get(),
            last_reinforced: n.last_reinforced.get(),
            last_decayed: n.last_decayed.get(),
            revision: n.revision,
            reinforcement_count: n.reinforcement_count,
            tier: n.tier.as_str(),
            strength: n.strength,
            peak_strength: n.peak_strength,
            base_decay_rate: n.base_decay_rate,
            emotional_valence: n.emotional_valence,
            emotional_intensity: n.emotional_intensity,
            confidence: n.confidence,
            unresolved: n.unresolved,
            consolidation_candidate: n.consolidation_candidate,
            pinned: n.pinned,
            tags: c.tags.iter().map(|tag| Cow::Borrowed(&**tag)).collect(),
            source_agent: c.source_agent.as_deref().map(Cow::Borrowed),
            encryption_key_id: c.encryption_key_id.as_deref().map(Cow::Borrowed),
            parent: c.parent.map(Id),
            children: c.children.iter().copied().map(Id).collect(),
            embedding: c.embedding.as_deref().map(|vector| Floats(Cow::Borrowed(vector))),
            payload: Cow::Borrowed(c.payload.as_str()),
        }
    }
}

impl TraceLine<'_> {
    /// Through the checks that a new trace passes; those of its text are `payload`'s. `partition` is shared with the
    /// trace before, if it is the same.
    pub(super) fn into_trace(
        self,
        partition: &mut Arc<str>,
        payload: impl FnOnce(Cow<'_, str>) -> Result<Payload, Error>,
    ) -> Result<Trace, Error> {
        if **partition != *self.partition {
            *partition = Arc::from(self.partition);
        }
        let mut new = NewTrace::new(self.r#type.parse()?, payload(self.payload)?)
            .id(self.id.0)
            .origin(self.origin.parse()?)
            .shared_partition(partition)
            .created_at(time("created_at", self.created_at)?)
            .last_reinforced(time("last_reinforced", self.last_reinforced)?)
            .last_decayed(time("last_decayed", self.last_decayed)?)
            .revision(self.revision)
            .reinforcement_count(self.reinforcement_count)
            .tier(self.tier.parse()?)
            .strength(self.strength)
            .peak_strength(self.peak_strength)
            .base_decay_rate(self.base_decay_rate)
            .emotional_valence(self.emotional_valence)
            .emotional_intensity(self.emotional_intensity)
            .confidence(self.confidence)
            .unresolved(self.unresolved)
            .consolidation_candidate(self.consolidation_candidate)
            .pinned(self.pinned)
            .tags(self.tags)
            .children(self.children.into_iter().map(|id| id.0));
        if let Some(agent) = self.source_agent {
            new = new.source_agent(agent);
        }
        if let Some(key) = self.encryption_key_id {
            new = new.encryption_key_id(key);
        }
        if let Some(parent) = self.parent {
            new = new.parent(parent.0);
        }
        if let Some(vector) = self.embedding {
            new = new.embedding(vector.0.into_owned());
        }
        new.into_trace()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkLine {
    a: Id,
    b: Id,
    count: u32,
    first_at: i64,
    last_at: i64,
}

impl From<&Link> for LinkLine {
    fn from(link: &Link) -> Self {
        let (a, b) = link.ends();
        Self {
            a: Id(a),
            b: Id(b),
            count: link.count,
            first_at: link.first_at.get(),
            last_at: link.last_at.get(),
        }
    }
}

impl LinkLine {
    pub(super) fn into_link(self) -> Result<Link, Error> {
        let (first_at, last_at) = (time("first_at", self.first_at)?, time("last_at", self.last_at)?);
        Link::new((self.a.0, self.b.0), self.count, first_at, last_at)
    }
}

fn time(field: &str, micros: i64) -> Result<Timestamp, Error> {
    timestamp(micros).map_err(|error| {
        Error::invalid(field, micros, "give microseconds since 1970 of a year up to 9999").because(error)
    })
}

pub(super) struct Id(pub(super) TraceId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&str>::deserialize(deserializer)?.parse().map(Id).map_err(de::Error::custom)
    }
}

struct Floats<'a>(Cow<'a, [f32]>);

impl Serialize for Floats<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(8 * self.0.len());
        hex::push(&mut text, self.0.iter().flat_map(|number| number.to_le_bytes()));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Floats<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = hex::bytes(<&str>::deserialize(deserializer)?);
        let bytes = bytes.ok_or_else(|| de::Error::custom("the embedding is not hexadecimal"))?;
        match bytes.as_chunks::<4>() {
            (numbers, []) => Ok(Self(numbers.iter().copied().map(f32::from_le_bytes).collect())),
            _ => Err(de::Error::custom("the embedding is not a whole number of floats")),
        }
    }
}
