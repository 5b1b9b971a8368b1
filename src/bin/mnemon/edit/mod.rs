//! Commands that change single traces of a store that no host has open.

mod link;
mod put;
mod rm;
mod set;
mod tag;

pub use link::Link;
pub use put::Put;
pub use rm::Rm;
pub use set::Set;
pub use tag::Tag;

use crate::location::Location;
use crate::opened_store::{self, IdPrefix, OpenedStore};
use crate::text;
use crate::trace::TraceJson;
use crate::{DONE, ingest};
use anyhow::Result;
use clap::{Args, ValueHint};
use jiff::Timestamp;
use mnemon::{Payload, Trace, TraceId, TraceStore};
use std::process::ExitCode;

/// The store that is changed.
#[derive(Args)]
struct Target {
    /// The store. No host may have it open.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    /// End with one JSON object: the trace as it is now, or what was linked or removed.
    #[arg(long)]
    json: bool,
}

/// A store that is open to be changed.
struct Edited<'a> {
    target: &'a Target,
    store: &'a TraceStore,
    found: OpenedStore,
}

impl Target {
    /// Changes a store that is there, and prints what the change returns once all is on the disk.
    fn change(&self, change: impl FnOnce(&Edited<'_>) -> Result<String>) -> Result<ExitCode> {
        self.db.ensure_there()?;
        self.change_or_make(change)
    }

    fn change_or_make(&self, change: impl FnOnce(&Edited<'_>) -> Result<String>) -> Result<ExitCode> {
        let store = ingest::open(&self.db)?;
        let found = OpenedStore::of(store.clone(), &self.db);
        let done = change(&Edited { target: self, store: &store, found });
        // In any case, so that the file is left alone.
        let closed = store.close();
        let said = done?;
        closed?;
        text::print(&said)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Edited<'_> {
    fn id(&self, id: &IdPrefix) -> Result<TraceId> {
        Ok(self.found.find(id)?.id())
    }

    /// What is said of a trace that was changed.
    fn say(&self, trace: &Trace, said: &str) -> Result<String> {
        if self.target.json {
            return Ok(serde_json::to_string(&TraceJson::of(trace, &self.found))?);
        }
        Ok(format!("{} {said}", trace.id()))
    }
}

/// What a trace says and how it is marked.
#[derive(Args)]
struct Fields {
    /// How sure it is, 0 to 1.
    #[arg(long, value_name = "C", value_parser = opened_store::strength)]
    confidence: Option<f64>,
    /// How pleasant, -1 to 1.
    #[arg(long, value_name = "V", allow_negative_numbers = true, value_parser = opened_store::valence)]
    emotional_valence: Option<f64>,
    /// How moving, 0 to 1.
    #[arg(long, value_name = "I", value_parser = opened_store::strength)]
    emotional_intensity: Option<f64>,
    /// How strong now, 0 to 1.
    #[arg(long, value_name = "S", value_parser = opened_store::strength)]
    strength: Option<f64>,
    /// Whether something of it is still open: true or false.
    #[arg(long, value_name = "BOOL")]
    unresolved: Option<bool>,
    /// Whether it is never evicted nor removed when it has faded: true or false.
    #[arg(long, value_name = "BOOL")]
    pinned: Option<bool>,
    /// When it stops being valid: a time, or when a day begins.
    #[arg(long, value_name = "TIME", value_parser = opened_store::from)]
    valid_until: Option<Timestamp>,
    /// The id of the trace that takes its place; unless a time is given, it is not valid from now on.
    #[arg(long, value_name = "ID")]
    superseded_by: Option<TraceId>,
}

/// Sets the fields that are given, of a new trace or of one that is changed.
macro_rules! with_fields {
    ($fields:expr, $trace:expr) => {{
        let fields: &$crate::edit::Fields = $fields;
        let mut trace = $trace;
        if let Some(confidence) = fields.confidence {
            trace = trace.confidence(confidence);
        }
        if let Some(valence) = fields.emotional_valence {
            trace = trace.emotional_valence(valence);
        }
        if let Some(intensity) = fields.emotional_intensity {
            trace = trace.emotional_intensity(intensity);
        }
        if let Some(strength) = fields.strength {
            trace = trace.strength(strength);
        }
        if let Some(unresolved) = fields.unresolved {
            trace = trace.unresolved(unresolved);
        }
        if let Some(pinned) = fields.pinned {
            trace = trace.pinned(pinned);
        }
        if let Some(end) = fields.valid_until {
            trace = trace.valid_until(end);
        }
        if let Some(successor) = fields.superseded_by {
            trace = trace.superseded_by(successor);
        }
        trace
    }};
}

use with_fields;

/// A payload on the command line.
fn payload(text: &str, is_json: bool) -> mnemon::Result<Payload> {
    if is_json { Payload::from_json(text) } else { Ok(Payload::text(text)) }
}
