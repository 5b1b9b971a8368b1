//! What every capability is made of: one transition of one trace, with what must come along.

use super::TraceStore;
use super::open::Settings;
use crate::core::sync::{Ordering, fence};
use crate::core::{Change, Rejected, Transition};
use crate::error::{Error, ErrorKind, Result};
use crate::flusher::{Links, Shared, Traces};
use crate::trace::{Defaults, Micros, NewTrace, Numbers, Trace, TraceId};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The store without its threads, which share it.
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    /// Its file, and the name of this opening of it, if it has one.
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub(super) home: Option<(std::path::PathBuf, uuid::Uuid)>,
    /// How many entries queries have looked at.
    pub(super) visited: AtomicU64,
}

impl Engine {
    pub(super) fn traces(&self) -> &Traces {
        &self.shared.traces
    }

    pub(super) fn links(&self) -> &Links {
        &self.shared.links
    }

    /// See [`Map::scan`](crate::core::Map::scan).
    pub(super) fn scan<P>(
        &self,
        project: impl Fn(&Trace) -> P,
        mut visit: impl FnMut(TraceId, P) -> Result<()>,
    ) -> Result<()> {
        self.traces().scan(project, |id, projection| visit(*id, projection))
    }

    pub(super) fn now(&self) -> Micros {
        self.settings.clock.now()
    }

    pub(super) fn strength(&self, trace: &Trace, at: Micros) -> f64 {
        self.settings.curve.strength(trace.trace_type(), &trace.numbers, at)
    }

    pub(super) fn is_imprinting(&self, now: Micros) -> bool {
        self.settings.imprint_until.is_some_and(|until| now < until)
    }

    /// Refuses what a write is refused for, whatever it would write.
    pub(super) fn admit(&self) -> Result<()> {
        self.shared.admit()?;
        match self.shared.clock.enter().is_sealed() {
            true => Err(TraceStore::closed()),
            false => Ok(()),
        }
    }

    pub(super) fn insert(&self, new: NewTrace) -> Result<TraceId> {
        let trace = self.checked(new)?;
        self.shared.admit()?;
        self.put(&trace)?;
        Ok(trace.id())
    }

    /// A trace that may be stored.
    pub(super) fn checked(&self, new: NewTrace) -> Result<Trace> {
        let now = self.now();
        let defaults =
            Defaults { partition: &self.settings.partition, now, imprinting: self.is_imprinting(now) };
        let trace = new.with_defaults(&defaults)?;
        self.check_size(&trace)?;
        Ok(trace)
    }

    pub(super) fn check_size(&self, trace: &Trace) -> Result<()> {
        let (found, most) = (trace.payload().as_str().len(), self.settings.max_payload_bytes);
        match found <= most {
            true => Ok(()),
            false => Err(Error::invalid(
                "payload",
                format_args!("{found} bytes"),
                format_args!("give at most {most}"),
            )),
        }
    }

    /// Stores a trace that must not be there, and returns it as it is stored.
    pub(super) fn put(&self, trace: &Trace) -> Result<Option<Arc<Trace>>> {
        let done = self.traces().upsert(&self.shared.clock, &trace.id(), |old| match old {
            None => Ok(Change::Put(trace.clone())),
            Some(_) => Err(already_exists(trace.id())),
        });
        done.map(|done| done.new).map_err(reason)
    }

    /// Stores a trace in the place of any other of its id.
    pub(super) fn replace(&self, trace: &Trace) -> Result<()> {
        let done = self
            .traces()
            .upsert(&self.shared.clock, &trace.id(), |_| Ok(Change::Put(trace.clone())))
            .map_err(reason)?;
        if let Some(old) = done.old {
            self.drop_links(&old);
        }
        Ok(())
    }

    /// One transition of a trace that is there; if it removes it, its links go too.
    pub(super) fn alter(
        &self,
        id: TraceId,
        change: impl FnMut(&Arc<Trace>) -> Result<Change<Trace>>,
    ) -> Result<Option<Transition<Trace>>> {
        let done = self.traces().alter(&self.shared.clock, &id, change).map_err(reason)?;
        if let Some(Transition { old: Some(old), new: None }) = &done {
            self.drop_links(old);
        }
        Ok(done)
    }

    /// Removes the links of a trace that is no more, and of no later one of its id; answers how many there were.
    ///
    /// In a cut before these removals the links may still be there: the flusher knows that they are not.
    pub(super) fn drop_links(&self, gone: &Trace) -> usize {
        // With the fence in `co_activate`: either its link is seen here, or it sees the trace gone.
        fence(Ordering::SeqCst);
        let mut dropped = 0;
        for ends in self.links().index().of(&gone.id()) {
            let done = self.links().alter::<_, Error>(&self.shared.clock, &ends, |tie| {
                Ok(match tie.touches(gone.id(), gone.birth()) {
                    true => Change::Remove,
                    false => Change::Keep,
                })
            });
            // Refused only where the store has closed, and what is not written any more is not read again.
            dropped += usize::from(done.is_ok_and(|done| done.is_some_and(|done| !done.is_noop())));
        }
        dropped
    }

    /// The same trace with other numbers, as the change of the store's own: the revision stays.
    pub(super) fn renumbered(old: &Trace, change: impl FnOnce(&mut Numbers)) -> Change<Trace> {
        let mut new = old.clone();
        change(&mut new.numbers);
        match new.numbers == old.numbers {
            true => Change::Keep,
            false => Change::Put(new),
        }
    }
}

pub(super) fn reason(rejected: Rejected<Error>) -> Error {
    match rejected {
        Rejected::Sealed => TraceStore::closed(),
        Rejected::By(error) => error,
    }
}

pub(super) fn already_exists(id: TraceId) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("trace {id} is in the store: update it, or give another id"))
}

pub(super) fn not_found(id: TraceId) -> Error {
    Error::new(ErrorKind::NotFound, format!("trace {id} is not in the store: insert it first"))
}
