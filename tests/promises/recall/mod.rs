//! Recall: traces are found by what they say.
#![cfg(feature = "recall")]

mod model;
mod parts;
mod quality;
mod racing;
