//! Which file a path names: noticing that the store's file was moved, deleted or replaced, and quarantining files.
//!
//! SQLite goes on writing into a file that was moved or deleted; a store must not. And a WAL that is left beside
//! another file of the same name would be replayed into that one.

use crate::backend::BackendError;
use crate::error::{ErrorKind, is_no_room};
use crate::guarded;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The very file and WAL that a path named when the store signed them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileIdentity {
    file: FileId,
    log: Option<FileId>,
}

/// Device and inode. Elsewhere than on Unix an open file can't be moved or replaced: there all are one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(Self::from)
    }

    pub(super) fn of_open(file: &fs::File) -> io::Result<Self> {
        file.metadata().map(Self::from)
    }

    /// Whether it is this file's, and its descriptor is open.
    pub(super) fn is_of(self, file: &fs::File) -> bool {
        Self::of_open(file).is_ok_and(|id| id == self)
    }
}

impl From<fs::Metadata> for FileId {
    #[cfg(unix)]
    fn from(file: fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(file.dev(), file.ino())
    }

    #[cfg(not(unix))]
    fn from(_: fs::Metadata) -> Self {
        Self(0, 0)
    }
}

impl FileIdentity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { file: FileId::of(path)?, log: FileId::of(&log_of(path)).ok() })
    }

    /// Whether the path still names this file and this WAL.
    pub(super) fn check(&self, path: &Path) -> Result<(), BackendError> {
        match FileIdentity::of(path) {
            Ok(place) if place == *self => Ok(()),
            Ok(FileIdentity { file, .. }) if file == self.file => Err(BackendError::new(
                ErrorKind::Unreachable,
                format!("the WAL of {} was removed or replaced while the store had it open", path.display()),
            )),
            Ok(_) => Err(BackendError::new(
                ErrorKind::Unreachable,
                format!("{} was replaced by another file while the store had it open", path.display()),
            )),
            Err(error) => Err(unreachable_file(path, error)),
        }
    }

    /// Whether the path still names this file, whatever is in it and beside it.
    pub(super) fn is_file_at(&self, path: &Path) -> bool {
        FileId::of(path).is_ok_and(|file| file == self.file)
    }

    /// Quarantines this place's WAL if the path names another file by now, or none, and the WAL is left beside it.
    pub(super) fn quarantine_orphan(&self, path: &Path) -> Result<(), BackendError> {
        let is_ours = self.log.is_some() && FileId::of(&log_of(path)).ok() == self.log;
        if self.check(path).is_err() && is_ours {
            quarantine_file(path, ORPHANED, &["-wal", "-shm"])?;
        }
        Ok(())
    }
}

/// A WAL beside an empty file is that of another one, which was moved or deleted without it. SQLite would delete it,
/// and with it what was never anywhere else.
pub(super) fn put_stray_log_aside(path: &Path) -> Result<(), BackendError> {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    if bytes(path) == 0 && wal_bytes(path) > 0 {
        guarded::run(|| tracing::warn!(path = %path.display(), "a WAL was found whose file is gone"));
        quarantine_file(path, ORPHANED, &["-wal", "-shm"])?;
    }
    Ok(())
}

/// Why a file is quarantined, as its name says.
pub(super) const DAMAGED: &str = "damaged";
const ORPHANED: &str = "orphaned";
const KEPT: &str = "kept";
const REASONS: [&str; 3] = [DAMAGED, ORPHANED, KEPT];

