//! A flush: what it captures, what it owes after a failure, and what it settles.

use super::*;

#[test]
fn what_was_captured_is_settled_when_it_is_committed_and_not_before() {
    let (mut flusher, state, told) = two_linked();
    state.unlink('a', 'b');
    state.remove('b');
    let seen = state.clone();
    told.next(Turn::Meanwhile(Box::new(move || assert_eq!(seen.cells(), (2, 1), "while it is committed"))));
    told.next(Turn::Fail(ErrorKind::DiskFull));
    assert!(flusher.flush_once(Durability::Durable, Opening::Open), "{:?}", state.counters.present_error());
    assert_eq!(state.cells(), (1, 1), "one of the two is settled at once");
    flusher.settle_all();
    assert_eq!(state.cells(), (1, 0));
    state.remove('a');
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(state.cells(), (1, 0), "that failed");
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(state.cells(), (0, 0));
    assert_eq!(told.calls(), ["sync 2 -b -ab", "sync 3 -a", "sync 4 -a"]);
}

#[test]
fn what_was_written_since_its_capture_is_not_settled() {
    let (mut flusher, state, told) = two_linked();
    state.touch('b');
    state.link('a', 'b');
    let writer = state.clone();
    told.next(Turn::Meanwhile(Box::new(move || {
        writer.unlink('a', 'b');
        writer.remove('b');
    })));
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(state.cells(), (2, 1), "their removal is in no cut yet");
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 2 ~b +ab", "sync 3 -b -ab"]);
    flusher.settle_all();
    assert_eq!(state.cells(), (1, 0));
}

/// A step of tests settles one key of a batch.
#[test]
fn key_captured_again_before_it_is_settled_has_its_row_remembered() {
    let (mut flusher, state, told) = two_linked();
    let touch_both = |flusher: &mut Flusher| {
        state.touch('a');
        state.touch('b');
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    };
    touch_both(&mut flusher);
    flusher.settle_all();
    state.unlink('a', 'b');
    state.remove('a');
    state.remove('b');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    state.put('a');
    state.put('b');
    state.link('a', 'b');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 2 ~a ~b", "sync 3 -a -b -ab", "sync 4 +a +b +ab"]);
    touch_both(&mut flusher);
    assert_eq!(told.calls(), ["sync 5 ~a ~b"]);
    flusher.settle_all();
    assert_eq!((state.cells(), flusher.unsettled.len()), ((2, 1), 0));
    touch_both(&mut flusher);
    assert_eq!(told.calls(), ["sync 6 ~a ~b"], "older batches have nothing to say any more");
}

/// A writer lists its key and then loses against a removal, which a batch that is not settled has.
#[test]
fn removed_key_that_was_listed_in_vain_is_settled() {
    for letter in ['a', 'b'] {
        let (mut flusher, state, told) = two_linked();
        let done = state.traces.update::<_, ()>(&state.generations, &id(letter), |old| {
            state.unlink('a', 'b');
            state.remove('a');
            state.remove('b');
            assert!(flusher.flush_once(Durability::Durable, Opening::Open));
            Ok(Change::put(Trace::clone(old)))
        });
        assert!(done.is_ok_and(|done| done.is_none()), "it is removed");
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
        flusher.settle_all();
        assert_eq!((told.calls(), state.cells()), (vec!["sync 2 -a -b -ab".to_owned()], (0, 0)));
    }
}

/// What an earlier batch has stored is not remembered after a later one, which was refused.
#[test]
fn batch_is_settled_before_everything_is_captured_again() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    state.put('b');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    state.put('c');
    told.next(Turn::Fail(ErrorKind::Corrupt));
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    let refused = vec![(0, "the test refuses it".to_owned()), (1, "and this".to_owned())];
    told.desk().applied = Applied { refused, ..Applied::default() };
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    told.desk().applied = Applied::default();
    flusher.settle_all();
    state.touch('a');
    state.touch('b');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    let calls = ["sync 1 +a +b", "sync 2 +c", "replace", "sync 3 +a +b +c", "sync 4 +a +b"];
    assert_eq!(told.calls(), calls, "whole: there are no rows");
}

