//! The common base of all capabilities: one transition of one trace, with its side effects.

use super::dimensions::{Counting, Embeddings};
use super::settings::Settings;
use super::{Removed, TraceStore};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Scoring;
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::sync::{Ordering, fence};
use crate::protocol::{Change, Rejected, Transition};
use crate::state::{Links, State, Traces};
use crate::trace::{Defaults, Dynamics, Micros, NewTrace, Trace, TraceId};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The store without its threads, which share it.
pub(super) struct Inner {
    pub(super) state: Arc<State>,
    pub(super) settings: Settings,
    #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(super) home: Option<super::load::Home>,
    /// Number of entries that queries have visited.
    pub(super) visited: AtomicU64,
    /// Number of traces that decay cycles have removed because they had faded away.
    pub(super) pruned: AtomicU64,
    /// Number of traces that decay cycles have removed because they were not valid any more.
    pub(super) expired: AtomicU64,
    /// Number of traces that the quota has removed.
    pub(super) evicted: AtomicU64,
    pub(super) embeddings: Embeddings,
}

impl Inner {
    pub(super) fn traces(&self) -> &Traces {
        &self.state.traces
    }

    pub(super) fn links(&self) -> &Links {
        &self.state.links
    }

    /// Scans all traces: see [`Map::scan`](crate::protocol::Map::scan).
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

    pub(super) fn scoring(&self, at: Micros) -> Scoring {
        Scoring::new(at, self.settings.recency_half_life)
    }

    pub(super) fn is_imprinting(&self, now: Micros) -> bool {
        self.settings.imprint_until.is_some_and(|until| now < until)
    }

    /// Checks the conditions that reject a write whatever its content.
    pub(super) fn check_writable(&self) -> Result<()> {
        self.state.check_lag()?;
        self.check_open()
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.state.generations.enter().is_sealed() { Err(TraceStore::closed()) } else { Ok(()) }
    }

    pub(super) fn insert(&self, new: NewTrace) -> Result<TraceId> {
        let trace = self.checked(new)?;
        self.state.check_lag()?;
        self.put(&trace)?;
        Ok(trace.id())
    }

    /// Returns the new trace, checked without regard to what the store holds.
    pub(super) fn checked(&self, new: NewTrace) -> Result<Trace> {
        let now = self.now();
        let defaults =
            Defaults { partition: &self.settings.partition, now, imprinting: self.is_imprinting(now) };
        let mut trace = new.with_defaults(&defaults)?;
        // A time in the future, from a clock that was wrong elsewhere, would stop decay until then.
        let numbers = &mut trace.numbers;
        numbers.last_reinforced = numbers.last_reinforced.min(now);
        numbers.last_decayed = numbers.last_decayed.min(now);
        self.check_size(&trace)?;
        Ok(trace)
    }

    pub(super) fn check_size(&self, trace: &Trace) -> Result<()> {
        let (found, most) = (trace.payload().as_str().len(), self.settings.max_payload_bytes);
        if found <= most {
            Ok(())
        } else {
            Err(Error::invalid("payload", format_args!("{found} bytes"), format_args!("give at most {most}")))
        }
    }

    /// Stores a trace whose id must not be in the store, and returns it as it is stored.
    pub(super) fn put(&self, trace: &Trace) -> Result<Option<Arc<Trace>>> {
        let mut counting = self.counting();
        let done = self.traces().upsert(&self.state.generations, &trace.id(), |old| match old {
            None => {
                let change = Change::put(trace.clone());
                counting.admit(None, &change)?;
                Ok(change)
            }
            Some(_) => Err(already_exists(trace.id())),
        });
        let done = done.map_err(reason)?;
        counting.done(done.old.as_deref(), done.new.as_deref());
        Ok(done.new)
    }

    /// Stores a trace, replacing any other one with its id.
    pub(super) fn replace(&self, trace: &Trace, counting: &mut Counting<'_>) -> Result<()> {
        let done = self
            .traces()
            .upsert(&self.state.generations, &trace.id(), |_| Ok(Change::put(trace.clone())))
            .map_err(reason)?;
        counting.done(done.old.as_deref(), done.new.as_deref());
        if let Some(old) = done.old {
            self.drop_links(&old);
        }
        Ok(())
    }

    /// Applies one transition to an existing trace; if it removes the trace, its links are removed too.
    pub(super) fn update(
        &self,
        id: TraceId,
        change: impl FnMut(&Arc<Trace>) -> Result<Change<Trace>>,
    ) -> Result<Option<Transition<Trace>>> {
        self.update_counted(id, &mut Removed::default(), change)
    }

    /// Does what [`update`](Self::update) does, and counts what it removes.
    pub(super) fn update_counted(
        &self,
        id: TraceId,
        removed: &mut Removed,
        mut change: impl FnMut(&Arc<Trace>) -> Result<Change<Trace>>,
    ) -> Result<Option<Transition<Trace>>> {
        let mut counting = self.counting();
        let change = |old: &Arc<Trace>| {
            let change = change(old)?;
            counting.admit(Some(old), &change)?;
            Ok(change)
        };
        let done = self.traces().update(&self.state.generations, &id, change).map_err(reason)?;
        if let Some(done) = &done {
            counting.done(done.old.as_deref(), done.new.as_deref());
        }
        if let Some(Transition { old: Some(old), new: None }) = &done {
            removed.traces += 1;
            removed.links += self.drop_links(old);
        }
        Ok(done)
    }

    /// Removes the links of a removed trace, but not those of a later trace with its id; returns the number of links.
    ///
    /// A cut made before these removals may still contain the links: the flusher knows that they are gone.
    pub(super) fn drop_links(&self, gone: &Trace) -> usize {
        // Pairs with the fence in `look_again`: either its link is seen here, or it sees that the trace is gone.
        if !planted(Mistake::RemovalNotFenced) {
            fence(Ordering::SeqCst);
        }
        let mut dropped = 0;
        for ends in self.links().index().of(&gone.id()) {
            let is_dropped = self.links().follow(&self.state.generations, &ends, |tie| {
                if tie.touches(gone.id(), gone.birth()) { Change::Remove } else { Change::Keep }
            });
            dropped += usize::from(is_dropped);
        }
        dropped
    }

    /// Returns the trace with other numbers, as a change by the store itself: the revision does not change.
    pub(super) fn renumbered(old: &Trace, change: impl FnOnce(&mut Dynamics)) -> Change<Trace> {
        let mut numbers = old.numbers;
        change(&mut numbers);
        if numbers == old.numbers { Change::Keep } else { Change::put(old.renumbered(numbers)) }
    }
}

pub(super) fn reason(rejected: Rejected<Error>) -> Error {
    match rejected {
        Rejected::Sealed => TraceStore::closed(),
        Rejected::By(error) => error,
    }
}

pub(super) fn already_exists(id: TraceId) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("trace {id} is in the store: update it there, or give another id"),
    )
}

pub(super) fn not_found(id: TraceId) -> Error {
    Error::new(ErrorKind::NotFound, format!("trace {id} is not in the store: insert it first"))
}
