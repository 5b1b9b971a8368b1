//! Ruby values as JSON, text, numbers and times, and back.

use crate::error::invalid;
use jiff::Timestamp;
use magnus::time::{Offset, Timespec};
use magnus::{
    Error, Float, Integer, RArray, RHash, RString, Ruby, Symbol, Time, Value, prelude::*, r_hash::ForEach,
};
use serde_json::{Map, Number, Value as Json};

/// How a value without a counterpart in JSON is converted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Refused with an `ArgumentError` that names the field.
    Strict,
    /// Stored in a form from which [`from_json`] makes an equal value where that is possible, and scrubbed or as text
    /// where it is not.
    Faithful,
}

/// Deepest nesting of a payload.
const MAX_DEPTH: usize = 100;
const SYMBOL: &str = "$symbol";
const STRING_KEY: &str = "$string:";

pub(crate) fn to_json(ruby: &Ruby, value: Value, field: &str, mode: Mode) -> Result<Json, Error> {
    json(ruby, value, field, mode, 0)
}

fn json(ruby: &Ruby, value: Value, field: &str, mode: Mode, depth: usize) -> Result<Json, Error> {
    if depth > MAX_DEPTH {
        return Err(invalid(format!("{field} is nested more than {MAX_DEPTH} deep: give a flatter value")));
    }
    if value.is_nil() {
        return Ok(Json::Null);
    }
    if let Some(text) = RString::from_value(value) {
        return Ok(Json::String(string(text, field, mode)?));
    }
    if let Some(symbol) = Symbol::from_value(value) {
        let name = symbol.name()?.into_owned();
        return Ok(match mode {
            Mode::Strict => Json::String(name),
            Mode::Faithful => Json::Object(Map::from_iter([(SYMBOL.to_owned(), Json::String(name))])),
        });
    }
    if let Some(hash) = RHash::from_value(value) {
        let mut map = Map::new();
        hash.foreach(|key: Value, value: Value| {
            map.insert(map_key(key, field, mode)?, json(ruby, value, field, mode, depth + 1)?);
            Ok(ForEach::Continue)
        })?;
        return Ok(Json::Object(map));
    }
    if let Some(array) = RArray::from_value(value) {
        let each = array.into_iter().map(|item| json(ruby, item, field, mode, depth + 1));
        return Ok(Json::Array(each.collect::<Result<_, _>>()?));
    }
    if let Some(number) = Integer::from_value(value) {
        if let Ok(number) = number.to_i64() {
            return Ok(Json::from(number));
        }
        if let Ok(number) = number.to_u64() {
            return Ok(Json::from(number));
        }
    } else if let Some(number) = Float::from_value(value) {
        if let Some(number) = Number::from_f64(number.to_f64()) {
            return Ok(Json::Number(number));
        }
        if mode == Mode::Faithful {
            return Ok(Json::Null);
        }
    } else if value.is_kind_of(ruby.class_true_class()) {
        return Ok(Json::Bool(true));
    } else if value.is_kind_of(ruby.class_false_class()) {
        return Ok(Json::Bool(false));
    }
    match mode {
        Mode::Faithful => Ok(Json::String(string(value.to_r_string()?, field, mode)?)),
        Mode::Strict => {
            let shown = value.inspect();
            Err(invalid(format!(
                "{field} contains {shown}: give hashes, arrays, text, finite numbers of 64 bits, true, false or nil"
            )))
        }
    }
}

fn map_key(key: Value, field: &str, mode: Mode) -> Result<String, Error> {
    match (RString::from_value(key), mode) {
        (Some(text), Mode::Faithful) => Ok(format!("{STRING_KEY}{}", string(text, field, mode)?)),
        _ => string(key.to_r_string()?, field, mode),
    }
}

