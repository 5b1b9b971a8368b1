//! Writes with a condition, of several traces, and what goes into a trace and comes out of it.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use crate::links::{associate, rows, traces};
use harness::{Outcome, TestDir, manual_flush};
use mnemon::{Error, ErrorKind, NewTrace, Payload, TraceId, TraceStore, TraceType};
use serde::Serialize;
use serde_json::json;
use std::fmt;
use std::thread::scope;
use std::time::{Duration, SystemTime};

#[test]
fn upsert_inserts_once_then_updates() -> Outcome {
    let store = TraceStore::in_memory();
    let id = TraceId::from_reference("chat/12");
    let seen = |_: usize| {
        store.upsert(NewTrace::text("seen").id(id), |trace| {
            let rate = trace.before().base_decay_rate() + 1.0;
            trace.base_decay_rate(rate)
        })
    };
    let start = TraceType::Semantic.base_decay_rate();
    scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..500).try_for_each(|n| seen(n).map(drop)))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a writer panicked")?.map_err(|e| e.to_string()))
    })?;
    let trace = store.get(id).ok_or("stored")?;
    assert_eq!((store.len(), trace.revision(), trace.base_decay_rate()), (1, 2_000, start + 1_999.0));
    let unchanged = store.upsert(NewTrace::text("again").id(id), |trace| trace)?;
    assert_eq!((unchanged.revision(), unchanged.payload()), (2_000, trace.payload()));
    let refused = store.upsert(NewTrace::text("seen").id(id), |trace| trace.confidence(7.0));
    assert_eq!(refused.unwrap_err().field(), Some("confidence"));
    let refused = store.upsert(NewTrace::text("seen").id(id).confidence(7.0), |trace| trace);
    assert_eq!(refused.unwrap_err().field(), Some("confidence"));
    store.clone().close()?;
    let late = store.upsert(NewTrace::text("late").id(id), |trace| trace);
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}

#[derive(Debug)]
enum Mine {
    TooDeep(u64),
    Store(Error),
}

impl fmt::Display for Mine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Mine {}

impl From<Error> for Mine {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// In memory, in the queries and in the file; the links stay.
#[test]
fn replaced_trace_has_all_given_fields() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    associate(&store, a, b, 1)?;
    store.flush()?;
    let given = NewTrace::episodic(json!("anew")).id(a).partition("other").reinforcement_count(7).tag("new");
    let replaced = store.replace(given.clone())?;
    let fields = |trace: &mnemon::Trace| {
        let is = (trace.trace_type(), trace.partition().to_owned(), trace.reinforcement_count());
        (is, trace.has_tag("new"), trace.payload().as_str().to_owned(), trace.revision())
    };
    let wanted = ((TraceType::Episodic, "other".to_owned(), 7), true, json!("anew").to_string(), 2);
    assert_eq!(fields(&replaced), wanted);
    let found: Vec<_> =
        store.query().partition("other").tagged("new").run().iter().map(|trace| trace.id()).collect();
    assert_eq!((found, store.query().partition("default").count()), (vec![a], 1));
    assert_eq!(
        store.replace(NewTrace::from(mnemon::Trace::clone(&replaced)))?.revision(),
        2,
        "nothing differs"
    );
    assert_eq!((store.flush()?.rows_upserted, store.link_count()), (1, 1));
    let refused = store.replace(given.confidence(7.0)).unwrap_err();
    assert_eq!(refused.field(), Some("confidence"));
    store.close()?;
    let store = TraceStore::builder().open_at(file.path())?;
    let stored = store.get(a).ok_or("stored")?;
    assert_eq!(fields(&stored), wanted);
    Ok(())
}

