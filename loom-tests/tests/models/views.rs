//! Views and questions: a question finds what returned before it, whatever the flusher and the indexer are doing.

use super::support::{Id, Rows, views_model};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn rows(of: &[(Id, u64)]) -> Rows {
    of.iter().copied().collect()
}

/// Key 0 even, key 1 odd.
const BOTH: &[(Id, u64)] = &[(0, 2), (1, 5)];

#[test]
fn a_write_that_returned_is_found() {
    views_model("a_write_that_returned_is_found", 3, BOTH, |w| {
        w.run(|s| {
            s.update(0, |n| n + 1);
            assert_eq!(s.odd(), rows(&[(0, 3), (1, 5)]), "what returned is found");
            s.update(1, |n| n + 1);
            assert_eq!(s.odd(), rows(&[(0, 3)]), "what returned is found");
        });
        w.flush_and_apply();
        w.flush_and_apply();
    });
}

#[test]
fn an_insertion_that_returned_is_found() {
    views_model("an_insertion_that_returned_is_found", 3, &[], |w| {
        w.store.put(1, 5);
        w.run(|s| {
            s.put(0, 7);
            assert_eq!(s.odd(), rows(&[(0, 7), (1, 5)]), "what returned is found");
        });
        w.flush_and_apply();
        assert!(w.store.odd().contains_key(&1));
        w.flush_and_apply();
    });
}

#[test]
fn a_removal_that_returned_is_found() {
    views_model("a_removal_that_returned_is_found", 3, BOTH, |w| {
        w.run(|s| {
            s.remove(1);
            assert_eq!(s.odd(), rows(&[]), "what was removed is not found");
            s.put(1, 9);
            assert_eq!(s.odd(), rows(&[(1, 9)]), "what returned is found");
        });
        w.flush_and_apply();
        w.flush_and_apply();
    });
}

/// The second write of a generation lists nothing.
#[test]
fn a_second_write_of_a_generation_is_found() {
    views_model("a_second_write_of_a_generation_is_found", 3, BOTH, |w| {
        w.run(|s| {
            s.update(0, |n| n + 2);
            s.update(0, |n| n + 1);
            assert_eq!(s.odd(), rows(&[(0, 5), (1, 5)]), "what returned is found");
        });
        for _ in 0..2 {
            w.store.cut_for_views();
            w.apply_all();
        }
    });
}

/// It relies on the listing of the first write, which is another thread's and has not returned.
#[test]
fn a_write_after_an_unfinished_one_is_found() {
    views_model("a_write_after_an_unfinished_one_is_found", 3, BOTH, |w| {
        w.run(|s| s.update(0, |n| n + 2));
        w.run(|s| {
            s.update(0, |n| n + 1);
            let found = s.odd();
            let either = [rows(&[(0, 3), (1, 5)]), rows(&[(0, 5), (1, 5)])];
            assert!(either.contains(&found), "what returned is found: {found:?}");
        });
        w.flush_and_apply();
    });
}

/// Another thread asks, which knows of the writes by nothing but a flag.
#[test]
fn a_write_known_by_a_flag_is_found() {
    views_model("a_write_known_by_a_flag_is_found", 3, BOTH, |w| {
        let returned = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let flag = returned.clone();
        w.run(move |s| {
            s.update(0, |n| n + 1);
            s.remove(1);
            flag.store(true, Ordering::Release);
        });
        w.run(move |s| {
            let returned = returned.load(Ordering::Acquire);
            let found = s.odd();
            assert!(!returned || found == rows(&[(0, 3)]), "what returned is found: {found:?}");
        });
        w.flush_and_apply();
    });
}

#[test]
fn what_nobody_touches_is_answered_right() {
    views_model("what_nobody_touches_is_answered_right", 3, BOTH, |w| {
        w.run(|s| {
            s.update(0, |n| n + 1);
            s.update(0, |n| n + 1);
        });
        w.run(|s| {
            let found = s.odd();
            assert!([rows(&[(1, 5)]), rows(&[(0, 3), (1, 5)])].contains(&found), "{found:?}");
        });
        w.flush_and_apply();
        w.flush_and_apply();
    });
}

