//! `mnemon rm`: traces go.

use super::{DONE, Target};
use crate::opened_store::IdPrefix;
use crate::text::count;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Remove traces, with their links. Their bytes stay in the file until they are overwritten.
#[derive(Args)]
#[command(after_help = DONE)]
pub struct Rm {
    #[command(flatten)]
    target: Target,
    /// Their ids, or 8 or more of the hex digits that each begins or ends with.
    #[arg(required = true)]
    ids: Vec<IdPrefix>,
}

#[derive(Serialize)]
struct RmJson {
    traces: usize,
    links: usize,
}

impl Rm {
    pub fn run(self) -> Result<ExitCode> {
        self.target.change(|edited| {
            let ids = self.ids.iter().map(|id| edited.id(id)).collect::<Result<BTreeSet<_>>>()?;
            let before = (edited.store.len(), edited.store.link_count());
            edited.store.remove_many(ids)?;
            let (traces, links) = (before.0 - edited.store.len(), before.1 - edited.store.link_count());
            if self.target.json {
                return Ok(serde_json::to_string(&RmJson { traces, links })?);
            }
            Ok(format!("removed {} and {}", count(traces as u64, "trace"), count(links as u64, "link")))
        })
    }
}
