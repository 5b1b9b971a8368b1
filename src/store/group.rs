//! Groups: several changes, of which all take place or none.

use super::TraceStore;
use super::inner::{Inner, already_exists, not_found};
use super::links::ends_of;
use super::write::check_revision;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::sync::pause;
use crate::protocol::{Adjacency, Change, GroupPart, GroupTry, Rejected};
use crate::state::{Dirty, LinkRow, Row};
use crate::trace::{Link, LinkKey, LinkState, NewTrace, Trace, TraceEdit, TraceId};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of attempts at a group that a short one gets, and number that any gets.
const ATTEMPTS: u32 = if cfg!(loom) { 2 } else { 128 };
const LEAST_ATTEMPTS: u32 = if cfg!(loom) { 2 } else { 4 };

/// Time after which a group gets no further attempt than the least, as each of them lists its keys anew.
const PATIENCE: Duration = Duration::from_millis(10);

/// Changes that are to take place together, collected in [`TraceStore::apply`]. Each step applies to what the steps
/// before it have made.
pub struct Group<'a> {
    inner: &'a Inner,
    /// The partition that it stays in.
    within: Option<&'a Arc<str>>,
    steps: Vec<GroupStep<'a>>,
}

type Edit<'a> = Box<dyn FnMut(TraceEdit<'_>) -> TraceEdit<'_> + 'a>;

enum GroupStep<'a> {
    Insert(Trace),
    Update(TraceId, Option<u64>, Edit<'a>),
    Expect(TraceId, u64),
    Remove(TraceId),
    Link(TraceId, TraceId),
}

impl<'a> Group<'a> {
    /// The largest number of steps in a group. A group holds up the cut that it is in, and so a flush, by some
    /// microseconds for each step; no other write waits. Queries meanwhile, and until the views have them, look at each
    /// trace that the group changes.
    pub const MAX_STEPS: usize = 1_000_000;

    /// Inserts a new trace and returns the id that it will have.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) names the invalid field. If the store holds the id,
    /// [`apply`](TraceStore::apply) returns [`AlreadyExists`](ErrorKind::AlreadyExists).
    pub fn insert(&mut self, new: NewTrace) -> Result<TraceId> {
        let new = self.within.into_iter().fold(new, NewTrace::within);
        let trace = self.inner.checked(new)?;
        let id = trace.id();
        self.steps.push(GroupStep::Insert(trace));
        Ok(id)
    }

    /// Changes a trace, as [`TraceStore::update`] does. The closure runs when the group is applied, and again at each
    /// attempt, so it must not have side effects.
    pub fn update(&mut self, id: TraceId, change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_> + 'a) {
        self.steps.push(GroupStep::Update(id, None, Box::new(change)));
    }

    /// Changes a trace, but only if it has the given revision, as [`TraceStore::update_if`] does.
    pub fn update_if(
        &mut self,
        id: TraceId,
        revision: u64,
        change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_> + 'a,
    ) {
        self.steps.push(GroupStep::Update(id, Some(revision), Box::new(change)));
    }

    /// Requires that a trace has the given revision when the group takes place. The trace is not changed; two groups
    /// that require something of one trace get into each other's way as if they changed it.
    pub fn expect(&mut self, id: TraceId, revision: u64) {
        self.steps.push(GroupStep::Expect(id, revision));
    }

    /// Removes a trace with its links.
    pub fn remove(&mut self, id: TraceId) {
        self.steps.push(GroupStep::Remove(id));
    }

    /// Records that two traces were active together, as [`TraceStore::co_activate`] does. Both may be inserted by this
    /// group; if not, it requires that they do not change meanwhile, as [`expect`](Self::expect) does.
    pub fn link(&mut self, a: TraceId, b: TraceId) {
        self.steps.push(GroupStep::Link(a, b));
    }
}

impl fmt::Debug for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}

