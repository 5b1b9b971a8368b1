//! Traces as Hashes in the shape of the original gem.
//!
//! Whatever the Hash has and a trace has no field for lies in the payload, beside what the Hash calls its content:
//! `{"$legion": {"content": …, "extra": {…}, "waiting": {…}}}`. A trace without such things has its content alone as
//! the payload.

use crate::convert::{Mode, float, from_json, from_time, text, time, to_json};
use crate::error::{invalid, raised};
use crate::store::Store;
use crate::trace::{Trace, array};
use jiff::Timestamp;
use magnus::{Error, RArray, RHash, Ruby, Value, prelude::*, r_hash::ForEach};
use mnemon::{NewTrace, Origin, Payload, Tier, TraceId, TraceType};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

const ENVELOPE: &str = "$legion";
/// What the payload of a trace with an envelope begins with.
const MARK: &str = "{\"$legion\":";
/// The number of co-activations that associates.
pub(crate) const ASSOCIATED: u32 = 3;
/// The most traces in the list of associated ones.
pub(crate) const MOST_ASSOCIATED: usize = 20;
/// The most bytes of a name, such as a tag, in a field of a trace.
const MAX_NAME: usize = 1_024;
/// The most tags of a trace.
const MAX_TAGS: usize = 1_024;

/// Counts of co-activations with traces that are not stored, by their given ids.
pub(crate) type Waiting = BTreeMap<String, u32>;

/// A UUID is itself; any other name stands for an id of its own.
pub(crate) fn id_of(name: &str) -> TraceId {
    name.parse().unwrap_or_else(|_| TraceId::from_reference(name))
}

pub(crate) fn name(value: Value) -> Result<String, Error> {
    text(value, "trace_id", Mode::Faithful)
}

fn number(value: Value, field: &str, least: f64, most: f64) -> Result<Option<f64>, Error> {
    let number = float(value, field)?;
    Ok((!number.is_nan()).then(|| number.clamp(least, most)))
}

/// Whether a field of a trace can hold the name.
fn fits(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.contains('\0')
}

/// A trace of the gem's shape, taken apart.
pub(crate) struct Parts {
    new: NewTrace,
    content: Json,
    extra: Map<String, Json>,
    pub(crate) id: TraceId,
    pub(crate) partition: String,
    pub(crate) associated: Vec<String>,
}

impl Parts {
    /// Returns the trace with these counts in its payload.
    pub(crate) fn with(self, waiting: &Waiting) -> Result<NewTrace, Error> {
        Ok(self.new.payload(payload(self.content, self.extra, waiting)?))
    }
}

fn payload(content: Json, extra: Map<String, Json>, waiting: &Waiting) -> Result<Payload, Error> {
    if extra.is_empty() && waiting.is_empty() && content.get(ENVELOPE).is_none() {
        return Payload::new(&content).map_err(raised);
    }
    let mut envelope = Map::from_iter([("content".to_owned(), content), ("extra".to_owned(), extra.into())]);
    if !waiting.is_empty() {
        envelope.insert("waiting".to_owned(), json!(waiting));
    }
    Payload::new(&json!({ENVELOPE: envelope})).map_err(raised)
}

/// The payload of a trace, taken apart.
fn envelope(trace: &mnemon::Trace) -> mnemon::Result<(Json, Map<String, Json>, Waiting)> {
    let mut payload = trace.payload().as_value()?;
    if !has_envelope(trace) {
        return Ok((payload, Map::new(), Waiting::new()));
    }
    let envelope = &mut payload[ENVELOPE];
    let Json::Object(extra) = envelope["extra"].take() else {
        return Ok((payload, Map::new(), Waiting::new()));
    };
    let waiting = envelope["waiting"].as_object().into_iter().flatten();
    let waiting = waiting.map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0) as u32)).collect();
    Ok((envelope["content"].take(), extra, waiting))
}

pub(crate) fn has_envelope(trace: &mnemon::Trace) -> bool {
    trace.payload().as_str().starts_with(MARK)
}

/// Returns what the original calls the content.
pub(crate) fn content(trace: &mnemon::Trace) -> mnemon::Result<Payload> {
    if has_envelope(trace) { Payload::new(&envelope(trace)?.0) } else { Ok(trace.payload().clone()) }
}

/// Returns the payload of a trace with these counts in the place of those it has.
pub(crate) fn with_waiting(trace: &mnemon::Trace, waiting: &Waiting) -> Result<Payload, Error> {
    let (content, extra, _) = envelope(trace).map_err(raised)?;
    payload(content, extra, waiting)
}

/// Returns the counts that the payload of a trace holds.
pub(crate) fn waiting(trace: &mnemon::Trace) -> mnemon::Result<Waiting> {
    let text = trace.payload().as_str();
    let has_some = text.starts_with(MARK) && text.contains("\"waiting\":");
    if has_some { envelope(trace).map(|(.., waiting)| waiting) } else { Ok(Waiting::new()) }
}

