//! What the writers of a child do: each goes through a script of its own, an endless list of operations that is
//! the same each time. Nobody else writes to the traces of a script, so a causally closed cut shows it as it is
//! after some number of its operations, its *position*; [`Script::position`] finds it, or the cut is torn.

use crate::scene::{Scene, ends, new};
use mnemon::NewTrace;

/// What one thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Script {
    /// Raises `a`, `b`, `c` and a witness in turn, links them, and lets a trace come and go. The witness tells how
    /// far the next ring's `c` was.
    Ring(usize),
    /// Inserts many traces by one call, and removes them one by one.
    Loader,
    /// Fills a partition, links its traces to one outside, and erases it: all at once.
    Eraser,
    /// Applies groups: each raises two traces, and lets a third come, with a link, or go.
    Grouper,
}

pub const RINGS: usize = 3;
pub const ALL: [Script; RINGS + 3] =
    [Script::Ring(0), Script::Ring(1), Script::Ring(2), Script::Loader, Script::Grouper, Script::Eraser];

/// How many operations of each script are done.
pub type Positions = [u64; ALL.len()];

const LOADED: u64 = 100;
const ERASED: u64 = 8;

/// An operation, in a step that has a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// The trace's payload tells the step's number.
    Tell(String),
    /// The same, and how far the next ring is.
    Witness(String),
    /// The trace's confidence tells it: a row whose numbers alone change.
    Hint(String),
    Insert(String),
    Remove(String),
    Link(String, String),
    Erase,
    /// All of these or none.
    Group(Vec<Op>),
}

impl Script {
    /// What the names of its traces begin with.
    pub fn prefix(self) -> String {
        match self {
            Script::Ring(ring) => format!("ring{ring}-"),
            Script::Loader => "load".to_owned(),
            Script::Eraser => "erase".to_owned(),
            Script::Grouper => "group-".to_owned(),
        }
    }

    /// The trace that the first operation of each step raises.
    pub fn lead(self) -> String {
        match self {
            Script::Ring(ring) => format!("ring{ring}-a"),
            Script::Loader => "load".to_owned(),
            Script::Eraser => "eraser".to_owned(),
            Script::Grouper => "group-a".to_owned(),
        }
    }

    /// How many operations a step has. No two positions look alike.
    pub fn length(self) -> u64 {
        match self {
            Script::Ring(_) => 6,
            Script::Loader => 2 + 2 * LOADED,
            Script::Eraser => 3 + 2 * ERASED,
            Script::Grouper => 1,
        }
    }

    /// The names of the traces of the beginning.
    pub fn cast(self) -> Vec<String> {
        match self {
            Script::Ring(ring) => ["a", "b", "c", "witness"].map(|name| format!("ring{ring}-{name}")).into(),
            Script::Loader | Script::Eraser => vec![self.lead()],
            Script::Grouper => ["group-a", "group-b"].map(str::to_owned).into(),
        }
    }

    /// The operation at a position, and the number of its step.
    pub fn op(self, position: u64) -> (Op, u64) {
        let (n, at) = (position / self.length() + 1, position % self.length());
        let op = match self {
            Script::Ring(ring) => {
                let name = |name: &str| format!("ring{ring}-{name}");
                let raise = |name| if n % 2 == 1 { Op::Tell(name) } else { Op::Hint(name) };
                match at {
                    0 => raise(name("a")),
                    1 => raise(name("b")),
                    2 => Op::Link(name("b"), name("a")),
                    3 => raise(name("c")),
                    4 => Op::Witness(name("witness")),
                    _ => match n % 4 {
                        0 => Op::Remove(name("now-and-then")),
                        1 => Op::Link(name("a"), name("c")),
                        2 => Op::Insert(name("now-and-then")),
                        _ => Op::Link(name("a"), name("now-and-then")),
                    },
                }
            }
            Script::Loader => match at {
                0 => Op::Tell(self.lead()),
                1..=LOADED => Op::Insert(format!("load-{}", at - 1)),
                at if at == 1 + LOADED => Op::Hint(self.lead()),
                _ => Op::Remove(format!("load-{}", at - 2 - LOADED)),
            },
            Script::Eraser => match (at, at.saturating_sub(1)) {
                (0, _) => Op::Tell(self.lead()),
                (_, n @ 0..ERASED) => Op::Insert(format!("erased-{n}")),
                (_, n) if n < 2 * ERASED => Op::Link(self.lead(), format!("erased-{}", n - ERASED)),
                (_, n) if n == 2 * ERASED => Op::Hint(self.lead()),
                _ => Op::Erase,
            },
            Script::Grouper => {
                let [a, b, guest] = ["group-a", "group-b", "group-guest"].map(str::to_owned);
                let raise = [Op::Tell(a.clone()), Op::Hint(b.clone())];
                let rest = match n % 2 {
                    0 => [Op::Remove(guest), Op::Link(a, b)],
                    _ => [Op::Insert(guest.clone()), Op::Link(guest, a)],
                };
                Op::Group(raise.into_iter().chain(rest).collect())
            }
        };
        (op, n)
    }

