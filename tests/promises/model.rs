//! The store against a model of one thread and a few maps: whatever is done, in whatever order and however the
//! time moves, both give the same answers, and after a flush the file holds what the model does.
//!
//! `MNEMON_MODEL_CASES` sets how many sequences are tried.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::Outcome;
use harness::pair::Pair;
use harness::steps::{ENDS, Edit, End, New, PARTITIONS, SLOTS, STRENGTHS, Step, TAGS, Wanted};
use mnemon::{Order, Tier, TraceType};
use proptest::prelude::*;
use proptest::sample::select;

fn slot() -> impl Strategy<Value = usize> {
    // Some more often than others.
    prop_oneof![0..6_usize, 0..SLOTS]
}

fn kind() -> impl Strategy<Value = TraceType> {
    select(TraceType::ALL)
}

fn tags() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(&TAGS), 0..3)
}

fn strength() -> impl Strategy<Value = f64> {
    select(&STRENGTHS)
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::None),
        select(&ENDS).prop_map(End::At),
        (0..3_u8).prop_map(End::By),
        (0..3_u8, select(&ENDS)).prop_map(|(n, end)| End::ByAt(n, end)),
    ]
}

fn maybe<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::of(of)
}

prop_compose! {
    fn new()(
        slot in slot(),
        kind in kind(),
        tags in tags(),
        partition in maybe(select(&PARTITIONS)),
        strength in maybe(strength()),
        rate in maybe(select(&[0.0, 0.01, 0.5, 3.0])),
        intensity in select(&[0.0, 0.5, 1.0]),
        confidence in select(&[0.0, 0.5, 0.9]),
        age in maybe(select(&[0, 60, 86_400, 90_000, 8_000_000, -500])),
        unresolved in any::<bool>(),
        pinned in prop::bool::weighted(0.2),
        valid_until in prop::option::weighted(0.3, select(&ENDS)),
    ) -> New {
        New {
            slot, kind, tags, partition, strength, rate, intensity, confidence, age, unresolved, pinned, valid_until, n: 0,
        }
    }
}

prop_compose! {
    /// Mostly without a slot that is there twice.
    fn list()(
        list in prop::collection::vec(new(), 0..=SLOTS),
        first in 0..SLOTS,
        distinct in prop::bool::weighted(0.9),
    ) -> Vec<New> {
        let numbered = list.into_iter().enumerate();
        let slot = |at: usize, new: &New| if distinct { (first + at) % SLOTS } else { new.slot };
        numbered.map(|(at, new)| New { slot: slot(at, &new), ..new }).collect()
    }
}

prop_compose! {
    fn edit()(
        payload in maybe(0..256_u64),
        tags in maybe(tags()),
        strength in maybe(strength()),
        confidence in maybe(select(&[0.0, 0.5, 0.9])),
        unresolved in maybe(any::<bool>()),
        pinned in maybe(any::<bool>()),
        end in maybe(end()),
    ) -> Edit {
        Edit { payload, tags, strength, confidence, unresolved, pinned, end }
    }
}

prop_compose! {
    fn wanted()(
        types in prop::collection::vec(kind(), 0..3),
        tags in prop::collection::vec(select(&TAGS), 0..2),
        partition in maybe(select(&PARTITIONS)),
        tiers in prop::collection::vec(select(Tier::ALL), 0..3),
        unresolved in maybe(any::<bool>()),
        since in maybe(-4_000..4_000_i64),
        until in maybe(-4_000..4_000_i64),
        min_strength in strength(),
        order in select(&[Order::Strength, Order::Recency, Order::Score, Order::Created]),
        limit in 0..12_usize,
        narrow in [any::<bool>(), any::<bool>()],
        include_invalid in any::<bool>(),
    ) -> Wanted {
        // Most that combine everything find nothing.
        let [by_what, by_when] = narrow;
        let (since, until, tiers) = if by_when { (since, until, tiers) } else { (None, None, Vec::new()) };
        let (types, tags) = if by_what { (types, tags) } else { (Vec::new(), Vec::new()) };
        let min_strength = if by_when { min_strength } else { 0.0 };
        Wanted {
            types, tags, partition, tiers, unresolved, since, until, min_strength, order, limit, include_invalid,
        }
    }
}

fn in_group() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => new().prop_map(Step::Insert),
        3 => (slot(), edit()).prop_map(|(slot, edit)| Step::Update(slot, edit)),
        2 => slot().prop_map(Step::Remove),
        2 => (slot(), slot(), 1..3_usize).prop_map(|(a, b, times)| Step::CoActivate(a, b, times)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => new().prop_map(Step::Insert),
        8 => (slot(), edit()).prop_map(|(slot, edit)| Step::Update(slot, edit)),
        4 => slot().prop_map(Step::Remove),
        6 => slot().prop_map(Step::Reinforce),
        2 => (0..4_usize).prop_map(Step::Retrieve),
        8 => (slot(), slot(), 1..4_usize).prop_map(|(a, b, times)| Step::CoActivate(a, b, times)),
        4 => (slot(), 1..5_usize).prop_map(|(slot, times)| Step::Befriend(slot, times)),
        6 => prop::collection::vec(in_group(), 0..5).prop_map(Step::Group),
        3 => Just(Step::Decay),
        2 => Just(Step::UpdateTiers),
        1 => Just(Step::EnforceQuota),
        1 => kind().prop_map(Step::EraseType),
        1 => select(&PARTITIONS).prop_map(Step::ErasePartition),
        2 => list().prop_map(Step::Restore),
        6 => wanted().prop_map(Step::Query),
        3 => prop::collection::vec(slot(), 0..8).prop_map(Step::Rank),
        3 => (slot(), strength(), 0..24_usize).prop_map(|(slot, least, limit)| Step::Associated(slot, least, limit)),
        3 => (slot(), 0..5_usize, strength()).prop_map(|(slot, hops, least)| Step::Walk(slot, hops, least)),
        4 => Just(Step::Flush),
        2 => Just(Step::Reopen),
        6 => select(&[1, 59, 61, 600, 3_600, 100_000, 9_000_000, -30, -700, -100_000]).prop_map(Step::Move),
    ]
}

fn cases() -> u32 {
    let asked = std::env::var("MNEMON_MODEL_CASES").ok().and_then(|cases| cases.parse().ok());
    asked.unwrap_or(harness::rounds(96, 512) as u32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn store_answers_as_its_model(steps in prop::collection::vec(step(), 1..80)) {
        let run = || -> Outcome {
            let mut pair = Pair::new(|builder, path| builder.open_at(path))?;
            steps.iter().try_for_each(|step| pair.take(step))?;
            pair.take(&Step::Flush)?;
            pair.take(&Step::Reopen)
        };
        run().map_err(|broken| TestCaseError::fail(broken.to_string()))?;
    }
}
