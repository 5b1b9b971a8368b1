//! The spaces of a database, for people: what there is, and how a space is released whose host is gone.

use super::error::Failure;
use super::lease::begin;
use super::schema;
use super::server::Server;
use crate::error::{Error, ErrorKind, Result};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

/// Time that each of these may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A space of a database; from [`spaces`], [`space`] and [`inspect`].
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

/// The content of a space in numbers, unreadable rows included; from [`inspect`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SpaceContent {
    /// The space's owner, lease and watermark, and the numbers of its rows.
    pub report: SpaceReport,
    /// Number of traces of each type.
    pub by_type: BTreeMap<String, u64>,
    /// Number of traces of each partition.
    pub by_partition: BTreeMap<String, u64>,
    /// Number of traces of each tier.
    pub by_tier: BTreeMap<String, u64>,
}

/// Returns the spaces of the database that `url` names, by name; none if no store has ever been opened there. Changes
/// nothing, and waits for no lock. Costs a count of all rows of all spaces, for 60 seconds at most.
///
/// # Errors
///
/// Those of [`StoreBuilder::connect`](crate::StoreBuilder::connect), except that a space may be in use.
pub fn spaces(url: &str) -> Result<Vec<SpaceReport>> {
    let read = read(&Server::of(url)?, |client| Box::pin(reports(client, &None)))?;
    Ok(read.unwrap_or_default())
}

/// Returns one space of the database that `url` names. Changes nothing, and waits for no lock. Costs a count of the
/// rows of the space, for 60 seconds at most.
///
/// # Errors
///
/// [`NotFound`](ErrorKind::NotFound) if there is no such space, and those of [`spaces`].
pub fn space(url: &str, name: &str) -> Result<SpaceReport> {
    let server = Server::of(url)?;
    let only = Some(name.to_owned());
    let read = read(&server, |client| Box::pin(async move { reports(client, &only).await }))?;
    read.and_then(|mut found| found.pop()).ok_or_else(|| no_such_space(name, server.place()))
}

/// Returns the content of a space in numbers, as of one cut. The server counts: no row is loaded. Changes nothing, and
/// waits for no lock. Costs one pass over the rows of the space, for 60 seconds at most.
///
/// # Errors
///
/// [`NotFound`](ErrorKind::NotFound) if there is no such space, and those of [`spaces`].
pub fn inspect(url: &str, space: &str) -> Result<SpaceContent> {
    let server = Server::of(url)?;
    let name = Some(space.to_owned());
    let read = read(&server, move |client| {
        Box::pin(async move {
            let Some(report) = reports(client, &name).await?.pop() else { return Ok(None) };
            let sql = "SELECT grouping(type, partition, tier), coalesce(type, partition, tier), count(*)
                FROM mnemon.traces WHERE space = (SELECT space FROM mnemon.spaces WHERE name = $1)
                GROUP BY GROUPING SETS ((type), (partition), (tier))";
            let [mut by_type, mut by_partition, mut by_tier] = [(); 3].map(|()| BTreeMap::new());
            for row in client.query_typed(sql, &[(&name, Type::TEXT)]).await? {
                // A bit for each column that is not grouped by.
                let counts = match row.try_get::<_, i32>(0)? {
                    0b011 => &mut by_type,
                    0b101 => &mut by_partition,
                    _ => &mut by_tier,
                };
                counts.insert(row.try_get(1)?, count(&row, 2)?);
            }
            Ok(Some(SpaceContent { report, by_type, by_partition, by_tier }))
        })
    })?;
    read.flatten().ok_or_else(|| no_such_space(space, server.place()))
}

/// The spaces, or the one of this name.
async fn reports(client: &Client, name: &Option<String>) -> Result<Vec<SpaceReport>, Failure> {
    let sql = "SELECT s.name, s.owner, (extract(epoch FROM s.lease_until) * 1000000)::bigint,
            coalesce(s.lease_until <= clock_timestamp(), false), s.epoch, s.watermark,
            (extract(epoch FROM s.committed_at) * 1000000)::bigint, s.clean,
            (SELECT count(*) FROM mnemon.traces t WHERE t.space = s.space),
            (SELECT count(*) FROM mnemon.links l WHERE l.space = s.space)
        FROM mnemon.spaces s WHERE $1::text IS NULL OR s.name = $1 ORDER BY s.name";
    let time = |micros: Option<i64>| micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let report = |row: &Row| {
        Ok(SpaceReport {
            name: row.try_get(0)?,
            owner: row.try_get(1)?,
            lease_until: time(row.try_get(2)?),
            is_over: row.try_get(3)?,
            epoch: count(row, 4)?,
            watermark: count(row, 5)?,
            committed_at: time(row.try_get(6)?),
            is_clean: row.try_get(7)?,
            traces: count(row, 8)?,
            links: count(row, 9)?,
        })
    };
    client.query_typed(sql, &[(name, Type::TEXT)]).await?.iter().map(report).collect()
}

fn count(row: &Row, at: usize) -> Result<u64, Failure> {
    Ok(row.try_get::<_, i64>(at)?.max(0).unsigned_abs())
}

/// Reads something as of one moment; `None` if no store has ever been opened there.
fn read<T: Send + 'static>(
    server: &Arc<Server>,
    work: impl for<'c> FnOnce(&'c Client) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static,
) -> Result<Option<T>> {
    run(server, "reading", move |server, deadline| async move {
        let lent = server.lend_until(deadline).await?;
        if !schema::is_there(&lent).await? {
            lent.give_back();
            return Ok(None);
        }
        let begin = begin(LIMIT);
        lent.batch_execute(&format!("{begin}; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            .await?;
        let found = work(&lent).await?;
        lent.batch_execute("COMMIT").await?;
        lent.give_back();
        Ok(Some(found))
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
    let released = run(&server, "releasing a space of", move |server, deadline| async move {
        let lent = server.lend_until(deadline).await?;
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
    work: impl FnOnce(Arc<Server>, Instant) -> F,
) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    let done = server.run(deadline, work(server.clone(), deadline));
    Ok(done.map_err(|failure| failure.explained(doing, server.place(), LIMIT))?)
}
