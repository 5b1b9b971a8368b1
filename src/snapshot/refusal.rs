//! Why a file is refused, and what a person is told of it.

use super::format::VERSION;
use crate::error::{Error, ErrorKind, is_no_room};
use std::fmt;
use std::io;
use std::path::Path;

#[derive(Debug)]
pub(super) enum Refusal {
    /// It can't be read.
    Io(io::Error),
    /// It does not begin as a snapshot does.
    Foreign(&'static str),
    /// A later version of the crate wrote it.
    Newer(u64),
    /// It is not what was written.
    Damaged(String),
    /// It is what was written, or seems so, and a line can't be taken.
    Line { number: u64, problem: String },
    /// The key that is demanded has not signed it.
    Untrusted(String),
}

impl Refusal {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Refusal::Damaged(what.into())
    }

    pub(super) fn line(number: u64, problem: impl fmt::Display) -> Self {
        Refusal::Line { number, problem: problem.to_string() }
    }

    pub(super) fn of(self, path: &Path) -> Error {
        let path_shown = path.display();
        let (kind, message) = match self {
            Refusal::Io(error) => return io_error("reading", path, error),
            Refusal::Foreign(what) => {
                (ErrorKind::NotASnapshot, format!("{path_shown} {what}: give the path of a snapshot"))
            }
            Refusal::Newer(version) => (
                ErrorKind::NewerSchema,
                format!(
                    "{path_shown} has snapshot version {version}, and this version of mnemon knows up to \
                     {VERSION}: use a newer one"
                ),
            ),
            Refusal::Damaged(what) => {
                (ErrorKind::Corrupt, format!("{path_shown} is damaged, {what}: use another snapshot"))
            }
            Refusal::Line { number, problem } => (
                ErrorKind::Corrupt,
                format!("{path_shown} can't be taken, line {number}: {problem}: use another snapshot"),
            ),
            Refusal::Untrusted(what) => (
                ErrorKind::Untrusted,
                format!("{path_shown} {what}: use a snapshot that the demanded key has signed"),
            ),
        };
        Error::new(kind, message)
    }

    /// Of a file that stands beside a database and is to be applied to it.
    #[cfg(feature = "sqlite")]
    pub(super) fn of_spill(self, path: &Path) -> Error {
        let remedy = "move it away to open the store without what it holds";
        let error = self.of(path);
        Error::new(error.kind(), format!("the spill {} can't be applied: {remedy}", path.display()))
            .because(error)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Io(error)
    }
}

/// What the system answered, with what was being done to which file.
pub(super) fn io_error(doing: &str, path: &Path, error: io::Error) -> Error {
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
    Error::new(kind, format!("{doing} {} failed", path.display())).with_hint(remedy).because(error)
}
