//! The progress of a long operation, and whether it may continue.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Progress of the [opening](crate::StoreBuilder::on_progress) of a file or a space, a [`backup`](crate::backup), a
/// [`verify`](crate::verify), the saving of a [snapshot](crate::Snapshots::on_progress) or an
/// [export](crate::legion::export) for the original.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// The current step and its unit, as text for people: `copying pages`, `checking pages`, `reading rows` or
    /// `saving rows`, one after the other.
    pub step: &'static str,
    /// Number of units done.
    pub done: u64,
    /// Number of units in this step; 0 if unknown.
    pub total: u64,
}

impl Progress {
    /// Continues, and does nothing else: the callback for a caller that wants no progress.
    pub fn ignore(self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

type Tell = dyn Fn(Progress) -> ControlFlow<()> + Send + Sync;

/// A callback that receives progress, and may interrupt the operation.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Tell>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    pub(crate) fn new(tell: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn interrupted(step: &str) -> Error {
        Error::new(ErrorKind::Interrupted, format!("interrupted while {step}: nothing is changed or made"))
    }

    /// Reports progress. Returns [`Interrupted`](ErrorKind::Interrupted) if the operation must stop.
    pub(crate) fn tell(&self, step: &'static str, done: u64, total: u64) -> Result<()> {
        match (self.0)(Progress { step, done, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Self::interrupted(step)),
        }
    }
}
