//! What a call on a watched file does: asks the disk, does to the real file what the disk says, and records it.
//! No pointer of SQLite's reaches this module.

use crate::disk::{Call, Disk, Event, How, Name};
use rusqlite::ffi;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// SQLite's result codes.
pub(super) type Code = i32;

/// One open file of a disk's.
pub(super) struct Watched {
    disk: Arc<Disk>,
    name: Name,
    path: PathBuf,
    /// The first sync after the file was opened also syncs the folder: SQLite's own rule for logs and journals.
    syncs_folder: bool,
}

impl Watched {
    /// Opening a file of this path, through `open`; `None` in the answer if no disk has it.
    pub(super) fn open(path: &Path, flags: i32, open: impl FnOnce() -> Code) -> (Code, Option<Self>) {
        let Some((disk, name)) = Disk::of(path) else { return (open(), None) };
        if disk.ask(Call::Open, name).is_some() {
            return (ffi::SQLITE_CANTOPEN, None);
        }
        let was_there = path.exists();
        let code = open();
        if code == ffi::SQLITE_OK {
            disk.record(|| if was_there { Event::Found(name) } else { Event::Created(name) });
        }
        let journal = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL;
        let syncs_folder = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & journal != 0;
        (code, Some(Self { disk, name, path: path.to_owned(), syncs_folder }))
    }

    pub(super) fn delete(path: &Path, synced: bool, delete: impl FnOnce() -> Code) -> Code {
        let Some((disk, name)) = Disk::of(path) else { return delete() };
        if disk.ask(Call::Delete, name).is_some() {
            return ffi::SQLITE_IOERR_DELETE;
        }
        let code = delete();
        if code == ffi::SQLITE_OK {
            disk.record(|| Event::Deleted { name, synced });
        }
        code
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64, write: impl FnOnce(&[u8]) -> Code) -> Code {
        self.disk.notice(self.name, &self.path);
        let (written, answer) = match self.disk.ask(Call::Write, self.name) {
            None => (data, None),
            Some(how @ (How::Error | How::Quota)) => {
                super::ffi::set_system_error(if how == How::Error { libc::EIO } else { libc::EDQUOT });
                (&data[..0], Some(ffi::SQLITE_IOERR_WRITE))
            }
            Some(How::Full) => (&data[..0], Some(ffi::SQLITE_FULL)),
            Some(How::Short) => (&data[..data.len() / 2], Some(ffi::SQLITE_FULL)),
            Some(How::Torn) => (&data[..data.len() / 2], Some(ffi::SQLITE_IOERR_WRITE)),
        };
        let code = if written.is_empty() { ffi::SQLITE_OK } else { write(written) };
        if code == ffi::SQLITE_OK && !written.is_empty() {
            self.disk.record(|| Event::Written { name: self.name, offset, data: written.into() });
            self.disk.mark(self.name, &self.path);
        }
        answer.unwrap_or(code)
    }

    pub(super) fn truncate(&mut self, size: u64, truncate: impl FnOnce() -> Code) -> Code {
        self.disk.notice(self.name, &self.path);
        if self.disk.ask(Call::Truncate, self.name).is_some() {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        let code = truncate();
        if code == ffi::SQLITE_OK {
            self.disk.record(|| Event::Truncated { name: self.name, size });
            self.disk.mark(self.name, &self.path);
        }
        code
    }

    /// A sync that fails is not passed on; what was unsynced then may be lost whatever is synced later.
    pub(super) fn sync(&mut self, sync: impl FnOnce() -> Code) -> Code {
        self.disk.notice(self.name, &self.path);
        if self.disk.ask(Call::Sync, self.name).is_some() {
            self.disk.record(|| Event::SyncFailed(self.name));
            self.disk.doubt(self.name, &self.path);
            return ffi::SQLITE_IOERR_FSYNC;
        }
        let code = sync();
        if code == ffi::SQLITE_OK {
            let folder = std::mem::take(&mut self.syncs_folder);
            self.disk.record(|| Event::Synced { name: self.name, folder });
        }
        code
    }

    /// A call that leaves the files as they are.
    pub(super) fn other(&mut self, call: Call, work: impl FnOnce() -> Code) -> Code {
        if self.disk.ask(call, self.name).is_none() {
            return work();
        }
        match call {
            Call::Read => ffi::SQLITE_IOERR_READ,
            Call::FileSize => ffi::SQLITE_IOERR_FSTAT,
            Call::Lock => ffi::SQLITE_IOERR_LOCK,
            Call::ShmMap => ffi::SQLITE_IOERR_SHMMAP,
            Call::ShmLock => ffi::SQLITE_IOERR_SHMLOCK,
            _ => ffi::SQLITE_IOERR,
        }
    }
}
