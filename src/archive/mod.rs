//! One format for everything that leaves a store as text: an export, a snapshot and a spill are archives. Requires the
//! feature `snapshot`.
//!
//! An archive is UTF-8, one JSON object per line. `kind` says what a line is; the first line is the header:
//!
//! ```text
//! {"kind":"mnemon-snapshot","version":1,"traces":2,"links":1,"written_by":"…","created_at":"…","watermark":7}
//! {"kind":"trace","id":"…","type":"episodic","partition":"…","tags":[…],"payload":…,…}
//! {"kind":"trace",…}
//! {"kind":"link","a":"…","b":"…","count":3,"first_at":"…","last_at":"…"}
//! {"kind":"seal","sha512":"…"}
//! ```
//!
//! - `mnemon-export`: written by [`Writer`] and `mnemon export`. [`Reader`] and `mnemon import` read it, to merge it into
//!   a store. It has no seal.
//! - `mnemon-snapshot`: written by [`save_snapshot`](crate::TraceStore::save_snapshot), and sealed.
//!   [`restore_snapshot`](crate::TraceStore::restore_snapshot) replaces what a store holds with it; as an export it can
//!   be merged too.
//! - `mnemon-spill`: written by [`spill`](crate::TraceStore::spill), and sealed. The next
//!   [`open`](crate::StoreBuilder::open) applies it, once.
//!
//! A trace has every field. Times are RFC 3339, UTC, to the microsecond. `payload` is the very JSON that was stored; if
//! that text has line breaks, or spaces around it, `payload` is the same value in one line and `payload_text` the text
//! as it was stored. In a spill, text that is not JSON, as another program may have left it, has the payload `null`.
//!
//! The header of an export needs only kind, version and the numbers of traces and links. Lines may have any order of
//! keys, and spaces between them; blank lines are skipped. A spill also has `session`, the opening that it belongs to,
//! `durable`, the watermark from which it goes on, `erased`, and lines of the kinds `erased-type`, `erased-partition`,
//! `removed-trace` and `removed-link`.
//!
//! The seal is the last line of a file: the SHA-512 digest of every byte before it, and in a signed snapshot
//! `public_key` and `ed25519ph`, the Ed25519ph signature (RFC 8032) of that digest with the context `mnemon archive`,
//! in hexadecimal.

mod error;
mod folder;
mod format;
mod name;
mod read;
mod record;
mod save;
mod seal;
pub(crate) mod snapshots;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod spill;
mod state;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Line, Reader};
pub use write::Writer;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use spill::Spill;
pub(crate) use state::State;
