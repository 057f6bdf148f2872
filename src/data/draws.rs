//! Random numbers for what is done to one image.
//!
//! Numbered by the seed, the epoch, the image and the place that draws (see [`philox`]), so that neither threads, nor
//! the order of images, nor a resumed run change them, and every epoch has its own.

use crate::base::philox;

/// The draws of one step on one image in one epoch, in turn.
pub struct CounterRng {
    key: [u32; 2],
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl CounterRng {
    /// Of a stream; each step has its own, see [`philox::stream`].
    pub fn new(seed: u64, epoch: u64, image: u32, stream: u32) -> CounterRng {
        let key = [seed as u32, (seed >> 32) as u32];
        CounterRng { key, counter: [0, stream, image, epoch as u32], words: [0; 4], used: 4 }
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
        let count = count - usize::from(planted!("data.draws.below") && count > 1);
        ((u64::from(self.bits()) * count as u64) >> 32) as usize
    }

    /// A number from the normal distribution around 0 with deviation 1, by the method of Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// The logarithm of a number from the gamma distribution of shape `alpha` > 0 and scale 1, by the method of
    /// Marsaglia and Tsang (2000). Small shapes give numbers that only a logarithm can hold.
    fn log_gamma(&mut self, alpha: f64) -> f64 {
        if alpha < 1.0 {
            return self.log_gamma(alpha + 1.0) + (1.0 - self.unit()).ln() / alpha;
        }
        let d = alpha - 1.0 / 3.0;
        loop {
            let x = self.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                return d.ln() + v.ln();
            }
        }
    }

    /// A number in `[0, 1]` from the beta distribution whose parameters both are `alpha` > 0.
    pub fn beta(&mut self, alpha: f64) -> f64 {
        let (x, y) = (self.log_gamma(alpha), self.log_gamma(alpha));
        1.0 / (1.0 + (y - x).exp())
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
        let first = |seed, epoch, image, stream| CounterRng::new(seed, epoch, image, stream).bits();
        let draws = [first(1, 2, 3, 4), first(0, 2, 3, 4), first(1, 0, 3, 4), first(1, 2, 0, 4)];
        for (at, draw) in draws.iter().enumerate() {
            assert!(!draws[..at].contains(draw));
        }
        assert_eq!(draws[0], first(1, 2, 3, 4));
    }

    #[test]
    fn draws_are_fair() {
        let mut draws = CounterRng::new(0, 0, 0, 0);
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

    /// Mean 1/2 and variance 1 / (8 alpha + 4), for alpha from where nearly all is 0 or 1 to where nearly all is 1/2.
    #[test]
    fn beta_has_its_moments() {
        for alpha in [0.001, 0.2, 1.0, 4.0, 1000.0] {
            let mut draws = CounterRng::new(1, 0, 0, 0);
            let count = 20_000;
            let numbers: Vec<f64> = (0..count).map(|_| draws.beta(alpha)).collect();
            assert!(numbers.iter().all(|x| (0.0..=1.0).contains(x)));
            let mean = numbers.iter().sum::<f64>() / f64::from(count);
            let variance = numbers.iter().map(|x| (x - 0.5).powi(2)).sum::<f64>() / f64::from(count);
            let expected = 1.0 / (8.0 * alpha + 4.0);
            assert!((mean - 0.5).abs() < 4.0 * (expected / f64::from(count)).sqrt(), "{alpha}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.05, "{alpha}: {variance}, not {expected}");
        }
    }
}
