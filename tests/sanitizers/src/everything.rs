//! Every kind of call at once, over few traces, while the flusher never rests: in the end the file is what memory is.

use crate::threads::{Failure, all};
use fault_tests::Outcome;
use fault_tests::scratch::{database, folder};
use fault_tests::state::{State, check_rows, reader};
use harness::Rng;
use mnemon::{
    Durability, ErrorKind, ManualClock, NewTrace, Order, Quota, Snapshots, StoreBuilder, TraceId, TraceStore,
    TraceType, Upkeep,
};
use serde_json::json;
use std::hint::black_box;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

const IDS: usize = 40;

/// What one thread does.
type Work = fn(&World, Rng) -> Result<(), Failure>;

struct World {
    store: TraceStore,
    clock: ManualClock,
    snapshots: Snapshots,
    ids: Vec<TraceId>,
    /// How many calls a thread makes.
    calls: usize,
}

pub fn run(calls: usize) -> Outcome {
    let folder = folder()?;
    let path = database(&folder);
    let clock = harness::clock();
    for (life, durability) in [Durability::Durable, Durability::Committed].into_iter().enumerate() {
        let world = Arc::new(World {
            store: restless(&clock).durability(durability).upkeep(often()).open(&path)?,
            clock: clock.clone(),
            snapshots: Snapshots::in_folder(folder.path().join("snapshots")).signed_with([7; 32]),
            ids: (0..IDS).map(|n| TraceId::from_reference(&n.to_string())).collect(),
            calls: calls / 2,
        });
        let work: [Work; 7] = [write, write, write, link, read, keep, flush];
        all(work.into_iter().enumerate().map(|(seat, work)| {
            let world = world.clone();
            move || work(&world, Rng::with_seed((10 * life + seat) as u64))
        }))?;
        let store = world.store.clone();
        all([move || chain(&world)])?;
        store.clone().close()?;
        let memory = State::of(&store);
        check_rows(&reader(&path)?, &memory)?;
        check_reopened(&path, &clock, &memory)?;
        println!("everything: {}, {} cuts, file and memory agree", memory.summary(), store.stats().cuts);
        assert!(store.stats().cuts > 10, "the flusher was at work");
    }
    Ok(())
}

fn restless(clock: &ManualClock) -> StoreBuilder {
    let quota = Quota { max_traces: 3 * IDS / 4, ..Quota::default() };
    TraceStore::builder().clock(clock).flush_interval(Duration::ZERO).flush_threshold(1).quota(quota)
}

fn often() -> Upkeep {
    let every = Some(Duration::from_millis(20));
    Upkeep { decay: every, tiers: every, quota: every }
}

fn check_reopened(path: &Path, clock: &ManualClock, memory: &State) -> Outcome {
    let store = restless(clock).open(path)?;
    if State::of(&store) != *memory {
        return Err(format!("what was opened again differs from {}", memory.summary()).into());
    }
    store.close()?;
    Ok(())
}

/// What threads that get in each other's way have to expect.
fn met<T>(done: mnemon::Result<T>) -> Result<Option<T>, Failure> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) => match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::RevisionConflict
            | ErrorKind::Conflict => Ok(None),
            _ => Err(error.into()),
        },
    }
}

fn new(n: usize, id: TraceId) -> NewTrace {
    let kinds = [TraceType::Semantic, TraceType::Episodic, TraceType::Sensory, TraceType::Identity];
    let new = NewTrace::new(kinds[n % 4], json!({"n": n, "text": "x".repeat(n % 300)})).id(id);
    new.tag(["red", "green", "blue"][n % 3]).partition(["home", "away"][n % 2])
}

