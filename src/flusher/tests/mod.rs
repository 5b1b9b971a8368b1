//! The flusher step by step, on the test's own thread, over a backend that does what the test says: what it promises
//! of its own state, its order and its next job. What a store promises of it is in `tests/`.

mod changed;
mod compacting;
mod durability;
mod ending;
mod flushing;
mod jobs;
#[cfg(feature = "snapshot")]
mod supervision;
mod telling;
mod view_cuts;

use super::Flusher;
use super::run::{Job, next_job};
use crate::Durability;
use crate::backend::{
    Applied, Backend, BackendError, Batch, LinkChange, Loaded, Reopened, RowNumber, Scope, Space, Stored,
    TraceChange,
};
use crate::clock::WallClock;
use crate::error::{Error, ErrorKind};
use crate::memory::DecayCurve;
use crate::protocol::{Adjacency, Change, FlushOutcome, Map, Opening, Reached};
use crate::state::{CutTask, Erasure};
use crate::state::{FlushOptions, Health, LinkRow, Name, Quarantined, State};
use crate::trace::{Link, LinkKey, LinkState, NewTrace, Trace, TraceId, TraceType};
use crate::views::{TraceViews, Upkept};
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// What the next call of the backend gets.
enum Turn {
    Fail(ErrorKind),
    Empty,
    Changed,
    /// First, while the call lasts.
    Meanwhile(Box<dyn FnOnce() + Send>),
}

/// What the backend was asked, and what it answers.
#[derive(Default)]
struct Desk {
    calls: Vec<String>,
    turns: VecDeque<Turn>,
    synced_by_tidying: bool,
    wal_bytes: u64,
    tidying_fails: VecDeque<ErrorKind>,
    /// Somebody else has written there since.
    touched: bool,
    /// What it is found to hold.
    stored: Vec<Stored>,
    space: Space,
    /// How many steps a compaction has left.
    steps: usize,
    /// What each batch is said to have done.
    applied: Applied,
    /// The rows of the last batch that another trace had.
    replaced: Vec<RowNumber>,
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Desk>>);

impl Told {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, turn: Turn) {
        self.desk().turns.push_back(turn);
    }

    /// The calls since this was asked last.
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.desk().calls)
    }

    fn call(&self, what: String) -> Result<Reopened, BackendError> {
        let turn = {
            let mut desk = self.desk();
            desk.calls.push(what);
            desk.turns.pop_front()
        };
        match turn {
            None => Ok(Reopened::Same),
            Some(Turn::Empty) => Ok(Reopened::Empty),
            Some(Turn::Changed) => Ok(Reopened::Changed),
            Some(Turn::Fail(kind)) => Err(BackendError::new(kind, "as the test says")),
            Some(Turn::Meanwhile(work)) => {
                work();
                Ok(Reopened::Same)
            }
        }
    }
}

impl Backend for Told {
    fn load(&mut self, into: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        let stored = std::mem::take(&mut self.desk().stored);
        stored.into_iter().for_each(into);
        Ok(Loaded::default())
    }

    fn is_untouched(&mut self) -> Result<bool, BackendError> {
        Ok(!self.desk().touched)
    }

    /// Written as `+` whole, `~` numbers, `-` deleted, of traces and then of links.
    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        let letter = |id: TraceId| char::from(id.as_bytes()[15]).to_string();
        let erased = batch.erased.iter().map(|_| " erase".to_owned());
        let traces = batch.traces.iter().map(|change| match change {
            TraceChange::Delete { id, .. } => format!(" -{}", letter(*id)),
            TraceChange::Upsert { trace, .. } => format!(" +{}", letter(trace.id())),
            TraceChange::UpdateNumbers { trace, .. } => format!(" ~{}", letter(trace.id())),
        });
        let links = batch.links.iter().map(|change| match change {
            LinkChange::Delete(a, b) => format!(" -{}{}", letter(*a), letter(*b)),
            LinkChange::Upsert(link) => format!(" +{}{}", letter(link.ends().0), letter(link.ends().1)),
        });
        let durability = if batch.durability == Durability::Durable { "sync" } else { "commit" };
        // Rows are numbered as the entries were listed, in no order.
        let mut traces: Vec<_> = traces.collect();
        traces.sort_unstable();
        let mut call = format!("{durability} {}", batch.watermark);
        call.extend(erased.chain(traces).chain(links));
        self.desk().replaced = batch.replaced.to_vec();
        self.call(call)?;
        Ok(Applied { erased: vec![7; batch.erased.len()], ..self.desk().applied.clone() })
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        self.desk().touched = false;
        self.call("reopen".to_owned())
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        self.call("replace".to_owned()).map(drop)
    }

    fn tidy(&mut self, idle: bool) -> Result<bool, BackendError> {
        // That after a commit is not noted.
        if idle {
            self.call("tidy".to_owned())?;
        }
        let mut desk = self.desk();
        match desk.tidying_fails.pop_front() {
            Some(kind) => Err(BackendError::new(kind, "as the test says")),
            None => Ok(desk.synced_by_tidying),
        }
    }

    fn close(&mut self, watermark: u64) -> Result<(), BackendError> {
        self.call(format!("close {watermark}")).map(drop)
    }

    fn wal_bytes(&self) -> u64 {
        self.desk().wal_bytes
    }

    fn space(&mut self) -> Result<Space, BackendError> {
        Ok(self.desk().space)
    }

    /// Each step gives back ten bytes.
    fn compact(&mut self, asked: bool) -> Result<bool, BackendError> {
        self.call(if asked { "step asked" } else { "step" }.to_owned())?;
        let mut desk = self.desk();
        desk.space.bytes -= 10;
        desk.steps -= 1;
        Ok(desk.steps > 0)
    }
}