#[test]
fn refused_update_passes_the_hosts_error() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(NewTrace::of(&json!({"depth": 4}))?)?;
    store.flush()?;
    let deepen = |most| {
        store.try_update(id, |trace| {
            let depth = trace.before().payload().get("depth")?.and_then(|depth| depth.as_u64()).unwrap_or(0);
            if depth >= most {
                Err(Mine::TooDeep(depth))
            } else {
                Ok(trace.payload(json!({"depth": depth + 1})))
            }
        })
    };
    let before = store.get(id).ok_or("stored")?;
    assert!(matches!(deepen(4), Err(Mine::TooDeep(4))));
    assert_eq!(store.get(id), Some(before));
    assert_eq!(store.stats().dirty, 0);
    assert_eq!(deepen(5)?.map(|trace| trace.revision()), Some(2));
    assert_eq!(store.stats().dirty, 1);
    let of_none = store.try_update(TraceId::new(), |_| Err(Mine::TooDeep(0)))?;
    assert_eq!(of_none, None);
    let invalid = store.try_update(id, |trace| Ok::<_, Mine>(trace.confidence(7.0)));
    assert!(matches!(invalid, Err(Mine::Store(error)) if error.field() == Some("confidence")));
    store.clone().close()?;
    assert!(matches!(deepen(9), Err(Mine::Store(error)) if error.kind() == ErrorKind::Closed));
    Ok(())
}

#[test]
fn removal_needs_the_given_revision() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(NewTrace::text("the bar moves"))?;
    store.update(id, |trace| trace.tag("checked"))?;
    let late = store.remove_if(id, 1).unwrap_err();
    assert_eq!((late.kind(), late.found_revision()), (ErrorKind::RevisionConflict, Some(2)));
    assert_eq!(store.update_if(id, 1, |trace| trace.tag("mine")).unwrap_err().found_revision(), Some(2));
    assert_eq!(store.remove_if(id, 2)?.map(|trace| trace.id()), Some(id));
    assert_eq!(store.remove_if(id, 2)?, None);
    Ok(())
}

#[test]
fn retain_judges_what_changed_meanwhile_again() -> Outcome {
    let store = TraceStore::in_memory();
    let ids = traces(&store, 10)?;
    associate(&store, ids[0], ids[1], 3)?;
    let mut judged = 0;
    let removed = store.retain(|trace| {
        judged += 1;
        if judged == 1 {
            // Between the judgement and the removal.
            store.update(trace.id(), |trace| trace.tag("kept")).ok();
        }
        trace.has_tag("kept")
    })?;
    assert_eq!((removed.traces, removed.links, store.len(), judged), (9, 1, 1, 11));
    store.clone().close()?;
    assert_eq!(store.retain(|_| false).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(store.len(), 1);
    Ok(())
}

#[test]
fn unlink_removes_link_and_row() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let [a, b, c] = traces(&store, 3)?[..] else { unreachable!() };
    associate(&store, a, b, 3)?;
    associate(&store, b, c, 1)?;
    store.flush()?;
    assert_eq!(store.unlink(b, a)?.map(|link| link.count()), Some(3));
    assert_eq!(
        (store.unlink(a, b)?, store.unlink(a, a)?, store.unlink(a, TraceId::new())?),
        (None, None, None)
    );
    assert_eq!((store.links(a).len(), store.links(b).len(), store.link_count()), (0, 1, 1));
    assert!(store.associated(a, 0.0, 20).is_empty());
    store.flush()?;
    assert_eq!(rows(&file)?, (vec![(b.min(c), b.max(c), 1)], 0));
    assert_eq!(store.co_activate(a, b)?.count(), 1);
    store.clone().close()?;
    assert_eq!(store.unlink(a, b).unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}

#[test]
fn all_pairs_are_co_activated() -> Outcome {
    let store = TraceStore::in_memory();
    let ids = traces(&store, 5)?;
    let twice = || ids.iter().chain(&ids[..2]).copied();
    assert_eq!((store.co_activate_all(twice())?, store.link_count()), (10, 10));
    assert!(store.co_activate_all([ids[0], TraceId::new()]).is_err_and(|e| e.kind() == ErrorKind::NotFound));
    assert_eq!((store.co_activate_all([ids[0]])?, store.co_activate_all([])?), (0, 0));
    assert!(ids.iter().all(|id| store.links(*id).iter().all(|link| link.count() == 1)));
    Ok(())
}

#[test]
fn several_are_got_in_order() -> Outcome {
    let store = TraceStore::in_memory();
    let ids = traces(&store, 3)?;
    let gone = TraceId::new();
    let found = store.get_many([ids[2], gone, ids[0], ids[2]]);
    let found: Vec<_> = found.iter().map(|trace| trace.as_ref().map(|trace| trace.id())).collect();
    assert_eq!(found, [Some(ids[2]), None, Some(ids[0]), Some(ids[2])]);
    Ok(())
}

#[test]
fn tags_are_taken_off() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(NewTrace::text("tide").tags(["a", "b", "c"]))?;
    store.flush()?;
    store.update(id, |trace| trace.untag("d"))?;
    assert_eq!(store.stats().dirty, 0, "nothing has changed");
    let changed = store.update(id, |trace| trace.tag("d").untag("b").untag("d"))?.ok_or("stored")?;
    assert_eq!(changed.tags().collect::<Vec<_>>(), ["a", "c"]);
    Ok(())
}

