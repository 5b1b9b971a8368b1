//! Links: what was active together is associated; one co-activation is one row; a removal takes the links along.
#![cfg(feature = "sqlite")]

use harness::{Outcome, TestDir, manual_flush};
use mnemon::{ErrorKind, Link, ManualClock, NewTrace, TraceId, TraceStore};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn traces(store: &TraceStore, count: usize) -> mnemon::Result<Vec<TraceId>> {
    store.insert_many((0..count).map(|n| NewTrace::semantic(json!(n))))
}

fn associate(store: &TraceStore, a: TraceId, b: TraceId, times: u32) -> mnemon::Result<()> {
    (0..times).try_for_each(|_| store.co_activate(a, b).map(drop))
}

fn ids(traces: &[std::sync::Arc<mnemon::Trace>]) -> Vec<TraceId> {
    traces.iter().map(|trace| trace.id()).collect()
}

type LinkRow = (TraceId, TraceId, u32);

/// The link rows of a file, and how many of them join a trace that has no row.
fn rows(scratch: &TestDir) -> Outcome<(Vec<LinkRow>, u32)> {
    let connection = scratch.reader()?;
    let mut statement = connection.prepare("SELECT a, b, count FROM links ORDER BY a, b")?;
    let rows = statement.query_map([], |row| {
        Ok((TraceId::from_bytes(row.get(0)?), TraceId::from_bytes(row.get(1)?), row.get(2)?))
    })?;
    let links = rows.collect::<Result<_, _>>()?;
    let dangling = connection.query_row(
        "SELECT count(*) FROM links WHERE a NOT IN (SELECT id FROM traces) OR b NOT IN (SELECT id FROM traces)",
        [],
        |row| row.get(0),
    )?;
    Ok((links, dangling))
}

#[test]
fn third_co_activation_forms_association() -> Outcome {
    let store = TraceStore::in_memory();
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    let done = [
        store.co_activate(a, b)?,
        store.co_activate(b, a)?,
        store.co_activate(a, b)?,
        store.co_activate(b, a)?,
    ];
    let done = done.map(|link| (link.count(), link.is_associated()));
    assert_eq!(done, [(1, false), (2, false), (3, true), (4, true)]);
    assert_eq!(store.link(a, b), store.link(b, a));
    let link = store.link(a, b).ok_or("linked")?;
    assert_eq!((link.ends(), link.count(), link.is_associated()), ((a.min(b), a.max(b)), 4, true));
    assert_eq!((link.other(a), link.other(b), link.other(TraceId::new())), (Some(b), Some(a), None));
    assert_eq!((store.link_count(), store.links(a), store.links(b)), (1, vec![link], vec![link]));
    Ok(())
}

#[test]
fn two_of_them_associate_nothing_yet() -> Outcome {
    let store = TraceStore::in_memory();
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    associate(&store, a, b, 2)?;
    assert!(store.associated(a, 0.0, 20).is_empty() && store.walk(a, 12, 0.0).next().is_none());
    assert_eq!(store.links(a).len(), 1, "it is a link all the same");
    Ok(())
}

#[test]
fn co_activation_names_missing_trace() -> Outcome {
    let store = TraceStore::in_memory();
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    let missing = TraceId::new();
    for (one, other) in [(a, missing), (missing, a)] {
        let error = store.co_activate(one, other).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(&missing.to_string()), "{error}");
    }
    assert_eq!(store.co_activate(a, a).map(drop).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!((store.link_count(), store.links(a).len()), (0, 0), "and nothing is linked");
    store.remove(b)?;
    assert_eq!(store.co_activate(a, b).map(drop).unwrap_err().kind(), ErrorKind::NotFound);
    Ok(())
}

#[test]
fn a_closed_store_links_nothing() -> Outcome {
    let store = TraceStore::in_memory();
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    let closed = store.clone();
    store.close()?;
    assert_eq!(closed.co_activate(a, b).map(drop).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(closed.link_count(), 0);
    Ok(())
}

#[test]
fn co_activation_writes_one_row() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    let all = traces(&store, 100)?;
    for other in &all[1..] {
        store.co_activate(all[0], *other)?;
    }
    store.flush()?;
    store.co_activate(all[0], all[50])?;
    assert_eq!(store.stats().dirty, 1);
    let report = store.flush()?;
    assert_eq!((report.links_upserted, report.links_deleted), (1, 0));
    assert_eq!((report.rows_upserted, report.rows_updated, report.rows_deleted), (0, 0, 0));
    let (links, dangling) = rows(&scratch)?;
    assert_eq!((links.len(), dangling), (99, 0));
    assert_eq!(links.iter().filter(|link| link.2 == 2).count(), 1);
    Ok(())
}

