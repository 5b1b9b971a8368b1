//! Which files this process has open through SQLite, and which it must not open.
//!
//! SQLite keeps what it knows of an open file in memory, by device and inode, and there are two ways for that to become
//! untrue: a fork, after which the child has none of the locks, and descriptors that somebody else closes. Such a file
//! is refused in this process from then on.
//!
//! And closing any descriptor of a file gives up all the locks that its process has on it, SQLite's too. So ours are
//! kept until nobody here has the file open.

use super::place::{FileId, log_of};
use crate::backend::{BackendError, ErrorClass};
use crate::core::Process;
use crate::core::sync::{Mutex, lock};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Read by a child after a fork, and made anew there: nothing that a thread of the parent may have held at the fork is
/// waited for.
static FILES: ArcSwapOption<Files> = ArcSwapOption::const_empty();

struct Files {
    process: Process,
    table: ArcSwap<Table>,
    /// Not to be closed yet. Who begins to use a file holds this lock, so that none is closed meanwhile.
    kept: Mutex<Vec<Descriptor>>,
}

#[derive(Clone, Default)]
struct Table {
    used: Vec<Used>,
    refused: Vec<(FileId, Why)>,
}

/// A connection, or an owner.
#[derive(Clone, PartialEq, Eq)]
struct Used {
    file: FileId,
    path: Arc<Path>,
    /// The number of the owner's descriptor.
    lock: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Forked,
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
                drop(before);
                found.into_iter().for_each(Self::leave);
                return new;
            }
        }
    }

    /// Of a process that was forked: what was open in its parent is refused.
    fn after(parent: Option<&Self>) -> Self {
        let mut refused = Vec::new();
        if let Some(parent) = parent {
            let table = parent.table.load();
            refused.clone_from(&table.refused);
            refused.extend(table.used.iter().map(|used| (used.file, Why::Forked)));
        }
        let table = ArcSwap::from_pointee(Table { used: Vec::new(), refused });
        Self { process: Process::current(), table, kept: Mutex::default() }
    }

    /// In a child: its copies of its parent's locks are given up, which the parent keeps.
    fn leave(self: Arc<Self>) {
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        for used in &self.table.load().used {
            if let Some(descriptor) = used.lock {
                crate::core::file_lock::close_inherited(descriptor, |file| used.file.is_of(file));
            }
        }
        // Another thread of the parent may have been changing what is in it.
        std::mem::forget(self);
    }

    fn change(&self, change: impl Fn(&mut Table)) {
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            change(&mut table);
            table
        });
    }

    /// Closes what may be closed.
    fn sweep(&self) {
        let mut kept = lock(&self.kept);
        let table = self.table.load();
        kept.retain(|descriptor| {
            table.used.iter().any(|used| used.file == descriptor.id) || descriptor.is_locked()
        });
    }
}

/// A file that this process uses through SQLite, until it is dropped: after the connection.
pub(super) struct InUse(Used);

impl InUse {
    /// Before the connection is opened.
    pub(super) fn connection(path: &Path, file: FileId) -> Self {
        Self::new(Used { file, path: path.into(), lock: None })
    }

    /// Once the owner's lock is taken. `descriptor` is its number, where a child can give up its copy.
    pub(super) fn owner(path: &Path, file: FileId, descriptor: Option<i32>) -> Self {
        Self::new(Used { file, path: path.into(), lock: descriptor })
    }

    fn new(used: Used) -> Self {
        let files = Files::current();
        let _none_is_closed = lock(&files.kept);
        files.change(|table| table.used.push(used.clone()));
        Self(used)
    }

    /// Its descriptors are not SQLite's any more: it is refused from here on.
    pub(super) fn refuse(self) {
        Files::current().change(|table| table.refused.push((self.0.file, Why::Closed)));
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let files = Files::current();
        files.change(|table| {
            if let Some(at) = table.used.iter().position(|used| *used == self.0) {
                table.used.swap_remove(at);
            }
        });
        files.sweep();
    }
}

