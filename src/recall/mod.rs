//! Recall: traces by what they say and by their embeddings.
//!
//! - [`text`]: the words of a text, in the form in which they are compared; [`payload`]: the texts of a trace;
//!   [`wanted`]: the words that a question looks for;
//! - [`index`]: which traces have a word, one more of the [views](crate::views); [`texts`]: what it has read;
//! - [`vectors`]: how near embeddings are;
//! - [`score`]: how well a text answers a question, and how much a trace matters beside that.
//!
//! Knows nothing of threads, files or SQL: `src/store/recall.rs` asks it.

mod index;
mod payload;
mod score;
mod text;
mod texts;
mod vectors;
mod wanted;

pub(crate) use index::{Index, Matches, Words};
pub use score::{Fusion, ScoreParts};
pub(crate) use score::{MOST_WEIGHT, Signals, weighed};
pub use text::{Language, TextIndex};
pub(crate) use vectors::Near;
pub(crate) use wanted::Wanted;
