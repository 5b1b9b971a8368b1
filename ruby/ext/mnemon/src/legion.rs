//! Traces in the shape of the original gem's Hashes, and what its runners do with all of them.
//!
//! Whatever the Hash has and a trace has no field for lies in the payload, beside what the Hash calls its content:
//! `{"$legion": {"content": …, "extra": {…}}}`. A trace without such things has its content alone as the payload.

use crate::convert::{Mode, float, from_json, from_time, text, time, to_json};
use crate::error::{invalid, raised};
use crate::store::{Found, Store};
use crate::trace::{Trace, array};
use crate::unlocked::compute;
use jiff::Timestamp;
use magnus::{Error, RArray, RHash, RModule, RString, Ruby, Value, method, prelude::*, r_hash::ForEach};
use mnemon::{ErrorKind, Link, NewTrace, Order, Origin, Payload, Tier, TraceId, TraceType};
use serde_json::{Map, Value as Json, json};
use std::collections::HashSet;

const ENVELOPE: &str = "$legion";
/// What the payload of a trace with an envelope begins with.
const MARK: &str = "{\"$legion\":";
/// The number of co-activations that associates.
const ASSOCIATED: u32 = 3;
/// A count that does not associate, and that the next co-activation makes one that does.
const APART: u32 = ASSOCIATED - 1;
/// The most traces in the list of associated ones.
const MOST_ASSOCIATED: usize = 20;

/// A UUID is itself; any other name stands for an id of its own.
fn id_of(name: &str) -> TraceId {
    name.parse().unwrap_or_else(|_| TraceId::from_reference(name))
}

fn name(value: Value) -> Result<String, Error> {
    text(value, "trace_id", Mode::Faithful)
}

fn number(value: Value, field: &str, least: f64, most: f64) -> Result<Option<f64>, Error> {
    let number = float(value, field)?;
    Ok((!number.is_nan()).then(|| number.clamp(least, most)))
}

/// A trace of the gem's shape, taken apart.
struct Parts {
    new: NewTrace,
    id: TraceId,
    partition: String,
    associated: Vec<String>,
}

