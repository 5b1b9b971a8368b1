//! Locks of a range of bytes of a file, held by an open file description: they exclude each other within a process too,
//! and end when the last descriptor of that description is closed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};

/// Locks the range for the description of `file`, which must be open for writing. Does not wait: returns `false` if
/// another lock overlaps.
pub(crate) fn lock(file: &File, range: Range<i64>) -> io::Result<bool> {
    match control(file, libc::F_OFD_SETLK, libc::F_WRLCK, range) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives up the locks that the description of `file` has in the range, for every process that has a descriptor of it.
pub(crate) fn unlock(file: &File, range: Range<i64>) -> io::Result<()> {
    control(file, libc::F_OFD_SETLK, libc::F_UNLCK, range).map(drop)
}

/// Returns the range of a lock that overlaps this one: of another description, or of any process, this one included.
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

/// In a child process: closes the copy of a parent's descriptor, if `is_it` still recognizes its file. The `File` that
/// owned it must be out of reach, as when it belongs to a thread that was not forked.
pub(crate) fn close_inherited(descriptor: RawFd, is_it: impl FnOnce(&File) -> bool) {
    // SAFETY: `file` is dropped only if the descriptor is open and its file is recognized, and the caller says that no
    // other owner in this process closes it. Otherwise it is released below, unclosed.
    let file = unsafe { File::from_raw_fd(descriptor) };
    if !is_it(&file) {
        let _still_open: RawFd = file.into_raw_fd();
    }
}
