//! The keeper of leases: renews those of this process on one server, on a connection of its own.

use super::error::{Failure, Said};
use super::follow;
use super::lease::Lease;
use super::server::{Connection, Server};
use super::space_row::{ROW, SpaceRow};
use crate::guarded;
use crate::protocol::sync::{Mutex, lock};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// The least time that the keeper gives a new connection, and an answer.
const DIALLING: Duration = Duration::from_secs(3);
const RENEWING: Duration = Duration::from_secs(1);

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
    let before: Vec<_> = held.iter().map(|lease| lease.watermark()).collect();
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
