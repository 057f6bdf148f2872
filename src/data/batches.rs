//! The order of an epoch and its batches.

use crate::base::philox;

/// The images of an epoch, `0..images`, in the order they are trained on.
///
/// With `shuffle` a Fisher–Yates shuffle whose draws depend on the seed and the epoch alone, so that a run can be
/// repeated and resumed; without it the order of the data set.
pub fn order(images: usize, seed: u64, epoch: u64, shuffle: bool) -> Vec<u32> {
    let count = u32::try_from(images).expect("`Images` bounds the number of images");
    let mut order: Vec<u32> = (0..count).collect();
    if shuffle {
        let epoch = if planted!("data.batches.epoch") { 1 } else { epoch };
        let stream = philox::stream("shuffle");
        let seed = if planted!("data.batches.seed") { 0 } else { seed };
        for last in (1..count).rev() {
            order.swap(last as usize, draw(seed, epoch, stream, last) as usize);
        }
    }
    order
}

/// A number from 0 to `last`, both possible.
fn draw(seed: u64, epoch: u64, stream: u32, last: u32) -> u32 {
    let key = [seed as u32, (seed >> 32) as u32];
    let words = philox::philox4x32(key, [last, stream, epoch as u32, (epoch >> 32) as u32]);
    let random = u64::from(words[0]) << 32 | u64::from(words[1]);
    // The high half of the product maps 64 bits to the range with a bias below 2^-32.
    ((u128::from(random) * (u128::from(last) + 1)) >> 64) as u32
}

/// The batches of an epoch in turn: `batch` images each, then the smaller rest unless `drop_last`.
pub fn batches(order: &[u32], batch: usize, drop_last: bool) -> impl ExactSizeIterator<Item = &[u32]> {
    let rest = if drop_last && !planted!("data.batches.rest") { order.len() % batch } else { 0 };
    order[..order.len() - rest].chunks(batch)
}

/// The number of batches of an epoch.
pub fn count(images: usize, batch: usize, drop_last: bool) -> usize {
    if drop_last && !planted!("data.batches.count") { images / batch } else { images.div_ceil(batch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation_of_its_own() {
        let first = order(1000, 7, 0, true);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_eq!(first, order(1000, 7, 0, true));
        assert_ne!(first, sorted);
        assert_ne!(first, order(1000, 7, 1, true));
        assert_ne!(first, order(1000, 8, 0, true));
        assert_eq!(sorted, order(1000, 7, 0, false));
    }

    /// All 24 permutations of four images occur about equally often.
    #[test]
    fn shuffles_are_fair() {
        let mut seen = std::collections::HashMap::new();
        for epoch in 0..2400 {
            *seen.entry(order(4, 1, epoch, true)).or_insert(0_u32) += 1;
        }
        assert_eq!(seen.len(), 24);
        assert!(seen.values().all(|times| (60..150).contains(times)), "{seen:?}");
    }

    #[test]
    fn the_last_batch_is_smaller_or_dropped() {
        let images = order(10, 0, 0, false);
        let sizes = |drop_last| batches(&images, 4, drop_last).map(<[u32]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(false), [4, 4, 2]);
        assert_eq!(sizes(true), [4, 4]);
        assert_eq!((count(10, 4, false), count(10, 4, true), count(8, 4, true)), (3, 2, 2));
        assert_eq!(batches(&images, 4, false).next(), Some(&[0, 1, 2, 3][..]));
        assert_eq!(batches(&images[..3], 4, true).len(), 0);
    }
}
