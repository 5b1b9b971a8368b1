//! Embeddings: how near they are.

use super::texts::{Entry, Texts};
use roaring::RoaringBitmap;

/// Number of products of two numbers from which another thread is worth it.
const MANY: usize = 1 << 22;

/// Most threads that compute at once.
const MOST_THREADS: usize = 8;

/// The cosine of the angle between two vectors: -1 to 1; 0 if they differ in dimensions, or one is zero.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    /// Sums that are kept apart, so that they are computed side by side.
    const LANES: usize = 16;
    if a.len() != b.len() {
        return 0.0;
    }
    let (mut products, mut of_a, mut of_b) = ([0.0_f32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
    let (a_parts, b_parts) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (n, (x, y)) in a_parts.remainder().iter().zip(b_parts.remainder()).enumerate() {
        (products[n], of_a[n], of_b[n]) = (x * y, x * x, y * y);
    }
    for (a, b) in a_parts.zip(b_parts) {
        for n in 0..LANES {
            products[n] += a[n] * b[n];
            of_a[n] += a[n] * a[n];
            of_b[n] += b[n] * b[n];
        }
    }
    let sum = |lanes: [f32; LANES]| lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
    let length = (sum(of_a) * sum(of_b)).sqrt();
    if length > 0.0 && length.is_finite() { (sum(products) / length) as f32 } else { 0.0 }
}

/// The cosines of all embeddings in these slots, exact, with several threads where there are many. The cost is
/// proportional to the number of embeddings and of dimensions.
pub(super) fn cosines(texts: &Texts, within: Option<&RoaringBitmap>, to: &[f32]) -> Vec<(u32, f32)> {
    let parts: Vec<_> = texts.parts().collect();
    let of_part = |(first, entries): &(u32, &[Option<Entry>])| -> Vec<(u32, f32)> {
        let slots = (*first..).zip(entries.iter());
        let within = |slot: u32| within.is_none_or(|within| within.contains(slot));
        let embedded = slots.filter_map(|(slot, entry)| {
            let embedding = entry.as_ref()?.content.embedding.as_deref()?;
            within(slot).then(|| (slot, cosine(embedding, to)))
        });
        embedded.collect()
    };
    let candidates = within.map_or(usize::MAX, |within| within.len() as usize);
    let products = candidates.min(parts.iter().map(|(_, entries)| entries.len()).sum()) * to.len();
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
    use super::cosine;

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
            assert!((f64::from(cosine(&a, &b)) - expected).abs() < 1e-5, "{length}");
        }
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
        assert_eq!(cosine(&[1.0], &[1.0, 0.0]), 0.0);
    }
}
