//! The setters shared by [`NewTrace`](super::NewTrace) and [`TraceEdit`](super::TraceEdit).

/// For a type with `fn content(&mut self) -> &mut Content`, `fn draft(&mut self)`, which returns something with
/// `numbers: Dynamics`, and
/// `fn check<T>(self, Result<T>, impl FnOnce(&mut Self, T)) -> Self`, which applies a good value and
/// keeps the first bad one as the error to answer with.
macro_rules! shared_setters {
    () => {
        /// Sets the payload: a [`Payload`] or a [`serde_json::Value`].
        pub fn payload<P>(self, payload: P) -> Self
        where
            P: TryInto<Payload>,
            Error: From<P::Error>,
        {
            self.check(payload.try_into().map_err(Error::from), |this, payload| {
                this.content().payload = payload
            })
        }

        /// Sets the embedding: at most 65,536 finite numbers.
        pub fn embedding(self, vector: impl Into<Box<[f32]>>) -> Self {
            self.check(parts::checked_embedding(vector), |this, vector| {
                this.content().rare.embedding = Some(vector)
            })
        }

        /// Sets the exponent of the decay: 0 or more. Default of a new trace: its
        /// [type's](crate::TraceType::base_decay_rate).
        pub fn base_decay_rate(self, rate: f64) -> Self {
            self.check(parts::rate("base_decay_rate", rate), |this, rate| {
                this.draft().numbers.base_decay_rate = rate
            })
        }

        /// Sets the emotional valence, clamped to the range -1 to 1. Default of a new trace: 0.
        pub fn emotional_valence(self, valence: f64) -> Self {
            self.check(parts::clamped("emotional_valence", valence, -1.0), |this, valence| {
                this.draft().numbers.emotional_valence = valence;
            })
        }

        /// Sets the emotional intensity, clamped to the range 0 to 1. Default of a new trace: 0.
        pub fn emotional_intensity(self, intensity: f64) -> Self {
            self.check(parts::clamped("emotional_intensity", intensity, 0.0), |this, intensity| {
                this.draft().numbers.emotional_intensity = intensity;
            })
        }

        /// Sets the confidence: 0 to 1. Default of a new trace: 0.5, of firmware 1.
        pub fn confidence(self, confidence: f64) -> Self {
            self.check(parts::fraction("confidence", confidence), |this, confidence| {
                this.draft().numbers.confidence = confidence;
            })
        }

        /// Replaces all tags: at most 1,024, each 1 to 1,024 bytes. Default of a new trace: none.
        pub fn tags<S: AsRef<str>>(self, tags: impl IntoIterator<Item = S>) -> Self {
            self.check(parts::checked_tags(tags), |this, tags| this.content().set_tags(&tags))
        }

        /// Adds a tag: 1 to 1,024 bytes.
        pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
            let own = self.content().names.clone();
            let all = own.tags.iter().map(|own| &**own).chain([tag.as_ref()]);
            self.tags(all)
        }

        /// Sets the agent that the trace came from: 1 to 1,024 bytes. Default of a new trace: none.
        pub fn source_agent(self, agent: impl AsRef<str>) -> Self {
            self.check(parts::name("source_agent", agent.as_ref()).map(Box::from), |this, agent| {
                this.content().rare.source_agent = Some(agent);
            })
        }

        /// Sets the id of the key that the payload is encrypted with: 1 to 1,024 bytes. Default of a new trace:
        /// none.
        pub fn encryption_key_id(self, key: impl AsRef<str>) -> Self {
            self.check(parts::name("encryption_key_id", key.as_ref()).map(Box::from), |this, key| {
                this.content().rare.encryption_key_id = Some(key);
            })
        }

        /// Sets the trace that this one was derived from. Default of a new trace: none.
        pub fn parent(mut self, parent: TraceId) -> Self {
            self.content().rare.parent = Some(parent);
            self
        }

        /// Replaces the list of traces derived from this one: at most 65,536. Default of a new trace: empty.
        pub fn children(self, children: impl IntoIterator<Item = TraceId>) -> Self {
            self.check(parts::checked_children(children), |this, children| {
                let rare = &mut this.content().rare;
                if rare.children != children {
                    rare.children = children;
                }
            })
        }

        /// Sets the end of the trace's [validity](crate::guide::memory#validity): a [`Timestamp`](jiff::Timestamp) or a
        /// [`SystemTime`](std::time::SystemTime), past or to come. Default of a new trace: none.
        pub fn valid_until(self, at: impl TryInto<Timestamp, Error: Into<BoxError>>) -> Self {
            self.check(parts::time("valid_until", at), |this, at| {
                this.draft().end.get_or_insert_default().at = Some(at)
            })
        }

        /// Marks the trace as superseded by another one, which need not be in the store. Ends its
        /// [validity](Self::valid_until) now, unless that has ended before or its end is set in the same change.
        /// Default of a new trace: not superseded. Its own id is invalid.
        pub fn superseded_by(mut self, successor: TraceId) -> Self {
            self.draft().end.get_or_insert_default().superseded_by = Some(successor);
            self
        }

        /// Marks the trace as unresolved. Default of a new trace: `false`.
        pub fn unresolved(mut self, unresolved: bool) -> Self {
            self.draft().numbers.unresolved = unresolved;
            self
        }

        /// Marks the trace for consolidation with others. Default of a new trace: `false`.
        pub fn consolidation_candidate(mut self, candidate: bool) -> Self {
            self.draft().numbers.consolidation_candidate = candidate;
            self
        }

        /// Exempts the trace from eviction. Default of a new trace: `false`.
        pub fn pinned(mut self, pinned: bool) -> Self {
            self.draft().numbers.pinned = pinned;
            self
        }

        fn check<T>(mut self, value: Result<T>, apply: impl FnOnce(&mut Self, T)) -> Self {
            match value {
                Ok(value) => apply(&mut self, value),
                Err(problem) => {
                    self.draft().problem.get_or_insert(problem);
                }
            }
            self
        }
    };
}

pub(super) use shared_setters;
