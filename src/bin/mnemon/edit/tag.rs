//! `mnemon tag`: tags of a trace.

use super::{DONE, Target};
use crate::opened_store::IdPrefix;
use anyhow::{Context, Result};
use clap::Args;
use std::process::ExitCode;

/// Add tags to one trace, or take them off.
#[derive(Args)]
#[command(after_help = DONE)]
pub struct Tag {
    #[command(flatten)]
    target: Target,
    /// Its id, or 8 or more of the hex digits that it begins or ends with.
    id: IdPrefix,
    /// The tags.
    #[arg(required = true)]
    tags: Vec<String>,
    /// Take them off.
    #[arg(long)]
    remove: bool,
}

impl Tag {
    pub fn run(self) -> Result<ExitCode> {
        self.target.change(|edited| {
            let trace = edited.store.update(edited.id(&self.id)?, |trace| {
                let tags = self.tags.iter();
                tags.fold(trace, |trace, tag| if self.remove { trace.untag(tag) } else { trace.tag(tag) })
            });
            let trace = trace?.context("it was found")?;
            let tags: Vec<_> = trace.tags().collect();
            let has = if tags.is_empty() {
                "no tags now".to_owned()
            } else {
                format!("the tags {}", tags.join(", "))
            };
            edited.say(&trace, &format!("has {has}"))
        })
    }
}
