//! The views of the traces, and what keeps them up to date: the indexer.

use super::{Dirty, State};
use crate::clock::WallClock;
use crate::error::{Error, ErrorKind};
use crate::guarded;
use crate::protocol::sync::{AtomicBool, Ordering, ShortMutex};
use crate::protocol::{Notify, Unsettled, Views};
use crate::trace::{Trace, TraceId};
use crate::views::TraceViews;
use std::sync::Arc;
use std::time::Duration;

/// How long the indexer lets a list grow on that is long enough to be cut. So a key that threads write again and again
/// is applied once for many writes, and the writers have the processor's caches. Longer would make questions slower
/// beside heavy writes, as they walk what is listed.
const BEFORE_A_CUT: Duration = Duration::from_millis(2);

/// Whoever does the indexer's work takes its steps: a thread of its own, or the flusher if that could not be started.
pub(crate) struct Indexing {
    pub(super) views: Views<TraceViews>,
    pub(super) clock: WallClock,
    pub(super) notify: Arc<Notify>,
    /// Traces that a question has found to be out of place.
    late: ShortMutex<Vec<TraceId>>,
    /// Whether the views have what was loaded: until then a question waits.
    is_built: AtomicBool,
    /// Whether a question has found the orders of time to be of a time that has not come.
    is_ahead: AtomicBool,
    has_thread: AtomicBool,
    is_over: AtomicBool,
    is_abandoned: AtomicBool,
}

impl Indexing {
    pub(super) fn new(views: TraceViews, clock: WallClock, notify: Arc<Notify>) -> Self {
        Self {
            views: Views::new(views),
            clock,
            notify,
            late: ShortMutex::default(),
            is_built: AtomicBool::new(false),
            is_ahead: AtomicBool::new(false),
            has_thread: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
        }
    }

    /// A thread has been started that takes the steps.
    pub(crate) fn leave_to_thread(&self) {
        self.has_thread.store(true, Ordering::Relaxed);
    }

    /// Whether the flusher must take the steps.
    pub(crate) fn is_left_to_the_flusher(&self) -> bool {
        !cfg!(loom) && !self.has_thread.load(Ordering::Relaxed)
    }

    /// Ends the thread once the views have every change.
    pub(crate) fn finish(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.notify.notify();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Nobody can ask any more: ends the thread after what it is doing.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
        self.finish();
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Relaxed)
    }

    /// Leaves none, for whoever frees them.
    #[cfg(not(loom))]
    pub(super) fn take_views(&self) -> TraceViews {
        self.views.reset(|views| {
            let none = views.built(Vec::new(), self.clock.now());
            std::mem::replace(views, none)
        })
    }

    pub(crate) fn notify(&self) -> &Notify {
        &self.notify
    }
}

impl TryFrom<Dirty> for TraceId {
    type Error = ();

    fn try_from(dirty: Dirty) -> Result<Self, ()> {
        match dirty {
            Dirty::Trace(id) => Ok(id),
            Dirty::Link(_) => Err(()),
        }
    }
}

impl State {
    /// Builds the views of what was loaded, by whoever comes first: the indexer, or a question that can't do without.
    fn build_views(&self) {
        let Indexing { views, clock, is_built, .. } = &self.indexing;
        views.reset(|views| {
            if is_built.load(Ordering::Acquire) {
                return;
            }
            let traces = self.traces.get_many(&self.traces.keys()).into_iter().flatten().collect();
            *views = views.built(traces, clock.now());
            // Release, with Acquire in `ask`: who sees it asks views that are built.
            is_built.store(true, Ordering::Release);
        });
    }

