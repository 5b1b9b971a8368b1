//! Following a space from another process: what each cut has changed, in order.
//!
//! A follower leaves a time in the space's row until which it is to be fed. The owner sees it when its lease is renewed,
//! and notes the ids of what each cut changes in `mnemon.cuts`, within the cut's transaction; without followers it notes
//! nothing. Each note names the watermark before its cut, so that a follower sees where one is missing.

use super::columns::{names, trace_id};
use super::error::Failure;
use super::lease::begin;
use super::rows_read;
use super::schema;
use super::server::Server;
use super::spaces::no_such_space;
use crate::Commit;
use crate::error::Result;
use crate::trace::{Link, Trace};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use uuid::Uuid;

/// How long the owner keeps its notes, and goes on with them after a follower was last heard of.
pub(super) const KEPT: Duration = Duration::from_secs(3_600);

/// How often a follower tells the owner that it is there.
const TELL_AGAIN: Duration = Duration::from_secs(600);

/// How often a follower that waits looks whether there is another cut.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Longest that one look may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a [`Follower`] receives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Followed {
    /// The changes since the last event, as of the watermark of the commit: those of the next cut, or of several that
    /// were committed meanwhile.
    Committed(Commit),
    /// Some changes up to this watermark are not known: the follower was away for more than an hour, the owner had not
    /// yet noticed that it is followed, everything was written anew, or the server has lost commits. Read all of the
    /// space with [`Follower::read`]; later events continue from there.
    #[non_exhaustive]
    Gap {
        /// The watermark of the space.
        watermark: u64,
    },
}

/// A follower of a space, in any process; from [`follow`].
pub struct Follower {
    server: Arc<Server>,
    space: Arc<str>,
    watermark: i64,
    /// The time at which the owner was last told of it.
    told: Option<Instant>,
}

/// Follows a space of the database that `url` names, from a [watermark](crate::FlushReport::watermark) on: that of the
/// last event which was received before, or 0 to begin with [`Follower::read`].
///
/// The owner of the space notices its first follower when it next renews its lease, which takes a third of the lease at
/// most. It then notes the ids of what each cut changes, keeps them for an hour, and stops an hour after the last
/// follower was heard of. Without followers it notes nothing. A follower needs the right to update `mnemon.spaces`, and
/// one of the connections that the process has to this server while it looks.
///
/// ```no_run
/// use mnemon::postgres::{Followed, follow};
/// use std::time::Duration;
///
/// let mut follower = follow("postgres://db.example/memory", "agent-7", 0)?;
/// let mut copy = follower.read()?.traces.into_iter().collect::<std::collections::HashMap<_, _>>();
/// loop {
///     match follower.recv_timeout(Duration::from_secs(10))? {
///         Some(Followed::Committed(commit)) => copy.extend(commit.traces),
///         Some(Followed::Gap { .. }) => copy = follower.read()?.traces.into_iter().collect(),
///         _ => println!("nothing new since {}", follower.watermark()),
///     }
/// }
/// # Ok::<(), mnemon::Error>(())
/// ```
///
/// # Errors
///
/// [`NotFound`](crate::ErrorKind::NotFound) if there is no such space, and those of [`spaces`](super::spaces()).
pub fn follow(url: &str, space: &str, since: u64) -> Result<Follower> {
    let watermark = i64::try_from(since).unwrap_or(i64::MAX);
    let mut follower = Follower { server: Server::of(url)?, space: space.into(), watermark, told: None };
    follower.tell()?;
    Ok(follower)
}

impl Follower {
    /// Returns the watermark of the last event or the last [`read`](Self::read): the one to [`follow`] from next time.
    pub fn watermark(&self) -> u64 {
        self.watermark.max(0).unsigned_abs()
    }