/// The backend may hold something of the trace before, such as its history, until a commit of its successor lasts.
#[test]
fn row_that_had_another_trace_is_named_until_that_lasts() {
    for (refused, and_again) in [(true, false), (false, false), (false, true)] {
        let (mut flusher, state, told) = flusher(NEVER);
        state.put('a');
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
        assert!(told.desk().replaced.is_empty());
        state.put('a');
        if refused {
            told.desk().applied.refused = vec![(0, "the test refuses it".to_owned())];
        }
        assert!(flusher.flush_once(Durability::Committed, Opening::Open));
        assert_eq!(std::mem::take(&mut told.desk().replaced), [1]);
        told.desk().applied = Applied::default();
        if refused {
            flusher.settle_all();
            state.touch('a');
        } else {
            // By yet another one, before anything is synced.
            state.put('a');
            assert!(flusher.flush_once(Durability::Committed, Opening::Open));
            assert_eq!(std::mem::take(&mut told.desk().replaced), [1]);
            state.touch('a');
            assert!(flusher.flush_once(Durability::Committed, Opening::Open));
            assert!(told.desk().replaced.is_empty(), "the row is the new trace's");
            // What was committed is lost with the file's unsynced pages.
            flusher.needs_reopen = true;
        }
        if and_again {
            state.put('a');
        }
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
        assert_eq!(told.desk().replaced, [1], "refused: {refused}");
        state.touch('a');
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
        assert!(told.desk().replaced.is_empty(), "refused: {refused}");
    }
}

/// Large batches without rest between them.
#[test]
fn what_waits_to_be_settled_is_no_more_than_one_batch() {
    let (mut flusher, state, _) = flusher(NEVER);
    let letters = || 'a'..='z';
    letters().for_each(|letter| state.put(letter));
    for _ in 0..20 {
        letters().for_each(|letter| state.touch(letter));
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
        let waits: usize = flusher.unsettled.iter().map(|batch| batch.traces.len()).sum();
        assert!(waits <= 26, "{waits}");
    }
}

#[test]
fn a_failure_that_leaves_doubt_reopens_and_others_do_not() {
    use ErrorKind::{
        Backend, Busy, Corrupt, DiskFull, InUse, Io, NewerSchema, NotAStore, OutOfMemory, Unreachable,
    };
    let cases = [Busy, DiskFull, OutOfMemory].map(|kind| (kind, None)).into_iter();
    let doubtful =
        [Io, Unreachable, NotAStore, NewerSchema, InUse, Backend].map(|kind| (kind, Some("reopen")));
    for (kind, before) in cases.chain(doubtful).chain([(Corrupt, Some("replace"))]) {
        let (mut flusher, state, told) = flusher(NEVER);
        state.put('a');
        told.next(Turn::Fail(kind));
        assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
        let expected: Vec<_> = ["sync 1 +a"].into_iter().chain(before).chain(["sync 2 +a"]).collect();
        assert_eq!(told.calls(), expected, "{kind:?}");
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
        assert!(told.calls().is_empty(), "once, and what is committed is not written again");
    }
}

#[test]
fn a_reopening_or_replacing_that_fails_is_done_again() {
    for (kind, call) in [(ErrorKind::Io, "reopen"), (ErrorKind::Corrupt, "replace")] {
        let (mut flusher, state, told) = two_linked();
        state.touch('a');
        told.next(Turn::Fail(kind));
        told.next(Turn::Fail(ErrorKind::DiskFull));
        assert!(
            !flusher.flush_once(Durability::Durable, Opening::Open)
                && !flusher.flush_once(Durability::Durable, Opening::Open)
        );
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
        let last = if call == "reopen" { "sync 4 ~a" } else { "sync 4 +a +b +ab" };
        assert_eq!(told.calls(), ["sync 2 ~a", call, call, last]);
    }
}

#[test]
fn a_reopening_that_finds_nothing_writes_everything() {
    let (mut flusher, state, told) = two_linked();
    state.touch('a');
    told.next(Turn::Fail(ErrorKind::Io));
    told.next(Turn::Empty);
    assert!(!flusher.flush_once(Durability::Committed, Opening::Open));
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    assert_eq!(told.calls(), ["commit 2 ~a", "reopen", "commit 3 +a +b +ab"]);
}

#[test]
fn what_is_not_synced_is_written_again_after_a_reopening_until_it_is() {
    let (mut flusher, state, told) = flusher(NEVER);
    let fail_and_try_again = |flusher: &mut Flusher| {
        told.next(Turn::Fail(ErrorKind::Io));
        assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
        told.calls()
    };
    state.put('a');
    state.put('b');
    state.link('a', 'b');
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    assert_eq!(state.progress.watermarks(), (1, 0));
    state.put('c');
    let all = ["commit 1 +a +b +ab", "sync 2 +c", "reopen", "sync 3 +a +b +c +ab"];
    assert_eq!(fail_and_try_again(&mut flusher), all);
    assert_eq!(state.progress.watermarks(), (3, 3));
    state.put('d');
    assert_eq!(fail_and_try_again(&mut flusher), ["sync 4 +d", "reopen", "sync 5 +d"]);
    // Synced by the housekeeping after the commit.
    told.desk().synced_by_tidying = true;
    state.put('e');
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    assert_eq!(state.progress.watermarks(), (6, 6));
    state.put('f');
    assert_eq!(fail_and_try_again(&mut flusher), ["commit 6 +e", "sync 7 +f", "reopen", "sync 8 +f"]);
}

