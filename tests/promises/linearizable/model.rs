//! What one thread alone would see: three traces, and how often each two of them were active together.

use super::record::THREADS;
use mnemon::{ErrorKind, Trace};

pub const KEYS: usize = 3;
/// Every two of them.
pub const PAIRS: [[usize; 2]; 3] = [[0, 1], [0, 2], [1, 2]];

/// What is told of a trace: the number in its payload, and its revision.
pub type Held = (u64, u64);

pub fn held(trace: &Trace) -> Held {
    (trace.payload().as_str().parse().unwrap_or(u64::MAX), trace.revision())
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    pub traces: [Option<Held>; KEYS],
    /// Counts; 0 where there is no link.
    pub links: [u32; PAIRS.len()],
}

/// What is true at a moment: what can be seen, and of each thread the pair that its call has counted too early.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Moment {
    pub seen: State,
    pub early: [Option<usize>; THREADS],
}

/// A call, with its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// Whether it took place; otherwise the trace was there.
    Insert {
        key: usize,
        value: u64,
        done: bool,
    },
    /// What the closure saw last, and the revision answered; `None` if there was no trace.
    Update {
        key: usize,
        value: u64,
        done: Option<(Held, u64)>,
    },
    CompareAndSet {
        key: usize,
        revision: u64,
        value: u64,
        outcome: Outcome,
    },
    Remove {
        key: usize,
        gone: Option<Held>,
    },
    Get {
        key: usize,
        found: Option<Held>,
    },
    /// Goes before each co-activation, with the same start and end. It may count for two traces one of which is
    /// removed before it returns; then it starts again with what is there instead.
    Early {
        pair: usize,
    },
    /// `None` if one of them was not there.
    CoActivate {
        pair: usize,
        count: Option<u32>,
    },
    Link {
        pair: usize,
        count: u32,
    },
    /// Two steps, and a co-activation of their two traces if `link`; the kind of error, if it failed.
    Group {
        pair: usize,
        steps: [Step; 2],
        link: bool,
        failed: Option<ErrorKind>,
    },
    /// A flush, or a close, and all that a reader of the file found after it: no moment of memory, but a cut.
    File(State),
    /// Something that the store refused, for it was closed.
    Refused,
}

/// A step of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Insert {
        key: usize,
        value: u64,
    },
    /// With what the closure saw last.
    Update {
        key: usize,
        value: u64,
        saw: Held,
    },
    CompareAndSet {
        key: usize,
        revision: u64,
        value: u64,
    },
    Expect {
        key: usize,
        revision: u64,
    },
    Remove {
        key: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Done { saw: Held, revision: u64 },
    Conflict,
    Absent,
}

impl Step {
    fn key(&self) -> usize {
        match *self {
            Step::Insert { key, .. }
            | Step::Update { key, .. }
            | Step::CompareAndSet { key, .. }
            | Step::Expect { key, .. }
            | Step::Remove { key } => key,
        }
    }
}

impl Moment {
    /// What a call of a thread may leave, if it can have had this answer.
    pub fn step(&self, thread: usize, call: &Call) -> Vec<Self> {
        match *call {
            Call::Early { pair } if self.seen.has_both(pair) => {
                let mut counted = *self;
                counted.seen.links[pair] += 1;
                counted.early[thread] = Some(pair);
                vec![*self, counted]
            }
            Call::Early { .. } => vec![*self],
            // What it counted too early is still there: it would not have started again.
            _ if self.early[thread].is_some() => Vec::new(),
            _ => self.seen.step(call).map(|seen| self.after(call, seen)).into_iter().collect(),
        }
    }

    fn after(&self, call: &Call, seen: State) -> Self {
        let mut early = self.early;
        let mut forget = |key| {
            for counted in &mut early {
                *counted = counted.filter(|pair: &usize| !PAIRS[*pair].contains(&key));
            }
        };
        match *call {
            Call::Remove { key, gone: Some(_) } => forget(key),
            Call::Group { steps, failed: None, .. } => {
                for step in steps {
                    if let Step::Remove { key } = step {
                        forget(key);
                    }
                }
            }
            _ => {}
        }
        Self { seen, early }
    }
}

