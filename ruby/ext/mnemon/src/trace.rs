//! `Mnemon::Trace`, and the fields of a trace given as a Hash.

use crate::convert::{Mode, float, from_json, from_time, string, text, time, to_json};
use crate::error::{invalid, native, raised};
use jiff::Timestamp;
use magnus::{
    Error, RArray, RClass, RHash, RModule, RString, Ruby, Time, Value, prelude::*, r_hash::ForEach,
};
use mnemon::{NewTrace, Payload, TraceEdit, TraceId, TraceType};
use serde_json::Value as Json;
use std::sync::Arc;

/// A trace as it was when it was read.
#[magnus::wrap(class = "Mnemon::Trace", free_immediately, size)]
pub(crate) struct Trace(pub(crate) Arc<mnemon::Trace>);

pub(crate) fn ids(value: Value, field: &str) -> Result<Vec<TraceId>, Error> {
    list(value, field)?.into_iter().map(|item| id(item, field)).collect()
}

pub(crate) fn id(value: Value, field: &str) -> Result<TraceId, Error> {
    if let Some(text) = RString::from_value(value) {
        return string(text, field, Mode::Strict)?.parse().map_err(|_| bad_id(value, field));
    }
    <&Trace>::try_convert(value).map(|trace| trace.0.id()).map_err(|_| bad_id(value, field))
}

fn bad_id(value: Value, field: &str) -> Error {
    invalid(format!("{field} is {}: give a UUID, or a trace", value.inspect()))
}

fn list(value: Value, field: &str) -> Result<RArray, Error> {
    RArray::from_value(value).ok_or_else(|| invalid(format!("{field} is {}: give an Array", value.inspect())))
}

fn texts(value: Value, field: &str) -> Result<Vec<String>, Error> {
    list(value, field)?.into_iter().map(|item| text(item, field, Mode::Strict)).collect()
}

fn numbers(value: Value, field: &str) -> Result<Box<[f32]>, Error> {
    list(value, field)?.into_iter().map(|item| float(item, field).map(|number| number as f32)).collect()
}

fn flag(value: Value, field: &str) -> Result<bool, Error> {
    match value.inspect().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(invalid(format!("{field} is {other}: give true or false"))),
    }
}

fn count(value: Value, field: &str) -> Result<u32, Error> {
    u32::try_convert(value)
        .map_err(|_| invalid(format!("{field} is {}: give a number from 0 to 2^32 - 1", value.inspect())))
}

fn payload(ruby: &Ruby, value: Value) -> Result<Payload, Error> {
    Payload::new(&to_json(ruby, value, "payload", Mode::Strict)?).map_err(raised)
}

pub(crate) fn named<T: std::str::FromStr<Err = mnemon::Error>>(
    value: Value,
    field: &str,
) -> Result<T, Error> {
    text(value, field, Mode::Strict)?.parse().map_err(raised)
}

/// The fields of a Hash with symbols as its keys, except those that are nil.
pub(crate) fn fields(hash: RHash) -> Result<Vec<(String, Value)>, Error> {
    let mut fields = Vec::with_capacity(hash.len());
    hash.foreach(|key: Value, value: Value| {
        fields.push((text(key, "a field's name", Mode::Strict)?, value));
        Ok(ForEach::Continue)
    })?;
    Ok(fields)
}

/// Returns the new trace that a Hash describes.
pub(crate) fn new_trace(ruby: &Ruby, hash: RHash) -> Result<NewTrace, Error> {
    let kind: Option<Value> = hash.get(ruby.to_symbol("type"));
    let kind: TraceType = kind.map_or(Ok(TraceType::Semantic), |kind| named(kind, "type"))?;
    let mut new = NewTrace::new(kind, Json::Null);
    for (field, value) in fields(hash)? {
        let name = field.as_str();
        if name == "payload" {
            new = new.payload(payload(ruby, value)?);
            continue;
        }
        if value.is_nil() {
            continue;
        }
        new = match name {
            "type" => new,
            "id" => new.id(id(value, name)?),
            "strength" => new.strength(float(value, name)?),
            "peak_strength" => new.peak_strength(float(value, name)?),
            "base_decay_rate" => new.base_decay_rate(float(value, name)?),
            "emotional_valence" => new.emotional_valence(float(value, name)?),
            "emotional_intensity" => new.emotional_intensity(float(value, name)?),
            "confidence" => new.confidence(float(value, name)?),
            "tags" => new.tags(texts(value, name)?),
            "origin" => new.origin(named(value, name)?),
            "source_agent" => new.source_agent(text(value, name, Mode::Strict)?),
            "partition" => new.partition(text(value, name, Mode::Strict)?),
            "encryption_key_id" => new.encryption_key_id(text(value, name, Mode::Strict)?),
            "embedding" => new.embedding(numbers(value, name)?),
            "parent" => new.parent(id(value, name)?),
            "children" => new.children(ids(value, name)?),
            "created_at" => new.created_at(time(value, name)?),
            "last_reinforced" => new.last_reinforced(time(value, name)?),
            "last_decayed" => new.last_decayed(time(value, name)?),
            "valid_until" => new.valid_until(time(value, name)?),
            "superseded_by" => new.superseded_by(id(value, name)?),
            "reinforcement_count" => new.reinforcement_count(count(value, name)?),
            "tier" => new.tier(named(value, name)?),
            "unresolved" => new.unresolved(flag(value, name)?),
            "consolidation_candidate" => new.consolidation_candidate(flag(value, name)?),
            "pinned" => new.pinned(flag(value, name)?),
            // A trace as a Hash has it; the store counts revisions itself.
            "revision" => new,
            _ => return Err(invalid(format!("{name} is no field of a trace"))),
        };
    }
    Ok(new)
}

