//! The builder of a trace that is not stored yet.

use super::names::{self, Names};
use super::parts::{EndChange, Incarnation, Rare, StoredMark};
use super::setters::shared_setters;
use super::{Content, Dynamics, Micros, Origin, Payload, Tier, Trace, TraceId, TraceType, parts};
use crate::error::{BoxError, Error, Result};
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// Builder of a trace to insert: a type, a payload, and any other fields. The rest have defaults.
///
/// An invalid value is reported, with the field's name, by the insert.
///
/// ```
/// use mnemon::{NewTrace, TraceStore};
/// use serde_json::json;
///
/// let store = TraceStore::in_memory();
/// let id = store.insert(
///     NewTrace::episodic(json!({"speaker": "Ana", "text": "the tide is early"}))
///         .tags(["harbour", "ana"])
///         .emotional_intensity(0.2),
/// )?;
/// assert!(store.contains(id));
/// # Ok::<(), mnemon::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a new trace does nothing until it is inserted"]
pub struct NewTrace {
    id: Option<TraceId>,
    content: Content,
    numbers: Dynamics,
    peak_strength: Option<f64>,
    given: Given,
    end: Option<Box<EndChange>>,
    problem: Option<Error>,
}

/// Which fields were set, of those whose default depends on the store or the time.
#[derive(Clone, Copy, Default, Debug)]
struct Given {
    partition: bool,
    created_at: bool,
    last_reinforced: bool,
    last_decayed: bool,
    reinforcement_count: bool,
}

impl Given {
    const ALL: Self = Self {
        partition: true,
        created_at: true,
        last_reinforced: true,
        last_decayed: true,
        reinforcement_count: true,
    };
}

/// The store's defaults for fields that were not set.
pub(crate) struct Defaults<'a> {
    pub(crate) partition: &'a Arc<str>,
    pub(crate) now: Micros,
    /// Whether the trace is created within the imprint window.
    pub(crate) imprinting: bool,
}

/// Every field of the trace, its id included: an insert into another store stores an equal trace.
impl From<Trace> for NewTrace {
    fn from(trace: Trace) -> Self {
        Self {
            id: Some(trace.id),
            peak_strength: Some(trace.numbers.peak_strength),
            numbers: trace.numbers,
            content: Content::clone(&trace.content),
            given: Given::ALL,
            end: trace.content.rare.end.map(|end| {
                Box::new(EndChange {
                    at: Some(end.at),
                    superseded_by: end.superseded_by,
                    ..EndChange::default()
                })
            }),
            problem: None,
        }
    }
}

impl NewTrace {
    /// A new trace of type `kind`. The payload is a [`Payload`] or a [`serde_json::Value`].
    pub fn new<P>(kind: TraceType, payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        let epoch = Micros::from(Timestamp::UNIX_EPOCH);
        let (payload, problem) = match payload.try_into() {
            Ok(payload) => (payload, None),
            Err(problem) => (Payload::text(""), Some(problem.into())),
        };
        let content = Content {
            birth: Incarnation::UNBORN,
            stored: StoredMark::default(),
            kind,
            origin: Origin::DirectExperience,
            created_at: epoch,
            payload,
            names: Names::shared(&Arc::default(), &[]),
            rare: Rare::default(),
        };
        let numbers = Dynamics {
            strength: kind.starting_strength(),
            peak_strength: 0.0,
            base_decay_rate: kind.base_decay_rate(),
            emotional_valence: 0.0,
            emotional_intensity: 0.0,
            confidence: kind.confidence(),
            last_reinforced: epoch,
            last_decayed: epoch,
            revision: 1,
            reinforcement_count: 0,
            tier: Tier::Hot,
            unresolved: false,
            consolidation_candidate: false,
            pinned: false,
        };
        let (given, end) = (Given::default(), None);
        Self { id: None, content, numbers, peak_strength: None, given, end, problem }
    }