pub(crate) fn parts(ruby: &Ruby, hash: RHash, partition: &str) -> Result<Parts, Error> {
    let mode = Mode::Faithful;
    let field = |key: &str| hash.get(ruby.to_symbol(key)).filter(|value: &Value| !value.is_nil());
    let mut extra = Map::new();
    let given =
        field("trace_type").map(|kind| text(kind, "trace_type", mode)).transpose()?.unwrap_or_default();
    let kind: TraceType = given.parse().unwrap_or(TraceType::Semantic);
    if kind.as_str() != given {
        extra.insert("trace_type".to_owned(), json!({"$symbol": given}));
    }
    let given = name(field("trace_id").ok_or_else(|| invalid("trace_id is missing"))?)?;
    let id = id_of(&given);
    if id.to_string() != given {
        extra.insert("trace_id".to_owned(), Json::String(given));
    }
    let content = field("content_payload").or_else(|| field("content"));
    let content =
        content.map_or(Ok(Json::Null), |content| to_json(ruby, content, "content_payload", mode))?;
    let mut new = NewTrace::new(kind, Json::Null).id(id);
    let mut partition = partition.to_owned();
    let mut associated = Vec::new();
    hash.foreach(|key: Value, value: Value| {
        let key = text(key, "a key", mode)?;
        let field = key.as_str();
        if value.is_nil() {
            return Ok(ForEach::Continue);
        }
        let list =
            || RArray::from_value(value).map_or_else(|| vec![value], |values| values.into_iter().collect());
        let texts = || list().into_iter().map(|item| text(item, field, mode)).collect::<Result<Vec<_>, _>>();
        let unit = |value| number(value, field, 0.0, 1.0);
        let made = new.clone();
        let set = match field {
            "trace_id" | "trace_type" | "content_payload" | "content" => None,
            "strength" => unit(value)?.map(|number| made.strength(number)),
            "peak_strength" => unit(value)?.map(|number| made.peak_strength(number)),
            "base_decay_rate" => number(value, field, 0.0, f64::MAX)?.map(|rate| made.base_decay_rate(rate)),
            "emotional_valence" => {
                number(value, field, -1.0, 1.0)?.map(|number| made.emotional_valence(number))
            }
            "emotional_intensity" => unit(value)?.map(|number| made.emotional_intensity(number)),
            "confidence" => unit(value)?.map(|number| made.confidence(number)),
            "domain_tags" => {
                let tags: Vec<_> = texts()?;
                // An order, or a tag twice, that a set of tags does not keep.
                let is_plain = tags.len() <= MAX_TAGS && tags.iter().all(|tag| fits(tag));
                if !is_plain
                    || tags.windows(2).any(|pair| pair[0] >= pair[1])
                    || RArray::from_value(value).is_none()
                {
                    extra.insert(key.clone(), to_json(ruby, value, field, mode)?);
                }
                Some(made.tags(tags.iter().filter(|tag| fits(tag)).take(MAX_TAGS)))
            }
            "origin" => match text(value, field, mode)?.parse::<Origin>() {
                Ok(origin) => Some(made.origin(origin)),
                Err(_) => {
                    extra.insert(key.clone(), to_json(ruby, value, field, mode)?);
                    None
                }
            },
            "storage_tier" => match text(value, field, mode)?.parse::<Tier>() {
                Ok(tier) => Some(made.tier(tier)),
                Err(_) => {
                    extra.insert(key.clone(), to_json(ruby, value, field, mode)?);
                    None
                }
            },
            "source_agent_id" | "encryption_key_id" => {
                let given = text(value, field, mode)?;
                match (fits(&given), field) {
                    (true, "source_agent_id") => Some(made.source_agent(given)),
                    (true, _) => Some(made.encryption_key_id(given)),
                    (false, _) => {
                        extra.insert(key.clone(), to_json(ruby, value, field, mode)?);
                        None
                    }
                }
            }
            "partition_id" => {
                partition = text(value, field, mode)?;
                None
            }
            "created_at" => Some(made.created_at(time(value, field)?)),
            "last_reinforced" => Some(made.last_reinforced(time(value, field)?)),
            "last_decayed" => Some(made.last_decayed(time(value, field)?)),
            "reinforcement_count" => {
                let count = float(value, field)?.clamp(0.0, f64::from(u32::MAX));
                Some(made.reinforcement_count(count as u32))
            }
            "unresolved" => Some(made.unresolved(value.to_bool())),
            "consolidation_candidate" => Some(made.consolidation_candidate(value.to_bool())),
            "parent_trace_id" | "child_trace_ids" => {
                let names = texts()?;
                let ids: Vec<TraceId> = names.iter().map(|name| id_of(name)).collect();
                if names.iter().zip(&ids).any(|(name, id)| id.to_string() != *name) {
                    extra.insert(key.clone(), to_json(ruby, value, field, mode)?);
                }
                match (field, ids.first()) {
                    ("parent_trace_id", Some(parent)) => Some(made.parent(*parent)),
                    _ => Some(made.children(ids)),
                }
            }
            "associated_traces" => {
                associated = texts()?;
                None
            }
            _ => {
                extra.insert(key.clone(), to_json(ruby, value, field, mode)?);
                None
            }
        };
        if let Some(set) = set {
            new = set;
        }
        Ok(ForEach::Continue)
    })?;
    if partition.is_empty() {
        partition = "default".to_owned();
    }
    let new = new.partition(&partition);
    Ok(Parts { new, content, extra, id, partition, associated })
}

