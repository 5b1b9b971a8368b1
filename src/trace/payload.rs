//! The payload of a trace: JSON text, checked once and shared.

use crate::error::{Error, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_json::ser::Formatter;
use std::sync::Arc;
use std::{fmt, io};

/// A JSON value, as text. The text is stored byte for byte as given, shared by all copies of a trace, and
/// parsed again only when you ask.
///
/// Every accepted payload can be parsed again: it is nested at most 127 deep, its numbers fit a 64-bit integer
/// or float, and its escapes are valid characters. The store limits the length
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
    /// Takes JSON text as it is. Cost: one pass over the text.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), with line and column, if it is not JSON that can be parsed
    /// again.
    pub fn from_json(json: impl AsRef<str> + Into<Arc<str>>) -> Result<Self> {
        check(json.as_ref())?;
        Ok(Self(json.into()))
    }

    /// A JSON string with this content, which is escaped and never parsed.
    pub fn text(content: &str) -> Self {
        Self(Value::from(content).to_string().into())
    }

    /// Serializes `value` to JSON. NaN and infinite floats become `null`, as in serde_json.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the value can't be serialized as JSON, or is nested deeper
    /// than 127, where serialization stops.
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

    /// Takes text that this crate wrote, without a check: it was checked when it was first stored.
    #[cfg(all(any(feature = "snapshot", feature = "sqlite"), not(loom)))]
    pub(crate) fn trusted(json: &str) -> Self {
        Self(json.into())
    }

    /// Checks a [`trusted`](Self::trusted) payload as [`from_json`](Self::from_json) does. Cost: one pass over it.
    #[cfg(all(any(feature = "snapshot", feature = "sqlite"), not(loom)))]
    pub(crate) fn check(&self) -> Result<()> {
        check(&self.0)
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the payload. Cost: one pass over the text.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if another program has written text that is not JSON into the file:
    /// loading does not parse payloads.
    pub fn as_value(&self) -> Result<Value> {
        self.deserialize()
    }

    /// Returns one value of the payload, by its path: the keys and indexes that lead to it, separated by dots, or a
    /// JSON pointer (RFC 6901), which starts with a slash. `None` if there is none. Cost: one pass over the text.
    ///
    /// ```
    /// use mnemon::Payload;
    ///
    /// let payload = Payload::from_json(r#"{"place": {"names": ["Ana", "the bar"]}}"#)?;
    /// assert_eq!(payload.get("place.names.1")?, Some("the bar".into()));
    /// assert_eq!(payload.get("/place/names/1")?, payload.get("place.names.1")?);
    /// assert_eq!(payload.get("place.depth")?, None);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`as_value`](Self::as_value).
    pub fn get(&self, path: &str) -> Result<Option<Value>> {
        let mut value = self.as_value()?;
        let found = if path.starts_with('/') { value.pointer_mut(path) } else { by_dots(&mut value, path) };
        Ok(found.map(Value::take))
    }

    /// Parses the payload as a `T`. Cost: one pass over the text.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the text is not JSON, and
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a `T`.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|error| {
            if error.is_data() {
                not_json(error, "ask for the type that was stored")
            } else {
                Error::new(
                    crate::ErrorKind::Corrupt,
                    "the stored payload is not JSON: replace or remove the trace",
                )
                .because(error)
            }
        })
    }
}

fn by_dots<'v>(value: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    path.split('.').try_fold(value, |value, key| match value {
        Value::Object(entries) => entries.get_mut(key),
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The deepest nesting that can be parsed again; each level takes stack when it is written.
const MAX_DEPTH: usize = 127;

/// Formats compactly, and fails at [`MAX_DEPTH`].
struct Shallow {
    depth: usize,
}

impl Shallow {
    fn enter(&mut self) -> io::Result<()> {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            Ok(())
        } else {
            Err(io::Error::other(format!("it is nested deeper than {MAX_DEPTH}")))
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

/// A rejected value is dropped without recursion, however deep it is.
impl TryFrom<Value> for Payload {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self> {
        Self::new(&value).inspect_err(|_| take_apart(value))
    }
}

/// The value stays yours. serde_json drops a `Value` recursively: one that is nested some ten thousand levels deep
/// overflows the stack.
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

/// Parses a value without building it. `IgnoredAny` does not do: it skips numbers, escapes and nesting that a later
/// parse rejects.
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
