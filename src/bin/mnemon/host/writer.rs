//! One writer: a mix of writes over the traces that all of them share.

use super::expected::Expected;
use super::latency::{Measured, WriteDurations, measured};
use super::status::Counter;
use super::targets::{Place, Targets};
use super::workload::{self, Random};
use anyhow::{Context, Result, ensure};
use mnemon::{ErrorKind, TraceStore, TraceType};
use std::sync::atomic::{AtomicBool, Ordering};

/// A writer at work.
pub struct Writer<'a> {
    store: &'a TraceStore,
    targets: &'a Targets,
    random: Random,
    /// Where it has removed a trace and not yet put another.
    vacant: Option<Place>,
    counter: Counter,
    pub told: Written,
}

/// What a writer was told.
pub struct Written {
    pub expected: Expected,
    pub durations: WriteDurations,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Compare-and-sets that came too late.
    pub conflicts: u64,
    pub reinforced: u64,
    pub co_activated: u64,
    pub queries: u64,
}

impl Written {
    pub fn nothing() -> Result<Self> {
        Ok(Self {
            expected: Expected::default(),
            durations: WriteDurations::new()?,
            writes: 0,
            conflicts: 0,
            reinforced: 0,
            co_activated: 0,
            queries: 0,
        })
    }

    pub fn merge(&mut self, other: Self) -> Result<()> {
        self.expected.merge(other.expected);
        self.durations.merge(&other.durations)?;
        self.writes += other.writes;
        self.conflicts += other.conflicts;
        self.reinforced += other.reinforced;
        self.co_activated += other.co_activated;
        self.queries += other.queries;
        Ok(())
    }
}

impl<'a> Writer<'a> {
    pub fn new(store: &'a TraceStore, targets: &'a Targets, seed: u64, counter: Counter) -> Result<Self> {
        let random = Random::seeded(seed);
        Ok(Self { store, targets, random, vacant: None, counter, told: Written::nothing()? })
    }

    /// Writes until it is told to stop; on a failure it tells all to stop.
    pub fn work(mut self, stop: &AtomicBool) -> Result<Written> {
        while !stop.load(Ordering::Relaxed) {
            let before = self.told.writes;
            if let Err(error) = self.write() {
                stop.store(true, Ordering::Relaxed);
                return Err(error.context("a write failed"));
            }
            self.counter.add(self.told.writes - before);
        }
        self.told.durations.end();
        Ok(self.told)
    }

    /// Called after each write that changed something: the mark covers it.
    fn wrote(&mut self, measured: Measured) {
        self.told.durations.record(measured, self.store.mark().generation());
        self.told.writes += 1;
    }

    /// Of a hundred: 40 change numbers, 10 payloads, 10 compare and set, 10 reinforce, 10 link, 19 remove and insert
    /// in turn, and 1 asks.
    fn write(&mut self) -> Result<()> {
        match (self.random.below(100), self.vacant) {
            (0..40, _) => self.update_numbers(),
            (40..50, _) => self.update_payload(),
            (50..60, _) => self.compare_and_set(),
            (60..70, _) => self.reinforce(),
            (70..80, _) => self.co_activate(),
            (80, _) => self.query(),
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
            self.wrote(measured);
            self.told.expected.keep(trace);
        }
        Ok(())
    }

    fn update_payload(&mut self) -> Result<()> {
        let (_, id) = self.targets.any(&mut self.random);
        let payload = workload::payload(&mut self.random)?;
        let (answer, measured) =
            measured(self.store, || self.store.update(id, |trace| trace.payload(payload.clone())));
        if let Some(trace) = answer? {
            self.wrote(measured);
            self.told.expected.keep(trace);
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
                self.wrote(measured);
                self.told.expected.keep(trace);
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::RevisionConflict => self.told.conflicts += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn reinforce(&mut self) -> Result<()> {
        let (_, id) = self.targets.any(&mut self.random);
        let (answer, measured) = measured(self.store, || self.store.reinforce(id));
        if let Some(trace) = answer?.filter(|trace| trace.trace_type() != TraceType::Firmware) {
            self.wrote(measured);
            self.told.reinforced += 1;
            self.told.expected.keep(trace);
        }
        Ok(())
    }

    fn co_activate(&mut self) -> Result<()> {
        let [(_, a), (_, b)] = [(); 2].map(|()| self.targets.any(&mut self.random));
        if a == b {
            return Ok(());
        }
        let (answer, measured) = measured(self.store, || self.store.co_activate(a, b));
        match answer {
            Ok(done) => {
                self.wrote(measured);
                self.told.co_activated += 1;
                self.told.expected.linked(a, b, done.count());
            }
            // One of them has been removed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn query(&mut self) -> Result<()> {
        let tag = workload::tag(&mut self.random);
        for trace in self.store.query().tagged(tag).min_strength(0.1).limit(20).run() {
            ensure!(trace.has_tag(tag), "a query for the tag {tag:?} found trace {}", trace.id());
        }
        self.told.queries += 1;
        Ok(())
    }

    /// Of the writers that try at once, one is told that it removed the trace; the place is its own then.
    fn remove(&mut self) -> Result<()> {
        let (place, id) = self.targets.any(&mut self.random);
        let (answer, measured) = measured(self.store, || self.store.remove(id));
        if answer?.is_some() {
            self.wrote(measured);
            self.told.expected.removed(id);
            self.vacant = Some(place);
        }
        Ok(())
    }

    /// The new trace is this writer's alone until it is published: what it gets back is what it inserted.
    fn insert(&mut self, place: Place) -> Result<()> {
        let new = workload::new_trace(&mut self.random)?;
        let (answer, measured) = measured(self.store, || self.store.insert(new));
        let id = answer?;
        self.wrote(measured);
        let inserted =
            self.store.get(id).with_context(|| format!("trace {id} is not in the store after its insert"))?;
        self.told.expected.keep(inserted);
        self.targets.publish(place, id);
        self.vacant = None;
        Ok(())
    }
}
