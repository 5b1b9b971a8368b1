//! What the flusher remembers of the rows of traces and links. It stands beside each in the map, where only whoever
//! does the flusher's work uses it; so Relaxed is enough.

use crate::backend::RowNumber;
use crate::trace::Trace;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// What the flusher remembers of a trace's row.
#[derive(Default, Debug)]
pub(crate) struct Row {
    /// 0 until the trace is first captured.
    number: AtomicI64,
    /// The birth of the trace last captured, 0 if there was none, and in the two lowest bits what is stored. Births are
    /// counted from 1, and need no more than the other 62 bits.
    captured: AtomicU64,
}

/// What the backend holds under the number.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum StoredRow {
    /// No row.
    #[default]
    Nothing,
    /// It left the row out when that was last written; it may hold an older one.
    Refused,
    /// A row with the content of its trace if that is [marked](crate::trace::Content::stored), and else with an older one.
    Marked,
}

const STORED_BITS: u32 = 2;
const STORED: u64 = (1 << STORED_BITS) - 1;

impl Row {
    /// A row that was loaded, with the trace in it.
    pub(crate) fn loaded(number: RowNumber, trace: &mut Trace) -> Self {
        trace.mark_stored();
        let row = Self::default();
        row.set_incarnation(number, trace.birth().get());
        row.set_stored(StoredRow::Marked);
        row
    }

    pub(crate) fn number(&self) -> RowNumber {
        self.number.load(Relaxed)
    }

    pub(crate) fn stored(&self) -> StoredRow {
        match self.captured.load(Relaxed) & STORED {
            0 => StoredRow::Nothing,
            1 => StoredRow::Refused,
            _ => StoredRow::Marked,
        }
    }

    pub(crate) fn set_incarnation(&self, number: RowNumber, birth: u64) {
        self.number.store(number, Relaxed);
        self.captured.store(birth << STORED_BITS | self.stored() as u64, Relaxed);
    }

    pub(crate) fn set_stored(&self, stored: StoredRow) {
        self.captured.store(self.captured.load(Relaxed) & !STORED | stored as u64, Relaxed);
    }

    pub(crate) fn known(&self) -> Known {
        let birth = self.captured.load(Relaxed) >> STORED_BITS;
        Known { number: self.number(), birth, stored: self.stored() }
    }
}

/// What is remembered of a row, when it is captured.
pub(crate) struct Known {
    pub(crate) number: RowNumber,
    pub(crate) birth: u64,
    pub(crate) stored: StoredRow,
}

/// What the flusher remembers of a link's row.
#[derive(Default, Debug)]
pub(crate) struct LinkRow {
    /// Whether the backend holds one.
    stored: AtomicBool,
}

impl LinkRow {
    /// A row that was loaded.
    pub(crate) fn stored() -> Self {
        Self { stored: true.into() }
    }
    pub(crate) fn is_stored(&self) -> bool {
        self.stored.load(Relaxed)
    }

    pub(crate) fn set_stored(&self, stored: bool) {
        self.stored.store(stored, Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Row, StoredRow};
    use crate::trace::NewTrace;

    #[test]
    fn what_is_known_of_a_row_is_what_was_last_set() {
        let row = Row::default();
        for (number, birth, stored) in [
            (1, 7, StoredRow::Marked),
            (i64::MAX, 0, StoredRow::Refused),
            (2, u64::MAX >> 2, StoredRow::Nothing),
            (2, 1, StoredRow::Marked),
        ] {
            let before = row.stored();
            row.set_incarnation(number, birth);
            assert_eq!(row.stored(), before);
            row.set_stored(stored);
            let known = row.known();
            assert_eq!((known.number, known.birth, known.stored), (number, birth, stored));
        }
    }

    /// A backend may keep the traces that it is given, and another store load them.
    #[test]
    fn loaded_trace_is_not_marked_for_others() -> crate::Result<()> {
        let given = NewTrace::semantic(serde_json::json!(1)).into_trace()?;
        let mut loaded = given.clone();
        let row = Row::loaded(1, &mut loaded);
        assert!(loaded.content.stored.is_set() && row.stored() == StoredRow::Marked);
        assert!(!given.content.stored.is_set());
        Ok(())
    }
}
