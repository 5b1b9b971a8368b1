//! The PostgreSQL backend: one space of a database, which a fleet of hosts shares.
//!
//! What is relied on: a transaction is there whole or not at all; the lock of the space's row puts all transactions that
//! write to the space in a row; and a commit that was confirmed stays, except that of a server which fails over to one
//! that had not got it yet. That is noticed by the watermark, and memory is written again.
//!
//! - [`server`]: the thread and the connections that all stores of the process share; [`tls`];
//! - [`opening`], and the [`engine`] behind a store;
//! - [`lease`]: who owns a space, by its [`space_row`]; [`keeper`]: renewing leases;
//! - [`schema`]: the tables, and their versions;
//! - [`columns`]: a trace as a row, and the statements that write it; [`write`]: a cut as a transaction,
//!   in [`pipe`]s, and in [`halves`] where a row is refused;
//! - [`rows_read`]: reading a space;
//! - [`follow`]: what each cut has changed, for another process;
//! - [`error`]: failures by what can be done about them;
//! - [`spaces`]: what a person sees and mends from outside;
//! - `original`: the tables of the original system.

mod columns;
mod engine;
mod error;
mod follow;
mod halves;
mod keeper;
mod lease;
mod opening;
#[cfg(feature = "legion")]
mod original;
mod pipe;
mod rows_read;
mod schema;
mod server;
mod space_row;
mod spaces;
mod tls;
mod write;

pub use follow::{Followed, Follower, follow};
#[cfg(feature = "legion")]
pub(crate) use original::original;
pub use spaces::{SpaceContent, SpaceReport, inspect, release, space, spaces};

use super::{BackendError, Loaded, MAX_WATERMARK, Stored};
use crate::error::ErrorKind;
use crate::progress::Watch;
use crate::trace::TraceId;
use lease::{Claim, Lease};
use rows_read::{Read, Which};
use server::Server;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The longest payload, in bytes: the server takes no message of a thousand million bytes.
pub(crate) const MAX_PAYLOAD: usize = 256 << 20;

/// How a space is opened.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) space: Arc<str>,
    pub(crate) lease: Duration,
    pub(crate) wait_for_lease: Duration,
    pub(crate) flush_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            space: "default".into(),
            lease: Duration::from_secs(10),
            wait_for_lease: Duration::ZERO,
            flush_timeout: Duration::from_secs(10),
        }
    }
}

/// A space, as one store has it.
pub(crate) struct Postgres {
    server: Arc<Server>,
    claim: Claim,
    flush_timeout: Duration,
    longest_payload: usize,
    lease: Arc<Lease>,
    /// The opening that has left a spill.
    spilled: Option<Uuid>,
    /// The opening whose spill is applied by the first cut of this one.
    applied: Option<Uuid>,
    /// The watermark that the space is at, as far as is known, and the one that was reported as durable.
    committed: i64,
    durable: i64,
    /// All that the space holds is of an earlier state, and deleted with the next cut, which writes everything. Rows
    /// that can't be read stay: memory does not have them.
    clear: bool,
    /// Traces of which a row is there that can't be read.
    unreadable: HashSet<TraceId>,
    unreadable_links: Vec<(Uuid, Uuid)>,
    /// Of the traces, those whose rows were found to be gone, which the next batch reports.
    gone: Vec<TraceId>,
    /// Time that reopening has taken of the flush under way.
    spent: Duration,
}

impl Postgres {
    /// The space and its server, for people.
    pub(crate) fn place(&self) -> String {
        place(&self.server, &self.claim.name)
    }

    /// Names this opening.
    pub(crate) fn boot(&self) -> Uuid {
        self.claim.boot
    }

    /// The opening that has left a spill.
    pub(crate) fn spilled(&self) -> Option<Uuid> {
        self.spilled
    }

    /// Has the next cut note that it applies this spill.
    pub(crate) fn applies_spill(&mut self) {
        self.applied = self.spilled;
    }

    /// The generation after which this opening numbers its cuts: a random one, so that whoever follows the space takes
    /// no cut of this opening for one that the server has lost with the host which wrote it.
    pub(crate) fn skipped(&self) -> u64 {
        let [.., a, b, c, d] = *self.claim.boot.as_bytes();
        self.committed.max(0).unsigned_abs() + u64::from(u32::from_be_bytes([a, b, c, d]))
    }

    /// Gives all that the space holds to `into`, and reports progress to `watch`.
    pub(crate) fn load_watched(
        &mut self,
        watch: Option<&Watch>,
        into: &mut dyn FnMut(Stored),
    ) -> Result<Loaded, BackendError> {
        let mut unreadable = HashSet::new();
        let loaded = rows_read::load(
            &self.server,
            Which::Key(self.lease.space),
            self.longest_payload,
            self.flush_timeout,
            watch,
            |row| {
                if let Stored::Trace { trace: Err(row), .. } = &row {
                    unreadable.extend(row.id);
                }
                into(row);
            },
        );
        self.unreadable = unreadable;
        let Read { rows, unreadable_links, .. } =
            loaded.map_err(|failure| self.explained("reading", failure))?;
        self.unreadable_links = unreadable_links;
        loaded_at(self.committed, rows, &self.place())
    }
}

/// Gives all that a space holds to `into`, as of one cut, whoever owns it, and reports progress to `watch`.
pub(crate) fn read(
    url: &str,
    options: &Options,
    max_payload_bytes: usize,
    watch: Option<&Watch>,
    into: &mut dyn FnMut(Stored),
) -> crate::Result<Loaded> {
    let server = Server::of(url)?;
    let space = Which::Name(options.space.clone());
    let place = place(&server, &options.space);
    let loaded = rows_read::load(
        &server,
        space,
        longest_payload(max_payload_bytes),
        options.flush_timeout,
        watch,
        into,
    );
    let Read { rows, watermark, .. } =
        loaded.map_err(|failure| failure.explained("reading", &place, options.flush_timeout))?;
    let watermark = watermark.ok_or_else(|| spaces::no_such_space(&options.space, server.place()))?;
    Ok(loaded_at(watermark, rows, &place)?)
}

fn loaded_at(watermark: i64, last_row: i64, place: &str) -> Result<Loaded, BackendError> {
    let valid = u64::try_from(watermark).ok().filter(|watermark| *watermark <= MAX_WATERMARK);
    let watermark = valid.ok_or_else(|| {
        let message = format!("{place} has watermark {watermark}, which no store has");
        BackendError::new(ErrorKind::Corrupt, message).with_hint("restore a backup of the database")
    })?;
    Ok(Loaded { watermark, last_row })
}

/// The longest payload, in bytes, that a store reads which takes payloads of so many.
pub(crate) fn longest_payload(max_payload_bytes: usize) -> usize {
    max_payload_bytes.max(64 << 20)
}

fn place(server: &Server, space: &str) -> String {
    format!("space {space:?} of {}", server.place())
}
