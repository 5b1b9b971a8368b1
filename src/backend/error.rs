//! Why a backend failed, by what can be done about it.

use crate::error::{Error, ErrorKind, with_hint};
use std::error::Error as StdError;
use std::fmt;

/// What kind of failure it is: the flusher's reaction depends on nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Somebody else holds a lock; nothing was written. Tried again soon.
    Busy,
    /// No space is left. The batch is kept and tried again, less and less often.
    Full,
    /// Reading, writing or syncing failed. The backend is reopened, and everything since what is known
    /// to be durable is applied again.
    Io,
    /// What is stored is damaged. It is put aside and written anew from memory.
    Corrupt,
    /// What is stored was moved, deleted, or changed by somebody else, or its rights were. The backend is reopened.
    Unreachable,
    /// Memory ran out. Tried again.
    Memory,
    /// Something else is where this store's data was. Nothing is overwritten; tried again.
    Foreign,
    /// A newer version of this crate wrote it. Nothing is touched.
    Newer,
    /// Another owner has it. Nothing is touched.
    Owned,
    /// It was open in the process that this one was forked from, and can't be opened here. Nothing is touched.
    Forked,
    /// Anything else. The backend is reopened, and the batch tried again.
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

/// A backend's failure: its class, and a message that names what was being done, to what, and what to do
/// about it.
#[derive(Debug)]
pub struct BackendError {
    class: ErrorClass,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl BackendError {
    /// A failure of this class.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None, source: None }
    }

    /// The same, with what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same, with what to do about it, where the message does not say so: see [`Error::hint`].
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Its class.
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
