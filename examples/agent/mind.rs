//! The loop of an agent around its store: recall what a turn brings back, strengthen and associate that, store the
//! turn, and let things fade at night.
//!
//! A memory's words are its tags here, which needs no model: a turn brings back what shares rare words with it.

use super::Outcome;
use super::turn::{Turn, text};
use jiff::{SignedDuration, Timestamp};
use mnemon::{DecayCurve, DecayReport, ManualClock, Ranked, TraceId, TraceStore};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a fact takes to fade to half its strength; what was said takes half as long.
const HALF_LIFE: Duration = Duration::from_secs(14 * 86_400);
/// A word that more memories have than this says little.
const RARE: usize = 8;

pub struct Mind {
    store: TraceStore,
    clock: ManualClock,
    /// What is older is memory; the rest is what is being talked about.
    slept: Timestamp,
}

#[derive(Default)]
pub struct Day {
    pub heard: usize,
    /// How many turns brought something back.
    pub reminded: usize,
    /// The one most like it.
    pub best: Option<Moment>,
}

/// A turn, and what it brought back.
pub struct Moment {
    likeness: f64,
    pub said: String,
    pub age: SignedDuration,
    pub strength: f64,
    pub memory: String,
}

impl Mind {
    pub fn new(now: Timestamp) -> mnemon::Result<Self> {
        let (clock, curve) = (ManualClock::at(now), DecayCurve::Exponential { half_life: HALF_LIFE });
        // With `open("memory.db")` in place of `in_memory()` it wakes up tomorrow with what it knows today.
        let store = TraceStore::builder().clock(&clock).decay_curve(curve).in_memory()?;
        Ok(Self { store, clock, slept: Timestamp::MIN })
    }

    pub fn store(&self) -> &TraceStore {
        &self.store
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What a turn brings back grows stronger; what comes back together three times is associated.
    pub fn hear(&mut self, turn: &Turn, day: &mut Day) -> Outcome {
        self.clock.set(turn.at);
        let words = turn.words();
        let recalled = self.recall(&words);
        if let Some((likeness, old)) = recalled.first()
            && day.best.as_ref().is_none_or(|best| *likeness > best.likeness)
        {
            day.best = Some(Moment {
                likeness: *likeness,
                said: turn.text.clone(),
                age: turn.at.duration_since(old.trace.created_at()),
                strength: old.strength,
                memory: text(&old.trace.payload().as_value()?),
            });
        }
        for (at, (_, old)) in recalled.iter().enumerate() {
            drop(self.store.reinforce(old.trace.id())?);
            for (_, other) in &recalled[..at] {
                self.store.co_activate(old.trace.id(), other.trace.id())?;
            }
        }
        self.store.insert(turn.trace()?.tags(&words))?;
        day.heard += 1;
        day.reminded += usize::from(!recalled.is_empty());
        Ok(())
    }

    /// The three memories that are most like these words, of which they must have two that few memories have; of equals
    /// those with the best scores. How like is the cosine of the two sets of words.
    fn recall(&self, words: &BTreeSet<String>) -> Vec<(f64, Ranked)> {
        let mut shared = BTreeMap::<TraceId, u32>::new();
        for word in words {
            let found = self.store.query().tagged(&**word).until(self.slept).limit(RARE + 1).run();
            for trace in found.iter().filter(|_| found.len() <= RARE) {
                *shared.entry(trace.id()).or_default() += 1;
            }
        }
        shared.retain(|_, count| *count > 1);
        let ranked = self.store.rank(shared.keys().copied()).into_iter();
        let mut recalled: Vec<_> = ranked
            .map(|old| {
                let sizes = (words.len() * old.trace.tags().len()) as f64;
                (f64::from(shared[&old.trace.id()]) / sizes.sqrt(), old)
            })
            .collect();
        recalled.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        recalled.truncate(3);
        recalled
    }

    /// Nobody talks until then, and memories fade: a decay cycle removes those of which nothing is left.
    pub fn sleep(&mut self, until: Timestamp) -> mnemon::Result<DecayReport> {
        self.slept = self.now();
        self.clock.set(until);
        self.store.decay()
    }
}
