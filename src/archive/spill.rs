//! A spill: what a store could not write into its database, in a file beside it.
//!
//! Each line is the whole state of what it names, as of one cut. So they can be applied to the file in any state from
//! the durable one up to that cut; a file at a later one has more than the spill. A spill whose durable cut is 0 is
//! whole: it is all that the store held.

use super::error::{ReadError, io_error};
use super::format::{Header, Kind};
use super::read::{Lines, read_all};
use super::record::{Entry, Removal};
use super::save;
use super::seal::Key;
use super::write::Writer;
use crate::backend::{MAX_WATERMARK, Scope};
use crate::error::{Error, Result};
use crate::guarded;
use crate::trace::{Link, LinkKey, Trace, TraceId};
use jiff::Timestamp;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// What the file of a store lacks.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    /// Which opening of the store it belongs to.
    pub(crate) boot: Uuid,
    /// What the file holds at least; 0 if it can't be counted on, and all is here.
    pub(crate) durable: u64,
    /// What it holds with this.
    pub(crate) cut: u64,
    pub(crate) erased: Vec<Scope>,
    /// `None` is a removal.
    pub(crate) traces: Vec<(TraceId, Option<Arc<Trace>>)>,
    pub(crate) links: Vec<(LinkKey, Option<Link>)>,
}

