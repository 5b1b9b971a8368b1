//! A cut as one transaction, pipelined: a small one waits for one round trip, a large one for one in each part.

use super::columns::{self, Values, trace_id};
use super::error::Failure;
use super::halves::{Rows, halves};
use super::lease::{Lease, begin};
use super::pipe::{PART_BYTES, PART_ROWS, Pipe, Request, note_links, query};
use super::server::{Lent, Server};
use super::space_row::{locked, why_not};
use crate::Durability;
use crate::backend::{Applied, LinkChange, Scope, TraceChange};
use crate::trace::{Link, Trace, TraceId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use uuid::Uuid;

/// A batch on its way to the server's thread. Traces are shared with it, not copied.
pub(super) struct SharedBatch {
    /// The space's name.
    pub(super) name: Arc<str>,
    pub(super) lease: Arc<Lease>,
    /// The watermark that the space is at, and the one that it is to be at.
    pub(super) before: i64,
    pub(super) watermark: i64,
    /// The opening whose spill is in this cut, or in an earlier one.
    pub(super) applied: Option<Uuid>,
    pub(super) durability: Durability,
    /// The longest that a statement, a lock or this process may take.
    pub(super) limit: Duration,
    /// The longest that a connection and the fence may take, so that a server which is away is noticed in time also by a
    /// cut that erases.
    pub(super) fence_limit: Duration,
    /// Whether rows are written whole of which the numbers would do, since one of them is not there.
    pub(super) whole: bool,
    /// Whether all that the space holds is deleted first, except rows that could not be read.
    pub(super) clear: bool,
    pub(super) erased: Vec<Scope>,
    pub(super) traces: Vec<TraceChange>,
    pub(super) links: Vec<LinkChange>,
    /// Traces of which a row is there that could not be read.
    pub(super) unreadable: HashSet<TraceId>,
    pub(super) unreadable_links: Vec<(Uuid, Uuid)>,
}

/// The changes of a cut, by what they are. Numbers are places in the batch.
#[derive(Default)]
struct Plan<'a> {
    deletes: Vec<Uuid>,
    upserts: Vec<(usize, &'a Trace)>,
    updates: Vec<(usize, &'a Trace)>,
    parted: Vec<(TraceId, TraceId)>,
    linked: Vec<(usize, Link)>,
    refused: Vec<(usize, String)>,
}

/// How the rows of traces are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The numbers alone, where they suffice.
    Numbers,
    /// All whole.
    Whole,
    /// All whole, and in halves where one is refused, until that one is left out.
    Halves,
}

impl SharedBatch {
    /// Number of bytes to be sent, about.
    pub(super) fn bytes(&self) -> usize {
        self.traces.iter().map(|change| weight(change, self.whole)).sum::<usize>()
            + self.links.len() * LINK_BYTES
    }

    /// Commits it, in halves if need be, on any connection, and finds out what came of it where the connection fails.
    pub(super) async fn commit(&self, server: &Server) -> Result<Applied, Failure> {
        let late = |_| Failure::TimedOut;
        let mut lent = timeout(self.fence_limit, server.lend()).await.map_err(late)??;
        let mut mode = if self.whole { Mode::Whole } else { Mode::Numbers };
        let mut has_reconnected = false;
        loop {
            let mut applied = Applied::default();
            match self.write(&lent, mode, &mut applied).await {
                Ok(()) => {
                    lent.give_back();
                    return Ok(applied);
                }
                Err(Failure::Content(_)) if mode != Mode::Halves => mode = Mode::Halves,
                // One that was idle may have been cut off since.
                Err(failure) if failure.is_in_doubt() && !has_reconnected => {
                    has_reconnected = true;
                    timeout(self.fence_limit, lent.renew()).await.map_err(late)??;
                    if self.is_there(&lent, mode, &mut applied).await? {
                        lent.give_back();
                        return Ok(applied);
                    }
                    continue;
                }
                Err(Failure::Diverged) => return Err(self.divergence(lent).await?),
                Err(failure) => {
                    if !failure.is_in_doubt() {
                        lent.roll_back().await;
                    }
                    return Err(failure);
                }
            }
            lent.batch_execute("ROLLBACK").await?;
        }
    }

    /// Whether a commit that was not answered has been carried out. `applied` is completed then.
    async fn is_there(&self, client: &Client, mode: Mode, applied: &mut Applied) -> Result<bool, Failure> {
        // Its own commit is synchronous, and comes after the one in question.
        client.batch_execute(&self.begin()).await?;
        let row = locked(client, &self.name).await?.ok_or(Failure::Diverged)?;
        if let Err(failure) = row.check(&self.lease) {
            client.batch_execute("ROLLBACK").await?;
            return Err(failure);
        }
        let is_there = row.watermark == self.watermark;
        if is_there {
            let upserts = self.links.iter().enumerate().filter_map(|(at, change)| match change {
                LinkChange::Upsert(link) => Some((at, *link)),
                LinkChange::Delete(..) => None,
            });
            let upserts: Vec<_> = upserts.collect();
            let ends = columns::ends(row.space, upserts.iter().map(|(_, link)| link.ends()));
            let found = query(client, &columns::FIND_LINKS, ends).await?;
            (applied.links_upserted, applied.refused_links) = (0, Vec::new());
            note_links(&upserts, &found, applied)?;
            self.count(mode, applied);
        }
        client.batch_execute("COMMIT").await?;
        if is_there || row.watermark == self.before { Ok(is_there) } else { Err(Failure::Diverged) }
    }

    /// Why the fence was closed.
    async fn divergence(&self, lent: Lent<'_>) -> Result<Failure, Failure> {
        lent.batch_execute("ROLLBACK").await?;
        let why = why_not(&lent, &self.name, &self.lease).await?;
        lent.give_back();
        Ok(why)
    }

    /// One try. Nothing is committed unless this returns `Ok`, or the connection fails: then nobody knows.
    async fn write(&self, client: &Client, mode: Mode, applied: &mut Applied) -> Result<(), Failure> {
        let space = self.lease.space;
        let mut pipe = Pipe::new(client);
        pipe.text(self.begin());
        let length = self.lease.length.as_secs_f64();
        let fence: Values<'_> = vec![
            Box::new(space),
            Box::new(self.lease.boot),
            Box::new(self.lease.epoch),
            Box::new(self.before),
            Box::new(self.watermark),
            Box::new(length),
            Box::new(self.applied),
        ];
        pipe.push(Request::Fence, &columns::FENCE, fence);
        if self.clear {
            let ids: Vec<_> = self.unreadable.iter().copied().map(columns::uuid).collect();
            let (a, b): (Vec<_>, Vec<_>) = self.unreadable_links.iter().copied().unzip();
            let links: Values<'_> = vec![Box::new(space), Box::new(ids.clone()), Box::new(a), Box::new(b)];
            pipe.push(Request::Text, &columns::CLEAR_LINKS, links);
            pipe.push(Request::Text, &columns::CLEAR, vec![Box::new(space), Box::new(ids)]);
        }
        if !self.erased.is_empty() {
            let fence = timeout(self.fence_limit, pipe.drain(applied));
            fence.await.unwrap_or(Err(Failure::TimedOut))?;
            for scope in &self.erased {
                erase(client, space, scope, applied).await?;
            }
        }
        let Plan { deletes, upserts, updates, parted, linked, refused } =
            self.plan(mode, &applied.erased_ids);
        applied.refused = refused;
        let mut pipe = pipe;
        for part in deletes.chunks(PART_ROWS) {
            pipe.push(Request::Deletes, &columns::DELETE, vec![Box::new(space), Box::new(part)]);
        }
        for part in parts(&upserts) {
            if mode == Mode::Halves {
                pipe.drain(applied).await?;
                halves(client, space, Rows::Traces(part), applied).await?;
                continue;
            }
            let traces: Vec<_> = part.iter().map(|(_, trace)| *trace).collect();
            pipe.sized(part.len(), part.iter().map(|(_, trace)| bytes_of(trace)).sum());
            pipe.push(Request::Rows, &columns::UPSERT, columns::rows(space, &traces));
            pipe.drain_if_full(applied).await?;
        }
        for part in updates.chunks(PART_ROWS) {
            let traces: Vec<_> = part.iter().map(|(_, trace)| *trace).collect();
            pipe.sized(part.len(), part.len() * NUMBERS_BYTES);
            pipe.push(Request::Numbers, &columns::UPDATE, columns::numbers(space, &traces));
            pipe.drain_if_full(applied).await?;
        }
        for part in parted.chunks(PART_ROWS) {
            let ends = columns::ends(space, part.iter().copied());
            pipe.push(Request::LinkDeletes, &columns::DELETE_LINKS, ends);
        }
        for part in linked.chunks(PART_ROWS) {
            if mode == Mode::Halves {
                pipe.drain(applied).await?;
                halves(client, space, Rows::Links(part), applied).await?;
                continue;
            }
            let links: Vec<_> = part.iter().map(|(_, link)| link).collect();
            pipe.sized(part.len(), part.len() * LINK_BYTES);
            pipe.push(Request::Links(part), &columns::UPSERT_LINKS, columns::links(space, &links));
            pipe.drain_if_full(applied).await?;
        }
        // Who follows finds a gap where everything was written anew.
        if self.lease.is_followed() && !self.clear {
            let ids = self.traces.iter().map(TraceChange::id).chain(applied.erased_ids.iter().copied());
            let ids: Vec<_> = ids.map(columns::uuid).collect();
            let links: Vec<_> =
                self.links.iter().flat_map(|link| <[_; 2]>::from(link.ends())).map(columns::uuid).collect();
            pipe.sized(ids.len() + links.len(), (ids.len() + links.len()) * size_of::<Uuid>());
            let note: Values<'_> = vec![
                Box::new(space),
                Box::new(self.before),
                Box::new(self.watermark),
                Box::new(ids),
                Box::new(links),
            ];
            pipe.push(Request::Note, &columns::NOTE, note);
        }
        if pipe.has_waited {
            // Time has passed since the fence.
            let lease = format!("lease_until = clock_timestamp() + {length} * interval '1 second'");
            pipe.text(format!("UPDATE mnemon.spaces SET {lease} WHERE space = {space}"));
        }
        pipe.text("COMMIT".to_owned());
        pipe.drain(applied).await?;
        self.count(mode, applied);
        Ok(())
    }

    /// What is to be written; `erased` are the traces whose rows were just deleted.
    fn plan(&self, mode: Mode, erased: &[TraceId]) -> Plan<'_> {
        let mut plan = Plan::default();
        let is_barred = |id| self.unreadable.contains(&id) && !erased.contains(&id);
        for (at, change) in self.traces.iter().enumerate() {
            match change {
                // The row that is there is not the one that this is about: it can't be read.
                TraceChange::Delete { id, .. } if is_barred(*id) => {}
                TraceChange::Delete { id, .. } => plan.deletes.push(columns::uuid(*id)),
                TraceChange::Upsert { trace, .. } if is_barred(trace.id()) => {
                    let reason = "its id is that of a row which can't be read: mend that row, or delete it";
                    plan.refused.push((at, reason.to_owned()));
                }
                TraceChange::UpdateNumbers { trace, .. } if mode == Mode::Numbers => {
                    plan.updates.push((at, trace))
                }
                TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } => {
                    plan.upserts.push((at, trace));
                }
            }
        }
        for (at, change) in self.links.iter().enumerate() {
            match change {
                LinkChange::Delete(a, b) => plan.parted.push((*a, *b)),
                LinkChange::Upsert(link) => plan.linked.push((at, *link)),
            }
        }
        plan
    }

    /// Begins the transaction. Where a set of rows is joined to a table, only the table's index will do, whatever the
    /// statistics say.
    fn begin(&self) -> String {
        let begin = begin(self.limit);
        let idle = self.limit.min(self.lease.length).as_millis().max(1);
        let synchronous = match self.durability {
            Durability::Committed => "SET LOCAL synchronous_commit = off",
            Durability::Durable => {
                "SELECT set_config('synchronous_commit', 'on', true)
                    WHERE current_setting('synchronous_commit') = 'off'"
            }
        };
        format!(
            "{begin}; SET LOCAL idle_in_transaction_session_timeout = {idle}; {synchronous};
             SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
        )
    }

    /// Counts the rows of traces that were written, which are those that were not refused.
    fn count(&self, mode: Mode, applied: &mut Applied) {
        let refused: HashSet<_> = applied.refused.iter().map(|(at, _)| *at).collect();
        let taken = self.traces.iter().enumerate().filter(|(at, _)| !refused.contains(at));
        for change in taken.map(|(_, change)| change) {
            match change {
                TraceChange::UpdateNumbers { .. } if mode == Mode::Numbers => applied.updated += 1,
                TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } => {
                    applied.upserted += 1;
                    applied.payload_bytes += trace.payload().as_str().len() as u64;
                }
                TraceChange::Delete { .. } => {}
            }
        }
    }
}

