//! What a line of the journal says: of each row what it holds from now on, or null if it is gone. What all lines say
//! together is the same, without a null.

use super::record;
use mnemon::backend::{Applied, BackendError, Batch, LinkChange, Scope, TraceChange};
use mnemon::{ErrorKind, TraceId};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

#[derive(Clone, Default)]
pub struct Rows {
    pub watermark: u64,
    /// By the number of the row.
    pub traces: Map<String, Value>,
    /// By the two ids.
    pub links: Map<String, Value>,
}

impl Rows {
    /// What a batch changes, and how much. A row is written whole also where just its numbers have changed: a
    /// journal can't change what stands in it.
    pub fn of(batch: &Batch<'_>) -> (Self, Applied) {
        let (mut rows, mut applied) =
            (Self { watermark: batch.watermark, ..Self::default() }, Applied::default());
        for change in batch.traces {
            let (row, record) = match change {
                TraceChange::Delete { row, .. } => (row, Value::Null),
                TraceChange::Upsert { row, trace } | TraceChange::UpdateNumbers { row, trace } => {
                    applied.payload_bytes += trace.payload().as_str().len() as u64;
                    (row, record::of_trace(trace))
                }
            };
            *match change {
                TraceChange::Delete { .. } => &mut applied.deleted,
                TraceChange::Upsert { .. } => &mut applied.upserted,
                TraceChange::UpdateNumbers { .. } => &mut applied.updated,
            } += 1;
            rows.traces.insert(row.to_string(), record);
        }
        for change in batch.links {
            let ((a, b), record) = match change {
                LinkChange::Delete(a, b) => ((*a, *b), Value::Null),
                LinkChange::Upsert(link) => (link.ends(), record::of_link(link)),
            };
            *(if record.is_null() { &mut applied.links_deleted } else { &mut applied.links_upserted }) += 1;
            rows.links.insert(format!("{a} {b}"), record);
        }
        (rows, applied)
    }

    /// `None` if the text is no such line.
    pub fn read(line: &[u8]) -> Option<Self> {
        let mut line: Value = serde_json::from_slice(line).ok()?;
        let watermark = line["watermark"].as_u64()?;
        match (line["traces"].take(), line["links"].take()) {
            (Value::Object(traces), Value::Object(links)) => Some(Self { watermark, traces, links }),
            _ => None,
        }
    }

    pub fn line(&self) -> String {
        format!("{}\n", json!({"watermark": self.watermark, "traces": self.traces, "links": self.links}))
    }

    pub fn merge(&mut self, later: Self) {
        self.watermark = later.watermark;
        for (rows, changes) in [(&mut self.traces, later.traces), (&mut self.links, later.links)] {
            for (key, record) in changes {
                match record {
                    Value::Null => rows.remove(&key),
                    record => rows.insert(key, record),
                };
            }
        }
    }

    /// Takes out the rows of a scope, the unreadable ones too, with the links to them, and counts them.
    pub fn erase(&mut self, scope: &Scope, applied: &mut Applied) -> Result<(), BackendError> {
        let (field, name) = match scope {
            Scope::Type(kind) => ("type", kind.as_str()),
            Scope::Partition(partition) => ("partition", &**partition),
            other => {
                return Err(BackendError::new(ErrorKind::Backend, format!("no journal can erase {other:?}")));
            }
        };
        let (traces, links) = (self.traces.len(), self.links.len());
        let mut gone = HashSet::new();
        self.traces.retain(|_, record| {
            let goes = record[field] == name;
            gone.extend(record["id"].as_str().filter(|_| goes).map(str::to_owned));
            !goes
        });
        self.links.retain(|ends, _| {
            let goes = ends.split(' ').any(|id| gone.contains(id));
            let first = ends.split(' ').next().filter(|_| goes);
            applied.erased_links.extend(first.and_then(|id| id.parse::<TraceId>().ok()));
            !goes
        });
        applied.erased.push((traces - self.traces.len()) as u64);
        applied.erased_ids.extend(gone.iter().filter_map(|id| id.parse::<TraceId>().ok()));
        applied.links_deleted += (links - self.links.len()) as u64;
        Ok(())
    }
}
