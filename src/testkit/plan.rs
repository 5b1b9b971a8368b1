//! Plans: which calls suffer which faults.

use super::Faults;
use crate::error::ErrorKind;
use std::time::Duration;

/// A call of a [`Backend`](crate::backend::Backend).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Call {
    /// Opening a store: reads everything stored.
    Load,
    /// Applying one batch.
    Apply,
    /// Reconnecting after an error that requires it.
    Reopen,
    /// Quarantining damaged data.
    Replace,
    /// Maintenance, after each batch and when idle.
    Tidy,
    /// Closing a store.
    Close,
}

impl Call {
    /// All kinds, in order.
    pub const ALL: [Call; 6] =
        [Call::Load, Call::Apply, Call::Reopen, Call::Replace, Call::Tidy, Call::Close];
}

/// The fault that a call suffers, before its work or instead of it.
///
/// If several plans meet in one call, the call hangs first, and then fails with the failure that was planned first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The call fails with this kind. After [`Io`](ErrorKind::Io), data that was applied and not synced is lost in
    /// a power loss even if later syncs succeed, unless it is applied again, as on a real disk.
    Error(ErrorKind),
    /// The call panics.
    Panic,
    /// The call blocks until it is [released](Faults::release), and then goes on.
    Hang,
    /// The call takes this much longer, or until it is [released](Faults::release), and then goes on.
    Slow(Duration),
    /// The first row that a batch writes is refused for its content, and the rest is applied. Calls other than
    /// [`Apply`](Call::Apply) proceed as usual.
    RefuseRow,
    /// All stored data disappears, as when the file is deleted under the store: the call fails with
    /// [`Unreachable`](ErrorKind::Unreachable), and the next reopening finds nothing.
    Vanish,
}

impl From<ErrorKind> for Fault {
    fn from(kind: ErrorKind) -> Self {
        Fault::Error(kind)
    }
}

/// A fault being planned. Created by [`Faults::fail`]. Default: the next call suffers the fault, once.
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

    /// Starts the fault at the n-th of these calls, counted from now. Default: 1, the next call. 0 counts as 1.
    pub fn at(self, n: u64) -> Self {
        Self { rule: Rule { skip: n.saturating_sub(1), ..self.rule }, ..self }
    }

    /// Sets the number of consecutive calls that suffer the fault. Default: 1.
    pub fn times(self, times: u64) -> Self {
        Self { rule: Rule { times, ..self.rule }, ..self }
    }

    /// Makes all of these calls suffer the fault, until the faults are [lifted](Faults::lift).
    pub fn for_good(self) -> Self {
        self.times(u64::MAX)
    }

    /// Makes the call do its work and then fail: only its result is lost. With [`Io`](ErrorKind::Io) it is the sync
    /// that fails: a batch is live but not durable.
    pub fn late(self) -> Self {
        Self { rule: Rule { late: true, ..self.rule }, ..self }
    }

    /// Plans this fault. Accepts a [`Fault`] or an [`ErrorKind`].
    pub fn with(self, fault: impl Into<Fault>) {
        self.faults.plan(Rule { fault: fault.into(), ..self.rule });
    }
}

/// A planned fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    call: Call,
    /// Number of calls to let pass first.
    skip: u64,
    /// Number of calls left that suffer the fault.
    times: u64,
    late: bool,
    fault: Fault,
}

/// The fault of one call.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Due {
    /// Time to wait for a release; `Some(None)` waits without limit.
    pub(super) wait: Option<Option<Duration>>,
    pub(super) refuse: bool,
    pub(super) failure: Option<Failure>,
}

/// How a call fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// `None` panics.
    pub(super) kind: Option<ErrorKind>,
    pub(super) late: bool,
    pub(super) vanish: bool,
}

/// Counts one call in every rule, drops rules that are used up, and returns the fault of the call.
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
        let failure = |kind, vanish: bool| Some(Failure { kind, late: late && !vanish, vanish });
        match rule.fault {
            Fault::Error(kind) => due.failure = due.failure.or(failure(Some(kind), false)),
            Fault::Panic => due.failure = due.failure.or(failure(None, false)),
            Fault::Vanish => due.failure = due.failure.or(failure(Some(ErrorKind::Unreachable), true)),
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
