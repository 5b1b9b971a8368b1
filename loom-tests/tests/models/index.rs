//! The adjacency of links, on the core.

use super::support::model;
use mnemon::model::{Adjacency, Change, EdgeKey, Generations, Head, Map, Notify, Opening, Record, Rejected};
use std::sync::Arc;

#[derive(Clone)]
struct Empty(Head<Empty>);

impl Record for Empty {
    fn head(&self) -> &Head<Self> {
        &self.0
    }

    fn head_mut(&mut self) -> &mut Head<Self> {
        &mut self.0
    }
}

/// A key that joins two nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Joint;

impl EdgeKey for Joint {
    type Node = u8;

    fn nodes(&self) -> [u8; 2] {
        [1, 2]
    }

    fn joining(_: &u8, _: &u8) -> Self {
        Joint
    }
}

struct Joints {
    generations: Arc<Generations<Joint>>,
    map: Map<Joint, Empty, (), Adjacency<Joint>>,
}

impl Joints {
    fn change(&self, change: impl Fn() -> Change<Empty>) {
        let done: Result<_, Rejected<()>> = self.map.upsert(&self.generations, &Joint, |_| Ok(change()));
        assert!(done.is_ok(), "no generation is sealed here");
    }

    fn put_and_find(&self) {
        self.change(put);
        for node in Joint.nodes() {
            let found = self.map.index().of(&node);
            assert!(found.iter().any(|key| self.map.get(key).is_some()), "who has made it finds it");
        }
    }
}

fn put() -> Change<Empty> {
    Change::put(Empty(Head::default()))
}

/// Two threads make a joint anew, while the flusher lets its removed entry go.
#[test]
fn a_joint_made_anew_is_found_from_both_ends() {
    model("a_joint_made_anew_is_found_from_both_ends", Some(4), || {
        let generations = Generations::new(1, usize::MAX, Arc::new(Notify::default()), None);
        let joints = Arc::new(Joints { generations, map: Map::new(Adjacency::new()) });
        joints.change(put);
        joints.change(|| Change::Remove);
        let cut = joints.generations.cut(Opening::Open);
        let makers = [0, 1].map(|_| {
            let joints = joints.clone();
            loom::thread::spawn(move || joints.put_and_find())
        });
        cut.keys.iter().for_each(|key| joints.map.settle(key, cut.number, |_| ()));
        for maker in makers {
            maker.join().unwrap();
        }
        assert_eq!(joints.map.keys().len(), 1);
    });
}
