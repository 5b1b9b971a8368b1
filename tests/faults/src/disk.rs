//! The disk under one folder, as a test sees it: which of SQLite's calls fail, how many there were, and a record
//! of all that changed.

use crate::vfs;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::SystemTime;

/// What SQLite asks of its VFS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Call {
    Open,
    Read,
    Write,
    Sync,
    Truncate,
    FileSize,
    Lock,
    ShmMap,
    ShmLock,
    Delete,
}

impl Call {
    pub const ALL: [Call; 10] = [
        Call::Open,
        Call::Read,
        Call::Write,
        Call::Sync,
        Call::Truncate,
        Call::FileSize,
        Call::Lock,
        Call::ShmMap,
        Call::ShmLock,
        Call::Delete,
    ];
}

/// How a call fails. All but a write know one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// With the error for this kind of call; nothing is done.
    Error,
    /// No space is left; nothing is written.
    Full,
    /// The quota of the user is used up, which SQLite calls a failed write; nothing is written.
    Quota,
    /// No space is left for the second half.
    Short,
    /// The first half is written, then the disk fails.
    Torn,
}

/// Which of a store's files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Name {
    Database,
    Log,
    Journal,
    Other,
}

impl Name {
    /// Those that hold data; the log's index is made anew from the log.
    pub const WITH_DATA: [Name; 3] = [Name::Database, Name::Log, Name::Journal];

    fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("db") => Name::Database,
            Some("db-wal") => Name::Log,
            Some("db-journal") => Name::Journal,
            _ => Name::Other,
        }
    }

    pub fn suffix(self) -> &'static str {
        match self {
            Name::Log => "-wal",
            Name::Journal => "-journal",
            Name::Database | Name::Other => "",
        }
    }
}

/// Something that happened, in its order.
#[derive(Clone, Debug)]
pub enum Event {
    /// Opened, and it was there already.
    Found(Name),
    Created(Name),
    Deleted {
        name: Name,
        synced: bool,
    },
    Written {
        name: Name,
        offset: u64,
        data: Box<[u8]>,
    },
    Truncated {
        name: Name,
        size: u64,
    },
    /// Everything of the file is on the disk; and with `folder` every name in it.
    Synced {
        name: Name,
        folder: bool,
    },
    SyncFailed(Name),
    /// A cut of the test's state of this number may be in the file from now on.
    Possible(usize),
    /// The store has reported that this cut is durable.
    Durable(usize),
    /// The store has told this durable watermark.
    Told(u64),
}

/// A call that is to fail, and how often from then on.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub call: Call,
    /// The first such call is number 1.
    pub nth: u64,
    pub times: u64,
    pub how: How,
}

/// The disk under a folder.
pub struct Disk {
    folder: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    calls: BTreeMap<Call, u64>,
    fault: Option<Fault>,
    injected: u64,
    recording: bool,
    /// A sync of the log has failed: who writes it past SQLite is to be noticed.
    doubted: bool,
    events: Vec<Event>,
}

const MARK: SystemTime = SystemTime::UNIX_EPOCH;

static DISKS: RwLock<Vec<Weak<Disk>>> = RwLock::new(Vec::new());

impl Disk {
    /// Watches a folder, from now until the last one lets go of the disk.
    pub fn under(folder: &Path) -> std::io::Result<Arc<Self>> {
        vfs::install();
        let disk = Arc::new(Self { folder: folder.canonicalize()?, inner: Mutex::default() });
        let mut disks = DISKS.write().unwrap_or_else(PoisonError::into_inner);
        disks.retain(|disk| disk.strong_count() > 0);
        disks.push(Arc::downgrade(&disk));
        Ok(disk)
    }

    /// The disk that has a path, and what the path is to a store.
    pub(crate) fn of(path: &Path) -> Option<(Arc<Disk>, Name)> {
        let folder = path.parent()?;
        let disks = DISKS.read().unwrap_or_else(PoisonError::into_inner);
        let disk = disks.iter().filter_map(Weak::upgrade).find(|disk| disk.folder == folder)?;
        Some((disk, Name::of(path)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that is about to be made: whether it fails, and how.
    pub(crate) fn ask(&self, call: Call, name: Name) -> Option<How> {
        if name == Name::Other {
            return None;
        }
        let mut inner = self.lock();
        let count = inner.calls.entry(call).or_default();
        *count += 1;
        let count = *count;
        let hit = inner
            .fault
            .filter(|fault| fault.call == call && (fault.nth..).contains(&count) && fault.times > 0);
        if hit.is_some() {
            inner.injected += 1;
            if let Some(fault) = &mut inner.fault {
                fault.times -= 1;
            }
        }
        hit.map(|fault| fault.how)
    }

    /// Notes what happened, if it is being recorded.
    pub(crate) fn record(&self, event: impl FnOnce() -> Event) {
        let mut inner = self.lock();
        if inner.recording {
            inner.events.push(event());
        }
    }

    /// A sync has failed. From now on the log bears a time of the past, which goes with whatever is written to it.
    pub(crate) fn doubt(&self, name: Name, path: &Path) {
        if name == Name::Log {
            self.lock().doubted = true;
            self.mark(name, path);
        }
    }

    /// What was just written to the log is known already.
    pub(crate) fn mark(&self, name: Name, path: &Path) {
        if name == Name::Log && self.lock().doubted {
            // Reading a time that is not the mark, `notice` would take the log for written.
            let marked = File::options().write(true).open(path).and_then(|log| log.set_modified(MARK));
            marked.expect("the log's time can be set");
        }
    }

    /// If the log was written past SQLite since: records it as written whole. Which of its bytes were is not known.
    pub(crate) fn notice(&self, name: Name, path: &Path) {
        if name != Name::Log || !self.lock().doubted {
            return;
        }
        let modified = path.metadata().and_then(|log| log.modified());
        if modified.is_ok_and(|modified| modified != MARK)
            && let Ok(data) = std::fs::read(path)
        {
            self.record(|| Event::Written { name, offset: 0, data: data.into() });
            self.mark(name, path);
        }
    }

    /// A remark of the test's own, in its place among what happened.
    pub fn remark(&self, event: Event) {
        self.record(|| event);
    }

    /// Records from now on.
    pub fn start_recording(&self) {
        self.lock().recording = true;
    }

    /// What was recorded.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// From now on, or never again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// How many calls of each kind there have been.
    pub fn calls(&self) -> BTreeMap<Call, u64> {
        self.lock().calls.clone()
    }

    /// How many calls were made to fail.
    pub fn injected(&self) -> u64 {
        self.lock().injected
    }
}
