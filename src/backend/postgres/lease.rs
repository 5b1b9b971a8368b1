//! The ownership of a space: the lease of its row, and the keeper that renews the leases of this process.
//!
//! A lease only says when another opening may take the space. What keeps a former owner from writing is the fence:
//! every transaction that writes begins with an update of the space's row that goes through for its `boot` and `epoch`
//! alone.

use super::error::{Failure, Holder, Said};
use super::follow;
use super::server::{Connection, Server, panicked};
use crate::backend::BackendError;
use crate::error::ErrorKind;
use crate::guarded;
use crate::protocol::sync::{Mutex, lock};
use jiff::Timestamp;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use uuid::Uuid;

/// The least time that the keeper gives a new connection, and an answer.
const DIALLING: Duration = Duration::from_secs(3);
const RENEWING: Duration = Duration::from_secs(1);

/// What [`SpaceRow::of`] reads.
const ROW: &str = "space, boot, epoch, owner, watermark, resumes, applied,
    (extract(epoch FROM lease_until) * 1000000)::bigint AS until,
    coalesce(lease_until > clock_timestamp(), false) AS is_held,
    coalesce(followed_until > clock_timestamp(), false) AS is_followed";

/// The row of a space.
pub(super) struct SpaceRow {
    pub(super) space: i32,
    boot: Option<Uuid>,
    pub(super) watermark: i64,
    /// Whether its lease has not ended.
    pub(super) is_held: bool,
    pub(super) holder: Holder,
    is_followed: bool,
    epoch: i64,
    resumes: Option<Uuid>,
    applied: Option<Uuid>,
}

impl SpaceRow {
    fn of(row: &Row) -> Result<Self, Failure> {
        let until: Option<i64> = row.try_get("until")?;
        Ok(Self {
            space: row.try_get("space")?,
            boot: row.try_get("boot")?,
            watermark: row.try_get("watermark")?,
            is_held: row.try_get("is_held")?,
            holder: Holder {
                owner: row.try_get("owner")?,
                until: until.and_then(|micros| Timestamp::from_microsecond(micros).ok()),
            },
            is_followed: row.try_get("is_followed")?,
            epoch: row.try_get("epoch")?,
            resumes: row.try_get("resumes")?,
            applied: row.try_get("applied")?,
        })
    }

    fn history(&self) -> History {
        History { boot: self.boot, epoch: self.epoch, watermark: self.watermark }
    }

    /// Fails unless the space is that of this lease.
    pub(super) fn check(&self, lease: &Lease) -> Result<(), Failure> {
        if (self.boot, self.epoch) == (Some(lease.boot), lease.epoch) {
            return Ok(());
        }
        Err(if self.history().is_of(&lease.before) {
            Failure::Diverged
        } else {
            Failure::Lost(self.holder.clone())
        })
    }
}

/// A state of a space's row.
#[derive(Clone, Copy)]
pub(super) struct History {
    boot: Option<Uuid>,
    epoch: i64,
    pub(super) watermark: i64,
}

impl History {
    /// Whether this is the opening that `before` is of, not later: a server that has lost the opening which found
    /// `before` shows such a row. One at a later watermark was written to since.
    fn is_of(&self, before: &Self) -> bool {
        (self.boot, self.epoch) == (before.boot, before.epoch) && self.watermark <= before.watermark
    }
}

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

/// The row of a space, once every transaction that holds it has ended. To be called in a transaction.
pub(super) async fn locked(client: &Client, name: &str) -> Result<Option<SpaceRow>, Failure> {
    look(client, name, "FOR UPDATE").await
}

/// The row of a space as it was last committed.
pub(super) async fn peek(client: &Client, name: &str) -> Result<Option<SpaceRow>, Failure> {
    look(client, name, "").await
}

async fn look(client: &Client, name: &str, lock: &str) -> Result<Option<SpaceRow>, Failure> {
    let sql = format!("SELECT {ROW} FROM mnemon.spaces WHERE name = $1 {lock}");
    let row = client.query_typed_opt(&sql, &[(&name, Type::TEXT)]).await?;
    row.as_ref().map(SpaceRow::of).transpose()
}

