//! A handle to a partition finds and changes nothing outside it.
#![cfg(feature = "sqlite")]

use super::retrieval::settle;
use harness::{Outcome, note};
use mnemon::{ErrorKind, Group, NewTrace, Order, Partition, Trace, TraceId, TraceStore};
use std::collections::BTreeMap;
use std::sync::Arc;

fn ids(traces: &[Arc<Trace>]) -> Vec<TraceId> {
    traces.iter().map(|trace| trace.id()).collect()
}

/// Three traces of Ana's, that are associated, and three of Ben's, associated with each other and with Ana's.
fn scene() -> Outcome<(TraceStore, [Partition; 2], [Vec<TraceId>; 2])> {
    let store = TraceStore::in_memory();
    let [ana, ben] = ["ana", "ben"].map(|name| store.in_partition(name));
    let make = |n| note(n).tag("both").base_decay_rate(0.0);
    let hers = ana.insert_many((0..3).map(|n| make(n).tag("hers")))?;
    let his = ben.insert_many((0..3).map(|n| make(n).tag("his")))?;
    for _ in 0..3 {
        store.co_activate_all(hers.iter().chain(&his).copied())?;
    }
    Ok((store, [ana, ben], [hers, his]))
}

#[test]
fn replaced_trace_is_found_in_its_new_partition() -> Outcome {
    let store = harness::manual_flush().in_memory()?;
    let other = store.insert(note(0).partition("new").strength(0.1))?;
    for steady in [false, true] {
        let rate = if steady { 0.0 } else { 0.1 };
        let id = store.insert(note(1).partition("old").base_decay_rate(rate))?;
        settle(&store);
        let trace = store.get(id).ok_or("it is there")?;
        store.replace(NewTrace::from(Trace::clone(&trace)).partition("new"))?;
        settle(&store);
        for order in [Order::Strength, Order::Recency, Order::Created, Order::Score] {
            let found =
                |partition: &str| ids(&store.query().partition(partition).order(order).limit(5).run());
            assert_eq!((found("old"), found("new")), (Vec::new(), vec![id, other]), "{order:?}");
        }
        store.remove(id)?;
        settle(&store);
    }
    Ok(())
}

#[test]
fn nothing_outside_is_found() -> Outcome {
    let (store, [ana, ben], [hers, his]) = scene()?;
    for is_settled in [false, true] {
        if is_settled {
            settle(&store);
        }
        assert_eq!((ana.name(), ana.len(), store.in_partition("none").is_empty()), ("ana", 3, true));
        assert_eq!((ana.get(his[0]), ana.contains(his[0]), ana.contains(hers[0])), (None, false, true));
        assert_eq!(
            ana.get_many([his[0], hers[0]]).iter().map(Option::is_some).collect::<Vec<_>>(),
            [false, true]
        );
        let both = |part: &Partition| part.query().tagged("both").run();
        assert!(both(&ana).iter().all(|trace| trace.partition() == "ana") && both(&ana).len() == 3);
        assert_eq!((ana.query().tagged("his").count(), ana.query().partition("ben").run().len()), (0, 0));
        assert_eq!(ana.query().partition("ben").count(), 0);
        assert_eq!(ana.tags(), BTreeMap::from([("both".to_owned(), 3), ("hers".to_owned(), 3)]));
        assert_eq!(store.partitions(), BTreeMap::from([("ana".to_owned(), 3), ("ben".to_owned(), 3)]));
        assert_eq!(store.tags()["both"], 6);
        assert_eq!(ana.rank(hers.iter().chain(&his).copied()).len(), 3);
        assert_eq!(
            (ana.links(hers[0]).len(), ana.links(his[0]).len(), store.links(hers[0]).len()),
            (2, 0, 5)
        );
        assert_eq!((ana.link(hers[0], his[0]), ana.link(hers[0], hers[1]).is_some()), (None, true));
        let near = ana.associated(hers[0], 0.0, 20);
        assert_eq!((near.len(), near.iter().all(|trace| trace.partition() == "ana")), (2, true));
        let walked: Vec<_> = ana.walk(hers[0], 12, 0.0).map(|step| step.trace.id()).collect();
        assert_eq!((walked.len(), walked.iter().all(|id| hers.contains(id))), (2, true));
        assert_eq!(ana.walk(his[0], 12, 0.0).count(), 0);
        assert_eq!(ids(&ben.query().limit(2).run()).len(), 2);
    }
    Ok(())
}

