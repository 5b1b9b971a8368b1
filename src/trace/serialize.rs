//! `serde` for what the host stores and reads.

use super::{Link, Origin, Payload, Tier, Trace, TraceId, TraceType, each_field};
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// As text.
macro_rules! by_name {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

by_name!(TraceId, TraceType, Tier, Origin);

/// As the JSON that it is, if the format is JSON, too.
impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        <&RawValue>::deserialize(&mut serde_json::Deserializer::from_str(self.as_str()))
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

/// A map of all fields, with the names that `mnemon get --json` prints: `valid_until` and `superseded_by` only where
/// they are set.
impl Serialize for Trace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        macro_rules! add {
            ($name:literal, $value:expr) => {
                fields.serialize_entry($name, &$value)?;
            };
            (if set $name:literal, $value:expr) => {
                if let Some(value) = $value {
                    fields.serialize_entry($name, &value)?;
                }
            };
        }
        each_field!(self, add);
        fields.end()
    }
}

/// A map of both ids, the count and the times.
impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(Some(5))?;
        let (a, b) = self.ends();
        fields.serialize_entry("a", &a)?;
        fields.serialize_entry("b", &b)?;
        fields.serialize_entry("count", &self.count())?;
        fields.serialize_entry("first_at", &self.first_at())?;
        fields.serialize_entry("last_at", &self.last_at())?;
        fields.end()
    }
}
