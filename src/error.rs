//! The crate's one error.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What an operation of this crate answers with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong; see [`Error::kind`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value is out of its range, or malformed. The message names the field. Nothing was stored.
    InvalidInput,
    /// [`insert`](crate::TraceStore::insert) of an id that the store holds, or a backup under the name of a file that
    /// is there.
    AlreadyExists,
    /// A trace that has to be in the store is not.
    NotFound,
    /// [`update_if`](crate::TraceStore::update_if) of a trace that has another revision by now.
    RevisionConflict,
    /// A write to a store that is closed.
    Closed,
    /// A write to a store whose flusher lags, where the store was opened with
    /// [`Lag::Refuse`](crate::Lag::Refuse).
    Lagging,
    /// The file has a writing owner already.
    InUse,
    /// The file is not a store of this crate.
    NotAStore,
    /// The file is not a snapshot of this crate.
    NotASnapshot,
    /// The file's schema, or a snapshot's format, is newer than this version of the crate.
    NewerSchema,
    /// The snapshot bears no signature, or another key's than the one demanded.
    Untrusted,
    /// The file is damaged.
    Corrupt,
    /// No space is left where the file is.
    DiskFull,
    /// Another connection holds the file's lock.
    Busy,
    /// The file is not where it was, can't be opened, or can't be written.
    Unreachable,
    /// Reading, writing or syncing failed.
    Io,
    /// Memory ran out.
    OutOfMemory,
    /// The time allowed has passed.
    TimedOut,
    /// The store belongs to the process that opened it, and this one was forked from it.
    Forked,
    /// The backend panicked.
    Panicked,
    /// The backend refused for a reason of its own.
    Backend,
}

impl ErrorKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ErrorKind::InvalidInput => "invalid input",
            ErrorKind::AlreadyExists => "already exists",
            ErrorKind::NotFound => "not found",
            ErrorKind::RevisionConflict => "revision conflict",
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

/// What went wrong: a [kind](Self::kind) to match on, and a message that names what was being done, to
/// what, and what to do about it. The cause, where there is one, is in
/// [`source`](std::error::Error::source) and not repeated in the message; what to do about it is then apart, so that the
/// cause can stand before it: `cannot open memory.db: Too many open files (os error 24)`, and the [hint](Self::hint).
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
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    pub(crate) fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// A field's value that can't be taken.
    pub(crate) fn invalid(field: &str, value: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidInput, format!("{field} is {value}: {remedy}"))
    }

    /// A field's text that can't be taken, in quotes: no more of it than says which it was.
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

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done, and to what, without the [hint](Self::hint).
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it, where the message does not say so.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// The message, and the hint in parentheses.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_hint(f, &self.0.message, self.hint())
    }
}

/// As an error displays a message and its hint.
pub(crate) fn with_hint(f: &mut fmt::Formatter<'_>, message: &str, hint: Option<&str>) -> fmt::Result {
    f.write_str(message)?;
    hint.map_or(Ok(()), |hint| write!(f, " ({hint})"))
}

/// The kind, the message, the chain of causes and the hint, in one line.
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

/// Whether the system has no room: on the device, in the user's quota, or in a file that may have no more.
#[cfg(not(loom))]
pub(crate) fn is_no_room(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// So that a value that is a [`Payload`](crate::Payload) already can be given where one is asked for.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
