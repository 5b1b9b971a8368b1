//! How a question is answered: matches of the index and of embeddings first, and then the best of them as they are now.

use super::{Recall, Recalled};
use crate::memory::Scoring;
use crate::memory::constants::ASSOCIATION_BONUS;
use crate::recall::{
    Fusion, Index, MOST_WEIGHT, Matches, Near, ScoreParts, Signals, TextIndex, Wanted, Words, weighed,
};
use crate::store::inner::Inner;
use crate::trace::{Micros, SharedContent, Trace, TraceId};
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

/// Number of a candidate: a slot, or after these one of the traces whose texts the index lacks.
type Number = u32;

/// Candidates, the highest first. The bits of a number that is not negative are in its order.
type Ranking = BinaryHeap<(u32, Reverse<Number>)>;

/// Number of ranks that count in [`Fusion::ReciprocalRanks`], and by how much the first ones are levelled.
const RANKS: usize = 1_000;
const LEVEL: f64 = 60.0;

/// A question and what it has found so far. The store is not locked.
pub(super) struct Answering<'q> {
    recall: &'q Recall<'q>,
    inner: &'q Inner,
    reading: TextIndex,
    scoring: Scoring,
    wanted: Wanted,
    near: Option<Near<'q>>,
    matches: Matches,
    /// Of each candidate; 0 if it has none.
    similarity: Vec<f32>,
    /// The candidates with embeddings.
    embedded: Vec<Number>,
    /// The candidates that were looked at.
    judged: HashMap<Number, Option<Judged>, foldhash::fast::RandomState>,
    /// The highest of those that may be answers.
    best_relevance: f64,
    best_similarity: f64,
}

/// A candidate as it is now, which meets the conditions.
#[derive(Clone)]
struct Judged {
    trace: Arc<Trace>,
    relevance: f32,
    similarity: f32,
    strength: f64,
}

/// A result, and its place among others of the same score.
struct Scored {
    found: Recalled,
    log_score: f64,
    matching: f64,
}

