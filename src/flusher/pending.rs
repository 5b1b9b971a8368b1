//! What has been captured and is not committed, and the batch made of it.

use crate::backend::{RowNumber, TraceChange};
use crate::protocol::planted::{Mistake, planted};
use crate::state::{Known, Row, StoredRow, Traces};
use crate::trace::{Trace, TraceId};
use std::cmp::Ordering;
use std::sync::Arc;

/// One captured trace.
pub(crate) struct Pending {
    pub(super) id: TraceId,
    row: RowNumber,
    /// What is remembered of the row, which nobody changes before a commit of this.
    stored: StoredRow,
    /// Its state as of the newest cut that listed it.
    value: Option<Arc<Trace>>,
    /// Whether another trace of its id had the row, or may have had it.
    pub(super) replaces: bool,
    /// Whether its links must be captured with it: the trace that they join is no more, or had no row so far.
    pub(super) recapture_links: bool,
    /// What is remembered of the row may be wrong, as after a commit whose outcome is not known: it is written whole,
    /// or deleted whether there is one or not, until a commit works.
    in_doubt: bool,
    /// What its cell is to remember of it, it does, though it is not settled.
    pub(super) is_remembered: bool,
}

impl Pending {
    /// Captures a trace that was listed in the generations since the last cut; one that has no row yet gets the number
    /// after `last_row`. `None` if it was listed in vain: then its state was captured by an earlier cut.
    pub(super) fn capture(
        traces: &Traces,
        id: TraceId,
        since: u64,
        cut: u64,
        last_row: &mut RowNumber,
    ) -> Option<Self> {
        let (captured, known) = traces.capture(&id, cut, Row::known)?;
        (captured.generation > since).then(|| Self::of(traces, id, captured.value, known, last_row))
    }

    /// Captures a trace whose row may not be what is remembered; `None` if it has no row, and no value.
    pub(super) fn recapture(
        traces: &Traces,
        id: TraceId,
        cut: u64,
        last_row: &mut RowNumber,
    ) -> Option<Self> {
        let (captured, known) = traces.capture(&id, cut, Row::known)?;
        let is_nowhere = captured.value.is_none() && known.number == 0;
        (!is_nowhere)
            .then(|| Self { in_doubt: true, ..Self::of(traces, id, captured.value, known, last_row) })
    }

    fn of(
        traces: &Traces,
        id: TraceId,
        value: Option<Arc<Trace>>,
        known: Known,
        last_row: &mut RowNumber,
    ) -> Self {
        let birth = value.as_ref().map_or(0, |trace| trace.birth().get());
        let (mut row, was) = (known.number, known.birth);
        if row == 0 {
            *last_row += 1;
            row = *last_row;
        }
        if known.number == 0 || birth != was {
            // The key has a cell: that of a key that was written only the flusher takes out, which runs this.
            traces.sink(&id, |known| {
                known.set_incarnation(row, birth);
            });
        }
        let replaces = known.number != 0 && was != birth;
        let relinks = (was != 0 && was != birth) || known.stored == StoredRow::Refused;
        let stored = known.stored;
        Self {
            id,
            row,
            stored,
            value,
            replaces,
            recapture_links: relinks,
            in_doubt: false,
            is_remembered: false,
        }
    }

    /// Captures what was committed and not synced: the trace of that row, or that there is none any more.
    pub(super) fn recapture_row(
        traces: &Traces,
        id: TraceId,
        row: RowNumber,
        cut: u64,
        last_row: &mut RowNumber,
    ) -> Option<Self> {
        if traces.sink(&id, Row::number) == Some(row) {
            Self::recapture(traces, id, cut, last_row)
        } else {
            // A later trace of the id has a row of its own.
            Some(Self {
                id,
                row,
                stored: StoredRow::Nothing,
                value: None,
                replaces: false,
                recapture_links: false,
                in_doubt: true,
                is_remembered: false,
            })
        }
    }

    pub(super) fn row(&self) -> RowNumber {
        self.row
    }

    /// Reads of its value what [`change`](Self::change) looks at: see [`fetching`](crate::protocol::fetching).
    pub(super) fn touch(&self) -> usize {
        self.value.as_ref().map_or(0, |trace| trace.content.stored.is_set().into())
    }

