//! A store and the threads that work on it: writers that go through their scripts, and one that asks for flushes
//! and notes what it was told.

use crate::fuse::{Fuse, end_here};
use crate::log::Log;
use crate::plan::{Plan, Point};
use crate::scene::{ERASABLE, Shown, hint, id, new, payload};
use crate::script::{ALL, Op, Positions, RINGS, Script, beginning};
use crate::state::{Finding, State};
use harness::{Outcome, Rng};
use mnemon::{Error, ErrorKind, Group, Result, Trace, TraceEdit, TraceStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long the writers write before it closes.
pub const BEFORE_CLOSE: Duration = Duration::from_millis(2);

/// One store, how far its scripts are, and who works on it.
pub struct World {
    pub store: TraceStore,
    epoch: u64,
    positions: [AtomicU64; ALL.len()],
    stop: AtomicBool,
    /// How many closures of updates may still be run; the process ends in the one after.
    pub closures: AtomicU64,
    /// The process is to end in the next bulk of insertions, or erasure, and how long the last one took.
    pub arm: AtomicBool,
    pub took: AtomicU64,
    /// Whether an error, after so long, is to be met by another try; else it ends the process.
    pub tolerates: fn(&Error, Duration) -> bool,
    log: Arc<Log>,
    plan: Plan,
}

impl World {
    /// Goes on where the store is; what has not begun begins.
    pub fn of(store: TraceStore, plan: Plan, log: Arc<Log>) -> Outcome<Self> {
        let mut state = State::of(&store)?;
        if state.epoch == 0 {
            store.restore(beginning(1))?;
            state = State::of(&store)?;
        }
        Ok(Self {
            store,
            epoch: state.epoch,
            positions: state.positions.map(AtomicU64::new),
            stop: AtomicBool::new(false),
            closures: AtomicU64::new(u64::MAX),
            arm: AtomicBool::new(false),
            took: AtomicU64::new(0),
            tolerates: |_, _| false,
            log,
            plan,
        })
    }

    /// What has returned by now.
    pub fn state(&self) -> State {
        let mut positions = Positions::default();
        for (position, now) in positions.iter_mut().zip(&self.positions) {
            *position = now.load(Ordering::Acquire);
        }
        State { epoch: self.epoch, positions }
    }

    /// Asks for a flush and notes what it has made durable: all that had returned before.
    pub fn flush(&self) -> Result<()> {
        let state = self.state();
        self.store.flush()?;
        self.log.durable(state);
        self.log.committed(self.store.watermark().committed);
        Ok(())
    }

    /// One operation of a script, or several that are one call.
    pub fn step(&self, at: usize) -> Result<()> {
        let script = ALL[at];
        let position = self.positions[at].load(Ordering::Relaxed);
        let done = match script.bulk(position) {
            0 => self.run(script.op(position)).map(|()| 1)?,
            bulk => self.insert_all(script, position, bulk)?,
        };
        self.positions[at].store(position + done, Ordering::Release);
        Ok(())
    }

    fn insert_all(&self, script: Script, position: u64, bulk: u64) -> Result<u64> {
        let traces = (position..position + bulk).filter_map(|position| match script.op(position) {
            (Op::Insert(name), n) => Some(new(&name, n)),
            _ => None,
        });
        let ids = self.timed(Point::Insert, || self.store.insert_many(traces))?;
        Ok(ids.len() as u64)
    }

    fn run(&self, (op, n): (Op, u64)) -> Result<()> {
        match op {
            Op::Tell(name) => self.update(&name, n, |edit| edit.payload(payload(n, 0))),
            Op::Hint(name) => self.update(&name, n, |edit| edit.confidence(hint(n))),
            Op::Witness(name) => {
                let ring = name.trim_start_matches("ring").trim_end_matches("-witness");
                let next = (ring.parse::<usize>().expect("a ring") + 1) % RINGS;
                let seen = self.store.get(id(&format!("ring{next}-c"))).map_or(0, |trace| newest(&trace));
                self.update(&name, n, |edit| edit.payload(payload(n, seen)))
            }
            Op::Insert(name) => self.store.insert(new(&name, n)).map(drop),
            Op::Remove(name) => self.store.remove(id(&name)).map(|gone| assert!(gone.is_some(), "{name}")),
            Op::Link(a, b) => self.store.co_activate(id(&a), id(&b)).map(drop),
            Op::Erase => {
                let mut erased = self.state();
                self.timed(Point::Erase, || self.store.erase_partition(ERASABLE))?;
                // An erasure is durable when it returns, and with it what came before it.
                erased.positions[ALL.len() - 1] += 1;
                self.log.durable(erased);
                Ok(())
            }
            Op::Group(ops) => self.store.apply(|group| ops.iter().try_for_each(|op| collect(group, op, n))),
        }
    }

    fn update(&self, name: &str, n: u64, change: impl Fn(TraceEdit<'_>) -> TraceEdit<'_>) -> Result<()> {
        let changed = self.store.update(id(name), |edit| {
            if self.closures.fetch_sub(1, Ordering::Relaxed) == 0 {
                end_here(&self.log, true);
            }
            change(edit)
        })?;
        assert_eq!(changed.map(|trace| newest(&trace)), Some(n), "{name}");
        Ok(())
    }

    /// Does it, and ends the process meanwhile if the plan says that it is to end there.
    fn timed<T>(&self, point: Point, work: impl FnOnce() -> T) -> T {
        if point != self.plan.point {
            return work();
        }
        let took = self.took.load(Ordering::Relaxed);
        if took > 0 && self.arm.load(Ordering::Relaxed) {
            let burns = Rng::with_seed(self.plan.seed).u64(..(took + took / 5).max(1));
            return Fuse::new(&self.log, Duration::from_nanos(burns)).during(work);
        }
        let started = Instant::now();
        let done = work();
        self.took.store(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        done
    }

    /// Lets all write while `direct` runs; it is answered when they have stopped.
    pub fn run_all<T>(&self, direct: impl FnOnce() -> T) -> T {
        self.stop.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            for at in 0..ALL.len() {
                scope.spawn(move || self.until_stopped(|| self.step(at)));
            }
            let mut rng = Rng::with_seed(self.plan.seed ^ 1);
            scope.spawn(move || {
                self.until_stopped(|| {
                    thread::sleep(Duration::from_micros(rng.u64(..3_000)));
                    self.flush()
                });
            });
            let done = direct();
            self.stop.store(true, Ordering::Relaxed);
            done
        })
    }

    fn until_stopped(&self, mut work: impl FnMut() -> Result<()>) {
        while !self.stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            match work() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Closed => return,
                Err(error) if (self.tolerates)(&error, started.elapsed()) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Everything anew, as of the next epoch.
    pub fn restore(&mut self) -> Result<()> {
        self.store.restore(beginning(self.epoch + 1))?;
        self.epoch += 1;
        self.positions = Default::default();
        self.flush()
    }

    /// Waits for the flusher to be at work, and then for it to be done; how long that took, if it was.
    pub fn flushing(&self) -> Duration {
        let (cut, started) = (self.next_cut(), Instant::now());
        while !self.is_committed(cut) {
            std::hint::spin_loop();
        }
        started.elapsed()
    }

    /// Waits for the next cut of the writers' changes, and returns its generation.
    pub fn next_cut(&self) -> u64 {
        let generation = self.store.mark().generation();
        while self.store.mark().generation() == generation {
            std::hint::spin_loop();
        }
        generation
    }

    pub fn is_committed(&self, generation: u64) -> bool {
        self.store.watermark().committed >= generation
    }

    /// Closes under the writers' hands, and notes what a close promises.
    pub fn close(self, fused: Option<Duration>) -> Result<()> {
        let store = self.store.clone();
        self.run_all(|| {
            thread::sleep(BEFORE_CLOSE);
            self.log.closing();
            match fused {
                Some(burns) => Fuse::new(&self.log, burns).during(|| store.close()),
                None => store.close(),
            }
        })
        .map_err(|failed| failed.error)?;
        self.log.durable(self.state());
        self.log.closed();
        Ok(())
    }
}

fn newest(trace: &Trace) -> u64 {
    Shown::of(trace).map_or(u64::MAX, |(_, shown, _)| shown.newest())
}

/// Writes on from where a store is, every script more than a step, and flushes; how far that is.
pub fn go_on(store: TraceStore, plan: Plan, log: Arc<Log>) -> std::result::Result<State, Finding> {
    let broken = |error: &dyn std::fmt::Display| Finding::Broken(format!("it does not go on: {error}"));
    let world = World::of(store, plan, log).map_err(|error| broken(&error))?;
    for (at, script) in ALL.iter().enumerate() {
        for _ in 0..=script.length() {
            world.step(at).map_err(|error| broken(&error))?;
        }
    }
    world.store.flush().map_err(|error| broken(&error))?;
    Ok(world.state())
}

/// One operation of a group.
fn collect(group: &mut Group<'_>, op: &Op, n: u64) -> Result<()> {
    match op {
        Op::Tell(name) => group.update(id(name), move |edit| edit.payload(payload(n, 0))),
        Op::Hint(name) => group.update(id(name), move |edit| edit.confidence(hint(n))),
        Op::Insert(name) => drop(group.insert(new(name, n))?),
        Op::Remove(name) => group.remove(id(name)),
        Op::Link(a, b) => group.link(id(a), id(b)),
        Op::Witness(_) | Op::Erase | Op::Group(_) => unreachable!("no script has {op:?} in a group"),
    }
    Ok(())
}
