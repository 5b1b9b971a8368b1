//! Upkeep: tiers, the quota, and the thread that sees to them.
#![cfg(feature = "sqlite")]

use harness::backend::{Answer, scripted};
use harness::process::alone;
use harness::{Outcome, TestDir, clock, held, manual_flush, minutes, note, seconds};
use mnemon::{ErrorKind, Eviction, NewTrace, Quota, Tier, TraceId, TraceStore, Upkeep};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_micros(1);

fn steady(n: impl serde::Serialize) -> NewTrace {
    note(n).base_decay_rate(0.0)
}

fn tiers(store: &TraceStore, ids: &[TraceId]) -> Outcome<Vec<Tier>> {
    ids.iter().map(|id| Ok(held(store, *id)?.tier())).collect()
}

#[test]
fn tiers_follow_age_and_strength() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let aged = |age: Duration| steady("aged").last_reinforced(clock.now() - age);
    let (hot, warm) = (seconds(86_400), seconds(7_776_000));
    let ids = store.insert_many([
        aged(Duration::ZERO),
        aged(hot),
        aged(hot + MOMENT),
        aged(warm),
        aged(warm + MOMENT),
        steady("in the future").last_reinforced(clock.now() + warm * 2),
        steady("weak").strength(0.01),
        steady("not weak").strength(0.01_f64.next_up()),
        aged(warm * 2).strength(0.01),
        NewTrace::firmware(json!("firm")).last_reinforced(clock.now() - warm * 2),
        NewTrace::sensory(json!("faded")).base_decay_rate(2.0).last_reinforced(clock.now() - minutes(60)),
    ])?;
    use Tier::{Cold, Erased, Hot, Warm};
    assert_eq!(tiers(&store, &ids)?, [Hot; 11]);
    assert_eq!(store.update_tiers()?, 7);
    let expected = [Hot, Hot, Warm, Warm, Cold, Hot, Erased, Hot, Erased, Cold, Erased];
    assert_eq!(tiers(&store, &ids)?, expected);
    Ok(())
}

#[test]
fn only_changed_tiers_are_written() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let store = manual_flush().clock(&clock).open(file.path())?;
    let ids = store.insert_many((0..100).map(|n| {
        let new = steady(n);
        if n < 7 { new.last_reinforced(clock.now() - seconds(90_000)) } else { new }
    }))?;
    store.flush()?;
    assert_eq!((store.update_tiers()?, store.stats().dirty), (7, 7));
    let flushed = store.flush()?;
    assert_eq!((flushed.rows_updated, flushed.rows_upserted, flushed.rows_deleted), (7, 0, 0));
    assert_eq!((store.update_tiers()?, store.stats().dirty), (0, 0), "nothing changes twice");
    let warm = held(&store, ids[0])?;
    assert_eq!((warm.tier(), warm.revision(), warm.last_decayed()), (Tier::Warm, 1, warm.created_at()));
    let sql = "SELECT count(*) FROM traces WHERE tier = 'warm' AND revision = 1";
    assert_eq!(file.reader()?.query_row(sql, [], |row| row.get::<_, i64>(0))?, 7);
    Ok(())
}

#[test]
fn what_is_reinforced_is_hot_again() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let id = store.insert(steady(1))?;
    for (days, tier) in [(100, Tier::Cold), (0, Tier::Hot), (2, Tier::Warm), (0, Tier::Hot)] {
        clock.advance(seconds(86_400 * days));
        if tier == Tier::Hot {
            assert!(store.reinforce(id)?.is_some());
        }
        assert_eq!((store.update_tiers()?, held(&store, id)?.tier()), (1, tier));
    }
    Ok(())
}

/// JSON text of so many bytes.
fn sized(bytes: usize) -> NewTrace {
    NewTrace::semantic(json!("x".repeat(bytes - 2)))
}

fn quota(max_traces: usize, max_bytes: u64, eviction: Eviction) -> Quota {
    Quota { max_traces, max_bytes, eviction }
}

fn payload_bytes(store: &TraceStore) -> usize {
    store.iter().map(|trace| trace.payload().as_str().len()).sum()
}

fn left(store: &TraceStore, ids: &[TraceId]) -> Vec<usize> {
    (0..ids.len()).filter(|at| store.contains(ids[*at])).collect()
}

