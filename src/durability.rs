//! How much a commit survives.

/// What committed changes survive. [`flush`](crate::TraceStore::flush) and [`close`](crate::TraceStore::close) always
/// make changes durable; a store is opened with the [durability](crate::StoreBuilder::durability) of the flushes that
/// nobody requested.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// The changes survive the end of the process. A power loss may undo the newest commits, each as a whole.
    ///
    /// A store opened with this syncs in the background only once in thousands of changed rows.
    Committed,
    /// The changes, and all before them, survive a power loss: one sync for each commit, not for each write.
    #[default]
    Durable,
}
