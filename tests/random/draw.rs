//! Draws of one seed, the same on every machine.

use cnnc::base::philox::{RandomState, uniform};

/// A sequence of draws.
pub struct Draw {
    seed: u64,
    count: u32,
}

impl Draw {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Draw {
        Draw { seed, count: 0 }
    }

    fn unit(&mut self) -> f64 {
        self.count += 1;
        f64::from(uniform(RandomState { seed: self.seed, step: 77 }, 1, self.count))
    }

    /// A number from `low` to `high`, both included.
    pub fn from(&mut self, low: i64, high: i64) -> i64 {
        low + (self.unit() * (high - low + 1) as f64) as i64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.from(0, choices.len() as i64 - 1) as usize]
    }
}