/// Which go first, when one more is evicted each time.
fn order_of_eviction(eviction: Eviction, new: Vec<NewTrace>) -> Outcome<Vec<usize>> {
    let (mut order, count) = (Vec::new(), new.len());
    for most in (0..count).rev() {
        let store = manual_flush().clock(&clock()).quota(quota(most, u64::MAX, eviction)).in_memory()?;
        let ids = store.insert_many(new.clone())?;
        assert_eq!((store.enforce_quota()?.traces, store.len()), (count - most, most));
        let gone = (0..count).filter(|at| !store.contains(ids[*at])).find(|at| !order.contains(at));
        order.extend(gone);
    }
    Ok(order)
}

fn numbered(number: u128) -> TraceId {
    TraceId::from_bytes(number.to_be_bytes())
}

#[test]
fn the_least_recently_reinforced_go_first() -> Outcome {
    let at = |n: u128, age| note(n).id(numbered(n)).last_reinforced(clock().now() - seconds(age));
    // Of the two that are equal the smaller id goes first.
    let new = vec![at(1, 5).confidence(0.1), at(2, 50), at(4, 20), at(3, 20), at(5, 500).confidence(0.9)];
    assert_eq!(order_of_eviction(Eviction::LeastRecentlyReinforced, new)?, [4, 1, 3, 2, 0]);
    Ok(())
}

#[test]
fn the_least_sure_go_first() -> Outcome {
    let at = |n: u128, confidence| note(n).id(numbered(n)).confidence(confidence);
    let now = clock().now();
    let new = vec![at(1, 0.9), at(2, 0.0), at(4, 0.5), at(3, 0.5), at(5, 0.1).last_reinforced(now)];
    assert_eq!(order_of_eviction(Eviction::LowestConfidence, new)?, [1, 4, 3, 2, 0]);
    Ok(())
}

#[test]
fn reinforced_trace_is_not_evicted() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).quota(quota(2, u64::MAX, Eviction::default())).in_memory()?;
    let ids = store.insert_many((0..3).map(note))?;
    clock.advance(seconds(1));
    for at in [0, 2] {
        assert!(store.reinforce(ids[at])?.is_some());
    }
    assert_eq!((store.enforce_quota()?.traces, left(&store, &ids)), (1, vec![0, 2]));
    Ok(())
}

#[test]
fn future_reinforcement_evicts_no_used_trace() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).quota(quota(1, u64::MAX, Eviction::default())).in_memory()?;
    let ids = store.insert_many([note(1).id(numbered(1)), note(2).id(numbered(2))])?;
    let now = clock.now() + seconds(1);
    clock.advance(minutes(5_256_000));
    assert!(store.reinforce(ids[0])?.is_some());
    clock.set(now);
    assert!(store.reinforce(ids[1])?.is_some());
    assert_eq!((store.enforce_quota()?.traces, left(&store, &ids)), (1, vec![1]));
    Ok(())
}

