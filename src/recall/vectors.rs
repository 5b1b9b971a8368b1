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
        self.cosines_of([(other, length)])[0]
    }

    /// As [`cosine_of`](Self::cosine_of), of vectors that the processor reads side by side.
    fn cosines_of<const N: usize>(&self, others: [(&[f32], f32); N]) -> [f32; N] {
        let dimensions = self.vector.len();
        let products = products(self.vector, others.map(|(other, _)| other.get(..dimensions).unwrap_or(&[])));
        let mut cosines = [0.0; N];
        for ((cosine, product), (other, length)) in cosines.iter_mut().zip(products).zip(others) {
            let lengths = f64::from(self.length) * f64::from(length);
            if other.len() == dimensions && lengths > 0.0 {
                *cosine = (product / lengths).clamp(-1.0, 1.0) as f32;
            }
        }
        cosines
    }
}

/// Length of a vector, in space.
pub(super) fn length(vector: &[f32]) -> f32 {
    products(vector, [vector])[0].sqrt() as f32
}

/// The sums of the products of a vector and others, each up to the shorter one's dimensions.
fn products<const N: usize>(a: &[f32], others: [&[f32]; N]) -> [f64; N] {
    /// Sums that are kept apart, so that they are computed side by side.
    const LANES: usize = 8;
    let mut sums = [[0.0_f32; LANES]; N];
    let (chunks, rest) = a.as_chunks::<LANES>();
    let split = others.map(|other| other.as_chunks::<LANES>());
    for (at, a) in chunks.iter().enumerate() {
        for (sums, (chunks, _)) in sums.iter_mut().zip(&split) {
            if let Some(b) = chunks.get(at) {
                for lane in 0..LANES {
                    sums[lane] += a[lane] * b[lane];
                }
            }
        }
    }
    let mut products = [0.0; N];
    for ((product, sums), (_, b)) in products.iter_mut().zip(sums).zip(split) {
        let rest = rest.iter().zip(b).map(|(a, b)| a * b);
        *product = sums.into_iter().chain(rest).map(f64::from).sum();
    }
    products
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
            Some((slot, (&*embedded.vector, embedded.length)))
        });
        let embedded: Vec<_> = embedded.collect();
        let (fours, rest) = embedded.as_chunks::<4>();
        let of_fours = fours.iter().flat_map(|four| {
            let cosines = to.cosines_of(four.map(|(_, vector)| vector));
            four.map(|(slot, _)| slot).into_iter().zip(cosines)
        });
        let of_rest = rest.iter().map(|(slot, (vector, length))| (*slot, to.cosine_of(vector, *length)));
        of_fours.chain(of_rest).collect()
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
    use super::{Near, length};

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
        let mut vector = |length: usize| (0..length).map(|_| rng.f32() - 0.5).collect::<Vec<_>>();
        let (near, others) = (vector(20), [vector(20), vector(19), vec![0.0; 20], vector(20)]);
        let (near, others) = (Near::new(&near), others.each_ref().map(|other| &**other));
        let together = near.cosines_of(others.map(|other| (other, length(other))));
        assert_eq!(together, others.map(|other| near.cosine(other)));
        assert!(together[0] != 0.0 && together[1..3] == [0.0, 0.0] && together[3] != together[0]);
        assert_eq!(Near::new(&[1.0]).cosine(&[1.0, 0.0]), 0.0);
    }
}
