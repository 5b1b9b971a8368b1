//! How a model is run, and a store of the core's parts with the flusher's steps around it.

use mnemon::model::explore::{self, Mode};
use mnemon::model::{
    Change, Generations, GroupPart, GroupTry, Head, Map, Mistake, Notify, Opening, Record, Rejected, Tracked,
    Unsettled, Views, hide_locks, plant,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;
use std::{env, panic, process};

/// Names the mistake that this process plants.
pub const PLANTED: &str = "MNEMON_PLANTED";

/// Set where each change is checked: the slow models then have one preemption less.
const GATE: &str = "MNEMON_LOOM_GATE";

/// Models that take twenty seconds or more at their own bound, and the bound that they have at the gate.
const SLOW: [(&str, usize); 28] = [
    ("a_collection_beside_a_reader", 4),
    ("a_capture_is_the_image_at_the_cut", 6),
    ("records_of_a_removal_and_an_insertion", 3),
    ("records_of_two_flushes", 5),
    ("a_failed_batch_is_owed", 3),
    ("flush_covers_a_write_that_joined_anothers", 5),
    ("a_close_that_fails_leaves_no_link", 2),
    ("records_of_concurrent_updates", 3),
    ("reader_while_all_goes", 3),
    ("a_cut_keeps_causality_through_one_entry", 3),
    ("a_later_trace_of_the_id_inherits_no_link", 3),
    ("concurrent_updates_all_count", 4),
    ("a_cut_keeps_causality_between_threads", 4),
    ("removal_racing_insertion_settles", 4),
    ("callers_of_flush_beside_a_writer", 1),
    ("close_keeps_what_it_accepted", 2),
    ("a_joint_made_anew_is_found_from_both_ends", 3),
    ("no_row_of_a_link_is_without_its_traces", 3),
    ("a_cut_has_all_or_none_of_a_group_beside_a_writer", 2),
    ("a_group_beside_a_write_and_a_removal", 2),
    ("a_group_beside_writes_of_both_keys", 2),
    ("a_group_given_up_leaves_no_cell", 2),
    ("a_group_given_up_leaves_nothing", 2),
    ("a_group_links_what_was_just_unlinked", 2),
    ("a_group_while_a_cell_is_taken_out", 2),
    ("a_key_that_is_checked_is_not_written_meanwhile", 2),
    ("holder_beside_a_group_keeps_nothing_else", 2),
    ("two_groups_of_the_same_keys", 2),
];

/// The code that a process ends with when a model finds its mistake.
pub const CAUGHT: i32 = 99;

const MISTAKES: [Mistake; 48] = [
    Mistake::NoGrace,
    Mistake::CaptureNewest,
    Mistake::PreviousNotCarried,
    Mistake::GenerationFirst,
    Mistake::NoIdentityCheck,
    Mistake::IdentityNotHeld,
    Mistake::EmptiedAtOnce,
    Mistake::ReleasedAtOnce,
    Mistake::FreedInUse,
    Mistake::ImageLeftToTheHolder,
    Mistake::ImageLeftToATombstone,
    Mistake::ImageLeftAtTheClose,
    Mistake::StoredMarkCopied,
    Mistake::RememberedBeforeTheCommit,
    Mistake::DoubtIgnored,
    Mistake::PushRelaxed,
    Mistake::WalkRelaxed,
    Mistake::LoadRelaxed,
    Mistake::SwapRelaxed,
    Mistake::EarlyWatermark,
    Mistake::FailedBatchDropped,
    Mistake::CutNotBlocked,
    Mistake::ListedAfterTheSwap,
    Mistake::PublishedAfterTheCut,
    Mistake::AppliedInTheGracePeriod,
    Mistake::RemovedBeforeItIsApplied,
    Mistake::UnsettledNotSkipped,
    Mistake::ViewCutInCapture,
    Mistake::ViewCutNotOwed,
    Mistake::DeadEndIgnored,
    Mistake::LinksLeftBehind,
    Mistake::NoSecondLook,
    Mistake::NamedLate,
    Mistake::RemovalNotFenced,
    Mistake::LinkNotFenced,
    Mistake::FollowerRefused,
    Mistake::CountedLate,
    Mistake::SealCheckedEarly,
    Mistake::DetachedUnasked,
    Mistake::DecisionLoadRelaxed,
    Mistake::DecisionSwapRelaxed,
    Mistake::DecidedEarly,
    Mistake::LeftUndecided,
    Mistake::RestoredBeforeGivenUp,
    Mistake::ExpectedNotHeld,
    Mistake::GroupFreedAtOnce,
    Mistake::GroupNotSettled,
    Mistake::GroupAttachedEarly,
];

/// Plants the mistake that the environment names, if it names one.
fn plant_if_asked() {
    static PLANTING: Once = Once::new();
    PLANTING.call_once(plant_and_exit_when_caught);
}

/// Once, as loom adds to the hook for panics what it must not be told.
fn plant_and_exit_when_caught() {
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
    plant_if_asked();
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    // These end a run early, and it passes all the same.
    (builder.max_permutations, builder.max_duration) = (None, None);
    if env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        let at_the_gate =
            SLOW.iter().find(|(slow, _)| name.split(' ').next() == Some(slow) && env::var_os(GATE).is_some());
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

/// Explores with locks that loom does not know, so that the load of a cell may find a record that is no more the
/// newest, as on real processors without those locks: for what fences forbid. Nothing is freed before the end.
pub fn model_of_fences(name: &str, bound: Option<usize>, body: fn()) {
    model(name, bound, move || {
        explore::begin(Mode { main_is_idle: true, others_are_idle: true, newest_first: false });
        hide_locks(true);
        body();
        hide_locks(false);
        explore::empty_bags();
        explore::end();
    });
}

/// Explores with a collector that is as hostile as it may be, in each of these modes, and without the locks of shards,
/// which would hide a missing ordering.
pub fn hostile_model(name: &str, bound: usize, modes: &[Mode], body: fn(&mut World)) {
    for (at, mode) in modes.iter().copied().enumerate() {
        model(&format!("{name} {at}"), Some(bound), move || {
            explore::begin(mode);
            let mut world = World::of(Map::without_locks(IDS, ()), false);
            body(&mut world);
            world.finish();
        });
    }
}

/// As [`hostile_model`], and also with the locks of shards, where cells are made and taken out.
pub fn groups_model(name: &str, bound: usize, modes: &[Mode], body: fn(&mut World)) {
    let all = modes.iter().flat_map(|mode| [(*mode, false), (*mode, true)]);
    for (at, (mode, has_locks)) in all.enumerate() {
        model(&format!("{name} {at}"), Some(bound), move || {
            explore::begin(mode);
            let map = if has_locks { Map::new(()) } else { Map::without_locks(IDS, ()) };
            let mut world = World::of(map, false);
            (world.flusher.lists_in_vain, world.has_locks) = (true, has_locks);
            body(&mut world);
            world.finish();
        });
    }
}

/// As [`hostile_model`], with the garbage and the locks that ship.
pub fn garbage_model(name: &str, bound: usize, body: fn(&mut World)) {
    model(name, Some(bound), move || {
        explore::begin(bags(false, false, false));
        explore::ship_garbage();
        let mut world = World::of(Map::new(()), false);
        (world.flusher.lists_in_vain, world.has_locks) = (true, true);
        body(&mut world);
        world.finish();
    });
}

/// As [`hostile_model`], in one mode, with views that show what is in `first`.
pub fn views_model(name: &str, bound: usize, first: &'static [(Id, u64)], body: fn(&mut World)) {
    model(name, Some(bound), move || {
        explore::begin(bags(false, false, false));
        let mut world = World::of(Map::without_locks(IDS, ()), true);
        first.iter().for_each(|(id, value)| world.store.put(*id, *value));
        world.flush();
        world.apply_all();
        body(&mut world);
        world.finish();
    });
}

/// Whose deferrals are idle, and in which order the bags are emptied at the end.
pub const ALL_BAGS: [Mode; 5] = [
    bags(false, false, false),
    bags(true, false, true),
    bags(false, true, false),
    bags(true, true, false),
    bags(true, true, true),
];

pub const SOME_BAGS: [Mode; 3] =
    [bags(false, false, false), bags(true, false, true), bags(false, true, false)];

pub const NO_BAGS: [Mode; 1] = [bags(false, false, false)];

const fn bags(main_is_idle: bool, others_are_idle: bool, newest_first: bool) -> Mode {
    Mode { main_is_idle, others_are_idle, newest_first }
}

pub type Id = u64;
pub type Rows = BTreeMap<Id, u64>;

#[derive(Clone)]
pub struct Value {
    head: Head<Value>,
    number: Tracked,
}

impl Value {
    pub fn new(number: u64) -> Self {
        Self { head: Head::default(), number: Tracked::new(number) }
    }

    pub fn get(&self) -> u64 {
        self.number.get()
    }
}

impl Record for Value {
    fn head(&self) -> &Head<Self> {
        &self.head
    }

    fn head_mut(&mut self) -> &mut Head<Self> {
        &mut self.head
    }
}

pub type Part<'s> = GroupPart<'s, Id, Value, (), ()>;

/// What has become of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Done,
    /// The caller's own condition does not hold.
    Refused,
    /// Others came between, each time.
    Conflict,
}

/// The core's parts as the store puts them together.
pub struct Store {
    generations: Arc<Generations<Id>>,
    pub map: Map<Id, Value, ()>,
    views: Views<Shown>,
}

/// Views of the values: which are odd, and all in their order.
#[derive(Default)]
pub struct Shown {
    values: BTreeMap<Id, Arc<Value>>,
    odd: BTreeSet<Id>,
    order: BTreeSet<(u64, Id)>,
}

impl Shown {
    fn put(&mut self, id: Id, value: Option<Arc<Value>>) -> Option<Arc<Value>> {
        let old = self.values.remove(&id);
        if let Some(old) = &old {
            self.odd.remove(&id);
            self.order.remove(&(old.get(), id));
        }
        if let Some(value) = value {
            if value.get() % 2 == 1 {
                self.odd.insert(id);
            }
            self.order.insert((value.get(), id));
            self.values.insert(id, value);
        }
        old
    }
}

/// The flusher's side.
pub struct Flusher {
    pub rows: Rows,
    owed: BTreeMap<Id, Option<u64>>,
    /// The last one.
    cut: u64,
    /// A group that was given up has listed its keys.
    lists_in_vain: bool,
}

pub fn store() -> (Arc<Store>, Flusher) {
    store_of(Map::new(()), false)
}

fn store_of(map: Map<Id, Value, ()>, has_views: bool) -> (Arc<Store>, Flusher) {
    let indexer = has_views.then(Arc::<Notify>::default);
    let generations = Generations::new(1, usize::MAX, Arc::new(Notify::default()), indexer);
    let flusher = Flusher { rows: Rows::new(), owed: BTreeMap::new(), cut: 0, lists_in_vain: false };
    (Arc::new(Store { generations, map, views: Views::new(Shown::default()) }), flusher)
}

impl Store {
    pub fn put(&self, id: Id, value: u64) {
        let put = |_: Option<&Arc<Value>>| Ok(Change::put(Value::new(value)));
        let done = self.map.upsert::<_, ()>(&self.generations, &id, put);
        assert!(done.is_ok(), "no generation is sealed here");
    }

    pub fn update(&self, id: Id, change: impl Fn(u64) -> u64) {
        let done: Result<_, Rejected<()>> =
            self.map.update(&self.generations, &id, |old| Ok(Change::put(Value::new(change(old.get())))));
        assert!(done.is_ok(), "no generation is sealed here");
    }

    pub fn remove(&self, id: Id) {
        let done: Result<_, Rejected<()>> = self.map.update(&self.generations, &id, |_| Ok(Change::Remove));
        assert!(done.is_ok(), "no generation is sealed here");
    }

    /// A group, tried so often. No value from `plan` refuses.
    pub fn group(&self, tries: usize, plan: impl Fn(&mut Part<'_>) -> Option<()>) -> Outcome {
        for _ in 0..tries {
            let mut part = GroupPart::new(&self.map);
            if plan(&mut part).is_none() {
                return Outcome::Refused;
            }
            if GroupTry::new().with(&mut part).run(&self.generations).is_ok() {
                return Outcome::Done;
            }
        }
        Outcome::Conflict
    }

    pub fn hold(&self, id: Id) -> Option<Arc<Value>> {
        self.map.get(&id)
    }

    pub fn get(&self, id: Id) -> Option<u64> {
        self.hold(id).map(|value| value.get())
    }

    /// The odd values.
    pub fn odd(&self) -> Rows {
        let odd = |unsettled: &Unsettled<Id, Value>, views: &Shown| {
            let shown = views.odd.iter().filter(|id| !unsettled.contains(id));
            let shown = shown.map(|id| (*id, views.values[id].get()));
            let changed = unsettled.iter().filter_map(|(id, value)| Some((*id, value.as_ref()?.get())));
            changed.filter(|(_, value)| value % 2 == 1).chain(shown).collect()
        };
        self.views.ask(&self.generations, |ids| self.map.get_many(ids), odd).expect("there are views")
    }

    /// The greatest value, looked for from the end of the order.
    pub fn greatest(&self) -> Option<(u64, Id)> {
        let greatest = |unsettled: &Unsettled<Id, Value>, views: &Shown| {
            let changed = unsettled.iter().filter_map(|(id, value)| Some((value.as_ref()?.get(), *id))).max();
            let shown = views.order.iter().rev().find(|(_, id)| !unsettled.contains(id)).copied();
            changed.max(shown)
        };
        self.views.ask(&self.generations, |ids| self.map.get_many(ids), greatest).expect("there are views")
    }

    /// A step of the indexer.
    pub fn apply(&self) -> bool {
        self.views.apply(&self.generations, |ids| self.map.get_many(ids), Shown::put)
    }

    pub fn cut_for_views(&self) {
        self.generations.cut_for_views();
    }

    /// The views are built anew, as after a panic of the indexer.
    pub fn show_anew(&self) {
        self.views.reset(|views| {
            *views = Shown::default();
            let keys = self.map.keys();
            let live = self.map.get_many(&keys);
            keys.into_iter().zip(live).for_each(|(id, value)| _ = views.put(id, value));
        });
    }
}

impl Flusher {
    /// A flush whose commit works: cut, grace, capture, apply, settle; how many keys were listed.
    pub fn flush(&mut self, store: &Store) -> usize {
        self.flush_that(store, true)
    }

    /// A flush whose commit works, or fails and leaves nothing.
    pub fn flush_that(&mut self, store: &Store, works: bool) -> usize {
        let (cut, (), block) = store.generations.cut_and(Opening::Open, || ());
        let since = std::mem::replace(&mut self.cut, cut.number);
        for id in &cut.keys {
            let captured = store.map.capture(id, cut.number, |_| ());
            // What was listed in vain has been captured by an earlier cut.
            if let Some((captured, ())) = captured.filter(|(captured, ())| captured.generation > since) {
                self.owed.insert(*id, captured.value.map(|value| value.get()));
            }
        }
        drop(block);
        if works {
            for (id, value) in &self.owed {
                match value {
                    Some(value) => self.rows.insert(*id, *value),
                    None => self.rows.remove(id),
                };
            }
            std::mem::take(&mut self.owed).keys().for_each(|id| store.map.settle(id, cut.number, |_| ()));
        }
        cut.keys.len()
    }

    /// With all writers gone, one more flush makes rows and memory agree.
    pub fn assert_settles(&mut self, store: &Store, ids: &[Id]) {
        let counted = store.generations.enter().dirty();
        let listed = self.flush(store);
        let agree = if self.lists_in_vain { listed >= counted } else { listed == counted };
        assert!(agree, "as many keys are listed as are counted: {listed} {counted}");
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

/// A store under a hostile collector, and what is held of it to the very end.
pub struct World {
    pub store: Arc<Store>,
    pub flusher: Flusher,
    held: Vec<Arc<Value>>,
    /// The last flush never comes: the store is closed as it is.
    pub abandoned: bool,
    has_locks: bool,
    threads: Vec<loom::thread::JoinHandle<Vec<Arc<Value>>>>,
}

const IDS: [Id; 2] = [0, 1];

impl World {
    fn of(map: Map<Id, Value, ()>, has_views: bool) -> Self {
        let (store, flusher) = store_of(map, has_views);
        Self { store, flusher, held: Vec::new(), abandoned: false, has_locks: false, threads: Vec::new() }
    }

    /// Starts another thread; what it gives back is held to the very end.
    pub fn spawn<H: IntoIterator<Item = Arc<Value>>>(&mut self, work: impl FnOnce(&Store) -> H + 'static) {
        let store = self.store.clone();
        self.threads.push(loom::thread::spawn(move || work(&store).into_iter().collect()));
    }

    pub fn run(&mut self, work: impl FnOnce(&Store) + 'static) {
        self.spawn(|store| {
            work(store);
            None
        });
    }

    pub fn hold(&mut self, id: Id) {
        self.held.extend(self.store.hold(id));
    }

    /// Of a map with locks: no cell is left of what is gone.
    pub fn assert_cells(&self, number: usize) {
        if self.has_locks {
            assert_eq!(self.store.map.keys().len(), number, "a cell is left of what is gone");
        }
    }

    pub fn contents(&self) -> [Option<u64>; 2] {
        IDS.map(|id| self.store.get(id))
    }

    pub fn rows(&self) -> [Option<u64>; 2] {
        IDS.map(|id| self.row(id))
    }

    pub fn flush(&mut self) {
        self.flusher.flush(&self.store);
    }

    /// A flush, and the steps of the indexer that follow.
    pub fn flush_and_apply(&mut self) {
        self.flush();
        self.apply_all();
    }

    pub fn apply_all(&mut self) {
        while self.store.apply() {}
    }

    pub fn fail_to_flush(&mut self) {
        self.flusher.flush_that(&self.store, false);
    }

    pub fn row(&self, id: Id) -> Option<u64> {
        self.flusher.rows.get(&id).copied()
    }

    pub fn join(&mut self) {
        for thread in std::mem::take(&mut self.threads) {
            self.held.extend(thread.join().unwrap());
        }
    }

    /// With all threads gone: rows and memory agree after one more flush, and in the end nothing is left but what a
    /// user holds, and then nothing.
    fn finish(mut self) {
        self.join();
        if !self.abandoned {
            self.flusher.assert_settles(&self.store, &IDS);
        }
        let Self { store, held, .. } = self;
        assert_eq!(Arc::strong_count(&store), 1);
        drop(store);
        explore::empty_bags();
        let mut addresses: Vec<_> = held.iter().map(Arc::as_ptr).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(explore::live(), addresses.len(), "leaked, or freed while it is held");
        drop(held);
        assert_eq!(explore::live(), 0, "leaked");
        explore::end();
    }
}
