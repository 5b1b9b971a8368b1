//! The decay cycle: updates the stored strengths, for readers of the file, and removes traces that have faded away.

use super::inner::Inner;
use super::{TraceStore, events};
use crate::error::Result;
use crate::memory::constants::PRUNE;
use crate::protocol::Change;
use crate::trace::{Dynamics, Micros, Trace, TraceType};
use std::sync::atomic::Ordering;

/// Result of a [decay cycle](TraceStore::decay).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct DecayReport {
    /// Number of traces weaker than their stored strength.
    pub decayed: usize,
    /// Number of those traces whose strength was stored again: as many rows change.
    pub checkpointed: usize,
    /// Number of those traces that were removed: as many rows are deleted.
    pub pruned: usize,
}

impl TraceStore {
    /// Runs a decay cycle: stores the current strength of each trace whose stored strength is off by more than the
    /// [step](crate::StoreBuilder::checkpoint_step), and removes the traces that have faded to 0.01 or less, unless
    /// [pruning is off](crate::StoreBuilder::prune). Firmware is not changed; pinned traces fade but are not removed.
    ///
    /// The store itself does not need decay cycles: it computes every strength that it reads or compares for the
    /// current time. The revision of a trace does not change. Visits every trace, and writes only those it changes.
    /// Removed traces are counted in [`Stats::pruned`](crate::Stats::pruned) and logged at `INFO`.
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
    /// let report = store.decay()?;
    /// assert_eq!((report.pruned, store.len()), (1, 1));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) and [`Lagging`](crate::ErrorKind::Lagging), under the conditions of
    /// [`insert`](Self::insert).
    pub fn decay(&self) -> Result<DecayReport> {
        self.inner().decay()
    }
}

/// The action of a cycle on one trace.
enum DecayAction {
    /// No action; says whether the trace has faded since its strength was stored.
    Left {
        faded: bool,
    },
    Checkpointed(f64),
    Pruned,
}

/// The fields of a trace that decide the action.
struct DecayInput(TraceType, Dynamics);

impl DecayInput {
    fn of(trace: &Trace) -> Self {
        Self(trace.trace_type(), trace.numbers)
    }
}

impl Inner {
    pub(super) fn decay(&self) -> Result<DecayReport> {
        self.check_writable()?;
        let (now, mut report) = (self.now(), DecayReport::default());
        let done = self.scan(DecayInput::of, |id, judged| {
            let mut fate = self.action(judged, now);
            if !matches!(fate, DecayAction::Left { .. }) {
                // Decided again for the current state of the trace: it may have been reinforced or removed.
                let done = self.update(id, |trace| {
                    fate = self.action(DecayInput::of(trace), now);
                    Ok(match fate {
                        DecayAction::Left { .. } => Change::Keep,
                        DecayAction::Checkpointed(strength) => Self::renumbered(trace, |numbers| {
                            (numbers.strength, numbers.last_decayed) = (strength, now);
                        }),
                        DecayAction::Pruned => Change::Remove,
                    })
                })?;
                if done.is_none() {
                    return Ok(());
                }
            }
            report.decayed += usize::from(!matches!(fate, DecayAction::Left { faded: false }));
            report.checkpointed += usize::from(matches!(fate, DecayAction::Checkpointed(_)));
            report.pruned += usize::from(matches!(fate, DecayAction::Pruned));
            Ok(())
        });
        // Includes traces removed before an error.
        if report.pruned > 0 {
            self.pruned.fetch_add(report.pruned as u64, Ordering::Relaxed);
            events::pruned(&self.state.name, report.pruned);
        }
        done.map(|()| report)
    }

    fn action(&self, DecayInput(kind, numbers): DecayInput, now: Micros) -> DecayAction {
        if kind == TraceType::Firmware {
            return DecayAction::Left { faded: false };
        }
        let (stored, strength) = (numbers.strength, self.settings.curve.strength(kind, &numbers, now));
        if strength <= PRUNE && self.settings.prune && !numbers.pinned {
            return DecayAction::Pruned;
        }
        match stored - strength {
            off if off > self.settings.checkpoint_step => DecayAction::Checkpointed(strength),
            off => DecayAction::Left { faded: off > 0.0 },
        }
    }
}
