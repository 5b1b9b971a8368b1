//! Calling the backend so that its panic is a failure like any other.

use crate::backend::BackendError;
use crate::error::{Error, ErrorKind};
use crate::guarded;

/// Why a call of the backend did not succeed.
pub(super) enum Failure {
    Backend(BackendError),
    Panic(String),
}

impl Failure {
    /// Returns the failure as an error; its kind decides what the flusher does.
    pub(super) fn explained(self) -> Error {
        match self {
            Failure::Backend(error) => Error::from(error),
            Failure::Panic(message) => {
                let message = format!("the backend panicked: {message}; its batch is kept and tried again");
                Error::new(ErrorKind::Panicked, message)
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
