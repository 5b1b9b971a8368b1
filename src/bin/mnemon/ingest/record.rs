//! A record: what one line says, checked by itself.

use super::line_error::{self, with_cause};
use super::times;
use mnemon::{NewTrace, Payload, Trace, TraceEdit, TraceId, TraceType};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The library's default, spelt out: the program must know it before it stores anything.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// A record as it is written. `null` is the same as left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    r#type: String,
    // Raw, so that the text is kept byte for byte.
    #[serde(borrow)]
    payload: &'a RawValue,
    r#ref: Option<String>,
    id: Option<String>,
    tags: Option<Vec<String>>,
    partition: Option<String>,
    created_at: Option<String>,
    parent_ref: Option<String>,
    confidence: Option<f64>,
    emotional_valence: Option<f64>,
    emotional_intensity: Option<f64>,
    valid_until: Option<String>,
    superseded_by_ref: Option<String>,
    embedding: Option<Vec<f32>>,
}

/// A record all of whose values can be taken.
pub struct Record {
    /// `None`: a new trace.
    pub id: Option<TraceId>,
    pub parent: Option<TraceId>,
    pub embedding: Option<Vec<f32>>,
    kind: TraceType,
    payload: Payload,
    tags: Option<Vec<String>>,
    partition: Option<String>,
    created_at: Option<jiff::Timestamp>,
    confidence: Option<f64>,
    emotional_valence: Option<f64>,
    emotional_intensity: Option<f64>,
    valid_until: Option<jiff::Timestamp>,
    superseded_by: Option<TraceId>,
}

/// What became of the parent that a record names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    NotGiven,
    Found(TraceId),
    Dangling,
}

