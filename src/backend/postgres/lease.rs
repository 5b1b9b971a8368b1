//! The ownership of a space: who takes it, and the lease that its owner has.
//!
//! A lease only says when another opening may take the space. What keeps a former owner from writing is the fence:
//! every transaction that writes begins with an update of the space's row that goes through for its `boot` and `epoch`
//! alone.

use super::error::{Failure, Holder};
use super::server::panicked;
use super::space_row::{History, locked, peek};
use crate::backend::BackendError;
use crate::error::ErrorKind;
use crate::protocol::sync::{Mutex, lock};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// Who opens a space, and for how long.
#[derive(Clone)]
pub(super) struct Claim {
    pub(super) name: Arc<str>,
    pub(super) boot: Uuid,
    /// For people.
    pub(super) owner: Arc<str>,
    pub(super) length: Duration,
}

impl Claim {
    fn seconds(&self) -> f64 {
        self.length.as_secs_f64()
    }
}

/// What an opening has taken.
pub(super) struct Taken {
    pub(super) space: i32,
    /// The row that it found.
    pub(super) before: History,
    /// The opening that has left a spill: the one that wrote last, or one whose spill is in the space already.
    pub(super) spilled: Option<Uuid>,
    pub(super) is_followed: bool,
}

/// Begins a transaction that is over in so long, by whoever waits for it on this side. The server gives up later: a
/// COMMIT that it stops waits no longer for a standby, and says that it has succeeded.
pub(super) fn begin(longest: Duration) -> String {
    let (idle, statement) = (longest.as_millis().max(1), longest.as_millis() + 1_000);
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {statement}; SET LOCAL idle_in_transaction_session_timeout = {idle}"
    )
}

/// What came of an attempt to take a space.
pub(super) enum Attempt {
    Taken(Taken),
    /// Its owner's lease ended at this time, and its row is not locked. That may be since the owner's transaction,
    /// which took longer, has just failed: then it goes on at once.
    Ended(Timestamp),
}

/// Takes the space, made if it is not there, unless another opening's lease of it has not ended. One that has ended
/// must have been found so before, as `ended` says. `has_spill` says for an opening whether it has left one. No
/// transaction may be open.
pub(super) async fn take(
    client: &Client,
    claim: &Claim,
    limit: Duration,
    ended: Option<Timestamp>,
    has_spill: impl Fn(Uuid) -> bool + Send + 'static,
) -> Result<Attempt, Failure> {
    // The keeper of the owner passes over rows that are locked: those of leases that run are not locked here.
    match peek(client, &claim.name).await? {
        Some(row) if row.is_held => return Err(Failure::Lost(row.holder)),
        // Before its row is waited for, so that a slow network leaves time for that.
        Some(_) => end_abandoned(client, &claim.name, limit).await?,
        None => {
            let sql = "INSERT INTO mnemon.spaces (name) VALUES ($1) ON CONFLICT DO NOTHING";
            client.execute_typed(sql, &[(&&*claim.name, Type::TEXT)]).await?;
        }
    }
    // Whoever holds the row is found before the time is over.
    let for_lock = (limit / 2).as_millis();
    client.batch_execute(&format!("{}; SET LOCAL lock_timeout = {for_lock}", begin(limit))).await?;
    let row = locked(client, &claim.name).await?.ok_or(Failure::Diverged)?;
    if row.is_held {
        return Err(Failure::Lost(row.holder));
    }
    if let Some(until) = row.holder.until.filter(|until| ended != Some(*until)) {
        client.batch_execute("ROLLBACK").await?;
        return Ok(Attempt::Ended(until));
    }
    // Whoever wrote last stays named until another opening writes: its spill may be in another host's folder.
    let mut boots = [row.boot, row.resumes, row.applied].into_iter().flatten();
    // A folder may be slow, and the flushes of all stores need this thread.
    let spilled = tokio::task::spawn_blocking(move || boots.find(|boot| has_spill(*boot))).await;
    let spilled = spilled.map_err(|_| panicked())?;
    let resumes = spilled.filter(|boot| row.applied != Some(*boot)).or(row.resumes).or(row.boot);
    let before = row.history();
    own(client, claim, row.space, before.epoch + 1, resumes).await?;
    Ok(Attempt::Taken(Taken { space: row.space, before, spilled, is_followed: row.is_followed }))
}

/// Takes the space again for the opening that has it. Returns its number and watermark.
pub(super) async fn retake(client: &Client, claim: &Claim, lease: &Lease) -> Result<(i32, i64), Failure> {
    let (space, watermark, resumes) = match locked(client, &claim.name).await? {
        Some(row) => match row.check(lease) {
            Err(Failure::Diverged) if row.is_held => return Err(Failure::Held(row.holder)),
            Ok(()) => (row.space, row.watermark, row.resumes),
            Err(Failure::Diverged) => (row.space, row.watermark, row.resumes.or(row.boot)),
            Err(failure) => return Err(failure),
        },
        // It was deleted, or the server has lost it.
        None => {
            let sql = "INSERT INTO mnemon.spaces (name) VALUES ($1) RETURNING space";
            let row = client.query_typed_one(sql, &[(&&*claim.name, Type::TEXT)]).await?;
            (row.try_get(0)?, 0, None)
        }
    };
    own(client, claim, space, lease.epoch, resumes).await?;
    Ok((space, watermark))
}