impl TraceStore {
    /// Applies a group of changes: all take place, or none does. The closure collects the changes in a [`Group`] and
    /// runs once; what it returns is returned.
    ///
    /// All changes belong to one cut: a flush writes all of them or none, and a crash leaves all or none. In memory
    /// they take place at one instant: whoever has seen one of them sees all others from then on. A thread that reads
    /// several traces one after the other, as a query does, may read some before that instant and some after it.
    ///
    /// A group waits for no other write, and no write waits for it. A write of one of its traces goes first: the group
    /// is then tried again from the beginning, at least four times, and for ten milliseconds. So a trace that other
    /// threads write without a pause can keep a group away.
    ///
    /// ```
    /// # use mnemon::{ErrorKind, NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// # let draft = store.insert(NewTrace::semantic(json!("the bar moves")))?;
    /// let seen = store.get(draft).expect("it is there").revision();
    /// let merged = store.apply(|group| {
    ///     let merged = group.insert(NewTrace::semantic(json!("the bar moves north in winter")))?;
    ///     let source = group.insert(NewTrace::episodic(json!("the pilot said so")))?;
    ///     group.link(merged, source);
    ///     group.expect(draft, seen);
    ///     group.remove(draft);
    ///     Ok(merged)
    /// })?;
    /// assert!(store.contains(merged) && !store.contains(draft));
    ///
    /// let again = store.apply(|group| {
    ///     group.update(merged, |trace| trace.tag("checked"));
    ///     group.remove(draft); // is not there any more
    ///     Ok(())
    /// });
    /// assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound);
    /// assert_eq!(store.get(merged).map(|trace| trace.tags().len()), Some(0));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing is changed if it fails. Returns the errors of the closure, and then those of the steps, for the first
    /// one that can't be made: [`NotFound`](ErrorKind::NotFound) if the store does not hold its trace,
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) if it inserts one that the store holds,
    /// [`RevisionConflict`](ErrorKind::RevisionConflict) if a trace has another revision,
    /// [`InvalidInput`](ErrorKind::InvalidInput) if a change is invalid, or if there are more than
    /// [`Group::MAX_STEPS`]; each step is judged by a state that its traces had during the call.
    /// [`Conflict`](ErrorKind::Conflict) names the trace that another thread was at during the last attempt.
    /// [`Closed`](ErrorKind::Closed) and [`Lagging`](ErrorKind::Lagging) under the conditions of
    /// [`insert`](Self::insert).
    ///
    /// # Panics
    ///
    /// A panic of a closure is passed on to the caller, and nothing has changed.
    pub fn apply<'a, R>(&'a self, collect: impl FnOnce(&mut Group<'a>) -> Result<R>) -> Result<R> {
        self.inner().apply_group(None, collect)
    }
}

fn conflict(in_the_way: Option<Dirty>, attempts: u32) -> Error {
    let what = match in_the_way {
        Some(Dirty::Trace(id)) => format!("trace {id}"),
        Some(Dirty::Link(ends)) => {
            let [a, b] = ends.ids();
            format!("the link of traces {a} and {b}")
        }
        None => "a trace of the group".to_owned(),
    };
    Error::new(
        ErrorKind::Conflict,
        format!(
            "{what} was in use by another write at the last of {attempts} attempts: apply the group again"
        ),
    )
}

/// One attempt at a group.
struct Plan<'a> {
    inner: &'a Inner,
    within: Option<&'a Arc<str>>,
    traces: GroupPart<'a, TraceId, Trace, Row, ()>,
    links: GroupPart<'a, LinkKey, LinkState, LinkRow, Adjacency<LinkKey>>,
    linked: Vec<LinkKey>,
}

impl Inner {
    /// Applies a group, to traces of one partition if that is given.
    pub(super) fn apply_group<'a, R>(
        &'a self,
        within: Option<&'a Arc<str>>,
        collect: impl FnOnce(&mut Group<'a>) -> Result<R>,
    ) -> Result<R> {
        let mut group = Group { inner: self, within, steps: Vec::new() };
        let collected = collect(&mut group)?;
        let (found, most) = (group.steps.len(), Group::MAX_STEPS);
        if found > most {
            let advice = format_args!("apply at most {most} at once");
            return Err(Error::invalid("group", format_args!("{found} steps"), advice));
        }
        self.state.check_lag()?;
        let (mut attempt, started) = (0, Instant::now());
        loop {
            let Err(in_the_way) = self.try_group(within, &mut group.steps)? else { return Ok(collected) };
            attempt += 1;
            let is_late = attempt >= LEAST_ATTEMPTS && started.elapsed() > PATIENCE;
            if attempt == ATTEMPTS || is_late && !cfg!(loom) {
                return Err(conflict(in_the_way, attempt));
            }
            pause(attempt);
        }
    }