    /// Takes the place of an earlier capture of the same row.
    pub(super) fn succeed(&mut self, earlier: Self) {
        self.in_doubt |= earlier.in_doubt;
        self.replaces |= earlier.replaces;
    }

    /// What is to be sent.
    pub(super) fn change(&self) -> Option<TraceChange> {
        let (row, id) = (self.row, self.id);
        match (self.stored, &self.value) {
            (StoredRow::Nothing, None) if !self.in_doubt => None,
            (_, None) => Some(TraceChange::Delete { row, id }),
            (StoredRow::Marked, Some(trace)) if trace.content.stored.is_set() && !self.in_doubt => {
                Some(TraceChange::UpdateNumbers { row, trace: trace.clone() })
            }
            (_, Some(trace)) => Some(TraceChange::Upsert { row, trace: trace.clone() }),
        }
    }

    /// After a commit whose outcome is not known. (One that wrote numbers alone has left the content as it was.)
    pub(super) fn doubt(&mut self) {
        let sent = self.change();
        let wrote = matches!(sent, Some(TraceChange::Upsert { .. } | TraceChange::Delete { .. }));
        self.in_doubt |= wrote && !planted(Mistake::DoubtIgnored);
    }

    /// After the backend has committed it, or left it out: never before.
    pub(super) fn remember(&self, row: &Row, refused: bool) {
        if row.number() == self.row {
            row.set_stored(match &self.value {
                _ if refused => StoredRow::Refused,
                Some(trace) => {
                    trace.content.stored.set();
                    StoredRow::Marked
                }
                None => StoredRow::Nothing,
            });
            if refused && self.replaces {
                // Of the trace before, of which the row may hold things still, the next capture is to say so again.
                row.set_incarnation(self.row, 0);
            }
        }
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
            Some(pending) => merged.push(pending),
            None => return merged,
        }
    }
}

/// The changes to send: removals, then the rest, each in order. What has no row and no value sends nothing.
pub(super) fn changes<'a, T: 'a, C>(
    pending: impl Iterator<Item = &'a T>,
    change: impl Fn(&T) -> Option<C>,
    is_removal: impl Fn(&C) -> bool,
) -> Vec<C> {
    let mut changes: Vec<_> = pending.filter_map(change).collect();
    changes.sort_by_key(|change| !is_removal(change));
    changes
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Pending, changes, merge};
    use crate::state::StoredRow;
    use crate::trace::TraceId;

    /// Of one row, by two turns, of which the later one may have found less.
    #[test]
    fn what_was_found_of_a_row_holds_for_its_next_capture() {
        let all = [(false, false), (false, true), (true, false), (true, true)];
        let id = TraceId::new();
        let capture = |(in_doubt, replaces)| Pending {
            id,
            row: 1,
            stored: StoredRow::Nothing,
            value: None,
            replaces,
            recapture_links: false,
            in_doubt,
            is_remembered: false,
        };
        for (earlier, later) in all.into_iter().flat_map(|earlier| all.map(|later| (earlier, later))) {
            let mut pending = capture(later);
            pending.succeed(capture(earlier));
            let found = (pending.in_doubt, pending.replaces);
            assert_eq!(found, (earlier.0 || later.0, earlier.1 || later.1), "{earlier:?}, {later:?}");
        }
    }

    #[test]
    fn of_two_captures_of_a_row_the_newer_stays_and_rows_come_in_order() {
        let older = vec![(1, 'a'), (3, 'a'), (5, 'a')];
        let newer = vec![(4, 'b'), (2, 'b'), (3, 'b')];
        let merged = merge(older, newer, |pending| pending.0, |_, _| {});
        assert_eq!(merged, [(1, 'a'), (2, 'b'), (3, 'b'), (4, 'b'), (5, 'a')]);
    }

    #[test]
    fn removals_come_first_and_what_changes_nothing_is_left_out() {
        let sent = changes([3, 4, 5, 6, 7].iter(), |n| (*n != 5).then_some(*n), |n| n % 2 == 0);
        assert_eq!(sent, [4, 6, 3, 7]);
    }
}
