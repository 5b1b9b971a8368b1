//! A long run of one thread, the same each time, over a backend that fails; and what must hold of it at every moment.
//!
//! The run's memory does not depend on its backend. So the states after each of its steps are recorded once, without
//! any fault, and every image that a crash would leave must be one of them.

use harness::steps::{Edit, New, Step};
use harness::{Outcome, Rng, State, clock, manual_flush};
use jiff::Timestamp;
use mnemon::testkit::{Call, Fault, Faults, Image};
use mnemon::{Durability, Error, ErrorKind, Health, ManualClock, NewTrace, TraceId, TraceStore, TraceType};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const SLOTS: usize = 14;

/// How often an image was compared with the states, and how often a store was opened over one.
#[derive(Default, Debug)]
pub struct Tally {
    pub runs: AtomicU64,
    pub injected: AtomicU64,
    pub images: AtomicU64,
    pub crashes: AtomicU64,
}

impl Tally {
    pub fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, SeqCst);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Do(Step),
    /// Until the background has committed everything, where it does so at once.
    Settle,
}

/// All that is in an image of a store.
pub fn state_of(image: &Image) -> State {
    let traces = image.traces().map(|trace| (trace.id(), trace.clone())).collect();
    State { traces, links: image.links().map(|link| (link.ends(), *link)).collect() }
}

/// The steps, and the state after each; the first state is the empty one.
pub struct Script {
    ops: Vec<Op>,
    states: Vec<State>,
}

impl Script {
    pub fn new(seed: u64, length: usize) -> Outcome<Self> {
        let mut rng = Rng::with_seed(seed);
        let mut ops = Vec::new();
        let mut n = 0;
        while ops.len() < length {
            n += 1;
            let (a, b) = (rng.usize(..SLOTS), rng.usize(..SLOTS));
            let insert = |rng: &mut Rng| Op::Do(Step::Insert(New::random(rng, a, n)));
            let rewrite = |slot| Op::Do(Step::Update(slot, Edit { payload: Some(n), ..Edit::default() }));
            let (remove, link) = (Op::Do(Step::Remove(a)), Op::Do(Step::CoActivate(a, b, 1)));
            match rng.u8(..100) {
                0..16 => ops.push(insert(&mut rng)),
                // A pair: whoever sees the second must see the first.
                16..24 => ops.extend([rewrite(a), rewrite(b)]),
                24..36 => {
                    let confidence = Some((n % 100) as f64 / 100.0);
                    ops.push(Op::Do(Step::Update(a, Edit { confidence, ..Edit::default() })));
                }
                36..46 => ops.push(remove),
                // The same id again, perhaps before the removal is flushed, and a link of the new trace.
                46..52 => ops.extend([remove, insert(&mut rng), link]),
                52..58 => ops.extend([remove, Op::Settle, insert(&mut rng), link]),
                58..66 => ops.push(Op::Do(Step::Reinforce(a))),
                66..82 => ops.push(link),
                82 => ops.push(Op::Do(Step::EraseType(TraceType::Episodic))),
                83 => ops.push(Op::Do(Step::ErasePartition("other"))),
                84 => {
                    let slots = (0..SLOTS).filter(|_| rng.u8(..3) > 0).collect::<Vec<_>>();
                    let list = slots.into_iter().map(|slot| New::random(&mut rng, slot, n));
                    ops.push(Op::Do(Step::Restore(list.collect())));
                }
                85..88 => ops.push(Op::Settle),
                88..99 => ops.push(Op::Do(Step::Flush)),
                _ => ops.push(Op::Do(Step::Reopen)),
            }
        }
        // Each kind of call is made at least once, whatever the seed is.
        ops.insert(length / 3, Op::Do(Step::Reopen));
        let mut script = Self { ops, states: vec![State::default()] };
        let clock = clock();
        let store = TraceStore::builder().clock(&clock).in_memory()?;
        for op in &script.ops {
            clock.advance(Duration::from_secs(1));
            op.change(&store, clock.now())?;
            script.states.push(State::of(&store));
        }
        Ok(script)
    }
}

