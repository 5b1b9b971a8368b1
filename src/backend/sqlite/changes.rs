//! Noticing that somebody else has written to the file or to its log, in place.
//!
//! Nobody but the store writes to either, so that before each of its writes both are as long, and were last written
//! at the same time, as after the one before. Both are asked for by path: opening and closing a descriptor of the file
//! would give up the locks that every connection of this process holds on it.

use super::file_identity::log_of;
use std::fs;
use std::path::Path;

/// How the last write of the store left its file and the log beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LastWrite {
    file: Option<Written>,
    log: Option<Written>,
}

/// Length in bytes, and time of the last write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Written {
    length: u64,
    /// Seconds and nanoseconds. Elsewhere than on Unix a system may set it later than it writes: there it is left out.
    #[cfg(unix)]
    time: (i64, i64),
}

impl Written {
    /// `None` if the file is not there.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            length: file.len(),
            #[cfg(unix)]
            time: {
                use std::os::unix::fs::MetadataExt;
                (file.mtime(), file.mtime_nsec())
            },
        })
    }
}

impl LastWrite {
    /// As both are now. Costs two system calls.
    pub(super) fn of(path: &Path) -> Self {
        Self { file: Written::of(path), log: Written::of(&log_of(path)) }
    }

    /// After a write that went into the log alone: whoever wrote to the file meanwhile is still noticed.
    pub(super) fn note_log(&mut self, path: &Path) {
        self.log = Written::of(&log_of(path));
    }

    /// How the last write left the file itself.
    pub(super) fn file(&self) -> Option<Written> {
        self.file
    }

    /// After a round has moved the log into the file, and left that so.
    pub(super) fn note_file(&mut self, file: Option<Written>) {
        self.file = file;
    }

    /// Whether nobody has written to the log since.
    pub(super) fn is_last_in_log(&self, path: &Path) -> bool {
        self.log == Written::of(&log_of(path))
    }

    /// Whether nobody has written to either since.
    pub(super) fn is_last(&self, path: &Path) -> bool {
        *self == Self::of(path)
    }
}
