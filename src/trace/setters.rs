//! The setters that a new trace and an edit have in common.

/// For a type with `numbers: Numbers`, `fn content(&mut self) -> &mut Content` and
/// `fn check<T>(self, Result<T>, impl FnOnce(&mut Self, T)) -> Self`, which applies a good value and
/// keeps the first bad one as the error to answer with.
macro_rules! shared_setters {
    () => {
        /// What it says: a [`Payload`], or a [`serde_json::Value`].
        pub fn payload<P>(self, payload: P) -> Self
        where
            P: TryInto<Payload>,
            Error: From<P::Error>,
        {
            self.check(payload.try_into().map_err(Error::from), |this, payload| {
                this.content().payload = payload
            })
        }

        /// The vector that stands for it: finite numbers, at most 65,536.
        pub fn embedding(self, vector: impl Into<Box<[f32]>>) -> Self {
            self.check(parts::checked_embedding(vector), |this, vector| {
                this.content().embedding = Some(vector)
            })
        }

        /// How fast it fades: 0 or more; a new trace has its type's.
        pub fn base_decay_rate(self, rate: f64) -> Self {
            self.check(parts::rate("base_decay_rate", rate), |this, rate| this.numbers.base_decay_rate = rate)
        }

        /// How pleasant it is: clamped to -1 to 1; a new trace has 0.
        pub fn emotional_valence(self, valence: f64) -> Self {
            self.check(parts::clamped("emotional_valence", valence, -1.0), |this, valence| {
                this.numbers.emotional_valence = valence;
            })
        }

        /// How moving it is: clamped to 0 to 1; a new trace has 0.
        pub fn emotional_intensity(self, intensity: f64) -> Self {
            self.check(parts::clamped("emotional_intensity", intensity, 0.0), |this, intensity| {
                this.numbers.emotional_intensity = intensity;
            })
        }

        /// How sure the agent is of it: 0 to 1; a new trace has 0.5, firmware 1.
        pub fn confidence(self, confidence: f64) -> Self {
            self.check(parts::fraction("confidence", confidence), |this, confidence| {
                this.numbers.confidence = confidence;
            })
        }

        /// These tags and no others: each 1 to 1,024 bytes, at most 1,024 of them. A new trace has none.
        pub fn tags<S: AsRef<str>>(mut self, tags: impl IntoIterator<Item = S>) -> Self {
            let set = parts::set_tags(&mut self.content().tags, tags);
            self.check(set, |_, ()| {})
        }

        /// One tag more: 1 to 1,024 bytes.
        pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
            let tags = &mut self.content().tags;
            let more: Vec<Box<str>> = tags.iter().cloned().chain([tag.as_ref().into()]).collect();
            let set = parts::set_tags(tags, more);
            self.check(set, |_, ()| {})
        }

        /// The agent that it came from: 1 to 1,024 bytes. A new trace has none.
        pub fn source_agent(self, agent: impl AsRef<str>) -> Self {
            self.check(parts::name("source_agent", agent.as_ref()).map(Box::from), |this, agent| {
                this.content().source_agent = Some(agent);
            })
        }

        /// The key its payload is encrypted with: 1 to 1,024 bytes. A new trace has none.
        pub fn encryption_key_id(self, key: impl AsRef<str>) -> Self {
            self.check(parts::name("encryption_key_id", key.as_ref()).map(Box::from), |this, key| {
                this.content().encryption_key_id = Some(key);
            })
        }

        /// The trace that it came out of. A new trace has none.
        pub fn parent(mut self, parent: TraceId) -> Self {
            self.content().parent = Some(parent);
            self
        }

        /// The traces that came out of it, at most 65,536. A new trace has none.
        pub fn children(mut self, children: impl IntoIterator<Item = TraceId>) -> Self {
            let set = parts::set_children(&mut self.content().children, children);
            self.check(set, |_, ()| {})
        }

        /// Whether something about it is still open; a new trace is not.
        pub fn unresolved(mut self, unresolved: bool) -> Self {
            self.numbers.unresolved = unresolved;
            self
        }

        /// Whether it is to be merged with others; a new trace is not.
        pub fn consolidation_candidate(mut self, candidate: bool) -> Self {
            self.numbers.consolidation_candidate = candidate;
            self
        }

        /// Whether it must never be evicted; a new trace may be.
        pub fn pinned(mut self, pinned: bool) -> Self {
            self.numbers.pinned = pinned;
            self
        }

        fn check<T>(mut self, value: Result<T>, apply: impl FnOnce(&mut Self, T)) -> Self {
            match value {
                Ok(value) => apply(&mut self, value),
                Err(problem) => {
                    self.problem.get_or_insert(problem);
                }
            }
            self
        }
    };
}

pub(super) use shared_setters;