impl Script {
    /// Runs it once for each sync that it makes, with a power loss at that one; answers how many there were.
    pub fn lose_power_at_every_sync(&self, case: &Case) -> Outcome<u64> {
        for at in 1.. {
            let (faults, clock) = (Faults::new(), clock());
            faults.freeze_at_sync(at);
            let builder = manual_flush().clock(&clock).durability(case.durability);
            let store = match case.durability {
                Durability::Durable => builder,
                Durability::Committed => builder.flush_threshold(1),
            }
            .open_with(faults.backend())?;
            // The last step that was acknowledged while there was power.
            let (mut least, mut most) = (0, 0);
            for (done, op) in self.ops.iter().enumerate() {
                clock.advance(Duration::from_secs(1));
                op.change(&store, clock.now())?;
                let flushes = matches!(op, Op::Do(Step::Flush)) || op.flushes();
                if matches!(op, Op::Do(Step::Flush)) {
                    store.flush()?;
                }
                if faults.syncs() < at {
                    most = done + 2;
                    least = if flushes { done + 1 } else { least };
                }
            }
            let syncs = faults.syncs();
            let found = state_of(&faults.durable());
            let most = if syncs < at { self.ops.len() } else { most.min(self.ops.len()) };
            if !self.states[least..=most].contains(&found) {
                return Err(format!("at sync {at}: no state of the steps {least} to {most}").into());
            }
            if syncs < at {
                return Ok(at - 1);
            }
        }
        Ok(0)
    }
}

impl Op {
    /// What it does to memory; `Err` where a flush that is part of it fails.
    fn change(&self, store: &TraceStore, now: Timestamp) -> mnemon::Result<()> {
        match self {
            Op::Settle | Op::Do(Step::Flush) => Ok(()),
            Op::Do(step) => step.apply(store, now),
        }
    }

    fn flushes(&self) -> bool {
        matches!(self, Op::Do(Step::EraseType(_) | Step::ErasePartition(_)))
    }
}

/// One planned fault: the calls of a kind from the n-th on, so many times.
#[derive(Clone, Debug)]
pub struct Case {
    pub durability: Durability,
    /// A fault of the same calls in every run of the kind: so that there are reopenings and replacements.
    pub every_third_apply: Option<ErrorKind>,
    pub call: Call,
    pub at: u64,
    pub times: u64,
    pub late: bool,
    pub fault: Fault,
}

impl Case {
    pub fn without_fault(durability: Durability) -> Self {
        let (call, fault) = (Call::Load, Fault::Panic);
        Self { durability, every_third_apply: None, call, at: 1, times: 0, late: false, fault }
    }

    /// What errors may say.
    fn kinds(&self) -> Vec<ErrorKind> {
        let mine = match self.fault {
            Fault::Error(kind) => Some(kind),
            Fault::Panic => Some(ErrorKind::Panicked),
            Fault::Vanish => Some(ErrorKind::Unreachable),
            _ => None,
        };
        mine.into_iter().chain(self.every_third_apply).collect()
    }

    /// Whether it may take away what is stored.
    fn wipes(&self) -> bool {
        let corrupt = ErrorKind::Corrupt;
        self.fault == Fault::Vanish
            || self.fault == Fault::Error(corrupt)
            || self.every_third_apply == Some(corrupt)
    }

    fn plan(&self, faults: &Faults) {
        for n in self.every_third_apply.iter().flat_map(|kind| (1..200).map(move |n| (3 * n, *kind))) {
            faults.fail(Call::Apply).at(n.0).with(n.1);
        }
        if self.times > 0 {
            let plan = faults.fail(self.call).at(self.at).times(self.times);
            if self.late { plan.late() } else { plan }.with(self.fault);
        }
    }
}

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
    /// refused row may be written before the next step, so what is set aside at some moment is not all of them.
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
            return Err("rows are set aside or owed".into());
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
