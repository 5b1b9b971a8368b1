//! Reading an archive, line by line.
//!
//! One pass: each line is hashed as it is parsed, and the seal is compared at the end. Memory is bounded by one line
//! and by what its reader keeps of the lines: no number in the file is trusted.

use super::error::{ReadError, problem_of};
use super::format::{Begun, HEADER, Header, Kind, MAX_HEADER, MAX_LINE, trimmed};
use super::record::{Entry, Records, malformed};
use super::seal::{self, Key};
use crate::error::{Error, ErrorKind, Result};
use crate::trace::{Link, Trace};
use sha2::{Digest, Sha512};
use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, Read};

/// Reads an export, a snapshot or a spill: an iterator over its traces and links.
///
/// ```
/// use mnemon::archive::{Line, Reader, Writer};
/// use mnemon::{NewTrace, TraceStore};
///
/// let store = TraceStore::in_memory();
/// store.insert(NewTrace::semantic(serde_json::json!("the bar is 4 m deep")))?;
/// let mut writer = Writer::new(Vec::new(), store.len() as u64, 0)?;
/// for trace in store.iter() {
///     writer.trace(&trace)?;
/// }
/// let exported = writer.finish()?;
///
/// // All of it first: nothing of a damaged file is used.
/// let lines = Reader::new(&*exported)?.collect::<mnemon::Result<Vec<_>>>()?;
/// let other = TraceStore::in_memory();
/// for line in lines {
///     match line {
///         Line::Trace(trace) => drop(other.insert(NewTrace::from(trace))?),
///         Line::Link(link) => other.put_link(link)?,
///         Line::Bad(error) => eprintln!("{error}"),
///     }
/// }
/// assert_eq!(other.len(), 1);
/// # Ok::<(), mnemon::Error>(())
/// ```
pub struct Reader<R> {
    lines: Lines<R>,
    done: bool,
}

/// One line of an archive. Returned by [`Reader`].
#[derive(Debug)]
pub enum Line {
    /// A trace. [`NewTrace::from`](crate::NewTrace) makes it ready for an insert.
    Trace(Trace),
    /// A link. Its traces need not be in the archive.
    Link(Link),
    /// A line that can't be used; the lines after it can. The error is [`Corrupt`](ErrorKind::Corrupt) for one that is
    /// not a line of an archive, with [`serde_json::Error`] as its source, and otherwise
    /// [`InvalidInput`](ErrorKind::InvalidInput). The removals that a spill contains are among them.
    Bad(Error),
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`NotASnapshot`](ErrorKind::NotASnapshot), [`NewerSchema`](ErrorKind::NewerSchema) or
    /// [`Corrupt`](ErrorKind::Corrupt) if there is none that can be used; otherwise the errors of reading.
    pub fn new(input: R) -> Result<Self> {
        let lines = Lines::open(input, None, Key::None).map_err(|error| error.of(NAME))?;
        Ok(Self { lines, done: false })
    }

    /// Number of lines after the first that the header announces. If an export has fewer, it was cut short.
    pub fn announced(&self) -> u64 {
        let Header { traces, links, erased, .. } = self.lines.header;
        traces.saturating_add(links).saturating_add(erased.unwrap_or_default())
    }

    /// Number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.lines.number
    }

    /// Text of the line that was read last, without white space around it.
    pub fn text(&self) -> &[u8] {
        trimmed(&self.lines.text)
    }
}

/// What errors call an input without a name.
const NAME: &str = "the archive";

/// A trace, a link or a bad line. An error is the end: the input can't be read, or is a snapshot or spill whose seal
/// does not match. Use nothing of such a file.
impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Result<Line>> {
        if self.done {
            return None;
        }
        let line = match self.lines.next().map_err(|error| error.of(NAME)) {
            Ok(Some(entry)) => {
                let line = entry.and_then(|entry| match entry {
                    Entry::Trace(trace) => Ok(Line::Trace(trace)),
                    Entry::Link(link) => Ok(Line::Link(link)),
                    Entry::RemovedTrace(id) => Err(unmerged(format_args!("trace {id}"))),
                    Entry::RemovedLink(ends) => {
                        let [a, b] = ends.ids();
                        Err(unmerged(format_args!("the link of {a} and {b}")))
                    }
                    Entry::Erased(scope) => Err(unmerged(format_args!("{scope:?}"))),
                });
                return Some(Ok(line.unwrap_or_else(Line::Bad)));
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
        self.done = true;
        line
    }
}

fn unmerged(what: impl fmt::Display) -> Error {
    let message = format!("it removes {what}: only the store that wrote the spill can do that");
    Error::new(ErrorKind::InvalidInput, message)
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("number", &self.lines.number).finish_non_exhaustive()
    }
}

