#![cfg_attr(feature = "sqlite", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "sqlite"),
    doc = "Memory traces for every thread of a host; see the README of the repository."
)]
//!
//! # Where to look
//!
//! - [`TraceStore`]: the store. [`StoreBuilder`] opens one with settings; [`NewTrace`] is the input, [`Trace`] the
//!   result, and [`TraceEdit`] a change; a [`Group`] is several changes, all or none. [`Query`] finds traces, [`Link`]
//!   associates them, and [`Partition`] is a handle to a part of the store.
#![cfg_attr(
    all(feature = "recall", not(loom)),
    doc = "- [`TraceStore::recall`]: traces by what they say and by their embeddings; [`TextIndex`]; [`guide::recall`]."
)]
#![cfg_attr(
    all(feature = "postgres", not(loom)),
    doc = "- [`TraceStore::connect`]: a store in a PostgreSQL database; [`postgres`]; [`guide::fleet`]."
)]
//! - [`DecayCurve`]: how traces fade; [`Ranked`]: how they are ranked; [`guide::memory`] has the numbers.
//! - [`FlushReport`], [`Health`], [`Stats`]: work and state of the flusher; [`Subscription`]: each commit as it is
//!   made.
//! - [`Error`]: the error type of the crate; match on its [`ErrorKind`].
//! - [`backend`]: the trait for an engine of your own. [`ManualClock`]: a clock for tests.
//! - With SQLite `backup`, `verify` and `inspect`; `StatusFile` for `mnemon top`; with the features above `Snapshots`,
//!   `ErrorMemories`, `TraceStore::publish_metrics`, `legion` and `testkit`.
//! - [`guide`]: the [guarantees](guide::guarantees), [durability](guide::durability), [threads](guide::concurrency)
//!   and their rules, [memories](guide::memory) and their behaviour, [performance](guide::performance), what a store
//!   costs as it [grows](guide::scale), [loom](guide::loom) in your own tests, [operating](guide::operating) a host,
//!   [upgrading](guide::upgrading), how the [protocol](guide::protocol) works, and a [glossary](guide::glossary).
#![deny(missing_docs, unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(feature = "snapshot", not(loom)))]
pub mod archive;
pub mod backend;
mod clock;
mod durability;
mod error;
mod flusher;
mod guarded;
pub mod guide;
#[cfg(all(feature = "legion", not(loom)))]
pub mod legion;
mod memory;
mod observe;
#[cfg(all(feature = "postgres", not(loom)))]
pub mod postgres;
#[cfg(all(any(feature = "snapshot", feature = "sqlite"), not(loom)))]
mod progress;
mod protocol;
#[cfg(all(feature = "recall", not(loom)))]
mod recall;
#[cfg(feature = "serde")]
mod serialize;
mod state;
mod store;
#[cfg(feature = "testkit")]
pub mod testkit;
mod trace;
mod views;

#[cfg(loom)]
#[doc(hidden)]
pub mod model;

#[doc(no_inline)]
pub use {jiff, uuid};

#[cfg(all(feature = "snapshot", not(loom)))]
pub use archive::snapshots::{ArchiveInfo, Snapshots};
#[cfg(all(feature = "sqlite", not(loom)))]
pub use backend::sqlite::{FileReport, Finding, VerifyReport, backup, inspect, verify};
pub use clock::ManualClock;
pub use durability::Durability;
pub use error::{Error, ErrorKind, Result};
pub use memory::{DecayCurve, Order, Ranked};
#[cfg(not(loom))]
pub use observe::StatusFile;
#[cfg(all(feature = "tracing-layer", not(loom)))]
pub use observe::{ErrorCounts, ErrorMemories};
#[cfg(all(any(feature = "snapshot", feature = "sqlite"), not(loom)))]
pub use progress::Progress;
#[cfg(all(feature = "recall", not(loom)))]
pub use recall::{Fusion, Language, ScoreParts, TextIndex};
pub use state::{Commit, CompactReport, FeedEvent, FlushReport, Health, Quarantined, Subscription};
pub use store::{
    CloseError, Cursor, Eviction, Group, LagPolicy, Mark, Page, Partition, Query, Quota, Removed, Stats,
    Step, StoreBuilder, TraceStore, Upkeep, Walk, Watermark, WeakStore,
};
#[cfg(all(feature = "recall", not(loom)))]
pub use store::{Recall, Recalled};
pub use trace::{Link, NewTrace, Origin, Payload, Tier, Trace, TraceEdit, TraceId, TraceType};