#[test]
fn links_survive_restart_with_times() -> Outcome {
    let scratch = TestDir::new()?;
    let clock = ManualClock::at("2026-11-24T10:00:00.000001Z".parse()?);
    let store = TraceStore::builder().clock(&clock).open(scratch.path())?;
    let [a, b, c] = traces(&store, 3)?[..] else { unreachable!() };
    store.co_activate(a, b)?;
    clock.advance(Duration::from_secs(5));
    associate(&store, a, b, 2)?;
    store.co_activate(b, c)?;
    let before = [store.link(a, b), store.link(b, c), store.link(a, c)];
    store.close()?;
    let store = TraceStore::open(scratch.path())?;
    assert_eq!([store.link(a, b), store.link(b, c), store.link(a, c)], before);
    let link = store.link(a, b).ok_or("linked")?;
    assert_eq!(link.first_at(), "2026-11-24T10:00:00.000001Z".parse()?);
    assert_eq!(link.last_at(), "2026-11-24T10:00:05.000001Z".parse()?);
    assert_eq!(store.stats().dirty, 0, "loading dirties nothing");
    assert_eq!((store.link_count(), ids(&store.associated(a, 0.0, 20))), (2, vec![b]));
    assert_eq!(store.co_activate(a, b)?.count(), 4, "and counting goes on");
    Ok(())
}

#[test]
fn removal_takes_its_own_links() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    let all = traces(&store, 300)?;
    for pair in all.windows(2) {
        store.co_activate(pair[0], pair[1])?;
    }
    for other in &all[2..12] {
        store.co_activate(all[0], *other)?;
    }
    store.flush()?;
    let linked = store.link_count();
    store.remove(all[0])?;
    assert_eq!(store.link_count(), linked - 11);
    assert!(all.iter().all(|id| store.links(*id).iter().all(|link| link.other(all[0]).is_none())));
    assert_eq!(store.stats().dirty, 1 + 11, "the trace and its links, and nothing else");
    let report = store.flush()?;
    assert_eq!((report.rows_deleted, report.links_deleted, report.links_upserted), (1, 11, 0));
    let (links, dangling) = rows(&scratch)?;
    assert_eq!((links.len(), dangling), (linked - 11, 0));
    Ok(())
}

#[test]
fn later_trace_inherits_no_links() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    associate(&store, a, b, 5)?;
    store.flush()?;
    store.remove(a)?;
    store.insert(NewTrace::semantic(json!("again")).id(a))?;
    assert_eq!((store.link(a, b), store.link_count(), store.links(b).len()), (None, 0, 0));
    store.flush()?;
    assert_eq!(rows(&scratch)?, (Vec::new(), 0));
    assert_eq!(store.co_activate(a, b)?.count(), 1, "and begins anew");
    store.flush()?;
    assert_eq!(rows(&scratch)?.0.len(), 1);
    Ok(())
}

#[test]
fn highest_counts_are_associated() -> Outcome {
    let store = TraceStore::in_memory();
    let hub = store.insert(NewTrace::semantic(json!("hub")))?;
    let mut others = Vec::new();
    for n in 0..25_u32 {
        let strength = 0.2 + f64::from(n) / 100.0;
        let other = store.insert(NewTrace::identity(json!(n)).strength(strength).base_decay_rate(0.0))?;
        // The first ones have the highest counts, the last ones are the strongest.
        associate(&store, hub, other, 3 + 25 - n)?;
        others.push(other);
    }
    let expected: Vec<_> = others[..20].iter().rev().copied().collect();
    assert_eq!(ids(&store.associated(hub, 0.0, 20)), expected, "20 by count, in the order of strength");
    assert_eq!(ids(&store.associated(hub, 0.0, 99)), expected, "never more");
    assert_eq!(ids(&store.associated(hub, 0.0, 3)), expected[..3]);
    assert_eq!(ids(&store.associated(hub, 0.35, 20)), expected[..5], "0.39 to 0.35");
    assert_eq!(store.links(hub).len(), 25, "all of them are kept");
    assert!(others.iter().all(|other| ids(&store.associated(*other, 0.0, 20)) == [hub]), "on both sides");
    associate(&store, hub, others[24], 30)?;
    assert!(ids(&store.associated(hub, 0.0, 20)).contains(&others[24]), "and may come back");
    Ok(())
}

