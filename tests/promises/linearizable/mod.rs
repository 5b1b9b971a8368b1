//! Histories of several threads over a few traces can be told as histories of one thread: every answer of the
//! store is what one thread would have got at one moment between the call and the return. And what is in the file
//! after a flush is a causally closed cut: it holds all that ended before the flush began, and with a call all that
//! ended before that one began, traces and links alike.
//!
//! `MNEMON_HISTORIES=20000 cargo test --release --test linearizable -- --nocapture` for a long run.
#![cfg(feature = "sqlite")]

mod checker;
mod model;
mod record;
use checker::{History, Sight, Timed, check};
use harness::{TestDir, flush_always, manual_flush};
use mnemon::ErrorKind;
use model::{Call, Held, Moment, Outcome, State, Step};
use record::{Came, Round, THREADS};
use rusqlite::Connection;
use std::io::Write;

fn explained(history: &History<Call>) -> Result<(), String> {
    let (mut sights, mut others) = (Vec::new(), Vec::new());
    for calls in history {
        let (looks, calls): (Vec<_>, Vec<_>) =
            calls.iter().cloned().partition(|timed| matches!(timed.call, Call::File(_)));
        others.push(calls);
        sights.extend(looks.into_iter().filter_map(|Timed { start, end, call }| match call {
            Call::File(shown) => Some(Sight { start, end, shown }),
            _ => None,
        }));
    }
    check(Moment::default(), &others, Moment::step, &sights, |moment, shown| moment.seen == *shown)
}

#[test]
fn every_history_is_linearizable() -> harness::Outcome {
    let histories = std::env::var("MNEMON_HISTORIES").map_or(Ok(300), |count| count.parse::<u64>())?;
    let file = TestDir::new()?;
    let mut store = flush_always().open(file.path())?;
    let mut readers = (0..THREADS).map(|_| file.reader()).collect::<harness::Outcome<Vec<Connection>>>()?;
    let mut came = Came::default();
    for seed in 0..histories {
        let round = Round::new();
        let mut history: History<Call> = vec![Vec::new(); THREADS];
        // One in four has the store closed under the threads' hands, and opened again.
        if seed % 4 == 0 {
            came = came.and(round.run(&store, &mut readers, seed, true, &mut history));
            store = if seed % 8 == 0 {
                manual_flush().open(file.path())?
            } else {
                flush_always().open(file.path())?
            };
        }
        came = came.and(round.run(&store, &mut readers, !seed, false, &mut history));
        // Or each opening would load all that there ever was.
        round.ids.iter().try_for_each(|id| store.remove(*id).map(drop))?;
        explained(&history).map_err(|stuck| format!("history {seed}: {stuck}\n{history:#?}"))?;
        spoil(&mut history);
        assert!(explained(&history).is_err(), "with a value that nobody wrote: {history:#?}");
    }
    writeln!(std::io::stderr(), "{histories} histories, all explained: {came:?}")?;
    let Came { calls, conflicts, retries, absent, refused, files, counts, groups, failed_groups } = came;
    if histories >= 300 {
        let hard = [calls, conflicts, retries, absent, refused, files, counts, groups, failed_groups];
        assert!(!hard.contains(&0), "not all that makes it hard has come up: {came:?}");
    }
    Ok(())
}

/// Makes one answer wrong.
fn spoil(history: &mut History<Call>) {
    let looks = history.iter_mut().flatten().filter_map(|timed| match &mut timed.call {
        Call::Get { found, .. } => Some(found),
        _ => None,
    });
    *looks.last().expect("somebody has looked") = Some((u64::MAX, 1));
}

const A: usize = 0;
const B: usize = 1;

fn at(start: u64, end: u64, call: Call) -> Timed<Call> {
    Timed { start, end, call }
}

fn insert(key: usize, value: u64) -> Call {
    Call::Insert { key, value, done: true }
}

fn update(key: usize, value: u64, saw: Held) -> Call {
    Call::Update { key, value, done: Some((saw, saw.1 + 1)) }
}

fn set(key: usize, value: u64, revision: u64, saw: Held) -> Call {
    Call::CompareAndSet { key, revision, value, outcome: Outcome::Done { saw, revision: saw.1 + 1 } }
}

fn get(key: usize, found: Option<Held>) -> Call {
    Call::Get { key, found }
}

