//! The file's one writing owner.
//!
//! On 64-bit Linux a lock of the file itself ([`itself`]), so that every path to the file meets the same one: a hard
//! link, a second mount, another container. Elsewhere a lock of a file beside it (`beside`).

#[cfg(any(test, not(all(target_os = "linux", target_pointer_width = "64"))))]
mod beside;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod itself;

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(super) use beside::{Lock, owner};
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(super) use itself::{Lock, owner};

use crate::backend::BackendError;
use crate::error::ErrorKind;
use std::path::Path;

fn in_use(path: &Path, owner: Option<u32>) -> BackendError {
    let owner = owner.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    let message = format!(
        "{} is in use by {owner}, or by a child that was forked from it: close the store there first",
        path.display()
    );
    BackendError::new(ErrorKind::InUse, message)
}
