//! The folder of the snapshots, and what is in it.

use super::error::ReadError;
use super::format::Kind;
use super::read::Lines;
use super::seal::{Hex, Key};
use super::{State, folder, save};
use crate::error::{Error, Result};
use crate::progress::{Progress, Watch};
use ed25519_dalek::{SigningKey, VerifyingKey};
use jiff::Timestamp;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The folder of the snapshots, and the key that verifies them.
///
/// A snapshot is one file: all traces and links as of one cut, with every field. Its name is the time at which it was
/// taken, in UTC and microseconds: `snapshot-2026-11-24T10-15-30.123456Z.mnemon`. If the folder already has a name of
/// that time or a later one, as after the clock was set back, the name is that time with the next number
/// (`Z_2.mnemon`): the snapshot saved last is the newest by name, whatever the clock shows. The file is accessible to
/// its owner only and is not encrypted.
///
/// # What is protected
///
/// Every file ends with the SHA-512 digest of the rest: a file that was truncated or changed by accident is refused.
/// The digest does not prove who wrote the file, since anybody can compute one. With
/// [`signed_with`](Self::signed_with) a file also has an Ed25519 signature (Ed25519ph of RFC 8032), and with a key,
/// files that are unsigned or signed with another key are refused. Without a key, a signature that is present must
/// still be valid, but may be anybody's.
///
/// A signature does not prove that a file is the newest one: anybody who can write to the folder can remove files, or
/// give an older file a newer name.
///
/// ```
/// use mnemon::Snapshots;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("snapshots");
/// let snapshots = Snapshots::in_folder(path);
/// for snapshot in snapshots.list()? {
///     match &snapshot.error {
///         None => println!("{}: {} traces", snapshot.taken_at, snapshot.traces),
///         Some(error) => eprintln!("{error}"),
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
    /// Snapshots in this folder, without a key. Does not access the disk: the first save creates the folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), key: Key::None, watch: Watch::new(Progress::ignore) }
    }

    /// Signs saved snapshots, and refuses snapshots that this key did not sign. The secret is an Ed25519 seed: 32
    /// bytes from a source fit for keys.
    #[must_use]
    pub fn signed_with(mut self, secret: [u8; 32]) -> Self {
        self.key = Key::Sign(SigningKey::from_bytes(&secret));
        self
    }

    /// Refuses snapshots that the owner of this Ed25519 public key did not sign. Nothing can be saved with a public
    /// key only.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the bytes are not a key, or a weak one whose signatures
    /// prove nothing.
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
        self.key = Key::Verify(key.ok_or_else(|| Error::invalid("public key", Hex(&public), remedy))?);
        Ok(self)
    }

    /// Reports the progress of saving from time to time. If `tell` returns [`Break`](ControlFlow::Break), the saving
    /// fails with [`Interrupted`](crate::ErrorKind::Interrupted), and leaves nothing behind.
    #[must_use]
    pub fn on_progress(mut self, tell: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.watch = Watch::new(tell);
        self
    }

    /// The folder of the snapshots.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The public key whose signature is required, if any.
    pub fn public_key(&self) -> Option<[u8; 32]> {
        self.key.required().map(|key| key.to_bytes())
    }

    /// Lists the snapshots in the folder, newest first by name; returns an empty list if there is no folder. A file
    /// that can't be read is listed with the reason.
    ///
    /// Costs one read of the first line of each file. Neither digest nor signature is checked, so headers are
    /// unverified.
    ///
    /// # Errors
    ///
    /// [`Unreachable`](crate::ErrorKind::Unreachable) or [`Io`](crate::ErrorKind::Io) if the folder can't be
    /// read.
    pub fn list(&self) -> Result<Vec<ArchiveInfo>> {
        let found = folder::snapshots(&self.folder)?;
        Ok(found.into_iter().map(|found| info(found.path, found.name.time)).collect())
    }

    /// Deletes all but the `keep` newest snapshots, by name, and the leftovers of interrupted saves. Returns the
    /// deleted files: the snapshots oldest first, then the leftovers.
    ///
    /// A file that is not named like a snapshot, or does not begin like one, is neither counted nor touched.
    ///
    /// # Errors
    ///
    /// [`Unreachable`](crate::ErrorKind::Unreachable) or [`Io`](crate::ErrorKind::Io) if the folder can't be read or
    /// a file can't be deleted; the older files have been deleted then.
    pub fn prune(&self, keep: usize) -> Result<Vec<PathBuf>> {
        folder::prune(&self.folder, keep)
    }

    /// Writes a new file: complete and on disk when this returns, or not there at all.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is only a public key, or if the state contains
    /// something that could not be restored; [`DiskFull`](crate::ErrorKind::DiskFull),
    /// [`Unreachable`](crate::ErrorKind::Unreachable) or [`Io`](crate::ErrorKind::Io).
    pub(crate) fn write(&self, state: &State) -> Result<ArchiveInfo> {
        save::save(&self.folder, &self.key, state, &self.watch)
    }

    /// Reads a file, which may be in any folder.
    ///
    /// # Errors
    ///
    /// [`NotASnapshot`](crate::ErrorKind::NotASnapshot), [`NewerSchema`](crate::ErrorKind::NewerSchema),
    /// [`Corrupt`](crate::ErrorKind::Corrupt) or [`Untrusted`](crate::ErrorKind::Untrusted), naming file, line and
    /// reason; [`Unreachable`](crate::ErrorKind::Unreachable) or [`Io`](crate::ErrorKind::Io).
    pub(crate) fn read(&self, path: &Path) -> Result<State> {
        open(path).and_then(|file| State::verified(file, &self.key)).map_err(|error| error.of(path.display()))
    }

    /// Returns the newest snapshot by name, whatever its content: whether to restore an older one instead is up to
    /// the host.
    pub(crate) fn newest(&self) -> Result<Option<PathBuf>> {
        Ok(folder::snapshots(&self.folder)?.into_iter().next().map(|found| found.path))
    }
}