fn group(steps: [Step; 2], failed: Option<ErrorKind>) -> Call {
    Call::Group { pair: 0, steps, link: false, failed }
}

/// Both traces updated from their first values.
fn both_updated() -> Call {
    let step = |key, value, saw| Step::Update { key, value, saw };
    group([step(A, 3, (1, 1)), step(B, 4, (2, 1))], None)
}

fn file(a: Option<Held>, b: Option<Held>, count: u32) -> Call {
    Call::File(State { traces: [a, b, None], links: [count, 0, 0] })
}

/// Each is a history that could be, beside one that could not.
#[test]
fn the_checker_tells_right_from_wrong() {
    let both = || vec![at(0, 1, insert(A, 1)), at(2, 3, insert(B, 2))];
    let then = |calls: Vec<Timed<Call>>| both().into_iter().chain(calls).collect::<Vec<_>>();
    let link = |count| Call::CoActivate { pair: 0, count: Some(count) };
    let remove = |key, gone| Call::Remove { key, gone: Some(gone) };
    let cases: Vec<(&str, History<Call>, History<Call>)> = vec![
        (
            "of two changes at once one sees the other",
            vec![then(vec![at(4, 7, update(A, 3, (1, 1)))]), vec![at(5, 6, update(A, 4, (3, 2)))]],
            vec![then(vec![at(4, 7, update(A, 3, (1, 1)))]), vec![at(5, 6, update(A, 4, (1, 1)))]],
        ),
        (
            "who looks after a change has ended sees it",
            vec![then(vec![at(4, 6, update(A, 3, (1, 1)))]), vec![at(5, 7, get(A, Some((1, 1))))]],
            vec![then(vec![at(4, 5, update(A, 3, (1, 1)))]), vec![at(6, 7, get(A, Some((1, 1))))]],
        ),
        (
            "nobody sees the old value after the new",
            vec![
                then(vec![at(4, 12, update(A, 3, (1, 1)))]),
                vec![at(5, 6, get(A, Some((1, 1))))],
                vec![at(7, 8, get(A, Some((3, 2))))],
            ],
            vec![
                then(vec![at(4, 12, update(A, 3, (1, 1)))]),
                vec![at(5, 6, get(A, Some((3, 2))))],
                vec![at(7, 8, get(A, Some((1, 1))))],
            ],
        ),
        (
            "compare-and-set compares",
            vec![then(vec![at(4, 5, set(A, 3, 1, (1, 1)))])],
            vec![then(vec![at(4, 5, set(A, 3, 2, (1, 1)))])],
        ),
        (
            "a conflict has a cause",
            vec![then(vec![at(4, 5, conflict(A, 2))])],
            vec![then(vec![at(4, 5, conflict(A, 1))])],
        ),
        (
            "an id is inserted once, and again when it is free",
            vec![then(vec![at(4, 5, remove(A, (1, 1))), at(6, 7, insert(A, 3))])],
            vec![then(vec![at(4, 5, insert(A, 3))])],
        ),
        (
            "what is removed is gone",
            vec![then(vec![at(4, 5, remove(A, (1, 1))), at(6, 7, get(A, None))])],
            vec![then(vec![at(4, 5, remove(A, (1, 1))), at(6, 7, get(A, Some((1, 1))))])],
        ),
        (
            "a flush has what ended before it, and may have what did not",
            vec![
                then(vec![at(4, 8, update(B, 3, (2, 1)))]),
                vec![at(5, 7, file(Some((1, 1)), Some((3, 2)), 0))],
            ],
            vec![
                then(vec![at(4, 5, update(B, 3, (2, 1)))]),
                vec![at(6, 7, file(Some((1, 1)), Some((2, 1)), 0))],
            ],
        ),
        (
            "no effect is in the file without its cause",
            vec![
                then(vec![at(4, 5, update(A, 3, (1, 1))), at(6, 7, update(B, 4, (2, 1)))]),
                vec![at(3, 10, file(Some((3, 2)), Some((2, 1)), 0))],
            ],
            vec![
                then(vec![at(4, 5, update(A, 3, (1, 1))), at(6, 7, update(B, 4, (2, 1)))]),
                vec![at(3, 10, file(Some((1, 1)), Some((4, 2)), 0))],
            ],
        ),
        (
            "a cause that another thread has read is one too",
            vec![
                then(vec![at(4, 20, update(A, 3, (1, 1)))]),
                vec![at(5, 6, get(A, Some((3, 2)))), at(7, 8, update(B, 4, (2, 1)))],
                vec![at(3, 10, file(Some((3, 2)), Some((4, 2)), 0))],
            ],
            vec![
                then(vec![at(4, 20, update(A, 3, (1, 1)))]),
                vec![at(5, 6, get(A, Some((3, 2)))), at(7, 8, update(B, 4, (2, 1)))],
                vec![at(3, 10, file(Some((1, 1)), Some((4, 2)), 0))],
            ],
        ),
        (
            "each co-activation counts",
            vec![then(vec![at(4, 7, link(1))]), vec![at(5, 6, link(2))]],
            vec![then(vec![at(4, 7, link(1))]), vec![at(5, 6, link(1))]],
        ),
        (
            "a removal takes the links",
            vec![then(vec![
                at(4, 5, link(1)),
                at(6, 7, remove(A, (1, 1))),
                at(8, 9, insert(A, 3)),
                at(10, 11, file(Some((3, 1)), Some((2, 1)), 0)),
            ])],
            vec![then(vec![
                at(4, 5, link(1)),
                at(6, 7, remove(A, (1, 1))),
                at(8, 9, insert(A, 3)),
                at(10, 11, file(Some((3, 1)), Some((2, 1)), 1)),
            ])],
        ),
        (
            "who has seen a part of a group sees the rest",
            vec![
                then(vec![at(4, 20, both_updated())]),
                vec![at(5, 6, get(A, Some((3, 2)))), at(7, 8, get(B, Some((4, 2))))],
            ],
            vec![
                then(vec![at(4, 20, both_updated())]),
                vec![at(5, 6, get(A, Some((3, 2)))), at(7, 8, get(B, Some((2, 1))))],
            ],
        ),
        (
            "a cut has all of a group or none",
            vec![
                then(vec![at(4, 20, both_updated())]),
                vec![
                    at(5, 6, file(Some((1, 1)), Some((2, 1)), 0)),
                    at(7, 8, file(Some((3, 2)), Some((4, 2)), 0)),
                ],
            ],
            vec![then(vec![at(4, 20, both_updated())]), vec![at(5, 8, file(Some((3, 2)), Some((2, 1)), 0))]],
        ),
        (
            "a group that failed has changed nothing",
            vec![then(vec![at(4, 5, expecting(2)), at(6, 7, get(A, Some((1, 1))))])],
            vec![then(vec![at(4, 5, expecting(2)), at(6, 7, get(A, Some((3, 2))))])],
        ),
        (
            "a group fails for a reason",
            vec![then(vec![at(4, 5, expecting(2))])],
            vec![then(vec![at(4, 5, expecting(1))])],
        ),
        (
            "what is refused has not happened",
            vec![then(vec![at(4, 5, Call::Refused), at(6, 7, get(A, Some((1, 1))))])],
            vec![then(vec![at(4, 5, Call::Refused), at(6, 7, get(A, Some((3, 2))))])],
        ),
    ];
    let early = || at(4, 20, Call::Early { pair: 0 });
    let counted = |removed: bool| {
        let removal = if removed { remove(A, (1, 1)) } else { get(A, Some((1, 1))) };
        vec![
            then(vec![early(), at(4, 20, Call::CoActivate { pair: 0, count: None })]),
            vec![at(5, 7, file(Some((1, 1)), Some((2, 1)), 1)), at(8, 9, removal)],
        ]
    };
    assert_eq!(explained(&counted(true)), Ok(()), "who is overtaken by a removal may have counted before it");
    assert!(explained(&counted(false)).is_err(), "without a removal nobody starts again");
    for (what, right, wrong) in cases {
        assert_eq!(explained(&right), Ok(()), "{what}");
        assert!(explained(&wrong).is_err(), "{what}");
    }
}

fn conflict(key: usize, revision: u64) -> Call {
    Call::CompareAndSet { key, revision, value: 9, outcome: Outcome::Conflict }
}

/// A group that failed since the second trace has not the revision that it expects.
fn expecting(revision: u64) -> Call {
    let steps = [Step::Update { key: A, value: 3, saw: (1, 1) }, Step::Expect { key: B, revision }];
    group(steps, Some(ErrorKind::RevisionConflict))
}
