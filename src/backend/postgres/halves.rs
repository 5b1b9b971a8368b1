//! Finding the rows that the server refuses.

use super::columns;
use super::error::{Failure, Said, is_about_the_row};
use super::pipe::{note_links, query};
use crate::backend::Applied;
use crate::trace::{Link, Trace};
use tokio_postgres::{Client, Error};

/// Rows, with their places in the batch.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    Traces(&'a [(usize, &'a Trace)]),
    Links(&'a [(usize, Link)]),
}

impl<'a> Rows<'a> {
    /// Both halves; `None` if there is one row, or none.
    fn halves(self) -> Option<[Self; 2]> {
        match self {
            Rows::Traces(rows) if rows.len() > 1 => {
                let (a, b) = rows.split_at(rows.len() / 2);
                Some([Rows::Traces(a), Rows::Traces(b)])
            }
            Rows::Links(rows) if rows.len() > 1 => {
                let (a, b) = rows.split_at(rows.len() / 2);
                Some([Rows::Links(a), Rows::Links(b)])
            }
            _ => None,
        }
    }

    async fn write(self, client: &Client, space: i32, applied: &mut Applied) -> Result<(), Error> {
        match self {
            Rows::Traces(rows) => {
                let traces: Vec<_> = rows.iter().map(|(_, trace)| *trace).collect();
                query(client, &columns::UPSERT, columns::rows(space, &traces)).await.map(drop)
            }
            Rows::Links(rows) => {
                let links: Vec<_> = rows.iter().map(|(_, link)| link).collect();
                let written = query(client, &columns::UPSERT_LINKS, columns::links(space, &links)).await?;
                note_links(rows, &written, applied)
            }
        }
    }

    /// Notes that the server has refused this row, which is left out.
    fn refuse(self, error: &Error, applied: &mut Applied) {
        let reason = Said::by(error).to_string();
        match self {
            Rows::Traces(rows) => applied.refused.extend(rows.iter().map(|(at, _)| (*at, reason.clone()))),
            Rows::Links(rows) => {
                applied.refused_links.extend(rows.iter().map(|(at, _)| (*at, reason.clone())))
            }
        }
    }
}

/// Writes rows of which one is refused: in halves, each within a savepoint, until that one is left out.
pub(super) async fn halves(
    client: &Client,
    space: i32,
    rows: Rows<'_>,
    applied: &mut Applied,
) -> Result<(), Failure> {
    let mut left = vec![rows];
    while let Some(rows) = left.pop() {
        client.batch_execute("SAVEPOINT part").await?;
        match rows.write(client, space, applied).await {
            Ok(()) => client.batch_execute("RELEASE SAVEPOINT part").await?,
            Err(error) if is_about_the_row(&error) => {
                client.batch_execute("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part").await?;
                match rows.halves() {
                    Some(halves) => left.extend(halves),
                    None => rows.refuse(&error, applied),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
