//! Index terms of a trace: its type, its partition, each of its tags.

use crate::protocol::{HasTerms, Term};
use crate::trace::{Trace, TraceType};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, LazyLock};

/// Seeded anew in each process, so that nobody can choose tags that collide.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Number of lists of a type or partition, which has many traces.
const WIDE: u16 = 256;
/// Number of lists of a tag, which usually has few traces.
const NARROW: u16 = 16;

fn term(field: &str, value: impl Hash, lists: u16) -> Term {
    Term { hash: HASHER.hash_one((field, value)), lists }
}

pub(crate) fn of_type(kind: TraceType) -> Term {
    term("type", kind.as_str(), WIDE)
}

pub(crate) fn of_partition(partition: &str) -> Term {
    term("partition", partition, WIDE)
}

pub(crate) fn of_tag(tag: &str) -> Term {
    term("tag", tag, NARROW)
}

impl HasTerms for Trace {
    fn terms_beyond(&self, other: Option<&Self>, mut each: impl FnMut(Term)) {
        if other.is_some_and(|other| Arc::ptr_eq(&self.content, &other.content)) {
            return;
        }
        // Of two states of one id, type and partition may differ: one was removed, the other inserted.
        if other.is_none_or(|other| other.trace_type() != self.trace_type()) {
            each(of_type(self.trace_type()));
        }
        if other.is_none_or(|other| other.partition() != self.partition()) {
            each(of_partition(self.partition()));
        }
        let new = self.tags().filter(|tag| other.is_none_or(|other| !other.has_tag(tag)));
        new.for_each(|tag| each(of_tag(tag)));
    }
}
