//! The id of a trace.

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The id of a trace: a UUID, unique across stores.
///
/// Ids that the store assigns are version 7, so they sort by time of creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(Uuid);

/// The namespace of ids made from references.
const REFERENCES: Uuid = Uuid::from_u128(0x6d6e_656d_6f6e_5072_8e66_7265_6673_0001);

impl TraceId {
    /// A new id (UUID version 7).
    #[expect(clippy::new_without_default, reason = "each is another one: there is no default id")]
    pub fn new() -> Self {
        Self(crate::clock::new_uuid())
    }

    /// The id derived from a reference of your own (UUID version 5): the same reference gives the same id.
    ///
    /// ```
    /// use mnemon::TraceId;
    /// assert_eq!(TraceId::from_reference("chat/12"), TraceId::from_reference("chat/12"));
    /// assert_ne!(TraceId::from_reference("chat/12"), TraceId::from_reference("chat/13"));
    /// ```
    pub fn from_reference(reference: &str) -> Self {
        Self(Uuid::new_v5(&REFERENCES, reference.as_bytes()))
    }

    /// The sixteen bytes, most significant first.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl From<Uuid> for TraceId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl From<TraceId> for Uuid {
    fn from(id: TraceId) -> Self {
        id.0
    }
}

/// Parses a UUID in any of its usual notations.
impl FromStr for TraceId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let uuid = Uuid::try_parse(text);
        uuid.map(Self).map_err(|error| Error::invalid_text("id", text, "give a UUID").because(error))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