impl Ord for Scored {
    /// The worst is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = other.found.score.total_cmp(&self.found.score);
        let by_log_score = || other.log_score.total_cmp(&self.log_score);
        by_score.then_with(by_log_score).then_with(|| self.found.trace.id().cmp(&other.found.trace.id()))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scored {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scored {}

impl<'q> Answering<'q> {
    /// Asks the index.
    pub(super) fn begin(recall: &'q Recall<'q>, reading: TextIndex) -> Self {
        let inner = recall.query.store.inner();
        let wanted = Wanted::of(reading, &recall.text);
        let conditions = &recall.query.conditions;
        let stale_ok = recall.stale_ok;
        // The time is read while the views are held: none of what they show is of a later one.
        let at = || recall.query.time(inner.now());
        let asked = inner.state.ask_texts(stale_ok, |unsettled, views, words| {
            let at = at();
            let matches = views.matches(unsettled, conditions, &wanted, words, stale_ok, at)?;
            Some((at, matches, views.ends_are_behind(at)))
        });
        let (at, matches, ends_are_behind) =
            asked.flatten().unwrap_or_else(|| (at(), without_views(inner, reading, &wanted), false));
        if ends_are_behind {
            inner.state.correct_ends();
        }
        let (mut similarity, mut embedded) = (vec![0.0; matches.relevance.len()], Vec::new());
        let near = recall.near.as_deref().map(Near::new);
        if let Some(near) = &near {
            let of_unread = matches.unread.iter().zip(matches.slots as Number..);
            let of_unread =
                of_unread.filter_map(|(trace, number)| Some((number, near.cosine(trace.embedding()?))));
            for (number, cosine) in matches.cosines(near).into_iter().chain(of_unread) {
                similarity[number as usize] = cosine;
                embedded.push(number);
            }
        }
        Self {
            recall,
            inner,
            reading,
            scoring: inner.scoring(at),
            wanted,
            near,
            matches,
            similarity,
            embedded,
            judged: HashMap::default(),
            best_relevance: 0.0,
            best_similarity: 0.0,
        }
    }

    pub(super) fn answer(mut self) -> Vec<Recalled> {
        let limit = self.recall.query.limit;
        if limit == 0 {
            return Vec::new();
        }
        let ranking = self.ranking();
        let is_linked = self.inner.links().len() > 0;
        let shortlist = match (is_linked, self.recall.spread > 0.0) {
            (false, _) => limit,
            (true, false) => limit.saturating_mul(2),
            (true, true) => limit.saturating_mul(10).max(100),
        };
        let mut found = self.best_of(ranking, shortlist);
        if is_linked {
            self.associate(&mut found);
        }
        found.sort_unstable();
        found.truncate(limit);
        found.into_iter().map(|scored| scored.found).collect()
    }

    /// All that the text finds, with its relevance, and the time.
    pub(super) fn all(self) -> (Micros, Vec<(Arc<Trace>, f64)>) {
        let found = self.with_words().into_iter().filter_map(|number| self.judge(number));
        let found = found.filter(|judged| judged.relevance > 0.0);
        (self.scoring.at, found.map(|judged| (judged.trace, f64::from(judged.relevance))).collect())
    }

    /// The candidates that have a word of the text.
    fn with_words(&self) -> Vec<Number> {
        let within = self.matches.within.as_ref();
        let slots = self.matches.slots as Number;
        let can_be =
            |number: &Number| *number >= slots || within.is_none_or(|within| within.contains(*number));
        let with_words = (0..).zip(&self.matches.relevance).filter(|(_, relevance)| **relevance > 0.0);
        with_words.map(|(number, _)| number).filter(can_be).collect()
    }

    /// The candidates by how well they match.
    fn ranking(&mut self) -> Ranking {
        let with_words = self.with_words();
        let mut by_relevance = ranked(&with_words, |at| self.matches.relevance[at]);
        self.best_relevance = self.highest(&mut by_relevance, |judged| judged.relevance);
        if self.recall.near.is_none() {
            return by_relevance;
        }
        let mut by_similarity = ranked(&self.embedded, |at| self.similarity[at]);
        self.best_similarity = self.highest(&mut by_similarity, |judged| judged.similarity);
        if self.recall.fusion == Fusion::ReciprocalRanks {
            return self.by_ranks(by_relevance, by_similarity);
        }
        let mut all = with_words;
        all.extend(self.embedded.iter().filter(|number| self.matches.relevance[**number as usize] == 0.0));
        ranked(&all, |at| self.matching(self.matches.relevance[at], self.similarity[at]) as f32)
    }

    /// The first of each ranking that may be answers, by the sum of their reciprocal ranks.
    fn by_ranks(&mut self, by_relevance: Ranking, by_similarity: Ranking) -> Ranking {
        let mut matching = HashMap::new();
        for mut ranking in [by_relevance, by_similarity] {
            let mut rank = 0;
            while rank < RANKS
                && let Some((_, Reverse(number))) = ranking.pop()
            {
                if self.judge_once(number).is_some() {
                    rank += 1;
                    *matching.entry(number).or_insert(0.0) += (LEVEL + 1.0) / 2.0 / (LEVEL + rank as f64);
                }
            }
        }
        let all: Vec<_> = matching.keys().copied().collect();
        ranked(&all, |at| matching[&(at as Number)] as f32)
    }

    /// The number of the highest that may be an answer, which stays; 0 if there is none.
    fn highest(&mut self, ranking: &mut Ranking, of: fn(&Judged) -> f32) -> f64 {
        while let Some(first) = ranking.pop() {
            if let Some(judged) = self.judge_once(first.1.0) {
                ranking.push(first);
                return f64::from(of(&judged));
            }
        }
        0.0
    }

    /// How well a candidate matches, from 0 to 1, unless by its ranks.
    fn matching(&self, relevance: f32, similarity: f32) -> f64 {
        let part = |value: f32, best: f64| if best > 0.0 { f64::from(value).max(0.0) / best } else { 0.0 };
        let relevance = part(relevance, self.best_relevance);
        match self.recall.fusion {
            _ if self.recall.near.is_none() => relevance,
            _ if self.wanted.is_empty() => part(similarity, self.best_similarity),
            Fusion::Weights { text, vector } => {
                (text * relevance + vector * part(similarity, self.best_similarity)) / (text + vector)
            }
            Fusion::ReciprocalRanks => 0.0,
        }
    }

    /// The best by their scores, without what is found beside them.
    fn best_of(&mut self, mut ranking: Ranking, most: usize) -> Vec<Scored> {
        let is_by_ranks = self.recall.near.is_some() && self.recall.fusion == Fusion::ReciprocalRanks;
        let mut best = BinaryHeap::new();
        while let Some((bits, Reverse(number))) = ranking.pop() {
            let bound = f64::from(f32::from_bits(bits));
            let bound = if self.recall.near.is_none() { bound / self.best_relevance } else { bound };
            let is_full = best.len() >= most;
            let is_done = |worst: &Scored| bound * MOST_WEIGHT < worst.found.score;
            if is_full && self.recall.weigh.is_none() && best.peek().is_some_and(is_done) {
                break;
            }
            let judged = self.judged.remove(&number).unwrap_or_else(|| self.judge(number));
            let Some(judged) = judged else { continue };
            let matching =
                if is_by_ranks { bound } else { self.matching(judged.relevance, judged.similarity) };
            let scored = self.scored(judged, matching);
            if scored.found.score.is_nan() {
                continue;
            }
            best.push(scored);
            if best.len() > most {
                best.pop();
            }
        }
        best.into_vec()
    }

    fn scored(&self, judged: Judged, matching: f64) -> Scored {
        let Judged { trace, relevance, similarity, strength } = judged;
        let best = if self.best_relevance > 0.0 { self.best_relevance } else { 1.0 };
        let relevance = f64::from(relevance) / best;
        let signals = Signals { relevance, similarity: f64::from(similarity), strength };
        let parts = ScoreParts::new(&trace, signals, self.scoring);
        let log_score = self.scoring.log_score(&trace, strength, 1.0);
        let found = Recalled { score: self.score(matching, &parts), trace, parts };
        Scored { found, log_score, matching }
    }

    fn score(&self, matching: f64, parts: &ScoreParts) -> f64 {
        match &self.recall.weigh {
            Some(weigh) => weigh(parts) + parts.lent,
            None => weighed(matching, parts),
        }
    }

    /// Has associated traces count as such, and lend each other what they are asked to lend.
    fn associate(&mut self, found: &mut Vec<Scored>) {
        let share = self.recall.spread;
        let ids: HashSet<TraceId> = found.iter().map(|scored| scored.found.trace.id()).collect();
        let (mut associated, mut lent) = (HashSet::new(), HashMap::new());
        let mut beside = HashMap::new();
        for Scored { found, .. } in found.iter() {
            let within = self.recall.query.conditions.within.as_deref();
            for near in self.inner.associated(found.trace.id(), 0.0, within) {
                let id = near.id();
                associated.insert(id);
                if share > 0.0 {
                    *lent.entry(id).or_insert(0.0) += share * found.score.max(0.0);
                    if !ids.contains(&id) {
                        beside.insert(id, near);
                    }
                }
            }
        }
        found.extend(beside.into_values().filter_map(|trace| {
            let judged = self.judge_trace(trace, None)?;
            let matching = self.matching(judged.relevance, judged.similarity);
            Some(self.scored(judged, matching))
        }));
        for Scored { found, matching, .. } in found.iter_mut() {
            let id = found.trace.id();
            if associated.contains(&id) && ids.contains(&id) {
                found.parts.association = 1.0 + ASSOCIATION_BONUS;
            }
            found.parts.lent = lent.get(&id).copied().unwrap_or(0.0);
            found.score = self.score(*matching, &found.parts);
        }
        found.retain(|scored| !scored.found.score.is_nan());
    }

    /// Looks at a candidate, which will be looked at again.
    fn judge_once(&mut self, number: Number) -> Option<Judged> {
        if let Some(judged) = self.judged.get(&number) {
            return judged.clone();
        }
        let judged = self.judge(number);
        self.judged.insert(number, judged.clone());
        judged
    }

    /// A candidate as it is now, if it meets the conditions.
    fn judge(&self, number: Number) -> Option<Judged> {
        let (at, slots) = (number as usize, self.matches.slots);
        let (id, content) = match self.matches.unread.get(at.wrapping_sub(slots)) {
            Some(trace) => (trace.id(), &trace.content),
            None => self.matches.texts.get(number).map(|entry| (entry.id, &entry.content))?,
        };
        let trace = self.inner.traces().get(&id)?;
        let is_as_read = SharedContent::ptr_eq(&trace.content, content);
        // What the index lacks is a candidate by itself.
        if !is_as_read && at < slots && self.matches.unread.iter().any(|unread| unread.id() == id) {
            return None;
        }
        self.judge_trace(trace, is_as_read.then(|| (self.matches.relevance[at], self.similarity[at])))
    }

    /// A trace, if it meets the conditions; its relevance and similarity are computed if they are not known.
    fn judge_trace(&self, trace: Arc<Trace>, known: Option<(f32, f32)>) -> Option<Judged> {
        let strength = self.recall.query.admits(&trace, self.scoring.at)?;
        if !self.wanted.has_phrases_in(self.reading, &trace) {
            return None;
        }
        let (relevance, similarity) = known.unwrap_or_else(|| {
            let words = Words::of(self.reading, &trace);
            let near = self.near.as_ref().zip(trace.embedding());
            (self.matches.scale.of(&words), near.map_or(0.0, |(near, embedding)| near.cosine(embedding)))
        });
        Some(Judged { trace, relevance, similarity, strength })
    }
}

fn ranked(numbers: &[Number], of: impl Fn(usize) -> f32) -> Ranking {
    numbers
        .iter()
        .map(|number| (of(*number as usize).max(0.0).to_bits(), Reverse(*number)))
        .collect::<Vec<_>>()
        .into()
}

/// What the index would say of a question: in a forked process, which has no views.
fn without_views(inner: &Inner, reading: TextIndex, wanted: &Wanted) -> Matches {
    let mut index = Index::new(reading);
    let traces = inner.traces().keys().into_iter().filter_map(|id| inner.traces().get(&id));
    traces.zip(0..).for_each(|(trace, slot)| index.put(slot, &trace, &Words::of(reading, &trace)));
    index.matches(wanted, &[], &[])
}
