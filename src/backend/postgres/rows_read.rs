//! Reading the rows of traces and links, as of one cut.

use super::columns::{names, trace_id};
use super::error::Failure;
use super::lease::begin;
use super::schema;
use super::server::{Server, panicked};
use crate::backend::{BackendError, Stored, Unreadable};
use crate::error::Error;
use crate::progress::Watch;
use crate::trace::{Dynamics, Link, Micros, NewTrace, Payload, Trace, TraceId, TraceType, timestamp};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use std::collections::HashSet;
use std::fmt::Display;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};
use uuid::Uuid;

/// Number of rows handed over at once, and number of such batches that may be queued.
const ROWS: usize = 256;
const HANDS: usize = 8;

/// The space to read: its key, or its name for a reader that does not own it.
pub(super) enum Which {
    Key(i32),
    Name(Arc<str>),
}

/// What was read of a space.
#[derive(Default)]
pub(super) struct Read {
    /// Number of rows of traces.
    pub(super) rows: i64,
    /// The watermark of the cut, if the space was named and is there.
    pub(super) watermark: Option<i64>,
    /// The ends of links that can't be read.
    pub(super) unreadable_links: Vec<(Uuid, Uuid)>,
}

/// Rows as they come, or the reason why no more come.
enum Hand {
    Watermark(i64),
    /// Number of rows of traces to come, if somebody watches.
    Total(u64),
    Traces(Vec<Row>),
    Links(Vec<Row>),
    /// All was read.
    End,
    Failed(Failure),
}

/// Gives every trace and then every link of the space to `into`, read on the server's thread as of one cut, and reports
/// the number of traces read to `watch`. Each step may take so long.
pub(super) fn load(
    server: &Arc<Server>,
    space: Which,
    longest_payload: usize,
    patience: Duration,
    watch: Option<&Watch>,
    mut into: impl FnMut(Stored),
) -> Result<Read, Failure> {
    let (give, given) = mpsc::channel();
    let room = Arc::new(Semaphore::new(HANDS));
    let (reader, hands) = (server.clone(), Hands { give, room: room.clone() });
    let room = Listening(room);
    let longest = i32::try_from(longest_payload).unwrap_or(i32::MAX);
    let deadline = Instant::now() + patience;
    let is_watched = watch.is_some();
    let task = server.spawn(async move {
        let read = read(&reader, space, longest, patience, deadline, is_watched, &hands).await;
        hands.give(read.map_or_else(Hand::Failed, |()| Hand::End)).await;
    })?;
    let taken = take(&given, &room, patience, watch, &mut into);
    if matches!(taken, Err(Failure::TimedOut)) {
        task.abort();
    }
    taken
}

/// Takes all that is given, up to the end.
fn take(
    given: &mpsc::Receiver<Hand>,
    room: &Listening,
    patience: Duration,
    watch: Option<&Watch>,
    into: &mut impl FnMut(Stored),
) -> Result<Read, Failure> {
    let (mut done, mut total) = (Read::default(), 0);
    let report = |done: i64, total| {
        let told = watch.map_or(Ok(()), |watch| watch.tell("reading rows", done.unsigned_abs(), total));
        told.map_err(|interrupted| BackendError::interrupted(&interrupted))
    };
    loop {
        match given.recv_timeout(patience) {
            Ok(Hand::Watermark(watermark)) => done.watermark = Some(watermark),
            Ok(Hand::Total(rows)) => {
                total = rows;
                report(0, total)?;
            }
            Ok(Hand::Traces(rows)) => {
                for row in &rows {
                    done.rows += 1;
                    let id = row.try_get(0).map(trace_id).ok();
                    let trace = trace(row);
                    let trace = trace.map_err(|Wrong(reason)| Unreadable { id, reason });
                    into(Stored::Trace { row: done.rows, trace });
                }
                report(done.rows, total)?;
            }
            Ok(Hand::Links(rows)) => rows.iter().for_each(|row| {
                let id = row.try_get(0).map(trace_id).ok();
                let link = link(row).map_err(|Wrong(reason)| Unreadable { id, reason });
                if let (Err(_), Ok(a), Ok(b)) = (&link, row.try_get(0), row.try_get(1)) {
                    done.unreadable_links.push((a, b));
                }
                into(Stored::Link(link));
            }),
            Ok(Hand::End) => return Ok(done),
            Ok(Hand::Failed(failure)) => return Err(failure),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(panicked().into()),
            Err(mpsc::RecvTimeoutError::Timeout) => return Err(Failure::TimedOut),
        }
        room.0.add_permits(1);
    }
}

/// A way to the thread that opens the store, which holds up nobody else on this one.
struct Hands {
    give: mpsc::Sender<Hand>,
    room: Arc<Semaphore>,
}

