//! Garbage as it ships: nothing is freed that somebody in the lock of its shard may see, and nothing is left.

use super::groups::{add_one, both_at_ten};
use super::support::garbage_model;
use mnemon::model::Change;

#[test]
fn updates_beside_a_reader() {
    garbage_model("updates_beside_a_reader", 4, |w| {
        w.store.put(0, 1);
        w.run(|s| (0..3).for_each(|_| s.update(0, |n| n + 1)));
        w.spawn(|s| {
            let held = s.hold(0);
            assert!(held.as_ref().is_some_and(|value| (1..=4).contains(&value.get())));
            held
        });
        w.flush();
    });
}

/// What waits as somebody reads is freed by another writer, or by the flusher, and by one of them alone.
#[test]
fn a_collection_beside_a_reader() {
    garbage_model("a_collection_beside_a_reader", 5, |w| {
        w.store.put(0, 1);
        w.run(|s| (0..2).for_each(|_| s.update(0, |n| n + 1)));
        w.run(|s| {
            s.hold(0);
            s.hold(0);
        });
        w.run(|s| s.map.collect());
    });
}

/// A settling gives up an image and a tombstone while others look.
#[test]
fn a_settling_beside_a_reader() {
    garbage_model("a_settling_beside_a_reader", 3, |w| {
        w.store.put(0, 1);
        w.flush();
        w.run(|s| {
            s.update(0, |n| n + 1);
            s.remove(0);
        });
        w.spawn(|s| s.hold(0));
        w.flush();
    });
}

/// A key that is absent before and after leaves no cell, and nothing in it.
#[test]
fn a_group_that_leaves_nothing() {
    garbage_model("a_group_that_leaves_nothing", 4, |w| {
        w.run(|s| {
            s.group(1, |part| {
                part.set(&0, Change::Remove);
                Some(())
            });
        });
        w.run(|s| s.put(0, 1));
        w.spawn(|s| s.hold(0));
        w.join();
        w.assert_cells(1);
    });
}

#[test]
fn a_group_beside_a_reader() {
    garbage_model("a_group_beside_a_reader", 3, |w| {
        both_at_ten(w);
        w.run(|s| {
            s.group(1, add_one);
        });
        w.run(|s| s.update(1, |n| n + 10));
        w.spawn(|s| s.hold(1));
    });
}