    /// A [semantic](TraceType::Semantic) trace whose payload is this text, as a JSON string. For another type:
    /// `NewTrace::new(kind, Payload::text(content))`.
    pub fn text(content: &str) -> Self {
        Self::semantic(Payload::text(content))
    }

    /// A [semantic](TraceType::Semantic) trace whose payload is a value of your own, serialized to JSON. For another
    /// type: `NewTrace::new(kind, Payload::new(&value)?)`.
    ///
    /// # Errors
    ///
    /// Those of [`Payload::new`].
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self::semantic(Payload::new(value)?))
    }

    /// A [firmware](TraceType::Firmware) trace: what the agent is built on. Never fades.
    pub fn firmware<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Firmware, payload)
    }

    /// An [identity](TraceType::Identity) trace: who the agent is.
    pub fn identity<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Identity, payload)
    }

    /// A [procedural](TraceType::Procedural) trace: how to do something.
    pub fn procedural<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Procedural, payload)
    }

    /// A [trust](TraceType::Trust) trace: how reliable somebody is.
    pub fn trust<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Trust, payload)
    }

    /// A [semantic](TraceType::Semantic) trace: a fact.
    pub fn semantic<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Semantic, payload)
    }

    /// An [episodic](TraceType::Episodic) trace: an event.
    pub fn episodic<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Episodic, payload)
    }

    /// A [sensory](TraceType::Sensory) trace: a perception.
    pub fn sensory<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Sensory, payload)
    }

    shared_setters!();

    /// Sets the id. Default: a new UUID, version 7.
    pub fn id(mut self, id: TraceId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the strength: 0 to 1. Default: the [starting strength](TraceType::starting_strength) of the type.
    pub fn strength(self, strength: f64) -> Self {
        self.check(parts::fraction("strength", strength), |this, strength| this.numbers.strength = strength)
    }

    /// Sets the peak strength: 0 to 1. Default: the strength.
    pub fn peak_strength(self, peak: f64) -> Self {
        self.check(parts::fraction("peak_strength", peak), |this, peak| this.peak_strength = Some(peak))
    }

    /// Sets the origin. Default: [`Origin::DirectExperience`].
    pub fn origin(mut self, origin: Origin) -> Self {
        self.content.origin = origin;
        self
    }

    /// Sets the partition: 1 to 1,024 bytes. Default: the store's.
    pub fn partition(self, partition: impl AsRef<str>) -> Self {
        self.check(parts::name("partition", partition.as_ref()).map(names::shared), |this, partition| {
            this.content.set_partition(&partition);
            this.given.partition = true;
        })
    }

    /// Sets the partition to a string that is shared with other traces.
    fn shared_partition(self, partition: &Arc<str>) -> Self {
        self.check(parts::name("partition", partition), |this, _| {
            this.content.set_partition(partition);
            this.given.partition = true;
        })
    }

    /// Puts the trace into a partition, unless it was given another one.
    pub(crate) fn within(mut self, partition: &Arc<str>) -> Self {
        if self.given.partition && *self.content.names.partition != **partition {
            let remedy = format_args!("leave it out, or give {partition:?}, whose handle this is");
            let problem = Error::invalid_text("partition", &self.content.names.partition, remedy);
            self.problem.get_or_insert(problem);
            return self;
        }
        self.shared_partition(partition)
    }

    /// Sets the time of creation: a [`Timestamp`] or a [`SystemTime`](std::time::SystemTime). Default: now.
    pub fn created_at(self, at: impl TryInto<Timestamp, Error: Into<BoxError>>) -> Self {
        self.check(parts::time("created_at", at), |this, at| {
            this.content.created_at = at;
            this.given.created_at = true;
        })
    }

    /// Sets the time of the last reinforcement, as [`created_at`](Self::created_at) does. Default: the time of
    /// creation. A store takes a time later than now as now.
    pub fn last_reinforced(self, at: impl TryInto<Timestamp, Error: Into<BoxError>>) -> Self {
        self.check(parts::time("last_reinforced", at), |this, at| {
            this.numbers.last_reinforced = at;
            this.given.last_reinforced = true;
        })
    }

    /// Sets the time as of which `strength` was computed, as [`created_at`](Self::created_at) does. Default: the time
    /// of creation. A store takes a time later than now as now.
    pub fn last_decayed(self, at: impl TryInto<Timestamp, Error: Into<BoxError>>) -> Self {
        self.check(parts::time("last_decayed", at), |this, at| {
            this.numbers.last_decayed = at;
            this.given.last_decayed = true;
        })
    }

    /// Sets the number of reinforcements. Default: 0, or 1 within the imprint window.
    pub fn reinforcement_count(mut self, count: u32) -> Self {
        self.given.reinforcement_count = true;
        self.numbers.reinforcement_count = count;
        self
    }

    /// Sets the tier. Default: [`Tier::Hot`].
    pub fn tier(mut self, tier: Tier) -> Self {
        self.numbers.tier = tier;
        self
    }

    /// Sets the revision: 1 to 2^63 - 1. Default: 1.
    pub fn revision(self, revision: u64) -> Self {
        self.check(parts::checked_revision(revision), |this, revision| this.numbers.revision = revision)
    }

    fn content(&mut self) -> &mut Content {
        &mut self.content
    }

    fn draft(&mut self) -> &mut Self {
        self
    }

    /// Builds the trace without a store, as a [`Backend`](crate::backend::Backend) does with a stored row. Fields
    /// that were not set get their defaults; the partition is `default` and the times are now.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) names the first invalid field.
    pub fn into_trace(self) -> Result<Trace> {
        let now = Micros::now();
        self.with_defaults(&Defaults { partition: &Arc::from("default"), now, imprinting: false })
    }

    /// A trace as its row has it, before what only some traces have is added. All at once, as each setter moves the whole.
    #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(crate) fn stored(
        id: TraceId,
        kind: TraceType,
        origin: Origin,
        created_at: Micros,
        (partition, tags): (&str, Option<&str>),
        payload: Payload,
        numbers: Dynamics,
    ) -> Self {
        let mut new = Self::new(kind, payload);
        new.id = Some(id);
        (new.content.origin, new.content.created_at) = (origin, created_at);
        new.peak_strength = Some(numbers.peak_strength);
        new.given = Given::ALL;
        match (Names::stored(partition, tags), numbers.checked()) {
            (Ok(names), Ok(numbers)) => (new.content.names, new.numbers) = (names, numbers),
            (Err(problem), _) | (_, Err(problem)) => new.problem = Some(problem),
        }
        new
    }

    /// Builds a trace that was [stored](Self::stored).
    #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(crate) fn into_stored(self) -> Result<Trace> {
        let now = Micros::from(Timestamp::UNIX_EPOCH);
        self.with_defaults(&Defaults { partition: &Arc::default(), now, imprinting: false })
    }

    pub(crate) fn with_defaults(self, defaults: &Defaults<'_>) -> Result<Trace> {
        let Self { id, mut content, mut numbers, peak_strength, given, end, problem } = self;
        if let Some(problem) = problem {
            return Err(problem);
        }
        let id = id.unwrap_or_else(TraceId::new);
        if let Some(end) = end {
            content.rare.end = end.of(id, None, || defaults.now)?;
        }
        content.birth = Incarnation::new();
        if !given.partition {
            content.set_partition(defaults.partition);
        }
        if !given.created_at {
            content.created_at = defaults.now;
        }
        if !given.last_reinforced {
            numbers.last_reinforced = content.created_at;
        }
        if !given.last_decayed {
            numbers.last_decayed = content.created_at;
        }
        if !given.reinforcement_count {
            numbers.reinforcement_count = u32::from(defaults.imprinting);
        }
        numbers.peak_strength = peak_strength.unwrap_or(numbers.strength);
        Ok(Trace::new(id, content, numbers))
    }
}
