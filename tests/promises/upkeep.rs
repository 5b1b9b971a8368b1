//! Upkeep: tiers, and the thread that sees to them and to the quota.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::backend::{Answer, scripted};
use harness::process::alone;
use harness::{Outcome, TestDir, clock, held, manual_flush, minutes, note, seconds};
use mnemon::{ErrorKind, NewTrace, Quota, Tier, TraceId, TraceStore, Upkeep};
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
    let store = manual_flush().clock(&clock).open_at(file.path())?;
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

/// In some minutes.
fn fades() -> NewTrace {
    NewTrace::sensory(json!("fades")).base_decay_rate(2.0)
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
    let store = manual_flush().clock(&clock).upkeep(Upkeep { decay: OFTEN, ..NEVER }).in_memory()?;
    let kept = store.insert(steady("kept"))?;
    let before = held(&store, kept)?;
    for _ in 0..3 {
        let id = store.insert(fades())?;
        clock.advance(minutes(10));
        soon("it prunes", || !store.contains(id))?;
    }
    let gone = store.insert(note("gone").strength(0.0))?;
    soon("it prunes at once", || !store.contains(gone))?;
    clock.advance(seconds(86_400));
    let gone = store.insert(note("gone").strength(0.0))?;
    soon("it prunes again", || !store.contains(gone))?;
    assert_eq!(held(&store, kept)?, before, "what has no period is not done");
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
    let limits = Quota { max_traces: 5, ..Quota::default() };
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
        let builder = manual_flush().clock(&clock).upkeep(Upkeep { decay: OFTEN, ..NEVER });
        let store = builder.close_timeout(Duration::from_millis(20)).open_with(backend)?;
        store.insert(steady("kept"))?;
        let Err(failed) = store.close() else { return Err("the backend was full".into()) };
        let store = failed.store;
        for _ in 0..2 {
            let id = store.insert(fades())?;
            clock.advance(minutes(10));
            soon("it prunes", || !store.contains(id))?;
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
