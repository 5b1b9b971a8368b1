//! The lock where a file can't be locked beside what SQLite does: that of a file beside it (`PATH.lock`), which names
//! its process. A second name of the file has another one.

use super::in_use;
use crate::backend::BackendError;
use crate::backend::sqlite::file_identity::{FileId, sibling, unreachable_file};
use crate::backend::sqlite::files::{self, InUse};
use crate::backend::sqlite::look::look_before_touching;
use crate::error::ErrorKind;
use crate::guarded;
use crate::protocol::Process;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// Holding it is owning the file. The system gives it up when the process ends, however it ends; the lock
/// file itself stays, as removing it would let two owners lock two files of one name.
pub(in crate::backend::sqlite) struct Lock {
    file: File,
    id: FileId,
    process: Process,
    _in_use: InUse,
}

const SUFFIX: &str = ".lock";

impl Lock {
    pub(in crate::backend::sqlite) fn acquire(path: &Path) -> Result<Self, BackendError> {
        files::check(path)?;
        if path.exists() {
            // First of all, so that no lock file appears beside what is not a store.
            look_before_touching(path)?;
        }
        super::super::path::make_if_missing(path)?;
        let beside = sibling(path, SUFFIX);
        let failed = |error: std::io::Error| {
            let message = format!(
                "the lock file {} can't be used: check that its folder exists and may be written",
                beside.display()
            );
            BackendError::new(ErrorKind::Unreachable, message).because(error)
        };
        let mut file = options().open(&beside).map_err(failed)?;
        // Somebody who just looks holds it for a moment.
        let mut tries = 5;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries == 0 => return Err(in_use(path, pid(&mut file))),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            tries -= 1;
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
        let id = FileId::of_open(&file).map_err(failed)?;
        let of = FileId::of(path).map_err(|error| unreachable_file(path, error))?;
        Ok(Self { file, id, process: Process::current(), _in_use: InUse::owner(path, of, None) })
    }

    /// Whether the lock file is still there for others to find.
    pub(in crate::backend::sqlite) fn is_of(&self, path: &Path) -> bool {
        self.is_held() && FileId::of(&sibling(path, SUFFIX)).is_ok_and(|id| id == self.id)
    }

    /// Whether its descriptor is still what it was. If not, SQLite's are not either.
    pub(in crate::backend::sqlite) fn is_held(&self) -> bool {
        self.process.is_current() && self.id.is_of(&self.file)
    }
}

/// Said, and not left to the closing of the descriptor: a child process that was forked meanwhile has another.
impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
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
pub(in crate::backend::sqlite) fn owner(path: &Path) -> Option<u32> {
    let mut file = File::open(sibling(path, SUFFIX)).ok()?;
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

#[cfg(test)]
mod tests {
    use super::{Lock, owner};
    use crate::error::ErrorKind;
    use std::fs;

    #[test]
    fn lock_beside_excludes_and_names_owner() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("memory.db");
        let held = Lock::acquire(&path)?;
        assert!(held.is_of(&path) && held.is_held() && path.exists());
        assert_eq!(owner(&path), Some(std::process::id()));
        let error = Lock::acquire(&path).err().ok_or("it has an owner")?;
        assert_eq!(error.kind(), ErrorKind::InUse);
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        fs::remove_file(folder.path().join("memory.db.lock"))?;
        assert!(!held.is_of(&path) && held.is_held());
        let again = Lock::acquire(&path)?;
        drop(held);
        assert!(again.is_of(&path));
        drop(again);
        assert_eq!(owner(&path), None);
        Ok(())
    }
}
