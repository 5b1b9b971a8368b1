//! Groups: all of their changes or none, in memory and in each commit, whatever other threads do.

#[cfg(feature = "sqlite")]
use crate::OpenAt;
use harness::backend::{Answer, look, scripted};
use harness::{Outcome, Rng, State, flush_always, held, note};
use mnemon::backend::{LinkChange, TraceChange};
use mnemon::{ErrorKind, Group, NewTrace, Trace, TraceId, TraceStore};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

#[test]
fn steps_apply_in_order() -> Outcome {
    let store = TraceStore::in_memory();
    let [old, gone] = store.insert_many((0..2).map(note))?[..] else { unreachable!() };
    store.co_activate(old, gone)?;
    let new = store.apply(|group| {
        group.expect(old, 1);
        group.update(old, |trace| trace.tag("first"));
        group.update_if(old, 2, |trace| trace.tag("second"));
        let new = group.insert(note(3))?;
        group.update(new, |trace| trace.confidence(0.25));
        group.link(old, new);
        group.link(new, old);
        group.remove(gone);
        Ok(new)
    })?;
    let old = held(&store, old)?;
    assert_eq!((old.tags().collect::<Vec<_>>(), old.revision()), (vec!["first", "second"], 3));
    let new = held(&store, new)?;
    assert_eq!((new.confidence(), new.revision()), (0.25, 2));
    assert_eq!(store.link(old.id(), new.id()).map(|link| link.count()), Some(2));
    assert_eq!((store.len(), store.link_count(), store.contains(gone)), (2, 1, false));
    Ok(())
}

/// Also a trace that is changed by itself in between, and by a group that fails.
#[cfg(feature = "sqlite")]
#[test]
fn what_several_groups_change_is_dirty_once() -> Outcome {
    let scratch = harness::TestDir::new()?;
    let store = harness::manual_flush().open(scratch.path())?;
    let ids = store.insert_many((0..2).map(note))?;
    store.flush()?;
    for n in 1..4 {
        store.apply(|group| {
            ids.iter().for_each(|id| group.update(*id, |trace| trace.confidence(0.1 * f64::from(n))));
            group.link(ids[0], ids[1]);
            Ok(())
        })?;
        store.update(ids[0], |trace| trace.tag(format!("turn {n}")))?;
        let failed = store.apply(|group| {
            group.update(ids[0], |trace| trace.tag("not kept"));
            group.remove(TraceId::new());
            Ok(())
        });
        assert_eq!(failed.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
        assert_eq!(store.stats().dirty, 3, "two traces and a link, after {n} turns");
    }
    store.flush()?;
    assert_eq!(store.stats().dirty, 0);
    store.close()?;
    Ok(())
}

#[test]
fn failed_group_changes_nothing() -> Outcome {
    type Steps = for<'a> fn(&mut Group<'a>, [TraceId; 3]) -> mnemon::Result<()>;
    let cases: [(&str, ErrorKind, Steps); 10] = [
        ("updates what is not there", ErrorKind::NotFound, |group, [.., none]| {
            group.update(none, |trace| trace.tag("x"));
            Ok(())
        }),
        ("expects what is not there", ErrorKind::NotFound, |group, [.., none]| {
            group.expect(none, 1);
            Ok(())
        }),
        ("removes what is not there", ErrorKind::NotFound, |group, [.., none]| {
            group.remove(none);
            Ok(())
        }),
        ("removes a trace twice", ErrorKind::NotFound, |group, [_, b, _]| {
            group.remove(b);
            group.remove(b);
            Ok(())
        }),
        ("links what is not there", ErrorKind::NotFound, |group, [a, _, none]| {
            group.link(a, none);
            Ok(())
        }),
        ("links a trace to itself", ErrorKind::InvalidInput, |group, [a, ..]| {
            group.link(a, a);
            Ok(())
        }),
        ("inserts what is there", ErrorKind::AlreadyExists, |group, [_, b, _]| {
            group.insert(note(4).id(b)).map(drop)
        }),
        ("expects another revision", ErrorKind::RevisionConflict, |group, [_, b, _]| {
            group.expect(b, 2);
            Ok(())
        }),
        ("updates another revision", ErrorKind::RevisionConflict, |group, [_, b, _]| {
            group.update_if(b, 2, |trace| trace.tag("x"));
            Ok(())
        }),
        ("sets what is invalid", ErrorKind::InvalidInput, |group, [_, b, _]| {
            group.update(b, |trace| trace.confidence(2.0));
            Ok(())
        }),
    ];
    let store = TraceStore::in_memory();
    let [a, b] = store.insert_many((0..2).map(note))?[..] else { unreachable!() };
    store.co_activate(a, b)?;
    let before = State::of(&store);
    for (what, kind, steps) in cases {
        let done = store.apply(|group| {
            group.insert(note("new"))?;
            group.update(a, |trace| trace.tag("changed"));
            steps(group, [a, b, TraceId::new()])
        });
        assert_eq!(done.err().map(|error| error.kind()), Some(kind), "{what}");
        assert!(State::of(&store) == before, "{what}");
    }
    let panics = catch_unwind(AssertUnwindSafe(|| {
        store.apply(|group| {
            group.remove(b);
            group.update(a, |_| panic!("in the closure"));
            Ok(())
        })
    }));
    assert!(panics.is_err());
    assert!(State::of(&store) == before, "after a panic");
    store.clone().close()?;
    let closed = store.apply(|group| {
        group.remove(a);
        Ok(())
    });
    assert_eq!(closed.err().map(|error| error.kind()), Some(ErrorKind::Closed));
    assert!(State::of(&store) == before, "after the close");
    Ok(())
}

