//! The flusher step by step, on the test's own thread, over a backend that does what the test says: what it promises
//! of its own state, its order and its next job. What a store promises of it is in `tests/`.

use super::{Driver, FlushOptions, Health, Job, LinkRow, Quarantined, Shared, next_job};
use crate::backend::{
    Applied, Backend, BackendError, Batch, ErrorClass, LinkChange, Loaded, Reach, Reopened, Scope, Stored,
    TraceChange,
};
use crate::core::{Adjacency, Change, Map, Opening, Terms, Wait};
use crate::error::Error;
use crate::flusher::{Erasure, Errand};
use crate::trace::{Ends, Link, NewTrace, Tie, Trace, TraceId, TraceType};
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// What the next call of the backend gets.
enum Turn {
    Fail(ErrorClass),
    Empty,
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
    tidying_fails: VecDeque<ErrorClass>,
    /// What each batch is said to have done.
    applied: Applied,
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
            Some(Turn::Fail(class)) => Err(BackendError::new(class, "as the test says")),
            Some(Turn::Meanwhile(work)) => {
                work();
                Ok(Reopened::Same)
            }
        }
    }
}

impl Backend for Told {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        Ok(Loaded::default())
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
        let reach = if batch.reach == Reach::Durable { "sync" } else { "commit" };
        // Rows are numbered as the entries were listed, in no order.
        let mut traces: Vec<_> = traces.collect();
        traces.sort_unstable();
        let mut call = format!("{reach} {}", batch.watermark);
        call.extend(erased.chain(traces).chain(links));
        self.call(call)?;
        Ok(Applied { erased: vec![7; batch.erased.len()], ..self.desk().applied.clone() })
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
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
            Some(class) => Err(BackendError::new(class, "as the test says")),
            None => Ok(desk.synced_by_tidying),
        }
    }

    fn close(&mut self, watermark: u64) -> Result<(), BackendError> {
        self.call(format!("close {watermark}")).map(drop)
    }

    fn wal_bytes(&self) -> u64 {
        self.desk().wal_bytes
    }
}

const NEVER: FlushOptions = FlushOptions {
    interval: Duration::from_secs(3600),
    threshold: usize::MAX,
    background: Reach::Committed,
    lag_bound: Duration::from_secs(3600),
    refuse_when_lagging: false,
};

fn driver(options: FlushOptions) -> (Driver, Arc<Shared>, Told) {
    let (traces, links) = (Map::new(Terms::new()), Map::new(Adjacency::new()));
    let (shared, cutter) = Shared::new(traces, links, 0, options);
    let (shared, told) = (Arc::new(shared), Told::default());
    (Driver::new(shared.clone(), Box::new(told.clone()), cutter, 0, 0), shared, told)
}

fn id(letter: char) -> TraceId {
    TraceId::from_bytes([letter as u8; 16])
}

impl Shared {
    /// A new trace in the place of any other.
    fn put(&self, letter: char) {
        let built = NewTrace::semantic(serde_json::json!(1)).id(id(letter)).into_trace();
        let trace = Arc::new(built.expect("a good trace"));
        let done = self.traces.upsert::<_, ()>(&self.clock, &id(letter), |_| Ok(Change::Put(trace.clone())));
        assert!(done.is_ok(), "not sealed");
    }

    /// Another number of the same trace.
    fn touch(&self, letter: char) {
        let done = self.traces.alter::<_, ()>(&self.clock, &id(letter), |old| {
            let mut new = Trace::clone(old);
            new.numbers.confidence /= 2.0;
            Ok(Change::Put(Arc::new(new)))
        });
        assert!(done.is_ok_and(|done| done.is_some()), "it is there");
    }

    fn remove(&self, letter: char) {
        let done = self.traces.alter::<_, ()>(&self.clock, &id(letter), |_| Ok(Change::Remove));
        assert!(done.is_ok_and(|done| done.is_some()), "it is there");
    }

