//! Threads that are spawned and joined, without a scope: ThreadSanitizer understands a join, and not how std's scopes
//! end.

use fault_tests::Outcome;
use std::thread;

/// As [`Outcome`]'s error, and it may leave the thread.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Does each on a thread of its own, and answers what they answer; fails if one of them does.
pub fn all<T: Send + 'static, W>(work: impl IntoIterator<Item = W>) -> Outcome<Vec<T>>
where
    W: FnOnce() -> Result<T, Failure> + Send + 'static,
{
    let threads: Vec<_> = work.into_iter().map(thread::spawn).collect();
    let done: Vec<_> = threads.into_iter().map(thread::JoinHandle::join).collect();
    let done = done.into_iter().map(|done| done.unwrap_or_else(|_| Err("a thread panicked".into())));
    done.collect::<Result<_, Failure>>().map_err(|failure| -> Box<dyn std::error::Error> { failure })
}