#[test]
fn group_has_a_largest_size() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(note(1))?;
    let expecting = |steps| {
        store.apply(|group| {
            (0..steps).for_each(|_| group.expect(id, 1));
            Ok(())
        })
    };
    expecting(Group::MAX_STEPS)?;
    let error = expecting(Group::MAX_STEPS + 1).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("group")));
    Ok(())
}

/// Linked first, and then removed; and the other way round.
#[test]
fn links_end_with_their_trace() -> Outcome {
    let store = TraceStore::in_memory();
    let [a, b] = store.insert_many((0..2).map(note))?[..] else { unreachable!() };
    store.apply(|group| {
        group.link(a, b);
        group.remove(b);
        Ok(())
    })?;
    assert_eq!((store.link(a, b), store.link_count()), (None, 0));
    store.insert(note(3).id(b))?;
    store.co_activate(a, b)?;
    store.co_activate(a, b)?;
    store.apply(|group| {
        group.remove(b);
        group.insert(note(4).id(b))?;
        group.link(a, b);
        Ok(())
    })?;
    let counts: Vec<_> = store.links(a).iter().map(|link| link.count()).collect();
    assert_eq!((counts, store.link_count()), (vec![1], 1), "the new trace has a link of its own");
    Ok(())
}

/// Writes the trace, or the link, each time before the group does.
#[test]
fn conflict_names_what_was_written() -> Outcome {
    let store = TraceStore::in_memory();
    let [a, b, c] = store.insert_many((0..3).map(note))?[..] else { unreachable!() };
    let meddler = store.clone();
    let error = store.apply(|group| {
        group.remove(a);
        group.update(b, move |trace| {
            let less = trace.before().confidence() / 2.0;
            assert!(meddler.update(b, |trace| trace.confidence(less)).is_ok());
            trace.tag("late")
        });
        Ok(())
    });
    let error = error.err().ok_or("it was in time")?;
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error.to_string().contains(&b.to_string()) && !error.to_string().contains(&a.to_string()),
        "{error}"
    );
    let meddler = store.clone();
    let error = store.apply(|group| {
        group.link(a, b);
        group.update(c, move |trace| {
            assert!(meddler.co_activate(a, b).is_ok());
            trace.tag("late")
        });
        Ok(())
    });
    let error = error.err().ok_or("it was in time")?;
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains(&format!("{}", a.min(b))), "{error}");
    for id in [a, b, c] {
        assert_eq!(held(&store, id)?.tags().len(), 0);
    }
    // A single write is in the way once.
    let (meddler, mut meddles) = (store.clone(), true);
    store.apply(|group| {
        group.update(b, move |trace| {
            if std::mem::take(&mut meddles) {
                assert!(meddler.update(b, |trace| trace.tag("early")).is_ok());
            }
            trace.tag("late")
        });
        Ok(())
    })?;
    assert_eq!(held(&store, b)?.tags().collect::<Vec<_>>(), ["early", "late"]);
    Ok(())
}

const ACCOUNTS: usize = 6;
const TOTAL: i64 = 100 * ACCOUNTS as i64;

fn amount(trace: &Trace) -> i64 {
    trace.payload().as_str().parse().unwrap_or(i64::MIN)
}

fn account(amount: i64) -> NewTrace {
    NewTrace::semantic(json!(amount)).tag("account")
}