    fn link(&self, a: char, b: char) {
        let ends = Ends::of(id(a), id(b)).expect("two");
        let births = ends.both().map(|id| self.traces.get(&id).expect("it is there").birth());
        let now = jiff::Timestamp::UNIX_EPOCH;
        let link = Link::new((id(a), id(b)), 1, now, now).expect("a good link");
        let tie = Arc::new(Tie { link, births });
        let done = self.links.upsert::<_, ()>(&self.clock, &ends, |_| Ok(Change::Put(tie.clone())));
        assert!(done.is_ok(), "not sealed");
    }

    fn unlink(&self, a: char, b: char) {
        let ends = Ends::of(id(a), id(b)).expect("two");
        let done = self.links.alter::<_, ()>(&self.clock, &ends, |_| Ok(Change::Remove));
        assert!(done.is_ok_and(|done| done.is_some()), "it is there");
    }

    fn entries(&self) -> (usize, usize) {
        (self.traces.entries().len(), self.links.entries().len())
    }
}

/// `a`, `b` and the link between them, committed and synced.
fn two_linked() -> (Driver, Arc<Shared>, Told) {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    shared.put('b');
    shared.link('a', 'b');
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 +a +b +ab"]);
    (driver, shared, told)
}

#[test]
fn what_was_captured_is_settled_when_it_is_committed_and_not_before() {
    let (mut driver, shared, told) = two_linked();
    shared.unlink('a', 'b');
    shared.remove('b');
    let seen = shared.clone();
    told.next(Turn::Meanwhile(Box::new(move || assert_eq!(seen.entries(), (2, 1), "while it is committed"))));
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(driver.turn(Reach::Durable, Opening::Open), "{:?}", shared.telemetry.present_error());
    assert_eq!(shared.entries(), (1, 0));
    shared.remove('a');
    assert!(!driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(shared.entries(), (1, 0), "that failed");
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(shared.entries(), (0, 0));
    assert_eq!(told.calls(), ["sync 2 -b -ab", "sync 3 -a", "sync 4 -a"]);
}

#[test]
fn what_was_written_since_its_capture_is_not_settled() {
    let (mut driver, shared, told) = two_linked();
    shared.touch('b');
    shared.link('a', 'b');
    let writer = shared.clone();
    told.next(Turn::Meanwhile(Box::new(move || {
        writer.unlink('a', 'b');
        writer.remove('b');
    })));
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(shared.entries(), (2, 1), "their removal is in no cut yet");
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 2 ~b +ab", "sync 3 -b -ab"]);
    assert_eq!(shared.entries(), (1, 0));
}

#[test]
fn a_failure_that_leaves_doubt_reopens_and_others_do_not() {
    use ErrorClass::{Busy, Corrupt, Foreign, Full, Io, Memory, Newer, Other, Owned, Unreachable};
    let cases = [Busy, Full, Memory].map(|class| (class, None)).into_iter();
    let doubtful = [Io, Unreachable, Foreign, Newer, Owned, Other].map(|class| (class, Some("reopen")));
    for (class, before) in cases.chain(doubtful).chain([(Corrupt, Some("replace"))]) {
        let (mut driver, shared, told) = driver(NEVER);
        shared.put('a');
        told.next(Turn::Fail(class));
        assert!(!driver.turn(Reach::Durable, Opening::Open));
        assert!(driver.turn(Reach::Durable, Opening::Open));
        let expected: Vec<_> = ["sync 1 +a"].into_iter().chain(before).chain(["sync 2 +a"]).collect();
        assert_eq!(told.calls(), expected, "{class:?}");
        assert!(driver.turn(Reach::Durable, Opening::Open));
        assert!(told.calls().is_empty(), "once, and what is committed is not written again");
    }
}

#[test]
fn a_reopening_or_replacing_that_fails_is_done_again() {
    for (class, call) in [(ErrorClass::Io, "reopen"), (ErrorClass::Corrupt, "replace")] {
        let (mut driver, shared, told) = two_linked();
        shared.touch('a');
        told.next(Turn::Fail(class));
        told.next(Turn::Fail(ErrorClass::Full));
        assert!(!driver.turn(Reach::Durable, Opening::Open) && !driver.turn(Reach::Durable, Opening::Open));
        assert!(driver.turn(Reach::Durable, Opening::Open));
        let last = if call == "reopen" { "sync 4 ~a" } else { "sync 4 +a +b +ab" };
        assert_eq!(told.calls(), ["sync 2 ~a", call, call, last]);
    }
}

#[test]
fn a_reopening_that_finds_nothing_writes_everything() {
    let (mut driver, shared, told) = two_linked();
    shared.touch('a');
    told.next(Turn::Fail(ErrorClass::Io));
    told.next(Turn::Empty);
    assert!(!driver.turn(Reach::Committed, Opening::Open));
    assert!(driver.turn(Reach::Committed, Opening::Open));
    assert_eq!(told.calls(), ["commit 2 ~a", "reopen", "commit 3 +a +b +ab"]);
}

#[test]
fn what_is_not_synced_is_written_again_after_a_reopening_until_it_is() {
    let (mut driver, shared, told) = driver(NEVER);
    let fail_and_try_again = |driver: &mut Driver| {
        told.next(Turn::Fail(ErrorClass::Io));
        assert!(!driver.turn(Reach::Durable, Opening::Open));
        assert!(driver.turn(Reach::Durable, Opening::Open));
        told.calls()
    };
    shared.put('a');
    shared.put('b');
    shared.link('a', 'b');
    assert!(driver.turn(Reach::Committed, Opening::Open));
    assert_eq!(shared.progress.watermarks(), (1, 0));
    shared.put('c');
    let all = ["commit 1 +a +b +ab", "sync 2 +c", "reopen", "sync 3 +a +b +c +ab"];
    assert_eq!(fail_and_try_again(&mut driver), all);
    assert_eq!(shared.progress.watermarks(), (3, 3));
    shared.put('d');
    assert_eq!(fail_and_try_again(&mut driver), ["sync 4 +d", "reopen", "sync 5 +d"]);
    // Synced by the housekeeping after the commit.
    told.desk().synced_by_tidying = true;
    shared.put('e');
    assert!(driver.turn(Reach::Committed, Opening::Open));
    assert_eq!(shared.progress.watermarks(), (6, 6));
    shared.put('f');
    assert_eq!(fail_and_try_again(&mut driver), ["commit 6 +e", "sync 7 +f", "reopen", "sync 8 +f"]);
}

#[test]
fn a_cut_without_changes_touches_the_backend_only_to_sync() {
    let (mut driver, shared, told) = two_linked();
    assert!(driver.turn(Reach::Durable, Opening::Open) && driver.turn(Reach::Committed, Opening::Open));
    assert!(told.calls().is_empty());
    assert_eq!(shared.progress.watermarks(), (3, 3));
    shared.link('a', 'b');
    assert!(driver.turn(Reach::Committed, Opening::Open) && driver.turn(Reach::Committed, Opening::Open));
    assert_eq!(shared.progress.watermarks(), (5, 3));
    let seen = shared.clone();
    told.next(Turn::Meanwhile(Box::new(move || assert_eq!((seen.dirty(), seen.oldest_age()), (0, None)))));
    assert!(driver.turn(Reach::Durable, Opening::Open) && driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["commit 4 +ab", "sync 6"]);
    assert_eq!(shared.progress.watermarks(), (7, 7));
}

fn erase(shared: &Shared, kind: TraceType) -> Arc<AtomicU64> {
    let rows = Arc::<AtomicU64>::default();
    shared.send(Errand::Erase(Erasure { scope: Scope::Type(kind), rows: rows.clone() }));
    rows
}

#[test]
fn an_erasure_is_owed_until_it_is_committed_and_then_done_no_more() {
    let (mut driver, shared, told) = driver(NEVER);
    let rows = erase(&shared, TraceType::Sensory);
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(!driver.turn(Reach::Committed, Opening::Open));
    assert!(shared.dirty() == 1 && shared.oldest_age().is_some(), "it is behind");
    assert!(driver.turn(Reach::Committed, Opening::Open));
    shared.put('a');
    assert!(driver.turn(Reach::Committed, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 erase", "sync 2 erase", "commit 3 +a"]);
    assert_eq!((rows.load(Ordering::Relaxed), shared.dirty()), (7, 0));
}

#[test]
fn of_the_erasures_of_a_scope_only_those_that_somebody_waits_for_are_done_twice() {
    let (mut driver, shared, told) = driver(NEVER);
    let mut fail = |told: &Told| {
        told.next(Turn::Fail(ErrorClass::Full));
        assert!(!driver.turn(Reach::Committed, Opening::Open));
    };
    // The first has been given up by who asked for it.
    drop(erase(&shared, TraceType::Sensory));
    fail(&told);
    let first = erase(&shared, TraceType::Trust);
    fail(&told);
    let second = erase(&shared, TraceType::Trust);
    fail(&told);
    drop(erase(&shared, TraceType::Sensory));
    assert!(driver.turn(Reach::Committed, Opening::Open));
    let each = ["sync 1 erase", "sync 2 erase erase", "sync 3 erase erase erase", "sync 4 erase erase erase"];
    assert_eq!(told.calls(), each);
    assert_eq!([first, second].map(|rows| rows.load(Ordering::Relaxed)), [7, 7]);
}

/// A batch that failed may have been applied all the same.
#[test]
fn what_a_failed_batch_may_have_written_is_deleted_when_it_is_removed() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    shared.put('b');
    shared.link('a', 'b');
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(!driver.turn(Reach::Durable, Opening::Open));
    shared.unlink('a', 'b');
    shared.remove('b');
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 +a +b +ab", "sync 2 +a -b -ab"]);
}

/// Memory may lose the link a little later than the trace.
#[test]
fn a_trace_made_anew_between_two_cuts_inherits_no_link() {
    let (mut driver, shared, told) = two_linked();
    shared.remove('b');
    shared.put('b');
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 2 +b -ab"]);
}

/// A link of a trace that has no row is left out as well.
#[test]
fn links_come_with_a_trace_whose_row_is_taken_at_last() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    shared.put('b');
    shared.link('a', 'b');
    let refused = vec![(0, "the test refuses it".to_owned())];
    told.desk().applied = Applied { refused: refused.clone(), refused_links: refused, ..Applied::default() };
    assert!(driver.turn(Reach::Durable, Opening::Open));
    told.desk().applied = Applied::default();
    let letter = if shared.telemetry.lock().refused.contains_key(&id('a')) { 'a' } else { 'b' };
    shared.touch(letter);
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 +a +b +ab".to_owned(), format!("sync 2 +{letter} +ab")]);
}

/// Who holds off cuts has his errand done with what he writes.
#[test]
fn an_errand_sent_while_cuts_are_held_off_goes_with_the_next() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    let hold = shared.clock.hold();
    std::thread::scope(|scope| {
        let flusher = scope.spawn(|| driver.turn(Reach::Durable, Opening::Open));
        // It has begun, and waits.
        while shared.progress.owed().0 == 0 {
            std::thread::yield_now();
        }
        (0..1_000).for_each(|_| std::thread::yield_now());
        erase(&shared, TraceType::Sensory);
        drop(hold);
        assert!(flusher.join().is_ok_and(|done| done));
    });
    assert_eq!(told.calls(), ["sync 1 erase +a"]);
}

