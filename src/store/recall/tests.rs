use crate::{Error, NewTrace, Result, TextIndex, TraceId, TraceStore};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

fn store() -> Result<TraceStore> {
    TraceStore::builder().text_index(TextIndex::english()).in_memory()
}

/// Every word that the index has, once it has every cut.
fn words(store: &TraceStore) -> BTreeSet<String> {
    store.state().forget_removed();
    store.state().ask_texts(false, |_, views, _| views.indexed_words()).unwrap_or_default()
}

#[test]
fn erased_words_leave_the_index() -> Result<()> {
    let store = store()?;
    store.insert_many([
        NewTrace::text("the pilot keeps a secret").partition("ana").tag("harbour"),
        NewTrace::text("the pilot keeps the charts").partition("ben"),
    ])?;
    store.flush()?;
    assert!(words(&store).contains("secret"));
    store.erase_partition("ana")?;
    // Without a wait: the call returns when nothing is left.
    let left = store.state().ask(|_, views| views.indexed_words()).unwrap_or_default();
    assert_eq!(left, ["chart", "keep", "pilot", "the"].map(str::to_owned).into());
    store.erase_partition("ben")?;
    assert_eq!(words(&store), BTreeSet::new());
    Ok(())
}

#[test]
fn numbers_leave_the_index_alone() -> Result<()> {
    let store = store()?;
    let id = store.insert(NewTrace::text("spring tide"))?;
    store.flush()?;
    assert!(words(&store).contains("tide"));
    let content = |store: &TraceStore| {
        let is_read = |trace| store.state().ask(|_, views| views.unread(&[trace]).is_empty());
        is_read(store.get(id))
    };
    assert_eq!(content(&store), Some(true));
    store.reinforce(id)?;
    assert_eq!(content(&store), Some(true), "the index has what a reinforced trace says");
    store.update(id, |trace| trace.tag("moon"))?;
    assert_eq!(content(&store), Some(false), "the index lacks the new tag");
    Ok(())
}

#[test]
fn index_is_built_anew() -> Result<()> {
    let store = store()?;
    store.insert_many((0..1_000).map(|n| NewTrace::text(&format!("tide {n}"))))?;
    store.flush()?;
    let all = words(&store);
    store.rebuild_text_index();
    assert_eq!(store.recall("tide").limit(usize::MAX).run()?.len(), 1_000);
    assert!(store.text_index_backlog() == 0 && words(&store) == all);
    Ok(())
}

/// However often the index is emptied while it is asked, the answer is that of a whole one.
#[test]
fn question_waits_for_whole_index() -> Result<()> {
    let store = store()?;
    store.insert_many((0..1_500).map(|n| NewTrace::text(&format!("tide {n}"))))?;
    store.flush()?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                store.rebuild_text_index();
                // As long as a question takes at most, so that it is not kept from its end for ever.
                while store.text_index_backlog() > 0 && !is_over.load(Relaxed) {
                    std::thread::yield_now();
                }
            }
        });
        let found: Vec<_> =
            (0..20).map(|_| store.recall("tide").limit(usize::MAX).run().map(|found| found.len())).collect();
        is_over.store(true, Relaxed);
        found.into_iter().try_for_each(|found| {
            assert_eq!(found?, 1_500);
            Ok(())
        })
    })
}

/// A clock that is set back changes the order of strengths, not what the traces say.
#[test]
fn clock_set_back_reads_no_text() -> Result<()> {
    let clock = crate::ManualClock::at(crate::jiff::Timestamp::from_second(1_000_000).unwrap_or_default());
    let store = TraceStore::builder().clock(&clock).text_index(TextIndex::english()).in_memory()?;
    store.insert_many((0..100).map(|n| NewTrace::text(&format!("tide {n}"))))?;
    store.flush()?;
    assert_eq!(words(&store).len(), 101);
    let epoch = || store.state().ask(|_, views| views.text_epoch());
    let was = epoch();
    clock.set(crate::jiff::Timestamp::UNIX_EPOCH);
    let is_ahead = || {
        let explained = store.query().order(crate::Order::Strength).limit(1).explain();
        !explained.contains("from the strongest on")
    };
    while is_ahead() {
        std::thread::yield_now();
    }
    assert_eq!((epoch(), store.text_index_backlog()), (was, 0));
    Ok(())
}

