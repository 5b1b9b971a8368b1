//! The files that this process has open through SQLite, and those that it must not open.
//!
//! SQLite keeps the state of an open file in memory, by device and inode. Two events make that state untrue: a fork,
//! after which the child has none of the locks, and the closing of SQLite's descriptors by other code. Such a file is
//! refused in this process from then on.
//!
//! Closing any descriptor of a file gives up every lock that its process has on the file, SQLite's included. So a
//! descriptor of ours stays open until no connection in this process needs those locks.

use super::file_identity::{FileId, log_of};
use crate::backend::BackendError;
use crate::error::ErrorKind;
use crate::protocol::Process;
use crate::protocol::sync::{Mutex, lock};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Replaced in a child process at its first use there, so that the child waits for no thread that stayed in the parent.
static FILES: ArcSwapOption<Files> = ArcSwapOption::const_empty();

struct Files {
    process: Process,
    /// Never locked, so that a child can read it whatever its parent's threads did at the fork.
    table: ArcSwap<Table>,
    /// Descriptors that can't be closed yet. Registering a connection takes this lock, so that no descriptor is closed
    /// between the check and the close.
    kept: Mutex<Vec<Descriptor>>,
}

#[derive(Clone, Default)]
struct Table {
    in_use: Vec<Entry>,
    refused: Vec<(FileId, Reason)>,
}

/// A connection, or an owner's lock.
#[derive(Clone, PartialEq, Eq)]
struct Entry {
    file: FileId,
    path: Arc<Path>,
    /// The number of the lock's descriptor.
    lock: Option<i32>,
}

/// Why a file is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// It was open at a fork.
    Forked,
    /// Its descriptors were closed by other code.
    Closed,
}

impl Files {
    fn current() -> Arc<Self> {
        loop {
            let found = FILES.load_full();
            if let Some(files) = found.as_ref().filter(|files| files.process.is_current()) {
                return files.clone();
            }
            let new = Arc::new(Self::after(found.as_deref()));
            let before = FILES.compare_and_swap(&found, Some(new.clone()));
            if before.as_ref().map(Arc::as_ptr) == found.as_ref().map(Arc::as_ptr) {
                if let Some(parents) = found {
                    parents.give_up_in_child();
                }
                return new;
            }
        }
    }

    /// The table of a new process: what its parent had open is refused.
    fn after(parent: Option<&Self>) -> Self {
        let mut refused = Vec::new();
        if let Some(parent) = parent {
            let table = parent.table.load();
            refused.clone_from(&table.refused);
            refused.extend(table.in_use.iter().map(|entry| (entry.file, Reason::Forked)));
        }
        let table = ArcSwap::from_pointee(Table { in_use: Vec::new(), refused });
        Self { process: Process::current(), table, kept: Mutex::default() }
    }

    /// Closes the child's copies of its parent's locks, which the parent keeps.
    fn give_up_in_child(self: Arc<Self>) {
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        for entry in &self.table.load().in_use {
            if let Some(descriptor) = entry.lock {
                crate::protocol::file_lock::close_inherited(descriptor, |file| entry.file.is_of(file));
            }
        }
        // Not dropped: another thread of the parent may have been changing `kept` at the fork.
        std::mem::forget(self);
    }

    fn change(&self, change: impl Fn(&mut Table)) {
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            change(&mut table);
            table
        });
    }

    /// Closes the kept descriptors that can be closed.
    fn sweep(&self) {
        let mut kept = lock(&self.kept);
        let table = self.table.load();
        let is_in_use = |id| table.in_use.iter().any(|entry| entry.file == id);
        kept.retain(|descriptor| is_in_use(descriptor.id) || descriptor.is_locked());
    }
}

/// Registers a use of a file through SQLite until it is dropped, which must be after the connection is.
pub(super) struct InUse(Entry);

impl InUse {
    /// Registers a connection, before it is opened.
    pub(super) fn connection(path: &Path, file: FileId) -> Self {
        Self::new(Entry { file, path: path.into(), lock: None })
    }

    /// Registers an owner, once it has its lock; `descriptor` is the lock's, where a child can close its copy.
    pub(super) fn owner(path: &Path, file: FileId, descriptor: Option<i32>) -> Self {
        Self::new(Entry { file, path: path.into(), lock: descriptor })
    }

    fn new(entry: Entry) -> Self {
        let files = Files::current();
        let _no_close = lock(&files.kept);
        files.change(|table| table.in_use.push(entry.clone()));
        Self(entry)
    }