    /// Waits for the next event; `None` if there is none within the timeout. Looks 20 times a second; a look that finds
    /// nothing reads one row. After an error, the next call continues where this one began.
    ///
    /// # Errors
    ///
    /// Those of [`follow`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Followed>> {
        let until = Instant::now() + timeout;
        loop {
            if self.told.is_none_or(|told| told.elapsed() > TELL_AGAIN) {
                self.tell()?;
            }
            let since = self.watermark;
            let (event, watermark) = self.look(move |client, space| changes(client, space, since).boxed())?;
            self.watermark = watermark;
            let left = until.saturating_duration_since(Instant::now());
            if event.is_some() || left.is_zero() {
                return Ok(event);
            }
            std::thread::sleep(left.min(LOOK_AGAIN));
        }
    }

    /// Returns all traces and links of the space as of its last cut, from which later events continue. Rows that can't
    /// be read are left out.
    ///
    /// # Errors
    ///
    /// Those of [`follow`].
    pub fn read(&mut self) -> Result<Commit> {
        let (commit, watermark) = self.look(|client, space| everything(client, space).boxed())?;
        self.watermark = watermark;
        Ok(commit)
    }

    /// Tells the owner that somebody follows.
    fn tell(&mut self) -> Result<()> {
        let sql = "UPDATE mnemon.spaces SET followed_until = clock_timestamp() + $2 * interval '1 second' WHERE name = $1";
        let (server, name) = (self.server.clone(), self.space.clone());
        let deadline = Instant::now() + LIMIT;
        let told = self.server.run(deadline, async move {
            let lent = server.lend_until(deadline).await?;
            if !schema::is_there(&lent).await? {
                lent.give_back();
                return Ok(0);
            }
            lent.batch_execute(&begin(LIMIT)).await?;
            let parameters: [(&(dyn ToSql + Sync), Type); 2] =
                [(&&*name, Type::TEXT), (&KEPT.as_secs_f64(), Type::FLOAT8)];
            let told = lent.execute_typed(sql, &parameters).await?;
            lent.batch_execute("COMMIT").await?;
            lent.give_back();
            Ok(told)
        });
        let told =
            told.map_err(|failure| failure.explained("following a space of", self.server.place(), LIMIT))?;
        if told == 0 {
            return Err(no_such_space(&self.space, self.server.place()));
        }
        self.told = Some(Instant::now());
        Ok(())
    }

    /// Reads something of the space as of one moment.
    fn look<T: Send + 'static>(
        &self,
        read: impl for<'a> FnOnce(&'a Client, &'a At) -> BoxFuture<'a, Result<T, Failure>> + Send + 'static,
    ) -> Result<T> {
        let (server, name) = (self.server.clone(), self.space.clone());
        let deadline = Instant::now() + LIMIT;
        let found = self.server.run(deadline, async move {
            let lent = server.lend_until(deadline).await?;
            lent.batch_execute(&format!(
                "{}; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
                begin(LIMIT)
            ))
            .await?;
            let sql = "SELECT space, watermark FROM mnemon.spaces WHERE name = $1";
            let found = match lent.query_typed_opt(sql, &[(&&*name, Type::TEXT)]).await? {
                Some(row) => {
                    Some(read(&lent, &At { number: row.try_get(0)?, watermark: row.try_get(1)? }).await?)
                }
                None => None,
            };
            lent.batch_execute("COMMIT").await?;
            lent.give_back();
            Ok(found)
        });
        let found =
            found.map_err(|failure| failure.explained("following a space of", self.server.place(), LIMIT))?;
        found.ok_or_else(|| no_such_space(&self.space, self.server.place()))
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { space, watermark, .. } = self;
        f.debug_struct("Follower").field("space", space).field("watermark", watermark).finish_non_exhaustive()
    }
}

/// A space at the moment of a look.
struct At {
    number: i32,
    watermark: i64,
}

/// All that the space holds, and its watermark.
async fn everything(client: &Client, space: &At) -> Result<(Commit, i64), Failure> {
    let traces = format!("SELECT {} FROM mnemon.traces WHERE space = $1", names(""));
    let traces = client.query_typed(&traces, &[(&space.number, Type::INT4)]).await?;
    let links = "SELECT a, b, count, first_at, last_at FROM mnemon.links WHERE space = $1";
    let links = client.query_typed(links, &[(&space.number, Type::INT4)]).await?;
    Ok((commit(space.watermark, BTreeMap::new(), &traces, BTreeMap::new(), &links), space.watermark))
}

