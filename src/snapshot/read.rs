//! Reading a file, or refusing it.
//!
//! Twice over the same open file: once for the digest and the signature, so that damage is called damage and
//! nothing unvouched is parsed but the header; once for the lines, which are hashed again, so that
//! a file that changes in between is not believed. Memory is bounded by what the file really holds, and
//! one line of it more: no count is trusted.

use super::format::{Header, Known, Line, MAX_LINE, not_a_line};
use super::refusal::Refusal;
use super::seal::{self, Key};
use super::{SnapshotHeader, SnapshotInfo, State};
use crate::error::Result;
use crate::trace::Payload;
use jiff::Timestamp;
use sha2::{Digest, Sha512};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BUFFER: usize = 1 << 16;

/// The time in its name stands in for that of a header that can't be read.
pub(super) fn info(path: PathBuf, time: Timestamp) -> SnapshotInfo {
    let header = open(&path).and_then(Header::read).map_err(|refusal| refusal.of(&path));
    let taken_at = header.as_ref().map_or(time, |header| header.taken_at);
    SnapshotInfo { header: header.as_ref().map(SnapshotHeader::from).map_err(Clone::clone), path, taken_at }
}

pub(super) fn read(path: &Path, key: &Key) -> Result<State> {
    open(path).and_then(|file| vouched(file, key)).map_err(|refusal| refusal.of(path))
}

pub(super) fn vouched(mut file: impl Read + Seek, key: &Key) -> Result<State, Refusal> {
    Header::read(&mut file)?;
    let (sealed, seal) = parts(&mut file)?;
    file.rewind()?;
    let hashed = hash((&mut file).take(sealed))?;
    seal::check(&hashed, &seal, key)?;
    file.rewind()?;
    let mut lines = Lines::of(file.take(sealed));
    let state = state(&mut lines)?;
    if seal::digest(&lines.hashed) == seal::digest(&hashed) {
        Ok(state)
    } else {
        Err(Refusal::damaged("it changed while it was read"))
    }
}

/// A device or a pipe might never end.
fn open(path: &Path) -> Result<File, Refusal> {
    if path.metadata()?.is_file() { Ok(File::open(path)?) } else { Err(Refusal::Foreign("is no file")) }
}

/// How many bytes come before the last line, and that line with its end.
fn parts(file: &mut (impl Read + Seek)) -> Result<(u64, Vec<u8>), Refusal> {
    let bytes = file.seek(SeekFrom::End(0))?;
    let end = bytes.min(seal::MAX_BYTES as u64 + 1);
    file.seek(SeekFrom::Start(bytes - end))?;
    let mut tail = Vec::new();
    file.take(end).read_to_end(&mut tail)?;
    let before_last = tail.split_last().and_then(|(_, rest)| rest.iter().rposition(|&byte| byte == b'\n'));
    match before_last {
        Some(at) => {
            let seal = tail.split_off(at + 1);
            Ok((bytes - seal.len() as u64, seal))
        }
        None => Err(Refusal::damaged("its last line is no digest: it was cut short")),
    }
}

fn hash(mut sealed: impl Read) -> io::Result<Sha512> {
    let mut hashed = Sha512::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match sealed.read(&mut buffer) {
            Ok(0) => return Ok(hashed),
            Ok(bytes) => hashed.update(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn state(lines: &mut Lines<impl Read>) -> Result<State, Refusal> {
    let header = Header::parse(lines.next()?.unwrap_or_default())?;
    let mut state = State {
        watermark: header.watermark,
        taken_at: header.taken_at,
        traces: Vec::new(),
        links: Vec::new(),
    };
    let mut known = Known::default();
    let mut partition: Arc<str> = Arc::from("default");
    while let Some(line) = lines.next()? {
        add(line, &mut state, &mut known, &mut partition)
            .map_err(|problem| Refusal::line(lines.number, problem))?;
    }
    let counts = [("traces", header.traces, state.traces.len()), ("links", header.links, state.links.len())];
    for (what, said, found) in counts {
        if said != found as u64 {
            return Err(Refusal::line(
                1,
                format_args!("the header says {said} {what}, and there are {found}"),
            ));
        }
    }
    Ok(state)
}

fn add(line: &[u8], state: &mut State, known: &mut Known, partition: &mut Arc<str>) -> Result<(), String> {
    match serde_json::from_slice(line).map_err(not_a_line)? {
        Line::Trace(line) => {
            let trace = line
                .into_trace(partition, |text| Payload::from_json(text))
                .map_err(|error| format!("{error:?}"))?;
            known.add_trace(trace.id())?;
            state.traces.push(Arc::new(trace));
        }
        Line::Link(line) => {
            let link = line.into_link().map_err(|error| format!("{error:?}"))?;
            known.add_link(link.ends)?;
            state.links.push(link);
        }
    }
    Ok(())
}

/// The lines, hashed as they are read.
struct Lines<R> {
    input: BufReader<R>,
    hashed: Sha512,
    line: Vec<u8>,
    number: u64,
}

impl<R: Read> Lines<R> {
    fn of(input: R) -> Self {
        let input = BufReader::with_capacity(BUFFER, input);
        Self { input, hashed: Sha512::new(), line: Vec::new(), number: 0 }
    }

    /// Without its end.
    fn next(&mut self) -> Result<Option<&[u8]>, Refusal> {
        self.line.clear();
        self.number += 1;
        (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.line)?;
        self.hashed.update(&self.line);
        match self.line.split_last() {
            None => Ok(None),
            Some((b'\n', line)) => Ok(Some(line)),
            Some(_) => Err(Refusal::line(self.number, format_args!("it is longer than {MAX_LINE} bytes"))),
        }
    }
}
