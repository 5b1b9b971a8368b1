//! What the fault tests are made of; README.md beside this crate says what each of them proves.
//!
//! - [`vfs`]: SQLite's way to the disk, which fails on demand and remembers everything it was asked;
//! - [`disk`]: what a test says of a folder's disk: which call fails, and what was recorded;
//! - [`crash`]: the files that a power loss may leave, made of such a record;
//! - [`fork`]: a child process that goes on where the test is, and says with its exit code what it found;
//! - [`run`]: the run of a store that all of it happens to;
//! - [`scratch`]: folders, and how much is tried;
//! - [`state`]: what a store or a file holds, to be compared.
#![cfg(unix)]
#![deny(unsafe_code)]

pub mod crash;
pub mod disk;
#[allow(unsafe_code)]
pub mod fork;
pub mod run;
pub mod scratch;
pub mod state;
pub mod vfs;

pub use harness::Outcome;
