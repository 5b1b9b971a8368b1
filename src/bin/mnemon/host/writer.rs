//! One writer: a mix of writes over the traces that all of them share.

use super::latency::{Measured, WriteDurations, measured};
use super::ledger::Ledger;
use super::supply::{self, Random};
use super::targets::{Place, Targets};
use anyhow::{Context, Result};
use mnemon::{ErrorKind, TraceStore};
use std::sync::atomic::{AtomicBool, Ordering};

/// A writer at work.
pub struct Writer<'a> {
    store: &'a TraceStore,
    targets: &'a Targets,
    random: Random,
    /// Where it has removed a trace and not yet put another.
    vacant: Option<Place>,
    pub told: Told,
}

/// What a writer was told.
pub struct Told {
    pub ledger: Ledger,
    pub durations: WriteDurations,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Compare-and-sets that came too late.
    pub conflicts: u64,
}

impl Told {
    pub fn nothing() -> Result<Self> {
        Ok(Self { ledger: Ledger::default(), durations: WriteDurations::new()?, writes: 0, conflicts: 0 })
    }

    pub fn merge(&mut self, other: Self) -> Result<()> {
        self.ledger.merge(other.ledger);
        self.durations.merge(&other.durations)?;
        self.writes += other.writes;
        self.conflicts += other.conflicts;
        Ok(())
    }

    fn wrote(&mut self, measured: Measured) {
        self.durations.record(measured);
        self.writes += 1;
    }
}

impl<'a> Writer<'a> {
    pub fn new(store: &'a TraceStore, targets: &'a Targets, seed: u64) -> Result<Self> {
        Ok(Self { store, targets, random: Random::seeded(seed), vacant: None, told: Told::nothing()? })
    }

    /// Writes until it is told to stop; on a failure it tells all to stop.
    pub fn work(mut self, stop: &AtomicBool) -> Result<Told> {
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = self.write() {
                stop.store(true, Ordering::Relaxed);
                return Err(error.context("a write failed"));
            }
        }
        Ok(self.told)
    }

    /// 60 % numbers, 10 % payloads, 10 % compare-and-sets, 20 % removals and insertions in turn.
    fn write(&mut self) -> Result<()> {
        match (self.random.below(10), self.vacant) {
            (0..6, _) => self.update_numbers(),
            (6, _) => self.update_payload(),
            (7, _) => self.compare_and_set(),
            (_, None) => self.remove(),
            (_, Some(place)) => self.insert(place),
        }
    }

    fn update_numbers(&mut self) -> Result<()> {
        let (_, id) = self.targets.any(&mut self.random);
        let (confidence, valence) = (self.random.fraction(), self.random.fraction() * 2.0 - 1.0);
        let (answer, measured) = measured(self.store, || {
            self.store.update(id, |trace| trace.confidence(confidence).emotional_valence(valence))
        });
        if let Some(trace) = answer? {
            self.told.wrote(measured);
            self.told.ledger.keep(trace);
        }
        Ok(())
    }

    fn update_payload(&mut self) -> Result<()> {
        let (_, id) = self.targets.any(&mut self.random);
        let payload = supply::payload(&mut self.random)?;
        let (answer, measured) =
            measured(self.store, || self.store.update(id, |trace| trace.payload(payload.clone())));
        if let Some(trace) = answer? {
            self.told.wrote(measured);
            self.told.ledger.keep(trace);
        }
        Ok(())
    }

    fn compare_and_set(&mut self) -> Result<()> {
        let (_, id) = self.targets.any(&mut self.random);
        let Some(seen) = self.store.get(id) else { return Ok(()) };
        let intensity = self.random.fraction();
        let (answer, measured) = measured(self.store, || {
            self.store.update_if(id, seen.revision(), |trace| trace.emotional_intensity(intensity))
        });
        match answer {
            Ok(Some(trace)) => {
                self.told.wrote(measured);
                self.told.ledger.keep(trace);
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::RevisionConflict => self.told.conflicts += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Of the writers that try at once, one is told that it removed the trace; the place is its own then.
    fn remove(&mut self) -> Result<()> {
        let (place, id) = self.targets.any(&mut self.random);
        let (answer, measured) = measured(self.store, || self.store.remove(id));
        if answer?.is_some() {
            self.told.wrote(measured);
            self.told.ledger.removed(id);
            self.vacant = Some(place);
        }
        Ok(())
    }

    /// The new trace is this writer's alone until it is published: what it gets back is what it inserted.
    fn insert(&mut self, place: Place) -> Result<()> {
        let new = supply::new_trace(&mut self.random)?;
        let (answer, measured) = measured(self.store, || self.store.insert(new));
        let id = answer?;
        self.told.wrote(measured);
        let inserted =
            self.store.get(id).with_context(|| format!("trace {id} is not in the store after its insert"))?;
        self.told.ledger.keep(inserted);
        self.targets.publish(place, id);
        self.vacant = None;
        Ok(())
    }
}