/// A change of one field.
pub(crate) enum Change {
    Payload(Payload),
    Number(fn(TraceEdit<'_>, f64) -> TraceEdit<'_>, f64),
    Flag(fn(TraceEdit<'_>, bool) -> TraceEdit<'_>, bool),
    Tags(Vec<String>),
    SourceAgent(String),
    KeyId(Option<String>),
    Embedding(Option<Box<[f32]>>),
    Parent(Option<TraceId>),
    Children(Vec<TraceId>),
    ValidUntil(Option<Timestamp>),
    SupersededBy(TraceId),
}

impl Change {
    /// Returns the changes that a Hash describes. Nil removes what can be removed.
    pub(crate) fn all(ruby: &Ruby, hash: RHash) -> Result<Vec<Self>, Error> {
        let each = fields(hash)?.into_iter().map(|(name, value)| Self::of(ruby, &name, value));
        each.collect()
    }

    fn of(ruby: &Ruby, name: &str, value: Value) -> Result<Self, Error> {
        let some = || Some(value).filter(|value| !value.is_nil());
        Ok(match name {
            "payload" => Self::Payload(payload(ruby, value)?),
            "strength" => Self::Number(|edit, value| edit.strength(value), float(value, name)?),
            "base_decay_rate" => Self::Number(|edit, value| edit.base_decay_rate(value), float(value, name)?),
            "emotional_valence" => {
                Self::Number(|edit, value| edit.emotional_valence(value), float(value, name)?)
            }
            "emotional_intensity" => {
                Self::Number(|edit, value| edit.emotional_intensity(value), float(value, name)?)
            }
            "confidence" => Self::Number(|edit, value| edit.confidence(value), float(value, name)?),
            "unresolved" => Self::Flag(|edit, value| edit.unresolved(value), flag(value, name)?),
            "consolidation_candidate" => {
                Self::Flag(|edit, value| edit.consolidation_candidate(value), flag(value, name)?)
            }
            "pinned" => Self::Flag(|edit, value| edit.pinned(value), flag(value, name)?),
            "tags" => Self::Tags(texts(value, name)?),
            "source_agent" => Self::SourceAgent(text(value, name, Mode::Strict)?),
            "encryption_key_id" => {
                Self::KeyId(some().map(|value| text(value, name, Mode::Strict)).transpose()?)
            }
            "embedding" => Self::Embedding(some().map(|value| numbers(value, name)).transpose()?),
            "parent" => Self::Parent(some().map(|value| id(value, name)).transpose()?),
            "children" => Self::Children(ids(value, name)?),
            "valid_until" => Self::ValidUntil(some().map(|value| time(value, name)).transpose()?),
            "superseded_by" => Self::SupersededBy(id(value, name)?),
            _ => return Err(invalid(format!("{name} is no field that an update can change"))),
        })
    }

    pub(crate) fn apply_all<'a>(changes: &[Self], edit: TraceEdit<'a>) -> TraceEdit<'a> {
        changes.iter().fold(edit, |edit, change| change.apply(edit))
    }

    fn apply<'a>(&self, edit: TraceEdit<'a>) -> TraceEdit<'a> {
        match self {
            Self::Payload(payload) => edit.payload(payload.clone()),
            Self::Number(set, number) => set(edit, *number),
            Self::Flag(set, flag) => set(edit, *flag),
            Self::Tags(tags) => edit.tags(tags),
            Self::SourceAgent(agent) => edit.source_agent(agent),
            Self::KeyId(Some(key)) => edit.encryption_key_id(key),
            Self::KeyId(None) => edit.no_encryption_key_id(),
            Self::Embedding(Some(vector)) => edit.embedding(vector.clone()),
            Self::Embedding(None) => edit.no_embedding(),
            Self::Parent(Some(parent)) => edit.parent(*parent),
            Self::Parent(None) => edit.no_parent(),
            Self::Children(children) => edit.children(children.iter().copied()),
            Self::ValidUntil(Some(at)) => edit.valid_until(*at),
            Self::ValidUntil(None) => edit.no_valid_until(),
            Self::SupersededBy(id) => edit.superseded_by(*id),
        }
    }
}

