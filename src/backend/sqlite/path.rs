//! The path of a file: what it may be, and making a file there.

#[cfg(feature = "legion")]
use super::file_identity::sibling;
use super::file_identity::unreachable_file;
use crate::backend::BackendError;
#[cfg(feature = "legion")]
use crate::error::ErrorKind;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

/// The longest path, in bytes: SQLite has 512 for that of a journal, which is 8 longer.
const LONGEST_PATH: usize = 504;

/// The longest name that file systems take, in bytes.
const LONGEST_NAME: usize = 255;

/// Number of bytes by which the longest name of a file beside the store's own is longer: that of a quarantined log,
/// `.damaged-`, 16 digits, `-wal`.
const BESIDE_NAME: usize = 29;

/// The file's one true path: no link, no later change of directory and no special name of SQLite's gives it
/// another lock file or log.
pub(crate) fn resolved(path: &Path) -> Result<PathBuf, BackendError> {
    let failed = |error| unreachable_file(path, error);
    let true_path = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Ok(to) = path.read_link() {
                let cause = format!("it is a link to {}, which is not there", to.display());
                return Err(missing(path, cause).with_hint("make that file, or remove the link"));
            }
            let absolute = std::path::absolute(path).map_err(failed)?;
            let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
                return Err(failed(error));
            };
            match folder.canonicalize() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let cause = format!("its folder {} is not there", folder.display());
                    return Err(missing(path, cause).with_hint("make the folder, or give another path"));
                }
                folder => folder.map_err(failed)?.join(name),
            }
        }
        resolved => resolved.map_err(failed)?,
    };
    let bytes = true_path.as_os_str().len();
    if bytes <= LONGEST_PATH {
        Ok(true_path)
    } else {
        let cause = format!("its path has {bytes} bytes, and SQLite takes {LONGEST_PATH} at most");
        Err(failed(io::Error::new(io::ErrorKind::InvalidFilename, cause)))
    }
}

fn missing(path: &Path, cause: String) -> BackendError {
    unreachable_file(path, io::Error::new(io::ErrorKind::NotFound, cause))
}

/// Refuses a name that leaves no room for those of the files beside it.
pub(super) fn check_name(path: &Path) -> Result<(), BackendError> {
    let bytes = path.file_name().map_or(0, |name| name.len());
    if bytes + BESIDE_NAME <= LONGEST_NAME {
        return Ok(());
    }
    let cause = format!(
        "its name has {bytes} bytes, which leaves less than {BESIDE_NAME} of {LONGEST_NAME} for the names of the files beside it"
    );
    Err(unreachable_file(path, io::Error::new(io::ErrorKind::InvalidFilename, cause)))
}

pub(super) fn make_if_missing(path: &Path) -> Result<(), BackendError> {
    match make(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unreachable_file(path, error)),
        _ => Ok(()),
    }
}

/// A new file belongs to its owner alone; SQLite gives its log the same rights.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Returns the true path of one where nothing is, which SQLite takes for no URI and no other database.
#[cfg(feature = "legion")]
pub(crate) fn free_path(path: &Path) -> crate::error::Result<PathBuf> {
    use crate::error::Error;
    let true_path = resolved(path)?;
    // SQLite would take what an earlier database has left for the new one's own, and delete it.
    let is_empty = |file: std::fs::Metadata| file.is_file() && file.len() == 0;
    let is_taken = |suffix: &str| match sibling(&true_path, suffix).metadata() {
        Ok(file) => suffix.is_empty() || !is_empty(file),
        Err(_) => false,
    };
    match ["", "-journal", "-wal"].into_iter().find(|suffix| is_taken(suffix)) {
        Some(suffix) => {
            let message = format!("{} exists: give a path where nothing is", sibling(path, suffix).display());
            Err(Error::new(ErrorKind::AlreadyExists, message))
        }
        None => Ok(true_path),
    }
}
