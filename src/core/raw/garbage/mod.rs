//! Records that have left their cells, or been taken out as images, until nobody can see them any more.
//!
//! They belong to the map that they are from, and not to the threads that replaced them, which may never come back:
//! a thread leaves at most [`LIMIT`](real::Garbage) bytes of them to be looked after by the flusher, at its next cut,
//! and nothing of them outlives the map.

#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
mod real;

#[cfg(loom)]
pub(super) use modelled::Garbage;
#[cfg(not(loom))]
pub(super) use real::Garbage;