/// The type that a Hash of the trace has, if it is none of the store's.
pub(crate) fn other_type(trace: &mnemon::Trace) -> Option<String> {
    if !has_envelope(trace) {
        return None;
    }
    let payload = trace.payload().as_value().ok()?;
    Some(payload[ENVELOPE]["extra"].get("trace_type")?["$symbol"].as_str()?.to_owned())
}

/// The id that a Hash of the trace has.
pub(crate) fn given_id(trace: &mnemon::Trace) -> String {
    let given = || {
        let payload = trace.payload().as_value().ok()?;
        Some(payload[ENVELOPE]["extra"].get("trace_id")?.as_str()?.to_owned())
    };
    let marked = trace.payload().as_str().starts_with(MARK);
    marked.then(given).flatten().unwrap_or_else(|| trace.id().to_string())
}

impl Store {
    pub(crate) fn given_ids<'a>(&self, ids: impl IntoIterator<Item = &'a TraceId>) -> Vec<String> {
        let given =
            |id: &TraceId| self.store.get(*id).map_or_else(|| id.to_string(), |trace| given_id(&trace));
        ids.into_iter().map(given).collect()
    }

    pub(crate) fn hash(ruby: &Ruby, this: &Self, trace: &Trace, as_of: Option<f64>) -> Result<RHash, Error> {
        let trace = &*trace.0;
        let (hash, key) = (ruby.hash_new(), |name: &str| ruby.to_symbol(name));
        let (content, extra, waiting) = envelope(trace).map_err(raised)?;
        let content = from_json(ruby, &content)?;
        // What has faded up to the last cycle of decay.
        let as_of = as_of.and_then(|at| Timestamp::from_microsecond((at * 1e6) as i64).ok());
        let as_of = as_of.filter(|at| *at > trace.last_decayed());
        let strength = as_of.map_or(trace.strength(), |at| this.store.strength_at(trace, at));
        hash.aset(key("trace_id"), trace.id().to_string())?;
        hash.aset(key("trace_type"), key(trace.trace_type().as_str()))?;
        hash.aset(key("content_payload"), content)?;
        hash.aset(key("content"), content)?;
        hash.aset(key("strength"), strength)?;
        hash.aset(key("peak_strength"), trace.peak_strength())?;
        hash.aset(key("base_decay_rate"), trace.base_decay_rate())?;
        hash.aset(key("emotional_valence"), trace.emotional_valence())?;
        hash.aset(key("emotional_intensity"), trace.emotional_intensity())?;
        hash.aset(key("domain_tags"), array(ruby, trace.tags())?)?;
        hash.aset(key("origin"), key(trace.origin().as_str()))?;
        hash.aset(key("source_agent_id"), trace.source_agent())?;
        // Equal times are one object: of each, the collector has to look at the whole life long.
        let created = from_time(ruby, trace.created_at())?;
        let time = |at| if at == trace.created_at() { Ok(created) } else { from_time(ruby, at) };
        hash.aset(key("created_at"), created)?;
        hash.aset(key("last_reinforced"), time(trace.last_reinforced())?)?;
        hash.aset(key("last_decayed"), time(as_of.unwrap_or(trace.last_decayed()))?)?;
        hash.aset(key("reinforcement_count"), trace.reinforcement_count())?;
        hash.aset(key("confidence"), trace.confidence())?;
        hash.aset(key("storage_tier"), key(trace.tier().as_str()))?;
        hash.aset(key("partition_id"), trace.partition())?;
        hash.aset(key("encryption_key_id"), trace.encryption_key_id())?;
        let near = this.store.associated(trace.id(), 0.0, MOST_ASSOCIATED);
        let absent = waiting.into_iter().filter(|(_, count)| *count >= ASSOCIATED).map(|(name, _)| name);
        let near = near.iter().map(|near| given_id(near)).chain(absent).take(MOST_ASSOCIATED);
        hash.aset(key("associated_traces"), array(ruby, near)?)?;
        hash.aset(key("parent_trace_id"), trace.parent().map(|id| id.to_string()))?;
        hash.aset(key("child_trace_ids"), array(ruby, this.given_ids(trace.children()))?)?;
        hash.aset(key("unresolved"), trace.is_unresolved())?;
        hash.aset(key("consolidation_candidate"), trace.is_consolidation_candidate())?;
        for (name, value) in &extra {
            hash.aset(key(name), from_json(ruby, value)?)?;
        }
        Ok(hash)
    }
}