#[test]
fn quota_evicts_no_more_than_needed() -> Outcome {
    let clock = clock();
    // Of 10, 20, 30, 40 bytes, the smallest is the oldest.
    for (most, evicted, bytes) in
        [(100, 0, 0), (99, 1, 10), (90, 1, 10), (89, 2, 30), (65, 3, 60), (0, 4, 100)]
    {
        let store = manual_flush().clock(&clock).quota(quota(100, most, Eviction::default())).in_memory()?;
        let aged = |n: u64| sized(10 * n as usize).last_reinforced(clock.now() - seconds(100 - n));
        let ids = store.insert_many((1..=4).map(aged))?;
        assert_eq!(store.enforce_quota()?.traces, evicted, "{most} bytes");
        assert_eq!(payload_bytes(&store), 100 - bytes, "{most} bytes");
        assert_eq!(left(&store, &ids), (evicted..4).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn both_limits_hold() -> Outcome {
    for (most_traces, most_bytes, evicted) in [(5, 1_000, 5), (8, 60, 4), (4, 60, 6), (10, 100, 0)] {
        let store = manual_flush()
            .clock(&clock())
            .quota(quota(most_traces, most_bytes, Eviction::default()))
            .in_memory()?;
        store.insert_many((0..10).map(|_| sized(10)))?;
        assert_eq!(store.enforce_quota()?.traces, evicted);
        assert_eq!(payload_bytes(&store), 100 - 10 * evicted);
        assert_eq!((store.len(), store.enforce_quota()?.traces), (10 - evicted, 0));
    }
    Ok(())
}

#[test]
fn eviction_takes_rows_and_links() -> Outcome {
    let file = TestDir::new()?;
    let store =
        manual_flush().clock(&clock()).quota(quota(1, u64::MAX, Eviction::default())).open(file.path())?;
    let ids = store.insert_many([note(1).last_reinforced(clock().now() - seconds(1)), note(2)])?;
    store.co_activate(ids[0], ids[1])?;
    store.flush()?;
    let removed = store.enforce_quota()?;
    assert_eq!((removed.traces, removed.links, removed.rows), (1, 1, 0));
    let flushed = store.flush()?;
    assert_eq!((flushed.rows_deleted, flushed.links_deleted, flushed.rows_upserted), (1, 1, 0));
    assert_eq!((left(&store, &ids), store.link_count()), (vec![1], 0));
    Ok(())
}

#[test]
fn firmware_and_pinned_are_never_evicted() -> Outcome {
    let old = clock().now() - minutes(1_000_000);
    for eviction in [Eviction::LeastRecentlyReinforced, Eviction::LowestConfidence] {
        let store = manual_flush().clock(&clock()).quota(quota(2, u64::MAX, eviction)).in_memory()?;
        let ids = store.insert_many([
            NewTrace::firmware(json!(1)).last_reinforced(old).confidence(0.0),
            note(2).last_reinforced(old).confidence(0.0).pinned(true),
            note(3).confidence(1.0),
        ])?;
        assert_eq!((store.enforce_quota()?.traces, left(&store, &ids)), (1, vec![0, 1]));
    }
    Ok(())
}

#[test]
fn unmeetable_quota_leaves_only_pinned() -> Outcome {
    for limits in [quota(2, u64::MAX, Eviction::default()), quota(10, 40, Eviction::default())] {
        let store = manual_flush().clock(&clock()).quota(limits).in_memory()?;
        let pinned = (0..3).map(|_| sized(20).pinned(true));
        store.insert_many(pinned.chain([sized(20), sized(20)]))?;
        assert_eq!((store.enforce_quota()?.traces, store.len()), (2, 3));
        assert!(store.iter().all(|trace| trace.is_pinned()));
        assert_eq!((store.enforce_quota()?.traces, store.len()), (0, 3));
    }
    Ok(())
}

#[test]
fn nothing_is_evicted_without_a_quota() -> Outcome {
    let limited = Quota { max_traces: 10_001, ..Quota::default() };
    assert_eq!(limited.eviction, Eviction::LeastRecentlyReinforced);
    for (builder, evicted) in [(manual_flush(), 0), (manual_flush().quota(limited), 63)] {
        let store = builder.clock(&clock()).in_memory()?;
        store.insert_many((0..10_003).map(note))?;
        store.insert(sized(1 << 20))?;
        (0..60).try_for_each(|_| store.insert(sized(1 << 20).pinned(true)).map(drop))?;
        assert_eq!(store.enforce_quota()?.traces, evicted, "whatever its payloads take");
    }
    Ok(())
}

/// Of this process.
#[cfg(target_os = "linux")]
fn upkeep_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "mnemon-upkeep").count()
}

fn soon(what: &str, so: impl Fn() -> bool) -> Outcome {
    let deadline = Instant::now() + seconds(120);
    while !so() {
        if Instant::now() > deadline {
            return Err(format!("never: {what}").into());
        }
        std::thread::yield_now();
    }
    Ok(())
}

const OFTEN: Option<Duration> = Some(Duration::from_millis(1));
const NEVER: Upkeep = Upkeep { decay: None, tiers: None, quota: None };

fn fades() -> NewTrace {
    NewTrace::sensory(json!("fades"))
}

fn stored_strength(store: &TraceStore, id: TraceId) -> f64 {
    store.get(id).map_or(f64::NAN, |trace| trace.strength())
}

#[test]
fn default_periods_are_one_and_five() {
    let usual = Upkeep::default();
    assert_eq!(usual.decay, Some(seconds(60)));
    assert_eq!((usual.tiers, usual.quota), (Some(seconds(300)), Some(seconds(300))));
}

#[cfg(target_os = "linux")]
#[test]
fn upkeep_thread_stops_with_its_store() -> Outcome {
    alone(|| {
        let plain = manual_flush().in_memory()?;
        plain.insert(note(1))?;
        plain.flush()?;
        assert_eq!(upkeep_threads(), 0, "off unless asked for");
        for close in [true, false] {
            let store = manual_flush().upkeep(Upkeep::default()).in_memory()?;
            soon("the thread has its name", || upkeep_threads() == 1)?;
            drop(store.clone());
            assert_eq!(upkeep_threads(), 1, "it ends with the last clone");
            if close {
                store.close()?;
            } else {
                drop(store);
            }
            soon("the thread has ended", || upkeep_threads() == 0)?;
        }
        Ok(())
    })
}

#[test]
fn the_thread_decays() -> Outcome {
    let clock = clock();
    let store = manual_flush()
        .clock(&clock)
        .checkpoint_step(0.0)
        .upkeep(Upkeep { decay: OFTEN, ..NEVER })
        .in_memory()?;
    let id = store.insert(fades())?;
    for _ in 0..3 {
        clock.advance(minutes(1_000));
        let strength = store.strength(&*held(&store, id)?);
        soon("it checkpoints", || stored_strength(&store, id) == strength)?;
    }
    let gone = store.insert(note("gone").strength(0.0))?;
    soon("it prunes", || !store.contains(gone))?;
    assert_eq!(held(&store, id)?.tier(), Tier::Hot);
    clock.advance(seconds(86_400));
    let strength = store.strength(&*held(&store, id)?);
    soon("it checkpoints again", || stored_strength(&store, id) == strength)?;
    assert_eq!(held(&store, id)?.tier(), Tier::Hot, "what has no period is not done");
    Ok(())
}

#[test]
fn the_thread_sees_to_tiers() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).upkeep(Upkeep { tiers: OFTEN, ..NEVER }).in_memory()?;
    let id = store.insert(steady(1))?;
    for (days, tier) in [(2, Tier::Warm), (100, Tier::Cold)] {
        clock.advance(seconds(86_400 * days));
        soon("it has its tier", || store.get(id).is_some_and(|trace| trace.tier() == tier))?;
    }
    Ok(())
}