impl Record {
    /// The record on a line, or what is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let written: Written<'_> =
            serde_json::from_str(line).map_err(|error| line_error::of(line, &error))?;
        let record = Self::of(written).map_err(with_cause)?;
        // The library's own checks of the rest.
        record.to_new(TraceId::new(), Parent::NotGiven).into_trace().map_err(with_cause)?;
        Ok(record)
    }

    fn of(written: Written<'_>) -> anyhow::Result<Self> {
        let id = match (written.r#ref, written.id) {
            (Some(_), Some(_)) => anyhow::bail!("both ref and id are given: leave one out"),
            (Some(reference), None) => Some(TraceId::from_reference(&reference)),
            (None, Some(id)) => Some(id.parse()?),
            (None, None) => None,
        };
        let superseded_by = written.superseded_by_ref.as_deref().map(TraceId::from_reference);
        if superseded_by.is_some() && superseded_by == id {
            anyhow::bail!("superseded_by_ref is the record's own ref: give that of another");
        }
        let text = written.payload.get();
        if text.len() > MAX_PAYLOAD_BYTES {
            anyhow::bail!("payload is {} bytes: give at most {MAX_PAYLOAD_BYTES}", text.len());
        }
        Ok(Self {
            id,
            parent: written.parent_ref.as_deref().map(TraceId::from_reference),
            kind: written.r#type.parse()?,
            payload: Payload::from_json(text)?,
            tags: written.tags,
            partition: written.partition,
            created_at: written.created_at.as_deref().map(|at| times::parse("created_at", at)).transpose()?,
            confidence: written.confidence,
            emotional_valence: written.emotional_valence,
            emotional_intensity: written.emotional_intensity,
            valid_until: written
                .valid_until
                .as_deref()
                .map(|at| times::parse("valid_until", at))
                .transpose()?,
            superseded_by,
            embedding: written.embedding,
        })
    }

    /// The trace that it makes.
    pub fn to_new(&self, id: TraceId, parent: Parent) -> NewTrace {
        let mut new = NewTrace::new(self.kind, self.payload.clone()).id(id);
        if let Some(partition) = &self.partition {
            new = new.partition(partition);
        }
        if let Some(created_at) = self.created_at {
            new = new.created_at(created_at);
        }
        if let Some(tags) = &self.tags {
            new = new.tags(tags);
        }
        if let Some(confidence) = self.confidence {
            new = new.confidence(confidence);
        }
        if let Some(valence) = self.emotional_valence {
            new = new.emotional_valence(valence);
        }
        if let Some(intensity) = self.emotional_intensity {
            new = new.emotional_intensity(intensity);
        }
        if let Some(end) = self.valid_until {
            new = new.valid_until(end);
        }
        if let Some(successor) = self.superseded_by {
            new = new.superseded_by(successor);
        }
        if let Some(embedding) = &self.embedding {
            new = new.embedding(&**embedding);
        }
        match parent {
            Parent::Found(parent) => new.parent(parent),
            Parent::NotGiven | Parent::Dangling => new,
        }
    }

    /// Brings its trace up to date in the fields that it gives.
    pub fn edit<'a>(&self, trace: TraceEdit<'a>, parent: Parent) -> TraceEdit<'a> {
        let mut edit = trace.payload(self.payload.clone());
        if let Some(tags) = &self.tags {
            edit = edit.tags(tags);
        }
        if let Some(confidence) = self.confidence {
            edit = edit.confidence(confidence);
        }
        if let Some(valence) = self.emotional_valence {
            edit = edit.emotional_valence(valence);
        }
        if let Some(intensity) = self.emotional_intensity {
            edit = edit.emotional_intensity(intensity);
        }
        if let Some(end) = self.valid_until {
            edit = edit.valid_until(end);
        }
        if let Some(successor) = self.superseded_by {
            edit = edit.superseded_by(successor);
        }
        if let Some(embedding) = &self.embedding {
            edit = edit.embedding(&**embedding);
        }
        match parent {
            Parent::NotGiven => edit,
            Parent::Found(parent) => edit.parent(parent),
            Parent::Dangling => edit.no_parent(),
        }
    }

    /// Whether it leaves alone what can't change of the stored trace; otherwise what it would change.
    pub fn check_against(&self, stored: &Trace) -> Result<(), String> {
        let differs = |field: &str, stored: &dyn std::fmt::Display, given: &dyn std::fmt::Display| {
            Err(format!(
                "{field} is {given}, and {stored} in the store, where it can't change: give another ref or id"
            ))
        };
        if self.kind != stored.trace_type() {
            return differs("type", &stored.trace_type(), &self.kind);
        }
        if let Some(partition) = self.partition.as_deref().filter(|&given| given != stored.partition()) {
            return differs("partition", &stored.partition(), &partition);
        }
        // The store keeps microseconds.
        let created_at = stored.created_at();
        match self.created_at.filter(|given| given.as_microsecond() != created_at.as_microsecond()) {
            Some(given) => differs("created_at", &created_at, &given),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line_error::object;
    use super::Record;

    fn problem(line: &[u8]) -> String {
        object(line).and_then(Record::parse).err().unwrap_or_default()
    }

    #[test]
    fn the_reason_of_a_bad_line_names_the_field_and_the_remedy() {
        let cases: [(&[u8], &str); 10] = [
            (br#"{"type": "semantic", "payload": 1, "colour": 2}"#, "unknown field `colour`"),
            (br#"{"type": "semantic"}"#, "missing field `payload` (column 20)"),
            (br#"{"type": "dream", "payload": 1}"#, r#"type is "dream": give one of firmware, "#),
            (br#"{"type": "semantic", "payload": 1, "ref": "a", "id": "b"}"#, "both ref and id are given"),
            (br#"{"type": "semantic", "payload": 1, "id": "b"}"#, r#"id is "b": give a UUID"#),
            (
                br#"{"type": "semantic", "payload": 1, "confidence": 7}"#,
                "confidence is 7: give a number from 0 to 1",
            ),
            (
                br#"{"type": "semantic", "payload": 1, "created_at": "May"}"#,
                r#"created_at is "May": give a time such"#,
            ),
            (br#"{"type": "semantic", "payload": 1, "tags": [""]}"#, "tag is empty"),
            (br#"["semantic", 1]"#, "not a JSON object"),
            (b"{\"type\": \"\xff\"", "not UTF-8 at byte 11"),
        ];
        for (line, expected) in cases {
            let problem = problem(line);
            assert!(problem.starts_with(expected), "{problem} for {}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_payload_of_a_mebibyte_is_taken_and_a_longer_one_is_not() {
        let line =
            |letters: usize| format!(r#"{{"type": "semantic", "payload": "{}"}}"#, "a".repeat(letters));
        assert_eq!(problem(line((1 << 20) - 2).as_bytes()), "");
        assert_eq!(problem(line((1 << 20) - 1).as_bytes()), "payload is 1048577 bytes: give at most 1048576");
    }
}