/// Refuses a file about which SQLite, in this process, believes what is not so.
pub(super) fn check(path: &Path) -> Result<(), BackendError> {
    // Of what is not there nothing is believed.
    let Ok(file) = FileId::of(path) else { return Ok(()) };
    let files = Files::current();
    let table = files.table.load();
    let path = path.display();
    let (class, message) = match table.refused.iter().find(|(refused, _)| *refused == file) {
        None => return Ok(()),
        Some((_, Why::Forked)) => (
            ErrorClass::Forked,
            format!(
                "{path} was open in the process that this one was forked from, and can't be opened here: open it in that process alone, after `exec`, or only after the fork"
            ),
        ),
        Some((_, Why::Closed)) => (
            ErrorClass::Unreachable,
            format!(
                "the descriptors of {path} were closed by something else in this process, and nothing more is written through them: spill the store, and open it in a new process"
            ),
        ),
    };
    Err(BackendError::new(class, message))
}

/// Refuses a second name of a file that this process has open: for SQLite the two have one index of the log, and two
/// logs.
pub(super) fn check_name(path: &Path) -> Result<(), BackendError> {
    let Ok(file) = FileId::of(path) else { return Ok(()) };
    let files = Files::current();
    let table = files.table.load();
    let log = |path: &Path| FileId::of(&log_of(path)).ok();
    let is_elsewhere =
        |used: &&Used| used.file == file && *used.path != *path && log(&used.path) != log(path);
    match table.used.iter().find(is_elsewhere) {
        None => Ok(()),
        Some(used) => {
            let message = format!(
                "{} is another name of {}, which is open in this process: use that one",
                path.display(),
                used.path.display()
            );
            Err(BackendError::new(ErrorClass::Unreachable, message))
        }
    }
}

/// In a child process: lets go of what it has of its parent's locks.
pub(crate) fn leave_to_parent() {
    drop(Files::current());
}

/// An open file. It is closed when this is dropped, unless somebody else has done so, and perhaps given its number to
/// another.
pub(super) struct Descriptor {
    /// Always there, until the drop.
    file: Option<File>,
    id: FileId,
    is_writable: bool,
}

impl Descriptor {
    /// One of the file that the path names: one that was kept, or a new one from `open`.
    pub(super) fn of(
        path: &Path,
        is_writable: bool,
        open: impl FnOnce() -> std::io::Result<File>,
    ) -> std::io::Result<Self> {
        if let Ok(id) = FileId::of(path) {
            let files = Files::current();
            let mut kept = lock(&files.kept);
            let is_it =
                |kept: &Descriptor| kept.id == id && kept.is_writable == is_writable && kept.is_open();
            if let Some(at) = kept.iter().position(is_it) {
                return Ok(kept.swap_remove(at));
            }
        }
        let file = open()?;
        let id = FileId::of_open(&file)?;
        Ok(Self { file: Some(file), id, is_writable })
    }

    pub(super) fn id(&self) -> FileId {
        self.id
    }

    pub(super) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Whether its number is still that of the file. Costs a system call.
    pub(super) fn is_open(&self) -> bool {
        self.file.as_ref().is_some_and(|file| self.id.is_of(file))
    }

    /// Closes it, as soon as that takes no lock from anybody.
    pub(super) fn retire(self) {
        let files = Files::current();
        lock(&files.kept).push(self);
        files.sweep();
    }

    /// Whether SQLite, in this process or another, has locks on the file, as each of its connections does while it is
    /// open: the bytes are those of <https://www.sqlite.org/src/file/src/os.h>.
    fn is_locked(&self) -> bool {
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        {
            const FIRST: i64 = 0x4000_0000;
            let locked = |file| crate::core::file_lock::locked(file, FIRST..FIRST + 512);
            self.is_open() && !self.file.as_ref().is_some_and(|file| matches!(locked(file), Ok(None)))
        }
        #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
        false
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if !self.is_open() {
            // What has its number now is another's.
            std::mem::forget(self.file.take());
        }
    }
}