impl State {
    /// What a call leaves, if it can have had this answer.
    fn step(&self, call: &Call) -> Option<Self> {
        let possible = match *call {
            Call::Insert { key, value, done } => {
                let free = self.traces[key].is_none();
                return (free == done).then(|| if done { self.with(key, Some((value, 1))) } else { *self });
            }
            Call::Update { key, value, done: Some((saw, revision)) }
            | Call::CompareAndSet { key, value, outcome: Outcome::Done { saw, revision }, .. } => {
                let asked = match *call {
                    Call::CompareAndSet { revision, .. } => revision,
                    _ => saw.1,
                };
                let right = self.traces[key] == Some(saw) && asked == saw.1 && revision == saw.1 + 1;
                return right.then(|| self.with(key, Some((value, revision))));
            }
            Call::Remove { key, gone } => {
                return (self.traces[key] == gone).then(|| self.with(key, None));
            }
            Call::CoActivate { pair, count: Some(count) } => {
                let right = self.has_both(pair) && count == self.links[pair] + 1;
                let mut after = *self;
                after.links[pair] = count;
                return right.then_some(after);
            }
            Call::Update { key, done: None, .. }
            | Call::CompareAndSet { key, outcome: Outcome::Absent, .. } => self.traces[key].is_none(),
            Call::CompareAndSet { key, revision, outcome: Outcome::Conflict, .. } => {
                self.traces[key].is_some_and(|(_, found)| found != revision)
            }
            Call::Get { key, found } => self.traces[key] == found,
            Call::CoActivate { pair, count: None } => !self.has_both(pair),
            Call::Group { pair, steps, link, failed: None } => {
                let mut after = self.take(&steps[0]).ok()?.take(&steps[1]).ok()?;
                if link {
                    after.links[pair] += 1;
                }
                let saw = |step: Step| match step {
                    Step::Update { key, saw, .. } => self.traces[key] == Some(saw),
                    _ => true,
                };
                return (steps.into_iter().all(saw) && (!link || after.has_both(pair))).then_some(after);
            }
            Call::Group { failed: Some(ErrorKind::Conflict), .. } => true,
            // The step that failed may have looked later than the one before it.
            Call::Group { pair, steps, link, failed: Some(kind) } => {
                let unlinked = || {
                    let is_there = |step: Step| match step {
                        Step::Remove { .. } => false,
                        Step::Insert { .. } => true,
                        Step::Update { key, .. }
                        | Step::CompareAndSet { key, .. }
                        | Step::Expect { key, .. } => self.traces[key].is_some(),
                    };
                    link && kind == ErrorKind::NotFound && !steps.into_iter().all(is_there)
                };
                debug_assert!(steps.iter().all(|step| PAIRS[pair].contains(&step.key())));
                steps.iter().any(|step| self.take(step).err() == Some(kind)) || unlinked()
            }
            Call::Link { pair, count } => self.links[pair] == count,
            Call::Refused | Call::Early { .. } | Call::File(_) => true,
        };
        possible.then_some(*self)
    }

    /// What a step leaves, or how it fails.
    fn take(&self, step: &Step) -> Result<Self, ErrorKind> {
        let key = step.key();
        let found = self.traces[key].ok_or(ErrorKind::NotFound);
        let next = |value: u64, (_, revision): Held| self.with(key, Some((value, revision + 1)));
        let has = |revision: u64| {
            found
                .and_then(|held| if held.1 == revision { Ok(held) } else { Err(ErrorKind::RevisionConflict) })
        };
        match *step {
            Step::Insert { value, .. } => match found {
                Ok(_) => Err(ErrorKind::AlreadyExists),
                Err(_) => Ok(self.with(key, Some((value, 1)))),
            },
            Step::Update { value, .. } => found.map(|held| next(value, held)),
            Step::CompareAndSet { revision, value, .. } => has(revision).map(|held| next(value, held)),
            Step::Expect { revision, .. } => has(revision).map(|_| *self),
            Step::Remove { .. } => found.map(|_| self.with(key, None)),
        }
    }

    fn has_both(&self, pair: usize) -> bool {
        PAIRS[pair].iter().all(|key| self.traces[*key].is_some())
    }

    fn with(&self, key: usize, held: Option<Held>) -> Self {
        let mut after = *self;
        after.traces[key] = held;
        for (pair, count) in PAIRS.iter().zip(&mut after.links) {
            if held.is_none() && pair.contains(&key) {
                *count = 0;
            }
        }
        after
    }
}
