//! Random numbers for what is done to one image.
//!
//! Numbered by the seed, the epoch, the image and the place that draws (see [`philox`]), so that neither threads, nor
//! the order of images, nor a resumed run change them, and every epoch has its own.

use crate::base::philox;

/// The draws of one step on one image in one epoch, in turn.
pub struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl Draws {
    /// Of a stream; each step has its own, see [`philox::stream`].
    pub fn new(seed: u64, epoch: u64, image: u32, stream: u32) -> Draws {
        let key = [seed as u32, (seed >> 32) as u32];
        Draws { key, counter: [0, stream, image, epoch as u32], words: [0; 4], used: 4 }
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.used == self.words.len() {
            self.words = philox::philox4x32(self.key, self.counter);
            self.counter[0] += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.bits()) / 4_294_967_296.0
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit()
    }

    /// An integer from 0 to `count - 1`; `count` is at least 1 and fits 32 bits.
    pub fn below(&mut self, count: usize) -> usize {
        ((u64::from(self.bits()) * count as u64) >> 32) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_draws_its_own() {
        let first = |seed, epoch, image, stream| Draws::new(seed, epoch, image, stream).bits();
        let draws = [first(1, 2, 3, 4), first(0, 2, 3, 4), first(1, 0, 3, 4), first(1, 2, 0, 4)];
        for (at, draw) in draws.iter().enumerate() {
            assert!(!draws[..at].contains(draw));
        }
        assert_eq!(draws[0], first(1, 2, 3, 4));
    }

    #[test]
    fn draws_are_fair() {
        let mut draws = Draws::new(0, 0, 0, 0);
        let mut counts = [0; 5];
        for _ in 0..5000 {
            counts[draws.below(5)] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        let heads = (0..1000).filter(|_| draws.chance(0.25)).count();
        assert!((200..300).contains(&heads), "{heads}");
        assert!((0..100).all(|_| (3.0..4.0).contains(&draws.between([3.0, 4.0]))));
        assert!((0..100).all(|_| draws.chance(1.0) && !draws.chance(0.0)));
    }
}
