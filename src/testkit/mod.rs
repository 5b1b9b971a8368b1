//! A backend that fails on request, for the tests of a host: how does it behave when the disk is full, when the power
//! fails, when a flush hangs?
//!
//! [`Faults`] is the test's handle. It creates the [backend](Faults::backend) to open a store with, makes calls
//! [fail](Faults::fail) by kind and number, and shows the stored data: the [live](Faults::live) image, which survives
//! the end of the process, and the [durable](Faults::durable) one, which survives a power loss. Another
//! handle [over](Faults::over) such an image has the data that a crash would leave, and does not disturb the run.
//!
//! The backend lives in memory and is stricter than a disk. A batch that is not well formed, a link without its
//! traces, a watermark that falls, or a call without the reopening that an earlier error requires is recorded as a
//! [violation](Faults::violations), and the call fails. No violation means that the store kept to its side of the
//! contract.
//!
//! ```
//! use mnemon::testkit::{Call, Faults};
//! use mnemon::{ErrorKind, Health, NewTrace, TraceStore};
//! use serde_json::json;
//!
//! /// What the host does, and the test is about: an answer that is not on disk is not given.
//! fn note(store: &TraceStore, text: &str) -> Result<&'static str, mnemon::Error> {
//!     store.insert(NewTrace::semantic(json!(text)))?;
//!     match store.flush() {
//!         Ok(_) => Ok("noted"),
//!         Err(error) if error.kind() == ErrorKind::DiskFull => Ok("noted for now: the disk is full"),
//!         Err(error) => Err(error),
//!     }
//! }
//!
//! let faults = Faults::new();
//! let store = TraceStore::builder().open_with(faults.backend())?;
//! assert_eq!(note(&store, "spring tide at noon")?, "noted");
//!
//! // From the next batch on the disk is full.
//! faults.fail(Call::Apply).for_good().with(ErrorKind::DiskFull);
//! assert_eq!(note(&store, "neap tide a week later")?, "noted for now: the disk is full");
//! assert!(matches!(store.health(), Health::Degraded { kind: ErrorKind::DiskFull, .. }));
//!
//! // Should the power fail now, the first note is there and the second is not.
//! let after = TraceStore::builder().open_with(Faults::over(faults.durable()).backend())?;
//! assert_eq!(after.len(), 1);
//!
//! // Space again: the second follows by itself, or with the next flush.
//! faults.lift();
//! store.flush()?;
//! assert_eq!(faults.durable().len(), 2);
//! assert!(faults.violations().is_empty());
//! # Ok::<(), mnemon::Error>(())
//! ```
//!
//! A call that hangs is blocked until the test [releases](Faults::release) it, so no test needs to sleep:
//!
//! ```
//! use mnemon::testkit::{Call, Fault, Faults};
//! use mnemon::{NewTrace, TraceStore};
//!
//! let faults = Faults::new();
//! let store = TraceStore::builder().open_with(faults.backend())?;
//! faults.fail(Call::Apply).with(Fault::Hang);
//! store.insert(NewTrace::semantic(serde_json::json!("first")))?;
//! let other = store.clone();
//! let flush = std::thread::spawn(move || other.flush().map(drop));
//! faults.wait_until_hanging();
//! // The disk stands still; the store does not.
//! store.insert(NewTrace::semantic(serde_json::json!("second")))?;
//! assert_eq!((store.len(), faults.live().len()), (2, 0));
//! faults.release();
//! assert!(flush.join().is_ok_and(|flushed| flushed.is_ok()));
//! # Ok::<(), mnemon::Error>(())
//! ```
//!
//! A call that hangs blocks a thread: under `--cfg loom`, do not use [`Fault::Hang`] and [`Fault::Slow`].

mod backend;
mod check;
mod faults;
mod image;
mod plan;
mod state;

pub use faults::Faults;
pub use image::Image;
pub use plan::{Call, Fault, Plan};