/// Why the space's row was not changed by its owner.
pub(super) async fn why_not(client: &Client, name: &str, lease: &Lease) -> Result<Failure, Failure> {
    let found = peek(client, name).await?.map_or(Ok(()), |row| row.check(lease));
    Ok(found.err().unwrap_or(Failure::Diverged))
}

/// A space that this process has.
pub(super) struct Lease {
    pub(super) space: i32,
    name: Arc<str>,
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

    /// Whether the server has lost commits of this owner.
    pub(super) fn has_diverged(&self) -> bool {
        lock(&self.state).has_diverged
    }

    /// The keeper has renewed it; `watermark` is that of the space, and was `before` or less.
    fn kept(&self, watermark: i64, before: i64) {
        let mut state = lock(&self.state);
        state.renewed = Instant::now();
        // One that was written anew meanwhile is at less.
        state.has_diverged |= watermark < before && state.watermark >= before;
    }

    /// The keeper, which has asked at that time, has found the row that the opening found.
    fn diverge(&self, asked: Instant) {
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

/// The leases of this process on one server.
#[derive(Default)]
pub(super) struct Leases {
    held: Mutex<Vec<Arc<Lease>>>,
    keeper: Mutex<Option<tokio::task::AbortHandle>>,
    changed: Arc<Notify>,
}

impl Leases {
    /// Has the keeper renew a lease, until it is given up.
    pub(super) fn keep(server: &Arc<Server>, lease: &Arc<Lease>) -> Result<(), Failure> {
        let leases = &server.leases;
        lock(&leases.held).push(lease.clone());
        let mut keeper = lock(&leases.keeper);
        if keeper.as_ref().is_none_or(tokio::task::AbortHandle::is_finished) {
            *keeper = Some(server.spawn(keep(Arc::downgrade(server), leases.changed.clone()))?);
        }
        leases.changed.notify_one();
        Ok(())
    }

    /// Has the keeper look whether there is anything left to keep.
    pub(super) fn wake_keeper(&self) {
        self.changed.notify_one();
    }

    pub(super) fn give_up(&self, lease: &Arc<Lease>) {
        lock(&self.held).retain(|held| !Arc::ptr_eq(held, lease));
    }
}

/// How soon the keeper comes back to a row that was locked.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// Renews all leases of a server, on a connection of its own, three times in the shortest of them.
async fn keep(server: Weak<Server>, changed: Arc<Notify>) {
    let (mut connection, mut last, mut skipped) = (None, Instant::now(), Vec::new());
    while let Some(kept) = server.upgrade() {
        let held = lock(&kept.leases.held).clone();
        let shortest = held.iter().map(|lease| lease.length).min();
        let period = shortest.map_or(Duration::from_secs(3_600), |shortest| shortest / 3);
        if held.is_empty() {
            connection = None;
        } else if last.elapsed() >= period || !skipped.is_empty() {
            let due = if last.elapsed() >= period {
                last = Instant::now();
                held
            } else {
                held.into_iter().filter(|lease| skipped.contains(&lease.boot)).collect()
            };
            let renewed = renew_within(period, &kept, &mut connection, &due).await;
            skipped = renewed.unwrap_or_else(|failure| {
                connection = None;
                let why = match failure {
                    Failure::Server(error) => Said::by(&error).to_string(),
                    _ => "no answer in time".to_owned(),
                };
                guarded::run(|| tracing::debug!(place = kept.place(), why, "leases were not renewed"));
                Vec::new()
            });
        }
        drop(kept);
        let soon = (!skipped.is_empty()).then(|| Instant::now() + TRY_AGAIN);
        let due = soon.into_iter().fold(last + period, Instant::min);
        // Another lease may be shorter.
        tokio::time::timeout_at(due.into(), changed.notified()).await.ok();
    }
}

/// Renews leases. A row that is locked is being written by its owner, whose transaction renews it, or being looked at.
fn renewal() -> String {
    format!(
        "WITH mine AS (
            SELECT * FROM unnest($1::int[], $2::text[], $3::uuid[], $4::int8[], $5::float8[])
                AS m (number, called, ours, opening, length)),
        free AS (
            SELECT s.space AS number, m.length FROM mnemon.spaces s JOIN mine m
                ON s.space = m.number AND s.name = m.called AND s.boot = m.ours AND s.epoch = m.opening
            FOR UPDATE OF s SKIP LOCKED),
        renewed AS (
            UPDATE mnemon.spaces s SET lease_until = clock_timestamp() + f.length * interval '1 second'
            FROM free f WHERE s.space = f.number RETURNING s.space AS number)
        SELECT {ROW}, m.ours, r.number IS NOT NULL AS is_renewed,
            EXISTS (SELECT FROM mnemon.cuts c WHERE c.space = m.number) AS has_notes
        FROM mine m JOIN mnemon.spaces s ON s.space = m.number AND s.name = m.called LEFT JOIN renewed r USING (number)"
    )
}

/// Renews leases, and then deletes notes that are too old. Returns the openings whose rows were locked. No step has less
/// time than a slow network needs, however short one of the leases is.
async fn renew_within(
    period: Duration,
    server: &Server,
    connection: &mut Option<Connection>,
    held: &[Arc<Lease>],
) -> Result<Vec<Uuid>, Failure> {
    let late = |_| Failure::TimedOut;
    let connection = match connection.take().filter(|connection| !connection.is_closed()) {
        Some(open) => connection.insert(open),
        None => connection.insert(timeout(period.max(DIALLING), server.dial()).await.map_err(late)??),
    };
    let (noted, skipped) = timeout(period.max(RENEWING), renew(connection, held)).await.map_err(late)??;
    timeout(period.max(RENEWING), follow::prune(connection, &noted)).await.map_err(late)??;
    Ok(skipped)
}

/// Renews leases. Returns the spaces of which there are notes for followers, and the openings whose rows were locked.
async fn renew(connection: &Connection, held: &[Arc<Lease>]) -> Result<(Vec<i32>, Vec<Uuid>), Failure> {
    let before: Vec<_> = held.iter().map(|lease| lock(&lease.state).watermark).collect();
    let spaces: Vec<_> = held.iter().map(|lease| lease.space).collect();
    let names: Vec<_> = held.iter().map(|lease| &*lease.name).collect();
    let boots: Vec<_> = held.iter().map(|lease| lease.boot).collect();
    let epochs: Vec<_> = held.iter().map(|lease| lease.epoch).collect();
    let lengths: Vec<_> = held.iter().map(|lease| lease.length.as_secs_f64()).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&spaces, Type::INT4_ARRAY),
        (&names, Type::TEXT_ARRAY),
        (&boots, Type::UUID_ARRAY),
        (&epochs, Type::INT8_ARRAY),
        (&lengths, Type::FLOAT8_ARRAY),
    ];
    let (mut noted, mut skipped, asked) = (Vec::new(), Vec::new(), Instant::now());
    for row in connection.query_typed(&renewal(), &parameters).await? {
        let ours: Uuid = row.try_get("ours")?;
        let Some(at) = held.iter().position(|lease| lease.boot == ours) else { continue };
        let (lease, found) = (&held[at], SpaceRow::of(&row)?);
        lease.set_followed(found.is_followed);
        if row.try_get("has_notes")? {
            noted.push(lease.space);
        }
        match found.check(lease) {
            Ok(()) if row.try_get("is_renewed")? => lease.kept(found.watermark, before[at]),
            Ok(()) => skipped.push(ours),
            Err(Failure::Lost(holder)) => lease.lose(holder),
            Err(_) => lease.diverge(asked),
        }
    }
    Ok((noted, skipped))
}

/// The error of an opening that finds the space with another owner.
pub(super) fn in_use(place: &str, holder: &Holder) -> BackendError {
    BackendError::new(ErrorKind::InUse, format!("{place} belongs to {holder}"))
        .with_hint("close it there, or wait until the lease of a host that is gone has ended")
}
