//! Orders and choices, the same in every run.

/// xorshift64*.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() >> 33) as usize % bound
    }

    /// From 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

pub fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for i in (1..items.len()).rev() {
        items.swap(i, random.below(i + 1));
    }
}

/// Which of `count` things are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Each as often as any other.
    Uniform,
    /// The k-th as often as 1 / k.
    Zipf,
}

impl Choice {
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Zipf];

    pub fn name(self) -> &'static str {
        match self {
            Choice::Uniform => "uniform",
            Choice::Zipf => "zipf",
        }
    }

    /// So many choices among `count`.
    pub fn draw(self, count: usize, draws: usize, seed: u64) -> Vec<usize> {
        let mut random = Random(seed);
        match self {
            Choice::Uniform => (0..draws).map(|_| random.below(count)).collect(),
            Choice::Zipf => {
                let mut sum = 0.0;
                let sums: Vec<f64> = (1..=count)
                    .map(|k| {
                        sum += 1.0 / k as f64;
                        sum
                    })
                    .collect();
                (0..draws)
                    .map(|_| {
                        let at = random.fraction() * sum;
                        sums.partition_point(|up_to| *up_to < at).min(count - 1)
                    })
                    .collect()
            }
        }
    }
}
