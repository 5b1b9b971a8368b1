//! `mnemon spaces` and `mnemon release`: the spaces of a database, and the lease of a host that is gone.

use crate::location::Location;
use crate::text::{self, number};
use anyhow::Result;
use clap::Args;
use mnemon::postgres::{self, SpaceReport};
use serde::Serialize;
use std::process::ExitCode;

/// List the spaces of a PostgreSQL database: owner, lease, watermark, numbers of traces and links.
#[derive(Args)]
#[command(after_help = crate::DONE)]
pub struct Spaces {
    /// The database: postgres://user:password@host/database.
    url: Location,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Let another host open a space whose host is known to be dead, before the lease has ended.
#[derive(Args)]
#[command(after_help = RELEASE)]
pub struct Release {
    /// The database: postgres://user:password@host/database.
    url: Location,
    /// The name of the space.
    space: String,
}

const RELEASE: &str = "A host that lives on writes nothing more to the space: what it has not flushed goes to a spill \
     on its machine.\n\nExit codes: 0 done, 1 failure.";

/// [`SpaceReport`], for programs.
#[derive(Serialize)]
pub struct SpaceJson<'a> {
    name: &'a str,
    owner: Option<&'a str>,
    lease_until: Option<String>,
    lease_is_over: bool,
    epoch: u64,
    watermark: u64,
    committed_at: Option<String>,
    clean: bool,
    traces: u64,
    links: u64,
}

impl<'a> SpaceJson<'a> {
    pub fn of(space: &'a SpaceReport) -> Self {
        Self {
            name: &space.name,
            owner: space.owner.as_deref(),
            lease_until: space.lease_until.map(|until| until.to_string()),
            lease_is_over: space.is_over,
            epoch: space.epoch,
            watermark: space.watermark,
            committed_at: space.committed_at.map(|at| at.to_string()),
            clean: space.is_clean,
            traces: space.traces,
            links: space.links,
        }
    }
}

impl Spaces {
    pub fn run(self) -> Result<ExitCode> {
        let spaces = postgres::spaces(self.url.database()?)?;
        if self.json {
            text::print_json_lines(spaces.iter().map(SpaceJson::of))?;
        } else if spaces.is_empty() {
            text::print(&format!("there is no space in {}", self.url.server()))?;
        } else {
            let columns = ["space", "traces", "links", "watermark", "last cut", "owner"].map(str::to_owned);
            let rows = spaces.iter().map(|space| {
                [
                    text::harmless(&space.name).into_owned(),
                    number(space.traces),
                    number(space.links),
                    number(space.watermark),
                    last_cut(space),
                    owner(space),
                ]
            });
            text::print(&text::table(&[columns].into_iter().chain(rows).collect::<Vec<_>>()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Release {
    pub fn run(self) -> Result<ExitCode> {
        let owner = postgres::release(self.url.database()?, &self.space)?;
        let owner = owner.map_or("nobody".to_owned(), |owner| text::harmless(&owner).into_owned());
        text::print(&format!("{} is released; its last owner was {owner}", text::harmless(&self.space)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The time of the last cut.
pub fn last_cut(space: &SpaceReport) -> String {
    space.committed_at.map_or("none".to_owned(), |at| format!("{at:.0}"))
}

/// The process that has the space open, if its lease has not ended.
pub fn holder(space: &SpaceReport) -> Option<&str> {
    space.lease_until.filter(|_| !space.is_over).and(space.owner.as_deref())
}

/// The owner of a space, and its lease.
pub fn owner(space: &SpaceReport) -> String {
    let owner = space.owner.as_deref().map(text::harmless);
    match (owner, space.lease_until) {
        (Some(owner), Some(until)) if space.is_over => format!("{owner} until {until:.0}, which is over"),
        (Some(owner), Some(until)) => format!("{owner} until {until:.0}"),
        (Some(owner), None) => format!("nobody; last {owner}"),
        (None, _) => "nobody".to_owned(),
    }
}