/// The lines after the header, hashed and counted as they are read.
pub(super) struct Lines<R> {
    input: R,
    pub(super) header: Header,
    key: Key,
    hashed: Sha512,
    records: Records,
    /// Number of the last line, from 1, and its bytes.
    pub(super) number: u64,
    text: Vec<u8>,
    traces: u64,
    links: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads the header, which must be of the kind wanted, or of any if that is `None`.
    pub(super) fn open(mut input: R, wanted: Option<Kind>, key: Key) -> Result<Self, ReadError> {
        let (mut text, mut number, mut hashed) = (Vec::new(), 0, Sha512::new());
        loop {
            number += 1;
            let bytes = input.by_ref().take(MAX_HEADER).read_until(b'\n', &mut text)?;
            if bytes == 0 || !trimmed(&text).is_empty() {
                break;
            }
            hashed.update(&text);
            text.clear();
        }
        let header = Header::parse(&text, wanted)?;
        Ok(Self {
            input,
            header,
            key,
            hashed,
            records: Records::new(false),
            number,
            text,
            traces: 0,
            links: 0,
        })
    }

    /// Takes payloads without a check: one that somebody has spoilt in the database must not cost the others.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(super) fn trusting(self) -> Self {
        Self { records: Records::new(true), ..self }
    }

    /// Returns the next line, or what is wrong with it; `None` at the end, which is verified then.
    pub(super) fn next(&mut self) -> Result<Option<Result<Entry>>, ReadError> {
        while self.read()? {
            let line = trimmed(&self.text);
            if !line.is_empty() {
                let (kind, line) = match begun(line) {
                    Ok(begun) => begun,
                    Err(bad) => return Ok(Some(Err(bad))),
                };
                if kind == seal::KIND && self.header.kind.is_sealed() {
                    seal::check(&self.hashed, &self.text, &self.key)?;
                    if self.read()? {
                        return Err(ReadError::Damaged("there is more after its digest"));
                    }
                    return Ok(None);
                }
                let entry = self.records.read(&kind, line);
                match &entry {
                    Ok(Entry::Trace(_) | Entry::RemovedTrace(_)) => self.traces += 1,
                    Ok(Entry::Link(_) | Entry::RemovedLink(_)) => self.links += 1,
                    _ => {}
                }
                return Ok(Some(entry));
            }
        }
        if self.header.kind.is_sealed() {
            return Err(ReadError::Damaged(seal::MISSING));
        }
        Ok(None)
    }

    /// Hashes the last line and reads the next; returns whether there is one.
    fn read(&mut self) -> Result<bool, ReadError> {
        if self.header.kind.is_sealed() {
            self.hashed.update(&self.text);
        }
        self.text.clear();
        let bytes = self.input.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.text)? as u64;
        self.number += u64::from(bytes > 0);
        if bytes == MAX_LINE && !self.text.ends_with(b"\n") {
            return Err(ReadError::line(self.number, format_args!("it is longer than {MAX_LINE} bytes")));
        }
        Ok(bytes > 0)
    }
}

/// The kind of a line, and its text.
fn begun(line: &[u8]) -> Result<(Cow<'_, str>, &str)> {
    let not_a_line = |problem| Error::new(ErrorKind::Corrupt, problem);
    let text = str::from_utf8(line).map_err(|error| not_a_line("it is not UTF-8").because(error))?;
    if !text.starts_with('{') {
        return Err(not_a_line("it is not a JSON object"));
    }
    match serde_json::from_str::<Begun<'_>>(text).map_err(malformed)?.kind {
        Some(kind) if kind.starts_with(HEADER) => {
            Err(not_a_line("it is a second header: read one archive at a time"))
        }
        Some(kind) => Ok((kind, text)),
        None => Err(not_a_line("it has no kind: give trace or link")),
    }
}

/// Reads a sealed file to its end, and gives each line to `take`. A bad line is reported only if the seal is right:
/// otherwise the file is damaged.
pub(super) fn read_all<R: BufRead>(
    lines: &mut Lines<R>,
    mut take: impl FnMut(Entry) -> Result<(), String>,
) -> Result<(), ReadError> {
    let mut bad = None;
    while let Some(entry) = lines.next()? {
        if let Err(problem) = entry.map_err(|error| problem_of(&error)).and_then(&mut take) {
            bad.get_or_insert_with(|| ReadError::line(lines.number, problem));
        }
    }
    bad.map_or(Ok(()), Err)?;
    let Header { traces, links, .. } = lines.header;
    for (what, said, found) in [("traces", traces, lines.traces), ("links", links, lines.links)] {
        if said != found {
            let problem = format_args!("the header says {said} {what}, and there are {found}");
            return Err(ReadError::line(1, problem));
        }
    }
    Ok(())
}
