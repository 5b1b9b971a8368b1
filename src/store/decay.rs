//! The decay cycle: updates the stored strengths, for readers of the file, and removes traces that have faded away.

use super::inner::Inner;
use super::{Removed, TraceStore, events};
use crate::error::Result;
use crate::memory::constants::PRUNE;
use crate::protocol::Change;
use crate::trace::{Dynamics, Micros, Trace, TraceType};
use std::sync::atomic::Ordering;

impl TraceStore {
    /// Runs a decay cycle: stores the current strength of each trace whose stored strength is off by more than the
    /// [step](crate::StoreBuilder::checkpoint_step), and removes the traces that have faded to 0.01 or less, unless
    /// [pruning is off](crate::StoreBuilder::prune). Firmware is not changed; pinned traces fade but are not removed.
    ///
    /// The store itself does not need decay cycles: it computes every strength that it reads or compares for the
    /// current time. The revision of a trace does not change. Visits every trace, and writes only those it changes:
    /// [`Stats::checkpointed`](crate::Stats::checkpointed) and [`Stats::pruned`](crate::Stats::pruned) count them, and
    /// removed traces are logged at `INFO`.
    ///
    /// ```
    /// use mnemon::{ManualClock, NewTrace, TraceStore};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::at("2026-11-24T09:00:00Z".parse().expect("a time"));
    /// let store = TraceStore::builder().clock(&clock).in_memory()?;
    /// store.insert(NewTrace::sensory(serde_json::json!("gulls")).strength(0.011))?;
    /// store.insert(NewTrace::semantic(serde_json::json!("springs follow the full moon")))?;
    /// clock.advance(Duration::from_secs(86_400));
    /// let removed = store.decay()?;
    /// assert_eq!((removed.traces, store.len()), (1, 1));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) and [`Lagging`](crate::ErrorKind::Lagging), under the conditions of
    /// [`insert`](Self::insert).
    pub fn decay(&self) -> Result<Removed> {
        self.inner().decay()
    }
}

/// The action of a cycle on one trace.
enum DecayAction {
    Keep,
    Checkpoint(f64),
    Prune,
}

/// The fields of a trace that decide the action.
struct DecayInput(TraceType, Dynamics);

impl DecayInput {
    fn of(trace: &Trace) -> Self {
        Self(trace.trace_type(), trace.numbers)
    }
}

impl Inner {
    pub(super) fn decay(&self) -> Result<Removed> {
        self.check_writable()?;
        let (now, mut removed, mut checkpointed) = (self.now(), Removed::default(), 0);
        let done = self.scan(DecayInput::of, |id, judged| {
            let mut action = self.action(judged, now);
            if matches!(action, DecayAction::Keep) {
                return Ok(());
            }
            // Decided again for the current state of the trace: it may have been reinforced or removed.
            let done = self.update_counted(id, &mut removed, |trace| {
                action = self.action(DecayInput::of(trace), now);
                Ok(match action {
                    DecayAction::Keep => Change::Keep,
                    DecayAction::Checkpoint(strength) => Self::renumbered(trace, |numbers| {
                        (numbers.strength, numbers.last_decayed) = (strength, now);
                    }),
                    DecayAction::Prune => Change::Remove,
                })
            })?;
            checkpointed += u64::from(done.is_some() && matches!(action, DecayAction::Checkpoint(_)));
            Ok(())
        });
        // Includes what was done before an error.
        self.checkpointed.fetch_add(checkpointed, Ordering::Relaxed);
        if removed.traces > 0 {
            self.pruned.fetch_add(removed.traces as u64, Ordering::Relaxed);
            events::pruned(&self.state.name, removed.traces);
        }
        done.map(|()| removed)
    }

    fn action(&self, DecayInput(kind, numbers): DecayInput, now: Micros) -> DecayAction {
        if kind == TraceType::Firmware {
            return DecayAction::Keep;
        }
        let (stored, strength) = (numbers.strength, self.settings.curve.strength(kind, &numbers, now));
        if strength <= PRUNE && self.settings.prune && !numbers.pinned {
            return DecayAction::Prune;
        }
        if stored - strength > self.settings.checkpoint_step {
            DecayAction::Checkpoint(strength)
        } else {
            DecayAction::Keep
        }
    }
}
