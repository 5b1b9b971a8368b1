//! The lock of the file itself: a range of bytes far beyond any data, held by an open file description.
//!
//! The length of the range says which process has it. SQLite's own locks are in other bytes, and belong to processes.

use super::in_use;
use crate::backend::BackendError;
use crate::backend::sqlite::file_identity::{FileId, unreachable_file};
use crate::backend::sqlite::files::{self, Descriptor, InUse};
use crate::error::ErrorKind;
use crate::guarded;
use crate::protocol::{Process, file_lock};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where the range begins: beyond the longest file and the locks of SQLite.
const FIRST: i64 = 1 << 62;

/// How often it is tried when another owner comes or goes at the same time, or the file is moved.
const TRIES: u32 = 5;

/// Holding it is owning the file.
pub(in crate::backend::sqlite) struct Lock {
    /// `None` only within the drop.
    descriptor: Option<Descriptor>,
    process: Process,
    _in_use: InUse,
}

/// The range that an owner takes. Those of any two processes overlap.
fn range(process: u32) -> Range<i64> {
    FIRST..FIRST + 1 + i64::from(process)
}

impl Lock {
    /// Makes an empty file if there is none, and changes nothing in one that is there.
    pub(in crate::backend::sqlite) fn acquire(path: &Path) -> Result<Self, BackendError> {
        files::check(path)?;
        let unreachable = |error| unreachable_file(path, error);
        for _ in 0..TRIES {
            if !may_be_opened(path) {
                return Err(unreachable(io::Error::new(io::ErrorKind::IsADirectory, "it is no file")));
            }
            // Asked first, so that not every try leaves a descriptor that is kept while the owner has the file.
            if let Some(process) = owner(path) {
                return Err(in_use(path, Some(process)));
            }
            let descriptor = options().open(path).and_then(Descriptor::new).map_err(unreachable)?;
            let is_taken = take(&descriptor, path);
            // The path may have got another file meanwhile.
            if matches!(is_taken, Ok(true)) && FileId::of(path).is_ok_and(|id| id == descriptor.id()) {
                return Ok(Self::of(descriptor, path));
            }
            descriptor.unlock();
            descriptor.retire();
            is_taken?;
        }
        Err(in_use(path, None))
    }

    fn of(descriptor: Descriptor, path: &Path) -> Self {
        let number = descriptor.file().map(|file| file.as_raw_fd());
        let _in_use = InUse::owner(path, descriptor.id(), number);
        Self { descriptor: Some(descriptor), process: Process::current(), _in_use }
    }

    /// Whether it is the lock of the file that the path names.
    pub(in crate::backend::sqlite) fn is_of(&self, path: &Path) -> bool {
        let held = self.descriptor.as_ref().map(Descriptor::id);
        self.is_held() && FileId::of(path).ok() == held
    }

    /// Whether its descriptor is still open, in the process that opened it. If not, SQLite's are not either. Costs two
    /// system calls.
    pub(in crate::backend::sqlite) fn is_held(&self) -> bool {
        self.process.is_current() && self.descriptor.as_ref().is_some_and(Descriptor::is_open)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let is_held = self.is_held();
        if let Some(descriptor) = self.descriptor.take() {
            if is_held {
                descriptor.unlock();
            }
            descriptor.retire();
        }
    }
}

impl Descriptor {
    /// Gives up the lock also for a child that was forked meanwhile, and has a copy of the descriptor.
    fn unlock(&self) {
        let unlocked = self.file().map_or(Ok(()), |file| file_lock::unlock(file, FIRST..i64::MAX));
        if let Err(error) = unlocked {
            guarded::run(|| {
                tracing::warn!(%error, "the lock of a store's file could not be given up before its descriptor was closed");
            });
        }
    }
}

/// Opening a pipe would wait for its other end.
fn may_be_opened(path: &Path) -> bool {
    path.metadata().map_or(true, |file| file.is_file())
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

/// Takes the lock; returns `false` if another owner has it.
fn take(descriptor: &Descriptor, path: &Path) -> Result<bool, BackendError> {
    let Some(file) = descriptor.file() else { return Ok(false) };
    refuse_mount_point(file, path)?;
    let failed = |error| {
        let message = format!("{} can't be locked: its file system must have locks", path.display());
        BackendError::new(ErrorKind::Unreachable, message).because(error)
    };
    file_lock::lock(file, range(std::process::id())).map_err(failed)
}

/// The process that owns the file, if one does.
pub(in crate::backend::sqlite) fn owner(path: &Path) -> Option<u32> {
    if !may_be_opened(path) {
        return None;
    }
    let descriptor = Descriptor::to_look_at(path).ok()?;
    let taken = descriptor.file().and_then(|file| file_lock::locked(file, range(0)).ok()?);
    descriptor.retire();
    let taken = taken.filter(|taken| taken.start == FIRST)?;
    u32::try_from(taken.end - taken.start - 1).ok()
}

/// Refuses a file that is mounted by itself. Its WAL would lie outside of the mount: each container would have another
/// one, and lose it when it is made anew.
fn refuse_mount_point(file: &File, path: &Path) -> Result<(), BackendError> {
    let folder = path.parent().and_then(|folder| File::open(folder).ok());
    match (mount_of(file), folder.and_then(|folder| mount_of(&folder))) {
        (Some(own), Some(of_folder)) if own != of_folder => Err(BackendError::new(
            ErrorKind::Unreachable,
            format!(
                "{} is mounted by itself, and its WAL would not be in the mount: mount its folder instead",
                path.display()
            ),
        )),
        // Also where there is no `/proc` to tell by.
        _ => Ok(()),
    }
}

/// The number of the mount that an open file lies in.
fn mount_of(file: &File) -> Option<u64> {
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    about.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}