/// The event after a watermark, if there is one, and the watermark that it leads to.
async fn changes(client: &Client, space: &At, since: i64) -> Result<(Option<Followed>, i64), Failure> {
    if space.watermark == since {
        return Ok((None, since));
    }
    let sql = "SELECT previous, watermark, ids, links FROM mnemon.cuts WHERE space = $1 AND watermark > $2 ORDER BY watermark";
    let cuts = client.query_typed(sql, &[(&space.number, Type::INT4), (&since, Type::INT8)]).await?;
    let (mut reached, mut traces, mut links) = (since, BTreeMap::new(), BTreeMap::new());
    for cut in &cuts {
        if cut.try_get::<_, i64>(0)? != reached {
            break;
        }
        reached = cut.try_get(1)?;
        traces.extend(cut.try_get::<_, Vec<Uuid>>(2)?.into_iter().map(|id| (id, None)));
        links.extend(cut.try_get::<_, Vec<Uuid>>(3)?.chunks_exact(2).map(|ends| ((ends[0], ends[1]), None)));
    }
    if reached != space.watermark {
        let gap = Followed::Gap { watermark: space.watermark.max(0).unsigned_abs() };
        return Ok((Some(gap), space.watermark));
    }
    if traces.is_empty() && links.is_empty() {
        return Ok((None, reached));
    }
    let ids: Vec<_> = traces.keys().copied().collect();
    let sql = format!("SELECT {} FROM mnemon.traces WHERE space = $1 AND id = ANY ($2)", names(""));
    let found = client.query_typed(&sql, &[(&space.number, Type::INT4), (&ids, Type::UUID_ARRAY)]).await?;
    let (a, b): (Vec<_>, Vec<_>) = links.keys().copied().unzip();
    let sql = "SELECT a, b, count, first_at, last_at FROM mnemon.links JOIN unnest($2::uuid[], $3::uuid[]) AS e (a, b) USING (a, b)
        WHERE space = $1";
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&space.number, Type::INT4), (&a, Type::UUID_ARRAY), (&b, Type::UUID_ARRAY)];
    let linked = client.query_typed(sql, &parameters).await?;
    Ok((Some(Followed::Committed(commit(reached, traces, &found, links, &linked))), reached))
}

/// What has changed, and the rows that are there of it: the rest was removed. A row that can't be read is left out.
fn commit(
    watermark: i64,
    mut traces: BTreeMap<Uuid, Option<Arc<Trace>>>,
    found: &[Row],
    mut links: BTreeMap<(Uuid, Uuid), Option<Link>>,
    linked: &[Row],
) -> Commit {
    for row in found {
        let Ok(id) = row.try_get(0) else { continue };
        match rows_read::trace(row) {
            Ok(trace) => drop(traces.insert(id, Some(Arc::new(trace)))),
            Err(_) => drop(traces.remove(&id)),
        }
    }
    for row in linked {
        let (Ok(a), Ok(b)) = (row.try_get(0), row.try_get(1)) else { continue };
        match rows_read::link(row) {
            Ok(link) => drop(links.insert((a, b), Some(link))),
            Err(_) => drop(links.remove(&(a, b))),
        }
    }
    Commit {
        watermark: watermark.max(0).unsigned_abs(),
        traces: traces.into_iter().map(|(id, trace)| (trace_id(id), trace)).collect(),
        links: links.into_iter().map(|((a, b), link)| ((trace_id(a), trace_id(b)), link)).collect(),
    }
}

/// Deletes notes of these spaces that are older than they are kept. Looks at the oldest few alone.
pub(super) async fn prune(client: &Client, spaces: &[i32]) -> Result<(), Failure> {
    if spaces.is_empty() {
        return Ok(());
    }
    let sql = "DELETE FROM mnemon.cuts c USING unnest($1::int[]) AS s (space), LATERAL (
            SELECT watermark FROM mnemon.cuts WHERE space = s.space ORDER BY watermark LIMIT 1000) AS oldest
        WHERE c.space = s.space AND c.watermark = oldest.watermark
            AND c.at < clock_timestamp() - $2 * interval '1 second'";
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&spaces, Type::INT4_ARRAY), (&KEPT.as_secs_f64(), Type::FLOAT8)];
    client.execute_typed(sql, &parameters).await?;
    Ok(())
}