#[test]
fn a_link_that_came_and_went_since_its_row_was_deleted_sends_nothing() {
    let (mut driver, shared, told) = two_linked();
    shared.unlink('a', 'b');
    let writer = shared.clone();
    told.next(Turn::Meanwhile(Box::new(move || writer.link('a', 'b'))));
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 2 -ab"]);
    shared.unlink('a', 'b');
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert!(told.calls().is_empty());
}

#[test]
fn what_each_flush_did_is_reported_and_added_up() {
    let (mut driver, shared, told) = driver(NEVER);
    told.desk().applied = Applied {
        upserted: 2,
        updated: 3,
        deleted: 5,
        payload_bytes: 7,
        refused: vec![(0, "the test refuses it".to_owned())],
        links_upserted: 11,
        links_deleted: 13,
        refused_links: vec![(0, "and this".to_owned()), (0, "twice".to_owned())],
        ..Applied::default()
    };
    for round in 1..=2 {
        shared.put('a');
        assert!(driver.turn(Reach::Durable, Opening::Open));
        let report = shared.progress.report();
        let rows = [report.rows_upserted, report.rows_updated, report.rows_deleted, report.rows_refused];
        let rest = [report.links_upserted, report.links_deleted, report.payload_bytes_serialized];
        assert_eq!((report.watermark, rows, rest), (round, [2, 3, 5, 3], [11, 13, 7]));
        let counters = shared.telemetry.lock();
        let rows = [counters.rows_upserted, counters.rows_updated, counters.rows_deleted];
        let rest = [counters.links_upserted, counters.links_deleted, counters.payload_bytes_serialized];
        assert_eq!((rows, rest), ([2, 3, 5].map(|n| n * round), [11, 13, 7].map(|n| n * round)));
        let set_aside = counters.refused.get(&id('a')).map(|row| (u64::from(row.times), row.reason.clone()));
        assert_eq!(set_aside, Some((round, "the test refuses it".to_owned())));
    }
    told.desk().applied = Applied::default();
    shared.touch('a');
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert!(shared.telemetry.lock().refused.is_empty(), "the backend takes it now");
}

