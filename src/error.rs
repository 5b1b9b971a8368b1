//! The error type of the crate.

use crate::trace::TraceId;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// An error of any type, as the standard library boxes it.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kind of an error; see [`Error::kind`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value is out of range or malformed. The message names the field. Nothing was stored.
    InvalidInput,
    /// [`insert`](crate::TraceStore::insert) with an id that the store holds, or a backup to a path where a file
    /// exists.
    AlreadyExists,
    /// A required trace is not in the store.
    NotFound,
    /// [`update_if`](crate::TraceStore::update_if) of a trace that now has another revision, or a
    /// [group](crate::TraceStore::apply) that expects another one.
    RevisionConflict,
    /// A group whose traces other threads wrote at each of its attempts. Nothing was changed: apply it again.
    Conflict,
    /// A write to a closed store.
    Closed,
    /// A write to a store whose flusher lags, if the store was opened with
    /// [`RejectWrites`](crate::LagPolicy::RejectWrites).
    Lagging,
    /// The file, or the space of a database, has another owner.
    InUse,
    /// The file, or the schema of the database, is not one of this crate.
    NotAStore,
    /// The file is not a snapshot of this crate.
    NotASnapshot,
    /// The schema of the file or the database, or the format of a snapshot, is newer than this version of the crate.
    NewerSchema,
    /// The snapshot has no signature, or one by a key other than the required one.
    Untrusted,
    /// The file is damaged.
    Corrupt,
    /// No space is left on the disk of the file or the server.
    DiskFull,
    /// Another connection holds the lock of the file.
    Busy,
    /// The file is no longer at its path, can't be opened, or can't be written; or the server can't be reached, refuses,
    /// or has not answered in time.
    Unreachable,
    /// Reading, writing or syncing failed.
    Io,
    /// Memory ran out.
    OutOfMemory,
    /// The timeout has passed.
    TimedOut,
    /// The call waits for a flusher, and was made on a flusher's thread: by a [`Waker`](std::task::Waker), a `tracing`
    /// subscriber or a [`Backend`](crate::backend::Backend). Nothing was done.
    WouldDeadlock,
    /// The callback that receives the `Progress` of a long operation ended it.
    Interrupted,
    /// The store belongs to the process that opened it, and this process was forked from that one; or the file to be
    /// opened was open at the fork.
    Forked,
    /// The backend, the flusher or the upkeep panicked.
    Panicked,
    /// The backend failed for a reason of its own.
    Backend,
}

impl ErrorKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ErrorKind::InvalidInput => "invalid input",
            ErrorKind::AlreadyExists => "already exists",
            ErrorKind::NotFound => "not found",
            ErrorKind::RevisionConflict => "revision conflict",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Closed => "closed",
            ErrorKind::Lagging => "lagging",
            ErrorKind::InUse => "in use",
            ErrorKind::NotAStore => "not a store",
            ErrorKind::NotASnapshot => "not a snapshot",
            ErrorKind::NewerSchema => "newer schema",
            ErrorKind::Untrusted => "untrusted",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::DiskFull => "disk full",
            ErrorKind::Busy => "busy",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::Io => "input or output failed",
            ErrorKind::OutOfMemory => "out of memory",
            ErrorKind::TimedOut => "timed out",
            ErrorKind::WouldDeadlock => "would deadlock",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::Forked => "forked",
            ErrorKind::Panicked => "panicked",
            ErrorKind::Backend => "backend",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error type of the crate: a [kind](Self::kind) to match on, and a message that names the operation, its object,
/// and the remedy. The cause, if there is one, is returned by [`source`](std::error::Error::source) and not repeated
/// in the message. The remedy is then separate, so that the cause can be printed before it:
/// `cannot open memory.db: Too many open files (os error 24)`, and the [hint](Self::hint).
///
/// ```
/// use mnemon::{ErrorKind, NewTrace, TraceStore};
///
/// let store = TraceStore::in_memory();
/// let error = store.insert(NewTrace::semantic(serde_json::json!("rust")).confidence(1.5)).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// assert_eq!(error.to_string(), "confidence is 1.5: give a number from 0 to 1");
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    field: Option<Box<str>>,
    found_revision: Option<u64>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self(Box::new(Inner { kind, message, hint: None, source: None, field: None, found_revision: None }))
    }

    pub(crate) fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Returns the error for an invalid value of a field.
    pub(crate) fn invalid(field: &str, value: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        let mut error = Self::new(ErrorKind::InvalidInput, format!("{field} is {value}: {remedy}"));
        error.0.field = Some(field.into());
        error
    }

    pub(crate) fn revision_conflict(id: TraceId, found: u64, wanted: u64) -> Self {
        let message = format!("trace {id} has revision {found}, not {wanted}: get it again and decide anew");
        let mut error = Self::new(ErrorKind::RevisionConflict, message);
        error.0.found_revision = Some(found);
        error
    }

    /// Returns the error for an invalid text of a field, quoted and shortened to its first 64 characters.
    pub(crate) fn invalid_text(field: &str, text: &str, remedy: impl fmt::Display) -> Self {
        const SHOWN: usize = 64;
        match text.char_indices().nth(SHOWN) {
            None => Self::invalid(field, format_args!("{text:?}"), remedy),
            Some((end, _)) => {
                let value = format_args!("{:?}… ({} bytes)", &text[..end], text.len());
                Self::invalid(field, value, remedy)
            }
        }
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the operation that failed and its object, without the [hint](Self::hint).
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the remedy, if the message does not name it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns the name of the field or parameter that is invalid; `None` if the error is of no field.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// let store = TraceStore::in_memory();
    /// let error = store.insert(NewTrace::text("rust").confidence(1.5)).unwrap_err();
    /// assert_eq!((error.field(), error.is_retryable()), (Some("confidence"), false));
    /// ```
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// Returns the revision that the trace has, if the error is a
    /// [revision conflict](ErrorKind::RevisionConflict).
    pub fn found_revision(&self) -> Option<u64> {
        self.0.found_revision
    }

    /// Whether the same call can succeed later without a change of its arguments: the disk may have room again, the
    /// file be let go by its owner, the flusher catch up, the other write be done.
    pub fn is_retryable(&self) -> bool {
        use ErrorKind::*;
        matches!(
            self.kind(),
            Conflict
                | Lagging
                | InUse
                | DiskFull
                | Busy
                | Unreachable
                | Io
                | OutOfMemory
                | TimedOut
                | Backend
        )
    }
}

/// Writes the message, and the hint in parentheses.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_hint(f, &self.0.message, self.hint())
    }
}

/// Writes a message and its hint in the way that an error displays them.
pub(crate) fn with_hint(f: &mut fmt::Formatter<'_>, message: &str, hint: Option<&str>) -> fmt::Result {
    f.write_str(message)?;
    hint.map_or(Ok(()), |hint| write!(f, " ({hint})"))
}

/// Writes the kind, the message, the chain of causes and the hint, in one line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        self.hint().map_or(Ok(()), |hint| write!(f, "; hint: {hint}"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

/// Whether the error says that no space is left: on the device, in the user's quota, or within the maximum size of a
/// file.
#[cfg(not(loom))]
pub(crate) fn is_no_room(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// Allows a value that is already a [`Payload`](crate::Payload) to be passed where a payload is expected.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