fn parts(ruby: &Ruby, hash: RHash, partition: &str) -> Result<Parts, Error> {
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
                if tags.windows(2).any(|pair| pair[0] >= pair[1]) || RArray::from_value(value).is_none() {
                    extra.insert(key.clone(), to_json(ruby, value, field, mode)?);
                }
                Some(made.tags(tags.iter().filter(|tag| !tag.is_empty())))
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
            "source_agent_id" => {
                Some(text(value, field, mode)?).filter(|t| !t.is_empty()).map(|t| made.source_agent(t))
            }
            "encryption_key_id" => {
                Some(text(value, field, mode)?).filter(|t| !t.is_empty()).map(|t| made.encryption_key_id(t))
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
    let payload = if extra.is_empty() && content.get(ENVELOPE).is_none() {
        content
    } else {
        json!({ENVELOPE: {"content": content, "extra": extra}})
    };
    let new = new.partition(&partition).payload(Payload::new(&payload).map_err(raised)?);
    Ok(Parts { new, id, partition, associated })
}

/// The type that a Hash of the trace has, if it is none of the store's.
fn other_type(trace: &mnemon::Trace) -> Option<String> {
    if !trace.payload().as_str().starts_with(MARK) {
        return None;
    }
    let payload = trace.payload().as_value().ok()?;
    Some(payload[ENVELOPE]["extra"].get("trace_type")?["$symbol"].as_str()?.to_owned())
}

/// The id that a Hash of the trace has.
fn given_id(trace: &mnemon::Trace) -> String {
    let given = || {
        let payload = trace.payload().as_value().ok()?;
        Some(payload[ENVELOPE]["extra"].get("trace_id")?.as_str()?.to_owned())
    };
    let marked = trace.payload().as_str().starts_with(MARK);
    marked.then(given).flatten().unwrap_or_else(|| trace.id().to_string())
}

impl Store {
    fn given_ids<'a>(&self, ids: impl IntoIterator<Item = &'a TraceId>) -> Vec<String> {
        let given =
            |id: &TraceId| self.store.get(*id).map_or_else(|| id.to_string(), |trace| given_id(&trace));
        ids.into_iter().map(given).collect()
    }

    fn hash(ruby: &Ruby, this: &Self, trace: &Trace, as_of: Option<f64>) -> Result<RHash, Error> {
        let trace = &*trace.0;
        let (hash, key) = (ruby.hash_new(), |name: &str| ruby.to_symbol(name));
        let mut payload = trace.payload().as_value().map_err(raised)?;
        let mut extra = Json::Null;
        if trace.payload().as_str().starts_with(MARK) {
            extra = payload[ENVELOPE]["extra"].take();
            payload = payload[ENVELOPE]["content"].take();
        }
        let content = from_json(ruby, &payload)?;
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
        hash.aset(key("created_at"), from_time(ruby, trace.created_at())?)?;
        hash.aset(key("last_reinforced"), from_time(ruby, trace.last_reinforced())?)?;
        hash.aset(key("last_decayed"), from_time(ruby, as_of.unwrap_or(trace.last_decayed()))?)?;
        hash.aset(key("reinforcement_count"), trace.reinforcement_count())?;
        hash.aset(key("confidence"), trace.confidence())?;
        hash.aset(key("storage_tier"), key(trace.tier().as_str()))?;
        hash.aset(key("partition_id"), trace.partition())?;
        hash.aset(key("encryption_key_id"), trace.encryption_key_id())?;
        let near = this.store.associated(trace.id(), 0.0, MOST_ASSOCIATED);
        hash.aset(key("associated_traces"), array(ruby, near.iter().map(|near| given_id(near)))?)?;
        hash.aset(key("parent_trace_id"), trace.parent().map(|id| id.to_string()))?;
        hash.aset(key("child_trace_ids"), array(ruby, this.given_ids(trace.children()))?)?;
        hash.aset(key("unresolved"), trace.is_unresolved())?;
        hash.aset(key("consolidation_candidate"), trace.is_consolidation_candidate())?;
        if let Json::Object(extra) = extra {
            for (name, value) in &extra {
                hash.aset(key(name), from_json(ruby, value)?)?;
            }
        }
        Ok(hash)
    }

    /// Stores a trace, and makes its links those of its list. Returns the associated ids that are not stored.
    fn put_hash(ruby: &Ruby, this: &Self, hash: RHash, partition: RString) -> Result<RArray, Error> {
        let Parts { new, id, partition, associated } = parts(ruby, hash, &partition.to_string()?)?;
        // A partition never changes, so a trace that changes its own is another one.
        if this.store.get(id).is_some_and(|old| old.partition() != partition) {
            this.store.remove(id).map_err(raised)?;
        }
        this.store.replace(new).map_err(raised)?;
        let wanted: Vec<_> = associated.into_iter().map(|name| (id_of(&name), name)).collect();
        let mut known = HashSet::new();
        for link in this.store.links(id).into_iter().filter(Link::is_associated) {
            let Some(other) = link.other(id) else { continue };
            if wanted.iter().any(|(id, _)| *id == other) {
                known.insert(other);
            } else {
                let apart = Link::new((id, other), APART, link.first_at(), link.last_at()).map_err(raised)?;
                this.store.put_link(apart).map_err(raised)?;
            }
        }
        let absent = ruby.ary_new();
        for (other, name) in wanted.into_iter().filter(|(other, _)| *other != id && !known.contains(other)) {
            if !this.link(id, other, ASSOCIATED)? {
                absent.push(name)?;
            }
        }
        Ok(absent)
    }

    /// Links two traces, with at least this count; `false` if one of them is not stored.
    fn link(&self, a: TraceId, b: TraceId, count: u32) -> Result<bool, Error> {
        let (count, now) =
            (count.max(self.store.link(a, b).map_or(0, |link| link.count())), Timestamp::now());
        match self.store.put_link(Link::new((a, b), count, now, now).map_err(raised)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(raised(error)),
        }
    }

    fn link_named(&self, a: Value, b: Value, count: u32) -> Result<bool, Error> {
        self.link(id_of(&name(a)?), id_of(&name(b)?), count)
    }

    /// Returns the count of two traces, or nil if one of them is not stored.
    fn co_activate_named(&self, a: Value, b: Value) -> Result<Option<u32>, Error> {
        match self.store.co_activate(id_of(&name(a)?), id_of(&name(b)?)) {
            Ok(link) => Ok(Some(link.count())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(raised(error)),
        }
    }

    fn links_named(ruby: &Ruby, this: &Self, id: Value) -> Result<RHash, Error> {
        let (id, hash) = (id_of(&name(id)?), ruby.hash_new());
        for link in this.store.links(id) {
            if let Some(other) = link.other(id) {
                hash.aset(this.given_ids([&other]).pop(), link.count())?;
            }
        }
        Ok(hash)
    }

    fn find_named(&self, id: Value) -> Result<Option<Trace>, Error> {
        Ok(self.store.get(id_of(&name(id)?)).map(Trace))
    }

    fn delete_named(&self, id: Value) -> Result<bool, Error> {
        self.store.remove(id_of(&name(id)?)).map(|trace| trace.is_some()).map_err(raised)
    }

    fn given_id(trace: &Trace) -> String {
        given_id(&trace.0)
    }

    fn of_type(&self, kind: String, min_strength: f64, limit: usize) -> Result<Found, Error> {
        let known = kind.parse::<TraceType>();
        compute(|| {
            let query = self.store.query().min_strength(min_strength).include_invalid();
            let query = match known {
                Ok(known) => query.of_type(known).filter(|trace| other_type(trace).is_none()),
                Err(_) => query.filter(|trace| other_type(trace).is_some_and(|other| other == kind)),
            };
            query.limit(limit).run()
        })
        .map(Found::new)
    }

    fn associated_named(&self, id: Value, min_strength: f64, limit: usize) -> Result<Found, Error> {
        Ok(Found::new(self.store.associated(id_of(&name(id)?), min_strength, limit)))
    }

    fn walk_named(
        ruby: &Ruby,
        this: &Self,
        start: Value,
        hops: usize,
        min_strength: f64,
    ) -> Result<RArray, Error> {
        let start = id_of(&name(start)?);
        let steps = compute(|| {
            let mut walk = this.store.walk(start, hops.max(1), min_strength);
            let steps: Vec<_> = walk.by_ref().collect();
            let named = steps.iter().map(|step| {
                let path = this.given_ids(&walk.path(step.trace.id()));
                (given_id(&step.trace), step.depth, path)
            });
            named.collect::<Vec<_>>()
        })?;
        let all = ruby.ary_new_capa(steps.len());
        for (id, depth, path) in steps {
            let hash = ruby.hash_new();
            hash.aset(ruby.to_symbol("trace_id"), id)?;
            hash.aset(ruby.to_symbol("depth"), depth)?;
            hash.aset(ruby.to_symbol("path"), array(ruby, path)?)?;
            all.push(hash)?;
        }
        Ok(all)
    }

    /// Returns the number of traces that can fade, and the number that a cycle of decay has removed.
    fn decay_counts(ruby: &Ruby, this: &Self) -> Result<(usize, usize), Error> {
        let (before, removed) = this.waiting(ruby, |store| {
            let removed = store.decay()?;
            let fades = store.iter().filter(|trace| trace.base_decay_rate() > 0.0).count();
            Ok((fades, removed.traces))
        })?;
        Ok((before, removed))
    }

    fn strongest(&self, min_strength: f64, limit: usize) -> Result<Found, Error> {
        let query = self.store.query().min_strength(min_strength).include_invalid();
        compute(|| query.order(Order::Strength).limit(limit).run()).map(Found::new)
    }
}

pub(crate) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Store", ruby.class_object())?;
    class.define_method("legion_hash", method!(Store::hash, 2))?;
    class.define_method("legion_put", method!(Store::put_hash, 2))?;
    class.define_method("legion_link", method!(Store::link_named, 3))?;
    class.define_method("legion_co_activate", method!(Store::co_activate_named, 2))?;
    class.define_method("legion_links", method!(Store::links_named, 1))?;
    class.define_method("legion_find", method!(Store::find_named, 1))?;
    class.define_method("legion_delete", method!(Store::delete_named, 1))?;
    class.define_method("legion_of_type", method!(Store::of_type, 3))?;
    class.define_method("legion_associated", method!(Store::associated_named, 3))?;
    class.define_method("legion_walk", method!(Store::walk_named, 3))?;
    class.define_method("legion_decay", method!(Store::decay_counts, 0))?;
    class.define_method("legion_strongest", method!(Store::strongest, 2))?;
    let trace = module.define_class("Trace", ruby.class_object())?;
    trace.define_method("legion_id", method!(|this: &Trace| Store::given_id(this), 0))?;
    Ok(())
}
