//! Statements that are sent one after the other, before the first of them is answered.

use super::columns::{Statement, Values, trace_id};
use super::error::{Failure, is_about_the_row, is_unmet};
use crate::backend::Applied;
use crate::trace::Link;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use std::collections::HashSet;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

/// The most that is sent before an answer is waited for: rows, and bytes.
pub(super) const PART_ROWS: usize = 20_000;
pub(super) const PART_BYTES: usize = 8 << 20;

/// What a queued statement does, which says what its answer and its failure mean.
pub(super) enum Request<'a> {
    Text,
    Fence,
    Deletes,
    Rows,
    Numbers,
    LinkDeletes,
    Note,
    Links(&'a [(usize, Link)]),
}

enum Answer {
    Nothing,
    Count(u64),
    Rows(Vec<Row>),
}

/// Statements that are sent one after the other, before the first of them is answered.
pub(super) struct Pipe<'a> {
    client: &'a Client,
    queued: Vec<(Request<'a>, BoxFuture<'a, Result<Answer, Error>>)>,
    rows: usize,
    bytes: usize,
    /// Whether answers were waited for since the first statement.
    pub(super) has_waited: bool,
}

impl<'a> Pipe<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, queued: Vec::new(), rows: 0, bytes: 0, has_waited: false }
    }

    pub(super) fn text(&mut self, text: String) {
        let client = self.client;
        let work = async move { client.batch_execute(&text).await.map(|()| Answer::Nothing) };
        self.queued.push((Request::Text, work.boxed()));
    }

    pub(super) fn push(&mut self, request: Request<'a>, statement: &'static Statement, values: Values<'a>) {
        let (client, returns_rows) = (self.client, matches!(request, Request::Links(_)));
        let work = async move {
            if returns_rows {
                Ok(Answer::Rows(query(client, statement, values).await?))
            } else {
                Ok(Answer::Count(client.execute_typed(&statement.text, &typed(statement, &values)).await?))
            }
        };
        self.queued.push((request, work.boxed()));
    }

    /// Counts what the next statement carries.
    pub(super) fn sized(&mut self, rows: usize, bytes: usize) {
        self.rows += rows;
        self.bytes += bytes;
    }

    pub(super) async fn drain_if_full(&mut self, applied: &mut Applied) -> Result<(), Failure> {
        if self.rows >= PART_ROWS || self.bytes >= PART_BYTES { self.drain(applied).await } else { Ok(()) }
    }

    /// Sends the queued statements in order, and waits for the answers to all of them.
    pub(super) async fn drain(&mut self, applied: &mut Applied) -> Result<(), Failure> {
        (self.rows, self.bytes, self.has_waited) = (0, 0, true);
        let (requests, work): (Vec<_>, Vec<_>) = self.queued.drain(..).unzip();
        for (request, answer) in requests.into_iter().zip(join_all(work).await) {
            let answer = answer.map_err(|error| match request {
                Request::Fence if is_unmet(&error) => Failure::Diverged,
                Request::Numbers if is_unmet(&error) => Failure::Missing,
                Request::Rows | Request::Numbers | Request::Links(_) if is_about_the_row(&error) => {
                    Failure::Content(error)
                }
                _ => Failure::Server(error),
            })?;
            match (request, answer) {
                (Request::Deletes, Answer::Count(rows)) => applied.deleted += rows,
                (Request::LinkDeletes, Answer::Count(rows)) => applied.links_deleted += rows,
                (Request::Links(links), Answer::Rows(rows)) => note_links(links, &rows, applied)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn typed<'v>(statement: &Statement, values: &'v Values<'_>) -> Vec<(&'v (dyn ToSql + Sync), Type)> {
    values.iter().map(|value| &**value as &(dyn ToSql + Sync)).zip(statement.types.iter().cloned()).collect()
}

pub(super) async fn query(
    client: &Client,
    statement: &Statement,
    values: Values<'_>,
) -> Result<Vec<Row>, Error> {
    client.query_typed(&statement.text, &typed(statement, &values)).await
}

/// Counts the links that were written; one that was not is refused.
pub(super) fn note_links(
    links: &[(usize, Link)],
    written: &[Row],
    applied: &mut Applied,
) -> Result<(), Error> {
    applied.links_upserted += written.len() as u64;
    if written.len() == links.len() {
        return Ok(());
    }
    let mut ends = HashSet::with_capacity(written.len());
    for row in written {
        ends.insert((row.try_get(0).map(trace_id)?, row.try_get(1).map(trace_id)?));
    }
    let refused = links.iter().filter(|(_, link)| !ends.contains(&link.ends()));
    applied.refused_links.extend(refused.map(|(at, _)| (*at, "one of its traces has no row".to_owned())));
    Ok(())
}
