//! `serde` for errors and durations; [`trace`](crate::trace) has its own.

use crate::error::{Error, ErrorKind};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// The name of the kind.
impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A map of kind, message and hint.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(Some(3))?;
        fields.serialize_entry("kind", &self.kind())?;
        fields.serialize_entry("message", self.message())?;
        fields.serialize_entry("hint", &self.hint())?;
        fields.end()
    }
}

/// As a number of seconds.
pub(crate) fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    duration.as_secs_f64().serialize(serializer)
}

/// As a number of seconds, or null.
pub(crate) fn some_seconds<S: Serializer>(some: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    some.map(|duration| duration.as_secs_f64()).serialize(serializer)
}
