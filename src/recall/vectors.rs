//! Embeddings: how near they are.

use super::texts::{Entry, Texts};
use roaring::RoaringBitmap;

/// Number of products of two numbers from which another thread is worth it.
const MANY: usize = 1 << 20;

/// Most threads that compute at once.
const MOST_THREADS: usize = 8;

/// A vector that others are compared with.
pub(crate) struct Near<'v> {
    vector: &'v [f32],
    length: f32,
}

impl<'v> Near<'v> {
    pub(crate) fn new(vector: &'v [f32]) -> Self {
        Self { vector, length: length(vector) }
    }

    /// The cosine of the angle to a vector: -1 to 1; 0 if they differ in dimensions, or one is zero.
    pub(crate) fn cosine(&self, other: &[f32]) -> f32 {
        self.cosine_of(other, length(other))
    }

    /// As [`cosine`](Self::cosine), to a vector whose length is known.
    fn cosine_of(&self, other: &[f32], length: f32) -> f32 {
        let lengths = f64::from(self.length) * f64::from(length);
        if other.len() != self.vector.len() || lengths <= 0.0 {
            return 0.0;
        }
        (product(self.vector, other) / lengths).clamp(-1.0, 1.0) as f32
    }
}

/// Length of a vector, in space.
pub(super) fn length(vector: &[f32]) -> f32 {
    product(vector, vector).sqrt() as f32
}

/// The sum of the products of two vectors of the same dimensions.
fn product(a: &[f32], b: &[f32]) -> f64 {
    /// Sums that are kept apart, so that they are computed side by side.
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    sums.into_iter().chain(rest).map(f64::from).sum()
}

/// The cosines of all embeddings in these slots, exact, with several threads where there are many. The cost is
/// proportional to the number of embeddings and of dimensions.
pub(super) fn cosines(texts: &Texts, within: Option<&RoaringBitmap>, to: &Near<'_>) -> Vec<(u32, f32)> {
    let parts: Vec<_> = texts.parts().collect();
    let of_part = |(first, entries): &(u32, &[Option<Entry>])| -> Vec<(u32, f32)> {
        let slots = (*first..).zip(entries.iter());
        let within = |slot: u32| within.is_none_or(|within| within.contains(slot));
        let embedded = slots.filter_map(|(slot, entry)| {
            let embedded = entry.as_ref()?.embedded.as_ref().filter(|_| within(slot))?;
            Some((slot, to.cosine_of(&embedded.vector, embedded.length)))
        });
        embedded.collect()
    };
    let candidates = within.map_or(usize::MAX, |within| within.len() as usize);
    let products = candidates.min(parts.iter().map(|(_, entries)| entries.len()).sum()) * to.vector.len();
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(MOST_THREADS));
    let each = parts.len().div_ceil(threads).max(1);
    if products < MANY || threads == 1 {
        return parts.iter().flat_map(of_part).collect();
    }
    std::thread::scope(|scope| {
        let mut shares = parts.chunks(each);
        let own = shares.next();
        let others: Vec<_> = shares
            .map(|share| {
                let compute = move || share.iter().flat_map(of_part).collect::<Vec<_>>();
                let thread = std::thread::Builder::new().name("mnemon-recall".to_owned());
                // Where no thread can be started, this one does its share.
                thread.spawn_scoped(scope, compute).map_err(|_| share)
            })
            .collect();
        let mut all: Vec<_> = own.into_iter().flatten().flat_map(of_part).collect();
        for other in others {
            all.extend(match other {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(share) => share.iter().flat_map(of_part).collect(),
            });
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::Near;

    #[test]
    fn cosine_is_of_the_angle() {
        let mut rng = harness::Rng::with_seed(3);
        for length in [0, 1, 15, 16, 17, 384, 1_000] {
            let mut vector = || (0..length).map(|_| rng.f32() - 0.5).collect::<Vec<_>>();
            let (a, b) = (vector(), vector());
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
            };
            let expected = if length == 0 { 0.0 } else { dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt() };
            assert!((f64::from(Near::new(&a).cosine(&b)) - expected).abs() < 1e-5, "{length}");
        }
        assert_eq!(Near::new(&[0.0, 0.0]).cosine(&[1.0, 0.0]), 0.0);
        assert_eq!(Near::new(&[1.0]).cosine(&[1.0, 0.0]), 0.0);
    }
}
