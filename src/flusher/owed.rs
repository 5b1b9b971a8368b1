//! What has been captured and is not committed, and the batch made of it.

use crate::backend::{RowNumber, TraceChange};
use crate::core::Entry;
use crate::trace::{Birth, Content, Trace, TraceId};
use std::cmp::Ordering;
use std::sync::Arc;

pub(crate) type TraceEntry = Entry<TraceId, Trace, Row>;

/// What the flusher remembers of an entry's row.
#[derive(Default, Debug)]
pub(crate) struct Row {
    /// 0 until the entry is first captured.
    number: RowNumber,
    held: Held,
    /// Which trace was last captured, if there was one.
    birth: Option<Birth>,
    /// The backend left it out when it was last written.
    refused: bool,
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
        let held = Held::Content(trace.content.clone());
        Self { number, held, birth: Some(trace.birth()), refused: false }
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
    /// Whether its links must be captured with it: the trace that they join is no more, or had no row so far.
    pub(super) relinks: bool,
}

impl Owed {
    /// Captures an entry; one that has no row yet gets the number after `last_row`.
    pub(super) fn capture(entry: Arc<TraceEntry>, cut: u64, last_row: &mut RowNumber) -> Self {
        let value = entry.capture(cut);
        let birth = value.as_ref().map(|trace| trace.birth());
        let (row, relinks) = entry.sink(|row| {
            if row.number == 0 {
                *last_row += 1;
                row.number = *last_row;
            }
            let ended = row.birth.is_some_and(|was| birth.is_none_or(|is| !is.is(was)));
            row.birth = birth;
            (row.number, ended || row.refused)
        });
        Self { entry, row, value, relinks }
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
    pub(super) fn begin(&self) -> Option<TraceChange> {
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
            row.refused = refused;
            row.held = match &self.value {
                _ if refused => Held::Unsure,
                Some(trace) => Held::Content(trace.content.clone()),
                None => Held::Nothing,
            };
        });
    }
}

/// Two lists in the order of their keys as one, the newer still unsorted; of the same key the newer capture stays,
/// and is told of the older.
pub(super) fn merge<T, K: Ord>(
    older: Vec<T>,
    mut newer: Vec<T>,
    key: impl Fn(&T) -> K,
    succeed: impl Fn(&mut T, T),
) -> Vec<T> {
    newer.sort_unstable_by_key(&key);
    if older.is_empty() {
        return newer;
    }
    let mut merged = Vec::with_capacity(older.len() + newer.len());
    let (mut older, mut newer) = (older.into_iter().peekable(), newer.into_iter().peekable());
    loop {
        let order = match (older.peek(), newer.peek()) {
            (Some(old), Some(new)) => key(old).cmp(&key(new)),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        if order == Ordering::Equal
            && let (Some(old), Some(new)) = (older.next(), newer.peek_mut())
        {
            succeed(new, old);
        }
        match if order == Ordering::Less { older.next() } else { newer.next() } {
            Some(owed) => merged.push(owed),
            None => return merged,
        }
    }
}

/// The changes to send: removals, then the rest, each in order. What has no row and no value sends nothing.
pub(super) fn changes<T, C>(
    owed: &[T],
    begin: impl Fn(&T) -> Option<C>,
    is_removal: impl Fn(&C) -> bool,
) -> Vec<C> {
    let (mut changes, rest): (Vec<_>, Vec<_>) = owed.iter().filter_map(begin).partition(is_removal);
    changes.extend(rest);
    changes
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{changes, merge};

    #[test]
    fn of_two_captures_of_a_row_the_newer_stays_and_rows_come_in_order() {
        let older = vec![(1, 'a'), (3, 'a'), (5, 'a')];
        let newer = vec![(4, 'b'), (2, 'b'), (3, 'b')];
        let merged = merge(older, newer, |owed| owed.0, |_, _| {});
        assert_eq!(merged, [(1, 'a'), (2, 'b'), (3, 'b'), (4, 'b'), (5, 'a')]);
    }

    #[test]
    fn removals_come_first_and_what_changes_nothing_is_left_out() {
        let sent = changes(&[3, 4, 5, 6, 7], |n| (*n != 5).then_some(*n), |n| n % 2 == 0);
        assert_eq!(sent, [4, 6, 3, 7]);
    }
}