impl Spill {
    /// Writes it whole, in the place of an earlier one; it is on disk when this returns.
    pub(crate) fn write(&self, path: &Path, at: Timestamp) -> Result<()> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let folder = path.parent().map_or(Ok(()), save::make);
        folder.map_err(|error| io_error("making the folder of", path.display(), error))?;
        // What an interrupted one has left.
        drop(fs::remove_file(&partial));
        let failed = |error| io_error("writing", path.display(), error);
        let written = save::create(&partial).map_err(failed).and_then(|file| {
            let mut writer =
                Writer::start(BufWriter::new(&file), path.display().to_string(), &self.header(at))?;
            self.lines(&mut writer)?;
            writer.seal(&Key::None)?;
            let named = file.sync_all().and_then(|()| fs::rename(&partial, path));
            named.and_then(|()| path.parent().map_or(Ok(()), save::sync)).map_err(failed)
        });
        written.inspect_err(|_| drop(fs::remove_file(&partial)))
    }

    fn header(&self, at: Timestamp) -> Header {
        let mut header = Header::new(Kind::Spill, self.traces.len() as u64, self.links.len() as u64);
        header.erased = Some(self.erased.len() as u64);
        header.durable = Some(self.durable);
        header.session = Some(self.boot.to_string());
        header.created(at, self.cut)
    }

    fn lines(&self, writer: &mut Writer<impl std::io::Write>) -> Result<()> {
        for scope in &self.erased {
            writer.removal(&match scope {
                Scope::Type(kind) => Removal::ErasedType { r#type: kind.as_str().into() },
                Scope::Partition(partition) => Removal::ErasedPartition { partition: (&**partition).into() },
            })?;
        }
        for (id, trace) in &self.traces {
            match trace {
                Some(trace) => writer.unchecked_trace(trace)?,
                None => writer.removal(&Removal::RemovedTrace { id: id.to_string().into() })?,
            }
        }
        for (ends, link) in &self.links {
            let [a, b] = ends.ids().map(|end| end.to_string().into());
            match link {
                Some(link) => writer.link(link)?,
                None => writer.removal(&Removal::RemovedLink { a, b })?,
            }
        }
        Ok(())
    }

    /// Deletes one that is of no more use; it does not come back with a power loss.
    pub(crate) fn delete(path: &Path) -> std::io::Result<()> {
        fs::remove_file(path)?;
        path.parent().map_or(Ok(()), save::sync)
    }

    /// Keeps one of which not every row could be applied, under a name that says so. A power loss does not bring it
    /// back: it would be refused as that of another opening.
    pub(crate) fn quarantine(path: &Path) -> std::io::Result<()> {
        let now = Timestamp::now().as_microsecond();
        let mut to = path.with_extension("").into_os_string();
        to.push(format!(".kept-{now}.spill"));
        let to = PathBuf::from(to);
        fs::rename(path, &to)?;
        guarded::run(|| {
            tracing::info!(path = %path.display(), to = %to.display(), "a file was quarantined");
        });
        path.parent().map_or(Ok(()), save::sync)
    }

    /// Whether there is nothing that the file lacks.
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_whole() && self.erased.is_empty() && self.traces.is_empty() && self.links.is_empty()
    }

    /// Whether it is all that the store held.
    pub(crate) fn is_whole(&self) -> bool {
        self.durable == 0
    }

    /// The opening that left it, if it says that it is whole. Nothing is verified.
    #[cfg(feature = "sqlite")]
    pub(crate) fn boot_of_whole(path: &Path) -> Option<Uuid> {
        let Lines { header, .. } = open(path).ok()?;
        let session = header.session.filter(|_| header.durable == Some(0))?;
        session.parse().ok()
    }

    /// Reads one, or says why not: all of it is verified before any of it is given out.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        open(path).and_then(Self::verified).map_err(|error| {
            let remedy = "move it away to open the store without what it holds";
            let error = error.of(path.display());
            Error::new(error.kind(), format!("the spill {} can't be applied: {remedy}", path.display()))
                .because(error)
        })
    }

    fn verified(mut lines: Lines<BufReader<File>>) -> Result<Self, ReadError> {
        let mut spill = Self::default();
        read_all(&mut lines, |entry| {
            match entry {
                Entry::Erased(scope) => spill.erased.push(scope),
                Entry::Trace(trace) => spill.traces.push((trace.id(), Some(Arc::new(trace)))),
                Entry::RemovedTrace(id) => spill.traces.push((id, None)),
                Entry::Link(link) => spill.links.push((link.ends, Some(link))),
                Entry::RemovedLink(ends) => spill.links.push((ends, None)),
            }
            Ok(())
        })?;
        let Lines { header, .. } = lines;
        let session = header.required("session", header.session.as_deref())?.parse();
        let boot = session.map_err(|error| ReadError::line(1, format_args!("session: {error}")))?;
        let (durable, cut) = (header.required("durable", header.durable)?, header.watermark()?);
        if durable > cut || cut > MAX_WATERMARK {
            return Err(ReadError::Damaged("its header names cuts that no store has"));
        }
        Ok(Self { boot, durable, cut, ..spill })
    }
}

fn open(path: &Path) -> Result<Lines<BufReader<File>>, ReadError> {
    let file = BufReader::new(File::open(path)?);
    Ok(Lines::open(file, Some(Kind::Spill), Key::None)?.trusting())
}

impl<W: std::io::Write> Writer<W> {
    fn removal(&mut self, removal: &Removal<'_>) -> Result<()> {
        self.write("a removal", |line| serde_json::to_writer(line, removal))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WATERMARK, Spill};
    use crate::error::ErrorKind;

    /// The next open counts on from its cut.
    #[test]
    fn cut_that_no_store_reaches_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("memory.db.spill");
        let read = |durable, cut| {
            Spill { durable, cut, ..Spill::default() }.write(&path, jiff::Timestamp::UNIX_EPOCH)?;
            Spill::read(&path).map(|spill| (spill.durable, spill.cut))
        };
        assert_eq!(read(7, MAX_WATERMARK)?, (7, MAX_WATERMARK));
        for (durable, cut) in [(7, MAX_WATERMARK + 1), (7, u64::MAX), (8, 7)] {
            let refused = read(durable, cut).map_err(|error| error.kind());
            assert_eq!(refused, Err(ErrorKind::Corrupt), "{durable} to {cut}");
        }
        Ok(())
    }
}