#[test]
fn walk_is_breadth_first() -> Outcome {
    let store = TraceStore::in_memory();
    let all = traces(&store, 8)?;
    // 0 - 1 - 2 - 3 - 4, and 0 - 5 - 2, and 6 apart; 7 is too weak and the only way to 6.
    for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 2), (4, 7), (7, 6)] {
        associate(&store, all[a], all[b], 3)?;
    }
    store.update(all[7], |trace| trace.strength(0.05))?;
    store.update(all[0], |trace| trace.strength(0.02))?;
    let mut walk = store.walk(all[0], 12, 0.1);
    let steps: Vec<_> = walk.by_ref().collect();
    let depths: Vec<_> = steps.iter().map(|step| step.depth).collect();
    assert_eq!(depths, [1, 1, 2, 3, 4]);
    let reached: BTreeSet<_> = steps.iter().map(|step| step.trace.id()).collect();
    assert_eq!(
        reached,
        all[1..=5].iter().copied().collect(),
        "each once, without the start, past nothing weak"
    );
    for step in &steps {
        let path = walk.path(step.trace.id());
        assert_eq!((path.len(), path[0]), (step.depth + 1, all[0]));
        assert_eq!(path[step.depth - 1..], [step.from, step.trace.id()]);
        for pair in path.windows(2) {
            assert!(store.link(pair[0], pair[1]).is_some_and(|link| link.is_associated()), "over links");
        }
    }
    assert_eq!(
        (walk.path(all[0]), walk.path(all[6])),
        (vec![all[0]], vec![]),
        "the start, and one not reached"
    );
    assert_eq!(store.walk(all[0], 2, 0.1).count(), 3, "two hops");
    assert_eq!(store.walk(all[0], 0, 0.1).count() + store.walk(TraceId::new(), 12, 0.1).count(), 0);
    assert_eq!(store.walk(all[0], 12, 0.0).count(), 7, "with the weak one, and what is behind it");
    Ok(())
}

#[test]
fn walk_searches_no_further_than_asked() -> Outcome {
    let store = TraceStore::in_memory();
    let all = traces(&store, 5)?;
    for pair in all.windows(2) {
        associate(&store, pair[0], pair[1], 3)?;
    }
    let mut walk = store.walk(all[0], 12, 0.0);
    assert_eq!(walk.by_ref().take(2).map(|step| step.trace.id()).collect::<Vec<_>>(), all[1..3]);
    store.remove(all[3])?;
    assert_eq!(walk.next().map(|step| step.depth), None, "what is behind is looked for only now");
    Ok(())
}

#[test]
fn concurrent_co_activations_all_count() -> Outcome {
    let store = TraceStore::in_memory();
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    let formed = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..500).filter(|_| store.co_activate(a, b).is_ok_and(|link| link.count() == 3)).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(99)).sum::<usize>()
    });
    assert_eq!((store.link(a, b).map(|link| link.count()), formed), (Some(4_000), 1));
    Ok(())
}

/// Removals and insertions race co-activations over a few ids while the flusher never rests: in every state of the
/// file each link joins traces that are there, and in the end file and memory agree.
#[test]
fn racing_links_always_have_traces() -> Outcome {
    let scratch = TestDir::new()?;
    let store = TraceStore::builder().flush_interval(Duration::ZERO).open(scratch.path())?;
    let all: Vec<_> = (0..6).map(|n| TraceId::from_reference(&n.to_string())).collect();
    let (done, seen, start) = (AtomicBool::new(false), AtomicBool::new(false), Barrier::new(5));
    let refused = std::thread::scope(|scope| -> Outcome<usize> {
        let looking = scope.spawn(|| {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                let Ok((links, dangling)) = rows(&scratch) else { continue };
                assert_eq!(dangling, 0, "{links:?}");
                seen.fetch_or(!links.is_empty(), Ordering::Relaxed);
            }
        });
        let workers: Vec<_> = (0..4)
            .map(|worker: usize| {
                let (store, all, start, seen) = (&store, &all, &start, &seen);
                scope.spawn(move || {
                    start.wait();
                    let mut refused = 0;
                    // Long enough, and until links were there to be looked at.
                    let enough = |n| n >= 20_000 && (seen.load(Ordering::Relaxed) || n >= 1_000_000);
                    for n in (0_usize..).take_while(|n| !enough(*n)) {
                        let (a, b) = (all[(n * 7 + worker) % 6], all[(n * 5 + 3 * worker + 1) % 6]);
                        match n % 8 {
                            0 => refused += usize::from(store.remove(a).is_err()),
                            1 => drop(store.insert(NewTrace::sensory(json!(n)).id(a))),
                            _ => refused += usize::from(store.co_activate(a, b).is_err()),
                        }
                    }
                    refused
                })
            })
            .collect();
        let refused = workers.into_iter().map(|worker| worker.join().unwrap_or_default()).sum();
        done.store(true, Ordering::Relaxed);
        assert!(looking.join().is_ok(), "a link row was without its traces");
        assert!(seen.load(Ordering::Relaxed), "links were there to be looked at");
        Ok(refused)
    })?;
    assert!(refused > 0, "some came too late");
    let links: BTreeSet<_> =
        all.iter().flat_map(|id| store.links(*id)).map(|link| (link.ends(), link.count())).collect();
    assert_eq!(links.len(), store.link_count(), "every link is found from its ends");
    for ((a, b), _) in &links {
        assert!(store.contains(*a) && store.contains(*b));
    }
    store.flush()?;
    let (stored, dangling) = rows(&scratch)?;
    assert_eq!(dangling, 0);
    assert_eq!(stored.into_iter().map(|(a, b, count)| ((a, b), count)).collect::<BTreeSet<_>>(), links);
    Ok(())
}

