//! The file's one writing owner: a lock file beside it, which names its process.

use crate::backend::{BackendError, ErrorClass};
use crate::guarded;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Holding it is owning the file. The system gives it up when the process ends, however it ends; the lock
/// file itself stays, as removing it would let two owners lock two files of one name.
pub(super) struct Lock(File);

/// `PATH.lock`.
pub(super) fn path_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

impl Lock {
    pub(super) fn acquire(path: &Path) -> Result<Self, BackendError> {
        let beside = path_of(path);
        let failed = |error: std::io::Error| {
            let message = format!(
                "the lock file {} can't be used: check that its folder exists and may be written",
                beside.display()
            );
            BackendError::new(ErrorClass::Unreachable, message).because(error)
        };
        let mut file = options().open(&beside).map_err(failed)?;
        // Somebody who just looks holds it for a moment.
        let mut tries = 5;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries == 0 => return Err(in_use(path, &mut file)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            tries -= 1;
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self(file))
    }

    /// Whether the lock file is still there for others to find. Elsewhere than on Unix an open file can't go.
    pub(super) fn is_beside(&self, path: &Path) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let (held, there) = (self.0.metadata(), path_of(path).metadata());
            held.is_ok_and(|held| {
                there.is_ok_and(|there| (held.dev(), held.ino()) == (there.dev(), there.ino()))
            })
        }
        #[cfg(not(unix))]
        {
            let _ = (&self.0, path);
            true
        }
    }
}

/// Said, and not left to the closing of the descriptor: a child process that was forked meanwhile has another.
impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            guarded::run(|| {
                tracing::warn!(%error, "the lock of a store's file could not be given up before its descriptor was closed");
            });
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The process that owns the file, if one does and has said so.
pub(super) fn owner(path: &Path) -> Option<u32> {
    let mut file = File::open(path_of(path)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => pid(&mut file),
        _ => None,
    }
}

fn pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn in_use(path: &Path, file: &mut File) -> BackendError {
    let owner = pid(file).map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    let message = format!("{} is in use by {owner}: close the store there first", path.display());
    BackendError::new(ErrorClass::Owned, message)
}
