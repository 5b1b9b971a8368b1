//! The index of texts, which is fed together with the other views.

use super::State;
use crate::protocol::Unsettled;
use crate::recall::Words;
use crate::trace::{Trace, TraceId};
use crate::views::{ReadWords, TraceViews};
use std::cell::Cell;
use std::sync::Arc;

/// How many texts are read in one step, for which a cut waits to be applied.
const AT_ONCE: usize = 1_024;

/// Most threads that read when the index is built.
const MOST_THREADS: usize = 8;

impl State {
    /// Reads the words of those of these traces that say what the index lacks, while nobody waits for a lock, with so
    /// many threads.
    fn read(&self, traces: &[Option<Arc<Trace>>], threads: usize) -> ReadWords {
        let views = &self.indexing.views;
        let (reading, unread) = views.look(|views| (views.reading(), views.unread(traces)));
        let Some(reading) = reading else { return ReadWords::new() };
        let read = |traces: &[Arc<Trace>]| -> ReadWords {
            let words = |trace: &Arc<Trace>| (trace.content.clone(), Words::of(reading, trace));
            traces.iter().map(|trace| (trace.id(), words(trace))).collect()
        };
        let (own, others) = unread.split_at(unread.len().div_ceil(threads.max(1)));
        if others.is_empty() {
            return read(own);
        }
        std::thread::scope(|scope| {
            let read = &read;
            let others = others.chunks(own.len()).map(|share| {
                let thread = std::thread::Builder::new().name("mnemon-recall".to_owned());
                // Where no thread can be started, this one does its share.
                thread.spawn_scoped(scope, move || read(share)).map_err(|_| share)
            });
            let others: Vec<_> = others.collect();
            let mut words = read(own);
            for other in others {
                words.extend(match other {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    Err(share) => read(share),
                });
            }
            words
        })
    }

    /// Reads what is about to be put into the views.
    pub(super) fn read_ahead(&self, traces: &[Option<Arc<Trace>>], threads: usize) {
        let words = self.read(traces, threads);
        if !words.is_empty() {
            self.indexing.views.change(|views| views.read_ahead(words));
        }
    }

    /// Reads some of the traces that were there before the index was; `false` if it has all.
    pub(super) fn read_texts(&self) -> bool {
        let Self { indexing, .. } = self;
        let threads =
            std::thread::available_parallelism().map_or(1, |threads| threads.get().min(MOST_THREADS));
        indexing.views.apply_some(
            |views| views.take_unread(AT_ONCE),
            |ids| {
                let traces = self.traces.get_many(ids);
                self.read_ahead(&traces, threads);
                traces
            },
            |views: &mut TraceViews, id, trace| views.put_text(id, trace),
        )
    }

    /// Forgets what the index has, and has it read again.
    pub(crate) fn read_texts_again(&self) {
        if self.is_forked() {
            return;
        }
        self.indexing.views.reset(TraceViews::read_again);
        self.indexing.notify.notify();
    }

    /// Number of traces that the index still has to read, of those that were there before it was; none in a forked
    /// process, which has no index.
    pub(crate) fn left_to_read(&self) -> usize {
        if self.is_forked() {
            return 0;
        }
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
        let (mut question, words) = (Some(question), Cell::default());
        let live = |ids: &[TraceId]| {
            let traces = self.traces.get_many(ids);
            words.set(if stale_ok { ReadWords::new() } else { self.read(&traces, 1) });
            traces
        };
        loop {
            self.build_views_once();
            let epoch = self.indexing.views.look(TraceViews::text_epoch);
            while self.read_texts() {}
            let answer = self.indexing.views.ask(&self.generations, live, |unsettled, views| {
                // An index that was emptied since has not all that was there before it was.
                let question = question.take_if(|_| views.text_epoch() == epoch)?;
                Some(question(unsettled, views, words.take()))
            })?;
            if answer.is_some() {
                return answer;
            }
        }
    }
}
