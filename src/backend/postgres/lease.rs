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
const ROW: &str = "space, boot, epoch, owner, watermark, resumes,
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
        })
    }

    /// Whether the space is that of this lease.
    pub(super) fn is_of(&self, lease: &Lease) -> bool {
        (self.boot, self.epoch) == (Some(lease.boot), lease.epoch)
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
    pub(super) epoch: i64,
    pub(super) watermark: i64,
    /// The opening before, whose spill is to be applied.
    pub(super) resumes: Option<Uuid>,
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

/// Takes the space, made if it is not there, unless another opening's lease of it has not ended. `has_spill` says for
/// an opening whether it has left one.
pub(super) async fn take(
    client: &Client,
    claim: &Claim,
    has_spill: impl Fn(Uuid) -> bool + Send + 'static,
) -> Result<Taken, Failure> {
    let row = match locked(client, &claim.name).await? {
        Some(row) => row,
        None => {
            let sql = "INSERT INTO mnemon.spaces (name) VALUES ($1) ON CONFLICT DO NOTHING";
            client.execute_typed(sql, &[(&&*claim.name, Type::TEXT)]).await?;
            locked(client, &claim.name).await?.ok_or(Failure::Diverged)?
        }
    };
    if row.is_held {
        return Err(Failure::Lost(row.holder));
    }
    // One that has written nothing yet goes on with what it was to apply.
    let mut boots = row.boot.into_iter().chain(row.resumes);
    // A folder may be slow, and the flushes of all stores need this thread.
    let found = tokio::task::spawn_blocking(move || boots.find(|boot| has_spill(*boot))).await;
    let resumes = found.map_err(|_| panicked())?;
    let epoch = row.epoch + 1;
    own(client, claim, row.space, epoch, resumes).await?;
    Ok(Taken { space: row.space, epoch, watermark: row.watermark, resumes, is_followed: row.is_followed })
}

/// Takes the space again for the opening that has it. Returns its number and watermark.
pub(super) async fn retake(client: &Client, claim: &Claim, epoch: i64) -> Result<(i32, i64), Failure> {
    let row = match locked(client, &claim.name).await? {
        Some(row) => row,
        // It was deleted, or the server has lost it.
        None => {
            let sql = "INSERT INTO mnemon.spaces (name, epoch) VALUES ($1, $2)";
            client.execute_typed(sql, &[(&&*claim.name, Type::TEXT), (&(epoch - 1), Type::INT8)]).await?;
            locked(client, &claim.name).await?.ok_or(Failure::Diverged)?
        }
    };
    let is_ours = (row.boot, row.epoch) == (Some(claim.boot), epoch);
    // A server that has lost the taking itself has that of an earlier opening.
    let is_earlier = row.epoch < epoch && !row.is_held;
    if !is_ours && !is_earlier {
        return Err(Failure::Lost(row.holder));
    }
    own(client, claim, row.space, epoch, row.resumes).await?;
    Ok((row.space, row.watermark))
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
    Ok(match peek(client, name).await? {
        Some(row) if !row.is_of(lease) => Failure::Lost(row.holder),
        _ => Failure::Diverged,
    })
}

/// A space that this process has.
pub(super) struct Lease {
    pub(super) space: i32,
    pub(super) boot: Uuid,
    pub(super) epoch: i64,
    pub(super) length: Duration,
    state: Mutex<LeaseState>,
}

struct LeaseState {
    renewed: Instant,
    /// What the last transaction left the space at.
    watermark: i64,
    /// The space was found at less.
    has_diverged: bool,
    lost: Option<Holder>,
    is_followed: bool,
}

impl Lease {
    pub(super) fn new(space: i32, epoch: i64, watermark: i64, claim: &Claim) -> Arc<Self> {
        let state = LeaseState {
            renewed: Instant::now(),
            watermark,
            has_diverged: false,
            lost: None,
            is_followed: false,
        };
        Arc::new(Self { space, boot: claim.boot, epoch, length: claim.length, state: Mutex::new(state) })
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

/// Renews all leases of a server, on a connection of its own, three times in the shortest of them.
async fn keep(server: Weak<Server>, changed: Arc<Notify>) {
    let (mut connection, mut last) = (None, Instant::now());
    while let Some(kept) = server.upgrade() {
        let held = lock(&kept.leases.held).clone();
        let shortest = held.iter().map(|lease| lease.length).min();
        let period = shortest.map_or(Duration::from_secs(3_600), |shortest| shortest / 3);
        if held.is_empty() {
            connection = None;
        } else if last.elapsed() >= period {
            last = Instant::now();
            if let Err(failure) = renew_within(period, &kept, &mut connection, &held).await {
                connection = None;
                let why = match failure {
                    Failure::Server(error) => Said::by(&error).to_string(),
                    _ => "no answer in time".to_owned(),
                };
                guarded::run(|| tracing::debug!(place = kept.place(), why, "leases were not renewed"));
            }
        }
        drop(kept);
        let due = last + period;
        // Another lease may be shorter.
        tokio::time::timeout_at(due.into(), changed.notified()).await.ok();
    }
}

/// A row that is locked is being written by its owner, whose transaction renews it, or being looked at.
const RENEW: &str = "
WITH mine AS (SELECT * FROM unnest($1::int[], $2::uuid[], $3::int8[], $4::float8[]) AS m (space, boot, epoch, length)),
free AS (
    SELECT s.space, m.length FROM mnemon.spaces s JOIN mine m ON s.space = m.space AND s.boot = m.boot AND s.epoch = m.epoch
    FOR UPDATE OF s SKIP LOCKED),
renewed AS (
    UPDATE mnemon.spaces s SET lease_until = clock_timestamp() + f.length * interval '1 second'
    FROM free f WHERE s.space = f.space RETURNING s.space)
SELECT m.boot AS ours, r.space IS NOT NULL AS is_renewed, (s.boot, s.epoch) IS DISTINCT FROM (m.boot, m.epoch) AS is_lost, s.owner, s.watermark,
    (extract(epoch FROM s.lease_until) * 1000000)::bigint AS until,
    coalesce(s.followed_until > clock_timestamp(), false) AS is_followed,
    EXISTS (SELECT FROM mnemon.cuts c WHERE c.space = s.space) AS has_notes
FROM mine m JOIN mnemon.spaces s USING (space) LEFT JOIN renewed r USING (space)";

/// Renews all leases, and then deletes notes that are too old. No step has less time than a slow network needs, however
/// short one of the leases is.
async fn renew_within(
    period: Duration,
    server: &Server,
    connection: &mut Option<Connection>,
    held: &[Arc<Lease>],
) -> Result<(), Failure> {
    let late = |_| Failure::TimedOut;
    let connection = match connection.take().filter(|connection| !connection.is_closed()) {
        Some(open) => connection.insert(open),
        None => connection.insert(timeout(period.max(DIALLING), server.dial()).await.map_err(late)??),
    };
    let noted = timeout(period.max(RENEWING), renew(connection, held)).await.map_err(late)??;
    timeout(period.max(RENEWING), follow::prune(connection, &noted)).await.map_err(late)?
}

/// Renews the leases. Returns the spaces of which there are notes for followers.
async fn renew(connection: &Connection, held: &[Arc<Lease>]) -> Result<Vec<i32>, Failure> {
    let before: Vec<_> = held.iter().map(|lease| lock(&lease.state).watermark).collect();
    let spaces: Vec<_> = held.iter().map(|lease| lease.space).collect();
    let boots: Vec<_> = held.iter().map(|lease| lease.boot).collect();
    let epochs: Vec<_> = held.iter().map(|lease| lease.epoch).collect();
    let lengths: Vec<_> = held.iter().map(|lease| lease.length.as_secs_f64()).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&spaces, Type::INT4_ARRAY),
        (&boots, Type::UUID_ARRAY),
        (&epochs, Type::INT8_ARRAY),
        (&lengths, Type::FLOAT8_ARRAY),
    ];
    let mut noted = Vec::new();
    for row in connection.query_typed(RENEW, &parameters).await? {
        let ours: Uuid = row.try_get("ours")?;
        let Some(at) = held.iter().position(|lease| lease.boot == ours) else { continue };
        let lease = &held[at];
        let until: Option<i64> = row.try_get("until")?;
        if row.try_get("is_lost")? {
            lease.lose(Holder {
                owner: row.try_get("owner")?,
                until: until.and_then(|micros| Timestamp::from_microsecond(micros).ok()),
            });
        } else if row.try_get("is_renewed")? {
            lease.kept(row.try_get("watermark")?, before[at]);
        }
        lease.set_followed(row.try_get("is_followed")?);
        if row.try_get("has_notes")? {
            noted.push(lease.space);
        }
    }
    Ok(noted)
}

/// The error of an opening that finds the space with another owner.
pub(super) fn in_use(place: &str, holder: &Holder) -> BackendError {
    BackendError::new(ErrorKind::InUse, format!("{place} belongs to {holder}"))
        .with_hint("close it there, or wait until the lease of a host that is gone has ended")
}
