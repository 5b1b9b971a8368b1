//! The engine behind a store: cuts, and what comes between them.

use super::error::Failure;
use super::keeper::Leases;
use super::lease::{self, Lease, begin};
use super::write::SharedBatch;
use super::{Postgres, columns, rows_read, schema, space_row};
use crate::Durability;
use crate::backend::{Applied, Backend, BackendError, Batch, Loaded, Reopened, Stored};
use crate::error::ErrorKind;
use crate::guarded;
use std::time::{Duration, Instant};
use tokio_postgres::types::Type;

/// A flush may take one more second for each so many bytes that it writes.
const BYTES_A_SECOND: usize = 2 << 20;

/// A flush that erases may take so many times as long: nobody knows how many rows and links that are.
const ERASING: u32 = 10;

/// The time that a flush has for its transaction, however long it took to reopen before.
const LEAST: Duration = Duration::from_secs(1);

impl Postgres {
    /// Notes a space that another opening has, so that nothing is tried any more.
    pub(super) fn explained(&self, doing: &str, failure: Failure) -> BackendError {
        if let Failure::Lost(holder) = &failure {
            self.lease.lose(holder.clone());
        }
        failure.explained(doing, &self.place(), self.flush_timeout)
    }

    fn check_owned(&self) -> Result<(), BackendError> {
        match self.lease.lost_to() {
            Some(holder) => Err(Failure::Lost(holder).explained("", &self.place(), self.flush_timeout)),
            None => Ok(()),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.flush_timeout
    }

    /// Writes a batch; if `whole`, also rows of which the numbers would do. Fails with [`Failure::Missing`] if they would
    /// not. Reopening has taken `spent` of the flush's time.
    fn commit(
        &self,
        batch: &Batch<'_>,
        whole: bool,
        begun: Instant,
        spent: Duration,
    ) -> Result<Applied, Failure> {
        let mut cut = SharedBatch {
            name: self.claim.name.clone(),
            lease: self.lease.clone(),
            before: self.committed,
            watermark: number(batch.watermark),
            applied: self.applied,
            durability: batch.durability,
            limit: self.flush_timeout,
            fence_limit: Duration::ZERO,
            whole,
            clear: self.clear,
            erased: batch.erased.to_vec(),
            traces: batch.traces.to_vec(),
            links: batch.links.to_vec(),
            unreadable: self.unreadable.clone(),
            unreadable_links: if self.clear { self.unreadable_links.clone() } else { Vec::new() },
        };
        cut.limit += Duration::from_secs((cut.bytes() / BYTES_A_SECOND) as u64);
        // What a slow reopening leaves must do for a try, or none would ever get through.
        cut.limit = cut.limit.saturating_sub(spent).max(LEAST.min(cut.limit));
        cut.fence_limit = cut.limit;
        if !cut.erased.is_empty() {
            cut.limit *= ERASING;
        }
        let (server, deadline) = (self.server.clone(), begun + cut.limit);
        let patience = cut.fence_limit;
        self.server.run(deadline, async move {
            if cut.erased.is_empty() {
                cut.commit(&server).await
            } else {
                server.while_reachable(patience, cut.commit(&server)).await
            }
        })
    }

    /// One statement about the space's row, which is to change it; `$1` to `$3` are its key and its owner.
    fn update_row(&self, doing: &str, sql: String) -> Result<(), BackendError> {
        let (server, lease, name) = (self.server.clone(), self.lease.clone(), self.claim.name.clone());
        let limit = self.flush_timeout;
        let outcome = self.server.run(self.deadline(), async move {
            let lent = server.lend().await?;
            lent.batch_execute(&begin(limit)).await?;
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
                [(&lease.space, Type::INT4), (&lease.boot, Type::UUID), (&lease.epoch, Type::INT8)];
            let updated = lent.execute_typed(&sql, &parameters).await?;
            let outcome =
                if updated == 0 { Err(space_row::why_not(&lent, &name, &lease).await?) } else { Ok(()) };
            lent.batch_execute("COMMIT").await?;
            lent.give_back();
            outcome
        });
        outcome.map_err(|failure| self.explained(doing, failure))
    }
}

impl Backend for Postgres {
    fn load(&mut self, into: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        self.load_watched(None, into)
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        self.check_owned()?;
        let (begun, spent) = (Instant::now(), std::mem::take(&mut self.spent));
        let mut outcome = self.commit(batch, false, begun, spent);
        if let Err(Failure::Missing) = outcome {
            outcome = self.commit(batch, true, begun, spent);
        }
        let mut applied = outcome.map_err(|failure| self.explained("writing to", failure))?;
        applied.erased_ids.append(&mut self.gone);
        let watermark = number(batch.watermark);
        self.lease.renew(watermark);
        self.committed = watermark;
        self.clear = false;
        if batch.durability == Durability::Durable {
            self.durable = watermark;
        }
        for id in &applied.erased_ids {
            self.unreadable.remove(id);
        }
        Ok(applied)
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        self.check_owned()?;
        let begun = Instant::now();
        let (server, claim, lease, limit) =
            (self.server.clone(), self.claim.clone(), self.lease.clone(), self.flush_timeout);
        let unreadable: Vec<_> = self.unreadable.iter().copied().map(columns::uuid).collect();
        let retaken = self.server.run(self.deadline(), async move {
            let mut lent = server.lend().await?;
            // What was idle may have been cut off by what went wrong.
            lent.renew().await?;
            let begin = begin(limit);
            schema::prepare(&lent, &begin).await?;
            lent.batch_execute(&begin).await?;
            match lease::retake(&lent, &claim, &lease).await {
                Ok((space, watermark)) => {
                    let there = rows_read::which(&lent, space, &unreadable).await?;
                    lent.give_back();
                    Ok((space, watermark, there))
                }
                Err(failure) => {
                    lent.roll_back().await;
                    Err(failure)
                }
            }
        });
        let (space, watermark, there) = retaken.map_err(|failure| self.explained("reopening", failure))?;
        // An erasure of which nobody knew whether it was committed has deleted the others.
        self.gone.extend(self.unreadable.extract_if(|id| !there.contains(id)));
        if space != self.lease.space {
            self.server.leases.give_up(&self.lease);
            self.lease = Lease::new(space, self.lease.before, watermark, &self.claim);
            Leases::keep(&self.server, &self.lease)
                .map_err(|failure| self.explained("reopening", failure))?;
        }
        self.lease.renew(watermark);
        self.committed = watermark;
        if watermark < self.durable {
            let durable = self.durable;
            (self.clear, self.durable) = (true, watermark);
            let place = self.place();
            guarded::run(|| {
                tracing::error!(
                    place,
                    found = watermark,
                    durable,
                    "the server has lost commits that it had confirmed: everything is written anew from memory",
                );
            });
        }
        self.spent = begun.elapsed();
        // Whoever was told so may not have come to act on it.
        Ok(if self.clear { Reopened::Empty } else { Reopened::Same })
    }