#[test]
fn the_thread_enforces_the_quota() -> Outcome {
    let clock = clock();
    let limits = quota(5, u64::MAX, Eviction::default());
    let store =
        manual_flush().clock(&clock).quota(limits).upkeep(Upkeep { quota: OFTEN, ..NEVER }).in_memory()?;
    for _ in 0..3 {
        clock.advance(seconds(1));
        store.insert_many((0..5).map(note))?;
        soon("it evicts", || store.len() == 5)?;
    }
    assert!(store.iter().all(|trace| trace.created_at() == clock.now()), "the newest are left");
    Ok(())
}

#[test]
fn upkeep_goes_on_after_failed_close() -> Outcome {
    alone(|| {
        let clock = clock();
        let full = Arc::new(AtomicBool::new(true));
        let is_full = full.clone();
        let (backend, _log) = scripted(move |_| {
            if is_full.load(Ordering::Relaxed) { Answer::Fail(ErrorKind::DiskFull) } else { Answer::Apply }
        });
        let builder =
            manual_flush().clock(&clock).checkpoint_step(0.0).upkeep(Upkeep { decay: OFTEN, ..NEVER });
        let store = builder.close_timeout(Duration::from_millis(20)).open_with(backend)?;
        let id = store.insert(fades())?;
        let Err(failed) = store.close() else { return Err("the backend was full".into()) };
        let store = failed.store;
        for _ in 0..2 {
            clock.advance(minutes(1_000));
            let strength = store.strength(&*held(&store, id)?);
            soon("it checkpoints", || stored_strength(&store, id) == strength)?;
        }
        full.store(false, Ordering::Relaxed);
        // What the failure has put off may take longer than the patience of one close.
        let mut store = Some(store);
        let deadline = Instant::now() + seconds(120);
        while let Some(open) = store.take() {
            store = open.close().err().map(|failed| failed.store);
            assert!(Instant::now() < deadline, "it closes when it can");
        }
        #[cfg(target_os = "linux")]
        soon("the thread has ended", || upkeep_threads() == 0)?;
        Ok(())
    })
}
