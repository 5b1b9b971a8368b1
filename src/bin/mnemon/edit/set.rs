//! `mnemon set`: other fields of a trace.

use super::{DONE, Fields, Target, payload, with_fields};
use crate::opened_store::IdPrefix;
use anyhow::{Context, Result, bail};
use clap::Args;
use mnemon::{Payload, TraceEdit, TraceId};
use std::process::ExitCode;

/// Change fields of one trace: those that are given.
#[derive(Args)]
#[command(after_help = DONE)]
pub struct Set {
    #[command(flatten)]
    target: Target,
    /// Its id, or 8 or more of the hex digits that it begins or ends with.
    id: IdPrefix,
    /// What it says: text, or JSON with --raw.
    #[arg(long, value_name = "PAYLOAD")]
    payload: Option<String>,
    /// The payload is JSON as it is, not a text to be quoted.
    #[arg(long, requires = "payload")]
    raw: bool,
    /// The trace that it was derived from.
    #[arg(long, value_name = "ID")]
    parent: Option<TraceId>,
    /// Make it valid again: no end, and no trace in its place.
    #[arg(long, conflicts_with_all = ["valid_until", "superseded_by"])]
    no_valid_until: bool,
    /// Only if it has this revision still.
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    #[command(flatten)]
    fields: Fields,
}

impl Set {
    pub fn run(self) -> Result<ExitCode> {
        let payload = self.payload.as_deref().map(|text| payload(text, self.raw)).transpose()?;
        self.target.change(|edited| {
            let id = edited.id(&self.id)?;
            let before = edited.store.get(id).context("it was found")?.revision();
            let trace = match self.revision {
                Some(revision) => edited.store.update_if(id, revision, |trace| self.edit(trace, &payload)),
                None => edited.store.update(id, |trace| self.edit(trace, &payload)),
            };
            let trace = trace?.context("it was found")?;
            if trace.revision() == before {
                bail!("nothing of {id} would change: give a field, and another value than it has");
            }
            edited.say(&trace, "changed")
        })
    }

    fn edit<'a>(&self, trace: TraceEdit<'a>, payload: &Option<Payload>) -> TraceEdit<'a> {
        let mut trace = with_fields!(&self.fields, trace);
        if self.no_valid_until {
            trace = trace.no_valid_until();
        }
        if let Some(payload) = payload {
            trace = trace.payload(payload.clone());
        }
        match self.parent {
            Some(parent) => trace.parent(parent),
            None => trace,
        }
    }
}
