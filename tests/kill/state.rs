//! How far a store is, and what is wrong with one that is nowhere.

use crate::scene::look;
use crate::script::{ALL, Positions, RINGS};
use mnemon::TraceStore;
use std::fmt;

/// The epoch, which a restoration raises, and the position of each script in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct State {
    pub epoch: u64,
    pub positions: Positions,
}

/// What must not be.
#[derive(Debug)]
pub enum Finding {
    /// Something that was acknowledged is not there.
    Loss(String),
    /// What is there was at no moment.
    Torn(String),
    /// The store does not do what it should.
    Broken(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Loss(what) => write!(f, "lost: {what}"),
            Finding::Torn(what) => write!(f, "torn: {what}"),
            Finding::Broken(what) => write!(f, "broken: {what}"),
        }
    }
}

impl std::error::Error for Finding {}

impl State {
    /// Where a store is, which shows a causally closed cut.
    pub fn of(store: &TraceStore) -> Result<Self, Finding> {
        let (scene, seen) = look(store).map_err(Finding::Torn)?;
        if scene.traces.is_empty() {
            return Ok(Self::default());
        }
        let epoch =
            scene.traces.get("epoch").ok_or_else(|| Finding::Torn(format!("no epoch in {scene:?}")))?;
        let mut state = Self { epoch: epoch.told, positions: Positions::default() };
        for (script, position) in ALL.into_iter().zip(&mut state.positions) {
            *position = script.position(&scene).ok_or_else(|| {
                Finding::Torn(format!("{script:?} was never so: {:#?}", scene.part(script)))
            })?;
            if script.is_half(*position) {
                return Err(Finding::Torn(format!("{script:?} has a part of a group at {position}")));
            }
        }
        let parts = ALL.into_iter().map(|script| scene.part(script));
        let (traces, links) = parts
            .fold((1, 0), |(traces, links), part| (traces + part.traces.len(), links + part.links.len()));
        if (traces, links) != (scene.traces.len(), scene.links.len()) {
            return Err(Finding::Torn(format!("there is what nobody wrote, in {scene:#?}")));
        }
        for ring in 0..RINGS {
            let (witness, next) = (format!("ring{ring}-witness"), format!("ring{}-c", (ring + 1) % RINGS));
            let (saw, is) = (seen[&witness], scene.traces[&next].newest());
            if saw > is {
                return Err(Finding::Torn(format!("{witness} has seen {next} at {saw}, and it is at {is}")));
            }
        }
        Ok(state)
    }

    /// Whether all of `known` is in it.
    pub fn holds(&self, known: &State) -> bool {
        let behind = |(mine, other): (&u64, &u64)| mine < other;
        match self.epoch.cmp(&known.epoch) {
            std::cmp::Ordering::Equal => !self.positions.iter().zip(&known.positions).any(behind),
            order => order.is_gt(),
        }
    }

    /// What holds both, where one epoch knows nothing of the other.
    pub fn joined(mut self, other: State) -> Self {
        match self.epoch.cmp(&other.epoch) {
            std::cmp::Ordering::Less => return other,
            std::cmp::Ordering::Greater => {}
            std::cmp::Ordering::Equal => {
                for (mine, other) in self.positions.iter_mut().zip(other.positions) {
                    *mine = other.max(*mine);
                }
            }
        }
        self
    }
}
