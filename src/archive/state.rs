//! The content of a snapshot, and the rules for it.

use super::error::ReadError;
use super::format::{Header, Kind};
use super::read::{Lines, read_all};
use super::record::Entry;
use super::seal::Key;
use crate::trace::{Link, LinkKey, Trace, TraceId};
use jiff::Timestamp;
use std::collections::HashSet;
use std::io::BufRead;
use std::sync::Arc;

/// The content of a store at one cut.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) watermark: u64,
    /// In microseconds: anything finer is not kept.
    pub(crate) taken_at: Timestamp,
    pub(crate) traces: Vec<Arc<Trace>>,
    /// Links between traces of this state only, each pair once.
    pub(crate) links: Vec<Link>,
}

impl State {
    pub(super) fn header(&self) -> Header {
        let header = Header::new(Kind::Snapshot, self.traces.len() as u64, self.links.len() as u64);
        header.created(self.taken_at, self.watermark)
    }

    /// Reads a snapshot that this key accepts; nothing is returned unless all of it is verified.
    pub(super) fn verified(input: impl BufRead, key: &Key) -> Result<Self, ReadError> {
        let mut lines = Lines::open(input, Some(Kind::Snapshot), key.clone())?;
        let (mut traces, mut links, mut known) = (Vec::new(), Vec::new(), Known::default());
        read_all(&mut lines, |entry| {
            match entry {
                Entry::Trace(trace) => {
                    known.add_trace(trace.id())?;
                    traces.push(Arc::new(trace));
                }
                Entry::Link(link) => {
                    known.add_link(link.ends)?;
                    links.push(link);
                }
                _ => return Err("it is a line of a spill".to_owned()),
            }
            Ok(())
        })?;
        let Lines { header, .. } = lines;
        Ok(Self { watermark: header.watermark()?, taken_at: header.created_at()?, traces, links })
    }
}

/// What the lines so far hold: each trace and each link once, and links between traces that are there.
#[derive(Default)]
pub(super) struct Known {
    traces: HashSet<TraceId>,
    links: HashSet<LinkKey>,
}

impl Known {
    pub(super) fn add_trace(&mut self, id: TraceId) -> Result<(), String> {
        if self.traces.insert(id) { Ok(()) } else { Err(format!("there is another trace {id}")) }
    }

    pub(super) fn add_link(&mut self, ends: LinkKey) -> Result<(), String> {
        let [a, b] = ends.ids();
        if let Some(end) = [a, b].iter().find(|end| !self.traces.contains(end)) {
            return Err(format!("the link is to trace {end}, which is not there"));
        }
        if self.links.insert(ends) { Ok(()) } else { Err(format!("there is another link of {a} and {b}")) }
    }
}