async fn own(
    client: &Client,
    claim: &Claim,
    space: i32,
    epoch: i64,
    resumes: Option<Uuid>,
) -> Result<(), Failure> {
    let sql = "UPDATE mnemon.spaces SET boot = $2, epoch = $3, owner = $4, resumes = $5, clean = false,
            lease_until = clock_timestamp() + $6 * interval '1 second'
        WHERE space = $1";
    let seconds = claim.seconds();
    let owner = &*claim.owner;
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (&space, Type::INT4),
        (&claim.boot, Type::UUID),
        (&epoch, Type::INT8),
        (&owner, Type::TEXT),
        (&resumes, Type::UUID),
        (&seconds, Type::FLOAT8),
    ];
    client.execute_typed(sql, &parameters).await?;
    client.batch_execute("COMMIT").await?;
    Ok(())
}

/// Ends the connection whose transaction holds the row of a space, if the lease has ended and the server has waited so
/// long for the rest of what the host was sending: no timeout of the server's ends such a wait, nor does it soon notice
/// that the host is gone.
async fn end_abandoned(client: &Client, name: &str, longest: Duration) -> Result<(), Failure> {
    let sql = "SELECT pg_terminate_backend(a.pid)
        FROM mnemon.spaces s JOIN pg_stat_activity a ON a.backend_xid = s.xmax
        WHERE s.name = $1 AND coalesce(s.lease_until <= clock_timestamp(), true) AND a.wait_event = 'ClientRead'
            AND a.query_start < clock_timestamp() - $2 * interval '1 second'";
    client.query_typed(sql, &[(&name, Type::TEXT), (&longest.as_secs_f64(), Type::FLOAT8)]).await?;
    Ok(())
}

/// A space that this process has.
pub(super) struct Lease {
    pub(super) space: i32,
    pub(super) name: Arc<str>,
    pub(super) boot: Uuid,
    pub(super) epoch: i64,
    /// The row that the opening found.
    pub(super) before: History,
    pub(super) length: Duration,
    state: Mutex<LeaseState>,
}

struct LeaseState {
    renewed: Instant,
    /// What the last transaction left the space at.
    watermark: i64,
    /// The space was found at less, or without this opening.
    has_diverged: bool,
    lost: Option<Holder>,
    is_followed: bool,
}

impl Lease {
    pub(super) fn new(space: i32, before: History, watermark: i64, claim: &Claim) -> Arc<Self> {
        let state = LeaseState {
            renewed: Instant::now(),
            watermark,
            has_diverged: false,
            lost: None,
            is_followed: false,
        };
        Arc::new(Self {
            space,
            name: claim.name.clone(),
            boot: claim.boot,
            epoch: before.epoch + 1,
            before,
            length: claim.length,
            state: Mutex::new(state),
        })
    }

    /// A transaction has renewed it, and left the space at this watermark.
    pub(super) fn renew(&self, watermark: i64) {
        let mut state = lock(&self.state);
        (state.renewed, state.watermark, state.has_diverged) = (Instant::now(), watermark, false);
    }

    /// The watermark that the last transaction left the space at.
    pub(super) fn watermark(&self) -> i64 {
        lock(&self.state).watermark
    }

    /// Whether the server has lost commits of this owner.
    pub(super) fn has_diverged(&self) -> bool {
        lock(&self.state).has_diverged
    }

    /// The keeper has renewed it; `watermark` is that of the space, and was `before` or less.
    pub(super) fn kept(&self, watermark: i64, before: i64) {
        let mut state = lock(&self.state);
        state.renewed = Instant::now();
        // One that was written anew meanwhile is at less.
        state.has_diverged |= watermark < before && state.watermark >= before;
    }

    /// The keeper, which has asked at that time, has found the row that the opening found.
    pub(super) fn diverge(&self, asked: Instant) {
        let mut state = lock(&self.state);
        // It may have been taken again meanwhile.
        state.has_diverged |= state.renewed < asked;
    }

    /// Notes whether anybody [follows](super::follow) the space.
    pub(super) fn set_followed(&self, is_followed: bool) {
        lock(&self.state).is_followed = is_followed;
    }

    pub(super) fn is_followed(&self) -> bool {
        lock(&self.state).is_followed
    }

    /// Whether it has ended, as far as this process knows.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.state).renewed.elapsed() > self.length
    }

    /// Another opening has the space, from now on and for ever.
    pub(super) fn lose(&self, holder: Holder) {
        lock(&self.state).lost.get_or_insert(holder);
    }

    pub(super) fn lost_to(&self) -> Option<Holder> {
        lock(&self.state).lost.clone()
    }
}

/// The error of an opening that finds the space with another owner.
pub(super) fn in_use(place: &str, holder: &Holder) -> BackendError {
    BackendError::new(ErrorKind::InUse, format!("{place} belongs to {holder}"))
        .with_hint("close it there, or wait until the lease of a host that is gone has ended")
}
