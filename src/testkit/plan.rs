//! Which call gets which fault.

use super::Faults;
use crate::backend::ErrorClass;
use std::time::Duration;

/// A call of a [`Backend`](crate::backend::Backend).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Call {
    /// Opening a store: everything stored is read.
    Load,
    /// One batch.
    Apply,
    /// Connecting anew after a doubtful error.
    Reopen,
    /// Putting aside what is damaged.
    Replace,
    /// Housekeeping, after each batch and when idle.
    Tidy,
    /// The end of a store.
    Close,
}

impl Call {
    /// Each of them.
    pub const ALL: [Call; 6] =
        [Call::Load, Call::Apply, Call::Reopen, Call::Replace, Call::Tidy, Call::Close];
}

/// What a call gets instead of, or before, what it asked for.
///
/// Several plans may meet in one call: it hangs first, and the first failure planned is its answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It fails with this class. After [`Io`](ErrorClass::Io), what was applied and not synced is lost to a power
    /// loss even if later syncs succeed, unless it is applied again: so it is with disks.
    Error(ErrorClass),
    /// It panics.
    Panic,
    /// It blocks until it is [released](Faults::release), and then goes on.
    Hang,
    /// It takes so much longer, or until it is [released](Faults::release), and then goes on.
    Slow(Duration),
    /// The first row that a batch writes is refused for its content, and the rest is applied. Calls other than
    /// [`Apply`](Call::Apply) go on as they would.
    RefuseRow,
    /// All that is stored is gone, as with a file deleted under the store: the call fails with
    /// [`Unreachable`](ErrorClass::Unreachable), and the next reopening finds nothing.
    Vanish,
}

impl From<ErrorClass> for Fault {
    fn from(class: ErrorClass) -> Self {
        Fault::Error(class)
    }
}

/// A fault that is being planned; from [`Faults::fail`]. Without more said, the next call gets it, once.
#[derive(Debug)]
#[must_use = "nothing is planned until `with` says what happens"]
pub struct Plan<'a> {
    faults: &'a Faults,
    rule: Rule,
}

impl<'a> Plan<'a> {
    pub(super) fn new(faults: &'a Faults, call: Call) -> Self {
        Self { faults, rule: Rule { call, skip: 0, times: 1, late: false, fault: Fault::Panic } }
    }

    /// From the n-th of these calls on, counted from now: 1, the next, unless said. 0 is as 1.
    pub fn at(self, n: u64) -> Self {
        Self { rule: Rule { skip: n.saturating_sub(1), ..self.rule }, ..self }
    }

    /// So many of these calls in a row: 1 unless said.
    pub fn times(self, times: u64) -> Self {
        Self { rule: Rule { times, ..self.rule }, ..self }
    }

    /// All of these calls, until the faults are [lifted](Faults::lift).
    pub fn for_good(self) -> Self {
        self.times(u64::MAX)
    }

    /// The call does what it was asked, and fails all the same: the answer is lost. With
    /// [`Io`](ErrorClass::Io) it is the sync that fails: a batch is live, and not durable.
    pub fn late(self) -> Self {
        Self { rule: Rule { late: true, ..self.rule }, ..self }
    }

    /// What the call gets. An [`ErrorClass`] will do.
    pub fn with(self, fault: impl Into<Fault>) {
        self.faults.plan(Rule { fault: fault.into(), ..self.rule });
    }
}

/// A planned fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    call: Call,
    /// So many calls still go by before it.
    skip: u64,
    /// So many still get it.
    times: u64,
    late: bool,
    fault: Fault,
}

/// What one call gets.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Due {
    /// How long it waits to be released; `Some(None)` is without end.
    pub(super) wait: Option<Option<Duration>>,
    pub(super) refuse: bool,
    pub(super) failure: Option<Failure>,
}

/// How it fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// `None` is a panic.
    pub(super) class: Option<ErrorClass>,
    pub(super) late: bool,
    pub(super) vanish: bool,
}

/// Counts one call down in every rule, drops those that are through, and answers what the call gets.
pub(super) fn due(rules: &mut Vec<Rule>, call: Call) -> Due {
    let mut due = Due::default();
    for rule in rules.iter_mut().filter(|rule| rule.call == call && rule.times > 0) {
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        if rule.times != u64::MAX {
            rule.times -= 1;
        }
        let late = rule.late;
        let failure = |class, vanish: bool| Some(Failure { class, late: late && !vanish, vanish });
        match rule.fault {
            Fault::Error(class) => due.failure = due.failure.or(failure(Some(class), false)),
            Fault::Panic => due.failure = due.failure.or(failure(None, false)),
            Fault::Vanish => due.failure = due.failure.or(failure(Some(ErrorClass::Unreachable), true)),
            Fault::Hang => due.wait = Some(None),
            Fault::Slow(time) => due.wait = due.wait.or(Some(Some(time))),
            Fault::RefuseRow => due.refuse = true,
        }
    }
    rules.retain(|rule| rule.times > 0);
    due
}

impl Due {
    pub(super) fn is_nothing(&self) -> bool {
        self.wait.is_none() && !self.refuse && self.failure.is_none()
    }
}
