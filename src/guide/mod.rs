//! Pages for those who want to know more than an item's documentation says.

#[doc = include_str!("memory.md")]
pub mod memory {}

#[cfg(all(feature = "recall", not(loom)))]
#[doc = include_str!("recall.md")]
pub mod recall {}

#[doc = include_str!("guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("durability.md")]
pub mod durability {}

#[doc = include_str!("concurrency.md")]
pub mod concurrency {}

#[doc = include_str!("protocol.md")]
pub mod protocol {}

#[doc = include_str!("loom.md")]
pub mod loom {}

#[doc = include_str!("performance.md")]
pub mod performance {}

#[doc = include_str!("scale.md")]
pub mod scale {}

#[doc = include_str!("operating.md")]
pub mod operating {}

#[cfg(all(feature = "postgres", not(loom)))]
#[doc = include_str!("fleet.md")]
pub mod fleet {}

#[doc = include_str!("upgrading.md")]
pub mod upgrading {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}
