//! The garbage of a map, as it ships.

use super::Locks;
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::raw::group::Entry;
use crate::protocol::raw::record::{CellState, Record};
use crate::protocol::sync::{AtomicBool, Mutex, Ordering, lock, pause};
use std::mem::take;
use std::sync::Arc;

/// Number of bytes of records that may wait in a shard before whoever adds to them is patient. The models reach it with
/// three records.
const fn limit<V>() -> usize {
    if cfg!(loom) { 3 * size_of::<V>() } else { 64 << 10 }
}

/// How often somebody who is patient tries to find the lock free. Not for ever: where many threads never cease to read
/// one key, there may be no such moment.
const PATIENCE: u32 = if cfg!(loom) { 2 } else { 64 };

/// One for each shard.
pub(in crate::protocol::raw) struct Garbage<V>(Box<[Shard<V>]>);

/// What has left the cells of a shard, and may still be seen by who is in the lock of the shard. Padded, so that the
/// writers of two shards don't share a cache line.
#[repr(align(128))]
struct Shard<V> {
    /// Whether records wait: set and cleared in the lock of `records`.
    has_records: AtomicBool,
    records: Mutex<Waiting<V>>,
    /// Left to the flusher, as a large one takes its time to free.
    groups: Mutex<Vec<Arc<[Entry<V>]>>>,
}

struct Waiting<V> {
    records: Vec<CellState<V>>,
    bytes: usize,
}

impl<V> Default for Waiting<V> {
    fn default() -> Self {
        Self { records: Vec::new(), bytes: 0 }
    }
}

impl<V: Record> Garbage<V> {
    pub(in crate::protocol::raw) fn new(shards: usize) -> Self {
        let shard = || Shard {
            has_records: AtomicBool::new(false),
            records: Mutex::default(),
            groups: Mutex::new(Vec::new()),
        };
        Self((0..shards).map(|_| shard()).collect())
    }

    /// Gives up a count of a record if nobody is in the lock of its shard, with those that wait there; else it waits
    /// there too. `bytes` is about how much that frees. Costs a try to take the lock.
    pub(in crate::protocol::raw) fn add(
        &self,
        record: CellState<V>,
        bytes: impl FnOnce(&CellState<V>) -> usize,
        shard: usize,
        locks: &impl Locks,
    ) {
        let garbage = &self.0[shard];
        // Relaxed: what waits and is not seen here waits on.
        if !garbage.has_records.load(Ordering::Relaxed) && is_free(shard, locks) {
            return drop(record);
        }
        let bytes = bytes(&record);
        let is_much = {
            let mut waiting = lock(&garbage.records);
            waiting.records.push(record);
            waiting.bytes += bytes;
            garbage.has_records.store(true, Ordering::Relaxed);
            waiting.bytes >= limit::<V>()
        };
        garbage.free_records(shard, locks, if is_much { PATIENCE } else { 1 });
    }

    /// Has a group that has left all cells of a shard wait for those who are in its lock, if there are any. It is freed
    /// when it waits nowhere any more.
    pub(in crate::protocol::raw) fn add_group(
        &self,
        group: &Arc<[Entry<V>]>,
        shard: usize,
        locks: &impl Locks,
    ) {
        if !is_free(shard, locks) {
            lock(&self.0[shard].groups).push(group.clone());
        }
    }

    /// Frees what can be freed: for the flusher.
    pub(in crate::protocol::raw) fn collect(&self, locks: &impl Locks) {
        for (shard, garbage) in self.0.iter().enumerate() {
            garbage.free_records(shard, locks, PATIENCE);
            let groups = take(&mut *lock(&garbage.groups));
            if !groups.is_empty() && !tries(PATIENCE).any(|_| is_free(shard, locks)) {
                lock(&garbage.groups).extend(groups);
            }
        }
    }
}

impl<V> Shard<V> {
    /// Frees the records that wait, once the lock of the shard is free; tries it so often.
    fn free_records(&self, shard: usize, locks: &impl Locks, most: u32) {
        for _ in tries(most) {
            if !self.has_records.load(Ordering::Relaxed) {
                return;
            }
            let mut waiting = lock(&self.records);
            // Within the lock of what waits: all of it had left its cell before it was added.
            if is_free(shard, locks) {
                self.has_records.store(false, Ordering::Relaxed);
                let due = take(&mut *waiting);
                return drop((waiting, due));
            }
        }
    }
}

/// So many, with a pause between any two.
fn tries(most: u32) -> impl Iterator<Item = u32> {
    (0..most).inspect(|round| {
        if *round > 0 {
            pause(*round);
        }
    })
}

fn is_free(shard: usize, locks: &impl Locks) -> bool {
    locks.is_free(shard) || planted(Mistake::FreedInUse)
}
