//! Groups: all or nothing, in memory and in each cut, and nothing left of one that was given up.

use super::support::{ALL_BAGS, NO_BAGS, Outcome, Part, SOME_BAGS, Value, World, groups_model};
use mnemon::model::Change;

fn put(part: &mut Part<'_>, id: u64, value: u64) {
    part.set(&id, Change::put(Value::new(value)));
}

/// Adds one to each; refuses where one is missing.
pub(super) fn add_one(part: &mut Part<'_>) -> Option<()> {
    for id in [0, 1] {
        let value = part.get(&id)?.get();
        put(part, id, value + 1);
    }
    Some(())
}

/// Moves the value of key 0 to key 1, which must have none.
fn rename(part: &mut Part<'_>) -> Option<()> {
    let value = part.get(&0)?.get();
    part.get(&1).is_none().then(|| {
        part.set(&0, Change::Remove);
        put(part, 1, value);
    })
}

pub(super) fn both_at_ten(w: &mut World) {
    w.store.put(0, 10);
    w.store.put(1, 10);
}

fn assert_same(both: [Option<u64>; 2]) {
    let [first, second] = both.map(|value| value.map(|value| value % 10));
    assert_eq!(first, second, "half a group: {both:?}");
}

fn assert_one(both: [Option<u64>; 2]) {
    assert!(both[0].is_some() != both[1].is_some(), "half a group: {both:?}");
}

#[test]
fn a_cut_has_all_or_none_of_a_group() {
    groups_model("a_cut_has_all_or_none_of_a_group", 3, &NO_BAGS, |w| {
        both_at_ten(w);
        w.run(|s| assert_eq!(s.group(1, add_one), Outcome::Done, "nobody is in the way"));
        w.flush();
        assert_same(w.rows());
    });
}

#[test]
fn a_cut_has_all_or_none_of_a_group_beside_a_writer() {
    groups_model("a_cut_has_all_or_none_of_a_group_beside_a_writer", 3, &SOME_BAGS, |w| {
        both_at_ten(w);
        w.run(|s| {
            if s.group(1, add_one) == Outcome::Done {
                let both = [0, 1].map(|id| s.get(id).map(|value| value % 10));
                assert_eq!(both, [Some(1); 2], "half a group");
            }
        });
        w.run(|s| s.update(1, |n| n + 10));
        w.flush();
        assert_same(w.rows());
        w.join();
        assert!(w.contents()[1] >= Some(20), "the single write counts");
        assert_same(w.contents());
    });
}

/// The writer works in the order of the group's keys: what it meets first may be half installed.
#[test]
fn a_group_beside_writes_of_both_keys() {
    groups_model("a_group_beside_writes_of_both_keys", 3, &NO_BAGS, |w| {
        both_at_ten(w);
        w.flush();
        w.run(|s| {
            s.group(2, add_one);
        });
        w.run(|s| {
            s.update(0, |n| n + 10);
            s.update(1, |n| n + 10);
        });
        w.flush();
        assert_same(w.rows());
        w.join();
        let [first, second] = w.contents();
        assert_eq!(first, second, "half a group");
    });
}

#[test]
fn two_groups_of_the_same_keys() {
    groups_model("two_groups_of_the_same_keys", 3, &NO_BAGS, |w| {
        both_at_ten(w);
        for _ in 0..2 {
            w.run(|s| {
                s.group(2, add_one);
            });
        }
        w.flush();
        assert_same(w.rows());
        w.join();
        assert_same(w.contents());
    });
}

#[test]
fn a_group_with_a_removal_and_an_insertion() {
    groups_model("a_group_with_a_removal_and_an_insertion", 3, &SOME_BAGS, |w| {
        w.store.put(0, 10);
        w.flush();
        w.run(|s| assert_eq!(s.group(1, rename), Outcome::Done, "nobody is in the way"));
        w.flush();
        assert_one(w.rows());
        w.flush();
        assert_one(w.rows());
    });
}

/// The cell of the second key is taken out meanwhile.
#[test]
fn a_group_while_a_cell_is_taken_out() {
    groups_model("a_group_while_a_cell_is_taken_out", 3, &NO_BAGS, |w| {
        both_at_ten(w);
        w.store.remove(1);
        w.run(|s| {
            s.group(2, rename);
        });
        w.run(|s| s.update(0, |n| n + 10));
        w.flush();
        assert_one(w.rows());
        w.join();
        assert_one(w.contents());
    });
}

