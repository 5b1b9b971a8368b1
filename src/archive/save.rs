//! Saving a snapshot: the file is there whole, or not at all.
//!
//! It is written under a partial name, synced, renamed, and the folder synced. The creator of the partial name owns the
//! full one, so two saves at the same time never meet. What could not be read back is refused here, so that every
//! saved snapshot can be restored.

use super::error::{io_error, unusable};
use super::format::Header;
use super::name::Name;
use super::seal::Key;
use super::snapshots::ArchiveInfo;
use super::state::Known;
use super::write::Writer;
use super::{State, folder};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Watch;
use crate::trace::Micros;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

pub(super) fn save(folder: &Path, key: &Key, state: &State, watch: &Watch) -> Result<ArchiveInfo> {
    if !key.can_seal() {
        let message = "no snapshot can be saved with a public key: give the secret one";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    make(folder).map_err(|error| io_error("making the folder", folder.display(), error))?;
    let partial = Partial::reserve(folder, folder::next_name(folder, state.taken_at)?)?;
    let header = state.header();
    fill(&partial, key, &header, state, watch)?;
    Ok(ArchiveInfo {
        path: partial.finish()?,
        taken_at: Micros::from(state.taken_at).into(),
        watermark: state.watermark,
        traces: header.traces,
        links: header.links,
        error: None,
    })
}

fn fill(partial: &Partial, key: &Key, header: &Header, state: &State, watch: &Watch) -> Result<()> {
    /// Number of lines between two reports of progress.
    const OFTEN: u64 = 1_024;
    let (mut done, total) = (0, header.traces + header.links);
    let mut saved_one = || {
        done += 1;
        if done == 1 || done % OFTEN == 0 { watch.tell("saving rows", done, total) } else { Ok(()) }
    };
    let (output, name) = (BufWriter::with_capacity(1 << 16, &partial.file), partial.path.display());
    let mut writer = Writer::start(output, name.to_string(), header)?;
    let mut known = Known::default();
    for trace in &state.traces {
        let refused = |problem| unusable(format_args!("trace {}", trace.id()), problem);
        known.add_trace(trace.id()).map_err(refused)?;
        writer.trace(trace)?;
        saved_one()?;
    }
    for link in &state.links {
        known.add_link(link.ends).map_err(|problem| unusable("a link", problem))?;
        writer.link(link)?;
        saved_one()?;
    }
    writer.seal(key)?;
    partial.file.sync_all().map_err(|error| io_error("writing", name, error))
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
                Err(error) => return Err(io_error("making", path.display(), error)),
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
        fs::rename(&self.path, &full).map_err(|error| io_error("renaming", self.path.display(), error))?;
        self.renamed = true;
        match sync(&self.folder) {
            Ok(()) => Ok(full),
            Err(error) => {
                let _ = fs::remove_file(&full);
                Err(io_error("syncing the folder", self.folder.display(), error))
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
pub(super) fn make(folder: &Path) -> io::Result<()> {
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
