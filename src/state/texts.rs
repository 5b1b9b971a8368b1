//! The index of texts, which is fed together with the other views.

use super::State;
use crate::protocol::Unsettled;
use crate::recall::Words;
use crate::trace::{Trace, TraceId};
use crate::views::{ReadWords, TraceViews};
use std::cell::Cell;
use std::sync::Arc;

/// How many texts are read in one step, for which a cut waits to be applied.
const AT_ONCE: usize = 256;

impl State {
    /// Reads the words of those of these traces that say what the index lacks, while nobody waits for a lock.
    fn read(&self, traces: &[Option<Arc<Trace>>]) -> ReadWords {
        let views = &self.indexing.views;
        let (reading, unread) = views.look(|views| (views.reading(), views.unread(traces)));
        let read = unread.iter().zip(reading.into_iter().cycle());
        read.map(|(trace, reading)| (trace.id(), (trace.content.clone(), Words::of(reading, trace))))
            .collect()
    }

    /// Reads what is about to be put into the views.
    pub(super) fn read_ahead(&self, traces: &[Option<Arc<Trace>>]) {
        let words = self.read(traces);
        if !words.is_empty() {
            self.indexing.views.change(|views| views.read_ahead(words));
        }
    }

    /// Reads some of the traces that were there before the index was; `false` if it has all.
    pub(super) fn read_texts(&self) -> bool {
        let Self { indexing, .. } = self;
        let now = indexing.clock.now();
        indexing.views.apply_some(
            |views| views.take_unread(AT_ONCE),
            |ids| self.load_for_views(ids),
            |views, id, trace| views.put(id, trace, now),
        )
    }

    /// Forgets what the index has, and has it read again.
    pub(crate) fn read_texts_again(&self) {
        self.indexing.views.reset(TraceViews::read_again);
        self.indexing.notify.notify();
    }

    /// Number of traces that the index still has to read, of those that were there before it was.
    pub(crate) fn left_to_read(&self) -> usize {
        self.build_views_once();
        self.indexing.views.look(TraceViews::left_to_read)
    }

    /// Asks the views once the index has all that was there before it was, and reads what is left of that. The question
    /// is given the words that the index lacks, which were read before the views were locked; none if it is
    /// `stale_ok`.
    pub(crate) fn ask_texts<R>(
        &self,
        stale_ok: bool,
        question: impl FnOnce(&Unsettled<TraceId, Trace>, &TraceViews, ReadWords) -> R,
    ) -> Option<R> {
        if self.is_forked() {
            return None;
        }
        self.build_views_once();
        while self.read_texts() {}
        let words = Cell::default();
        let live = |ids: &[TraceId]| {
            let traces = self.traces.get_many(ids);
            words.set(if stale_ok { ReadWords::new() } else { self.read(&traces) });
            traces
        };
        let question = |unsettled: &_, views: &_| question(unsettled, views, words.take());
        self.indexing.views.ask(&self.generations, live, question)
    }
}
