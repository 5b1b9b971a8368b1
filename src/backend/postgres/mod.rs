//! The PostgreSQL backend: one space of a database, which a fleet of hosts shares.
//!
//! What is relied on: a transaction is there whole or not at all; the lock of the space's row puts all transactions that
//! write to the space in a row; and a commit that was confirmed stays, except that of a server which fails over to one
//! that had not got it yet. That is noticed by the watermark, and memory is written again.
//!
//! - [`server`]: the thread and the connections that all stores of the process share; [`tls`];
//! - [`lease`]: who owns a space;
//! - [`schema`]: the tables, and their versions;
//! - [`columns`]: a trace as a row, and the statements that write it; [`write`]: a cut as a transaction,
//!   in [`pipe`]s, and in [`halves`] where a row is refused;
//! - [`rows_read`]: reading a space;
//! - [`follow`]: what each cut has changed, for another process;
//! - [`error`]: failures by what can be done about them;
//! - [`spaces`]: what a person sees and mends from outside;
//! - `original`: the tables of the original system.

mod columns;
mod error;
mod follow;
mod halves;
mod lease;
#[cfg(feature = "legion")]
mod original;
mod pipe;
mod rows_read;
mod schema;
mod server;
mod spaces;
mod tls;
mod write;

pub use follow::{Followed, Follower, follow};
#[cfg(feature = "legion")]
pub(crate) use original::original;
pub use spaces::{SpaceContent, SpaceReport, inspect, release, space, spaces};

use super::{Applied, Backend, BackendError, Batch, Loaded, MAX_WATERMARK, Reopened, Stored};
use crate::Durability;
use crate::clock::new_uuid;
use crate::error::ErrorKind;
use crate::guarded;
use crate::progress::Watch;
use crate::trace::TraceId;
use error::{Failure, is_locked};
use jiff::Timestamp;
use lease::{Attempt, Claim, Lease, Leases, Taken, begin, in_use};
use rows_read::{Read, Which};
use server::Server;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::types::Type;
use uuid::Uuid;
use write::Cut;

/// The longest payload, in bytes: the server takes no message of a thousand million bytes.
pub(crate) const MAX_PAYLOAD: usize = 256 << 20;

/// A flush may take one more second for each so many bytes that it writes.
const BYTES_A_SECOND: usize = 2 << 20;

/// A flush that erases may take so many times as long: nobody knows how many rows and links that are.
const ERASING: u32 = 10;

/// The time that a flush has for its transaction, however long it took to reopen before.
const LEAST: Duration = Duration::from_secs(1);