/// Whether the removal is settled by then, as one of three is, or not.
#[test]
fn what_was_removed_and_not_synced_is_removed_again() {
    let (mut flusher, state, told) = flusher(NEVER);
    "abc".chars().for_each(|letter| state.put(letter));
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    "abc".chars().for_each(|letter| state.remove(letter));
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    told.calls();
    state.put('d');
    told.next(Turn::Fail(ErrorKind::Io));
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 3 +d", "reopen", "sync 4 +d -a -b -c"]);
}

#[test]
fn a_cut_without_changes_touches_the_backend_only_to_sync() {
    let (mut flusher, state, told) = two_linked();
    assert!(
        flusher.flush_once(Durability::Durable, Opening::Open)
            && flusher.flush_once(Durability::Committed, Opening::Open)
    );
    assert!(told.calls().is_empty());
    assert_eq!(state.progress.watermarks(), (1, 1), "what the backend was told");
    state.link('a', 'b');
    assert!(
        flusher.flush_once(Durability::Committed, Opening::Open)
            && flusher.flush_once(Durability::Committed, Opening::Open)
    );
    assert_eq!(state.progress.watermarks(), (4, 1));
    let seen = state.clone();
    told.next(Turn::Meanwhile(Box::new(move || assert_eq!((seen.dirty(), seen.oldest_age()), (0, None)))));
    assert!(
        flusher.flush_once(Durability::Durable, Opening::Open)
            && flusher.flush_once(Durability::Durable, Opening::Open)
    );
    assert_eq!(told.calls(), ["commit 4 +ab", "sync 6"]);
    assert_eq!(state.progress.watermarks(), (6, 6));
}

#[test]
fn an_erasure_is_owed_until_it_is_committed_and_then_done_no_more() {
    let (mut flusher, state, told) = flusher(NEVER);
    let rows = erase(&state, TraceType::Sensory);
    told.next(Turn::Fail(ErrorKind::DiskFull));
    assert!(!flusher.flush_once(Durability::Committed, Opening::Open));
    assert!(state.dirty() == 1 && state.oldest_age().is_some(), "it is behind");
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    state.put('a');
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 erase", "sync 2 erase", "commit 3 +a"]);
    assert_eq!((rows.load(Ordering::Relaxed), state.dirty()), (7, 0));
}

#[test]
fn of_the_erasures_of_a_scope_only_those_that_somebody_waits_for_are_done_twice() {
    let (mut flusher, state, told) = flusher(NEVER);
    let mut fail = |told: &Told| {
        told.next(Turn::Fail(ErrorKind::DiskFull));
        assert!(!flusher.flush_once(Durability::Committed, Opening::Open));
    };
    // The first has been given up by who asked for it.
    drop(erase(&state, TraceType::Sensory));
    fail(&told);
    let first = erase(&state, TraceType::Trust);
    fail(&told);
    let second = erase(&state, TraceType::Trust);
    fail(&told);
    drop(erase(&state, TraceType::Sensory));
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    let each = ["sync 1 erase", "sync 2 erase erase", "sync 3 erase erase erase", "sync 4 erase erase erase"];
    assert_eq!(told.calls(), each);
    assert_eq!([first, second].map(|rows| rows.load(Ordering::Relaxed)), [7, 7]);
}

/// A batch that failed may have been applied all the same.
#[test]
fn what_a_failed_batch_may_have_written_is_deleted_when_it_is_removed() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    state.put('b');
    state.link('a', 'b');
    told.next(Turn::Fail(ErrorKind::DiskFull));
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    state.unlink('a', 'b');
    state.remove('b');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 +a +b +ab", "sync 2 +a -b -ab"]);
}

/// Memory may lose the link a little later than the trace.
#[test]
fn a_trace_made_anew_between_two_cuts_inherits_no_link() {
    let (mut flusher, state, told) = two_linked();
    state.remove('b');
    state.put('b');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 2 +b -ab"]);
}