#[test]
fn what_is_behind_is_told_from_the_cut_to_the_commit() {
    let (mut driver, shared, told) = two_linked();
    assert_eq!((shared.dirty(), shared.oldest_age()), (0, None));
    let before = Instant::now();
    shared.touch('a');
    shared.put('c');
    shared.link('a', 'c');
    let (seen, since) = (shared.clone(), shared.clock.enter().first_write());
    told.next(Turn::Meanwhile(Box::new(move || {
        assert_eq!((seen.dirty(), seen.progress.owed()), (3, (3, since)));
        seen.touch('a');
        assert_eq!(seen.dirty(), 4);
        assert!(seen.oldest_age().is_some_and(|age| age <= before.elapsed()));
    })));
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(driver.turn(Reach::Durable, Opening::Open), "{:?}", shared.telemetry.present_error());
    assert_eq!((shared.dirty(), shared.progress.owed()), (1, (0, None)));
    let since = shared.clock.enter().first_write();
    assert!(!driver.turn(Reach::Durable, Opening::Open));
    shared.put('d');
    assert_eq!((shared.dirty(), shared.progress.owed()), (2, (1, since)));
    assert_eq!(shared.telemetry.sequence(), 6, "two steps for each turn");
    assert_eq!(shared.telemetry.lock().cuts, 3);
}