    /// No failure of a server is [`Corrupt`](ErrorKind::Corrupt). Rows that differ from memory are written over, and
    /// those that can't be read stay.
    fn replace(&mut self) -> Result<(), BackendError> {
        self.reopen()?;
        self.clear = true;
        Ok(())
    }

    fn is_lost(&self) -> bool {
        self.lease.lost_to().is_some()
    }

    /// So that an idle store notices that it was taken over.
    fn tidy_interval(&self) -> Option<Duration> {
        Some(self.claim.length / 3)
    }

    fn tidy(&mut self, idle: bool) -> Result<bool, BackendError> {
        // The flush is over.
        self.spent = Duration::ZERO;
        self.check_owned()?;
        if self.lease.has_diverged() {
            return Err(self.explained("looking at", Failure::Diverged));
        }
        if self.lease.is_over() {
            let message = format!("the lease of {} has ended, and could not be renewed", self.place());
            let failure = BackendError::new(ErrorKind::Unreachable, message);
            return Err(failure.with_hint("look at the server and the way to it"));
        }
        if idle && self.committed > self.durable {
            // A commit that is synchronous, after all those that were not.
            let sql = "UPDATE mnemon.spaces SET committed_at = clock_timestamp() FROM (SELECT set_config(
                'synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                    ELSE current_setting('synchronous_commit') END, true)) AS c
                WHERE space = $1 AND boot = $2 AND epoch = $3 AND watermark = ";
            self.update_row("syncing", format!("{sql}{}", self.committed))?;
            self.durable = self.committed;
        }
        Ok(self.committed == self.durable)
    }

    fn close(&mut self, _: u64) -> Result<(), BackendError> {
        self.check_owned()?;
        let sql = "UPDATE mnemon.spaces SET clean = true WHERE space = $1 AND boot = $2 AND epoch = $3 AND watermark = ";
        self.update_row("closing", format!("{sql}{}", self.committed))
    }
}

/// Gives the lease up, so that nobody has to wait for its end.
impl Drop for Postgres {
    fn drop(&mut self) {
        // In a child process the space is the parent's.
        if self.server.is_forked() {
            return;
        }
        self.server.leases.give_up(&self.lease);
        if self.lease.lost_to().is_some() {
            return;
        }
        let sql = "UPDATE mnemon.spaces SET lease_until = NULL WHERE space = $1 AND boot = $2 AND epoch = $3";
        if let Err(error) = self.update_row("releasing", sql.to_owned()) {
            let place = self.place();
            guarded::run(
                || tracing::debug!(place, %error, "a lease could not be given up: it ends by itself"),
            );
        }
    }
}

fn number(watermark: u64) -> i64 {
    i64::try_from(watermark).unwrap_or(i64::MAX)
}