#[test]
fn what_a_get_has_seen_is_found() {
    views_model("what_a_get_has_seen_is_found", 3, BOTH, |w| {
        w.run(|s| s.update(0, |n| n + 1));
        w.run(|s| {
            let seen = s.get(0) == Some(3);
            let found = s.odd();
            assert!(!seen || found.contains_key(&0), "what was seen is found: {found:?}");
        });
        w.flush_and_apply();
    });
}

/// Key 0 is in a list already, of the generation before that of the write.
#[test]
fn what_a_question_found_is_found_again() {
    views_model("what_a_question_found_is_found_again", 3, BOTH, |w| {
        w.store.update(0, |n| n + 2);
        w.run(|s| s.update(0, |n| n + 1));
        w.run(|s| {
            let first = s.odd();
            let second = s.odd();
            assert!(!first.contains_key(&0) || second.contains_key(&0), "found once and not again");
        });
        w.flush_and_apply();
    });
}

#[test]
fn the_first_in_order_is_right() {
    views_model("the_first_in_order_is_right", 3, &[(0, 9), (1, 5)], |w| {
        w.run(|s| {
            s.update(0, |_| 3);
            assert_eq!(s.greatest(), Some((5, 1)), "what returned is found");
            s.update(1, |_| 11);
            assert_eq!(s.greatest(), Some((11, 1)), "what returned is found");
        });
        w.run(|s| {
            let greatest = s.greatest();
            assert!([Some((9, 0)), Some((5, 1)), Some((11, 1))].contains(&greatest), "{greatest:?}");
        });
        w.flush_and_apply();
    });
}

#[test]
fn an_indexer_beside_the_flusher() {
    views_model("an_indexer_beside_the_flusher", 4, BOTH, |w| {
        w.run(|s| {
            s.update(0, |n| n + 1);
            assert_eq!(s.odd(), rows(&[(0, 3), (1, 5)]), "what returned is found");
        });
        w.run(|s| {
            s.apply();
        });
        w.flush();
        w.join();
        w.apply_all();
        assert_eq!(w.store.odd(), rows(&[(0, 3), (1, 5)]), "what returned is found");
    });
}

/// The rows are those of one cut, in which the value of key 0 is never behind that of key 1.
#[test]
fn cuts_for_views_beside_a_flush() {
    views_model("cuts_for_views_beside_a_flush", 5, &[(0, 1), (1, 1)], |w| {
        w.run(|s| {
            for value in 2..4 {
                s.put(0, value);
                s.put(1, value);
                s.cut_for_views();
            }
        });
        w.flush();
        let [first, second] = [0, 1].map(|id| w.row(id).unwrap_or(0));
        assert!((second..=second + 1).contains(&first), "not of one cut: {first} {second}");
    });
}

/// What was cut for views alone is committed by the next flush that works.
#[test]
fn cuts_for_views_beside_failing_flushes() {
    views_model("cuts_for_views_beside_failing_flushes", 4, BOTH, |w| {
        w.run(|s| {
            s.update(0, |n| n + 1);
            s.cut_for_views();
            s.update(1, |n| n + 1);
            assert_eq!(s.odd(), rows(&[(0, 3)]), "what returned is found");
        });
        w.fail_to_flush();
        w.apply_all();
        w.flush();
    });
}

#[test]
fn views_built_anew_beside_a_question() {
    views_model("views_built_anew_beside_a_question", 4, BOTH, |w| {
        w.run(|s| {
            s.update(0, |n| n + 1);
            assert_eq!(s.odd(), rows(&[(0, 3), (1, 5)]), "what returned is found");
        });
        w.store.show_anew();
        w.apply_all();
        w.flush_and_apply();
        w.join();
        w.apply_all();
        assert_eq!(w.store.odd(), rows(&[(0, 3), (1, 5)]), "what returned is found");
    });
}