/// Bytes of a row that are not content, about, and those of a link.
const NUMBERS_BYTES: usize = 150;
const LINK_BYTES: usize = 64;

fn bytes_of(trace: &Trace) -> usize {
    NUMBERS_BYTES + trace.content.bytes()
}

fn weight(change: &TraceChange, whole: bool) -> usize {
    match change {
        TraceChange::Delete { .. } => size_of::<TraceId>(),
        TraceChange::UpdateNumbers { .. } if !whole => NUMBERS_BYTES,
        TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } => bytes_of(trace),
    }
}

/// What one statement carries each.
fn parts<'s, 't>(rows: &'s [(usize, &'t Trace)]) -> Vec<&'s [(usize, &'t Trace)]> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, (_, trace)) in rows.iter().enumerate() {
        let more = bytes_of(trace);
        if at > start && (bytes + more > PART_BYTES || at - start >= PART_ROWS) {
            parts.push(&rows[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += more;
    }
    if start < rows.len() {
        parts.push(&rows[start..]);
    }
    parts
}

/// Deletes a scope, and the links to it.
async fn erase(client: &Client, space: i32, scope: &Scope, applied: &mut Applied) -> Result<(), Failure> {
    let (column, value) = match scope {
        Scope::Type(kind) => ("type", kind.as_str()),
        Scope::Partition(partition) => ("partition", &**partition),
    };
    if value.contains('\0') {
        // No trace is in it, and text can't hold it.
        applied.erased.push(0);
        return Ok(());
    }
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&space, Type::INT4), (&value, Type::TEXT)];
    // One pass over the links, which looks at the traces of each by their key. A subquery that could become a join or a
    // set would be compared with every link where the statistics are wrong, or memory is short.
    let links = format!(
        "DELETE FROM mnemon.links l WHERE l.space = $1 AND (SELECT bool_or(t.{column} = $2) FROM mnemon.traces t
            WHERE t.space = $1 AND t.id = ANY (ARRAY[l.a, l.b])) RETURNING l.a"
    );
    let id = |row: &Row| row.try_get::<_, Uuid>(0).map(trace_id);
    let rows = client.query_typed(&links, &parameters).await?;
    applied.links_deleted += rows.len() as u64;
    for row in &rows {
        applied.erased_links.push(id(row)?);
    }
    let traces = format!("DELETE FROM mnemon.traces WHERE space = $1 AND {column} = $2 RETURNING id");
    let rows = client.query_typed(&traces, &parameters).await?;
    applied.erased.push(rows.len() as u64);
    for row in &rows {
        applied.erased_ids.push(id(row)?);
    }
    Ok(())
}
