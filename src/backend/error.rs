//! Failures of a backend, classified by the possible reaction.

use crate::error::{Error, ErrorKind, with_hint};
use std::error::Error as StdError;
use std::fmt;

/// Class of a failure: the reaction of the flusher depends on nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Another connection holds a lock; nothing was written. Tried again soon.
    Busy,
    /// No space is left. The batch is kept and tried again, at increasing intervals.
    Full,
    /// Reading, writing or syncing failed. The backend is reopened, and every change not known to be durable is
    /// applied again.
    Io,
    /// The stored data is damaged. It is quarantined and written again from memory.
    Corrupt,
    /// The stored data was moved, deleted or changed by another writer, or its access rights were changed. The
    /// backend is reopened.
    Unreachable,
    /// Memory ran out. Tried again.
    Memory,
    /// Other data is in the place of this store's data. Nothing is overwritten; tried again.
    Foreign,
    /// A newer version of this crate wrote the data. Nothing is changed.
    Newer,
    /// Another owner has the data. Nothing is changed.
    Owned,
    /// The data was open in the process that this one was forked from, and can't be opened here. Nothing is changed.
    Forked,
    /// Any other failure. The backend is reopened, and the batch tried again.
    Other,
}

impl From<ErrorClass> for ErrorKind {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Busy => ErrorKind::Busy,
            ErrorClass::Full => ErrorKind::DiskFull,
            ErrorClass::Io => ErrorKind::Io,
            ErrorClass::Corrupt => ErrorKind::Corrupt,
            ErrorClass::Unreachable => ErrorKind::Unreachable,
            ErrorClass::Memory => ErrorKind::OutOfMemory,
            ErrorClass::Foreign => ErrorKind::NotAStore,
            ErrorClass::Newer => ErrorKind::NewerSchema,
            ErrorClass::Owned => ErrorKind::InUse,
            ErrorClass::Forked => ErrorKind::Forked,
            ErrorClass::Other => ErrorKind::Backend,
        }
    }
}

/// A failure of a backend: its class, and a message that names the operation, its object, and the remedy.
#[derive(Debug)]
pub struct BackendError {
    class: ErrorClass,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl BackendError {
    /// Returns a failure of the given class.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None, source: None }
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

    /// Returns the class of the failure.
    pub fn class(&self) -> ErrorClass {
        self.class
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
        let error = Error::new(failure.class.into(), failure.message);
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
