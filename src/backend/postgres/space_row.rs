//! The row of a space, as the server has it.

use super::error::{Failure, Holder};
use super::lease::Lease;
use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

/// What [`SpaceRow::of`] reads.
pub(super) const ROW: &str = "space, boot, epoch, owner, watermark, resumes, applied,
    (extract(epoch FROM lease_until) * 1000000)::bigint AS until,
    coalesce(lease_until > clock_timestamp(), false) AS is_held,
    coalesce(followed_until > clock_timestamp(), false) AS is_followed";

/// The row of a space.
pub(super) struct SpaceRow {
    pub(super) space: i32,
    pub(super) boot: Option<Uuid>,
    pub(super) watermark: i64,
    /// Whether its lease has not ended.
    pub(super) is_held: bool,
    pub(super) holder: Holder,
    pub(super) is_followed: bool,
    pub(super) epoch: i64,
    pub(super) resumes: Option<Uuid>,
    pub(super) applied: Option<Uuid>,
}

impl SpaceRow {
    pub(super) fn of(row: &Row) -> Result<Self, Failure> {
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

    pub(super) fn history(&self) -> History {
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
    pub(super) epoch: i64,
    pub(super) watermark: i64,
}

impl History {
    /// Whether this is the opening that `before` is of, not later: a server that has lost the opening which found
    /// `before` shows such a row. One at a later watermark was written to since.
    fn is_of(&self, before: &Self) -> bool {
        (self.boot, self.epoch) == (before.boot, before.epoch) && self.watermark <= before.watermark
    }
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
