//! A spill: what a store could not write into its database, in a file beside it.
//!
//! The lines are those of a snapshot, with more kinds, and the same seal:
//!
//! ```text
//! {"mnemon_spill":1,"boot":"…","durable":7,"cut":9,"lines":3}
//! {"erased_type":"sensory"}
//! {"trace":{…}}
//! {"gone":"…"}
//! {"link":{…}}
//! {"parted":["…","…"]}
//! {"sha512":"…"}
//! ```
//!
//! Each line is the whole state of what it names, as of one cut. So they can be applied to the file in any state
//! from the durable one up to that cut; a file at a later one has more than the spill. One whose durable cut is 0 is
//! whole: it is all that the store held.

use super::format::not_a_line;
use super::record::{Id, LinkLine, TraceLine};
use super::refusal::{Refusal, io_error};
use super::save;
use super::seal::{self, Key};
use crate::backend::Scope;
use crate::backend::sqlite::MAX_WATERMARK;
use crate::error::{Error, Result};
use crate::trace::{Link, LinkKey, Payload, Trace, TraceId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use std::borrow::Cow;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const VERSION: u64 = 1;

/// More bytes than any header has.
const LONGEST_HEADER: u64 = 4_096;

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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    mnemon_spill: u64,
    boot: Id,
    durable: u64,
    cut: u64,
    lines: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    ErasedType(Cow<'a, str>),
    ErasedPartition(Cow<'a, str>),
    #[serde(borrow)]
    Trace(Box<TraceLine<'a>>),
    Gone(Id),
    Link(LinkLine),
    Parted(Id, Id),
}

impl Spill {
    /// How many lines it has.
    pub(crate) fn len(&self) -> usize {
        self.erased.len() + self.traces.len() + self.links.len()
    }

    /// Writes it whole, in the place of an earlier one; it is on disk when this returns.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = self.text().map_err(|error| io_error("writing", path, error.into()))?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        // What an interrupted one has left.
        drop(fs::remove_file(&partial));
        let written = save::create(&partial).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&partial, path)?;
            path.parent().map_or(Ok(()), save::sync)
        });
        written.map_err(|error| {
            drop(fs::remove_file(&partial));
            io_error("writing", path, error)
        })
    }

    fn text(&self) -> serde_json::Result<Vec<u8>> {
        let Self { durable, cut, .. } = *self;
        let boot = Id(self.boot.into());
        let header = Header { mnemon_spill: VERSION, boot, durable, cut, lines: self.len() as u64 };
        let mut text = serde_json::to_vec(&header)?;
        for line in self.lines() {
            text.push(b'\n');
            serde_json::to_writer(&mut text, &line)?;
        }
        text.push(b'\n');
        let seal =
            seal::seal(&Sha512::new_with_prefix(&text), &Key::None).map_err(serde::ser::Error::custom)?;
        text.extend_from_slice(seal.as_bytes());
        Ok(text)
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let erased = self.erased.iter().map(|scope| match scope {
            Scope::Type(kind) => Line::ErasedType(kind.as_str().into()),
            Scope::Partition(partition) => Line::ErasedPartition((&**partition).into()),
        });
        let traces = self.traces.iter().map(|(id, trace)| match trace {
            Some(trace) => Line::Trace(Box::new(TraceLine::from(&**trace))),
            None => Line::Gone(Id(*id)),
        });
        let links = self.links.iter().map(|(ends, link)| match link {
            Some(link) => Line::Link(LinkLine::from(link)),
            None => Line::Parted(Id(ends.ids()[0]), Id(ends.ids()[1])),
        });
        erased.chain(traces).chain(links)
    }

    /// Deletes one that is of no more use; it does not come back with a power loss.
    pub(crate) fn delete(path: &Path) -> std::io::Result<()> {
        fs::remove_file(path)?;
        path.parent().map_or(Ok(()), save::sync)
    }

    /// Whether it is all that the store held.
    pub(crate) fn is_whole(&self) -> bool {
        self.durable == 0
    }

    /// The opening that left it, if it says that it is whole. Nothing is verified.
    pub(crate) fn boot_of_whole(path: &Path) -> Option<Uuid> {
        let mut first = String::new();
        BufReader::new(fs::File::open(path).ok()?).take(LONGEST_HEADER).read_line(&mut first).ok()?;
        let header: Header = serde_json::from_str(&first).ok()?;
        (header.mnemon_spill == VERSION && header.durable == 0).then(|| header.boot.0.into())
    }

    /// Reads one, or says why not: all of it is verified before any of it is given out.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(Refusal::from);
        text.and_then(|text| Self::parse(&text)).map_err(|refusal| refusal.of_spill(path))
    }

    fn parse(text: &[u8]) -> Result<Self, Refusal> {
        if !text.starts_with(br#"{"mnemon_spill":"#) {
            return Err(Refusal::Foreign("does not begin as a spill does"));
        }
        let last = text.strip_suffix(b"\n").and_then(|text| text.iter().rposition(|byte| *byte == b'\n'));
        let Some((lines, seal)) = last.map(|at| text.split_at(at + 1)) else {
            return Err(Refusal::damaged("its last line is no digest: it was cut short"));
        };
        seal::check(&Sha512::new_with_prefix(lines), seal, &Key::None)?;
        let mut lines = lines.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.is_empty());
        let (first, _) = lines.next().unwrap_or_default();
        let header: Header =
            serde_json::from_slice(first).map_err(|error| Refusal::line(1, not_a_line(error)))?;
        if header.mnemon_spill != VERSION {
            return Err(Refusal::Newer(header.mnemon_spill));
        }
        if header.durable > header.cut || header.cut > MAX_WATERMARK {
            return Err(Refusal::damaged("its header names cuts that no store has"));
        }
        let mut spill =
            Self { boot: header.boot.0.into(), durable: header.durable, cut: header.cut, ..Self::default() };
        let mut partition = Arc::from("default");
        for (line, number) in lines {
            spill.add(line, &mut partition).map_err(|problem| Refusal::line(number, problem))?;
        }
        if spill.len() as u64 == header.lines {
            Ok(spill)
        } else {
            Err(Refusal::damaged("it has not as many lines as its header says"))
        }
    }

    fn add(&mut self, line: &[u8], partition: &mut Arc<str>) -> Result<(), String> {
        let problem = |error: Error| format!("{error:?}");
        match serde_json::from_slice(line).map_err(not_a_line)? {
            Line::ErasedType(kind) => self.erased.push(Scope::Type(kind.parse().map_err(problem)?)),
            Line::ErasedPartition(name) => self.erased.push(Scope::Partition(Arc::from(name))),
            Line::Trace(line) => {
                // As a row's is, and sealed: one that somebody has spoilt in the file must not cost the others.
                let trace =
                    line.into_trace(partition, |text| Ok(Payload::trusted(&text))).map_err(problem)?;
                self.traces.push((trace.id(), Some(Arc::new(trace))));
            }
            Line::Gone(id) => self.traces.push((id.0, None)),
            Line::Link(line) => {
                let link = line.into_link().map_err(problem)?;
                self.links.push((link.ends, Some(link)));
            }
            Line::Parted(a, b) => {
                self.links.push((LinkKey::of(a.0, b.0).ok_or("a link joins two traces")?, None));
            }
        }
        Ok(())
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
            Spill { durable, cut, ..Spill::default() }.write(&path)?;
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
