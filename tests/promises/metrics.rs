//! What a store publishes through the facade `metrics` is what it says of itself, under the names that its
//! documentation lists.
#![cfg(all(feature = "metrics", feature = "sqlite", feature = "testkit"))]

use crate::listener::{Described, Listener};
use harness::{Outcome, TestDir, manual_flush, note, wait_until};
use metrics::Unit;
use mnemon::testkit::{Call, Faults};
use mnemon::{ErrorKind, LagPolicy, Quota, TraceStore};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A row of the table in the documentation of `publish_metrics`.
#[derive(PartialEq, Debug)]
struct Row {
    described: Described,
    labels: BTreeSet<String>,
}

/// The table, by the metrics' names.
fn documented() -> Outcome<BTreeMap<String, Row>> {
    let source = include_str!("../../src/observe/metrics.rs");
    let rows = source.lines().filter_map(|line| line.trim().strip_prefix("/// | `mnemon_"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        let [name, kind, unit, labels, help] = cells[..] else { return Err(row.into()) };
        let kind = if kind == "counter" { "counter" } else { "gauge" };
        let unit = match unit {
            "" => None,
            unit => Some(Unit::from_string(unit).ok_or(unit)?),
        };
        let labels = labels.split(", ").filter(|label| !label.is_empty()).chain(["store"]);
        let labels = labels.map(str::to_owned).collect();
        let described = Described { kind, unit, help: help.to_owned() };
        Ok((format!("mnemon_{}", name.trim_end_matches('`')), Row { described, labels }))
    })
    .collect()
}

#[test]
fn documented_metrics_are_the_published() -> Outcome {
    let (listener, documented) = (Listener::default(), documented()?);
    assert!(documented.len() >= 20, "the table is not understood: {documented:?}");
    listener.listen(&TraceStore::in_memory());
    let described = listener.described();
    let told = described.iter().map(|(name, described)| {
        (name.clone(), Row { described: described.clone(), labels: listener.labels(name) })
    });
    assert_eq!(told.collect::<BTreeMap<_, _>>(), documented);
    let kinds = described.into_iter().map(|(name, described)| (name, described.kind));
    assert_eq!(kinds.collect::<BTreeMap<_, _>>(), listener.published());
    Ok(())
}

#[test]
fn names_have_prometheus_base_units() -> Outcome {
    for (name, row) in documented()? {
        let Described { kind, unit, .. } = row.described;
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        let stem = name.trim_end_matches("_total");
        assert_eq!(stem.ends_with("_seconds"), unit == Some(Unit::Seconds), "{name}");
        assert_eq!(stem.ends_with("_bytes"), unit == Some(Unit::Bytes), "{name}");
    }
    Ok(())
}

#[test]
fn numbers_are_those_of_stats() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let listener = Listener::default();
    let value = |metric: &str| {
        listener.listen(&store);
        listener.value("memory", metric, &[])
    };
    let ids = store.insert_many((0..4).map(note))?;
    store.co_activate(ids[0], ids[1])?;
    assert_eq!((value("mnemon_traces")?, value("mnemon_links")?), (4.0, 1.0));
    assert_eq!((value("mnemon_dirty")?, value("mnemon_flushes_total")?), (5.0, 0.0));
    let age = value("mnemon_oldest_unflushed_seconds")?;
    assert!(age > 0.0 && value("mnemon_oldest_unflushed_seconds")? > age, "it grows until it is flushed");

    store.flush()?;
    store.update(ids[0], |trace| trace.confidence(0.9))?;
    store.update(ids[1], |trace| trace.confidence(0.9))?;
    store.remove(ids[3])?;
    store.flush()?;
    store.remove(ids[0])?;
    store.flush()?;
    assert_eq!(store.query().limit(1).run().len(), 1);
    let (stats, watermark) = (store.stats(), store.watermark());
    for (metric, expected) in [
        ("mnemon_traces", 2.0),
        ("mnemon_links", 0.0),
        ("mnemon_dirty", 0.0),
        ("mnemon_oldest_unflushed_seconds", 0.0),
        ("mnemon_healthy", 1.0),
        ("mnemon_ready", 1.0),
        ("mnemon_degraded_seconds", 0.0),
        ("mnemon_quarantined", 0.0),
        ("mnemon_cuts_total", stats.cuts as f64),
        ("mnemon_flushes_total", 3.0),
        ("mnemon_flush_time_seconds", stats.flush_time.as_secs_f64()),
        ("mnemon_last_flush_seconds", stats.last_flush.elapsed.as_secs_f64()),
        ("mnemon_payload_bytes_total", stats.payload_bytes_serialized as f64),
        ("mnemon_entries_visited_total", stats.entries_visited as f64),
        ("mnemon_watermark_committed", watermark.committed as f64),
        ("mnemon_watermark_durable", watermark.durable as f64),
    ] {
        assert_eq!(value(metric)?, expected, "{metric}");
    }
    assert!(
        stats.cuts >= 3 && stats.payload_bytes_serialized == 4 * 10 && watermark.durable >= 3,
        "{stats:?}"
    );
    assert!(stats.entries_visited >= 2, "what is there, and what has just gone perhaps");
    assert!(stats.flush_time > stats.last_flush.elapsed, "three of them, and the last");
    for (kind, op, rows) in [
        ("trace", "upsert", 4.0),
        ("trace", "update", 2.0),
        ("trace", "delete", 2.0),
        ("link", "upsert", 1.0),
        ("link", "delete", 1.0),
    ] {
        let labels = [("kind", kind), ("op", op)];
        assert_eq!(listener.value("memory", "mnemon_rows_written_total", &labels)?, rows, "{kind} {op}");
    }
    Ok(())
}