#[test]
fn a_close_drains_and_ends() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    shared.progress.start_closing();
    let writer = shared.clone();
    told.next(Turn::Meanwhile(Box::new(move || writer.put('b'))));
    told.desk().wal_bytes = 9;
    assert!(driver.close());
    assert_eq!(told.calls(), ["sync 1 +a", "sync 2 +b", "close 2"]);
    assert!(shared.progress.is_closed() && shared.clock.enter().is_sealed());
    assert_eq!((shared.health(), shared.telemetry.lock().wal_bytes), (Health::Closed, 0));
}

#[test]
fn a_close_that_nobody_waits_for_goes_on_with_a_reopened_backend() {
    let (mut driver, shared, told) = two_linked();
    let eraser = shared.clone();
    told.next(Turn::Meanwhile(Box::new(move || drop(erase(&eraser, TraceType::Sensory)))));
    assert!(!driver.close() && !shared.progress.is_closed());
    assert_eq!(name(&driver), "commit", "what came too late for the close is owed");
    shared.touch('a');
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["close 3", "reopen", "sync 5 erase ~a"]);
}

#[test]
fn a_close_whose_last_drain_or_end_fails_goes_on() {
    for fails in ["drain", "end"] {
        let (mut driver, shared, told) = driver(NEVER);
        shared.put('a');
        shared.progress.start_closing();
        let writer = shared.clone();
        told.next(Turn::Meanwhile(Box::new(move || writer.put('b'))));
        if fails == "end" {
            told.next(Turn::Meanwhile(Box::new(|| ())));
        }
        told.next(Turn::Fail(ErrorClass::Full));
        assert!(!driver.close() && !shared.progress.is_closed());
        shared.put('c');
        let failed = told.calls();
        assert!(driver.close() && shared.progress.is_closed(), "the next goes through");
        let (tried, again) = match fails {
            "drain" => (vec!["sync 1 +a", "sync 2 +b"], vec!["sync 4 +b +c", "close 5"]),
            _ => (vec!["sync 1 +a", "sync 2 +b", "close 2"], vec!["sync 4 +c", "close 5"]),
        };
        assert_eq!(
            (failed, told.calls()),
            (
                tried.iter().map(ToString::to_string).collect(),
                again.iter().map(ToString::to_string).collect()
            )
        );
        assert!(shared.telemetry.trouble().is_none(), "and its trouble is over");
    }
}