/// The index is asked for a time that is past, where the views have taken out what has ended since.
#[test]
fn texts_of_earlier_time_are_found() -> Result<()> {
    let clock = crate::ManualClock::at(crate::jiff::Timestamp::UNIX_EPOCH);
    let store = TraceStore::builder().clock(&clock).text_index(TextIndex::english()).in_memory()?;
    let minutes = |n: i64| crate::jiff::Timestamp::from_second(60 * n).unwrap_or_default();
    store.insert_many((0..2).map(|_| NewTrace::text("tide").tag("moon").valid_until(minutes(5))))?;
    store.flush()?;
    let tides = || store.query().tagged("moon").text("tide").order(crate::Order::Created);
    let first = tides().limit(1).page();
    assert_eq!((first.traces.len(), first.next.is_some()), (1, true));
    let end = || {
        clock.set(minutes(10));
        // Each asks for what has ended to be taken out.
        while store.state().ask(|_, views| views.ends_are_behind(minutes(10).into())) != Some(false) {
            assert_eq!(store.recall("tide").run().map(|found| found.len()).ok(), Some(0));
        }
    };
    end();
    let second = first.next.map(|next| tides().after(next).run().len());
    assert_eq!(second, Some(1));
    end();
    clock.set(minutes(1));
    assert_eq!(tides().run().len(), 2);
    end();
    clock.set(minutes(1));
    assert_eq!(store.recall("tide").tagged("moon").run()?.len(), 2);
    Ok(())
}

/// The index has what they say, and the views do not show yet that they meet the conditions.
#[test]
fn texts_that_come_to_meet_conditions_are_found() -> Result<()> {
    let hour = std::time::Duration::from_secs(3_600);
    let builder = TraceStore::builder().flush_interval(hour).text_index(TextIndex::english());
    let store = builder.in_memory()?;
    let ids = store.insert_many((0..3).map(|_| NewTrace::text("tide")))?;
    store.flush()?;
    assert!(words(&store).contains("tide"));
    let open = || store.query().text("tide").unresolved(true).run().len();
    assert_eq!(open(), 0);
    store.update(ids[1], |trace| trace.unresolved(true))?;
    assert_eq!(open(), 1);
    store.update(ids[1], |trace| trace.unresolved(false))?;
    assert_eq!(open(), 0);
    Ok(())
}

/// A weight that is no finite number lends nothing where nothing is to be lent.
#[test]
fn infinite_weights_keep_associated_traces() -> Result<()> {
    let store = store()?;
    let [a, b] = [store.insert(NewTrace::text("ebb tide"))?, store.insert(NewTrace::text("spring tide"))?];
    for _ in 0..5 {
        store.co_activate(a, b)?;
    }
    assert_eq!(store.recall("tide").weigh(|_| f64::INFINITY).run()?.len(), 2);
    Ok(())
}

#[test]
fn embeddings_have_one_number_of_dimensions() -> Result<()> {
    let store = store()?;
    let id = store.insert(NewTrace::text("a").embedding([1.0, 0.0]))?;
    let message = |error: Error| (error.field().map(str::to_owned), error.to_string());
    let named = |refused: (Option<String>, String), field: &str| {
        assert_eq!(refused.0.as_deref(), Some(field));
        assert!(refused.1.contains("of 3 dimensions") && refused.1.contains("have 2"), "{}", refused.1);
    };
    let refused = store.insert(NewTrace::text("b").embedding([1.0, 0.0, 0.0]));
    named(refused.map_err(message).unwrap_err(), "embedding");
    let refused = store.update(id, |trace| trace.embedding([1.0, 0.0, 0.0]));
    named(refused.map_err(message).unwrap_err(), "embedding");
    let refused = store.recall("a").near([1.0, 0.0, 0.0]).run();
    named(refused.map_err(message).unwrap_err(), "near");
    // What takes the place of everything may have others.
    store.restore([NewTrace::text("c").embedding([1.0, 0.0, 0.0])])?;
    assert_eq!(store.recall("").near([1.0, 0.0, 0.0]).run()?.len(), 1);
    let mixed = [[0.0; 2].to_vec(), [0.0; 3].to_vec()].map(|vector| NewTrace::text("d").embedding(vector));
    assert!(store.restore(mixed).is_err());
    // Once none is left, and not before, others may come.
    let ids: Vec<_> = store.iter().map(|trace| trace.id()).collect();
    store.remove_many(ids)?;
    store.insert(NewTrace::text("e").embedding([1.0]))?;
    // Without an index they are the host's own.
    let plain = TraceStore::in_memory();
    plain.insert(NewTrace::text("a").embedding([1.0]))?;
    plain.insert(NewTrace::text("b").embedding([1.0, 0.0]))?;
    Ok(())
}

