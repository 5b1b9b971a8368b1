//! Calling the backend so that its panic is a failure like any other.

use super::retry::Cause;
use crate::backend::BackendError;
use crate::error::{Error, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
pub(super) fn supervised<T>(work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, Failure> {
    if cfg!(loom) {
        // A model that fails does so by panicking, and must be seen to.
        return work().map_err(Failure::Backend);
    }
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(Failure::Backend),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Failure::Panic(text.unwrap_or_else(|| "with no message".to_owned())))
        }
    }
}
