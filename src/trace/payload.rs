//! A trace's payload: JSON text, checked once and shared.

use crate::error::{Error, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_json::ser::Formatter;
use std::sync::Arc;
use std::{fmt, io};

/// Any JSON value, as text. The text is kept byte for byte as it was given, is shared by all copies of
/// a trace, and is not parsed again unless you ask.
///
/// What is accepted can be read back: nesting is at most 127 deep, numbers fit a 64-bit integer or
/// float, and escapes name real characters. How long a payload may be is the store's choice
/// ([`max_payload_bytes`](crate::StoreBuilder::max_payload_bytes)).
///
/// ```
/// use mnemon::Payload;
///
/// let payload = Payload::from_json(r#"{"fact": "tides turn twice a day"}"#)?;
/// assert_eq!(payload.as_value()?["fact"], "tides turn twice a day");
/// assert_eq!(Payload::text("{}").as_str(), r#""{}""#); // text stays text
/// # Ok::<(), mnemon::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Payload(Arc<str>);

impl Payload {
    /// JSON text, as it is. Costs one pass over the text.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), naming line and column, if it is not JSON or
    /// could not be read back.
    pub fn from_json(json: impl AsRef<str> + Into<Arc<str>>) -> Result<Self> {
        check(json.as_ref())?;
        Ok(Self(json.into()))
    }

    /// A JSON string with this content, whatever it looks like.
    pub fn text(content: &str) -> Self {
        Self(Value::from(content).to_string().into())
    }

    /// What `value` serializes to; floats that are no numbers, as serde_json has it, become `null`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it can't be serialized as JSON, or is nested deeper than
    /// 127: it is not followed further than that.
    pub fn new(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let mut json = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut json, Shallow { depth: 0 });
        let written = value.serialize(&mut serializer);
        written.map_err(|error| not_json(error, "give a value that serializes to JSON"))?;
        let json = String::from_utf8(json).map_err(|error| {
            Error::new(crate::ErrorKind::InvalidInput, "payload is not UTF-8: give valid JSON").because(error)
        })?;
        Self::from_json(json)
    }

    /// Text that this crate wrote: checked when it came in, so not again.
    #[cfg(all(any(feature = "sqlite", all(test, feature = "snapshot")), not(loom)))]
    pub(crate) fn trusted(json: &str) -> Self {
        Self(json.into())
    }

    /// Whether text that was trusted is what [`from_json`](Self::from_json) takes. Costs a pass over it.
    #[cfg(all(any(feature = "snapshot", feature = "sqlite"), not(loom)))]
    pub(crate) fn check(&self) -> Result<()> {
        check(&self.0)
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value, parsed now.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if another program has put text into the file that is not
    /// JSON: loading does not parse payloads.
    pub fn as_value(&self) -> Result<Value> {
        self.deserialize()
    }

    /// The payload as a `T`, parsed now.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the text is not JSON, and
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a `T`.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|error| match error.is_data() {
            true => not_json(error, "ask for the type that was stored"),
            false => Error::new(
                crate::ErrorKind::Corrupt,
                "the stored payload is not JSON: replace or remove the trace",
            )
            .because(error),
        })
    }
}

/// As deep as what can be read back. Each level of what is written takes some of the stack.
const MAX_DEPTH: usize = 127;

/// Writes as little as can be, and nothing that is nested too deep.
struct Shallow {
    depth: usize,
}

impl Shallow {
    fn enter(&mut self) -> io::Result<()> {
        self.depth += 1;
        match self.depth <= MAX_DEPTH {
            true => Ok(()),
            false => Err(io::Error::other(format!("it is nested deeper than {MAX_DEPTH}"))),
        }
    }
}

impl Formatter for Shallow {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter()?;
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter()?;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"}")
    }
}

/// A value's own drop goes as deep as it is nested. Costs memory in proportion to it.
fn take_apart(value: Value) {
    let mut parts = vec![value];
    while let Some(part) = parts.pop() {
        match part {
            Value::Array(items) => parts.extend(items),
            Value::Object(entries) => parts.extend(entries.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
}

fn check(json: &str) -> Result<()> {
    match serde_json::from_str::<Readable>(json) {
        Ok(Readable) => Ok(()),
        Err(error) => Err(not_json(error, "give valid JSON text")),
    }
}

fn not_json(error: serde_json::Error, remedy: &str) -> Error {
    Error::new(crate::ErrorKind::InvalidInput, format!("payload can't be used: {remedy}")).because(error)
}

/// A value that is refused is taken apart without recursion, however deep it is.
impl TryFrom<Value> for Payload {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self> {
        Self::new(&value).inspect_err(|_| take_apart(value))
    }
}

/// The value stays yours: dropping one that is nested some ten thousand deep overflows the stack, as serde_json has
/// it.
impl TryFrom<&Value> for Payload {
    type Error = Error;

    fn try_from(value: &Value) -> Result<Self> {
        Self::new(value)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Walks a value and builds nothing. `IgnoredAny` would not do: it skips numbers, escapes and depth
/// that a later parse refuses.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Readable)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Readable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Readable>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_key::<Readable>()?.is_some() {
            entries.next_value::<Readable>()?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Payload;

    #[test]
    fn text_that_could_not_be_read_back_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for bad in ["", "{", "{} {}", "nope", "1e999", r#""\ud800""#, "\"\u{1}\"", &deep] {
            assert!(Payload::from_json(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn text_is_kept_as_it_was_given() -> crate::Result<()> {
        for good in
            [r#" {"b":1, "a": [1.0, 1e3, 12345678901234567890], "a": "café 日本 \u00e9"} "#, "null", "\"\""]
        {
            let payload = Payload::from_json(good)?;
            assert_eq!(payload.as_str(), good);
            payload.as_value()?;
        }
        Ok(())
    }
}