const NEVER: FlushOptions = FlushOptions {
    interval: Duration::from_secs(3600),
    threshold: usize::MAX,
    background: Durability::Committed,
    lag_bound: Duration::from_secs(3600),
    refuse_when_lagging: false,
};

fn flusher(options: FlushOptions) -> (Flusher, Arc<State>, Told) {
    let (traces, links) = (Map::new(()), Map::new(Adjacency::new()));
    let name = Name::new(None, "default".into());
    let (clock, views) = (WallClock::System, TraceViews::new(DecayCurve::default(), Upkept::default()));
    let state = State::new(name, traces, links, Reached::recorded(0), options, clock, views);
    let (state, told) = (Arc::new(state), Told::default());
    let flusher = Flusher::new(state.clone(), Box::new(told.clone()), Reached::recorded(0), 0);
    (flusher, state, told)
}

fn id(letter: char) -> TraceId {
    TraceId::from_bytes([letter as u8; 16])
}

impl State {
    /// A new trace in the place of any other.
    fn put(&self, letter: char) {
        let built = NewTrace::semantic(serde_json::json!(1)).id(id(letter)).into_trace();
        let trace = built.expect("a good trace");
        let done =
            self.traces.upsert::<_, ()>(&self.generations, &id(letter), |_| Ok(Change::put(trace.clone())));
        assert!(done.is_ok(), "not sealed");
    }

    /// Another number of the same trace.
    fn touch(&self, letter: char) {
        let done = self.traces.update::<_, ()>(&self.generations, &id(letter), |old| {
            let mut new = Trace::clone(old);
            new.numbers.confidence /= 2.0;
            Ok(Change::put(new))
        });
        assert!(done.is_ok_and(|done| done.is_some()), "it is there");
    }

    fn remove(&self, letter: char) {
        let done = self.traces.update::<_, ()>(&self.generations, &id(letter), |_| Ok(Change::Remove));
        assert!(done.is_ok_and(|done| done.is_some()), "it is there");
    }

    fn link(&self, a: char, b: char) {
        let ends = LinkKey::of(id(a), id(b)).expect("two");
        let births = ends.ids().map(|id| self.traces.get(&id).expect("it is there").birth());
        let now = jiff::Timestamp::UNIX_EPOCH;
        let link = Link::new((id(a), id(b)), 1, now, now).expect("a good link");
        let tie = LinkState::new(link, births);
        let done = self.links.upsert::<_, ()>(&self.generations, &ends, |_| Ok(Change::put(tie.clone())));
        assert!(done.is_ok(), "not sealed");
    }

    fn unlink(&self, a: char, b: char) {
        let ends = LinkKey::of(id(a), id(b)).expect("two");
        let done = self.links.update::<_, ()>(&self.generations, &ends, |_| Ok(Change::Remove));
        assert!(done.is_ok_and(|done| done.is_some()), "it is there");
    }

    fn cells(&self) -> (usize, usize) {
        (self.traces.keys().len(), self.links.keys().len())
    }
}

/// `a`, `b` and the link between them, committed and synced.
fn two_linked() -> (Flusher, Arc<State>, Told) {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    state.put('b');
    state.link('a', 'b');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 +a +b +ab"]);
    (flusher, state, told)
}

fn erase(state: &State, kind: TraceType) -> Arc<AtomicU64> {
    let rows = Arc::<AtomicU64>::default();
    state.send(CutTask::Erase(Erasure { scope: Scope::Type(kind), rows: rows.clone() }));
    rows
}

/// The next job; of a sleep, how long.
fn job(flusher: &Flusher, tidied: bool) -> (&'static str, Duration) {
    match next_job(flusher, tidied) {
        Job::Flush(Durability::Durable) => ("sync", Duration::ZERO),
        Job::Flush(Durability::Committed) => ("commit", Duration::ZERO),
        Job::Close => ("close", Duration::ZERO),
        Job::Compact => ("compact", Duration::ZERO),
        Job::Tidy => ("tidy", Duration::ZERO),
        Job::Sleep(Some(time)) => ("sleep", time),
        Job::Sleep(None) => ("rest", Duration::ZERO),
    }
}

impl Flusher {
    /// As if its last turn had been so long ago.
    fn rested_for(&mut self, time: Duration) {
        self.last_flush -= time;
    }
}

fn name(flusher: &Flusher) -> &'static str {
    job(flusher, true).0
}
