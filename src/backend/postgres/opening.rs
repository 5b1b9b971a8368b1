//! Opening a space: connecting, and taking it once nobody else has it.

use super::error::{Failure, is_locked};
use super::keeper::Leases;
use super::lease::{self, Attempt, Claim, Lease, Taken, begin, in_use};
use super::server::Server;
use super::{Options, Postgres, longest_payload, place, schema, space_row};
use crate::backend::BackendError;
use crate::clock::new_uuid;
use jiff::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often an opening looks whether a lease has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Postgres {
    /// Connects and takes the space, once nobody else has it. `has_spill` says for an opening whether it has left one.
    pub(crate) fn open(
        url: &str,
        options: &Options,
        max_payload_bytes: usize,
        has_spill: impl Fn(Uuid) -> bool + Clone + Send + 'static,
    ) -> Result<Self, BackendError> {
        let server = Server::of(url)?;
        let claim = Claim {
            name: options.space.clone(),
            boot: new_uuid(),
            owner: owner().into(),
            length: options.lease,
        };
        let until = Instant::now() + options.wait_for_lease;
        let mut ended = None;
        let taken = loop {
            match take(&server, &claim, options.flush_timeout, ended, has_spill.clone()) {
                Ok(Attempt::Taken(taken)) => break Ok(taken),
                Ok(Attempt::Ended(at)) => {
                    ended = Some(at);
                    std::thread::sleep(LOOK_AGAIN);
                }
                // A transaction that its owner has not ended holds an attempt up.
                Err(Failure::Lost(_) | Failure::TimedOut | Failure::NoConnection)
                    if Instant::now() < until =>
                {
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(failure) => break Err(failure),
            }
        };
        let place = place(&server, &claim.name);
        let Taken { space, before, spilled, is_followed } = taken.map_err(|failure| match failure {
            Failure::Lost(holder) => in_use(&place, &holder),
            failure => failure.explained("opening", &place, options.flush_timeout),
        })?;
        let watermark = before.watermark;
        let lease = Lease::new(space, before, watermark, &claim);
        lease.set_followed(is_followed);
        let this = Self {
            server,
            claim,
            flush_timeout: options.flush_timeout,
            longest_payload: longest_payload(max_payload_bytes),
            lease,
            spilled,
            applied: None,
            committed: watermark,
            durable: watermark,
            clear: false,
            unreadable: HashSet::new(),
            unreadable_links: Vec::new(),
            gone: Vec::new(),
            spent: Duration::ZERO,
        };
        Leases::keep(&this.server, &this.lease).map_err(|failure| this.explained("opening", failure))?;
        Ok(this)
    }
}

fn take(
    server: &Arc<Server>,
    claim: &Claim,
    limit: Duration,
    ended: Option<Timestamp>,
    has_spill: impl Fn(Uuid) -> bool + Send + 'static,
) -> Result<Attempt, Failure> {
    let (lender, claim) = (server.clone(), claim.clone());
    let deadline = Instant::now() + limit;
    server.run(deadline, async move {
        let lent = lender.lend_until(deadline).await?;
        let begin = begin(limit);
        if let Err(failure) = schema::prepare(&lent, &begin).await {
            lent.roll_back().await;
            return Err(failure);
        }
        match lease::take(&lent, &claim, limit, ended, has_spill).await {
            Ok(attempt) => {
                lent.give_back();
                Ok(attempt)
            }
            // Its owner holds the row.
            Err(Failure::Server(error)) if is_locked(&error) => {
                lent.batch_execute("ROLLBACK").await?;
                let row = space_row::peek(&lent, &claim.name).await?;
                lent.give_back();
                Err(row.map_or(Failure::Server(error), |row| Failure::Lost(row.holder)))
            }
            Err(failure) => {
                lent.roll_back().await;
                Err(failure)
            }
        }
    })
}

/// Names this process, for people.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    let host = host.as_deref().map_or("an unnamed host", str::trim);
    format!("process {} on {host}", std::process::id())
}
