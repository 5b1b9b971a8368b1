//! One round: a thread with a connection of its own that moves the WAL while the flusher goes on.

use super::gate::{Gate, Writing};
use super::{MOVE_FROM, Mode, Pages};
use crate::backend::BackendError;
use crate::backend::sqlite::changes::Written;
use crate::backend::sqlite::engine::changed_by_another;
use crate::backend::sqlite::error::while_doing;
use crate::backend::sqlite::file::Attached;
use crate::backend::sqlite::file_identity::{FileIdentity, hint};
use crate::backend::sqlite::files::Descriptor;
use crate::backend::sqlite::lock::Lock;
use crate::backend::sqlite::look;
use crate::error::ErrorKind;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use uuid::Uuid;

/// What a round needs to know, as of its beginning.
pub(super) struct Task {
    pub(super) path: PathBuf,
    pub(super) longest: usize,
    pub(super) boot: Uuid,
    pub(super) place: FileIdentity,
    /// What is committed, and so in the WAL or in the database file.
    pub(super) committed: u64,
    pub(super) pages: Pages,
    /// How the database file was last written to.
    pub(super) file: Option<Written>,
    /// Held until the thread has ended.
    pub(super) lock: Arc<Lock>,
}

/// A round under way.
pub(in crate::backend::sqlite) struct Round {
    thread: JoinHandle<Outcome>,
    gate: Arc<Gate>,
    pub(super) committed: u64,
    /// Length of the WAL in pages when it began.
    pub(super) logged: i64,
}

/// What has become of a round.
pub(super) struct Outcome {
    pub(super) ended: Ended,
    /// How the round left the database file.
    pub(super) file: Option<Written>,
}

pub(super) enum Ended {
    /// No connection could be opened: nothing is changed.
    NotBegun(BackendError),
    Moved {
        /// Everything that was committed when the round began is in the database file, and synced.
        complete: bool,
        /// Number of pages that are not in the database file yet.
        left: i64,
    },
    Failed(BackendError),
}

impl Round {
    pub(super) fn start(task: Task) -> io::Result<Self> {
        let (gate, committed, logged) = (Arc::new(Gate::default()), task.committed, task.pages.logged);
        let passing = gate.clone();
        let builder = thread::Builder::new().name("mnemon-checkpointer".to_owned());
        let thread = builder.spawn(move || task.run(&passing))?;
        Ok(Self { thread, gate, committed, logged })
    }

    pub(in crate::backend::sqlite) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until a transaction may begin; `None` if the round has failed.
    pub(super) fn write(&self, file: &std::path::Path) -> Option<Writing> {
        self.gate.write(file)
    }

    /// Waits for the end.
    pub(super) fn join(self) -> thread::Result<Outcome> {
        self.thread.join()
    }

    /// Ends it soon, wherever it is.
    pub(super) fn stop(self) -> thread::Result<Outcome> {
        self.gate.stop();
        self.thread.join()
    }
}

impl Task {
    fn run(mut self, gate: &Gate) -> Outcome {
        let ended = match self.attach() {
            Ok(attached) => {
                gate.set_interrupt(attached.connection.get_interrupt_handle());
                let ended = self.pass_all(&attached, gate).unwrap_or_else(Ended::Failed);
                if !self.lock.is_held() {
                    attached.forget();
                }
                ended
            }
            Err(error) => Ended::NotBegun(error),
        };
        Outcome { ended, file: self.file }
    }

    /// Connects to the very file that the flusher has open.
    fn attach(&self) -> Result<Attached, BackendError> {
        self.place.check(&self.path)?;
        let attached = Attached::connect(&self.path, self.longest)?;
        self.place.check(&self.path).map(|()| attached)
    }

    /// Passes over the WAL until all of it is moved, or what is left is so little that it does not matter; a reader
    /// may keep it from going on.
    fn pass_all(&mut self, attached: &Attached, gate: &Gate) -> Result<Ended, BackendError> {
        let (mut moved, mut is_last) = (self.pages.moved, false);
        loop {
            if Written::of(&self.path) != self.file {
                return Err(changed_by_another(&self.path));
            }
            let pass = gate.pass(&self.path, || attached.checkpoint(Mode::Passive));
            self.file = Written::of(&self.path);
            let Some(pass) = pass else { return Ok(Ended::Moved { complete: false, left: i64::MAX }) };
            let (complete, pages) = pass.map_err(|error| while_doing("checkpointing", &self.path, error))?;
            if complete {
                look::confirm(&self.path, self.boot, self.committed..)?;
                return Ok(Ended::Moved { complete, left: 0 });
            }
            self.sync()?;
            if pages.moved <= moved || is_last {
                return Ok(Ended::Moved { complete, left: pages.left() });
            }
            moved = pages.moved;
            // The flusher may commit faster than the rest is moved: it is not raced for the last pages.
            is_last = pages.left() <= MOVE_FROM;
        }
    }

    /// Syncs what a pass has moved, which SQLite leaves to the pass that moves the last page: that one, which may be
    /// the flusher's, has little left to sync.
    fn sync(&self) -> Result<(), BackendError> {
        if !cfg!(unix) {
            return Ok(());
        }
        let synced = Descriptor::to_look_at(&self.path).and_then(|descriptor| {
            let synced = descriptor.file().map_or(Ok(()), std::fs::File::sync_all);
            descriptor.retire();
            synced
        });
        synced.map_err(|error| {
            // After a sync that failed it does not matter why.
            let failure = BackendError::new(ErrorKind::Io, format!("syncing {} failed", self.path.display()));
            failure.with_hint(hint(&error)).because(error)
        })
    }
}
