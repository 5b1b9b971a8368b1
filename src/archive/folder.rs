//! The folder: what is in it, and what may go.

use super::error::io_error;
use super::format::Kind;
use super::name::Name;
use crate::error::{Error, ErrorKind, Result};
use jiff::Timestamp;
use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file by its name alone.
pub(super) struct Found {
    pub(super) name: Name,
    pub(super) path: PathBuf,
}

/// A name after all that the folder has, those of saves under way included, and after that of this time.
pub(super) fn next_name(folder: &Path, taken_at: Timestamp) -> Result<Name> {
    let found = named(folder, |name| Name::parse(name).or_else(|| Name::parse_partial(name)))?;
    let first = Name::of(taken_at);
    match found.into_iter().max_by_key(|found| found.name) {
        Some(newest) if newest.name >= first => newest.name.next().ok_or_else(|| no_later(&newest.path)),
        _ => Ok(first),
    }
}

pub(super) fn no_later(path: &Path) -> Error {
    let message = format!("no name is later than that of {}: move it to another folder", path.display());
    Error::new(ErrorKind::AlreadyExists, message)
}

/// What is named as a snapshot, newest first.
pub(super) fn snapshots(folder: &Path) -> Result<Vec<Found>> {
    let mut found = named(folder, Name::parse)?;
    found.sort_by_key(|found| Reverse(found.name));
    Ok(found)
}

fn named(folder: &Path, parse: impl Fn(&str) -> Option<Name>) -> Result<Vec<Found>> {
    let look = || -> io::Result<_> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_str().and_then(&parse);
            if let Some(name) = name.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) {
                found.push(Found { name, path: entry.path() });
            }
        }
        Ok(found)
    };
    match look() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found.map_err(|error| io_error("reading the folder", folder.display(), error)),
    }
}

pub(super) fn prune(folder: &Path, keep: usize) -> Result<Vec<PathBuf>> {
    let mut ours = snapshots(folder)?;
    ours.retain(|found| begins_as_ours(&found.path));
    let beyond = ours.into_iter().skip(keep).rev().map(|found| found.path);
    let mut gone = Vec::new();
    for path in beyond {
        remove(&path)?;
        gone.push(path);
    }
    for left in named(folder, Name::parse_partial)? {
        if remove_unless_in_use(&left.path)? {
            gone.push(left.path);
        }
    }
    Ok(gone)
}

fn begins_as_ours(path: &Path) -> bool {
    let beginning = Kind::Snapshot.beginning();
    let mut start = vec![0; beginning.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == beginning
}

/// Who writes a partial file holds its lock. One that was interrupted at once is empty.
fn remove_unless_in_use(path: &Path) -> Result<bool> {
    let Ok(file) = File::open(path) else { return Ok(false) };
    let empty = file.metadata().is_ok_and(|file| file.len() == 0);
    if file.try_lock().is_ok() && (empty || begins_as_ours(path)) {
        remove(path).map(|()| true)
    } else {
        Ok(false)
    }
}

/// Somebody else may have pruned it.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("deleting", path.display(), error))
        }
        _ => Ok(()),
    }
}