/// A write of one key, and a removal of the other: the group refuses, or comes before the removal.
#[test]
fn a_group_beside_a_write_and_a_removal() {
    groups_model("a_group_beside_a_write_and_a_removal", 3, &NO_BAGS, |w| {
        both_at_ten(w);
        w.run(|s| {
            s.group(2, add_one);
        });
        w.run(|s| {
            s.update(0, |n| n + 10);
            s.remove(1);
        });
        w.flush();
        match w.rows() {
            // The write of the first key came before the removal of the second.
            [first, None] => assert!(first >= Some(20), "the effect without its cause: {first:?}"),
            both => assert_same(both),
        }
        w.join();
        let [first, second] = w.contents();
        assert!(first >= Some(20) && second.is_none(), "the single writes count: {first:?} {second:?}");
    });
}

#[test]
fn who_has_seen_a_part_of_a_group_sees_the_rest() {
    groups_model("who_has_seen_a_part_of_a_group_sees_the_rest", 3, &NO_BAGS, |w| {
        both_at_ten(w);
        w.run(|s| {
            s.group(1, add_one);
        });
        w.run(|s| {
            let (first, second) = (s.get(0), s.get(1));
            assert!(first == Some(10) || second == Some(11), "half a group: {first:?} {second:?}");
        });
        let (second, first) = (w.store.get(1), w.store.get(0));
        assert!(second == Some(10) || first == Some(11), "half a group: {second:?} {first:?}");
    });
}

/// What was written because of a group is in no earlier cut than the group.
#[test]
fn a_cut_keeps_causality_through_a_group() {
    groups_model("a_cut_keeps_causality_through_a_group", 3, &NO_BAGS, |w| {
        w.store.put(0, 10);
        w.run(|s| {
            let both = s.group(1, |part| {
                put(part, 0, 11);
                put(part, 1, 1);
                Some(())
            });
            assert!(both != Outcome::Refused);
        });
        w.run(|s| {
            if s.get(1).is_some() {
                s.update(1, |n| n + 1);
            }
        });
        w.flush();
        let rows = w.rows();
        assert!(rows[1].is_none() == (rows[0] == Some(10)), "the effect without its cause: {rows:?}");
    });
}

/// No half, no cell, no record.
#[test]
fn a_group_given_up_leaves_nothing() {
    groups_model("a_group_given_up_leaves_nothing", 3, &ALL_BAGS, |w| {
        w.store.put(0, 10);
        w.run(|s| {
            if s.group(1, rename) == Outcome::Conflict {
                assert!(s.get(0).is_some() && s.get(1).is_none(), "half a group");
            }
        });
        w.run(|s| s.update(0, |n| n + 1));
        w.flush();
        assert_one(w.rows());
        w.join();
        assert_one(w.contents());
    });
}

/// The group covers a tombstone while the flusher settles it, and is given up.
#[test]
fn a_group_given_up_leaves_no_cell() {
    groups_model("a_group_given_up_leaves_no_cell", 3, &SOME_BAGS, |w| {
        both_at_ten(w);
        w.flush();
        w.store.remove(1);
        w.run(|s| {
            s.group(1, rename);
        });
        w.run(|s| s.update(0, |n| n + 1));
        w.flush();
        w.join();
        w.flush();
        let live = [0, 1].into_iter().filter(|id| w.store.get(*id).is_some()).count();
        w.assert_cells(live);
    });
}

/// Each removes one key if the other is there: never both.
#[test]
fn a_key_that_is_checked_is_not_written_meanwhile() {
    groups_model("a_key_that_is_checked_is_not_written_meanwhile", 3, &NO_BAGS, |w| {
        both_at_ten(w);
        for id in [0, 1] {
            w.run(move |s| {
                s.group(2, |part| {
                    part.get(&(1 - id))?;
                    part.get(&id)?;
                    part.set(&id, Change::Remove);
                    Some(())
                });
            });
        }
        w.flush();
        assert!(w.rows() != [None, None], "one key is there");
        w.join();
        assert!(w.contents() != [None, None], "one key is there");
    });
}

/// Whoever holds a record that a group has replaced holds that record alone.
#[test]
fn holder_beside_a_group_keeps_nothing_else() {
    groups_model("holder_beside_a_group_keeps_nothing_else", 3, &ALL_BAGS, |w| {
        both_at_ten(w);
        w.flush();
        w.hold(0);
        w.run(|s| {
            s.group(1, add_one);
            s.group(1, add_one);
        });
        w.spawn(|s| [s.hold(0), s.hold(1)].into_iter().flatten().collect::<Vec<_>>());
        w.flush();
    });
}