/// Returns the value of JSON, with symbols as the keys of hashes.
pub(crate) fn from_json(ruby: &Ruby, json: &Json) -> Result<Value, Error> {
    Ok(match json {
        Json::Null => ruby.qnil().as_value(),
        Json::Bool(true) => ruby.qtrue().as_value(),
        Json::Bool(false) => ruby.qfalse().as_value(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => ruby.integer_from_i64(number).as_value(),
            (None, Some(number)) => ruby.integer_from_u64(number).as_value(),
            (None, None) => ruby.float_from_f64(number.as_f64().unwrap_or(f64::NAN)).as_value(),
        },
        Json::String(text) => ruby.str_new(text).as_value(),
        Json::Array(items) => {
            let array = ruby.ary_new_capa(items.len());
            for item in items {
                array.push(from_json(ruby, item)?)?;
            }
            array.as_value()
        }
        Json::Object(map) => {
            if let (1, Some(Json::String(name))) = (map.len(), map.get(SYMBOL)) {
                return Ok(ruby.to_symbol(name).as_value());
            }
            let hash = ruby.hash_new();
            for (key, value) in map {
                let value = from_json(ruby, value)?;
                match key.strip_prefix(STRING_KEY) {
                    Some(key) => hash.aset(ruby.str_new(key), value)?,
                    None => hash.aset(ruby.to_symbol(key), value)?,
                }
            }
            hash.as_value()
        }
    })
}

/// Returns text in UTF-8. Text in another encoding is converted; bytes that are no text are refused or left out.
pub(crate) fn string(text: RString, field: &str, mode: Mode) -> Result<String, Error> {
    if let Ok(text) = text.to_string() {
        return Ok(text);
    }
    match mode {
        Mode::Strict => {
            Err(invalid(format!("{field} is not valid text: give text in UTF-8, or encode its bytes")))
        }
        Mode::Faithful => {
            let copy: RString = text.funcall("dup", ())?;
            let utf8: RString = copy.funcall("force_encoding", ("UTF-8",))?;
            utf8.funcall::<_, _, RString>("scrub", ("",))?.to_string()
        }
    }
}

/// Returns the text of a String or the name of a Symbol.
pub(crate) fn text(value: Value, field: &str, mode: Mode) -> Result<String, Error> {
    match (RString::from_value(value), Symbol::from_value(value), mode) {
        (Some(text), ..) => string(text, field, mode),
        (None, Some(symbol), _) => Ok(symbol.name()?.into_owned()),
        (None, None, Mode::Faithful) => string(value.to_r_string()?, field, mode),
        (None, None, Mode::Strict) => Err(invalid(format!("{field} is {}: give text", value.inspect()))),
    }
}

/// Returns a number as a float. What is no number is refused.
pub(crate) fn float(value: Value, field: &str) -> Result<f64, Error> {
    f64::try_convert(value).map_err(|_| invalid(format!("{field} is {}: give a number", value.inspect())))
}

/// Returns the time of a Time, of an object that answers to `to_time`, or of text in ISO 8601; text without an offset
/// is UTC.
pub(crate) fn time(value: Value, field: &str) -> Result<Timestamp, Error> {
    let bad = || invalid(format!("{field} is {}: give a Time, or text in ISO 8601", value.inspect()));
    if let Some(text) = RString::from_value(value) {
        return parse_time(&text.to_string()?).ok_or_else(bad);
    }
    let time = match Time::from_value(value) {
        Some(time) => time,
        None => value.funcall("to_time", ()).map_err(|_| bad())?,
    };
    let Timespec { tv_sec, tv_nsec } = time.timespec().map_err(|_| bad())?;
    // The store's times have microseconds.
    Timestamp::new(tv_sec, (tv_nsec / 1_000 * 1_000) as i32).map_err(|_| bad())
}

/// Ruby's own format of a time is `2026-11-24 09:00:00 UTC` or `2026-11-24 09:00:00 +0100`.
fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim().replace(" UTC", "Z");
    let (date, rest) = text.split_once([' ', 'T']).unwrap_or((&text, "00:00:00"));
    let text = format!("{date}T{}", rest.replace(' ', ""));
    text.parse().or_else(|_| format!("{text}Z").parse()).ok()
}

pub(crate) fn from_time(ruby: &Ruby, at: Timestamp) -> Result<Time, Error> {
    let micros = at.as_microsecond();
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    ruby.time_timespec_new(Timespec { tv_sec: seconds, tv_nsec: micros * 1_000 }, Offset::utc())
}