pub(crate) fn array<T: magnus::IntoValue>(
    ruby: &Ruby,
    items: impl IntoIterator<Item = T>,
) -> Result<RArray, Error> {
    let array = ruby.ary_new();
    for item in items {
        array.push(item)?;
    }
    Ok(array)
}

fn maybe_time(ruby: &Ruby, at: Option<Timestamp>) -> Result<Option<Time>, Error> {
    at.map(|at| from_time(ruby, at)).transpose()
}

impl Trace {
    fn payload(ruby: &Ruby, this: &Self) -> Result<Value, Error> {
        from_json(ruby, &this.0.payload().as_value().map_err(raised)?)
    }

    fn tags(ruby: &Ruby, this: &Self) -> Result<RArray, Error> {
        array(ruby, this.0.tags())
    }

    fn embedding(ruby: &Ruby, this: &Self) -> Result<Option<RArray>, Error> {
        this.0
            .embedding()
            .map(|vector| array(ruby, vector.iter().map(|number| f64::from(*number))))
            .transpose()
    }

    fn children(ruby: &Ruby, this: &Self) -> Result<RArray, Error> {
        array(ruby, this.0.children().iter().map(TraceId::to_string))
    }

    fn eq(&self, other: Value) -> bool {
        <&Trace>::try_convert(other).is_ok_and(|other| *self.0 == *other.0)
    }

    fn hash(&self) -> u64 {
        let bytes = *self.0.id().as_bytes();
        u128::from_be_bytes(bytes) as u64 ^ self.0.revision()
    }
}

/// Defines a method for each name, from an expression of the trace.
macro_rules! readers {
    ($class:ident: $($name:literal => |$ruby:ident, $trace:ident| $value:expr;)+) => {
        $({
            fn read($ruby: &Ruby, this: &Trace) -> Result<Value, Error> {
                let $trace = &*this.0;
                Ok($ruby.into_value($value))
            }
            $class.define_method($name, native!(read, 0))?;
        })+
    };
}

pub(crate) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class: RClass = module.define_class("Trace", ruby.class_object())?;
    class.undef_default_alloc_func();
    readers! { class:
        "id" => |ruby, trace| trace.id().to_string();
        "type" => |ruby, trace| ruby.to_symbol(trace.trace_type().as_str());
        "strength" => |ruby, trace| trace.strength();
        "peak_strength" => |ruby, trace| trace.peak_strength();
        "base_decay_rate" => |ruby, trace| trace.base_decay_rate();
        "emotional_valence" => |ruby, trace| trace.emotional_valence();
        "emotional_intensity" => |ruby, trace| trace.emotional_intensity();
        "confidence" => |ruby, trace| trace.confidence();
        "origin" => |ruby, trace| ruby.to_symbol(trace.origin().as_str());
        "tier" => |ruby, trace| ruby.to_symbol(trace.tier().as_str());
        "source_agent" => |ruby, trace| trace.source_agent();
        "partition" => |ruby, trace| trace.partition();
        "encryption_key_id" => |ruby, trace| trace.encryption_key_id();
        "parent" => |ruby, trace| trace.parent().map(|id| id.to_string());
        "superseded_by" => |ruby, trace| trace.superseded_by().map(|id| id.to_string());
        "created_at" => |ruby, trace| from_time(ruby, trace.created_at())?;
        "last_reinforced" => |ruby, trace| from_time(ruby, trace.last_reinforced())?;
        "last_decayed" => |ruby, trace| from_time(ruby, trace.last_decayed())?;
        "valid_until" => |ruby, trace| maybe_time(ruby, trace.valid_until())?;
        "reinforcement_count" => |ruby, trace| trace.reinforcement_count();
        "revision" => |ruby, trace| trace.revision();
        "unresolved" => |ruby, trace| trace.is_unresolved();
        "consolidation_candidate" => |ruby, trace| trace.is_consolidation_candidate();
        "pinned" => |ruby, trace| trace.is_pinned();
    }
    class.define_method("payload", native!(Trace::payload, 0))?;
    class.define_method("tags", native!(Trace::tags, 0))?;
    class.define_method("embedding", native!(Trace::embedding, 0))?;
    class.define_method("children", native!(Trace::children, 0))?;
    class.define_method("==", native!(Trace::eq, 1))?;
    class.define_method("eql?", native!(Trace::eq, 1))?;
    class.define_method("hash", native!(Trace::hash, 0))?;
    Ok(())
}
