//! A VFS of SQLite's that stands before the system's own and is the process's default, so that a store opens its
//! files through it and knows nothing of it.
//!
//! Files in the folder of a [`Disk`](crate::disk::Disk) are watched: each call asks the disk first, which counts
//! it, records it and says whether it fails, and how. All others are passed on.

#[allow(unsafe_code)]
mod ffi;
mod watched;

pub use ffi::install;
