//! The result of what removes many traces.

/// Result of a [decay cycle](crate::TraceStore::decay), of an enforcement of the
/// [quota](crate::TraceStore::enforce_quota), or of an [erasure](crate::TraceStore::erase_type).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Removed {
    /// Number of traces removed from memory.
    pub traces: usize,
    /// Number of links removed with those traces.
    pub links: usize,
    /// Number of stored trace rows that an erasure has deleted: rows of traces in memory, and unreadable rows. 0 for
    /// decay and the quota, which leave their rows to the next flush.
    pub rows: u64,
}