#[test]
fn a_backend_in_doubt_is_neither_tidied_nor_ended() {
    for class in [ErrorClass::Io, ErrorClass::Corrupt] {
        let (mut driver, shared, told) = two_linked();
        shared.progress.start_closing();
        // After the first drain, which the second mends, and after the second.
        told.desk().tidying_fails = [class, class].into();
        assert!(!driver.close());
        let mend = if class == ErrorClass::Io { vec!["reopen"] } else { vec!["replace", "sync 3 +a +b +ab"] };
        assert_eq!(told.calls(), mend);
        assert!(driver.tidy(true), "nothing to come back for");
        assert!(told.calls().is_empty());
        assert!(shared.telemetry.trouble().is_some());
    }
}

#[test]
fn a_log_that_is_left_is_worth_another_try() {
    let (mut driver, shared, told) = driver(NEVER);
    for (wal_bytes, synced, done) in [(0, false, true), (9, false, false), (9, true, true), (0, true, true)] {
        told.desk().wal_bytes = wal_bytes;
        told.desk().synced_by_tidying = synced;
        assert_eq!(driver.tidy(true), done, "{wal_bytes} bytes, synced: {synced}");
        assert_eq!(shared.telemetry.lock().wal_bytes, wal_bytes);
    }
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(driver.tidy(true), "it is tried again as a failure is");
}

/// Each step's trouble is its own: a commit that succeeds says nothing of the housekeeping.
#[test]
fn trouble_ends_with_the_success_of_the_step_that_failed() {
    let (mut driver, shared, told) = driver(NEVER);
    told.next(Turn::Fail(ErrorClass::Full));
    driver.tidy(true);
    shared.put('a');
    // The housekeeping after this commit fails as well.
    told.desk().tidying_fails.push_back(ErrorClass::Full);
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert!(matches!(shared.health(), Health::Degraded { attempts: 2, .. }), "{:?}", shared.health());
    assert!(driver.tidy(true));
    assert_eq!((shared.health(), driver.is_failing(), driver.is_behind()), (Health::Healthy, false, false));
    assert!(shared.telemetry.present_error().is_none() && shared.telemetry.lock().last_error.is_some());
}

/// The next job; of a sleep, how long.
fn job(driver: &Driver, tidied: bool) -> (&'static str, Duration) {
    match next_job(driver, tidied) {
        Job::Flush(Reach::Durable) => ("sync", Duration::ZERO),
        Job::Flush(Reach::Committed) => ("commit", Duration::ZERO),
        Job::Close => ("close", Duration::ZERO),
        Job::Tidy => ("tidy", Duration::ZERO),
        Job::Sleep(time) => ("sleep", time),
    }
}

fn name(driver: &Driver) -> &'static str {
    job(driver, true).0
}

