//! What needs a process of its own: one that ends, is stopped or is short of something, and what is set for a whole
//! process, as a subscriber.

mod crash_example;
mod ends;
mod garbage;
mod host_panics;
mod no_thread;
mod stacks;
mod stopped;
mod tracing_events;
mod tracing_layer;
