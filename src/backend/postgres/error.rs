//! Failures of the server and of the way to it, by what can be done about them.

use crate::backend::BackendError;
use crate::error::ErrorKind;
use jiff::Timestamp;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;
use tokio_postgres::Error;

/// Why something did not work.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server said no, or the connection ended.
    Server(Error),
    /// A row is refused for its content.
    Content(Error),
    /// A row whose numbers were to be written is not there.
    Missing,
    /// The deadline has passed.
    TimedOut,
    /// All connections that it might have had were in use until the deadline.
    NoConnection,
    /// Another opening has the space.
    Lost(Holder),
    /// The space is not as its owner left it, and nobody has taken it since: the server has lost commits.
    Diverged,
    /// The server has lost the opening itself, and shows one before, whose lease has not ended.
    Held(Holder),
    /// Explained already.
    Explained(BackendError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Server(error)
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Failure::Explained(error)
    }
}

impl Failure {
    /// Whether the connection may have ended with a commit under way: nobody knows how that ended.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(self, Failure::Server(error) if ends_connection(error))
    }

    /// The failure as the flusher sees it. `place` names the space or the server, `limit` is that of the deadline.
    pub(super) fn explained(self, doing: &str, place: &str, limit: Duration) -> BackendError {
        match self {
            Failure::Server(error) | Failure::Content(error) => {
                let kind = kind_of(code(&error));
                let hint = match kind {
                    ErrorKind::DiskFull => "make room on the server, and flushing goes on",
                    ErrorKind::Io => "look at the server's log",
                    ErrorKind::OutOfMemory => "the server's memory ran out: free some",
                    ErrorKind::Busy => "other transactions are in the way: it is tried again",
                    ErrorKind::Unreachable => "look at the server, the way to it, and the rights of the user",
                    _ => "this should not happen: report it",
                };
                let failure = BackendError::new(kind, format!("{doing} {place} failed"));
                failure.with_hint(hint).because(Said::by(&error))
            }
            Failure::TimedOut => {
                let message = format!("{doing} {place} took longer than {limit:?}");
                let failure = BackendError::new(ErrorKind::Unreachable, message);
                failure.with_hint("look at the server and the way to it, or give a longer flush_timeout")
            }
            Failure::NoConnection => {
                let message =
                    format!("{doing} {place} has waited {limit:?} for a connection that was not in use");
                let failure = BackendError::new(ErrorKind::Unreachable, message);
                failure.with_hint("open, read and follow fewer spaces at a time")
            }
            Failure::Missing => BackendError::new(
                ErrorKind::Unreachable,
                format!("rows of {place} are gone: they are written again"),
            ),
            Failure::Lost(holder) => {
                let message = format!(
                    "{place} was taken over by {holder}: nothing more is written to it from here; open it again where it is to be"
                );
                BackendError::new(ErrorKind::InUse, message)
            }
            Failure::Diverged => {
                let message = format!("{place} has lost commits that the server had confirmed");
                let failure = BackendError::new(ErrorKind::Io, message);
                failure.with_hint("what is missing is written again from memory")
            }
            Failure::Held(holder) => {
                let message = format!(
                    "{doing} {place} waits: the server has lost this opening, and shows that of {holder}"
                );
                let failure = BackendError::new(ErrorKind::Unreachable, message);
                failure.with_hint("what is missing is written again once that lease has ended")
            }
            Failure::Explained(error) => error,
        }
    }
}

/// The owner of a space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holder {
    /// `None` if it was released by hand.
    pub(super) owner: Option<String>,
    pub(super) until: Option<Timestamp>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.owner, self.until) {
            (None, _) => f.write_str("nobody: it was released by hand"),
            (Some(owner), None) => write!(f, "{owner}, which has closed it since"),
            (Some(owner), Some(until)) => write!(f, "{owner}, whose lease runs until {until:.0}"),
        }
    }
}

fn code(error: &Error) -> &str {
    error.code().map_or("", |code| code.code())
}

/// Whether the division that a statement makes where its condition is not met was by zero.
pub(super) fn is_unmet(error: &Error) -> bool {
    code(error) == "22012"
}

/// Whether a row itself is at fault, and another one may pass.
pub(super) fn is_about_the_row(error: &Error) -> bool {
    matches!(code(error).get(..2), Some("22" | "23" | "54"))
}

/// Whether the error is that something which the schema has is not there.
pub(super) fn is_not_there(error: &Error) -> bool {
    matches!(code(error), "42P01" | "42703" | "42804" | "42883" | "42809")
}

/// Whether the error is that a lock was not given in time.
pub(super) fn is_locked(error: &Error) -> bool {
    code(error) == "55P03"
}

/// Whether the connection is of no more use.
pub(super) fn ends_connection(error: &Error) -> bool {
    match code(error) {
        "" => true,
        // Terminated by an administrator, the end of the server, or a timeout of an idle transaction.
        code => code.starts_with("08") || code.starts_with("57P") || matches!(code, "25P03" | "25P04"),
    }
}

fn kind_of(code: &str) -> ErrorKind {
    match code {
        // The connection, or its end.
        "" => ErrorKind::Unreachable,
        "53100" => ErrorKind::DiskFull,
        "53200" => ErrorKind::OutOfMemory,
        "58030" => ErrorKind::Io,
        // A failed serialization, or a deadlock.
        "40001" | "40P01" => ErrorKind::Busy,
        // A lock or an answer that did not come in time, too many connections.
        "55P03" | "53300" => ErrorKind::Unreachable,
        // Shut down, starting, a standby, no rights, no table, a wrong password.
        _ if matches!(code.get(..2), Some("08" | "57" | "25" | "28" | "3D" | "42")) => ErrorKind::Unreachable,
        _ => ErrorKind::Backend,
    }
}

/// What the server says, or why it can't be heard. The details of a message are left out: they quote rows.
#[derive(Debug)]
pub(super) struct Said(String);

impl Said {
    pub(super) fn by(error: &Error) -> Self {
        if let Some(said) = error.as_db_error() {
            return Self(format!("{} (SQLSTATE {})", said.message(), said.code().code()));
        }
        let mut text = error.to_string();
        let mut cause = StdError::source(error);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        Self(text)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Said {}

#[cfg(test)]
mod tests {
    use super::kind_of;
    use crate::error::ErrorKind;

    /// Whatever stands between may say so.
    #[test]
    fn sqlstate_of_any_length_has_a_kind() {
        for (code, kind) in
            [("4", ErrorKind::Backend), ("é", ErrorKind::Backend), ("42501", ErrorKind::Unreachable)]
        {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }
}