#[test]
fn a_change_waits_for_the_interval_or_the_threshold() {
    let with = |interval, threshold| driver(FlushOptions { interval, threshold, ..NEVER });
    let hour = Duration::from_secs(3600);
    let (idle, shared, _) = with(hour, 2);
    assert_eq!(job(&idle, false), ("sleep", super::IDLE_AFTER), "to look whether it is idle by then");
    shared.put('a');
    let (job, time) = job(&idle, false);
    assert!(job == "sleep" && time <= hour && time > hour - Duration::from_secs(600), "{job} {time:?}");
    shared.put('b');
    assert_eq!(name(&idle), "commit");
    let (idle, shared, _) = with(Duration::ZERO, usize::MAX);
    assert_eq!(super::tests::job(&idle, true), ("sleep", Duration::ZERO));
    shared.put('a');
    assert_eq!(name(&idle), "commit");
}

#[test]
fn who_asks_is_served_at_once_unless_it_is_mere_contention() {
    for (class, served) in [(ErrorClass::Full, "sync"), (ErrorClass::Busy, "sleep")] {
        let (mut driver, shared, told) = driver(NEVER);
        shared.put('a');
        assert!(shared.progress.request(1).is_ok());
        assert_eq!(name(&driver), "sync");
        told.next(Turn::Fail(class));
        assert!(!driver.turn(Reach::Durable, Opening::Open));
        let (job, time) = job(&driver, true);
        assert!(
            job == "sleep" && time > Duration::ZERO && time <= Duration::from_millis(1250),
            "{job} {time:?}"
        );
        assert_eq!(driver.is_failing(), class == ErrorClass::Full);
        let error = shared.telemetry.present_error();
        assert_eq!(error.map(|error| error.kind()), Some(class.into()), "whether it counts or not");
        assert!(shared.progress.request(2).is_ok());
        assert_eq!(name(&driver), served);
        erase(&shared, TraceType::Sensory);
        assert_eq!(name(&driver), if served == "sync" { "sync" } else { "commit" }, "errands don't wait");
    }
}

/// A write that was seen coming and did not come, and a close that was taken back, leave a mark beyond what is committed
/// and nothing that would ever make it so.
#[test]
fn a_mark_that_nothing_else_would_reach_is_reached() {
    let (mut driver, shared, _) = driver(NEVER);
    assert!(shared.progress.goal(1).is_ok(), "the open generation");
    assert_eq!(name(&driver), "commit");
    assert!(driver.turn(Reach::Committed, Opening::Open));
    assert_eq!(name(&driver), "sleep");
    // Where something is dirty, the interval decides.
    shared.put('a');
    assert!(shared.progress.goal(2).is_ok());
    assert_eq!(name(&driver), "sleep");
}

#[test]
fn a_failure_is_tried_again_without_being_asked() {
    // Of a commit, and of housekeeping, after which nothing is owed.
    for owes in [true, false] {
        let (mut driver, shared, told) = driver(NEVER);
        told.next(Turn::Fail(ErrorClass::Busy));
        if owes {
            shared.put('a');
            assert!(!driver.turn(Reach::Committed, Opening::Open));
        } else {
            driver.tidy(true);
        }
        assert_eq!(name(&driver), "sleep");
        while name(&driver) == "sleep" {
            std::thread::yield_now();
        }
        assert_eq!(name(&driver), "commit");
        assert!(driver.is_behind() && driver.retry_at().is_some_and(|at| at <= Instant::now()));
    }
}

#[test]
fn a_close_is_tried_when_it_is_asked_for_and_when_a_retry_is_due() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    shared.progress.start_closing();
    assert_eq!((name(&driver), name(&driver)), ("close", "close"));
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(!driver.close());
    assert_eq!(name(&driver), "sleep");
    shared.progress.start_closing();
    assert_eq!((name(&driver), name(&driver)), ("close", "sleep"));
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(name(&driver), "close");
}

