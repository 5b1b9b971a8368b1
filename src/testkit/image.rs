//! The stored data at one moment.

use crate::backend::{Applied, LinkChange, Loaded, RowNumber, Scope, Stored, TraceChange};
use crate::trace::{Link, Trace, TraceId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The stored data at one moment: traces, links and the watermark.
#[derive(Clone, Default, Debug)]
pub struct Image {
    rows: BTreeMap<RowNumber, Arc<Trace>>,
    ids: BTreeMap<TraceId, RowNumber>,
    links: BTreeMap<(TraceId, TraceId), Link>,
    watermark: u64,
    last_row: RowNumber,
    closed: bool,
}

/// The changes of one batch, without the refused ones.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) watermark: u64,
    pub(super) erased: Vec<Scope>,
    pub(super) traces: Vec<TraceChange>,
    pub(super) links: Vec<LinkChange>,
}

impl Image {
    /// The traces, ordered by id.
    pub fn traces(&self) -> impl Iterator<Item = &Arc<Trace>> {
        self.ids.values().filter_map(|row| self.rows.get(row))
    }

    /// The trace with this id, if it has a row.
    pub fn trace(&self, id: TraceId) -> Option<&Arc<Trace>> {
        self.rows.get(self.ids.get(&id)?)
    }

    /// The links, ordered by their ends.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The link between two traces, if it has a row.
    pub fn link(&self, a: TraceId, b: TraceId) -> Option<&Link> {
        self.links.get(&(a.min(b), a.max(b)))
    }

    /// The generation up to which the image is complete.
    pub fn watermark(&self) -> u64 {
        self.watermark
    }

    /// Number of traces.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether there are no traces.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns whether a store closed this data and no store has opened it since: the mark of a clean end.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn set_closed(&mut self, closed: bool) {
        self.closed = closed;
    }

    /// Loads every trace, then every link.
    pub(super) fn load(&self, into: &mut dyn FnMut(Stored)) -> Loaded {
        for (row, trace) in &self.rows {
            into(Stored::Trace { row: *row, trace: Ok(Trace::clone(trace)) });
        }
        self.links.values().for_each(|link| into(Stored::Link(Ok(*link))));
        Loaded::new(self.watermark, self.last_row)
    }

    /// Applies the changes. The error names the first change that violates the store's side of the contract.
    pub(super) fn apply(&mut self, commit: &Commit) -> Result<Applied, String> {
        if commit.watermark < self.watermark {
            return Err(format!("the watermark falls from {} to {}", self.watermark, commit.watermark));
        }
        let mut applied = Applied::default();
        for scope in &commit.erased {
            self.erase(scope, &mut applied);
        }
        for change in &commit.traces {
            self.change(change, &mut applied)?;
        }
        for change in &commit.links {
            self.relink(change, &mut applied)?;
        }
        self.watermark = commit.watermark;
        let ends = self.links.keys().flat_map(|(a, b)| [a, b]).collect::<BTreeSet<_>>();
        match ends.into_iter().find(|id| !self.ids.contains_key(id)) {
            Some(id) => Err(format!("a link is left without its trace {id}")),
            None => Ok(applied),
        }
    }

    fn erase(&mut self, scope: &Scope, applied: &mut Applied) {
        let within: BTreeSet<_> =
            self.traces().filter(|trace| scope.contains(trace)).map(|trace| trace.id()).collect();
        self.links.retain(|(a, b), _| {
            let goes = within.contains(a) || within.contains(b);
            applied.erased_links.extend(goes.then_some(*a));
            !goes
        });
        for id in &within {
            let row = self.ids.remove(id);
            row.map(|row| self.rows.remove(&row));
        }
        applied.erased.push(within.len() as u64);
        applied.erased_ids.extend(within);
    }

    fn change(&mut self, change: &TraceChange, applied: &mut Applied) -> Result<(), String> {
        match change {
            TraceChange::Delete { row, id } => {
                if let Some(held) = self.rows.remove(row) {
                    if held.id() != *id {
                        return Err(format!(
                            "row {row} is deleted as that of {id}, and is that of {}",
                            held.id()
                        ));
                    }
                    self.ids.remove(id);
                }
                applied.deleted += 1;
            }
            TraceChange::Upsert { row, trace } => {
                self.write(*row, trace)?;
                applied.upserted += 1;
                applied.payload_bytes += trace.payload().as_str().len() as u64;
            }
            TraceChange::UpdateNumbers { row, trace } => {
                match self.rows.get(row) {
                    None => return Err(format!("numbers of row {row}, which is not there")),
                    Some(held)
                        if held.payload().as_str() != trace.payload().as_str()
                            || !held.tags().eq(trace.tags()) =>
                    {
                        return Err(format!("numbers of row {row}, which has another content"));
                    }
                    Some(_) => self.write(*row, trace)?,
                }
                applied.updated += 1;
            }
        }
        Ok(())
    }

    fn write(&mut self, row: RowNumber, trace: &Arc<Trace>) -> Result<(), String> {
        let id = trace.id();
        if let Some(other) = self.ids.insert(id, row).filter(|other| *other != row) {
            return Err(format!("trace {id} gets row {row}, and has row {other}"));
        }
        if let Some(held) = self.rows.insert(row, trace.clone()).filter(|held| held.id() != id) {
            return Err(format!("row {row} is written as that of {id}, and is that of {}", held.id()));
        }
        self.last_row = self.last_row.max(row);
        Ok(())
    }

    fn relink(&mut self, change: &LinkChange, applied: &mut Applied) -> Result<(), String> {
        match change {
            LinkChange::Delete(a, b) => {
                self.links.remove(&(*a, *b));
                applied.links_deleted += 1;
            }
            LinkChange::Upsert(link) => {
                let (a, b) = link.ends();
                if let Some(id) = [a, b].into_iter().find(|id| !self.ids.contains_key(id)) {
                    return Err(format!("the link of {a} and {b} is written, and {id} has no row"));
                }
                self.links.insert((a, b), *link);
                applied.links_upserted += 1;
            }
        }
        Ok(())
    }
}
