//! Replacing the content of a store.

use super::TraceStore;
use super::inner::{Inner, already_exists, not_found, reason};
use crate::error::Result;
use crate::protocol::{Change, Rejected};
use crate::trace::{Incarnation, Link, LinkState, NewTrace, Trace, TraceId};
use std::collections::HashMap;
use std::sync::Arc;

impl TraceStore {
    /// Replaces everything in the store, links included, with the given traces, in one cut: a reader of the file sees
    /// either the old content or the new. Returns the number of traces given.
    ///
    /// All traces are checked before anything is changed. Readers of memory see traces come and go one by one; writes
    /// that other threads make during the call may stay. Until the views have the restored traces, which is after the
    /// call, each query looks at every one of them.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// # store.insert(NewTrace::semantic(json!("what was")))?;
    /// let count = store.restore(["ebb", "flood"].map(|tide| NewTrace::semantic(json!(tide))))?;
    /// assert_eq!((count, store.len()), (2, 2));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`insert`](Self::insert), for the first trace that can't be stored or has the id of
    /// another given trace. Nothing is changed.
    pub fn restore(&self, traces: impl IntoIterator<Item = NewTrace>) -> Result<usize> {
        let traces = traces.into_iter().map(|new| self.inner().checked(new).map(Arc::new));
        self.inner().restore(traces.collect::<Result<_>>()?, &[])
    }
}

impl Inner {
    /// Replaces everything in the store. The ends of every link must be among the traces.
    pub(super) fn restore(&self, traces: Vec<Arc<Trace>>, links: &[Link]) -> Result<usize> {
        self.state.check_not_forked()?;
        let mut births = HashMap::with_capacity(traces.len());
        for trace in &traces {
            if births.insert(trace.id(), trace.birth()).is_some() {
                return Err(already_exists(trace.id()));
            }
        }
        // All changes go into one cut: no cut is made before this function returns.
        let _block = self.state.generations.block_cuts();
        self.check_writable()?;
        let mut counting = self.counting();
        counting.replace_all(&traces)?;
        for id in self.traces().keys() {
            if !births.contains_key(&id) {
                self.update(id, |_| Ok(Change::Remove))?;
            }
        }
        traces.iter().try_for_each(|trace| self.replace(trace, &mut counting))?;
        let birth = |id: TraceId| births.get(&id).copied();
        for link in links {
            let [a, b] = link.ends.ids();
            let (Some(a), Some(b)) = (birth(a), birth(b)) else { continue };
            self.put_link(*link, [a, b])?;
        }
        Ok(traces.len())
    }

    /// Stores a link, replacing any other one between its two traces, unless another thread has removed or replaced
    /// one of the traces.
    pub(super) fn put_link(&self, link: Link, births: [Incarnation; 2]) -> Result<()> {
        let tie = LinkState::new(link, births);
        let put = self.links().upsert(&self.state.generations, &link.ends, |_| {
            if tie.joins(self.births(link.ends, None)?) {
                Ok(Change::put(tie.clone()))
            } else {
                Err(not_found(link.ends.ids()[0]))
            }
        });
        match put {
            Ok(_) => {
                self.look_again(link.ends, births);
                Ok(())
            }
            Err(Rejected::By(_)) => Ok(()),
            Err(sealed) => Err(reason(sealed)),
        }
    }
}
