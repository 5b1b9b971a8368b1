//! The file's one writing owner.
//!
//! A lock of the file itself, so that every path to it meets the same one: a second name, a mount, another container. It
//! is a range of bytes far behind all that a file can have, whose length says which process has it; the system gives it
//! up when the process ends, however it ends. SQLite's own locks are others.
//!
//! Elsewhere than on 64-bit Linux it is that of a file beside it: see `beside`.

#[cfg(any(test, not(all(target_os = "linux", target_pointer_width = "64"))))]
mod beside;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod itself;

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(super) use beside::{Lock, owner};
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(super) use itself::{Lock, owner};

use crate::backend::{BackendError, ErrorClass};
use std::path::Path;

fn in_use(path: &Path, owner: Option<u32>) -> BackendError {
    let owner = owner.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    let message = format!(
        "{} is in use by {owner}, or by a child that was forked from it: close the store there first",
        path.display()
    );
    BackendError::new(ErrorClass::Owned, message)
}
