//! Snapshots: the whole store, as of one cut, in one file.
//!
//! A file is text, one JSON object a line: the header, the traces, the links, and last the seal over every
//! byte before it. It is vouched for before it is believed: nothing of a file is given out unless all of it is
//! right.
//!
//! - [`format`](mod@format): the lines, and what a file must hold;
//! - [`record`]: a trace and a link as lines, and back;
//! - [`seal`]: the digest and the signature;
//! - [`name`]: the files' names, which order them as they were saved;
//! - [`save`]: writing a file, whole or not at all;
//! - [`read`]: reading one, or refusing it;
//! - [`refusal`]: why one is refused;
//! - [`spill`]: what a store could not write, beside its database.

mod folder;
mod format;
mod hex;
mod name;
mod read;
mod record;
mod refusal;
mod save;
mod seal;
#[cfg(feature = "sqlite")]
mod spill;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::progress::{Progress, Watch};
use crate::trace::{Link, Trace};
use ed25519_dalek::{SigningKey, VerifyingKey};
use jiff::Timestamp;
use seal::Key;
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "sqlite")]
pub(crate) use spill::Spill;

/// The folder that snapshots are kept in, and the key that vouches for them.
///
/// A snapshot is one file: all traces and links as of one cut, with every field. Its name is the time it was
/// taken at, to the microsecond, in UTC: `snapshot-2026-11-24T10-15-30.123456Z.mnemon`. Where the folder holds a name
/// of that time or a later one, as after the clock was set back, it has the time of that name and the next number
/// (`Z_2.mnemon`): the snapshot saved last is the newest by name, whatever the clock says. It belongs to its
/// owner alone and is not encrypted.
///
/// # What is protected
///
/// Every file ends with the SHA-512 digest of the rest: a file that was cut short or changed by accident is
/// refused. That is no proof of who wrote it, since anybody can compute a digest. With
/// [`signed_with`](Self::signed_with) a file also bears an Ed25519 signature (Ed25519ph of RFC 8032), and
/// with a key, files that are unsigned or signed by another one are refused. Where no key is given, a
/// signature that is there must still be right, but may be anybody's.
///
/// A signature does not say that a file is the newest one: who can write to the folder can take files out,
/// or give an older one a newer name.
///
/// ```
/// use mnemon::Snapshots;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("snapshots");
/// let snapshots = Snapshots::in_folder(path);
/// for snapshot in snapshots.list()? {
///     match &snapshot.header {
///         Ok(header) => println!("{}: {} traces", snapshot.taken_at, header.traces),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// snapshots.prune(10)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Snapshots {
    folder: PathBuf,
    key: Key,
    watch: Watch,
}