#[test]
fn removals_are_counted_by_cause() -> Outcome {
    let quota = Quota { max_traces: 5, ..Quota::default() };
    let (store, listener) = (manual_flush().quota(quota).in_memory()?, Listener::default());
    for _ in 0..2 {
        store.insert_many((0..3).map(|n| note(n).strength(0.0)))?;
        store.insert_many((0..6).map(note))?;
        assert_eq!(store.decay()?.traces, 3);
        store.enforce_quota()?;
    }
    let stats = store.stats();
    assert_eq!((stats.pruned, stats.evicted), (6, 7));
    listener.listen(&store);
    for (by, expected) in [("decay", 6.0), ("validity", 0.0), ("quota", 7.0)] {
        assert_eq!(listener.value("memory", "mnemon_removed_total", &[("by", by)])?, expected, "{by}");
    }
    Ok(())
}

#[test]
fn log_size_and_time_are_published() -> Outcome {
    let file = TestDir::new()?;
    let (store, listener) = (manual_flush().open(file.path())?, Listener::default());
    let since_1970 = || jiff::Timestamp::now().as_duration().as_secs_f64();
    store.insert(note(1))?;
    store.flush()?;
    wait_until(|| store.stats().wal_bytes > 0);
    let (before, as_before) = (since_1970(), store.stats().wal_bytes);
    listener.listen(&store);
    let published = listener.value("memory", "mnemon_published_timestamp_seconds", &[])?;
    assert!((before..=since_1970()).contains(&published), "{published}");
    let bytes = listener.value("memory", "mnemon_wal_bytes", &[])?;
    // When the store is idle it empties the log.
    assert!([as_before, store.stats().wal_bytes].contains(&(bytes as u64)), "{bytes}");
    Ok(())
}

/// Healthy, ready, and the state of which the gauge is 1.
fn seen(listener: &Listener, store: &TraceStore) -> Outcome<(f64, f64, String)> {
    listener.listen(store);
    let flag = |metric| listener.value(store.name(), metric, &[]);
    let states = ["healthy", "lagging", "degraded", "closed"];
    let mut present = Vec::new();
    for state in states {
        match listener.value(store.name(), "mnemon_health", &[("state", state)])? {
            1.0 => present.push(state),
            other => assert_eq!(other, 0.0, "{state}"),
        }
    }
    Ok((flag("mnemon_healthy")?, flag("mnemon_ready")?, present.join(" and ")))
}

#[test]
fn disk_failure_and_recovery_show() -> Outcome {
    let (faults, listener) = (Faults::new(), Listener::default());
    let store = manual_flush().name("notes").open_with(faults.backend())?;
    assert_eq!(seen(&listener, &store)?, (1.0, 1.0, "healthy".to_owned()));
    store.insert(note(1))?;
    faults.fail(Call::Apply).for_good().with(ErrorKind::DiskFull);
    assert!(store.flush().is_err());
    assert_eq!(seen(&listener, &store)?, (0.0, 1.0, "degraded".to_owned()));
    assert!(listener.value("notes", "mnemon_degraded_seconds", &[])? > 0.0);
    assert_eq!(listener.value("notes", "mnemon_dirty", &[])?, 1.0);
    faults.lift();
    store.flush()?;
    assert_eq!(seen(&listener, &store)?, (1.0, 1.0, "healthy".to_owned()));
    assert_eq!(listener.value("notes", "mnemon_degraded_seconds", &[])?, 0.0);

    let refused = store.insert(note(2))?;
    faults.refuse(refused);
    store.flush()?;
    listener.listen(&store);
    assert_eq!(listener.value("notes", "mnemon_quarantined", &[])?, 1.0);
    Ok(())
}