/// Ends the reading when it is dropped.
struct Listening(Arc<Semaphore>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Hands {
    /// `false` if nobody listens any more.
    async fn give(&self, hand: Hand) -> bool {
        match self.room.acquire().await {
            Ok(room) => {
                room.forget();
                self.give.send(hand).is_ok()
            }
            Err(_) => false,
        }
    }
}

async fn read(
    server: &Server,
    space: Which,
    longest: i32,
    patience: Duration,
    deadline: Instant,
    is_watched: bool,
    hands: &Hands,
) -> Result<(), Failure> {
    let lent = server.lend_until(deadline).await?;
    if let Which::Name(_) = &space
        && !schema::is_there(&lent).await?
    {
        lent.give_back();
        return Ok(());
    }
    // The whole of it may take longer.
    let begin = begin(patience);
    let begin = format!(
        "{begin}; SET LOCAL statement_timeout = 0; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
    );
    lent.batch_execute(&begin).await?;
    let space = match space {
        Which::Key(key) => key,
        Which::Name(name) => {
            let sql = "SELECT space, watermark FROM mnemon.spaces WHERE name = $1";
            let Some(row) = lent.query_typed_opt(sql, &[(&&*name, Type::TEXT)]).await? else {
                lent.roll_back().await;
                return Ok(());
            };
            hands.give(Hand::Watermark(row.try_get(1)?)).await;
            row.try_get(0)?
        }
    };
    if is_watched {
        let sql = "SELECT count(*) FROM mnemon.traces WHERE space = $1";
        let total: i64 = lent.query_typed_one(sql, &[(&space, Type::INT4)]).await?.try_get(0)?;
        hands.give(Hand::Total(total.unsigned_abs())).await;
    }
    let names = names("").replace("payload", "CASE WHEN octet_length(payload) <= $2 THEN payload END");
    let sql = format!("SELECT {names} FROM mnemon.traces WHERE space = $1");
    stream(&lent, &sql, &[(&space, Type::INT4), (&longest, Type::INT4)], hands, Hand::Traces).await?;
    let sql = "SELECT a, b, count, first_at, last_at FROM mnemon.links WHERE space = $1";
    stream(&lent, sql, &[(&space, Type::INT4)], hands, Hand::Links).await?;
    lent.batch_execute("COMMIT").await?;
    lent.give_back();
    Ok(())
}

async fn stream(
    client: &Client,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
    hands: &Hands,
    hand: impl Fn(Vec<Row>) -> Hand,
) -> Result<(), Failure> {
    let rows =
        client.query_typed_raw(sql, parameters.iter().map(|(value, kind)| (*value, kind.clone()))).await?;
    let mut rows = pin!(rows);
    let mut read = Vec::with_capacity(ROWS);
    while let Some(row) = rows.try_next().await? {
        read.push(row);
        if read.len() == ROWS {
            let full = std::mem::replace(&mut read, Vec::with_capacity(ROWS));
            if !hands.give(hand(full)).await {
                return Err(Failure::TimedOut);
            }
        }
    }
    hands.give(hand(read)).await;
    Ok(())
}

/// Those of the traces of which a row is there, readable or not.
pub(super) async fn which(client: &Client, space: i32, ids: &[Uuid]) -> Result<HashSet<TraceId>, Failure> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = "SELECT id FROM mnemon.traces WHERE space = $1 AND id = ANY ($2)";
    let rows = client.query_typed(sql, &[(&space, Type::INT4), (&ids, Type::UUID_ARRAY)]).await?;
    rows.iter().map(|row| Ok(row.try_get(0).map(trace_id)?)).collect()
}

/// What is wrong with a row, for a person.
pub(super) struct Wrong(String);

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Wrong(error.to_string())
    }
}

fn wrong(column: &str, what: impl Display) -> Wrong {
    Wrong(format!("column {column}: {what}"))
}

/// The columns of one row, each with its type checked.
struct Columns<'r>(&'r Row);

impl<'r> Columns<'r> {
    fn get<T: FromSql<'r>>(&self, at: usize, name: &str) -> Result<T, Wrong> {
        self.0.try_get(at).map_err(|error| wrong(name, error))
    }

    fn count<N: TryFrom<i64>>(&self, at: usize, name: &str) -> Result<N, Wrong> {
        let number: i64 = self.get(at, name)?;
        N::try_from(number).map_err(|_| wrong(name, format_args!("{number} is out of range")))
    }

    fn micros(&self, at: usize, name: &str) -> Result<Micros, Wrong> {
        Micros::stored(self.get(at, name)?).map_err(|error| wrong(name, error))
    }

    fn time(&self, at: usize, name: &str) -> Result<Timestamp, Wrong> {
        timestamp(self.get(at, name)?).map_err(|error| wrong(name, error))
    }

    fn id(&self, at: usize, name: &str) -> Result<TraceId, Wrong> {
        self.get(at, name).map(trace_id)
    }

    fn optional_id(&self, at: usize, name: &str) -> Result<Option<TraceId>, Wrong> {
        Ok(self.get::<Option<_>>(at, name)?.map(trace_id))
    }
}