/// How often an opening looks whether a lease has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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
    /// Connects and takes the space, once nobody else has it. `has_spill` says for an opening whether it has left one.
    pub(crate) fn open(
        url: &str,
        options: &Options,
        max_payload_bytes: usize,
        has_spill: impl Fn(Uuid) -> bool + Clone + Send + 'static,
    ) -> Result<Self, BackendError> {
        let server = Server::of(url)?;
        let claim = Claim {
            name: options.space.clone(),
            boot: new_uuid(),
            owner: owner().into(),
            length: options.lease,
        };
        let until = Instant::now() + options.wait_for_lease;
        let mut ended = None;
        let taken = loop {
            match take(&server, &claim, options.flush_timeout, ended, has_spill.clone()) {
                Ok(Attempt::Taken(taken)) => break Ok(taken),
                Ok(Attempt::Ended(at)) => {
                    ended = Some(at);
                    std::thread::sleep(LOOK_AGAIN);
                }
                // A transaction that its owner has not ended holds an attempt up.
                Err(Failure::Lost(_) | Failure::TimedOut | Failure::NoConnection)
                    if Instant::now() < until =>
                {
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(failure) => break Err(failure),
            }
        };
        let place = place(&server, &claim.name);
        let Taken { space, before, spilled, is_followed } = taken.map_err(|failure| match failure {
            Failure::Lost(holder) => in_use(&place, &holder),
            failure => failure.explained("opening", &place, options.flush_timeout),
        })?;
        let watermark = before.watermark;
        let lease = Lease::new(space, before, watermark, &claim);
        lease.set_followed(is_followed);
        let this = Self {
            server,
            claim,
            flush_timeout: options.flush_timeout,
            longest_payload: longest_payload(max_payload_bytes),
            lease,
            spilled,
            applied: None,
            committed: watermark,
            durable: watermark,
            clear: false,
            unreadable: HashSet::new(),
            unreadable_links: Vec::new(),
            gone: Vec::new(),
            spent: Duration::ZERO,
        };
        Leases::keep(&this.server, &this.lease).map_err(|failure| this.explained("opening", failure))?;
        Ok(this)
    }

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

    /// Notes a space that another opening has, so that nothing is tried any more.
    fn explained(&self, doing: &str, failure: Failure) -> BackendError {
        if let Failure::Lost(holder) = &failure {
            self.lease.lose(holder.clone());
        }
        failure.explained(doing, &self.place(), self.flush_timeout)
    }

    fn check_owned(&self) -> Result<(), BackendError> {
        match self.lease.lost_to() {
            Some(holder) => Err(Failure::Lost(holder).explained("", &self.place(), self.flush_timeout)),
            None => Ok(()),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.flush_timeout
    }

    /// Writes a batch; if `whole`, also rows of which the numbers would do. Fails with [`Failure::Missing`] if they would
    /// not. Reopening has taken `spent` of the flush's time.
    fn commit(
        &self,
        batch: &Batch<'_>,
        whole: bool,
        begun: Instant,
        spent: Duration,
    ) -> Result<Applied, Failure> {
        let mut cut = Cut {
            name: self.claim.name.clone(),
            lease: self.lease.clone(),
            before: self.committed,
            watermark: number(batch.watermark),
            applied: self.applied,
            durability: batch.durability,
            limit: self.flush_timeout,
            fence_limit: Duration::ZERO,
            whole,
            clear: self.clear,
            erased: batch.erased.to_vec(),
            traces: batch.traces.to_vec(),
            links: batch.links.to_vec(),
            unreadable: self.unreadable.clone(),
            unreadable_links: if self.clear { self.unreadable_links.clone() } else { Vec::new() },
        };
        cut.limit += Duration::from_secs((cut.bytes() / BYTES_A_SECOND) as u64);
        // What a slow reopening leaves must do for a try, or none would ever get through.
        cut.limit = cut.limit.saturating_sub(spent).max(LEAST.min(cut.limit));
        cut.fence_limit = cut.limit;
        if !cut.erased.is_empty() {
            cut.limit *= ERASING;
        }
        let (server, deadline) = (self.server.clone(), begun + cut.limit);
        let patience = cut.fence_limit;
        self.server.run(deadline, async move {
            if cut.erased.is_empty() {
                cut.commit(&server).await
            } else {
                server.while_reachable(patience, cut.commit(&server)).await
            }
        })
    }

    /// One statement about the space's row, which is to change it; `$1` to `$3` are its key and its owner.
    fn update_row(&self, doing: &str, sql: String) -> Result<(), BackendError> {
        let (server, lease, name) = (self.server.clone(), self.lease.clone(), self.claim.name.clone());
        let limit = self.flush_timeout;
        let outcome = self.server.run(self.deadline(), async move {
            let lent = server.lend().await?;
            lent.batch_execute(&begin(limit)).await?;
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
                [(&lease.space, Type::INT4), (&lease.boot, Type::UUID), (&lease.epoch, Type::INT8)];
            let updated = lent.execute_typed(&sql, &parameters).await?;
            let outcome =
                if updated == 0 { Err(lease::why_not(&lent, &name, &lease).await?) } else { Ok(()) };
            lent.batch_execute("COMMIT").await?;
            lent.give_back();
            outcome
        });
        outcome.map_err(|failure| self.explained(doing, failure))
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

fn take(
    server: &Arc<Server>,
    claim: &Claim,
    limit: Duration,
    ended: Option<Timestamp>,
    has_spill: impl Fn(Uuid) -> bool + Send + 'static,
) -> Result<Attempt, Failure> {
    let (lender, claim) = (server.clone(), claim.clone());
    let deadline = Instant::now() + limit;
    server.run(deadline, async move {
        let lent = lender.lend_until(deadline).await?;
        let begin = begin(limit);
        if let Err(failure) = schema::prepare(&lent, &begin).await {
            lent.roll_back().await;
            return Err(failure);
        }
        match lease::take(&lent, &claim, limit, ended, has_spill).await {
            Ok(attempt) => {
                lent.give_back();
                Ok(attempt)
            }
            // Its owner holds the row.
            Err(Failure::Server(error)) if is_locked(&error) => {
                lent.batch_execute("ROLLBACK").await?;
                let row = lease::peek(&lent, &claim.name).await?;
                lent.give_back();
                Err(row.map_or(Failure::Server(error), |row| Failure::Lost(row.holder)))
            }
            Err(failure) => {
                lent.roll_back().await;
                Err(failure)
            }
        }
    })
}

fn number(watermark: u64) -> i64 {
    i64::try_from(watermark).unwrap_or(i64::MAX)
}

/// The longest payload, in bytes, that a store reads which takes payloads of so many.
pub(crate) fn longest_payload(max_payload_bytes: usize) -> usize {
    max_payload_bytes.max(64 << 20)
}

fn place(server: &Server, space: &str) -> String {
    format!("space {space:?} of {}", server.place())
}

/// Names this process, for people.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    let host = host.as_deref().map_or("an unnamed host", str::trim);
    format!("process {} on {host}", std::process::id())
}

impl Backend for Postgres {
    fn load(&mut self, into: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        self.load_watched(None, into)
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        self.check_owned()?;
        let (begun, spent) = (Instant::now(), std::mem::take(&mut self.spent));
        let mut outcome = self.commit(batch, false, begun, spent);
        if let Err(Failure::Missing) = outcome {
            outcome = self.commit(batch, true, begun, spent);
        }
        let mut applied = outcome.map_err(|failure| self.explained("writing to", failure))?;
        applied.erased_ids.append(&mut self.gone);
        let watermark = number(batch.watermark);
        self.lease.renew(watermark);
        self.committed = watermark;
        self.clear = false;
        if batch.durability == Durability::Durable {
            self.durable = watermark;
        }
        for id in &applied.erased_ids {
            self.unreadable.remove(id);
        }
        Ok(applied)
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        self.check_owned()?;
        let begun = Instant::now();
        let (server, claim, lease, limit) =
            (self.server.clone(), self.claim.clone(), self.lease.clone(), self.flush_timeout);
        let unreadable: Vec<_> = self.unreadable.iter().copied().map(columns::uuid).collect();
        let retaken = self.server.run(self.deadline(), async move {
            let mut lent = server.lend().await?;
            // What was idle may have been cut off by what went wrong.
            lent.renew().await?;
            let begin = begin(limit);
            schema::prepare(&lent, &begin).await?;
            lent.batch_execute(&begin).await?;
            match lease::retake(&lent, &claim, &lease).await {
                Ok((space, watermark)) => {
                    let there = rows_read::which(&lent, space, &unreadable).await?;
                    lent.give_back();
                    Ok((space, watermark, there))
                }
                Err(failure) => {
                    lent.roll_back().await;
                    Err(failure)
                }
            }
        });
        let (space, watermark, there) = retaken.map_err(|failure| self.explained("reopening", failure))?;
        // An erasure of which nobody knew whether it was committed has deleted the others.
        self.gone.extend(self.unreadable.extract_if(|id| !there.contains(id)));
        if space != self.lease.space {
            self.server.leases.give_up(&self.lease);
            self.lease = Lease::new(space, self.lease.before, watermark, &self.claim);
            Leases::keep(&self.server, &self.lease)
                .map_err(|failure| self.explained("reopening", failure))?;
        }
        self.lease.renew(watermark);
        self.committed = watermark;
        if watermark < self.durable {
            let durable = self.durable;
            (self.clear, self.durable) = (true, watermark);
            let place = self.place();
            guarded::run(|| {
                tracing::error!(
                    place,
                    found = watermark,
                    durable,
                    "the server has lost commits that it had confirmed: everything is written anew from memory",
                );
            });
        }
        self.spent = begun.elapsed();
        // Whoever was told so may not have come to act on it.
        Ok(if self.clear { Reopened::Empty } else { Reopened::Same })
    }

    /// No failure of a server is [`Corrupt`](ErrorKind::Corrupt). Rows that differ from memory are written over, and
    /// those that can't be read stay.
    fn replace(&mut self) -> Result<(), BackendError> {
        self.reopen()?;
        self.clear = true;
        Ok(())
    }

    fn is_lost(&self) -> bool {
        self.lease.lost_to().is_some()
    }

    /// So that an idle store notices that it was taken over.
    fn tidy_interval(&self) -> Option<Duration> {
        Some(self.claim.length / 3)
    }

    fn tidy(&mut self, idle: bool) -> Result<bool, BackendError> {
        // The flush is over.
        self.spent = Duration::ZERO;
        self.check_owned()?;
        if self.lease.has_diverged() {
            return Err(self.explained("looking at", Failure::Diverged));
        }
        if self.lease.is_over() {
            let message = format!("the lease of {} has ended, and could not be renewed", self.place());
            let failure = BackendError::new(ErrorKind::Unreachable, message);
            return Err(failure.with_hint("look at the server and the way to it"));
        }
        if idle && self.committed > self.durable {
            // A commit that is synchronous, after all those that were not.
            let sql = "UPDATE mnemon.spaces SET committed_at = clock_timestamp() FROM (SELECT set_config(
                'synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                    ELSE current_setting('synchronous_commit') END, true)) AS c
                WHERE space = $1 AND boot = $2 AND epoch = $3 AND watermark = ";
            self.update_row("syncing", format!("{sql}{}", self.committed))?;
            self.durable = self.committed;
        }
        Ok(self.committed == self.durable)
    }

    fn close(&mut self, _: u64) -> Result<(), BackendError> {
        self.check_owned()?;
        let sql = "UPDATE mnemon.spaces SET clean = true WHERE space = $1 AND boot = $2 AND epoch = $3 AND watermark = ";
        self.update_row("closing", format!("{sql}{}", self.committed))
    }
}

/// Gives the lease up, so that nobody has to wait for its end.
impl Drop for Postgres {
    fn drop(&mut self) {
        // In a child process the space is the parent's.
        if self.server.is_forked() {
            return;
        }
        self.server.leases.give_up(&self.lease);
        if self.lease.lost_to().is_some() {
            return;
        }
        let sql = "UPDATE mnemon.spaces SET lease_until = NULL WHERE space = $1 AND boot = $2 AND epoch = $3";
        if let Err(error) = self.update_row("releasing", sql.to_owned()) {
            let place = self.place();
            guarded::run(
                || tracing::debug!(place, %error, "a lease could not be given up: it ends by itself"),
            );
        }
    }
}