/// Shows the folder and the public key, never the secret.
impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, key, watch: _ } = self;
        f.debug_struct("Snapshots").field("folder", folder).field("key", key).finish()
    }
}

/// The time in the name stands in for that of a header that can't be read.
fn info(path: PathBuf, time: Timestamp) -> ArchiveInfo {
    let read = open(&path).and_then(|file| {
        let Lines { header, .. } = Lines::open(file, Some(Kind::Snapshot), Key::None)?;
        Ok((header.created_at()?, header.watermark()?, header.traces, header.links))
    });
    let (taken_at, watermark, traces, links, error) = match read {
        Ok((taken_at, watermark, traces, links)) => (taken_at, watermark, traces, links, None),
        Err(error) => (time, 0, 0, 0, Some(error.of(path.display()))),
    };
    ArchiveInfo { path, taken_at, watermark, traces, links, error }
}

/// A device or a pipe might never end.
fn open(path: &Path) -> Result<BufReader<File>, ReadError> {
    if !path.metadata()?.is_file() {
        return Err(ReadError::Foreign("is no file: give the path of a snapshot".to_owned()));
    }
    Ok(BufReader::with_capacity(1 << 16, File::open(path)?))
}

/// A snapshot or a spill. Returned by [`Snapshots::list`], and by what writes one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArchiveInfo {
    /// The path of the file.
    pub path: PathBuf,
    /// The time at which it was taken, by the store's clock, from the header; if that can't be read, the time in its
    /// name.
    pub taken_at: Timestamp,
    /// The number of the cut. A cut that holds nothing new for the file has a number too, which no watermark of the
    /// store shows. 0 if the header can't be read.
    pub watermark: u64,
    /// Number of traces in the file, or 0 if the header can't be read.
    pub traces: u64,
    /// Number of links in the file, or 0 if the header can't be read.
    pub links: u64,
    /// The reason why the header can't be read.
    pub error: Option<Error>,
}
