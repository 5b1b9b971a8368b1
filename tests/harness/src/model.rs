//! The model: one thread and a few maps.

use crate::record::{Bond, Bonds, Record, Rows};
use crate::steps::{IMPRINT_SECONDS, MOST_BYTES, MOST_TRACES, Wanted};
use mnemon::{Order, TraceId};
use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};

pub struct Model {
    pub start: i64,
    pub now: i64,
    pub traces: Rows,
    pub links: Bonds,
    /// As of the last flush.
    pub stored: Rows,
}

impl Model {
    pub fn imprinting(&self) -> bool {
        self.now < self.start + IMPRINT_SECONDS * 1_000_000
    }

    pub fn strength(&self, id: TraceId) -> f64 {
        self.traces.get(&id).map_or(f64::NAN, |record| record.strength_at(self.now))
    }

    pub fn remove(&mut self, id: TraceId) -> (Option<Record>, usize) {
        let before = self.links.len();
        let gone = self.traces.remove(&id);
        self.links.retain(|(a, b), _| *a != id && *b != id);
        (gone, before - self.links.len())
    }

    pub fn remove_all(&mut self, gone: impl Fn(&Record) -> bool) -> (usize, usize) {
        let ids: Vec<_> = self.traces.iter().filter(|(_, record)| gone(record)).map(|(id, _)| *id).collect();
        let links = ids.iter().map(|id| self.remove(*id).1).sum();
        (ids.len(), links)
    }

    pub fn reinforce(&mut self, id: TraceId) {
        let (now, factor) = (self.now, if self.imprinting() { 3.0 } else { 1.0 });
        let Some(record) = self.traces.get_mut(&id).filter(|record| !record.is_firmware()) else { return };
        record.strength = (record.strength_at(now) + 0.10 * factor).min(1.0);
        record.peak = record.peak.max(record.strength);
        (record.reinforced, record.decayed) = (now, now);
        record.count += 1;
        record.revision += 1;
    }

    pub fn co_activate(&mut self, a: TraceId, b: TraceId) -> Option<(u32, bool)> {
        if a == b || !self.traces.contains_key(&a) || !self.traces.contains_key(&b) {
            return None;
        }
        let now = self.now;
        let bond = self.links.entry((a.min(b), a.max(b))).or_insert(Bond { count: 0, first: now, last: now });
        (bond.count, bond.last) = (bond.count + 1, now);
        Some((bond.count, bond.count >= 3))
    }

    pub fn by_strength(&self, ids: &mut [TraceId]) {
        ids.sort_by(|a, b| self.strength(*b).total_cmp(&self.strength(*a)).then(a.cmp(b)));
    }

    pub fn associated(&self, id: TraceId, min_strength: f64) -> Vec<TraceId> {
        let is_valid = |id: &TraceId| self.traces.get(id).is_some_and(|record| record.is_valid_at(self.now));
        let ends = self.links.iter().filter(|(_, bond)| bond.count >= 3);
        let mut near: Vec<_> = ends
            .filter_map(|((a, b), bond)| match (*a == id, *b == id) {
                (true, _) => Some((Reverse((bond.count, bond.last.min(self.now))), *b)),
                (_, true) => Some((Reverse((bond.count, bond.last.min(self.now))), *a)),
                _ => None,
            })
            .collect();
        near.retain(|(_, id)| is_valid(id));
        near.sort();
        near.truncate(20);
        let strong = near.into_iter().map(|(_, id)| id).filter(|id| self.strength(*id) >= min_strength);
        let mut strong: Vec<_> = strong.collect();
        self.by_strength(&mut strong);
        strong
    }

    pub fn walk(&self, start: TraceId, max_hops: usize, min_strength: f64) -> Vec<Vec<TraceId>> {
        let (mut seen, mut paths) = (BTreeSet::from([start]), Vec::new());
        let mut queue = VecDeque::from([vec![start]]);
        while let Some(path) = queue.pop_front() {
            if path.len() > max_hops {
                continue;
            }
            for next in path.last().into_iter().flat_map(|last| self.associated(*last, min_strength)) {
                if seen.insert(next) {
                    let further: Vec<_> = path.iter().copied().chain([next]).collect();
                    paths.push(further.clone());
                    queue.push_back(further);
                }
            }
        }
        paths
    }

