//! Following what is committed.

use super::TraceStore;
use crate::feed::Subscription;

impl TraceStore {
    /// What is committed from now on, commit by commit, in the order of their cuts: each with the traces and links that
    /// it wrote. What is written after this call is in the feed when a flush of it returns; an event may come a moment
    /// before the [watermark](Self::watermark) moves.
    ///
    /// So that a slow reader costs no more, at most `capacity` changes wait to be read: what is beyond is dropped, the
    /// oldest commits first, and [`FeedEvent::Gap`](crate::FeedEvent::Gap) stands in their place. They hold the traces as
    /// they were, so payloads that have been replaced live on until they are read. Writers never wait for a reader, and
    /// neither does the flusher; a waker can't [wait for a flush](crate::ErrorKind::WouldDeadlock).
    ///
    /// To keep a copy of the store: subscribe, then read it all, then follow. What was read may be newer than the next
    /// commit; the one after that sets it right.
    pub fn subscribe(&self, capacity: usize) -> Subscription {
        self.shared().subscribe(capacity)
    }
}