/// Four threads move amounts between traces, two of them to new traces; one changes single traces, one asks. Each
/// commit has the whole amount, and memory in the end.
#[test]
fn every_commit_has_groups_whole() -> Outcome {
    const GROUPS: u64 = 1_000;
    let halves = Arc::new(Mutex::new(Vec::new()));
    let (mut rows, mut links, found) = (HashMap::new(), BTreeSet::new(), halves.clone());
    let (backend, log) = scripted(move |batch| {
        for change in batch.traces {
            match change {
                TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } => {
                    rows.insert(trace.id(), amount(trace));
                }
                TraceChange::Delete { id, .. } => drop(rows.remove(id)),
            }
        }
        for change in batch.links {
            match change {
                LinkChange::Upsert(link) => links.insert(link.ends()),
                LinkChange::Delete(a, b) => links.remove(&(*a, *b)),
            };
        }
        let is_whole = rows.is_empty() || rows.len() == ACCOUNTS && rows.values().sum::<i64>() == TOTAL;
        if !is_whole || links.iter().any(|(a, b)| !rows.contains_key(a) || !rows.contains_key(b)) {
            found.lock().expect("no panic").push(format!("{rows:?} {links:?}"));
        }
        Answer::Apply
    });
    let store = flush_always().open_with(backend)?;
    let ids = Mutex::new(store.insert_many((0..ACCOUNTS).map(|_| account(100)))?);
    let (done, conflicts, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let any = |rng: &mut Rng| ids.lock().expect("no panic")[rng.usize(..ACCOUNTS)];
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|thread| {
                let (store, ids, any, done, conflicts) = (&store, &ids, &any, &done, &conflicts);
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(thread);
                    for _ in 0..GROUPS {
                        let (from, to, sum) = (any(&mut rng), any(&mut rng), rng.i64(1..10));
                        let moved = if thread < 2 {
                            moved(store, [from, to], sum)
                        } else {
                            renewed(store, from, to).map(|new| {
                                let mut ids = ids.lock().expect("no panic");
                                ids.iter_mut().filter(|id| **id == from).for_each(|id| *id = new);
                            })
                        };
                        match moved.map_err(|error| error.kind()) {
                            Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                            Err(ErrorKind::Conflict) => conflicts.fetch_add(1, Ordering::Relaxed),
                            Err(
                                ErrorKind::NotFound | ErrorKind::RevisionConflict | ErrorKind::InvalidInput,
                            ) => 0,
                            Err(kind) => panic!("{kind}"),
                        };
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut rng = Rng::with_seed(99);
            while !over.load(Ordering::Relaxed) {
                assert!(store.update(any(&mut rng), |trace| trace.confidence(0.5)).is_ok());
                thread::yield_now();
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let found = store.query().tagged("account").limit(2 * ACCOUNTS).run();
                assert!(found.iter().all(|trace| trace.tags().eq(["account"])));
            }
        });
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a writer panicked");
    });
    let total: i64 = store.iter().map(|trace| amount(&trace)).sum();
    assert_eq!((total, store.len()), (TOTAL, ACCOUNTS));
    let (done, conflicts) = (done.into_inner(), conflicts.into_inner());
    assert!(done > GROUPS && conflicts < done, "{done} groups took place, {conflicts} were kept away");
    store.close()?;
    assert_eq!(*halves.lock().expect("no panic"), [""; 0], "half a group");
    assert!(look(&log).batches.len() > 10, "the flusher was at work");
    Ok(())
}

fn moved(store: &TraceStore, [from, to]: [TraceId; 2], sum: i64) -> mnemon::Result<()> {
    store.apply(|group| {
        for (id, more) in [(from, -sum), (to, sum)] {
            group.update(id, move |trace| {
                let now = amount(trace.before()) + more;
                trace.payload(json!(now))
            });
        }
        group.link(from, to);
        Ok(())
    })
}

/// Puts a new trace in the place of an old one, linked with another.
fn renewed(store: &TraceStore, id: TraceId, other: TraceId) -> mnemon::Result<TraceId> {
    let old = store.get(id).ok_or_else(|| store.co_activate(id, other).unwrap_err())?;
    store.apply(|group| {
        let new = group.insert(account(amount(&old)))?;
        group.link(new, other);
        group.expect(id, old.revision());
        group.remove(id);
        Ok(new)
    })
}

#[cfg(feature = "sqlite")]
#[test]
fn group_is_there_after_opening() -> Outcome {
    let file = harness::TestDir::new()?;
    let store = harness::manual_flush().open_at(file.path())?;
    let [a, b] = store.insert_many((0..2).map(note))?[..] else { unreachable!() };
    store.flush()?;
    let c = store.apply(|group| {
        group.remove(a);
        group.update(b, |trace| trace.tag("kept"));
        let c = group.insert(note(3))?;
        group.link(b, c);
        Ok(c)
    })?;
    let state = State::of(&store);
    store.close()?;
    let store = TraceStore::builder().open_at(file.path())?;
    assert!(State::of(&store) == state);
    assert_eq!(store.link(b, c).map(|link| link.count()), Some(1));
    Ok(())
}