    /// Tries a group once. The inner error is what another thread wrote meanwhile, if that is known.
    fn try_group(
        &self,
        within: Option<&Arc<str>>,
        steps: &mut [GroupStep<'_>],
    ) -> Result<Result<(), Option<Dirty>>> {
        let (traces, links) = (GroupPart::new(self.traces()), GroupPart::new(self.links()));
        let mut plan = Plan { inner: self, within, traces, links, linked: Vec::new() };
        for step in steps {
            plan.take(step)?;
        }
        plan.drop_links_of_the_removed();
        let Plan { mut traces, mut links, .. } = plan;
        let ended = traces.ended(|old, new| new.is_none_or(|new| !new.birth().is(old.birth())));
        let mut counting = self.counting();
        let gained = counting.admit_all(traces.changes())?;
        match GroupTry::new().with(&mut traces).with(&mut links).run(&self.state.generations) {
            Ok(()) => {
                counting.gained(gained);
                for trace in ended {
                    self.drop_links(&trace);
                }
                Ok(Ok(()))
            }
            Err(Rejected::Sealed) => Err(TraceStore::closed()),
            Err(Rejected::By(in_the_way)) => Ok(Err(in_the_way)),
        }
    }
}

impl Plan<'_> {
    fn take(&mut self, step: &mut GroupStep<'_>) -> Result<()> {
        match step {
            GroupStep::Insert(trace) => {
                let id = trace.id();
                if self.traces.get(&id).is_some() {
                    return Err(already_exists(id));
                }
                self.traces.set(&id, Change::put(trace.clone()));
            }
            GroupStep::Update(id, revision, change) => {
                let old = self.found(*id)?;
                if let Some(revision) = revision {
                    check_revision(&old, *revision)?;
                }
                match self.inner.edited(&old, &mut |trace| Ok(change(trace)))? {
                    Change::Keep => {}
                    change => self.traces.set(id, change),
                }
            }
            GroupStep::Expect(id, revision) => {
                let old = self.found(*id)?;
                check_revision(&old, *revision)?;
            }
            GroupStep::Remove(id) => {
                self.found(*id)?;
                self.traces.set(id, Change::Remove);
            }
            GroupStep::Link(a, b) => self.link(ends_of(*a, *b)?)?,
        }
        Ok(())
    }

    fn found(&mut self, id: TraceId) -> Result<Arc<Trace>> {
        let found = self.traces.get(&id);
        found
            .filter(|trace| self.within.is_none_or(|name| trace.partition() == &**name))
            .ok_or_else(|| not_found(id))
    }

    /// The group takes place only if both traces are still what they are now. So whoever removes one of them later
    /// finds the link, and there is no second look as after a single co-activation.
    fn link(&mut self, ends: LinkKey) -> Result<()> {
        let [a, b] = ends.ids();
        let births = [self.found(a)?.birth(), self.found(b)?.birth()];
        let old = self.links.get(&ends).filter(|tie| tie.joins(births)).map(|tie| tie.link);
        let link = Link::counted(old, ends, self.inner.now());
        self.links.set(&ends, Change::put(LinkState::new(link, births)));
        self.linked.push(ends);
        Ok(())
    }

    /// Of traces that were linked first, and then removed.
    fn drop_links_of_the_removed(&mut self) {
        for ends in std::mem::take(&mut self.linked) {
            let births = ends.ids().map(|id| self.traces.get(&id).map(|trace| trace.birth()));
            let joins = |tie: &LinkState| matches!(births, [Some(a), Some(b)] if tie.joins([a, b]));
            if !self.links.get(&ends).is_some_and(|tie| joins(&tie)) {
                self.links.set(&ends, Change::Remove);
            }
        }
    }
}
