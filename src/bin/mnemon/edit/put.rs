//! `mnemon put`: a new trace.

use super::{DONE, Fields, Target, payload, with_fields};
use crate::opened_store;
use anyhow::{Context, Result};
use clap::Args;
use mnemon::{NewTrace, TraceId, TraceType};
use std::process::ExitCode;

/// Put one trace into a store, which is made if it is not there.
#[derive(Args)]
#[command(after_help = DONE)]
pub struct Put {
    #[command(flatten)]
    target: Target,
    /// What it says: text, or JSON with --raw.
    payload: String,
    /// The payload is JSON as it is, not a text to be quoted.
    #[arg(long)]
    raw: bool,
    /// Its type.
    #[arg(long = "type", value_name = "TYPE", default_value = "semantic",
        value_parser = opened_store::named::<TraceType>(TraceType::ALL.iter().map(|kind| kind.as_str())))]
    kind: TraceType,
    /// A tag; may be given more than once.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Its partition: `default` unless given.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// A reference of your own, of which its id is made: the same gives the same id.
    #[arg(long = "ref", value_name = "REF", conflicts_with = "id")]
    reference: Option<String>,
    /// Its id, a UUID.
    #[arg(long)]
    id: Option<TraceId>,
    #[command(flatten)]
    fields: Fields,
}

impl Put {
    pub fn run(self) -> Result<ExitCode> {
        let mut new = NewTrace::new(self.kind, payload(&self.payload, self.raw)?).tags(self.tags);
        let id = self.id.or(self.reference.as_deref().map(TraceId::from_reference));
        if let Some(id) = id {
            new = new.id(id);
        }
        if let Some(partition) = self.partition {
            new = new.partition(partition);
        }
        let new = with_fields!(&self.fields, new);
        // Before a store is made for what can't be stored.
        new.clone().into_trace()?;
        self.target.change_or_make(|edited| {
            let id = edited.store.insert(new)?;
            let trace = edited.store.get(id).context("it was stored")?;
            edited.say(&trace, "stored")
        })
    }
}