#[test]
fn health_tells_the_worst() -> Outcome {
    let (patient, shared, _) = driver(FlushOptions { refuse_when_lagging: true, ..NEVER });
    shared.put('a');
    shared.admit()?;
    assert_eq!(shared.health(), Health::Healthy, "its time has not come");
    drop(patient);
    let bound = Duration::from_millis(1);
    let (mut driver, shared, told) =
        driver(FlushOptions { lag_bound: bound, refuse_when_lagging: true, ..NEVER });
    assert_eq!(shared.health(), Health::Healthy);
    shared.put('a');
    while shared.health() == Health::Healthy {
        std::thread::yield_now();
    }
    assert!(matches!(shared.health(), Health::Lagging { oldest } if oldest > bound));
    let refused = shared.admit().err().ok_or("it lags")?;
    assert_eq!(refused.kind(), crate::ErrorKind::Lagging);
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(!driver.turn(Reach::Durable, Opening::Open));
    assert!(matches!(
        shared.health(),
        Health::Degraded { kind: crate::ErrorKind::DiskFull, attempts: 1, .. }
    ));
    assert!(shared.admit().is_err(), "it lags all the same");
    assert!(driver.turn(Reach::Durable, Opening::Open));
    shared.admit()?;
    assert_eq!(shared.health(), Health::Healthy);
    Ok(())
}

#[test]
fn a_flush_that_failed_is_told_to_who_waits() -> Outcome {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    let goal = shared.progress.request(1).map_err(|_| "it is not durable")?;
    told.next(Turn::Fail(ErrorClass::Full));
    driver.turn(Reach::Durable, Opening::Open);
    let Wait::<_, Error>::Failed(error) = shared.progress.wait(goal) else { return Err("it failed".into()) };
    assert_eq!(error.kind(), crate::ErrorKind::DiskFull);
    Ok(())
}

#[test]
fn an_unreadable_row_is_listed_until_it_is_erased() {
    let row = |letter: Option<char>, is_link| Quarantined {
        id: letter.map(id),
        is_link,
        reason: "unreadable".to_owned(),
        times: 1,
    };
    let all = [row(Some('a'), false), row(Some('a'), true), row(Some('b'), false), row(None, false)];
    let left_after = |erased_ids: &[char], erased_links: &[char]| {
        let (_driver, shared, _) = driver(NEVER);
        shared.telemetry.lock().unreadable.extend(all.clone());
        let [erased_ids, erased_links] =
            [erased_ids, erased_links].map(|letters| letters.iter().copied().map(id).collect());
        shared.telemetry.erased(&Applied { erased_ids, erased_links, ..Applied::default() });
        let left = shared.telemetry.lock().unreadable.clone();
        all.iter().map(|row| left.contains(row)).collect::<Vec<_>>()
    };
    assert_eq!(left_after(&[], &[]), [true; 4]);
    assert_eq!(left_after(&['a'], &[]), [false, true, true, true]);
    assert_eq!(left_after(&[], &['a']), [true, false, true, true]);
    assert_eq!(left_after(&['b'], &['a']), [true, false, false, true]);
}

/// The rows of loaded traces and links are known to be there.
#[test]
fn what_was_loaded_is_deleted_when_it_is_removed() -> Outcome {
    let (mut driver, shared, told) = driver(NEVER);
    let built = [('a', 1), ('b', 2)].map(|(letter, row)| {
        let trace = NewTrace::semantic(serde_json::json!(1)).id(id(letter)).into_trace();
        trace.map(|trace| {
            let known = super::Row::stored(row, &trace);
            shared.traces.load(id(letter), Arc::new(trace), known)
        })
    });
    assert!(built.into_iter().all(|loaded| loaded.is_ok_and(|loaded| loaded)));
    let ends = Ends::of(id('a'), id('b')).ok_or("two")?;
    let births = ends.both().map(|id| shared.traces.get(&id).map(|trace| trace.birth()));
    let [Some(first), Some(second)] = births else { return Err("they are there".into()) };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let tie = Tie { link: Link::new((id('a'), id('b')), 1, now, now)?, births: [first, second] };
    assert!(shared.links.load(ends, Arc::new(tie), LinkRow::STORED));
    assert_eq!((shared.dirty(), shared.entries()), (0, (2, 1)));
    shared.touch('a');
    shared.remove('b');
    // Its links are captured with it, though their own removal is not in this cut.
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 -b ~a -ab"]);
    let rows: BTreeSet<_> = shared.links.entries().iter().map(|entry| *entry.key()).collect();
    assert_eq!(rows, BTreeSet::from([ends]), "it has not been removed from memory");
    Ok(())
}