    pub fn rank(&self, ids: &[TraceId]) -> Vec<(TraceId, f64)> {
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        let near: BTreeSet<_> = ids.iter().flat_map(|id| self.associated(*id, 0.0)).collect();
        let known = ids.iter().filter_map(|id| Some((*id, self.traces.get(id)?)));
        let association = |id| if near.contains(&id) { 1.15 } else { 1.0 };
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(id, record)| (record.score_key(self.now, association(*id)), *id));
        known.into_iter().map(|(id, record)| (id, record.score_at(self.now, association(id)))).collect()
    }

    pub fn query(&self, wanted: &Wanted) -> Vec<TraceId> {
        let at = |seconds: i64| self.start + seconds * 1_000_000;
        let fits = |record: &Record| {
            (wanted.types.is_empty() || wanted.types.iter().any(|kind| record.kind == kind.as_str()))
                && wanted.tags.iter().all(|tag| record.tags.iter().any(|has| has == tag))
                && wanted.partition.is_none_or(|partition| record.partition == partition)
                && (wanted.tiers.is_empty() || wanted.tiers.iter().any(|tier| record.tier == tier.as_str()))
                && wanted.unresolved.is_none_or(|unresolved| record.unresolved == unresolved)
                && wanted.since.is_none_or(|since| record.created >= at(since))
                && wanted.until.is_none_or(|until| record.created <= at(until))
                && (wanted.include_invalid || record.is_valid_at(self.now))
                && record.strength_at(self.now) >= wanted.min_strength
        };
        let mut found: Vec<_> = self.traces.iter().filter(|(_, record)| fits(record)).collect();
        found.sort_by(|(a_id, a), (b_id, b)| {
            let first = match wanted.order {
                Order::Recency => b.reinforced.min(self.now).cmp(&a.reinforced.min(self.now)),
                Order::Score => a.score_key(self.now, 1.0).cmp(&b.score_key(self.now, 1.0)),
                Order::Created => b.created.cmp(&a.created),
                _ => b.strength_at(self.now).total_cmp(&a.strength_at(self.now)),
            };
            first.then(a_id.cmp(b_id))
        });
        found.into_iter().take(wanted.limit).map(|(id, _)| *id).collect()
    }

    /// How many traces had faded or were invalid for seven days, and links with them.
    pub fn decay(&mut self) -> (usize, usize) {
        let now = self.now;
        let gone =
            |record: &Record| record.strength_at(now) <= 0.01 || !record.is_valid_at(now - 604_800_000_000);
        self.remove_all(|record| !record.is_firmware() && !record.pinned && gone(record))
    }

    pub fn update_tiers(&mut self) -> usize {
        let mut moved = 0;
        for record in self.traces.values_mut() {
            let tier = match self.now - record.reinforced {
                _ if record.strength_at(self.now) <= 0.01 => "erased",
                ..=86_400_000_000 => "hot",
                86_400_000_001..=7_776_000_000_000 => "warm",
                _ => "cold",
            };
            moved += usize::from(record.tier != tier);
            record.tier = tier.to_owned();
        }
        moved
    }

    pub fn enforce_quota(&mut self) -> (usize, usize) {
        let (mut evicted, mut links) = (0, 0);
        loop {
            let bytes: usize = self.traces.values().map(|record| record.payload.len()).sum();
            if self.traces.len() <= MOST_TRACES && bytes <= MOST_BYTES {
                return (evicted, links);
            }
            let loose = self.traces.iter().filter(|(_, record)| !record.is_firmware() && !record.pinned);
            let Some((_, id)) = loose.map(|(id, record)| (record.reinforced.min(self.now), *id)).min() else {
                return (evicted, links);
            };
            links += self.remove(id).1;
            evicted += 1;
        }
    }
}
