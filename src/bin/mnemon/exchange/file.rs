//! A file that is there when it is whole: written under another name beside its own, synced, and renamed.

use crate::foreign::EXPORT;
use crate::location::Location;
use crate::text;
use anyhow::{Context, Result, bail};
use mnemon::TraceId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Stdout, Write};
use std::path::{Path, PathBuf};

/// Where an export is to go.
pub enum Target {
    Output,
    File(PathBuf),
}

/// Where an export goes, and how many bytes went there.
pub struct Open {
    to: To,
    bytes: u64,
}

enum To {
    Output(BufWriter<Stdout>),
    File(Partial),
}

/// A file not yet whole, which belongs to its owner alone; removed when dropped.
struct Partial {
    file: BufWriter<File>,
    partial: PathBuf,
    path: PathBuf,
    renamed: bool,
}

impl Target {
    /// `-` is standard output. Nothing is made yet.
    pub fn of(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Target::Output);
        }
        // The file that a link leads to is replaced, and not the link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        refuse_other(&path)?;
        Ok(Target::File(path))
    }

    pub fn open(self) -> Result<Open> {
        let to = match self {
            Target::Output => To::Output(BufWriter::new(io::stdout())),
            Target::File(path) => To::File(Partial::make(path)?),
        };
        Ok(Open { to, bytes: 0 })
    }
}

impl Open {
    /// Makes it whole, and answers how many bytes it has.
    pub fn finish(self) -> Result<u64> {
        if let To::File(partial) = self.to {
            let path = partial.path.clone();
            // Somebody may have put it there meanwhile.
            refuse_other(&path)?;
            partial.finish().with_context(|| unwritable(&path))?;
        }
        Ok(self.bytes)
    }
}

impl Write for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.to {
            To::Output(output) => output.write(bytes)?,
            To::File(partial) => partial.file.write(bytes).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", partial.path.display()))
            })?,
        };
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Output(output) => output.flush(),
            To::File(partial) => partial.file.flush(),
        }
    }
}

fn unwritable(path: &Path) -> String {
    format!(
        "{} can't be written: check that its folder exists, and has room",
        Location::from(path.to_owned())
    )
}

impl Partial {
    fn make(path: PathBuf) -> Result<Self> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}.partial", TraceId::new()));
        let partial = PathBuf::from(partial);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&partial).with_context(|| unwritable(&path))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 16, file), partial, path, renamed: false })
    }

    fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        self.renamed = true;
        // Elsewhere a folder can't be opened, and the system sees to its entries.
        match self.path.parent() {
            Some(folder) if cfg!(unix) && folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
            Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }
}

/// An export takes the place of another one, and of nothing else: a slip of the hand must not cost a store.
fn refuse_other(path: &Path) -> Result<()> {
    let Ok(found) = fs::metadata(path) else {
        return match path.symlink_metadata() {
            Ok(_) => bail!("{} is a link that leads nowhere: mend it, or give another name", path.display()),
            Err(_) => Ok(()),
        };
    };
    if !found.is_file() {
        bail!("{} is no file: give another name, or - for standard output", path.display());
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(EXPORT.len() as u64).read_to_end(&mut start));
    match read {
        Ok(_) if start.is_empty() || start == EXPORT => Ok(()),
        _ => bail!("{} is there, and is no export: give another name, or move it away", path.display()),
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.renamed
            && let Err(error) = fs::remove_file(&self.partial)
        {
            text::warn(format_args!("{} could not be removed: {error}", self.partial.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Target;
    use std::fs;
    use std::io::Write;

    #[test]
    fn what_has_come_under_the_name_meanwhile_stays() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.jsonl");
        let mut target = Target::of(&path)?.open()?;
        target.write_all(b"{}")?;
        fs::write(&path, "Dear Ana")?;
        assert!(target.finish().is_err());
        assert_eq!(fs::read(&path)?, b"Dear Ana");
        assert_eq!(fs::read_dir(folder.path())?.count(), 1, "nothing is left beside it");
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let (link, file) = (folder.path().join("link.jsonl"), folder.path().join("file.jsonl"));
        std::os::unix::fs::symlink(&file, &link)?;
        assert!(Target::of(&link).is_err());
        fs::write(&file, "")?;
        let mut target = Target::of(&link)?.open()?;
        target.write_all(b"{}")?;
        target.finish()?;
        assert!(link.is_symlink() && fs::read(&file)? == b"{}");
        Ok(())
    }
}
