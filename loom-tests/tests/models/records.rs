//! Records: who owns them and their images, whatever the collector does, and the orderings of cells and lists.

use super::support::{ALL_BAGS, NO_BAGS, SOME_BAGS, hostile_model, model};
use mnemon::model::{List, Tracked};
use std::sync::Arc;

/// Thread 1 writes A, thread 2 reads A and then writes B: B captured implies A captured.
#[test]
fn orderings_of_cells_keep_causality() {
    hostile_model("orderings_of_cells_keep_causality", 5, &NO_BAGS, |w| {
        w.run(|s| s.put(0, 1));
        w.run(|s| {
            if s.get(0).is_some() {
                s.put(1, 1);
            }
        });
        w.flush();
        assert!(w.row(0).is_some() || w.row(1).is_none(), "the effect without its cause");
    });
}

#[test]
fn records_of_concurrent_updates() {
    hostile_model("records_of_concurrent_updates", 4, &ALL_BAGS, |w| {
        w.store.put(0, 0);
        w.run(|s| s.update(0, |n| n + 1));
        w.run(|s| {
            s.update(0, |n| n + 1);
            s.update(0, |n| n + 1);
        });
        w.flush();
        w.join();
        assert_eq!(w.store.get(0), Some(3), "all updates count");
    });
}

#[test]
fn records_while_a_cut_is_captured() {
    hostile_model("records_while_a_cut_is_captured", 6, &ALL_BAGS, |w| {
        w.store.put(0, 1);
        w.store.put(1, 1);
        w.run(|s| {
            s.put(0, 2);
            s.put(1, 2);
            s.put(0, 3);
        });
        w.flush();
        let seen = [0, 1].map(|id| w.row(id).unwrap_or(0));
        assert!([[1, 1], [2, 1], [2, 2], [3, 2]].contains(&seen), "not the image at a cut: {seen:?}");
    });
}

#[test]
fn records_of_a_removal_and_an_insertion() {
    hostile_model("records_of_a_removal_and_an_insertion", 4, &SOME_BAGS, |w| {
        w.store.put(0, 1);
        w.run(|s| s.remove(0));
        w.run(|s| s.put(0, 2));
        w.flush();
    });
}

#[test]
fn records_while_a_cell_is_taken_out() {
    hostile_model("records_while_a_cell_is_taken_out", 6, &ALL_BAGS, |w| {
        w.store.put(0, 1);
        w.flush();
        w.store.remove(0);
        w.run(|s| s.put(0, 2));
        w.flush();
        w.join();
        assert_eq!(w.store.get(0), Some(2), "the insertion is kept");
    });
}

#[test]
fn records_of_two_flushes() {
    hostile_model("records_of_two_flushes", 6, &SOME_BAGS, |w| {
        w.store.put(0, 1);
        w.run(|s| {
            s.remove(0);
            s.put(0, 2);
            s.remove(0);
        });
        w.flush();
        w.flush();
    });
}

#[test]
fn records_of_a_failed_commit() {
    hostile_model("records_of_a_failed_commit", 6, &ALL_BAGS, |w| {
        w.store.put(0, 1);
        w.store.put(1, 1);
        w.run(|s| {
            s.update(0, |n| n + 1);
            s.remove(1);
            s.update(0, |n| n + 1);
        });
        w.fail_to_flush();
        w.flush();
        let seen = (w.row(0), w.row(1));
        let cuts = [(1, Some(1)), (2, Some(1)), (2, None), (3, None)].map(|(a, b)| (Some(a), b));
        assert!(cuts.contains(&seen), "not the image at a cut: {seen:?}");
    });
}

/// Settling and a writer of the next generation both want the image before.
#[test]
fn settling_beside_updates() {
    hostile_model("settling_beside_updates", 6, &ALL_BAGS, |w| {
        w.store.put(0, 1);
        w.flush();
        w.store.update(0, |n| n + 1);
        w.run(|s| {
            s.update(0, |n| n + 1);
            s.update(0, |n| n + 1);
        });
        w.flush();
        w.flush();
    });
}

#[test]
fn images_of_failed_commits() {
    hostile_model("images_of_failed_commits", 6, &ALL_BAGS, |w| {
        w.store.put(0, 1);
        w.fail_to_flush();
        w.store.update(0, |n| n + 1);
        w.run(|s| s.update(0, |n| n + 1));
        w.fail_to_flush();
        w.flush();
    });
}

/// Whoever holds a record for ever holds that record alone.
#[test]
fn holder_keeps_nothing_else() {
    hostile_model("holder_keeps_nothing_else", 6, &ALL_BAGS, |w| {
        w.store.put(0, 1);
        w.flush();
        w.store.update(0, |n| n + 1);
        w.hold(0);
        w.spawn(|s| {
            s.update(0, |n| n + 1);
            let held = s.hold(0);
            s.update(0, |n| n + 1);
            held
        });
        w.flush();
    });
}

#[test]
fn reader_while_all_goes() {
    hostile_model("reader_while_all_goes", 4, &SOME_BAGS, |w| {
        w.store.put(0, 1);
        w.flush();
        w.run(|s| {
            s.update(0, |n| n + 1);
            s.remove(0);
        });
        w.spawn(|s| {
            let held = [s.hold(0), s.hold(0)];
            let seen = held[0].as_ref().map(|value| value.get());
            assert!([None, Some(1), Some(2), Some(7), Some(8)].contains(&seen), "{seen:?}");
            held.into_iter().flatten()
        });
        w.flush();
        w.store.put(0, 7);
    });
}

/// A store that is dropped with something unsettled leaves nothing but what is held.
#[test]
fn unsettled_store_leaves_nothing() {
    hostile_model("unsettled_store_leaves_nothing", 6, &SOME_BAGS, |w| {
        w.store.put(0, 1);
        w.fail_to_flush();
        w.spawn(|s| {
            s.update(0, |n| n + 1);
            s.hold(0)
        });
        w.fail_to_flush();
        w.join();
        w.hold(0);
        w.abandoned = true;
    });
}

/// Two threads push, and a third reads meanwhile: what is found is whole, and what was pushed before is found.
#[test]
fn list_is_read_while_it_grows() {
    model("list_is_read_while_it_grows", None, || {
        let list = Arc::new(List::new());
        list.push(Tracked::new(1));
        let pushers = [2, 3].map(|key| {
            let list = list.clone();
            loom::thread::spawn(move || {
                list.push(Tracked::new(key));
                assert!(found(&list).contains(&key), "who has pushed finds it");
            })
        });
        assert!(found(&list).contains(&1));
        for pusher in pushers {
            pusher.join().unwrap();
        }
        let mut all = found(&list);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
    });
}

fn found(list: &List<Tracked>) -> Vec<u64> {
    list.to_vec().iter().map(Tracked::get).collect()
}
