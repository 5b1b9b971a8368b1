//! The reasons for refusing a file, as errors for people.

use super::format::VERSION;
use crate::error::{Error, ErrorKind, is_no_room};
use std::error::Error as _;
use std::fmt::{self, Display};
use std::io;

#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    /// It is not an archive of the kind wanted. With the remedy.
    Foreign(String),
    /// A later version of the crate wrote it.
    Newer(u64),
    /// It is not what was written.
    Damaged(&'static str),
    /// Its seal is right, and a line is not.
    Line {
        number: u64,
        problem: String,
    },
    /// The required key did not sign it.
    Untrusted(String),
}

impl ReadError {
    pub(super) fn line(number: u64, problem: impl Display) -> Self {
        ReadError::Line { number, problem: problem.to_string() }
    }

    /// The error of the crate; `name` is that of the file.
    pub(super) fn of(self, name: impl Display) -> Error {
        let (kind, message) = match self {
            ReadError::Io(error) => return io_error("reading", name, error),
            ReadError::Foreign(what) => (ErrorKind::NotASnapshot, format!("{name} {what}")),
            ReadError::Newer(version) => (
                ErrorKind::NewerSchema,
                format!(
                    "{name} has archive version {version}, and this version of mnemon knows up to {VERSION}: use a \
                     newer one"
                ),
            ),
            ReadError::Damaged(what) => {
                (ErrorKind::Corrupt, format!("{name} is damaged, {what}: use another file"))
            }
            ReadError::Line { number, problem } => (
                ErrorKind::Corrupt,
                format!("{name} can't be used, line {number}: {problem}: use another file"),
            ),
            ReadError::Untrusted(what) => {
                (ErrorKind::Untrusted, format!("{name} {what}: use a file that the required key has signed"))
            }
        };
        Error::new(kind, message)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        ReadError::Io(error)
    }
}

/// What is wrong with a line, with all causes. The parser saw one line alone: its `at line 1` would be misleading.
pub(super) fn problem_of(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.replace(" at line 1 column ", ", column ")
}

/// An operating system's error, with the operation and its file.
pub(super) fn io_error(doing: &str, name: impl Display, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    let (kind, remedy) = match error.kind() {
        _ if is_no_room(&error) => (ErrorKind::DiskFull, "make room"),
        Io::NotFound
        | Io::PermissionDenied
        | Io::NotADirectory
        | Io::IsADirectory
        | Io::AlreadyExists
        | Io::ReadOnlyFilesystem
        | Io::InvalidFilename => (ErrorKind::Unreachable, "check that it exists, and its rights"),
        _ => (ErrorKind::Io, "check the disk"),
    };
    Error::new(kind, format!("{doing} {name} failed")).with_hint(remedy).because(error)
}

/// The error for content that could not be read back.
pub(super) fn unusable(what: impl fmt::Display, problem: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{what} can't be archived: {problem}"))
}
