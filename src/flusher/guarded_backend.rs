//! Calling the backend so that its panic is a failure like any other.

use crate::backend::BackendError;
use crate::error::{Error, ErrorKind};
use crate::guarded;
use crate::state::Cause;

/// Why a call of the backend did not succeed.
pub(super) enum Failure {
    Backend(BackendError),
    Panic(String),
}

impl Failure {
    /// The same for the flusher, and for people.
    pub(super) fn explained(self) -> (Cause, Error) {
        match self {
            Failure::Backend(error) => (Cause::Class(error.class()), Error::from(error)),
            Failure::Panic(message) => {
                let message = format!("the backend panicked: {message}; its batch is kept and tried again");
                (Cause::Panic, Error::new(ErrorKind::Panicked, message))
            }
        }
    }
}

/// Turns a backend's panic into a failure. What it may have left half done is the backend's alone, and
/// is reopened; the flusher's state is changed before or after the backend is called, never during.
pub(super) fn guarded_call<T>(work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, Failure> {
    match guarded::caught(work) {
        Ok(outcome) => outcome.map_err(Failure::Backend),
        Err(message) => Err(Failure::Panic(message)),
    }
}
