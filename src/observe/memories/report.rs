//! The content of an event, within bounds: first its subject, which identifies repeats, then the whole event.

use super::text::{Text, head};
use crate::trace::NewTrace;
use serde_json::{Map, Number, Value, json};
use std::fmt::{self, Debug, Display};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

/// Maximum bytes of a message.
const MESSAGE: usize = 4_096;
/// Maximum bytes of a target, which is a tag, and of a file's path.
const PLACE: usize = 1_024;
/// Maximum number of other fields.
const FIELDS: usize = 32;
/// Maximum bytes of a field's name.
const NAME: usize = 128;
/// Maximum bytes of a field's value.
const VALUE: usize = 1_024;
/// Maximum bytes of all fields together.
const TOTAL: usize = 16_384;

/// The source of an event, and its message.
pub(super) struct Subject {
    target: Text,
    message: Text,
    file: Option<Text>,
    line: Option<u64>,
}

impl Subject {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut read = ReadSubject { bridged: is_bridged(metadata), ..ReadSubject::default() };
        event.record(&mut read);
        Self {
            target: read.target.unwrap_or_else(|| Text::of(metadata.target(), PLACE)),
            // Without a message, the event's name is used: it names the place in the source.
            message: read.message.unwrap_or_else(|| Text::of(metadata.name(), MESSAGE)),
            file: read.file.or_else(|| metadata.file().map(|file| Text::of(file, PLACE))),
            line: read.line.or(metadata.line().map(u64::from)),
        }
    }

    /// Two events with the same key are repeats.
    pub(super) fn key(&self) -> (&str, &str) {
        (self.target.as_str(), self.message.as_str())
    }

    /// Returns whether this crate logged the event.
    pub(super) fn is_own(&self) -> bool {
        let target = self.target.as_str();
        target.strip_prefix("mnemon").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }

    /// Returns the trace that the event becomes.
    pub(super) fn into_trace(self, event: &Event<'_>) -> NewTrace {
        let metadata = event.metadata();
        let mut read = ReadFields { bridged: is_bridged(metadata), ..ReadFields::default() };
        event.record(&mut read);
        let texts = [Some(&self.target), Some(&self.message), self.file.as_ref()];
        let cut = read.cut || texts.into_iter().flatten().any(Text::is_cut);
        let tags = ["error".to_owned(), tag(self.target.as_str())];
        let payload = json!({
            "message": self.message.marked(),
            "target": self.target.marked(),
            "level": metadata.level().as_str(),
            "file": self.file.map(Text::marked),
            "line": self.line,
            "fields": read.fields,
            "cut": cut,
        });
        NewTrace::episodic(payload)
            .tags(tags.iter().filter(|tag| !tag.is_empty()))
            .emotional_valence(-0.6)
            .emotional_intensity(0.7)
            .confidence(0.9)
            .unresolved(true)
    }
}

/// Returns a target in the form of a tag: in lower case, which may be longer, and without NUL.
fn tag(target: &str) -> String {
    let lower = target.to_lowercase().replace('\0', "\u{fffd}");
    head(&lower, PLACE).to_owned()
}

/// Returns whether the event comes from the `log` crate through `tracing-log`, which puts the record's own target and
/// source location into fields.
fn is_bridged(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "log" && metadata.fields().field("log.target").is_some()
}

#[derive(Default)]
struct ReadSubject {
    bridged: bool,
    target: Option<Text>,
    message: Option<Text>,
    file: Option<Text>,
    line: Option<u64>,
}

impl ReadSubject {
    fn read(&mut self, field: &Field, value: impl Display) {
        match field.name() {
            "message" => self.message = Some(Text::of(value, MESSAGE)),
            "log.target" if self.bridged => self.target = Some(Text::of(value, PLACE)),
            "log.file" if self.bridged => self.file = Some(Text::of(value, PLACE)),
            _ => {}
        }
    }
}

impl Visit for ReadSubject {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "log.line" if self.bridged => self.line = Some(value),
            _ => self.read(field, value),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.read(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.read(field, AsDebug(value));
    }
}

/// The fields that are not part of the subject.
#[derive(Default)]
struct ReadFields {
    bridged: bool,
    fields: Map<String, Value>,
    used: usize,
    cut: bool,
}

impl ReadFields {
    /// Adds a field. `value` gets the number of bytes left, and returns the value and the number of bytes it takes.
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut Self, usize) -> (Value, usize)) {
        let name = field.name();
        if name == "message" || self.bridged && name.starts_with("log.") {
            return;
        }
        let short = head(name, NAME);
        let room = (TOTAL - self.used).saturating_sub(short.len());
        if self.fields.len() == FIELDS || room == 0 {
            self.cut = true;
            return;
        }
        let (value, bytes) = value(self, room.min(VALUE));
        self.used += short.len() + bytes;
        self.cut |= short.len() < name.len();
        self.fields.insert(short.to_owned(), value);
    }

    fn put_text(&mut self, field: &Field, value: impl Display) {
        self.put(field, |this, room| {
            let text = Text::of(value, room);
            this.cut |= text.is_cut();
            let bytes = text.as_str().len();
            (text.marked().into(), bytes)
        });
    }

    fn put_plain(&mut self, field: &Field, value: impl Into<Value>) {
        self.put(field, |_, _| (value.into(), 0));
    }
}

impl Visit for ReadFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        match Number::from_f64(value) {
            Some(number) => self.put_plain(field, number),
            None => self.put_text(field, value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_plain(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put_text(field, AsDebug(value));
    }
}

struct AsDebug<'a>(&'a dyn Debug);

impl Display for AsDebug<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