/// A write that does not take place says nothing of dimensions, whatever kind of write it is.
#[test]
fn refused_writes_leave_dimensions_open() -> Result<()> {
    let store = store()?;
    let id = store.insert(NewTrace::text("a"))?;
    let two = || NewTrace::text("b").embedding([1.0, 0.0]);
    let three = [1.0, 0.0, 0.0];
    store.insert(two().id(id)).unwrap_err();
    store.insert_many([two(), two().id(id)]).unwrap_err();
    store.upsert(two().id(id), |trace| trace.embedding([1.0]).confidence(2.0)).unwrap_err();
    store.update_if(id, 9, |trace| trace.embedding([1.0])).unwrap_err();
    store.update(TraceId::new(), |trace| trace.embedding([1.0]))?;
    store
        .apply(|group| {
            group.insert(two())?;
            group.update(id, |trace| trace.embedding(three));
            Ok(())
        })
        .unwrap_err();
    let panics = std::panic::AssertUnwindSafe(|| store.update(id, |_| panic!("of the host")));
    assert!(std::panic::catch_unwind(panics).is_err());
    store.upsert(two().id(id), |trace| trace.embedding(three))?;
    store.insert(two()).unwrap_err();
    // A replaced embedding counts once, one that is taken away does not.
    store.update(id, |trace| trace.embedding([0.0; 3]))?;
    store.upsert(NewTrace::text("a").id(id), |trace| trace.no_embedding())?;
    store.insert(two())?;
    store.retain(|trace| trace.embedding().is_none())?;
    store.insert_many([NewTrace::text("c").embedding(three), NewTrace::text("c").embedding(three)])?;
    store.insert(two()).unwrap_err();
    store.restore([NewTrace::text("d")])?;
    store.insert(two())?;
    Ok(())
}

/// Of the embeddings that stores without an index have left in a file, the most frequent number of dimensions counts.
#[test]
fn most_embeddings_decide_dimensions() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|error| Error::new(crate::ErrorKind::Io, error.to_string()))?;
    let path = folder.path().join("memory.db");
    let plain = TraceStore::open(&path)?;
    let of = |dimensions: usize| NewTrace::text("a").embedding(vec![1.0; dimensions]);
    plain.insert_many([4, 3, 3, 2, 2, 5].map(of))?;
    plain.close()?;
    let store = TraceStore::builder().text_index(TextIndex::english()).open(&path)?;
    assert!(store.insert(of(3)).is_err() && store.insert(of(5)).is_err());
    store.insert(of(2))?;
    store.retain(|trace| trace.embedding().is_some_and(|embedding| embedding.len() == 4))?;
    assert!(store.insert(of(4)).is_err(), "one embedding is left");
    store.retain(|_| false)?;
    store.insert(of(4))?;
    Ok(())
}

#[test]
fn impossible_questions_are_refused() -> Result<()> {
    use crate::Fusion;
    let plain = TraceStore::in_memory();
    assert!(plain.recall("a").run().is_err_and(|error| error.to_string().contains("text_index")));
    let store = store()?;
    assert!(store.recall("a").near([f32::NAN]).run().is_err());
    assert!(store.recall("a").spread(1.5).run().is_err());
    for (text, vector) in [(0.0, 0.0), (-1.0, 2.0), (f64::NAN, 1.0), (f64::INFINITY, 1.0)] {
        assert!(store.recall("a").fusion(Fusion::Weights { text, vector }).run().is_err());
    }
    assert_eq!(store.recall("").run()?.len(), 0);
    Ok(())
}

/// Long after, scores differ by the match, and equal ones are ordered by how recent they are, not by their ids.
#[test]
fn order_holds_after_years() -> Result<()> {
    let clock = crate::ManualClock::at(crate::jiff::Timestamp::UNIX_EPOCH);
    let store = TraceStore::builder().clock(&clock).text_index(TextIndex::english()).in_memory()?;
    let id = |n: u8| TraceId::from_bytes([n; 16]);
    for n in [3, 2, 1] {
        // Firmware does not fade, so that all have one strength.
        store.insert(NewTrace::firmware(crate::Payload::text("tide")).id(id(4 - n)))?;
        clock.advance(std::time::Duration::from_secs(3_600));
    }
    store.insert(NewTrace::firmware(crate::Payload::text("tide tide")).id(id(9)))?;
    clock.advance(std::time::Duration::from_secs(3_600 * 24 * 365 * 3));
    let order: Vec<_> = store.recall("tide").run()?.iter().map(|found| found.trace.id()).collect();
    assert_eq!(order, [id(9), id(3), id(2), id(1)]);
    Ok(())
}
