//! One run of a script over one planned fault: after each step memory, health, and what a crash would leave.

use super::script::{Case, Op, Script, Tally, state_of};
use harness::steps::Step;
use harness::{Outcome, State, clock, manual_flush};
use mnemon::testkit::{Call, Fault, Faults, Image};
use mnemon::{Durability, Error, Health, ManualClock, NewTrace, TraceId, TraceStore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
/// One run of a script over one case.
struct Run<'a> {
    script: &'a Script,
    case: &'a Case,
    tally: &'a Tally,
    faults: Faults,
    clock: ManualClock,
    /// So many steps have begun, and so many are acknowledged as durable.
    begun: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
    /// How many calls there were before the faults ended.
    calls: BTreeMap<&'static str, u64>,
}

/// Runs the script from end to end; answers how many calls of each kind there were, and fails with what did not hold.
pub fn run(script: &Script, case: &Case, tally: &Tally) -> Outcome<BTreeMap<&'static str, u64>> {
    let faults = Faults::new();
    case.plan(&faults);
    let mut run = Run {
        script,
        case,
        tally,
        faults: faults.clone(),
        clock: clock(),
        begun: Arc::default(),
        acknowledged: Arc::default(),
        calls: BTreeMap::new(),
    };
    let over = AtomicBool::new(false);
    let outcome = match case.fault {
        Fault::Hang => std::thread::scope(|scope| {
            let watch = Run {
                calls: BTreeMap::new(),
                clock: run.clock.clone(),
                faults: faults.clone(),
                begun: run.begun.clone(),
                acknowledged: run.acknowledged.clone(),
                ..run
            };
            let over = &over;
            let watched = scope.spawn(move || watch.release_what_hangs(over));
            let outcome = run.go();
            over.store(true, SeqCst);
            let watched = watched.join().map_err(|_| "the watch panicked")?;
            outcome.and(watched.map_err(Into::into))
        }),
        _ => run.go(),
    };
    Tally::add(&tally.runs, 1);
    Tally::add(&tally.injected, faults.injected());
    outcome.map_err(|error| format!("{case:?}: {error}"))?;
    Ok(run.calls)
}

pub fn name(call: Call) -> &'static str {
    match call {
        Call::Load => "load",
        Call::Apply => "apply",
        Call::Reopen => "reopen",
        Call::Replace => "replace",
        Call::Tidy => "tidy",
        Call::Close => "close",
        _ => "other",
    }
}

