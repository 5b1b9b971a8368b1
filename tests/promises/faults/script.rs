//! A long run of one thread, the same each time, over a backend that fails; and what must hold of it at every moment.
//!
//! The run's memory does not depend on its backend. So the states after each of its steps are recorded once, without
//! any fault, and every image that a crash would leave must be one of them.

use harness::steps::{Edit, New, Step};
use harness::{Outcome, Rng, State, clock, manual_flush};
use jiff::Timestamp;
use mnemon::testkit::{Call, Fault, Faults, Image};
use mnemon::{Durability, ErrorKind, TraceStore, TraceType};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

pub(super) const SLOTS: usize = 14;

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
pub(super) enum Op {
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
    pub(super) ops: Vec<Op>,
    pub(super) states: Vec<State>,
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
            let group = |rng: &mut Rng| {
                let update = Step::Update(b, Edit { payload: Some(n), ..Edit::default() });
                let insert = Step::Insert(New::random(rng, a, n));
                Op::Do(Step::Group(vec![Step::Remove(a), update, insert, Step::CoActivate(a, b, 1)]))
            };
            match rng.u8(..112) {
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
                99 => ops.push(Op::Do(Step::Reopen)),
                _ => ops.push(group(&mut rng)),
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
    pub(super) fn change(&self, store: &TraceStore, now: Timestamp) -> mnemon::Result<()> {
        match self {
            Op::Settle | Op::Do(Step::Flush) => Ok(()),
            Op::Do(step) => step.apply(store, now),
        }
    }

    pub(super) fn flushes(&self) -> bool {
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
    pub(super) fn kinds(&self) -> Vec<ErrorKind> {
        let mine = match self.fault {
            Fault::Error(kind) => Some(kind),
            Fault::Panic => Some(ErrorKind::Panicked),
            Fault::Vanish => Some(ErrorKind::Unreachable),
            _ => None,
        };
        mine.into_iter().chain(self.every_third_apply).collect()
    }

    /// Whether it may take away what is stored.
    pub(super) fn wipes(&self) -> bool {
        let corrupt = ErrorKind::Corrupt;
        self.fault == Fault::Vanish
            || self.fault == Fault::Error(corrupt)
            || self.every_third_apply == Some(corrupt)
    }

    pub(super) fn plan(&self, faults: &Faults) {
        for n in self.every_third_apply.iter().flat_map(|kind| (1..200).map(move |n| (3 * n, *kind))) {
            faults.fail(Call::Apply).at(n.0).with(n.1);
        }
        if self.times > 0 {
            let plan = faults.fail(self.call).at(self.at).times(self.times);
            if self.late { plan.late() } else { plan }.with(self.fault);
        }
    }
}
