//! A script of API calls, done to a store and to the model of it that `tests/harness` has.

use arbitrary::{Arbitrary, Result, Unstructured};
use harness::Outcome;
use harness::pair::Pair;
use harness::steps::{ENDS, Edit, End, New, PARTITIONS, SLOTS, STRENGTHS, Step, TAGS, Wanted};
use mnemon::{Order, Tier, TraceType};

/// Longer ones take too long for their worth.
const MOST_STEPS: usize = 60;

/// Store and model answer alike, hold the same after every step, and the file holds it after every flush and at the
/// end.
pub fn check(data: &[u8]) -> Outcome {
    let mut data = Unstructured::new(data);
    let mut pair = Pair::new(|builder, path| builder.open(path))?;
    let mut take = |step: &Step| pair.take(step).map_err(|broken| format!("{step:?}: {broken}"));
    for _ in 0..MOST_STEPS {
        if data.is_empty() {
            break;
        }
        // No step: the bytes have ended within one.
        let Ok(step) = step(&mut data) else { break };
        take(&step)?;
    }
    take(&Step::Flush)?;
    Ok(take(&Step::Reopen)?)
}

fn step(data: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match data.int_in_range(0..=31_u8)? {
        0..=5 => Step::Insert(new(data)?),
        6..=8 => Step::Update(slot(data)?, edit(data)?),
        9 | 10 => Step::Remove(slot(data)?),
        11 | 12 => Step::Reinforce(slot(data)?),
        13 => Step::Retrieve(data.int_in_range(0..=3)?),
        14..=16 => Step::CoActivate(slot(data)?, slot(data)?, data.int_in_range(1..=3)?),
        17 => Step::Befriend(slot(data)?, data.int_in_range(1..=4)?),
        18 => Step::Decay,
        19 => Step::UpdateTiers,
        20 => Step::EnforceQuota,
        21 => Step::EraseType(kind(data)?),
        22 => Step::ErasePartition(data.choose(&PARTITIONS)?),
        23 => Step::Restore(several(data, SLOTS, new)?),
        24 => Step::Query(wanted(data)?),
        25 => Step::Rank(several(data, 7, slot)?),
        26 => Step::Associated(slot(data)?, strength(data)?, data.int_in_range(0..=23)?),
        27 => Step::Walk(slot(data)?, data.int_in_range(0..=4)?, strength(data)?),
        28 | 29 => Step::Flush,
        30 => Step::Reopen,
        _ => Step::Move(*data.choose(&[1, 59, 61, 600, 3_600, 100_000, 9_000_000, -30, -700, -100_000])?),
    })
}

fn new(data: &mut Unstructured<'_>) -> Result<New> {
    Ok(New {
        slot: slot(data)?,
        kind: kind(data)?,
        tags: several(data, 2, tag)?,
        partition: maybe(data, |data| data.choose(&PARTITIONS).copied())?,
        strength: maybe(data, strength)?,
        rate: maybe(data, |data| data.choose(&[0.0, 0.01, 0.5, 3.0]).copied())?,
        intensity: *data.choose(&[0.0, 0.5, 1.0])?,
        confidence: *data.choose(&[0.0, 0.5, 0.9])?,
        age: maybe(data, |data| data.choose(&[0, 60, 86_400, 90_000, 8_000_000, -500]).copied())?,
        unresolved: bool::arbitrary(data)?,
        pinned: data.ratio(1, 5)?,
        valid_until: maybe(data, |data| data.choose(&ENDS).copied())?,
        n: 0,
    })
}

fn edit(data: &mut Unstructured<'_>) -> Result<Edit> {
    Ok(Edit {
        payload: maybe(data, u8::arbitrary)?.map(u64::from),
        tags: maybe(data, |data| several(data, 2, tag))?,
        strength: maybe(data, strength)?,
        confidence: maybe(data, |data| data.choose(&[0.0, 0.5, 0.9]).copied())?,
        unresolved: maybe(data, bool::arbitrary)?,
        pinned: maybe(data, bool::arbitrary)?,
        end: maybe(data, end)?,
    })
}

fn end(data: &mut Unstructured<'_>) -> Result<End> {
    Ok(match data.int_in_range(0..=3)? {
        0 => End::None,
        1 => End::At(*data.choose(&ENDS)?),
        2 => End::By(data.int_in_range(0..=2)?),
        _ => End::ByAt(data.int_in_range(0..=2)?, *data.choose(&ENDS)?),
    })
}

fn wanted(data: &mut Unstructured<'_>) -> Result<Wanted> {
    let seconds = |data: &mut Unstructured<'_>| data.int_in_range(-4_000..=4_000_i64);
    Ok(Wanted {
        types: several(data, 2, kind)?,
        tags: several(data, 1, tag)?,
        partition: maybe(data, |data| data.choose(&PARTITIONS).copied())?,
        tiers: several(data, 2, |data| data.choose(Tier::ALL).copied())?,
        unresolved: maybe(data, bool::arbitrary)?,
        since: maybe(data, seconds)?,
        until: maybe(data, seconds)?,
        min_strength: strength(data)?,
        order: *data.choose(&[Order::Strength, Order::Recency, Order::Score])?,
        limit: data.int_in_range(0..=11)?,
        include_invalid: bool::arbitrary(data)?,
    })
}

fn slot(data: &mut Unstructured<'_>) -> Result<usize> {
    // Some more often than others.
    let most = if bool::arbitrary(data)? { 6 } else { SLOTS };
    data.choose_index(most)
}

fn kind(data: &mut Unstructured<'_>) -> Result<TraceType> {
    data.choose(TraceType::ALL).copied()
}

fn tag(data: &mut Unstructured<'_>) -> Result<&'static str> {
    data.choose(&TAGS).copied()
}

fn strength(data: &mut Unstructured<'_>) -> Result<f64> {
    data.choose(&STRENGTHS).copied()
}

fn maybe<'a, T>(
    data: &mut Unstructured<'a>,
    of: impl FnOnce(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Option<T>> {
    bool::arbitrary(data)?.then(|| of(data)).transpose()
}

fn several<'a, T>(
    data: &mut Unstructured<'a>,
    most: usize,
    of: impl Fn(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let length = data.int_in_range(0..=most)?;
    (0..length).map(|_| of(data)).collect()
}
