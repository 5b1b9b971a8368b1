//! Failures of a backend.

use crate::error::{Error, ErrorKind, with_hint};
use std::error::Error as StdError;
use std::fmt;

/// A failure of a backend: its kind, and a message that names the operation, its object, and the remedy.
#[derive(Debug)]
pub struct BackendError {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl BackendError {
    /// Returns a failure of the given kind: one of the table at [`Backend`](super::Backend#errors-of-a-backend), which
    /// has the reaction of the flusher to each. Any other kind, for example [`Closed`](ErrorKind::Closed), says
    /// something that a backend can't know, and becomes [`Backend`](ErrorKind::Backend).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let kind = match kind {
            ErrorKind::Busy
            | ErrorKind::DiskFull
            | ErrorKind::Io
            | ErrorKind::Corrupt
            | ErrorKind::Unreachable
            | ErrorKind::OutOfMemory
            | ErrorKind::NotAStore
            | ErrorKind::NewerSchema
            | ErrorKind::InUse
            | ErrorKind::Forked => kind,
            _ => ErrorKind::Backend,
        };
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Returns the failure of a load that its caller has interrupted.
    #[cfg(all(feature = "postgres", not(loom)))]
    pub(super) fn interrupted(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.message().to_owned(), hint: None, source: None }
    }

    /// Returns the failure with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the failure with a remedy, where the message does not name one: see [`Error::hint`].
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_hint(f, &self.message, self.hint.as_deref())
    }
}

impl StdError for BackendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

impl From<BackendError> for Error {
    fn from(failure: BackendError) -> Self {
        let error = Error::new(failure.kind, failure.message);
        let error = match failure.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        };
        match failure.source {
            Some(source) => error.because(Cause(source)),
            None => error,
        }
    }
}

/// A boxed error as an error type of its own.
#[derive(Debug)]
struct Cause(Box<dyn StdError + Send + Sync>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::BackendError;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn kinds_that_no_backend_can_know_are_its_own() {
        use ErrorKind::{Closed, InvalidInput, Panicked, TimedOut, WouldDeadlock};
        for kind in [Closed, InvalidInput, Panicked, TimedOut, WouldDeadlock] {
            let failure = BackendError::new(kind, "as the test says");
            assert_eq!(failure.kind(), ErrorKind::Backend, "{kind:?}");
            assert_eq!(Error::from(failure).kind(), ErrorKind::Backend, "{kind:?}");
        }
    }
}
