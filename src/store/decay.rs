//! The decay cycle: the stored strengths are brought up to date, for readers of the file, and what has faded away
//! is removed.

use super::TraceStore;
use super::engine::Engine;
use crate::core::Change;
use crate::error::Result;
use crate::memory::constants::PRUNE;
use crate::trace::{Micros, Numbers, Trace, TraceType};

/// What a decay cycle did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct DecayReport {
    /// Traces that were weaker than their stored strength.
    pub decayed: usize,
    /// Those of which the strength was stored anew: so many rows change.
    pub checkpointed: usize,
    /// Those that were removed: so many rows go.
    pub pruned: usize,
}

impl TraceStore {
    /// Stores the strength of each trace whose stored one is off by more than the
    /// [step](crate::StoreBuilder::checkpoint_step), and removes the traces that have faded to 0.01 or less, unless
    /// [told not to](crate::StoreBuilder::prune). Firmware is left alone; pinned traces fade and stay.
    ///
    /// The store itself does not need it: every strength that it reads or compares is computed for the moment. The
    /// revision of a trace stays. Looks at every trace, and writes only those.
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
    /// [`Closed`](crate::ErrorKind::Closed) and [`Lagging`](crate::ErrorKind::Lagging), as for
    /// [`insert`](Self::insert).
    pub fn decay(&self) -> Result<DecayReport> {
        self.engine().decay()
    }
}

/// What a cycle makes of a trace.
enum Fate {
    /// Nothing, and whether it has faded since its strength was stored.
    Left {
        faded: bool,
    },
    Checkpointed(f64),
    Pruned,
}

/// What of a trace decides.
struct Judged(TraceType, Numbers);

impl Judged {
    fn of(trace: &Trace) -> Self {
        Self(trace.trace_type(), trace.numbers)
    }
}

impl Engine {
    pub(super) fn decay(&self) -> Result<DecayReport> {
        self.admit()?;
        let (now, mut report) = (self.now(), DecayReport::default());
        self.scan(Judged::of, |id, judged| {
            let mut fate = self.fate(judged, now);
            if !matches!(fate, Fate::Left { .. }) {
                // Decided anew for the trace as it is then: it may have been reinforced, or removed.
                let done = self.alter(id, |trace| {
                    fate = self.fate(Judged::of(trace), now);
                    Ok(match fate {
                        Fate::Left { .. } => Change::Keep,
                        Fate::Checkpointed(strength) => Self::renumbered(trace, |numbers| {
                            (numbers.strength, numbers.last_decayed) = (strength, now);
                        }),
                        Fate::Pruned => Change::Remove,
                    })
                })?;
                if done.is_none() {
                    return Ok(());
                }
            }
            report.decayed += usize::from(!matches!(fate, Fate::Left { faded: false }));
            report.checkpointed += usize::from(matches!(fate, Fate::Checkpointed(_)));
            report.pruned += usize::from(matches!(fate, Fate::Pruned));
            Ok(())
        })?;
        Ok(report)
    }

    fn fate(&self, Judged(kind, numbers): Judged, now: Micros) -> Fate {
        if kind == TraceType::Firmware {
            return Fate::Left { faded: false };
        }
        let (stored, strength) = (numbers.strength, self.settings.curve.strength(kind, &numbers, now));
        if strength <= PRUNE && self.settings.prune && !numbers.pinned {
            return Fate::Pruned;
        }
        match stored - strength {
            off if off > self.settings.checkpoint_step => Fate::Checkpointed(strength),
            off => Fate::Left { faded: off > 0.0 },
        }
    }
}