#[derive(Serialize)]
struct Place {
    name: &'static str,
    #[serde(rename = "a/b")]
    depths: [f64; 2],
}

#[test]
fn payload_parts_are_read_by_path() -> Outcome {
    let trace = NewTrace::of(&Place { name: "the bar", depths: [3.5, 4.0] })?.into_trace()?;
    assert_eq!(trace.trace_type(), TraceType::Semantic);
    let part = |path: &str| trace.payload().get(path);
    assert_eq!((part("name")?, part("a/b.1")?), (Some(json!("the bar")), Some(json!(4.0))));
    assert_eq!((part("/a~1b/0")?, part("/name")?), (Some(json!(3.5)), Some(json!("the bar"))));
    for nothing in ["", "/", "name.x", "a/b.2", "a/b.x", "/a/b"] {
        assert_eq!(part(nothing)?, None, "{nothing}");
    }
    assert_eq!(NewTrace::text("[1]").into_trace()?.payload(), &Payload::text("[1]"));
    assert_eq!(NewTrace::of(&f64::NAN)?.into_trace()?.payload().as_str(), "null");
    Ok(())
}

#[test]
fn times_of_the_system_are_taken() -> Outcome {
    let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001);
    let trace = NewTrace::text("then").created_at(at).into_trace()?;
    assert_eq!(SystemTime::try_from(trace.created_at())?, at);
    assert_eq!(trace.last_reinforced(), trace.created_at());
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    let error = NewTrace::text("never").last_decayed(far).into_trace().unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("last_decayed")));
    Ok(())
}

#[test]
fn several_are_changed_or_none() -> Outcome {
    let store = TraceStore::in_memory();
    let ids = traces(&store, 3)?;
    let mut times = 0;
    store.update_many(ids.clone(), |trace| {
        times += 1;
        trace.tag("seen")
    })?;
    assert_eq!((times, store.tags()["seen"]), (3, 3));
    let gone = TraceId::new();
    let missing = store.update_many([ids[0], gone], |trace| trace.tag("again")).unwrap_err();
    assert!(missing.kind() == ErrorKind::NotFound && missing.to_string().contains(&gone.to_string()));
    let invalid = store.update_many(ids.clone(), |trace| trace.confidence(7.0)).unwrap_err();
    assert_eq!(invalid.field(), Some("confidence"));
    assert_eq!(store.remove_many([ids[0], gone]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.remove_many([ids[0], ids[0]]).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(ids.iter().all(|id| store.get(*id).is_some_and(|trace| trace.revision() == 2)));
    store.remove_many(ids)?;
    assert!(store.is_empty());
    Ok(())
}
