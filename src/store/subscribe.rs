//! Following what is committed.

use super::TraceStore;
use crate::feed::Subscription;

impl TraceStore {
    /// What is committed from now on, commit by commit, in the order of their cuts: each with the traces and links that
    /// it wrote. A flush that returns after this call has its changes in the feed already.
    ///
    /// So that a slow reader costs no more, at most `capacity` changes wait to be read: what is beyond is dropped, the
    /// oldest commits first, and [`FeedEvent::Gap`](crate::FeedEvent::Gap) stands in their place. Writers never wait for
    /// a reader, and neither does the flusher.
    ///
    /// To keep a copy of the store: subscribe, then read it all, then follow.
    pub fn subscribe(&self, capacity: usize) -> Subscription {
        self.shared().subscribe(capacity)
    }
}