impl Run<'_> {
    fn go(&mut self) -> Outcome {
        let mut store = self.open()?;
        for at in 0..self.script.ops.len() {
            let op = &self.script.ops[at];
            self.clock.advance(Duration::from_secs(1));
            self.begun.store(at + 1, SeqCst);
            match op.change(&store, self.clock.now()) {
                Ok(()) if op.flushes() => self.acknowledge(at + 1)?,
                Ok(()) => {}
                Err(error) => self.failed(&store, &error)?,
            }
            match op {
                Op::Do(Step::Flush) => match store.flush() {
                    Ok(_) => self.acknowledge(at + 1)?,
                    Err(error) => self.failed(&store, &error)?,
                },
                Op::Settle if self.case.durability == Durability::Committed => {
                    wait(|| store.stats().dirty == 0 || store.health() != Health::Healthy)?;
                    self.look_at_images()?;
                }
                Op::Do(Step::Reopen) if self.case.fault != Fault::RefuseRow => {
                    store = self.reopen(store, at + 1)?
                }
                _ => {}
            }
        }
        self.end(store)
    }

    fn builder(&self) -> mnemon::StoreBuilder {
        let patience = Duration::from_secs(10);
        let builder =
            manual_flush().clock(&self.clock).durability(self.case.durability).close_timeout(patience);
        match self.case.durability {
            Durability::Durable => builder,
            Durability::Committed => builder.flush_threshold(1),
        }
    }

    fn open(&self) -> Outcome<TraceStore> {
        for _ in 0..=self.case.times {
            let backend = self.faults.backend();
            let opened =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.builder().open_with(backend)));
            match opened {
                // A panic while opening is the caller's.
                Err(_) if self.case.fault == Fault::Panic && self.case.call == Call::Load => {}
                Err(_) => return Err("opening panicked".into()),
                Ok(Ok(store)) => return Ok(store),
                Ok(Err(error)) => self.expected(&error)?,
            }
            self.look_at_images()?;
        }
        Err("it never opened".into())
    }

    fn reopen(&self, store: TraceStore, done: usize) -> Outcome<TraceStore> {
        store.close().map_err(|failed| format!("it did not close: {:?}", failed.error))?;
        self.acknowledged.store(done, SeqCst);
        self.look_at_images()?;
        if !self.faults.durable().is_closed() {
            return Err("closed, and no clean end".into());
        }
        let store = self.open()?;
        if State::of(&store) == self.script.states[done] {
            Ok(store)
        } else {
            Err(format!("opened again after step {done}, the store is not what it was").into())
        }
    }

    fn expected(&self, error: &Error) -> Outcome {
        if self.case.kinds().contains(&error.kind()) {
            Ok(())
        } else {
            Err(format!("an unplanned error: {error:?}").into())
        }
    }

    fn acknowledge(&self, done: usize) -> Outcome {
        self.acknowledged.store(done, SeqCst);
        self.look_at_images()
    }

    /// The truth of it: health says what failed, unless all that failed has been committed since.
    fn failed(&mut self, store: &TraceStore, error: &Error) -> Outcome {
        self.expected(error)?;
        let health = store.health();
        let truth = match health {
            Health::Degraded { kind, attempts, .. } => self.case.kinds().contains(&kind) && attempts > 0,
            // A retry has succeeded meanwhile: then everything is there.
            Health::Healthy => {
                let now = &self.script.states[self.begun.load(SeqCst)];
                state_of(&self.faults.live()) == *now
            }
            _ => false,
        };
        if !truth {
            return Err(format!("health is {health:?} after {error:?}").into());
        }
        if store.stats().last_error.is_none() {
            return Err("the last error is not told".into());
        }
        self.look_at_images()?;
        self.crash()
    }

    /// Every image that any crash would leave is a state of the run, and not one before the last acknowledged.
    fn look_at_images(&self) -> Outcome {
        let from = self.acknowledged.load(SeqCst);
        let (live, left) = (self.faults.live(), self.faults.after_power_loss());
        let refused = self.refused();
        self.is_a_state("live", &live, from, &refused)?;
        for image in left {
            self.is_a_state("after a power loss", &image, from, &refused)?;
        }
        match &self.faults.violations()[..] {
            [] => Ok(()),
            violations => Err(format!("violations: {violations:?}").into()),
        }
    }

    /// Traces whose rows were refused: of them and their links an image taken before this call may say anything. A
    /// refused row may be written before the next step, so what is quarantined at some moment is not all of them.
    fn refused(&self) -> BTreeSet<TraceId> {
        self.faults.refused().into_iter().collect()
    }

    fn is_a_state(&self, what: &str, image: &Image, from: usize, refused: &BTreeSet<TraceId>) -> Outcome {
        Tally::add(&self.tally.images, 1);
        let found = state_of(image).without(refused);
        if self.case.wipes() && image.watermark() == 0 && found == State::default() {
            return Ok(());
        }
        let to = self.begun.load(SeqCst);
        let mut states = self.script.states[from..=to].iter().rev();
        let is_found = |state: &State| {
            if refused.is_empty() { *state == found } else { state.without(refused) == found }
        };
        if states.any(is_found) {
            Ok(())
        } else {
            let whenever = self.script.states.iter().rposition(|state| *state == found);
            let last = &self.script.states[to];
            Err(format!(
                "{what}: no state of the steps {from} to {to}, but that of {whenever:?}; watermark {}; it has {} traces and {} links, the last state {} and {}",
                image.watermark(), found.traces.len(), found.links.len(), last.traces.len(), last.links.len(),
            )
            .into())
        }
    }

    /// What a crash leaves opens, and goes on.
    fn crash(&self) -> Outcome {
        for (crash, left) in [("a kill", self.faults.live()), ("a power loss", self.faults.durable())] {
            Tally::add(&self.tally.crashes, 1);
            let after = Faults::over(left);
            let left = state_of(&after.live());
            let store = self.builder().open_with(after.backend())?;
            if State::of(&store) != left || !store.stats().quarantined.is_empty() {
                return Err(format!("{crash}: opened, it is not what the crash has left").into());
            }
            let id = store.insert(NewTrace::semantic(serde_json::json!("after the crash")))?;
            store.close()?;
            if after.durable().trace(id).is_none() || !after.violations().is_empty() {
                return Err(format!("{crash}: it does not go on: {:?}", after.violations()).into());
            }
        }
        Ok(())
    }

    /// The faults end: the store recovers, and memory and rows agree.
    fn end(&mut self, store: TraceStore) -> Outcome {
        self.calls = Call::ALL.into_iter().map(|call| (name(call), self.faults.calls(call))).collect();
        self.faults.lift();
        let refused = self.refused();
        for id in &refused {
            store.update(*id, |trace| trace.emotional_valence(0.5))?;
        }
        // A retry of the background may have had its fault before, and answer a little later.
        (0..3).find_map(|_| store.flush().ok()).ok_or("the faults are over, and a flush fails")?;
        wait(|| store.health() == Health::Healthy)?;
        let held = State::of(&store);
        let last = &self.script.states[self.script.states.len() - 1];
        if held.without(&refused) != last.without(&refused) {
            return Err("memory is not what it should be".into());
        }
        for (what, image) in [("live", self.faults.live()), ("durable", self.faults.durable())] {
            if state_of(&image) != held {
                return Err(format!("{what}: rows and memory do not agree").into());
            }
        }
        if !store.stats().quarantined.is_empty() || store.stats().dirty != 0 {
            return Err("rows are quarantined or pending".into());
        }
        self.crash()?;
        store.close().map_err(|failed| format!("it did not close: {:?}", failed.error))?;
        if self.faults.violations().is_empty() {
            Ok(())
        } else {
            Err(format!("violations: {:?}", self.faults.violations()).into())
        }
    }

    /// On a thread of its own: whatever hangs is looked at, and released.
    fn release_what_hangs(&self, over: &AtomicBool) -> Result<(), String> {
        loop {
            match (self.faults.hanging(), over.load(SeqCst)) {
                (Some(_), _) => {
                    let looked = self.look_at_images();
                    self.faults.release();
                    looked.map_err(|error| format!("while it hangs: {error}"))?;
                }
                (None, true) => return Ok(()),
                (None, false) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

/// Looks until it is so, with patience.
fn wait(mut so: impl FnMut() -> bool) -> Outcome {
    for _ in 0..80_000 {
        if so() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Err("it never came".into())
}
