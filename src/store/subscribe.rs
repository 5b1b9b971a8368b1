//! Following the commits of a store.

use super::TraceStore;
use crate::state::Subscription;

impl TraceStore {
    /// Subscribes to all later commits, in the order of their cuts; each comes with the traces and links that it
    /// wrote. A write made after this call is in the feed once a flush of it returns; an event may arrive slightly
    /// before the [watermark](Self::watermark) moves.
    ///
    /// At most `capacity` changes are queued for the reader, which limits the cost of a slow one: changes beyond that
    /// are dropped, oldest commits first, and [`FeedEvent::Gap`](crate::FeedEvent::Gap) takes their place. Queued
    /// changes hold the traces as they were, so replaced payloads stay in memory until they are read. Neither writers
    /// nor the flusher ever wait for a reader; a waker can't [wait for a flush](crate::ErrorKind::WouldDeadlock).
    ///
    /// To keep a copy of the store: subscribe first, then read the whole store, then follow the feed. The traces read
    /// may be newer than the next commit; the commit after that brings the copy up to date.
    pub fn subscribe(&self, capacity: usize) -> Subscription {
        self.state().subscribe(capacity)
    }
}
