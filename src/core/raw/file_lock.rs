//! Locks of a range of a file that belong to an open file description: they exclude each other within a process too,
//! and are given up when the last descriptor of that description is closed, or the process ends.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};

/// Takes the range for the description of `file` alone, which must be open for writing; `false` if somebody else has a
/// part of it. Does not wait.
pub(crate) fn lock(file: &File, range: Range<i64>) -> io::Result<bool> {
    match control(file, libc::F_OFD_SETLK, libc::F_WRLCK, range) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives up what the description of `file` has of the range, for every process that has a descriptor of it.
pub(crate) fn unlock(file: &File, range: Range<i64>) -> io::Result<()> {
    control(file, libc::F_OFD_SETLK, libc::F_UNLCK, range).map(drop)
}

/// A range that keeps `file` from being locked in this one, if there is one: of another description, or a lock of any
/// process, this one too, that belongs to a process.
pub(crate) fn locked(file: &File, range: Range<i64>) -> io::Result<Option<Range<i64>>> {
    let found = control(file, libc::F_OFD_GETLK, libc::F_WRLCK, range)?;
    let is_free = i32::from(found.l_type) == libc::F_UNLCK;
    Ok((!is_free).then(|| found.l_start..found.l_start.saturating_add(found.l_len)))
}

fn control(file: &File, command: i32, kind: i32, range: Range<i64>) -> io::Result<libc::flock> {
    let mut lock = libc::flock {
        // Three small numbers.
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: range.start,
        l_len: range.end - range.start,
        // As these locks demand.
        l_pid: 0,
    };
    // SAFETY: the descriptor is open as long as `file` is borrowed, and these commands read and write one `flock`,
    // which outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock),
    }
}

/// In a child process: closes a descriptor of its parent's that has come along, if it is still of the file that `is_it`
/// knows. Only for one whose owner is not in this process, such as a thread that was not forked.
pub(crate) fn close_inherited(descriptor: RawFd, is_it: impl FnOnce(&File) -> bool) {
    // SAFETY: `file` is closed only if the descriptor is open, and the caller says that nobody else in this process
    // does so.
    let file = unsafe { File::from_raw_fd(descriptor) };
    if !is_it(&file) {
        let _still_open: RawFd = file.into_raw_fd();
    }
}
