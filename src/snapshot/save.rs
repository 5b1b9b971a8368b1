//! Writing a file, whole or not at all.
//!
//! It is written under a partial name, synced, renamed, and the folder synced. Who has made the partial name
//! owns the full one, so two saves at the same time never meet. What could not be read back is
//! refused here, so that a snapshot that was saved can be restored.

use super::format::{Header, Known, Line, MAX_LINE};
use super::name::Name;
use super::record::{LinkLine, TraceLine};
use super::refusal::io_error;
use super::seal::{self, Key};
use super::{SnapshotHeader, SnapshotInfo, State, folder};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Watch;
use serde::Serialize;
use sha2::{Digest, Sha512};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub(super) fn save(folder: &Path, key: &Key, state: &State, watch: &Watch) -> Result<SnapshotInfo> {
    if !key.can_seal() {
        let message = "no snapshot can be saved with a public key: give the secret one";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    make(folder).map_err(|error| io_error("making the folder", folder, error))?;
    let partial = Partial::reserve(folder, folder::next_name(folder, state.taken_at)?)?;
    let header = Header::of(state);
    fill(&partial, key, &header, state, watch)?;
    let path = partial.finish()?;
    Ok(SnapshotInfo { path, taken_at: header.taken_at, header: Ok(SnapshotHeader::from(&header)) })
}

fn fill(partial: &Partial, key: &Key, header: &Header, state: &State, watch: &Watch) -> Result<()> {
    /// Lines between two looks at who is told.
    const OFTEN: u64 = 1_024;
    let (mut done, total) = (0, (state.traces.len() + state.links.len()) as u64);
    let mut saved_one = || {
        done += 1;
        if done == 1 || done % OFTEN == 0 { watch.tell("saving rows", done, total) } else { Ok(()) }
    };
    let failed = |error| io_error("writing", &partial.path, error);
    let hashing = Hashing { file: &partial.file, hashed: Sha512::new() };
    let mut output = Output { writer: BufWriter::with_capacity(1 << 16, hashing), line: Vec::new(), failed };
    output.write(header, "the header")?;
    let mut known = Known::default();
    for trace in &state.traces {
        let what = format_args!("trace {}", trace.id());
        known.add_trace(trace.id()).map_err(|problem| unusable(what, problem))?;
        trace.payload().check().map_err(|error| unusable(what, "replace or remove it").because(error))?;
        output.write(&Line::Trace(Box::new(TraceLine::from(&**trace))), what)?;
        saved_one()?;
    }
    for link in &state.links {
        known.add_link(link.ends).map_err(|problem| unusable("a link", problem))?;
        output.write(&Line::Link(LinkLine::from(link)), "a link")?;
        saved_one()?;
    }
    let hashing = output.writer.into_inner().map_err(|error| failed(error.into_error()))?;
    let seal = seal::seal(&hashing.hashed, key).map_err(|error| failed(io::Error::other(error)))?;
    let mut file = hashing.file;
    file.write_all(seal.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn unusable(what: impl fmt::Display, problem: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{what} can't be saved in a snapshot: {problem}"))
}

struct Output<W: Write, F> {
    writer: BufWriter<W>,
    line: Vec<u8>,
    failed: F,
}

impl<W: Write, F: Fn(io::Error) -> Error> Output<W, F> {
    fn write(&mut self, line: &impl Serialize, what: impl fmt::Display) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).map_err(|error| (self.failed)(error.into()))?;
        self.line.push(b'\n');
        if self.line.len() as u64 <= MAX_LINE {
            self.writer.write_all(&self.line).map_err(&self.failed)
        } else {
            Err(unusable(what, format_args!("its line is longer than {MAX_LINE} bytes: make it smaller")))
        }
    }
}

/// Hashes what it writes.
struct Hashing<'a> {
    file: &'a File,
    hashed: Sha512,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hashed.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file not yet whole; removed when dropped. Locked, so that nobody prunes it.
struct Partial {
    name: Name,
    folder: PathBuf,
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Partial {
    /// With the first free name from this one on.
    fn reserve(folder: &Path, mut name: Name) -> Result<Self> {
        loop {
            let path = name.partial_in_folder(folder);
            match create(&path) {
                Ok(file) => {
                    let (folder, path) = (folder.to_owned(), path.clone());
                    let partial = Self { name, folder, path, file, renamed: false };
                    if partial.is_ours() {
                        return Ok(partial);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error("making", &path, error)),
            }
            name = name.next().ok_or_else(|| folder::no_later(&path))?;
        }
    }

    /// A file system without locks has no pruning of partial files either.
    fn is_ours(&self) -> bool {
        let full = self.name.in_folder(&self.folder);
        let taken = full.symlink_metadata().is_ok();
        !taken && !matches!(self.file.try_lock(), Err(TryLockError::WouldBlock))
    }

    fn finish(mut self) -> Result<PathBuf> {
        let full = self.name.in_folder(&self.folder);
        fs::rename(&self.path, &full).map_err(|error| io_error("renaming", &self.path, error))?;
        self.renamed = true;
        match sync(&self.folder) {
            Ok(()) => Ok(full),
            Err(error) => {
                let _ = fs::remove_file(&full);
                Err(io_error("syncing the folder", &self.folder, error))
            }
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The folder and those above it, each synced into the one above.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let folder = std::path::absolute(folder)?;
    let missing: Vec<_> = folder.ancestors().take_while(|above| !above.exists()).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&folder)?;
    missing.iter().filter_map(|made| made.parent()).try_for_each(sync)
}

/// Elsewhere a folder can't be opened, and the system sees to its entries.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
