//! What the host writes: made up, and the same in each run.

use anyhow::Result;
use mnemon::{NewTrace, Payload, TraceType};
use serde_json::json;

/// A xorshift generator (Marsaglia 2003, with Vigna's multiplier): small, seeded, and good enough to pick
/// targets.
pub struct Random(u64);

impl Random {
    /// Neighbouring seeds give unrelated numbers.
    pub fn seeded(seed: u64) -> Self {
        let spread = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(spread | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to `limit`, without it.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    /// From 0 to 1, without it.
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const WORDS: [&str; 24] = [
    "the", "tide", "turns", "before", "Ana", "noticed", "a", "crate", "of", "café", "glasses", "by", "the",
    "slipway", "and", "nobody", "at", "the", "office", "knew", "whose", "日本", "boat", "left",
];

/// Some words.
pub fn payload(random: &mut Random) -> Result<Payload> {
    let words = 8 + random.below(24);
    let text: Vec<_> = (0..words).map(|_| WORDS[random.below(WORDS.len())]).collect();
    Ok(Payload::new(&json!({"speaker": "host", "text": text.join(" ")}))?)
}

/// A trace of any type.
pub fn new_trace(random: &mut Random) -> Result<NewTrace> {
    let kind = TraceType::ALL[random.below(TraceType::ALL.len())];
    let new = NewTrace::new(kind, payload(random)?).partition("host").tag(tag(random));
    let new = new.emotional_intensity(random.fraction());
    // One in ten fades away within minutes.
    Ok(if random.below(10) == 0 { new.base_decay_rate(2.0) } else { new })
}

/// One of the tags that its traces have.
pub fn tag(random: &mut Random) -> &'static str {
    WORDS[random.below(WORDS.len())]
}
