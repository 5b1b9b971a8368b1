//! Links: what was active together is associated; one co-activation is one row; a removal takes the links along.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::{Outcome, TestDir, manual_flush};
use mnemon::{ErrorKind, Link, ManualClock, NewTrace, TraceId, TraceStore};
use serde_json::json;
use std::time::Duration;

pub(super) fn traces(store: &TraceStore, count: usize) -> mnemon::Result<Vec<TraceId>> {
    store.insert_many((0..count).map(|n| NewTrace::semantic(json!(n))))
}

pub(super) fn associate(store: &TraceStore, a: TraceId, b: TraceId, times: u32) -> mnemon::Result<()> {
    (0..times).try_for_each(|_| store.co_activate(a, b).map(drop))
}

pub(super) fn ids(traces: &[std::sync::Arc<mnemon::Trace>]) -> Vec<TraceId> {
    traces.iter().map(|trace| trace.id()).collect()
}

pub(super) type LinkRow = (TraceId, TraceId, u32);

/// The link rows of a file, and how many of them join a trace that has no row.
pub(super) fn rows(scratch: &TestDir) -> Outcome<(Vec<LinkRow>, u32)> {
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
    let store = manual_flush().open_at(scratch.path())?;
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
    let store = TraceStore::builder().clock(&clock).open_at(scratch.path())?;
    let [a, b, c] = traces(&store, 3)?[..] else { unreachable!() };
    store.co_activate(a, b)?;
    clock.advance(Duration::from_secs(5));
    associate(&store, a, b, 2)?;
    store.co_activate(b, c)?;
    let before = [store.link(a, b), store.link(b, c), store.link(a, c)];
    store.close()?;
    let store = TraceStore::builder().open_at(scratch.path())?;
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
    let store = manual_flush().open_at(scratch.path())?;
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
    let store = manual_flush().open_at(scratch.path())?;
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
fn stored_link_to_nowhere_is_quarantined() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    store.co_activate(a, b)?;
    store.close()?;
    let nowhere = TraceId::new();
    scratch.reader()?.execute(
        "INSERT INTO links (a, b, count, first_at, last_at) VALUES (?1, ?2, 3, 0, 0)",
        rusqlite::params![a.as_bytes(), nowhere.as_bytes()],
    )?;
    let store = manual_flush().open_at(scratch.path())?;
    assert_eq!((store.link_count(), store.links(a).len()), (1, 1));
    let [quarantined] = &store.stats().quarantined[..] else { return Err("one row is quarantined".into()) };
    assert!(quarantined.reason.contains(&nowhere.to_string()), "{}", quarantined.reason);
    Ok(())
}

#[test]
fn put_link_replaces_whole_link() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
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
    let store = manual_flush().open_at(scratch.path())?;
    assert_eq!(store.link(a, b), Some(link), "with its times");
    Ok(())
}
