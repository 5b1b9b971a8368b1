//! What each fuzz target does with its bytes, and what must hold then.
//!
//! `check` of a target answers with what did not hold; a panic is a finding too. `fuzz_targets` hands these functions
//! to libFuzzer, and `tests/corpus.rs` reads this module in to give them the kept corpus.

pub mod cells;
pub mod database;
pub mod legion;
pub mod line;
pub mod script;
mod sealed;
pub mod seeds;
pub mod snapshot;
pub mod spill;
mod template;

#[path = "../../../src/bin/mnemon/line_error.rs"]
mod line_error;
#[path = "../../../src/bin/mnemon/ingest/record.rs"]
mod record;
#[path = "../../../src/bin/mnemon/times.rs"]
mod times;

pub use harness::Outcome;

/// `Err` with this text unless it holds.
fn holds(it: bool, otherwise: impl std::fmt::Display) -> Outcome {
    if it { Ok(()) } else { Err(otherwise.to_string().into()) }
}

/// `Err` unless the kind is one of these, and the message says something.
fn says(error: &mnemon::Error, kinds: &[mnemon::ErrorKind]) -> Outcome {
    let clear = kinds.contains(&error.kind()) && !error.to_string().is_empty();
    holds(clear, format_args!("an error of a kind that does not belong here: {error:?}"))
}

/// `Err` unless both hold the same traces and links.
fn same(what: &str, one: &mnemon::TraceStore, other: &mnemon::TraceStore) -> Outcome {
    same_as(what, &Held::of(one), &Held::of(other))
}

fn same_as(what: &str, one: &Held, other: &Held) -> Outcome {
    holds(one == other, format_args!("{what}: {one:?} is not {other:?}"))
}

/// All that a store holds.
#[derive(Clone, PartialEq, Debug)]
struct Held {
    traces: Vec<std::sync::Arc<mnemon::Trace>>,
    /// Each as often as one of its ends is there.
    links: Vec<mnemon::Link>,
}

impl Held {
    fn of(store: &mnemon::TraceStore) -> Self {
        let traces = harness::by_id(store);
        let links = traces.iter().flat_map(|trace| {
            let mut links = store.links(trace.id());
            links.sort_unstable_by_key(mnemon::Link::ends);
            links
        });
        Self { links: links.collect(), traces }
    }
}
