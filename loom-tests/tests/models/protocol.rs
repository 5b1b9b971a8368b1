//! Models 1 to 5: the core alone, with the flusher's steps spelled out.

use super::support::{model, spawn, store};

/// One thread writes A, then B; a flush anywhere: B captured implies A captured.
#[test]
fn a_cut_keeps_one_threads_order() {
    model("a_cut_keeps_one_threads_order", None, || {
        let (store, mut flusher) = store();
        let writer = spawn(&store, |s| {
            s.put(0, 1);
            s.put(1, 1);
        });
        flusher.flush(&store);
        let rows = &flusher.rows;
        assert!(rows.contains_key(&0) || !rows.contains_key(&1), "the effect without its cause: {rows:?}");
        writer.join().unwrap();
        flusher.assert_settles(&store, &[0, 1]);
    });
}

/// Two threads increment the same entry, a flush anywhere, then a last one: the sum.
#[test]
fn concurrent_updates_all_count() {
    model("concurrent_updates_all_count", Some(5), || {
        let (store, mut flusher) = store();
        store.put(0, 0);
        let writers = [spawn(&store, |s| s.update(0, |n| n + 1)), spawn(&store, |s| s.update(0, |n| n + 1))];
        flusher.flush(&store);
        for writer in writers {
            writer.join().unwrap();
        }
        flusher.assert_settles(&store, &[0]);
        assert_eq!(flusher.rows[&0], 2, "both updates count");
    });
}

/// Thread 1 writes A, thread 2 reads A and then writes B: B captured implies A captured.
#[test]
fn a_cut_keeps_causality_between_threads() {
    model("a_cut_keeps_causality_between_threads", None, || {
        let (store, mut flusher) = store();
        let cause = spawn(&store, |s| s.put(0, 1));
        let effect = spawn(&store, |s| {
            if s.get(0).is_some() {
                s.put(1, 1);
            }
        });
        flusher.flush(&store);
        let rows = &flusher.rows;
        assert!(rows.contains_key(&0) || !rows.contains_key(&1), "the effect without its cause: {rows:?}");
        cause.join().unwrap();
        effect.join().unwrap();
        flusher.assert_settles(&store, &[0, 1]);
    });
}

/// The same through one entry that both write: if the capture of it shows the second thread's write, then what
/// that thread wrote earlier is captured too.
#[test]
fn a_cut_keeps_causality_through_one_entry() {
    model("a_cut_keeps_causality_through_one_entry", Some(4), || {
        let (store, mut flusher) = store();
        store.put(0, 0);
        let both = spawn(&store, |s| s.update(0, |n| n + 1));
        let cause = spawn(&store, |s| {
            s.put(1, 1);
            s.update(0, |n| n + 10);
        });
        flusher.flush(&store);
        let rows = &flusher.rows;
        assert!(rows[&0] < 10 || rows.contains_key(&1), "the effect without its cause: {rows:?}");
        both.join().unwrap();
        cause.join().unwrap();
        flusher.assert_settles(&store, &[0, 1]);
    });
}

/// An entry written in the closed generation and twice in the open one while the cut is captured: the capture
/// is the image at the cut.
#[test]
fn a_capture_is_the_image_at_the_cut() {
    model("a_capture_is_the_image_at_the_cut", None, || {
        let (store, mut flusher) = store();
        store.put(0, 1);
        store.put(1, 1);
        let writer = spawn(&store, |s| {
            s.put(0, 2);
            s.put(1, 2);
            s.put(0, 3);
        });
        flusher.flush(&store);
        let seen = [0, 1].map(|id| flusher.rows.get(&id).copied().unwrap_or(0));
        assert!([[1, 1], [2, 1], [2, 2], [3, 2]].contains(&seen), "not the image at a cut: {seen:?}");
        writer.join().unwrap();
        flusher.assert_settles(&store, &[0, 1]);
    });
}

/// Remove racing insert of the same id, a flush anywhere, and the taking out of the cell: memory and rows agree, the
/// live count is right.
#[test]
fn removal_racing_insertion_settles() {
    model("removal_racing_insertion_settles", Some(5), || {
        let (store, mut flusher) = store();
        store.put(0, 1);
        let remover = spawn(&store, |s| s.remove(0));
        let inserter = spawn(&store, |s| s.put(0, 2));
        flusher.flush(&store);
        remover.join().unwrap();
        inserter.join().unwrap();
        flusher.assert_settles(&store, &[0]);
    });
}

/// A cell is taken out, since the removal of its key is committed, while another thread inserts.
#[test]
fn insertion_racing_settling_is_kept() {
    model("insertion_racing_settling_is_kept", None, || {
        let (store, mut flusher) = store();
        store.put(0, 1);
        flusher.flush(&store);
        store.remove(0);
        let inserter = spawn(&store, |s| s.put(0, 2));
        flusher.flush(&store);
        inserter.join().unwrap();
        flusher.assert_settles(&store, &[0]);
        assert_eq!(flusher.rows.get(&0), Some(&2), "the insertion is kept");
    });
}
