//! Threads that do what comes to their minds, and note what they were answered.

use super::checker::{History, Timed};
use super::model::{Call, KEYS, Outcome, PAIRS, State, Step, held};
use harness::Rng;
use mnemon::{ErrorKind, NewTrace, Result, TraceEdit, TraceId, TraceStore};
use rusqlite::{Connection, OptionalExtension};
use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

pub const THREADS: usize = 3;
const CALLS: usize = 40;

/// Whether the histories had what makes them hard: all of it must have come up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    pub calls: u64,
    pub conflicts: u64,
    pub retries: u64,
    pub absent: u64,
    pub refused: u64,
    pub files: u64,
    pub counts: u64,
    pub groups: u64,
    pub failed_groups: u64,
}

/// The ids of one history, and its clock: numbers, each given out once. That orders memory more than clocks of
/// the machine would, and tells for sure what came after what.
pub struct Round {
    pub ids: [TraceId; KEYS],
    time: AtomicU64,
    values: AtomicU64,
}

impl Round {
    pub fn new() -> Self {
        Self { ids: [(); KEYS].map(|()| TraceId::new()), time: AtomicU64::new(0), values: AtomicU64::new(1) }
    }

    fn now(&self) -> u64 {
        self.time.fetch_add(1, Ordering::SeqCst)
    }

    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    /// All that a reader of the file sees of these ids, at one moment.
    fn file(&self, reader: &Connection) -> rusqlite::Result<State> {
        let view = reader.unchecked_transaction()?;
        let mut state = State::default();
        for (id, trace) in self.ids.iter().zip(&mut state.traces) {
            let sql = "SELECT payload, revision FROM traces WHERE id = ?1";
            let row = view.query_row(sql, [id.as_bytes()], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
            });
            *trace =
                row.optional()?.map(|(payload, revision)| (payload.parse().unwrap_or(u64::MAX), revision));
        }
        for (pair, count) in PAIRS.iter().zip(&mut state.links) {
            let mut ends = pair.map(|key| *self.ids[key].as_bytes());
            ends.sort_unstable();
            let sql = "SELECT count FROM links WHERE a = ?1 AND b = ?2";
            let row = view.query_row(sql, ends, |row| row.get(0));
            *count = row.optional()?.unwrap_or(0);
        }
        Ok(state)
    }

    /// What all threads do with the store; the first of them closes it in the end, if it is to be closed.
    pub fn run(
        &self,
        store: &TraceStore,
        readers: &mut [Connection],
        seed: u64,
        close: bool,
        history: &mut History<Call>,
    ) -> Came {
        let begin = Barrier::new(THREADS);
        thread::scope(|scope| {
            let workers: Vec<_> = history
                .iter_mut()
                .zip(readers)
                .enumerate()
                .map(|(thread, (calls, reader))| {
                    let (store, begin) = (store.clone(), &begin);
                    scope.spawn(move || {
                        let rng = Rng::with_seed(seed.wrapping_mul(31).wrapping_add(thread as u64));
                        let mut hand = Hand {
                            round: self,
                            store,
                            reader,
                            rng,
                            revisions: [1; KEYS],
                            pair: None,
                            came: Came::default(),
                        };
                        begin.wait();
                        for n in 0..CALLS {
                            // The closing one is done early, so that the others find the store closed.
                            if thread == 0 && close && n == CALLS / 2 {
                                calls.extend(hand.note(|hand| {
                                    hand.store.clone().close().map_err(|failed| failed.error)?;
                                    hand.look()
                                }));
                                break;
                            }
                            calls.extend(hand.note(Hand::anything));
                        }
                        hand.came
                    })
                })
                .collect();
            let came = workers.into_iter().map(|worker| worker.join().expect("no thread panics"));
            came.fold(Came::default(), Came::and)
        })
    }
}

impl Came {
    pub fn and(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            conflicts: self.conflicts + other.conflicts,
            retries: self.retries + other.retries,
            absent: self.absent + other.absent,
            refused: self.refused + other.refused,
            files: self.files + other.files,
            counts: self.counts + other.counts,
            groups: self.groups + other.groups,
            failed_groups: self.failed_groups + other.failed_groups,
        }
    }
}

/// One thread.
struct Hand<'a> {
    round: &'a Round,
    store: TraceStore,
    reader: &'a mut Connection,
    rng: Rng,
    /// The last revision that it knows of each trace.
    revisions: [u64; KEYS],
    /// Of the co-activation that is going on.
    pair: Option<usize>,
    came: Came,
}

