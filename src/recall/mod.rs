//! Recall: traces by what they say and by their embeddings.
//!
//! - [`text`]: the words of a text, in the form in which they are compared; [`payload`]: the texts of a trace;
//! - [`index`]: which traces have a word, one more of the [views](crate::views); [`texts`]: what it has read;
//! - [`score`]: how well a text answers a question, and how much a trace matters beside that.

mod index;
mod payload;
mod score;
mod text;
mod texts;

pub use text::{Language, TextIndex};