/// The removal of a trace with many links takes its time, and cuts fall in the middle of it.
#[test]
fn cut_during_removal_leaves_no_link() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    let others = traces(&store, 3_000)?;
    let hub = TraceId::from_reference("hub");
    let (done, mut in_the_middle) = (AtomicBool::new(false), 0);
    for _ in 0..10 {
        store.insert(NewTrace::semantic(json!("hub")).id(hub))?;
        others.iter().try_for_each(|other| store.co_activate(hub, *other).map(drop))?;
        store.flush()?;
        let cuts = store.stats().cuts;
        done.store(false, Ordering::Relaxed);
        let flushed = std::thread::scope(|scope| -> Outcome<u64> {
            let flushing = scope.spawn(|| -> mnemon::Result<()> {
                while !done.load(Ordering::Relaxed) {
                    store.flush()?;
                    assert_eq!(rows(&scratch).map_or(1, |(_, dangling)| dangling), 0);
                }
                Ok(())
            });
            let linking =
                scope.spawn(|| others.iter().filter(|other| store.co_activate(hub, **other).is_ok()).count());
            store.remove(hub)?;
            done.store(true, Ordering::Relaxed);
            assert!(linking.join().is_ok());
            flushing.join().map_err(|_| "a link without its trace")??;
            Ok(store.stats().cuts - cuts)
        })?;
        in_the_middle += flushed;
        assert_eq!((store.link_count(), store.links(others[0]).len()), (0, 0));
    }
    assert!(in_the_middle > 0);
    Ok(())
}

#[test]
fn stored_link_to_nowhere_is_aside() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    store.co_activate(a, b)?;
    store.close()?;
    let nowhere = TraceId::new();
    scratch.reader()?.execute(
        "INSERT INTO links (a, b, count, first_at, last_at) VALUES (?1, ?2, 3, 0, 0)",
        rusqlite::params![a.as_bytes(), nowhere.as_bytes()],
    )?;
    let store = manual_flush().open(scratch.path())?;
    assert_eq!((store.link_count(), store.links(a).len()), (1, 1));
    let [quarantined] = &store.stats().quarantined[..] else { return Err("one row is set aside".into()) };
    assert!(quarantined.reason.contains(&nowhere.to_string()), "{}", quarantined.reason);
    Ok(())
}

#[test]
fn put_link_replaces_whole_link() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    let (first, last) = ("2024-02-29T12:00:00.000001Z".parse()?, "2025-01-01T00:00:00Z".parse()?);
    let link = Link::new((b, a), 7, first, last)?;
    store.put_link(link)?;
    assert_eq!(store.link(a, b), Some(link));
    assert_eq!(store.co_activate(a, b)?.count(), 8);
    let link = Link::new((a, b), 2, first, last)?;
    store.put_link(link)?;
    assert_eq!((store.link(a, b), store.link_count()), (Some(link), 1));
    store.flush()?;
    assert_eq!(rows(&scratch)?, (vec![(a.min(b), a.max(b), 2)], 0));

    let nobody = TraceId::new();
    let error = store.put_link(Link::new((a, nobody), 1, first, last)?).err().ok_or("put")?;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(&nobody.to_string()), "{error}");
    store.clone().close()?;
    assert_eq!(store.put_link(link).err().map(|error| error.kind()), Some(ErrorKind::Closed));
    let store = manual_flush().open(scratch.path())?;
    assert_eq!(store.link(a, b), Some(link), "with its times");
    Ok(())
}