impl Snapshots {
    /// Snapshots in this folder, without a key. Touches no disk: the folder is made when something is saved.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), key: Key::None, watch: Watch::nobody() }
    }

    /// Signs what is saved, and refuses what this key has not signed. The secret is an Ed25519 seed: 32
    /// bytes from a source fit for keys.
    #[must_use]
    pub fn signed_with(mut self, secret: [u8; 32]) -> Self {
        self.key = Key::Sign(SigningKey::from_bytes(&secret));
        self
    }

    /// Refuses what the owner of this Ed25519 public key has not signed. Nothing can be saved then.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the bytes are no key, or one that vouches for nothing.
    ///
    /// ```
    /// use mnemon::Snapshots;
    ///
    /// let host = Snapshots::in_folder("snapshots").signed_with([7; 32]); // use a real secret
    /// let public = host.public_key().ok_or("there is a key")?;
    /// let reader = Snapshots::in_folder("copies").verified_with(public)?;
    /// assert_eq!(reader.public_key(), host.public_key());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verified_with(mut self, public: [u8; 32]) -> Result<Self> {
        let key = VerifyingKey::from_bytes(&public).ok().filter(|key| !key.is_weak());
        let remedy = "give the 32 bytes of an Ed25519 public key";
        self.key = Key::Verify(key.ok_or_else(|| Error::invalid("public key", hex::Hex(&public), remedy))?);
        Ok(self)
    }

    /// Tells how far what is saved has come, now and then; the saving ends when it is answered
    /// [`Break`](ControlFlow::Break), with [`Interrupted`](crate::ErrorKind::Interrupted), and nothing of it is left.
    #[must_use]
    pub fn on_progress(mut self, tell: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.watch = Watch::new(tell);
        self
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The public key whose signature is demanded, where one is.
    pub fn public_key(&self) -> Option<[u8; 32]> {
        self.key.demanded().map(|key| key.to_bytes())
    }

    /// The snapshots in the folder, newest first by name; none if there is no folder. A file that can't be
    /// read is listed with the reason.
    ///
    /// Costs one read of the first line of each file: neither digest nor signature is checked, so what a
    /// header says is hearsay.
    ///
    /// # Errors
    ///
    /// [`Unreachable`](crate::ErrorKind::Unreachable) or [`Io`](crate::ErrorKind::Io) if the folder can't be
    /// read.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let found = folder::snapshots(&self.folder)?;
        Ok(found.into_iter().map(|found| read::info(found.path, found.name.time)).collect())
    }

    /// Deletes the oldest snapshots beyond the `keep` newest, by name, and what saves that were interrupted
    /// have left. Answers which files are gone: the snapshots oldest first, then the leavings.
    ///
    /// What is not named like a snapshot, or does not begin like one, is neither counted nor touched.
    ///
    /// # Errors
    ///
    /// [`Unreachable`](crate::ErrorKind::Unreachable) or [`Io`](crate::ErrorKind::Io) if the folder can't be
    /// read or a file can't be deleted; the older ones are gone then.
    pub fn prune(&self, keep: usize) -> Result<Vec<PathBuf>> {
        folder::prune(&self.folder, keep)
    }

    /// Writes a new file: whole and on disk when this returns, or not there at all.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) with a public key only, or if the state holds what
    /// could not be restored; [`DiskFull`](crate::ErrorKind::DiskFull),
    /// [`Unreachable`](crate::ErrorKind::Unreachable) or [`Io`](crate::ErrorKind::Io).
    pub(crate) fn write(&self, state: &State) -> Result<SnapshotInfo> {
        save::save(&self.folder, &self.key, state, &self.watch)
    }

    /// Reads a file, which may be in any folder. It is read twice: once for the digest, once for what it holds.
    ///
    /// # Errors
    ///
    /// [`NotASnapshot`](crate::ErrorKind::NotASnapshot), [`NewerSchema`](crate::ErrorKind::NewerSchema),
    /// [`Corrupt`](crate::ErrorKind::Corrupt) or [`Untrusted`](crate::ErrorKind::Untrusted), naming file, line and
    /// reason; [`Unreachable`](crate::ErrorKind::Unreachable) or [`Io`](crate::ErrorKind::Io).
    pub(crate) fn read(&self, path: &Path) -> Result<State> {
        read::read(path, &self.key)
    }

    /// The newest snapshot by name, whatever it holds: that an older one is restored instead is for the
    /// host to decide.
    pub(crate) fn newest(&self) -> Result<Option<PathBuf>> {
        Ok(folder::snapshots(&self.folder)?.into_iter().next().map(|found| found.path))
    }
}

/// The folder and the public key; never the secret.
impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, key, watch: _ } = self;
        f.debug_struct("Snapshots").field("folder", folder).field("key", key).finish()
    }
}

/// One snapshot in the folder; from [`Snapshots::list`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// The file.
    pub path: PathBuf,
    /// When it was taken, by the clock of the store, from the header; if that can't be read, the time in its name.
    pub taken_at: Timestamp,
    /// What its header says, or why that can't be read.
    pub header: Result<SnapshotHeader>,
}

/// What a snapshot says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SnapshotHeader {
    /// The generation that it was cut at.
    pub watermark: u64,
    /// How many traces it holds.
    pub traces: u64,
    /// How many links it holds.
    pub links: u64,
}

/// All that a store holds at one cut.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) watermark: u64,
    /// To the microsecond: what is finer is not kept.
    pub(crate) taken_at: Timestamp,
    pub(crate) traces: Vec<Arc<Trace>>,
    /// Between traces of this state only, each pair once.
    pub(crate) links: Vec<Link>,
}