/// A link of a trace that has no row is left out as well.
#[test]
fn links_come_with_a_trace_whose_row_is_taken_at_last() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    state.put('b');
    state.link('a', 'b');
    let refused = vec![(0, "the test refuses it".to_owned())];
    told.desk().applied = Applied { refused: refused.clone(), refused_links: refused, ..Applied::default() };
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    told.desk().applied = Applied::default();
    let letter = if state.counters.lock().refused.contains_key(&id('a')) { 'a' } else { 'b' };
    state.touch(letter);
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 +a +b +ab".to_owned(), format!("sync 2 +{letter} +ab")]);
}

/// Who holds off cuts has his task done with what he writes.
#[test]
fn an_errand_sent_while_cuts_are_held_off_goes_with_the_next() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    let block = state.generations.block_cuts();
    std::thread::scope(|scope| {
        let flusher = scope.spawn(|| flusher.flush_once(Durability::Durable, Opening::Open));
        // It has begun, and waits.
        while state.progress.pending().0 == 0 {
            std::thread::yield_now();
        }
        (0..1_000).for_each(|_| std::thread::yield_now());
        erase(&state, TraceType::Sensory);
        drop(block);
        assert!(flusher.join().is_ok_and(|done| done));
    });
    assert_eq!(told.calls(), ["sync 1 erase +a"]);
}

#[test]
fn a_link_that_came_and_went_since_its_row_was_deleted_sends_nothing() {
    let (mut flusher, state, told) = two_linked();
    state.unlink('a', 'b');
    let writer = state.clone();
    told.next(Turn::Meanwhile(Box::new(move || writer.link('a', 'b'))));
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 2 -ab"]);
    state.unlink('a', 'b');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert!(told.calls().is_empty());
}

#[test]
fn what_each_flush_did_is_reported_and_added_up() {
    let (mut flusher, state, told) = flusher(NEVER);
    told.desk().applied = Applied {
        upserted: 2,
        updated: 3,
        deleted: 5,
        payload_bytes: 7,
        refused: vec![(0, "the test refuses it".to_owned())],
        links_upserted: 11,
        links_deleted: 13,
        refused_links: vec![(0, "and this".to_owned()), (0, "twice".to_owned())],
        ..Applied::default()
    };
    for round in 1..=2 {
        state.put('a');
        assert!(flusher.flush_once(Durability::Durable, Opening::Open));
        let report = state.progress.report();
        let rows = [report.rows_upserted, report.rows_updated, report.rows_deleted, report.rows_refused];
        let rest = [report.links_upserted, report.links_deleted, report.payload_bytes_serialized];
        assert_eq!((report.watermark, rows, rest), (round, [2, 3, 5, 3], [11, 13, 7]));
        let counters = state.counters.lock();
        let rows = [counters.rows_upserted, counters.rows_updated, counters.rows_deleted];
        let rest = [counters.links_upserted, counters.links_deleted, counters.payload_bytes_serialized];
        assert_eq!((rows, rest), ([2, 3, 5].map(|n| n * round), [11, 13, 7].map(|n| n * round)));
        let set_aside = counters.refused.get(&id('a')).map(|row| (u64::from(row.times), row.reason.clone()));
        assert_eq!(set_aside, Some((round, "the test refuses it".to_owned())));
    }
    told.desk().applied = Applied::default();
    state.touch('a');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert!(state.counters.lock().refused.is_empty(), "the backend takes it now");
}

#[test]
fn what_is_behind_is_told_from_the_cut_to_the_commit() {
    let (mut flusher, state, told) = two_linked();
    assert_eq!((state.dirty(), state.oldest_age()), (0, None));
    let before = Instant::now();
    state.touch('a');
    state.put('c');
    state.link('a', 'c');
    let (seen, since) = (state.clone(), state.generations.enter().first_write());
    told.next(Turn::Meanwhile(Box::new(move || {
        assert_eq!((seen.dirty(), seen.progress.pending()), (3, (3, since)));
        seen.touch('a');
        assert_eq!(seen.dirty(), 4);
        assert!(seen.oldest_age().is_some_and(|age| age <= before.elapsed()));
    })));
    told.next(Turn::Fail(ErrorKind::DiskFull));
    assert!(flusher.flush_once(Durability::Durable, Opening::Open), "{:?}", state.counters.present_error());
    assert_eq!((state.dirty(), state.progress.pending()), (1, (0, None)));
    let since = state.generations.enter().first_write();
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    state.put('d');
    assert_eq!((state.dirty(), state.progress.pending()), (2, (1, since)));
    assert_eq!(state.counters.lock().cuts, 3);
}