/// Renames those of the path's files that are there, to names that say why and when; deletes nothing.
pub(super) fn quarantine_file(path: &Path, why: &str, suffixes: &[&str]) -> Result<(), BackendError> {
    let base = sibling(path, &format!(".{why}-{}", jiff::Timestamp::now().as_microsecond()));
    for suffix in suffixes {
        let (from, to) = (sibling(path, suffix), sibling(&base, suffix));
        match fs::rename(&from, &to) {
            Ok(()) => guarded::run(|| {
                tracing::info!(path = %path.display(), to = %to.display(), "a file was quarantined");
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let failure = BackendError::new(
                    ErrorKind::Unreachable,
                    format!("cannot quarantine {}", from.display()),
                );
                return Err(failure.with_hint(hint(&error)).because(error));
            }
        }
    }
    Ok(())
}

/// The files that were quarantined from this path, as far as its folder can be read.
pub(super) fn quarantined_before(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let is_ours = |entry: &fs::DirEntry| {
        let (name, entry) = (name.to_string_lossy(), entry.file_name());
        let rest = entry.to_str().and_then(|entry| entry.strip_prefix(&*name));
        rest.is_some_and(|rest| REASONS.iter().any(|why| rest.starts_with(&format!(".{why}-"))))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(is_ours).map(|entry| entry.path()).collect()
}

/// SQLite gives the WAL and its index the rights that the file has as they are made: when it was read-only then, and
/// is not now, they still are, and could not be written.
pub(super) fn give_rights_of(path: &Path) -> io::Result<()> {
    let rights = fs::metadata(path)?.permissions();
    if rights.readonly() {
        return Ok(());
    }
    for beside in [log_of(path), sibling(path, "-shm")] {
        match fs::metadata(&beside) {
            Ok(file) if file.permissions().readonly() => fs::set_permissions(&beside, rights.clone())?,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// `PATH-wal`.
pub(super) fn log_of(path: &Path) -> PathBuf {
    sibling(path, "-wal")
}

pub(super) fn wal_bytes(path: &Path) -> u64 {
    fs::metadata(log_of(path)).map_or(0, |log| log.len())
}

pub(super) fn unreachable_file(path: &Path, error: io::Error) -> BackendError {
    let kind = if is_no_room(&error) { ErrorKind::DiskFull } else { ErrorKind::Unreachable };
    let failure = BackendError::new(kind, format!("cannot open {}", path.display()));
    failure.with_hint(hint(&error)).because(error)
}

/// What a person can do about what the system answers.
pub(super) fn hint(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound => "check the path",
        Kind::InvalidFilename => "give a shorter path",
        Kind::NotADirectory | Kind::IsADirectory => "give the path of a file",
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => "check the rights of it and of its folder",
        _ if is_no_room(error) => "make room",
        // Of this process, and of all.
        _ if cfg!(unix) && matches!(error.raw_os_error(), Some(24 | 23)) => {
            "close some files, or raise the limit with ulimit -n"
        }
        _ => "look at the system's log",
    }
}

pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Where what could not be written to the file is put.
pub(crate) fn spill(path: &Path) -> PathBuf {
    sibling(path, ".spill")
}

#[cfg(all(test, unix))]
mod tests {
    use super::{DAMAGED, FileIdentity, quarantine_file, sibling, unreachable_file};
    use crate::error::{Error, ErrorKind};
    use std::fs;
    use std::io;
    use std::path::Path;

    #[test]
    fn what_was_put_in_a_place_is_told_apart() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("memory.db");
        for suffix in ["", "-wal"] {
            fs::write(sibling(&path, suffix), "ours")?;
        }
        let place = FileIdentity::of(&path)?;
        let why = || place.check(&path).err().map(|error| Error::from(error).to_string()).unwrap_or_default();
        assert_eq!((why(), place.is_file_at(&path)), (String::new(), true));
        // Made before the first one goes: a file that is gone may leave its number to the next.
        fs::write(folder.path().join("other"), "another's")?;
        fs::rename(sibling(&path, "-wal"), folder.path().join("log"))?;
        assert!(why().contains("the WAL of") && place.is_file_at(&path), "{}", why());
        fs::rename(folder.path().join("other"), &path)?;
        assert!(why().contains("by another file") && !place.is_file_at(&path), "{}", why());
        fs::remove_file(&path)?;
        assert!(!why().is_empty() && !why().contains("by another file"), "{}", why());
        Ok(())
    }

    /// The name with its reason would be too long.
    #[test]
    fn file_that_cannot_be_quarantined_stays() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("m".repeat(240));
        fs::write(&path, "ours")?;
        let error = quarantine_file(&path, DAMAGED, &["", "-wal"]).err().map(Error::from);
        assert!(error.is_some_and(|error| error.to_string().contains("cannot quarantine")) && path.exists());
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn log_gets_the_rights_of_its_file() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("memory.db");
        let readonly =
            |suffix| Ok::<_, io::Error>(fs::metadata(sibling(&path, suffix))?.permissions().readonly());
        let protect = |suffix| {
            let mut rights = fs::metadata(sibling(&path, suffix))?.permissions();
            rights.set_readonly(true);
            fs::set_permissions(sibling(&path, suffix), rights)
        };
        fs::write(&path, "ours")?;
        super::give_rights_of(&path)?;
        for suffix in ["-wal", "-shm"] {
            fs::write(sibling(&path, suffix), "ours")?;
            protect(suffix)?;
        }
        super::give_rights_of(&path)?;
        assert_eq!((readonly("-wal")?, readonly("-shm")?), (false, false));
        protect("")?;
        protect("-wal")?;
        super::give_rights_of(&path)?;
        assert!(readonly("-wal")?, "no more than the file has");
        fs::remove_file(&path)?;
        fs::write(&path, "ours")?;
        fs::remove_file(sibling(&path, "-wal"))?;
        std::os::unix::fs::symlink("memory.db-wal", sibling(&path, "-wal"))?;
        assert!(super::give_rights_of(&path).is_err(), "a link to itself");
        Ok(())
    }

    #[test]
    fn what_the_system_answers_has_its_hint() {
        let answers = [
            (io::ErrorKind::NotFound.into(), "check the path"),
            (io::ErrorKind::InvalidFilename.into(), "give a shorter path"),
            (io::ErrorKind::NotADirectory.into(), "give the path of a file"),
            (io::ErrorKind::IsADirectory.into(), "give the path of a file"),
            (io::ErrorKind::PermissionDenied.into(), "check the rights"),
            (io::ErrorKind::ReadOnlyFilesystem.into(), "check the rights"),
            (io::ErrorKind::StorageFull.into(), "make room"),
            (io::ErrorKind::QuotaExceeded.into(), "make room"),
            (io::Error::from_raw_os_error(24), "close some files"),
            (io::Error::from_raw_os_error(23), "close some files"),
            (io::Error::from_raw_os_error(5), "the system's log"),
            (io::ErrorKind::TimedOut.into(), "the system's log"),
        ];
        for (answer, hint) in answers {
            let (name, is_full) = (answer.to_string(), hint == "make room");
            let failure = Error::from(unreachable_file(Path::new("memory.db"), answer));
            assert!(failure.hint().is_some_and(|given| given.contains(hint)), "{name}: {failure}");
            assert_eq!(failure.kind() == ErrorKind::DiskFull, is_full, "{name}");
        }
    }
}
