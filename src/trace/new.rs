//! A trace to be.

use super::parts::{Birth, ContentNumber};
use super::setters::shared_setters;
use super::{Content, Micros, Numbers, Origin, Payload, Tier, Trace, TraceId, TraceType, parts};
use crate::error::{Error, Result};
use jiff::Timestamp;
use std::sync::Arc;

/// A trace to be: a type, a payload, and whatever else you know. The rest has defaults.
///
/// A value that can't be taken is reported, with the field's name, when the trace is inserted.
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
    numbers: Numbers,
    peak_strength: Option<f64>,
    given: Given,
    problem: Option<Error>,
}

/// Which of the fields with a default of the store's or the moment's were given.
#[derive(Clone, Copy, Default, Debug)]
struct Given {
    partition: bool,
    created_at: bool,
    last_reinforced: bool,
    last_decayed: bool,
    reinforcement_count: bool,
}

/// What the store gives a trace that does not say.
pub(crate) struct Defaults<'a> {
    pub(crate) partition: &'a Arc<str>,
    pub(crate) now: Micros,
    /// Whether it is made in the imprint window.
    pub(crate) imprinting: bool,
}

impl NewTrace {
    /// A trace of this type. The payload is a [`Payload`] or a [`serde_json::Value`].
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
            birth: Birth::UNBORN,
            number: ContentNumber::NONE,
            kind,
            origin: Origin::DirectExperience,
            created_at: epoch,
            payload,
            embedding: None,
            tags: Box::default(),
            source_agent: None,
            partition: Arc::default(),
            encryption_key_id: None,
            parent: None,
            children: Box::default(),
        };
        let numbers = Numbers {
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
        Self { id: None, content, numbers, peak_strength: None, given: Given::default(), problem }
    }

    /// What the agent is built on; never fades.
    pub fn firmware<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Firmware, payload)
    }

    /// Who the agent is.
    pub fn identity<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Identity, payload)
    }

    /// How to do something.
    pub fn procedural<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Procedural, payload)
    }

    /// Whom to believe.
    pub fn trust<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Trust, payload)
    }

    /// A fact.
    pub fn semantic<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Semantic, payload)
    }

    /// Something that happened.
    pub fn episodic<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Episodic, payload)
    }

    /// Something perceived.
    pub fn sensory<P>(payload: P) -> Self
    where
        P: TryInto<Payload>,
        Error: From<P::Error>,
    {
        Self::new(TraceType::Sensory, payload)
    }

    shared_setters!();

    /// Its identity; a new one, version 7, unless given.
    pub fn id(mut self, id: TraceId) -> Self {
        self.id = Some(id);
        self
    }

    /// How strong it is: 0 to 1; its type's starting strength unless given.
    pub fn strength(self, strength: f64) -> Self {
        self.check(parts::fraction("strength", strength), |this, strength| this.numbers.strength = strength)
    }

    /// The highest strength it has had: 0 to 1; its strength unless given.
    pub fn peak_strength(self, peak: f64) -> Self {
        self.check(parts::fraction("peak_strength", peak), |this, peak| this.peak_strength = Some(peak))
    }

    /// Where it came from; direct experience unless given.
    pub fn origin(mut self, origin: Origin) -> Self {
        self.content.origin = origin;
        self
    }

    /// The partition it belongs to: 1 to 1,024 bytes; the store's unless given.
    pub fn partition(self, partition: impl AsRef<str>) -> Self {
        self.check(parts::name("partition", partition.as_ref()).map(Arc::from), |this, partition| {
            this.content.partition = partition;
            this.given.partition = true;
        })
    }

    /// The same, checked and shared with other traces.
    #[cfg(all(any(feature = "snapshot", feature = "sqlite"), not(loom)))]
    pub(crate) fn shared_partition(self, partition: &Arc<str>) -> Self {
        self.check(parts::name("partition", partition).map(|_| partition.clone()), |this, partition| {
            this.content.partition = partition;
            this.given.partition = true;
        })
    }

    /// When it was made; now unless given.
    pub fn created_at(mut self, at: Timestamp) -> Self {
        self.content.created_at = at.into();
        self.given.created_at = true;
        self
    }

    /// When it was last reinforced; when it was made unless given.
    pub fn last_reinforced(mut self, at: Timestamp) -> Self {
        self.numbers.last_reinforced = at.into();
        self.given.last_reinforced = true;
        self
    }

    /// When its strength was last brought up to date; when it was made unless given.
    pub fn last_decayed(mut self, at: Timestamp) -> Self {
        self.numbers.last_decayed = at.into();
        self.given.last_decayed = true;
        self
    }

    /// How often it was reinforced; never unless given, or once if made in the imprint window.
    pub fn reinforcement_count(mut self, count: u32) -> Self {
        self.given.reinforcement_count = true;
        self.numbers.reinforcement_count = count;
        self
    }

    /// How near at hand it is kept; hot unless given.
    pub fn tier(mut self, tier: Tier) -> Self {
        self.numbers.tier = tier;
        self
    }

    /// How many changes it has had, itself included: 1, which is the default, to 2^63 - 1.
    pub fn revision(self, revision: u64) -> Self {
        let checked = match revision {
            1..=parts::MAX_REVISION => Ok(revision),
            _ => Err(Error::invalid("revision", revision, "give a number from 1 to 2^63 - 1")),
        };
        self.check(checked, |this, revision| this.numbers.revision = revision)
    }

    fn content(&mut self) -> &mut Content {
        &mut self.content
    }

    /// The trace, as a [`Backend`](crate::backend::Backend) makes it from what it has stored: all that
    /// was not set has its default, the partition is `default`, and the times are now.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput): the first value that can't be taken.
    pub fn into_trace(self) -> Result<Trace> {
        let now = Micros::now();
        self.with_defaults(&Defaults { partition: &Arc::from("default"), now, imprinting: false })
    }

    pub(crate) fn with_defaults(self, defaults: &Defaults<'_>) -> Result<Trace> {
        let Self { id, mut content, mut numbers, peak_strength, given, problem } = self;
        if let Some(problem) = problem {
            return Err(problem);
        }
        content.birth = Birth::new();
        content.number = ContentNumber::after(ContentNumber::NONE);
        if !given.partition {
            content.partition = defaults.partition.clone();
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
        Ok(Trace::new(id.unwrap_or_else(TraceId::new), content, numbers))
    }
}
