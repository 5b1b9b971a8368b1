//! A turn of a conversation: a line of a JSON-lines file, and what is said in it.

use super::Outcome;
use jiff::{SignedDuration, Timestamp};
use mnemon::{NewTrace, Payload, TraceId};
use serde_json::Value;
use std::collections::BTreeSet;

pub struct Turn {
    pub id: TraceId,
    pub at: Timestamp,
    pub text: String,
    record: Value,
}

impl Turn {
    pub fn read(record: Value) -> Outcome<Self> {
        let (id, at) = (string(&record, "ref")?, string(&record, "created_at")?.parse()?);
        Ok(Self { id: TraceId::from_reference(id), at, text: text(&record["payload"]), record })
    }

    /// What is to be remembered of it; what moved somebody fades more slowly.
    pub fn trace(&self) -> Outcome<NewTrace> {
        let emotion = self.record["emotional_intensity"].as_f64().unwrap_or(0.0);
        let new =
            NewTrace::new(string(&self.record, "type")?.parse()?, Payload::new(&self.record["payload"])?);
        Ok(new.id(self.id).emotional_intensity(emotion))
    }

    /// The words that it is found by: the longer ones, each once.
    pub fn words(&self) -> BTreeSet<String> {
        let words = strings(&self.record["payload"]).into_iter();
        let words = words.flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
        words.filter(|word| word.chars().count() > 4).map(str::to_lowercase).collect()
    }
}

fn string<'a>(record: &'a Value, name: &str) -> Outcome<&'a str> {
    Ok(record[name].as_str().ok_or_else(|| format!("no {name} in {record}"))?)
}

fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

/// Who says what; of a payload of another form all that it says.
pub fn text(payload: &Value) -> String {
    let said = ["text", "fact", "summary", "how_to", "rule"].iter().find_map(|name| payload[*name].as_str());
    match (payload["speaker"].as_str(), said) {
        (Some(who), Some(said)) => format!("{who}: {said}"),
        (_, Some(said)) => said.to_owned(),
        (_, None) => strings(payload).join(", "),
    }
}

/// As much of it as fits into a line.
pub fn short(text: &str) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(90) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Hours up to two days, then days.
pub fn long(time: SignedDuration) -> String {
    match time.as_hours() {
        hours @ ..48 => format!("{hours} hours"),
        hours => format!("{} days", hours / 24),
    }
}