/// Reads a trace through the checks that a new one passes. The payload is taken as it is.
pub(super) fn trace(row: &Row) -> Result<Trace, Wrong> {
    let columns = Columns(row);
    let kind: TraceType = columns.get::<&str>(15, "type")?.parse()?;
    let payload = columns.get::<Option<&str>>(27, "payload")?;
    let payload = payload
        .ok_or_else(|| wrong("payload", "too long to be read: open with a larger max_payload_bytes"))?;
    let numbers = Dynamics {
        strength: columns.get(1, "strength")?,
        peak_strength: columns.get(2, "peak_strength")?,
        base_decay_rate: columns.get(3, "base_decay_rate")?,
        emotional_valence: columns.get(4, "emotional_valence")?,
        emotional_intensity: columns.get(5, "emotional_intensity")?,
        confidence: columns.get(6, "confidence")?,
        last_reinforced: columns.micros(7, "last_reinforced")?,
        last_decayed: columns.micros(8, "last_decayed")?,
        revision: columns.count(9, "revision")?,
        reinforcement_count: columns.count(10, "reinforcement_count")?,
        tier: columns.get::<&str>(11, "tier")?.parse()?,
        unresolved: columns.get(12, "unresolved")?,
        consolidation_candidate: columns.get(13, "consolidation_candidate")?,
        pinned: columns.get(14, "pinned")?,
    };
    let (id, origin) = (columns.id(0, "id")?, columns.get::<&str>(16, "origin")?.parse()?);
    let tags = columns.get(23, "tags")?;
    let (created_at, partition) = (columns.micros(17, "created_at")?, columns.get(18, "partition")?);
    let payload = Payload::trusted(payload);
    let mut new = NewTrace::stored(id, kind, origin, created_at, (partition, tags), payload, numbers);
    if let Some(agent) = columns.get::<Option<&str>>(19, "source_agent")? {
        new = new.source_agent(agent);
    }
    if let Some(key) = columns.get::<Option<&str>>(20, "encryption_key_id")? {
        new = new.encryption_key_id(key);
    }
    if let Some(parent) = columns.optional_id(21, "parent")? {
        new = new.parent(parent);
    }
    if let Some(children) = columns.get::<Option<&[u8]>>(22, "children")? {
        let (ids, rest) = children.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(wrong("children", "not a whole number of ids"));
        }
        new = new.children(ids.iter().copied().map(TraceId::from_bytes));
    }
    if let Some(bytes) = columns.get::<Option<&[u8]>>(24, "embedding")? {
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(wrong("embedding", "not a whole number of floats"));
        }
        new = new.embedding(numbers.iter().copied().map(f32::from_le_bytes).collect::<Box<[f32]>>());
    }
    let end = columns.get::<Option<i64>>(25, "valid_until")?;
    if let Some(micros) = end {
        new = new.valid_until(timestamp(micros).map_err(|error| wrong("valid_until", error))?);
    }
    if let Some(successor) = columns.optional_id(26, "superseded_by")? {
        end.ok_or_else(|| wrong("superseded_by", "set without valid_until"))?;
        new = new.superseded_by(successor);
    }
    Ok(new.into_stored()?)
}

pub(super) fn link(row: &Row) -> Result<Link, Wrong> {
    let columns = Columns(row);
    let (ends, count) = ((columns.id(0, "a")?, columns.id(1, "b")?), columns.count(2, "count")?);
    Ok(Link::new(ends, count, columns.time(3, "first_at")?, columns.time(4, "last_at")?)?)
}

#[cfg(test)]
mod tests {
    use super::{Failure, Hand, Listening, take};
    use crate::error::ErrorKind;
    use std::sync::{Arc, mpsc};
    use std::time::Duration;
    use tokio::sync::Semaphore;

    #[test]
    fn reader_that_panics_fails_the_load() {
        let (give, given) = mpsc::channel();
        give.send(Hand::Watermark(7)).expect("somebody listens");
        drop(give);
        let room = Listening(Arc::new(Semaphore::new(1)));
        match take(&given, &room, Duration::from_secs(60), None, &mut |_| ()) {
            Err(Failure::Explained(error)) => assert_eq!(error.kind(), ErrorKind::Backend),
            _ => panic!("what was read so far is not all"),
        }
    }
}
