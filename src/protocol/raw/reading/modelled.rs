//! What the models know of who is in the lock of a shard.
//!
//! By default what has left its cell is freed when nobody is in a lock. A model may ask for a collector that is as
//! hostile as it may be ([`explore`]): then it is freed as soon as those have left who were in a lock at that moment,
//! or at the very end, and the memory of every record that was in a cell is kept, so that its use after its last count
//! was given up is found, and so is a count that nobody gives up.

use crate::protocol::raw::group::{Decision, Entry};
use crate::protocol::raw::record::{CellState, Pointer, Record, Tombstone};
use crate::protocol::sync::{AtomicPtr, Ordering};
use loom::thread::{self, ThreadId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;
use std::sync::{Arc, Weak};

// Loom runs the threads of a model on one thread of the system. No borrow of this reaches across an operation of loom.
thread_local!(static COLLECTOR: RefCell<Collector> = RefCell::default());

#[derive(Default)]
struct Collector {
    hostile: Option<Hostile>,
    /// Those who are in a lock; a hostile collector counts those alone that have loaded something.
    reading: Vec<Rc<Cell<bool>>>,
    deferred: Vec<Deferral>,
    /// Counts what leaves a cell and what is deferred.
    time: usize,
    last_deferral: usize,
}

struct Hostile {
    mode: explore::Mode,
    ships_garbage: bool,
    main: ThreadId,
    records: HashMap<usize, Tracked>,
}

struct Deferral {
    by_main: bool,
    waits_for: Vec<Rc<Cell<bool>>>,
    work: Box<dyn FnOnce()>,
}

/// A record that was in a cell, kept by one more count than it has, or an entry of a group, of which the memory alone
/// is kept.
struct Tracked {
    keeper: Box<dyn Counted>,
    /// When it left its cell; 0 if it has not.
    left: usize,
}

trait Counted {
    fn count(&self) -> usize;
}

impl<T> Counted for Arc<T> {
    fn count(&self) -> usize {
        Arc::strong_count(self) - 1
    }
}

impl<T> Counted for (Weak<[T]>, Arc<Decision>) {
    fn count(&self) -> usize {
        self.0.strong_count()
    }
}

fn with<R>(work: impl FnOnce(&mut Collector) -> R) -> R {
    COLLECTOR.with_borrow_mut(work)
}

impl Collector {
    fn tracked<V>(&mut self, pointer: Pointer<V>) -> Option<&mut Tracked> {
        self.hostile.as_mut()?.records.get_mut(&pointer.0.addr())
    }

    /// Takes out a deferral that may run.
    fn next_deferral(&mut self) -> Option<Deferral> {
        let idle = self.hostile.as_ref().map(|hostile| hostile.mode);
        let nobody_reads = self.reading.is_empty();
        let may_run = |deferral: &Deferral| match idle {
            None => nobody_reads,
            Some(idle) => {
                let waits = if deferral.by_main { idle.main_is_idle } else { idle.others_are_idle };
                !waits && deferral.waits_for.iter().all(|reading| reading.get())
            }
        };
        let at = self.deferred.iter().position(may_run)?;
        Some(self.deferred.remove(at))
    }
}

/// While it lives, nothing is freed that left its cell since it was made.
pub(in crate::protocol::raw) struct Reading {
    is_gone: Rc<Cell<bool>>,
    last_deferral: Cell<Option<usize>>,
}

impl Reading {
    /// For who is in the lock of a shard.
    pub(in crate::protocol::raw) fn new() -> Self {
        let reading = Self { is_gone: Rc::default(), last_deferral: Cell::new(None) };
        if with(|collector| collector.hostile.is_none()) {
            reading.begin();
        }
        reading
    }

    fn begin(&self) {
        if self.last_deferral.get().is_none() {
            self.last_deferral.set(Some(with(|collector| {
                collector.reading.push(self.is_gone.clone());
                collector.last_deferral
            })));
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.is_gone.set(true);
        with(|collector| collector.reading.retain(|reading| !reading.get()));
        run_deferrals();
    }
}

/// Runs `work` some time after all have left the locks who are in one at this moment.
pub(in crate::protocol::raw) fn defer(work: impl FnOnce() + 'static) {
    with(|collector| {
        collector.time += 1;
        collector.last_deferral = collector.time;
        let by_main = collector.hostile.as_ref().is_some_and(|h| h.main == thread::current().id());
        let waits_for = collector.reading.clone();
        collector.deferred.push(Deferral { by_main, waits_for, work: Box::new(work) });
    });
    run_deferrals();
}

fn run_deferrals() {
    if std::thread::panicking() {
        return;
    }
    while let Some(deferral) = with(Collector::next_deferral) {
        (deferral.work)();
    }
}

/// Loads the pointer of a cell. A hostile collector lets the reading begin right after its first load, as loom puts
/// nothing between the two: that is the latest moment before the load.
pub(in crate::protocol::raw) fn read<V>(cell: &AtomicPtr<V>, order: Ordering, reading: &Reading) -> *mut V {
    let found = cell.load(order);
    reading.begin();
    // Whoever takes a lock after it was found free sees what was stored before that. In a model without locks loom does
    // not know it: a load that gave something older is made again, by a read-modify-write, which sees the newest.
    let is_too_old =
        |tracked: &mut Tracked| tracked.left != 0 && Some(tracked.left) <= reading.last_deferral.get();
    if with(|collector| collector.tracked(Pointer(found)).is_some_and(is_too_old)) {
        match cell.compare_exchange(ptr::null_mut(), ptr::null_mut(), order, order) {
            Ok(newest) | Err(newest) => newest,
        }
    } else {
        found
    }
}

/// A record is about to come into a cell.
pub(in crate::protocol::raw) fn track<V: Record>(state: &CellState<V>) {
    with(|collector| {
        let Some(hostile) = &mut collector.hostile else { return };
        let keeper: Box<dyn Counted> = match state {
            CellState::Absent => return,
            CellState::Value(value) => Box::new(value.clone()),
            CellState::Removed(tombstone) => Box::<Arc<Tombstone<V>>>::new(tombstone.clone()),
        };
        let address = state.pointer().0.addr();
        hostile.records.entry(address).or_insert(Tracked { keeper, left: 0 });
    });
}

/// An entry of a group is about to come into a cell.
pub(in crate::protocol::raw) fn track_group<V: Record>(
    pointer: Pointer<V>,
    entries: &Arc<[Entry<V>]>,
    decision: &Arc<Decision>,
) {
    with(|collector| {
        let Some(hostile) = &mut collector.hostile else { return };
        let keeper = Box::new((Arc::downgrade(entries), decision.clone()));
        hostile.records.insert(pointer.0.addr(), Tracked { keeper, left: 0 });
    });
}

/// A record, or a group, has left its cell.
pub(in crate::protocol::raw) fn has_left<V>(pointer: Pointer<V>) {
    with(|collector| {
        collector.time += 1;
        let time = collector.time;
        if let Some(tracked) = collector.tracked(pointer) {
            tracked.left = time;
        }
    });
}

/// Fails the model if the last count of the record was given up, or if the group was freed.
#[track_caller]
pub(in crate::protocol::raw) fn assert_alive<V>(pointer: Pointer<V>) {
    let is_freed =
        with(|collector| collector.tracked(pointer).is_some_and(|tracked| tracked.keeper.count() == 0));
    assert!(!is_freed, "a record is used after it was freed");
}

/// A collector that is as hostile as it may be, for the models.
pub mod explore {
    use super::{Collector, Hostile, thread, with};
    use std::collections::HashMap;

    /// Whose deferrals stay in their bags to the very end.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct Mode {
        /// Those of the main thread.
        pub main_is_idle: bool,
        /// Those of all others.
        pub others_are_idle: bool,
        /// The bags are emptied from the newest deferral to the oldest.
        pub newest_first: bool,
    }

    /// At the beginning of an execution.
    pub fn begin(mode: Mode) {
        let main = thread::current().id();
        let hostile = Some(Hostile { mode, ships_garbage: false, main, records: HashMap::new() });
        let old =
            with(|collector| std::mem::replace(collector, Collector { hostile, ..Collector::default() }));
        // Of an execution that failed: its objects belong to it.
        std::mem::forget(old);
    }

    /// Maps that are made from now on free what has left their cells as those that ship do. They need locks.
    pub fn ship_garbage() {
        with(|collector| collector.hostile.iter_mut().for_each(|hostile| hostile.ships_garbage = true));
    }

    pub(crate) fn ships_garbage() -> bool {
        with(|collector| collector.hostile.as_ref().is_some_and(|hostile| hostile.ships_garbage))
    }

    /// Runs all deferrals, with nobody in a lock.
    pub fn empty_bags() {
        assert!(with(|collector| collector.reading.is_empty()), "nobody is in a lock");
        while let Some(deferral) = with(|collector| {
            let newest_first = collector.hostile.as_ref().is_some_and(|hostile| hostile.mode.newest_first);
            if newest_first {
                collector.deferred.pop()
            } else if collector.deferred.is_empty() {
                None
            } else {
                Some(collector.deferred.remove(0))
            }
        }) {
            (deferral.work)();
        }
    }

    /// Number of records that were in a cell and have a count, and of keys of groups that are not freed.
    pub fn live() -> usize {
        with(|collector| {
            let records = collector.hostile.iter().flat_map(|hostile| hostile.records.values());
            records.filter(|tracked| tracked.keeper.count() > 0).count()
        })
    }

    /// At the end of an execution: the collector is the usual one again.
    pub fn end() {
        drop(with(std::mem::take));
    }
}