    /// Refuses the file from here on, since its descriptors were closed by other code.
    pub(super) fn refuse(self) {
        Files::current().change(|table| table.refused.push((self.0.file, Reason::Closed)));
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let files = Files::current();
        files.change(|table| {
            if let Some(at) = table.in_use.iter().position(|entry| *entry == self.0) {
                table.in_use.swap_remove(at);
            }
        });
        files.sweep();
    }
}

/// Refuses a file whose state in SQLite's memory is untrue in this process.
pub(super) fn check(path: &Path) -> Result<(), BackendError> {
    // SQLite has no state of a file that is not there.
    let Ok(file) = FileId::of(path) else { return Ok(()) };
    let table = Files::current().table.load_full();
    let path = path.display();
    let (kind, message) = match table.refused.iter().find(|(refused, _)| *refused == file) {
        None => return Ok(()),
        Some((_, Reason::Forked)) => (
            ErrorKind::Forked,
            format!(
                "{path} was open when this process was forked from another, and can't be opened in it: open it in the other one, or here after `exec`"
            ),
        ),
        Some((_, Reason::Closed)) => (
            ErrorKind::Unreachable,
            format!(
                "the descriptors of {path} were closed by other code of this process, and nothing more is written through them: spill the store, and open it in a new process"
            ),
        ),
    };
    Err(BackendError::new(kind, message))
}

/// Refuses a second name of a file that this process has open: SQLite would give the two names one index of the log,
/// and each a log of its own.
pub(super) fn check_name(path: &Path) -> Result<(), BackendError> {
    let Ok(file) = FileId::of(path).map(|file| (file, path)) else { return Ok(()) };
    let table = Files::current().table.load_full();
    match table.in_use.iter().find(|entry| entry.is_other_name(file)) {
        None => Ok(()),
        Some(entry) => {
            let message = format!(
                "{} is another name of {}, which is open in this process: use that one",
                path.display(),
                entry.path.display()
            );
            Err(BackendError::new(ErrorKind::Unreachable, message))
        }
    }
}

impl Entry {
    /// Whether it has this file by another name. Two mounts of one folder have the same log, and are one name.
    fn is_other_name(&self, (file, path): (FileId, &Path)) -> bool {
        let log = |path: &Path| FileId::of(&log_of(path)).ok();
        // Elsewhere a file can't be told by its id.
        cfg!(unix) && self.file == file && *self.path != *path && log(&self.path) != log(path)
    }
}

/// In a child process: closes its copies of its parent's locks.
pub(crate) fn give_up_inherited_locks() {
    drop(Files::current());
}

/// An open file, closed by the drop unless other code has closed it before: then its number may be another file's.
pub(super) struct Descriptor {
    /// `None` only within the drop.
    file: Option<File>,
    id: FileId,
}

impl Descriptor {
    /// A descriptor to look at the file with: a kept one, or a new one.
    pub(super) fn to_look_at(path: &Path) -> io::Result<Self> {
        let id = FileId::of(path)?;
        let files = Files::current();
        let mut kept = lock(&files.kept);
        match kept.iter().position(|kept| kept.id == id && kept.is_open()) {
            Some(at) => Ok(kept.swap_remove(at)),
            None => Self::new(File::open(path)?),
        }
    }

    /// A descriptor of a file that was just opened. Only such a one may be locked: a child that was forked meanwhile
    /// shares the kept ones, and would share the lock.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let id = FileId::of_open(&file)?;
        Ok(Self { file: Some(file), id })
    }

    pub(super) fn id(&self) -> FileId {
        self.id
    }

    pub(super) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Whether its number is still that of its file. Costs a system call.
    pub(super) fn is_open(&self) -> bool {
        self.file.as_ref().is_some_and(|file| self.id.is_of(file))
    }

    /// Closes it as soon as no connection of this process loses a lock by that.
    pub(super) fn retire(self) {
        let files = Files::current();
        lock(&files.kept).push(self);
        files.sweep();
    }

    /// Whether any SQLite connection, in this process or another, has a lock on the file. In the mode of the
    /// write-ahead log each has one while it is open, in these bytes: <https://www.sqlite.org/src/file/src/os.h>.
    fn is_locked(&self) -> bool {
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        {
            const FIRST: i64 = 0x4000_0000;
            let is_free =
                |file| matches!(crate::protocol::file_lock::locked(file, FIRST..FIRST + 512), Ok(None));
            self.is_open() && !self.file.as_ref().is_some_and(is_free)
        }
        #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
        false
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if !self.is_open() {
            std::mem::forget(self.file.take());
        }
    }
}