    /// How many traces there are to insert by one call from here on.
    pub fn bulk(self, position: u64) -> u64 {
        match (self, position % self.length()) {
            (Script::Loader, at @ 1..=LOADED) => LOADED + 1 - at,
            _ => 0,
        }
    }

    /// Whether a part of such a call would have been made.
    pub fn is_half(self, position: u64) -> bool {
        (1..LOADED).contains(&self.bulk(position))
    }

    /// What there is when so many steps are complete.
    fn after_steps(self, steps: u64) -> Scene {
        let mut scene = Scene::default();
        for name in self.cast() {
            scene.put(&name, 0);
        }
        for (name, shown) in &mut scene.traces {
            let raised = match self {
                _ if steps == 0 => (0, 0),
                Script::Ring(_) if name.ends_with("witness") => (steps, 0),
                Script::Ring(_) => ((steps - 1) | 1, steps / 2 * 2),
                Script::Loader | Script::Eraser => (steps, steps),
                Script::Grouper if *name == self.lead() => (steps, 0),
                Script::Grouper => (0, steps),
            };
            (shown.told, shown.hinted) = raised;
            shown.revision += if matches!(self, Script::Loader | Script::Eraser) { 2 * steps } else { steps };
        }
        if self == Script::Grouper {
            if steps % 2 == 1 {
                scene.put("group-guest", steps);
                scene.links.insert(ends("group-a", "group-guest"), 1);
            }
            if let count @ 1.. = steps / 2 {
                scene.links.insert(ends("group-a", "group-b"), count as u32);
            }
        }
        let Script::Ring(ring) = self else { return scene };
        let name = |name: &str| format!("ring{ring}-{name}");
        let mut link = |to: &str, count: u64| {
            if count > 0 {
                scene.links.insert(ends(&name("a"), &name(to)), count as u32);
            }
        };
        link("b", steps);
        link("c", steps.div_ceil(4));
        link("now-and-then", u64::from(steps % 4 == 3));
        if let turn @ 2.. = steps % 4 {
            scene.put(&name("now-and-then"), steps - (turn - 2));
        }
        scene
    }

    /// What there is at a position.
    pub fn scene(self, position: u64) -> Scene {
        let mut scene = self.after_steps(position / self.length());
        for position in position / self.length() * self.length()..position {
            let (op, n) = self.op(position);
            scene.apply(&op, n);
        }
        scene
    }

    /// The position at which there is this; all else is torn.
    pub fn position(self, scene: &Scene) -> Option<u64> {
        let mine = scene.part(self);
        let steps = mine.traces.get(&self.lead())?.newest();
        let (first, last) = (steps.saturating_sub(1) * self.length(), steps * self.length());
        let mut scene = self.scene(first);
        for position in first..last {
            if scene == mine {
                return Some(position);
            }
            let (op, n) = self.op(position);
            scene.apply(&op, n);
        }
        (scene == mine).then_some(last)
    }
}

/// What a store that has begun holds at the first.
pub fn beginning(epoch: u64) -> Vec<NewTrace> {
    let cast = ALL.into_iter().flat_map(Script::cast).map(|name| new(&name, 0));
    cast.chain([new("epoch", epoch)]).collect()
}
