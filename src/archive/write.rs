//! Writing an archive, line by line.

use super::error::{io_error, unusable};
use super::format::{Header, Kind, MAX_LINE};
use super::record;
use super::seal::{self, Key};
use crate::error::{Error, ErrorKind, Result};
use crate::trace::{Link, Trace};
use sha2::{Digest, Sha512};
use std::fmt::{self, Display};
use std::io::{self, Write};

/// Writes an export: traces and links, in the order given, as text that [`Reader`](super::Reader) and `mnemon import`
/// read.
///
/// Each line is one write to the output, which should buffer them.
pub struct Writer<W> {
    output: W,
    /// What errors call the output.
    name: String,
    line: Vec<u8>,
    /// Of what is written so far, if the archive is to be sealed.
    hashed: Option<Sha512>,
    /// Announced and not yet written.
    traces: u64,
    links: u64,
}

impl<W> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// Writes the header, which announces the numbers of traces and links.
    ///
    /// # Errors
    ///
    /// Those of every write: [`DiskFull`](ErrorKind::DiskFull), [`Unreachable`](ErrorKind::Unreachable) or
    /// [`Io`](ErrorKind::Io), with the output's [`io::Error`] as the source.
    pub fn new(output: W, traces: u64, links: u64) -> Result<Self> {
        Self::start(output, "the archive".to_owned(), &Header::new(Kind::Export, traces, links))
    }

    pub(super) fn start(output: W, name: String, header: &Header) -> Result<Self> {
        let hashed = header.kind.is_sealed().then(Sha512::new);
        let Header { traces, links, .. } = *header;
        let mut writer = Self { output, name, line: Vec::new(), hashed, traces, links };
        writer.write("the header", |line| serde_json::to_writer(line, header))?;
        Ok(writer)
    }

    /// Writes a trace. Cost: two passes over its payload.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if its payload is not JSON, as another program may have left
    /// it, its line is longer than 8 GiB, or more traces are written than announced; nothing is written then.
    pub fn trace(&mut self, trace: &Trace) -> Result<()> {
        let name = format_args!("trace {}", trace.id());
        trace.payload().check().map_err(|error| unusable(name, "replace or remove it").because(error))?;
        self.unchecked_trace(trace)
    }

    /// Writes a trace whatever its payload is.
    pub(super) fn unchecked_trace(&mut self, trace: &Trace) -> Result<()> {
        let left = self.traces.checked_sub(1).ok_or_else(|| self.surplus("traces"))?;
        self.write(format_args!("trace {}", trace.id()), |line| record::write_trace(trace, line))?;
        self.traces = left;
        Ok(())
    }

    /// Writes a link.
    ///
    /// # Errors
    ///
    /// Those of the output; [`InvalidInput`](ErrorKind::InvalidInput) if more links are written than announced.
    pub fn link(&mut self, link: &Link) -> Result<()> {
        let left = self.links.checked_sub(1).ok_or_else(|| self.surplus("links"))?;
        self.write("a link", |line| record::write_link(link, line))?;
        self.links = left;
        Ok(())
    }

    fn surplus(&self, what: &str) -> Error {
        let message = format!("more {what} than {} announces: count them first", self.name);
        Error::new(ErrorKind::InvalidInput, message)
    }

    /// Flushes the output, and returns it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if fewer traces or links were written than announced.
    pub fn finish(mut self) -> Result<W> {
        if self.traces > 0 || self.links > 0 {
            let missing = format!("{} traces and {} links are missing", self.traces, self.links);
            let message = format!("{missing} of those that {} announces: write them all", self.name);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.output.flush().map_err(|error| io_error("writing", &self.name, error))?;
        Ok(self.output)
    }

    /// Writes the seal, flushes the output, and returns it.
    pub(super) fn seal(mut self, key: &Key) -> Result<W> {
        let seal = self.hashed.take().map(|hashed| seal::seal(&hashed, key)).transpose();
        let failed = |error| io_error("writing", &self.name, error);
        let seal = seal.map_err(|error| failed(io::Error::other(error)))?.unwrap_or_default();
        self.output.write_all(seal.as_bytes()).and_then(|()| self.output.flush()).map_err(failed)?;
        Ok(self.output)
    }

    /// Writes the line that `fill` appends to nothing.
    pub(super) fn write(
        &mut self,
        what: impl Display,
        fill: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) -> Result<()> {
        self.line.clear();
        let failed = |error| io_error("writing", &self.name, error);
        fill(&mut self.line).map_err(|error| failed(error.into()))?;
        self.line.push(b'\n');
        if self.line.len() as u64 > MAX_LINE {
            let problem = format_args!("its line is longer than {MAX_LINE} bytes: make it smaller");
            return Err(unusable(what, problem));
        }
        self.output.write_all(&self.line).map_err(failed)?;
        if let Some(hashed) = &mut self.hashed {
            hashed.update(&self.line);
        }
        Ok(())
    }
}
