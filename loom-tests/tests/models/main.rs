//! The models of the write-behind protocol, on the code that ships, and the mistakes that they must catch.
//! `loom-tests/run` runs them; without `--cfg loom` there is nothing here.
#![cfg(loom)]

mod flusher;
mod garbage;
mod groups;
mod index;
mod links;
mod notify;
mod planted;
mod protocol;
mod records;
mod support;
mod views;
