//! `mnemon link`: traces that belong together.

use super::{DONE, Target};
use crate::opened_store::IdPrefix;
use crate::text::count;
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

/// Count that two traces were active together, or remove their link. After three times they are associated.
#[derive(Args)]
#[command(after_help = DONE)]
pub struct Link {
    #[command(flatten)]
    target: Target,
    /// The id of one, or 8 or more of the hex digits that it begins or ends with.
    a: IdPrefix,
    /// The id of the other, in the same way.
    b: IdPrefix,
    /// Number of co-activations to count.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "remove",
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    times: u32,
    /// Remove their link.
    #[arg(long)]
    remove: bool,
}

#[derive(Serialize)]
struct LinkJson {
    a: String,
    b: String,
    count: u32,
    associated: bool,
}

impl Link {
    pub fn run(self) -> Result<ExitCode> {
        self.target.change(|edited| {
            let (a, b) = (edited.id(&self.a)?, edited.id(&self.b)?);
            if self.remove {
                edited.store.unlink(a, b)?.with_context(|| format!("{a} and {b} have no link"))?;
            }
            for _ in 0..if self.remove { 0 } else { self.times } {
                edited.store.co_activate(a, b)?;
            }
            let link = edited.store.link(a, b);
            let (times, associated) = link.map_or((0, false), |link| (link.count(), link.is_associated()));
            if self.target.json {
                let (a, b) = (a.to_string(), b.to_string());
                return Ok(serde_json::to_string(&LinkJson { a, b, count: times, associated })?);
            }
            let said = if self.remove { "have no link now".to_owned() } else { count(times.into(), "time") };
            Ok(format!("{a} {b} {said}{}", if associated { ": associated" } else { "" }))
        })
    }
}