    /// Takes one step: applies a cut, corrects what questions found out of place, or cuts. `false` if there is nothing
    /// to do.
    pub(crate) fn index(&self) -> bool {
        let Indexing { views, late, clock, is_built, is_ahead, .. } = &self.indexing;
        if !is_built.load(Ordering::Acquire) {
            self.build_views();
            return true;
        }
        if self.apply_cut() {
            return true;
        }
        let late = late.with(std::mem::take);
        if !late.is_empty() {
            let now = clock.now();
            views.apply_keys(
                &late,
                |ids| self.load_for_views(ids),
                |views, id, trace| views.put(id, trace, now),
            );
            return true;
        }
        let now = clock.now();
        // Relaxed: the views are looked at under their lock.
        if is_ahead.swap(false, Ordering::Relaxed) {
            views.reset(|views| views.set_back(now));
            return true;
        }
        if views.look(|views| views.ends_are_behind(now)) && views.reset(|views| views.end_some(now)) {
            return true;
        }
        #[cfg(all(feature = "recall", not(loom)))]
        if !self.indexing.is_over() && self.read_texts() {
            return true;
        }
        let is_long = self.generations.is_long();
        if is_long {
            if !self.indexing.is_left_to_the_flusher() {
                std::thread::sleep(BEFORE_A_CUT);
            }
            self.generations.cut_for_views();
        }
        is_long
    }

    /// Applies the oldest cut that the views lack; `false` if there is none.
    fn apply_cut(&self) -> bool {
        let now = self.indexing.clock.now();
        let put = |views: &mut TraceViews, id, trace| views.put(id, trace, now);
        self.indexing.views.apply(&self.generations, |ids| self.load_for_views(ids), put)
    }

    /// Has the views show nothing that was removed before the last cut.
    pub(crate) fn forget_removed(&self) {
        if !cfg!(loom) {
            // Views that are about to be built anew still show it.
            self.build_views_once();
            while self.guarded_index(|| self.apply_cut()) == Some(true) {}
        }
    }

    /// Loads traces that are about to be put into the views.
    pub(super) fn load_for_views(&self, ids: &[TraceId]) -> Vec<Option<Arc<Trace>>> {
        let traces = self.traces.get_many(ids);
        self.indexing.views.look(|views| views.fetch(ids));
        #[cfg(all(feature = "recall", not(loom)))]
        self.read_ahead(&traces, 1);
        traces
    }

    /// Runs a step of the indexer's. `None` if it panicked: then the views have been built anew.
    pub(crate) fn guarded_index(&self, step: impl FnOnce() -> bool) -> Option<bool> {
        let panic = match guarded::caught(step) {
            Ok(done) => return Some(done),
            Err(panic) => panic,
        };
        let message = format!("the indexer panicked: {panic}; its views are built anew");
        self.counters.upkeep_panicked("index", &Error::new(ErrorKind::Panicked, message));
        guarded::run(|| self.index_anew());
        None
    }

    /// For views that are half done after a panic: builds them anew. A cut that panics stays the oldest one, to be
    /// applied again: so what puts a trace into the views must not panic because of what the trace says. (A stemmer,
    /// which may, is guarded.)
    pub(crate) fn index_anew(&self) {
        self.indexing.is_built.store(false, Ordering::Relaxed);
        self.build_views();
    }

    /// Whoever comes first builds the views of what was loaded; others wait for that.
    pub(super) fn build_views_once(&self) {
        if !self.indexing.is_built.load(Ordering::Acquire) {
            self.build_views();
        }
    }

    /// Asks the views, together with the traces that they may have wrong. `None` if there are none: under loom, and in
    /// a forked process, where the indexer may have held their lock.
    pub(crate) fn ask<R>(
        &self,
        question: impl FnOnce(&Unsettled<TraceId, Trace>, &TraceViews) -> R,
    ) -> Option<R> {
        if cfg!(loom) || self.is_forked() {
            return None;
        }
        self.build_views_once();
        self.indexing.views.ask(&self.generations, |ids| self.traces.get_many(ids), question)
    }

    /// These traces have faded since they were put into their order.
    pub(crate) fn correct(&self, late: Vec<TraceId>) {
        if !late.is_empty() {
            self.indexing.late.with(|waiting| {
                if waiting.is_empty() {
                    *waiting = late;
                }
            });
            self.indexing.notify.notify();
        }
    }

    /// Time has passed for traces that are in the orders or are not.
    pub(crate) fn correct_ends(&self) {
        self.indexing.notify.notify();
    }

    /// The clock has been set back behind what the strengths were computed for: they are computed again.
    pub(crate) fn correct_all(&self) {
        self.indexing.is_ahead.store(true, Ordering::Relaxed);
        self.indexing.notify.notify();
    }
}
