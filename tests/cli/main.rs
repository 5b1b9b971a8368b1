//! The program `mnemon`, run as a process: what it does and shows. What it prints is compared with
//! `tests/cli/snapshots`, which [insta](https://insta.rs) reviews and updates.
#![cfg(feature = "cli")]

mod backup;
mod compact;
mod edit;
mod export;
mod harbour;
mod host;
mod import;
mod ingest;
mod interrupts;
mod legion;
mod manners;
mod program;
mod reads;
mod snapshot;
mod spaces;
mod top;
