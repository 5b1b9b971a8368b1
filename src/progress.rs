//! How far a long operation has come, and whether it is to go on.

use crate::error::{Error, ErrorKind, Result};
use std::ops::ControlFlow;
use std::sync::Arc;

/// How far a [`backup`](crate::backup_with), a [`verify`](crate::verify_with) or the saving of a
/// [snapshot](crate::Snapshots::on_progress) has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done, and in which unit, for a person: `copying pages`, `checking pages`, `reading rows` or
    /// `saving rows`, one after the other.
    pub step: &'static str,
    /// Number of units that are done.
    pub done: u64,
    /// Number of units of this step; 0 where it is not known.
    pub total: u64,
}

type Tell = dyn Fn(Progress) -> ControlFlow<()> + Send + Sync;

/// Whoever is told of progress, and may break off.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Tell>);

impl Watch {
    pub(crate) fn new(tell: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn nobody() -> Self {
        Self::new(|_| ControlFlow::Continue(()))
    }

    pub(crate) fn interrupted(step: &str) -> Error {
        Error::new(ErrorKind::Interrupted, format!("interrupted while {step}: nothing is changed or made"))
    }

    /// [`Interrupted`](ErrorKind::Interrupted) if it is not to go on.
    pub(crate) fn tell(&self, step: &'static str, done: u64, total: u64) -> Result<()> {
        match (self.0)(Progress { step, done, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Self::interrupted(step)),
        }
    }
}
