//! What a store shows, by the names of its traces.

use crate::script::{Op, Script};
use mnemon::{NewTrace, Trace, TraceId, TraceStore};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The partition that is erased.
pub const ERASABLE: &str = "erasable";

/// Confidences are numbers too: this many to the unit.
const UNIT: f64 = (1_u64 << 32) as f64;

/// What a trace holds, but for what a witness has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    pub told: u64,
    pub hinted: u64,
    pub revision: u64,
    pub partition: String,
}

/// Traces by name, and links by the names of their ends, in order, with their counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scene {
    pub traces: BTreeMap<String, Shown>,
    pub links: BTreeMap<[String; 2], u32>,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    n: u64,
    seen: u64,
    /// Of a length that changes, so that rows change their size and spill over pages.
    pad: String,
}

fn pad(n: u64) -> String {
    "~".repeat((n * 211 % 5_000) as usize)
}

pub fn payload(n: u64, seen: u64) -> serde_json::Value {
    serde_json::json!(Payload { n, seen, pad: pad(n) })
}

pub fn id(name: &str) -> TraceId {
    TraceId::from_reference(name)
}

pub fn new(name: &str, n: u64) -> NewTrace {
    let partition = if name.starts_with("erased-") { ERASABLE } else { "default" };
    NewTrace::semantic(payload(n, 0)).id(id(name)).tag(name).confidence(0.0).partition(partition)
}

pub fn hint(n: u64) -> f64 {
    n as f64 / UNIT
}

impl Shown {
    /// What a trace holds and what its witness has seen, unless it is none of ours.
    pub fn of(trace: &Trace) -> Result<(String, Self, u64), String> {
        let name = trace.tags().next().ok_or_else(|| format!("a trace without its name: {trace:?}"))?;
        let Payload { n, seen, pad: padded } =
            trace.payload().deserialize().map_err(|error| format!("{name}: {error}"))?;
        if trace.id() != id(name) || padded != pad(n) {
            return Err(format!("{name} is not what was written: {trace:?}"));
        }
        let shown = Self {
            told: n,
            hinted: (trace.confidence() * UNIT) as u64,
            revision: trace.revision(),
            partition: trace.partition().to_owned(),
        };
        Ok((name.to_owned(), shown, seen))
    }

    /// The newest number in it.
    pub fn newest(&self) -> u64 {
        self.told.max(self.hinted)
    }
}

impl Scene {
    /// The part that belongs to a script.
    pub fn part(&self, script: Script) -> Self {
        let mine = |name: &str| name.starts_with(&script.prefix());
        Self {
            traces: self
                .traces
                .iter()
                .filter(|(name, _)| mine(name))
                .map(|(n, s)| (n.clone(), s.clone()))
                .collect(),
            links: self
                .links
                .iter()
                .filter(|([a, _], _)| mine(a))
                .map(|(ends, n)| (ends.clone(), *n))
                .collect(),
        }
    }

    pub fn put(&mut self, name: &str, n: u64) {
        let partition = if name.starts_with("erased-") { ERASABLE } else { "default" }.to_owned();
        self.traces.insert(name.to_owned(), Shown { told: n, hinted: 0, revision: 1, partition });
    }

    /// What an operation of step `n` makes of it.
    pub fn apply(&mut self, op: &Op, n: u64) {
        match op {
            Op::Tell(name) | Op::Witness(name) => self.change(name, |shown| shown.told = n),
            Op::Hint(name) => self.change(name, |shown| shown.hinted = n),
            Op::Insert(name) => self.put(name, n),
            Op::Remove(name) => self.drop(|shown, _| shown == name),
            Op::Link(a, b) => *self.links.entry(ends(a, b)).or_default() += 1,
            Op::Erase => self.drop(|_, shown| shown.partition == ERASABLE),
            Op::Group(ops) => ops.iter().for_each(|op| self.apply(op, n)),
        }
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Shown)) {
        if let Some(shown) = self.traces.get_mut(name) {
            change(shown);
            shown.revision += 1;
        }
    }

    fn drop(&mut self, goes: impl Fn(&str, &Shown) -> bool) {
        self.traces.retain(|name, shown| !goes(name, shown));
        let Self { traces, links } = self;
        links.retain(|ends, _| ends.iter().all(|end| traces.contains_key(end)));
    }
}

pub fn ends(a: &str, b: &str) -> [String; 2] {
    let mut ends = [a.to_owned(), b.to_owned()];
    ends.sort();
    ends
}

/// Everything that a store holds, and what its witnesses have seen.
pub fn look(store: &TraceStore) -> Result<(Scene, BTreeMap<String, u64>), String> {
    let (mut scene, mut seen, mut names) = (Scene::default(), BTreeMap::new(), BTreeMap::new());
    for trace in store.iter() {
        let (name, shown, saw) = Shown::of(&trace)?;
        names.insert(trace.id(), name.clone());
        seen.insert(name.clone(), saw);
        scene.traces.insert(name, shown);
    }
    for id in names.keys() {
        for link in store.links(*id) {
            let (a, b) = link.ends();
            let [Some(a), Some(b)] = [a, b].map(|end| names.get(&end)) else {
                return Err(format!("a link to nowhere: {link:?}"));
            };
            scene.links.insert(ends(a, b), link.count());
        }
    }
    Ok((scene, seen))
}