#[test]
fn ready_exactly_while_taking_writes() -> Outcome {
    let (moment, hour) = (Duration::from_millis(1), Duration::from_secs(3_600));
    for (lag, bound, taken) in [
        (LagPolicy::AcceptWrites, moment, 1.0),
        (LagPolicy::RejectWrites, moment, 0.0),
        (LagPolicy::RejectWrites, hour, 1.0),
    ] {
        let (faults, listener) = (Faults::new(), Listener::default());
        let store = manual_flush().lag_bound(bound).when_lagging(lag).open_with(faults.backend())?;
        let takes = || match store.insert(note(2)) {
            Ok(_) => Ok(1.0),
            Err(error) if error.kind() == ErrorKind::Lagging => Ok(0.0),
            Err(error) => Err(error),
        };
        store.insert(note(1))?;
        wait_until(|| store.stats().oldest_unflushed.is_some_and(|age| age > moment));
        let (healthy, state) = if bound == hour { (1.0, "healthy") } else { (0.0, "lagging") };
        assert_eq!((seen(&listener, &store)?, takes()?), ((healthy, taken, state.to_owned()), taken));

        faults.fail(Call::Apply).for_good().with(ErrorKind::DiskFull);
        assert!(store.flush().is_err());
        assert_eq!((seen(&listener, &store)?, takes()?), ((0.0, taken, "degraded".to_owned()), taken));

        faults.lift();
        store.flush()?;
        assert_eq!((seen(&listener, &store)?, takes()?), ((1.0, 1.0, "healthy".to_owned()), 1.0));
    }
    Ok(())
}

#[test]
fn named_stores_publish_apart() -> Outcome {
    let (file, listener) = (TestDir::new()?, Listener::default());
    let first = TraceStore::builder().name("first").in_memory()?;
    let (second, third) = (
        manual_flush().open(file.path())?,
        manual_flush().name("third").open(file.folder().join("other.db"))?,
    );
    first.insert_many((0..3).map(note))?;
    second.insert(note(1))?;
    second.flush()?;
    for store in [&first, &second, &third, &first] {
        listener.listen(store);
    }
    assert_eq!([first.name(), second.name(), third.name()], ["first", "memory", "third"]);
    let traces = ["first", "memory", "third"].map(|name| listener.value(name, "mnemon_traces", &[]));
    assert_eq!(traces, [Ok(3.0), Ok(1.0), Ok(0.0)]);
    let flushes = ["first", "memory", "third"].map(|name| listener.value(name, "mnemon_flushes_total", &[]));
    assert_eq!(flushes[1..], [Ok(1.0), Ok(0.0)]);
    Ok(())
}

#[test]
fn store_name_defaults_to_file() -> Outcome {
    let file = TestDir::new()?;
    let agent = manual_flush().open(file.folder().join("agent.7.db"))?;
    assert_eq!(agent.name(), "agent.7");
    agent.close()?;
    assert_eq!(manual_flush().detached(file.folder().join("agent.7.db"))?.name(), "memory", "it has no file");
    assert_eq!(TraceStore::in_memory().name(), "memory");
    assert_eq!(manual_flush().name("x".repeat(1_024)).in_memory()?.name().len(), 1_024);
    let long = "x".repeat(1_025);
    for name in ["", "a\0b", &long] {
        let error = manual_flush().name(name).in_memory().err().ok_or("a name that can't be taken")?;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with("name is"), "{error}");
    }
    Ok(())
}

#[test]
fn closed_store_publishes_that() -> Outcome {
    let (file, listener) = (TestDir::new()?, Listener::default());
    let store = manual_flush().open(file.path())?;
    store.insert(note(1))?;
    assert_eq!(seen(&listener, &store)?, (1.0, 1.0, "healthy".to_owned()));
    store.clone().close()?;
    assert_eq!(seen(&listener, &store)?, (0.0, 0.0, "closed".to_owned()));
    let after = ["mnemon_traces", "mnemon_dirty", "mnemon_flushes_total", "mnemon_wal_bytes"];
    assert_eq!(
        after.map(|metric| listener.value("memory", metric, &[])),
        [Ok(1.0), Ok(0.0), Ok(1.0), Ok(0.0)]
    );
    Ok(())
}

#[test]
fn without_a_recorder_nothing_happens() {
    TraceStore::in_memory().publish_metrics();
}