#[test]
fn nothing_outside_is_changed() -> Outcome {
    let (store, [ana, ben], [hers, his]) = scene()?;
    let before = store.get(his[0]);
    assert_eq!(ana.update(his[0], |trace| trace.tag("mine"))?, None);
    assert_eq!(ana.update_if(his[0], 99, |trace| trace.tag("mine"))?, None, "not even its revision is told");
    assert_eq!(ana.try_update(his[0], |_| Err(never()))?, None);
    assert_eq!((ana.remove(his[0])?, ana.remove_if(his[0], 99)?, ana.reinforce(his[0])?), (None, None, None));
    let foreign = ana.upsert(note(9).id(his[0]), |trace| trace.tag("mine"));
    assert_eq!(foreign.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(ana.insert(note(9).id(his[0])).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let elsewhere = ana.insert(note(9).partition("ben")).unwrap_err();
    assert_eq!((elsewhere.kind(), elsewhere.field()), (ErrorKind::InvalidInput, Some("partition")));
    assert_eq!(ana.insert_many([note(8), note(9).partition("ben")]).unwrap_err().field(), Some("partition"));
    assert_eq!(ana.co_activate(hers[0], his[0]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(ana.co_activate_all([hers[0], his[0]]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!((ana.unlink(his[0], his[1])?, ana.unlink(hers[0], his[0])?), (None, None));
    let steps: [fn(&mut Group<'_>, TraceId, TraceId); 5] = [
        |group, _, his| group.update(his, |trace| trace.tag("mine")),
        |group, _, his| group.update_if(his, 99, |trace| trace.tag("mine")),
        |group, _, his| group.expect(his, 99),
        |group, _, his| group.remove(his),
        |group, hers, his| group.link(hers, his),
    ];
    for step in steps {
        let refused = ana.apply(|group| {
            group.update(hers[0], |trace| trace.tag("never"));
            step(group, hers[0], his[0]);
            Ok(())
        });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
    }
    let elsewhere = ana.apply(|group| group.insert(note(9).partition("ben")));
    assert_eq!(elsewhere.unwrap_err().field(), Some("partition"));
    assert_eq!(
        ana.update_many(his.clone(), |trace| trace.tag("mine")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(ana.remove_many(his.clone()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.query().tagged("never").count() + store.query().tagged("mine").count(), 0);
    assert_eq!((store.get(his[0]), store.link_count(), store.len()), (before, 15, 6));

    assert_eq!(ana.retain(|trace| trace.id() == hers[0])?.traces, 2);
    assert_eq!((ana.len(), ben.len()), (1, 3));
    assert_eq!((ana.erase()?.traces, ana.len(), ben.len()), (1, 0, 3));
    Ok(())
}

fn never() -> mnemon::Error {
    "no uuid".parse::<TraceId>().unwrap_err()
}

#[test]
fn partition_answers_like_a_store() -> Outcome {
    let (store, [ana, _], [hers, _]) = scene()?;
    let id = ana.insert(NewTrace::text("new").partition("ana"))?;
    assert_eq!(store.get(id).map(|trace| trace.partition().to_owned()), Some("ana".to_owned()));
    assert_eq!(ana.update(id, |trace| trace.tag("x"))?.map(|trace| trace.revision()), Some(2));
    assert_eq!(ana.update_if(id, 1, |trace| trace).unwrap_err().found_revision(), Some(2));
    assert_eq!(ana.upsert(note(1).id(id), |trace| trace.untag("x"))?.revision(), 3);
    let refused = ana.try_update(id, |_| Err::<_, mnemon::Error>(never()));
    assert_eq!(refused.unwrap_err().field(), Some("id"));
    assert!(ana.reinforce(id)?.is_some_and(|trace| trace.reinforcement_count() == 1));
    assert_eq!(ana.remove_if(id, 9).unwrap_err().found_revision(), Some(4));
    assert!(ana.remove_if(id, 4)?.is_some() && ana.get(id).is_none());
    assert_eq!((ana.co_activate(hers[0], hers[1])?.count(), ana.co_activate_all(hers.clone())?), (4, 3));
    assert!(ana.unlink(hers[0], hers[1])?.is_some_and(|link| link.count() == 5));
    ana.update_many(hers.clone(), |trace| trace.tag("seen"))?;
    assert_eq!(ana.tags()["seen"], 3);
    ana.remove_many(hers[1..].iter().copied())?;
    assert_eq!(ana.len(), 1);
    let invalid = store.in_partition("").insert(note(1)).unwrap_err();
    assert_eq!(invalid.field(), Some("partition"));
    Ok(())
}
