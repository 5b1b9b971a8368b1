//! The spaces of a database, for people: what there is, and how a space is released whose host is gone.

use super::error::Failure;
use super::lease::begin;
use super::schema;
use super::server::Server;
use crate::error::{Error, ErrorKind, Result};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::types::Type;

/// Time that each of these may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A space of a database; from [`spaces`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SpaceReport {
    /// Name of the space.
    pub name: String,
    /// The process that has opened the space last; `None` if it was released since.
    pub owner: Option<String>,
    /// Time at which the owner's lease ends unless it is renewed; `None` if nobody has the space open.
    pub lease_until: Option<Timestamp>,
    /// Whether that time has passed, by the clock of the server.
    pub is_over: bool,
    /// Number of openings and releases so far.
    pub epoch: u64,
    /// The generation up to which everything is stored.
    pub watermark: u64,
    /// Time of the last cut; `None` if there was none.
    pub committed_at: Option<Timestamp>,
    /// Whether its last owner closed it.
    pub is_clean: bool,
    /// Number of rows of traces, unreadable ones included.
    pub traces: u64,
    /// Number of rows of links, unreadable ones included.
    pub links: u64,
}

/// Returns the spaces of the database that `url` names, by name; none if no store has ever been opened there. Changes
/// nothing, and waits for no lock. Costs a count of all rows of all spaces, for 60 seconds at most.
///
/// # Errors
///
/// Those of [`StoreBuilder::connect`](crate::StoreBuilder::connect), except that a space may be in use.
pub fn spaces(url: &str) -> Result<Vec<SpaceReport>> {
    reports(&Server::of(url)?, None)
}

/// Returns one space of the database that `url` names. Changes nothing, and waits for no lock. Costs a count of the rows
/// of the space, for 60 seconds at most.
///
/// # Errors
///
/// [`NotFound`](ErrorKind::NotFound) if there is no such space, and those of [`spaces`].
pub fn space(url: &str, name: &str) -> Result<SpaceReport> {
    let server = Server::of(url)?;
    let found = reports(&server, Some(name.to_owned()))?.pop();
    found.ok_or_else(|| no_such_space(name, server.place()))
}

/// The spaces, or the one of this name.
fn reports(server: &Arc<Server>, name: Option<String>) -> Result<Vec<SpaceReport>> {
    let sql = "SELECT s.name, s.owner, (extract(epoch FROM s.lease_until) * 1000000)::bigint,
            coalesce(s.lease_until <= clock_timestamp(), false), s.epoch, s.watermark,
            (extract(epoch FROM s.committed_at) * 1000000)::bigint, s.clean,
            (SELECT count(*) FROM mnemon.traces t WHERE t.space = s.space),
            (SELECT count(*) FROM mnemon.links l WHERE l.space = s.space)
        FROM mnemon.spaces s WHERE $1::text IS NULL OR s.name = $1 ORDER BY s.name";
    run(server, "reading", move |server| async move {
        let lent = server.lend().await?;
        if !schema::is_there(&lent).await? {
            lent.give_back();
            return Ok(Vec::new());
        }
        lent.batch_execute(&begin(LIMIT)).await?;
        let rows = lent.query_typed(sql, &[(&name, Type::TEXT)]).await?;
        lent.batch_execute("COMMIT").await?;
        lent.give_back();
        let time = |micros: Option<i64>| micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
        let report = |row: &tokio_postgres::Row| {
            let count = |at| Ok::<_, Failure>(row.try_get::<_, i64>(at)?.max(0).unsigned_abs());
            Ok(SpaceReport {
                name: row.try_get(0)?,
                owner: row.try_get(1)?,
                lease_until: time(row.try_get(2)?),
                is_over: row.try_get(3)?,
                epoch: count(4)?,
                watermark: count(5)?,
                committed_at: time(row.try_get(6)?),
                is_clean: row.try_get(7)?,
                traces: count(8)?,
                links: count(9)?,
            })
        };
        rows.iter().map(report).collect()
    })
}

/// Ends the lease of a space whose host is known to be gone, so that another one can open it at once. Should that host
/// live on, it writes nothing more to the space. Returns the owner that the space had; `None` if it had none.
///
/// # Errors
///
/// [`NotFound`](ErrorKind::NotFound) if there is no such space, and those of [`spaces`].
pub fn release(url: &str, space: &str) -> Result<Option<String>> {
    let sql = "UPDATE mnemon.spaces s SET lease_until = NULL, owner = NULL, epoch = s.epoch + 1
        FROM (SELECT space, owner FROM mnemon.spaces WHERE name = $1 FOR UPDATE) was
        WHERE s.space = was.space RETURNING was.owner";
    let name: Arc<str> = space.into();
    let server = Server::of(url)?;
    let released = run(&server, "releasing a space of", move |server| async move {
        let lent = server.lend().await?;
        if !schema::is_there(&lent).await? {
            lent.give_back();
            return Ok(None);
        }
        lent.batch_execute(&begin(LIMIT)).await?;
        let row = lent.query_typed_opt(sql, &[(&&*name, Type::TEXT)]).await?;
        lent.batch_execute("COMMIT").await?;
        lent.give_back();
        row.map(|row| Ok(row.try_get(0)?)).transpose()
    })?;
    released.ok_or_else(|| no_such_space(space, server.place()))
}

/// `place` names the server.
pub(super) fn no_such_space(space: &str, place: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no space {space:?} in {place}"))
        .with_hint("the function spaces, or `mnemon spaces`, lists those there are")
}

fn run<T: Send + 'static, F: Future<Output = Result<T, Failure>> + Send + 'static>(
    server: &Arc<Server>,
    doing: &str,
    work: impl FnOnce(Arc<Server>) -> F,
) -> Result<T> {
    let done = server.run(Instant::now() + LIMIT, work(server.clone()));
    Ok(done.map_err(|failure| failure.explained(doing, server.place(), LIMIT))?)
}
