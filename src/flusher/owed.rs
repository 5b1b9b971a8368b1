//! What has been captured and is not committed, and the batch made of it.

use crate::backend::{RowNumber, TraceChange};
use crate::core::Entry;
use crate::trace::{Content, Trace, TraceId};
use std::cmp::Ordering;
use std::sync::Arc;

pub(crate) type TraceEntry = Entry<TraceId, Trace, Row>;

/// What the flusher remembers of an entry's row.
#[derive(Default, Debug)]
pub(crate) struct Row {
    /// 0 until the entry is first captured.
    number: RowNumber,
    held: Held,
}

/// What the backend holds under the number.
#[derive(Default, Debug)]
enum Held {
    /// No row.
    #[default]
    Nothing,
    /// Perhaps a row: a write of it was begun, and how that ended is not known.
    Unsure,
    /// A row with this very content.
    Content(Arc<Content>),
}

impl Row {
    /// A row that was loaded.
    pub(crate) fn stored(number: RowNumber, trace: &Trace) -> Self {
        Self { number, held: Held::Content(trace.content.clone()) }
    }

    fn change(&self, id: TraceId, value: Option<&Arc<Trace>>) -> Option<TraceChange> {
        let row = self.number;
        match (&self.held, value) {
            (Held::Nothing, None) => None,
            (_, None) => Some(TraceChange::Delete { row, id }),
            (Held::Content(content), Some(trace)) if Arc::ptr_eq(content, &trace.content) => {
                Some(TraceChange::UpdateNumbers { row, trace: trace.clone() })
            }
            (_, Some(trace)) => Some(TraceChange::Upsert { row, trace: trace.clone() }),
        }
    }
}

/// One captured entry.
pub(crate) struct Owed {
    pub(super) entry: Arc<TraceEntry>,
    row: RowNumber,
    /// Its state as of the newest cut that listed it.
    value: Option<Arc<Trace>>,
}

impl Owed {
    /// Captures an entry; one that has no row yet gets the number after `last_row`.
    pub(super) fn capture(entry: Arc<TraceEntry>, cut: u64, last_row: &mut RowNumber) -> Self {
        let value = entry.capture(cut);
        let row = entry.sink(|row| {
            if row.number == 0 {
                *last_row += 1;
                row.number = *last_row;
            }
            row.number
        });
        Self { entry, row, value }
    }

    /// The same, for an entry whose row may not be what was remembered.
    pub(super) fn recapture(entry: Arc<TraceEntry>, cut: u64, last_row: &mut RowNumber) -> Self {
        entry.sink(|row| row.held = Held::Unsure);
        Self::capture(entry, cut, last_row)
    }

    pub(super) fn row(&self) -> RowNumber {
        self.row
    }

    /// Before the backend is asked: from now on, until it answers, the row may be either.
    fn begin(&self) -> Option<TraceChange> {
        self.entry.sink(|row| {
            let change = row.change(*self.entry.key(), self.value.as_ref());
            if let Some(TraceChange::Upsert { .. }) = change {
                row.held = Held::Unsure;
            }
            change
        })
    }

    /// The backend has committed it, or left it out.
    pub(super) fn end(&self, refused: bool) {
        self.entry.sink(|row| {
            row.held = match &self.value {
                _ if refused => Held::Unsure,
                Some(trace) => Held::Content(trace.content.clone()),
                None => Held::Nothing,
            };
        });
    }
}

/// Two lists in the order of rows as one; of the same row the newer capture stays.
pub(super) fn merge(older: Vec<Owed>, mut newer: Vec<Owed>) -> Vec<Owed> {
    newer.sort_unstable_by_key(Owed::row);
    if older.is_empty() {
        return newer;
    }
    let mut merged = Vec::with_capacity(older.len() + newer.len());
    let (mut older, mut newer) = (older.into_iter().peekable(), newer.into_iter().peekable());
    loop {
        let order = match (older.peek(), newer.peek()) {
            (Some(old), Some(new)) => old.row.cmp(&new.row),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        if order == Ordering::Equal {
            older.next();
        }
        match if order == Ordering::Less { older.next() } else { newer.next() } {
            Some(owed) => merged.push(owed),
            None => return merged,
        }
    }
}

/// The changes to send: removals, then the rest, each in the order of rows. An entry that has no row and
/// no value sends nothing.
pub(super) fn changes(owed: &[Owed]) -> Vec<TraceChange> {
    let begun: Vec<_> = owed.iter().filter_map(Owed::begin).collect();
    let (mut changes, rest): (Vec<_>, Vec<_>) =
        begun.into_iter().partition(|change| matches!(change, TraceChange::Delete { .. }));
    changes.extend(rest);
    changes
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Owed, changes, merge};
    use crate::backend::TraceChange;
    use crate::flusher::{FlushOptions, Shared};
    use crate::trace::NewTrace;
    use std::sync::Arc;
    use std::time::Duration;

    fn shared() -> (Shared, crate::core::Cutter<Arc<super::TraceEntry>>) {
        let options = FlushOptions {
            interval: Duration::MAX,
            threshold: usize::MAX,
            background: crate::backend::Reach::Durable,
            lag_bound: Duration::MAX,
            refuse_when_lagging: false,
        };
        Shared::new(crate::core::Map::new(), 0, options)
    }

    #[test]
    fn of_two_captures_of_a_row_the_newer_is_sent_and_rows_come_in_order() -> crate::Result<()> {
        use crate::core::{Change, Opening};
        let (shared, mut cutter) = shared();
        let traces: Vec<_> = (0..4)
            .map(|n| NewTrace::semantic(serde_json::json!(n)).into_trace().map(Arc::new))
            .collect::<crate::Result<_>>()?;
        let put = |n: usize| {
            let done = shared
                .traces
                .upsert(&shared.clock, &traces[n].id(), |_| Ok::<_, ()>(Change::Put(traces[n].clone())));
            assert!(done.is_ok());
        };
        let mut last_row = 0;
        let mut owed = Vec::new();
        for writes in [[2, 0, 1], [3, 1, 2]] {
            writes.into_iter().for_each(&put);
            let cut = cutter.cut(Opening::Open);
            let captured =
                cut.entries.into_iter().map(|entry| Owed::capture(entry, cut.number, &mut last_row));
            owed = merge(owed, captured.collect());
        }
        let rows: Vec<_> = changes(&owed)
            .into_iter()
            .map(|change| match change {
                TraceChange::Upsert { row, .. } => row,
                other => unreachable!("{other:?}"),
            })
            .collect();
        assert_eq!(rows, [1, 2, 3, 4], "each row once, in order");
        Ok(())
    }
}
