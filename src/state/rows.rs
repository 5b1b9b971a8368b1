//! What the flusher remembers of the rows of traces and links. It stands beside each in the map, where only whoever
//! does the flusher's work uses it; so Relaxed is enough.

use crate::backend::RowNumber;
use crate::trace::Trace;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// What the flusher remembers of a trace's row. It stands beside the trace in the map, where only whoever does the
/// flusher's work uses it; so Relaxed is enough.
#[derive(Default, Debug)]
pub(crate) struct Row {
    /// 0 until the trace is first captured.
    number: AtomicI64,
    /// Which trace was last captured, 0 if there was none.
    birth: AtomicU64,
    stored: AtomicU64,
}

/// What the backend holds under the number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoredContent {
    /// No row.
    Nothing,
    /// It left the row out when that was last written; it may hold an older one.
    Refused,
    /// A row with the content of this number.
    Content(u64),
}

impl From<StoredContent> for u64 {
    fn from(stored: StoredContent) -> Self {
        match stored {
            StoredContent::Nothing => 0,
            StoredContent::Refused => u64::MAX,
            StoredContent::Content(number) => number,
        }
    }
}

impl Row {
    /// A row that was loaded.
    pub(crate) fn stored(number: RowNumber, trace: &Trace) -> Self {
        Self {
            number: number.into(),
            birth: trace.birth().get().into(),
            stored: trace.content.number.get().into(),
        }
    }

    pub(crate) fn number(&self) -> RowNumber {
        self.number.load(Relaxed)
    }

    pub(crate) fn content(&self) -> StoredContent {
        match self.stored.load(Relaxed) {
            0 => StoredContent::Nothing,
            u64::MAX => StoredContent::Refused,
            number => StoredContent::Content(number),
        }
    }

    pub(crate) fn set_incarnation(&self, number: RowNumber, birth: u64) {
        self.number.store(number, Relaxed);
        self.birth.store(birth, Relaxed);
    }

    pub(crate) fn set_content(&self, content: StoredContent) {
        self.stored.store(content.into(), Relaxed);
    }

    pub(crate) fn known(&self) -> Known {
        Known { number: self.number(), birth: self.birth.load(Relaxed), content: self.content() }
    }
}

/// What is remembered of a row, when it is captured.
pub(crate) struct Known {
    pub(crate) number: RowNumber,
    pub(crate) birth: u64,
    pub(crate) content: StoredContent,
}

/// What the flusher remembers of a link's row. It stands beside the link in the map, where only whoever does the
/// flusher's work uses it; so Relaxed is enough.
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