impl Hand<'_> {
    fn note(&mut self, call: impl FnOnce(&mut Self) -> Result<Call>) -> Vec<Timed<Call>> {
        if self.rng.u8(..3) == 0 {
            thread::yield_now();
        }
        let start = self.round.now();
        let call = match call(self) {
            Ok(call) => call,
            Err(error) if error.kind() == ErrorKind::Closed => Call::Refused,
            Err(error) => panic!("{error:?}"),
        };
        let end = self.round.now();
        self.came.calls += 1;
        match &call {
            Call::CompareAndSet { outcome: Outcome::Conflict, .. } => self.came.conflicts += 1,
            Call::Update { done: None, .. } | Call::CoActivate { count: None, .. } => self.came.absent += 1,
            Call::Refused => self.came.refused += 1,
            Call::File(_) => self.came.files += 1,
            Call::CoActivate { count: Some(2..), .. } => self.came.counts += 1,
            Call::Group { failed: None, .. } => self.came.groups += 1,
            Call::Group { .. } => self.came.failed_groups += 1,
            _ => {}
        }
        let early = self.pair.take().map(|pair| Timed { start, end, call: Call::Early { pair } });
        early.into_iter().chain([Timed { start, end, call }]).collect()
    }

    fn anything(&mut self) -> Result<Call> {
        let (key, pair) = (self.rng.usize(..KEYS), self.rng.usize(..PAIRS.len()));
        let (id, [a, b]) = (self.round.ids[key], PAIRS[pair].map(|key| self.round.ids[key]));
        let missing =
            |kind| move |error: mnemon::Error| if error.kind() == kind { Ok(None) } else { Err(error) };
        match self.rng.u8(..125) {
            100.. => self.group(pair),
            0..18 => {
                let value = self.round.value();
                let done = self.store.insert(NewTrace::semantic(serde_json::json!(value)).id(id)).map(Some);
                let done = done.or_else(missing(ErrorKind::AlreadyExists))?.is_some();
                Ok(Call::Insert { key, value, done })
            }
            18..38 => {
                let (value, mut saw, slowly) = (self.round.value(), (0, 0), self.rng.bool());
                let mut runs = 0;
                let changed = self.store.update(id, |edit| {
                    runs += 1;
                    saw = held(edit.before());
                    put(edit, value, slowly)
                })?;
                self.came.retries += u64::from(runs > 1);
                self.revisions[key] = changed.as_ref().map_or(1, |trace| trace.revision());
                Ok(Call::Update { key, value, done: changed.map(|trace| (saw, answered(&trace, value))) })
            }
            38..53 => {
                let (value, mut saw, slowly) = (self.round.value(), (0, 0), self.rng.bool());
                let revision = self.revisions[key];
                let done = self.store.update_if(id, revision, |edit| {
                    saw = held(edit.before());
                    put(edit, value, slowly)
                });
                let outcome = match done {
                    Ok(Some(trace)) => {
                        self.revisions[key] = trace.revision();
                        Outcome::Done { saw, revision: answered(&trace, value) }
                    }
                    Ok(None) => Outcome::Absent,
                    Err(error) if error.kind() == ErrorKind::RevisionConflict => Outcome::Conflict,
                    Err(error) => return Err(error),
                };
                Ok(Call::CompareAndSet { key, revision, value, outcome })
            }
            53..63 => Ok(Call::Remove { key, gone: self.store.remove(id)?.map(|trace| held(&trace)) }),
            63..77 => {
                let found = self.store.get(id).map(|trace| held(&trace));
                self.revisions[key] = found.map_or(1, |(_, revision)| revision);
                Ok(Call::Get { key, found })
            }
            77..89 => {
                self.pair = Some(pair);
                let done = self.store.co_activate(a, b).map(|done| Some(done.count()));
                Ok(Call::CoActivate { pair, count: done.or_else(missing_count)? })
            }
            89..94 => Ok(Call::Link { pair, count: self.store.link(a, b).map_or(0, |link| link.count()) }),
            94..100 => {
                self.store.flush()?;
                self.look()
            }
        }
    }

    fn group(&mut self, pair: usize) -> Result<Call> {
        let mut keys = PAIRS[pair];
        if self.rng.bool() {
            keys.reverse();
        }
        let link = self.rng.u8(..3) == 0;
        let mut steps = keys.map(|key| {
            let (value, revision) = (self.round.value(), self.revisions[key]);
            match self.rng.u8(..8) {
                0 | 1 => Step::Insert { key, value },
                2..5 => Step::Update { key, value, saw: (0, 0) },
                5 => Step::CompareAndSet { key, revision, value },
                6 => Step::Expect { key, revision },
                _ => Step::Remove { key },
            }
        });
        let saws = [Cell::new((0, 0)), Cell::new((0, 0))];
        let ids = self.round.ids;
        let slowly = self.rng.bool();
        let done = self.store.apply(|group| {
            for (step, saw) in steps.iter().zip(&saws) {
                match *step {
                    Step::Insert { key, value } => {
                        group.insert(NewTrace::semantic(serde_json::json!(value)).id(ids[key]))?;
                    }
                    Step::Update { key, value, .. } => group.update(ids[key], move |edit| {
                        saw.set(held(edit.before()));
                        put(edit, value, slowly)
                    }),
                    Step::CompareAndSet { key, revision, value } => {
                        group.update_if(ids[key], revision, move |edit| put(edit, value, slowly));
                    }
                    Step::Expect { key, revision } => group.expect(ids[key], revision),
                    Step::Remove { key } => group.remove(ids[key]),
                }
            }
            if link {
                group.link(ids[keys[0]], ids[keys[1]]);
            }
            Ok(())
        });
        for (step, saw) in steps.iter_mut().zip(&saws) {
            if let Step::Update { saw: seen, .. } = step {
                *seen = saw.get();
            }
        }
        let failed = match done.map_err(|error| error.kind()) {
            Ok(()) => None,
            Err(ErrorKind::Closed) => return Ok(Call::Refused),
            Err(kind) => Some(kind),
        };
        Ok(Call::Group { pair, steps, link, failed })
    }

    fn look(&mut self) -> Result<Call> {
        Ok(Call::File(self.round.file(self.reader).expect("the file can be read")))
    }
}

fn missing_count(error: mnemon::Error) -> Result<Option<u32>> {
    if error.kind() == ErrorKind::NotFound { Ok(None) } else { Err(error) }
}

/// The change, in a closure that may take its time.
fn put(edit: TraceEdit<'_>, value: u64, slowly: bool) -> TraceEdit<'_> {
    if slowly {
        thread::yield_now();
    }
    edit.payload(serde_json::json!(value))
}

/// The revision answered, with the value that was put.
fn answered(trace: &mnemon::Trace, value: u64) -> u64 {
    let (put, revision) = held(trace);
    if put == value { revision } else { u64::MAX }
}