fn write(world: &World, mut rng: Rng) -> Result<(), Failure> {
    let store = &world.store;
    for n in 0..world.calls {
        let id = world.ids[rng.usize(..IDS)];
        match rng.u8(..11) {
            10 => {
                let other = world.ids[rng.usize(..IDS)];
                met(store.apply(|group| {
                    group.update(id, |trace| trace.tag("grouped"));
                    group.remove(other);
                    group.insert(new(n + 2, other))?;
                    if id != other {
                        group.link(id, other);
                    }
                    Ok(())
                }))?;
            }
            0..3 => drop(met(store.insert(new(n, id)))?),
            3 => drop(met(store.remove(id))?),
            4 => {
                drop(met(store.update(id, |trace| trace.payload(json!({"again": n})).tags(["blue", "red"])))?)
            }
            5 => {
                if let Some(seen) = store.get(id) {
                    met(store.update_if(id, seen.revision(), |trace| trace.tag("seen")))?;
                }
            }
            6 => drop(met(store.reinforce(id))?),
            7 => {
                let pair = [id, world.ids[rng.usize(..IDS)]];
                met(store.insert_many(pair.map(|id| new(n + 1, id))))?;
            }
            _ => drop(met(store.update(id, |trace| trace.confidence((n % 100) as f64 / 100.0)))?),
        }
    }
    Ok(())
}

fn link(world: &World, mut rng: Rng) -> Result<(), Failure> {
    let store = &world.store;
    for _ in 0..world.calls {
        let (a, b) = (world.ids[rng.usize(..IDS)], world.ids[rng.usize(..8)]);
        match rng.u8(..12) {
            0 => drop(black_box(store.links(a))),
            1 => drop(black_box(store.walk(a, 3, 0.0).count())),
            2 => drop(black_box(store.associated(b, 0.1, 20))),
            3 => drop(black_box(store.link(a, b))),
            _ if a != b => drop(met(store.co_activate(a, b))?),
            _ => {}
        }
    }
    Ok(())
}

fn read(world: &World, mut rng: Rng) -> Result<(), Failure> {
    let store = &world.store;
    for _ in 0..world.calls {
        let id = world.ids[rng.usize(..IDS)];
        match rng.u8(..40) {
            0 => drop(black_box(store.query().tagged("red").order(Order::Score).limit(10).run())),
            1 => drop(black_box(store.query().of_type(TraceType::Episodic).partition("home").run())),
            2 => drop(black_box(store.query().order(Order::Recency).run())),
            3 => drop(black_box(store.rank(world.ids[..9].iter().copied()))),
            4 => drop(black_box(store.iter().map(|trace| trace.payload().as_str().len()).sum::<usize>())),
            5 => drop(black_box((store.stats(), store.health(), store.watermark()))),
            6 => drop(met(store.retrieve_and_reinforce(5))?),
            _ => {
                if let Some(trace) = store.get(id) {
                    // All of it is there, and stays.
                    black_box((trace.payload().as_value()?, trace.tags().count(), store.strength(&trace)));
                }
            }
        }
    }
    Ok(())
}

/// Time passes, and everything that looks after the store.
fn keep(world: &World, mut rng: Rng) -> Result<(), Failure> {
    let store = &world.store;
    for n in 0..world.calls / 20 {
        world.clock.advance(Duration::from_secs(rng.u64(..300)));
        match rng.u8(..9) {
            0 => drop(met(store.erase_type(TraceType::Sensory))?),
            1 => drop(met(store.erase_partition("away"))?),
            2 => drop(met(store.update_tiers())?),
            3 => drop(met(store.enforce_quota())?),
            4 => drop(store.save_snapshot(&world.snapshots)?),
            5 => {
                met(store.restore_newest(&world.snapshots))?;
                world.snapshots.prune(2)?;
            }
            6 => drop(met(store.restore(world.ids[..20].iter().map(|id| new(n, *id))))?),
            _ => drop(met(store.decay())?),
        }
    }
    Ok(())
}

fn flush(world: &World, mut rng: Rng) -> Result<(), Failure> {
    for _ in 0..world.calls / 20 {
        match rng.u8(..2) {
            0 => drop(world.store.flush()?),
            _ => drop(block_on(world.store.flush_async())?),
        }
    }
    Ok(())
}

/// So that there are traces and links in the end, whatever the last erasure has left.
fn chain(world: &World) -> Result<(), Failure> {
    for pair in world.ids.windows(2) {
        for id in pair {
            met(world.store.insert(new(0, *id)))?;
        }
        met(world.store.co_activate(pair[0], pair[1]))?;
    }
    Ok(())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}
