//! How a model is run, and a store of the core's parts with the flusher's steps around it.

use mnemon::model::{
    Bell, Change, Clock, Cutter, Entry, Map, Mistake, Opening, Refused, let_loads_age, plant,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{env, panic, process};

/// Names the mistake that this process plants.
pub const PLANTED: &str = "MNEMON_PLANTED";

/// Set where each change is checked: the slow models then have one preemption less.
const GATE: &str = "MNEMON_LOOM_GATE";

/// Models that take a minute or more at their own bound, and the bound that they have at the gate.
const SLOW: [(&str, usize); 5] = [
    ("a_cut_keeps_causality_between_threads", 4),
    ("callers_of_flush_beside_a_writer", 1),
    ("close_keeps_what_it_accepted", 2),
    ("a_joint_made_anew_is_found_from_both_ends", 3),
    ("no_row_of_a_link_is_without_its_traces", 3),
];

/// The code that a process ends with when a model finds its mistake.
pub const CAUGHT: i32 = 99;

const MISTAKES: [Mistake; 17] = [
    Mistake::NoGrace,
    Mistake::CaptureNewest,
    Mistake::BeforeNotCarried,
    Mistake::GenerationFirst,
    Mistake::PushFirst,
    Mistake::NoRetiredStep,
    Mistake::EarlyWatermark,
    Mistake::FailedBatchDropped,
    Mistake::CutNotHeldOff,
    Mistake::TermLeftFirst,
    Mistake::DeadEndIgnored,
    Mistake::LinksLeftBehind,
    Mistake::NoSecondLook,
    Mistake::NamedLate,
    Mistake::RemovalNotFenced,
    Mistake::LinkNotFenced,
    Mistake::FollowerRefused,
];

/// Plants the mistake that the environment names, if it names one.
fn plant_if_asked() {
    let Ok(wanted) = env::var(PLANTED) else { return };
    let known = MISTAKES.into_iter().find(|mistake| format!("{mistake:?}") == wanted);
    plant(known.unwrap_or_else(|| panic!("no mistake is called {wanted}")));
    // At the first panic, with what it says: unwinding would drop loom's types outside a model, and abort.
    panic::set_hook(Box::new(|failure| {
        eprintln!("{failure}");
        process::exit(CAUGHT);
    }));
}

/// Explores every interleaving with at most `bound` preemptions, or all of them. `LOOM_MAX_PREEMPTIONS`
/// puts another bound in its place.
pub fn model(name: &str, bound: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    explore(name, bound, false, body);
}

/// The same, where the load of an entry's state may find one that is no more the newest, as on real processors: for
/// what fences forbid.
pub fn model_of_fences(name: &str, bound: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    explore(name, bound, true, body);
}

fn explore(name: &str, bound: Option<usize>, loads_age: bool, body: impl Fn() + Send + Sync + 'static) {
    plant_if_asked();
    let_loads_age(loads_age);
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    // These end a run early, and it passes all the same.
    (builder.max_permutations, builder.max_duration) = (None, None);
    if env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        let at_the_gate = SLOW.iter().find(|(slow, _)| *slow == name && env::var_os(GATE).is_some());
        builder.preemption_bound = at_the_gate.map_or(bound, |(_, bound)| Some(*bound));
    }
    let bound = builder.preemption_bound.map_or("none".to_owned(), |bound| bound.to_string());
    let executions = Arc::new(AtomicUsize::new(0));
    let (counted, started) = (executions.clone(), Instant::now());
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    let (executions, seconds) = (executions.load(Ordering::Relaxed), started.elapsed().as_secs_f64());
    println!("model {name}: {executions} executions, bound {bound}, {seconds:.1} s");
}

pub type Id = u64;
pub type Rows = BTreeMap<Id, u64>;

/// The core's parts as the store puts them together.
pub struct Store {
    clock: Arc<Clock<Arc<Entry<Id, u64, ()>>>>,
    map: Map<Id, u64, ()>,
}

/// The flusher's side.
pub struct Flusher {
    cutter: Cutter<Arc<Entry<Id, u64, ()>>>,
    pub rows: Rows,
}

pub fn store() -> (Arc<Store>, Flusher) {
    let (clock, cutter) = Clock::new(1, usize::MAX, Arc::new(Bell::default()));
    (Arc::new(Store { clock, map: Map::new(()) }), Flusher { cutter, rows: Rows::new() })
}

impl Store {
    pub fn put(&self, id: Id, value: u64) {
        let done = self.map.upsert::<_, ()>(&self.clock, &id, |_| Ok(Change::Put(Arc::new(value))));
        assert!(done.is_ok(), "no generation is sealed here");
    }

    pub fn update(&self, id: Id, change: impl Fn(u64) -> u64) {
        let done: Result<_, Refused<()>> =
            self.map.alter(&self.clock, &id, |old| Ok(Change::Put(Arc::new(change(**old)))));
        assert!(done.is_ok(), "no generation is sealed here");
    }

    pub fn remove(&self, id: Id) {
        let done: Result<_, Refused<()>> = self.map.alter(&self.clock, &id, |_| Ok(Change::Remove));
        assert!(done.is_ok(), "no generation is sealed here");
    }

    pub fn get(&self, id: Id) -> Option<u64> {
        self.map.get(&id).map(|value| *value)
    }
}

impl Flusher {
    /// Cut, grace, capture, apply, settle; how many entries were listed.
    pub fn flush(&mut self, store: &Store) -> usize {
        let cut = self.cutter.cut(Opening::Open);
        let mut once = BTreeSet::new();
        for entry in &cut.entries {
            assert!(once.insert(*entry.key()), "an id is captured once per cut");
            match entry.capture(cut.number) {
                Some(value) => self.rows.insert(*entry.key(), *value),
                None => self.rows.remove(entry.key()),
            };
        }
        for entry in &cut.entries {
            store.map.settle(entry, cut.number);
        }
        cut.entries.len()
    }

    /// With all writers gone, one more flush makes rows and memory agree.
    pub fn assert_settles(&mut self, store: &Store, ids: &[Id]) {
        let counted = store.clock.enter().dirty();
        assert_eq!(self.flush(store), counted, "as many entries are listed as are counted");
        for id in ids {
            assert_eq!(self.rows.get(id).copied(), store.get(*id), "row and memory of {id} agree");
        }
        assert_eq!(store.map.len(), self.rows.len(), "the live count is right");
    }
}

pub fn spawn(store: &Arc<Store>, work: impl FnOnce(&Store) + 'static) -> loom::thread::JoinHandle<()> {
    let store = store.clone();
    loom::thread::spawn(move || work(&store))
}
