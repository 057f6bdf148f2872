//! Initial values of parameters and states.

use std::f64::consts::TAU;

use crate::base::philox::{self, RandomState};
use crate::graph::Init;

/// Fills a tensor. Random values depend on the seed, the tensor's path and the element's row-major index alone, so a
/// layer that is added elsewhere changes nothing here.
pub fn fill(init: &Init, path: &str, seed: u64, out: &mut [f32]) {
    let stream = philox::stream(path);
    let seed = if planted!("train.initialise.seed") { 0 } else { seed };
    match *init {
        Init::Constant(value) => out.fill(value as f32),
        Init::Uniform { low, high } => fill_by(out, |element| uniform(low, high, seed, stream, element)),
        Init::Normal { mean, std } => {
            let spread = if planted!("train.initialise.deviation") { std * std } else { std };
            fill_by(out, |element| mean + spread * normal(seed, stream, element))
        }
    }
}

fn fill_by(out: &mut [f32], value: impl Fn(u32) -> f64) {
    for (element, out) in out.iter_mut().enumerate() {
        *out = value(element as u32) as f32;
    }
}

/// A number from `low` to `high`.
fn uniform(low: f64, high: f64, seed: u64, stream: u32, element: u32) -> f64 {
    let random = philox::uniform(RandomState { seed, step: 0 }, stream, element);
    low + (high - low) * f64::from(random)
}

/// A draw of the standard normal distribution, by Box and Muller's transform of two uniform ones. The first is never
/// 0, so the result is finite: at most 6.8.
fn normal(seed: u64, stream: u32, element: u32) -> f64 {
    let key = [seed as u32, (seed >> 32) as u32];
    let words = philox::philox4x32(key, [element, stream, 0, 0]);
    let unit = |word: u32| (f64::from(word) + 0.5) / 4_294_967_296.0;
    (-2.0 * unit(words[0]).ln()).sqrt() * (TAU * unit(words[1])).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(init: Init, path: &str, seed: u64) -> Vec<f32> {
        let mut out = vec![f32::NAN; 20_000];
        fill(&init, path, seed, &mut out);
        out
    }

    /// Mean, standard deviation and the standardised fourth moment.
    fn moments(values: &[f32]) -> (f64, f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let moment =
            |power| values.iter().map(|value| (f64::from(*value) - mean).powi(power)).sum::<f64>() / count;
        (mean, moment(2).sqrt(), moment(4) / moment(2).powi(2))
    }

    #[test]
    fn constants() {
        assert!(filled(Init::Constant(0.01), "a", 1).iter().all(|value| *value == 0.01));
    }

    #[test]
    fn uniform_values_fill_their_range() {
        let values = filled(Init::Uniform { low: -0.5, high: 1.5 }, "a", 1);
        assert!(values.iter().all(|value| (-0.5..=1.5).contains(value)));
        let (mean, std, kurtosis) = moments(&values);
        assert!((mean - 0.5).abs() < 0.02 && (std - (4.0_f64 / 12.0).sqrt()).abs() < 0.01, "{mean} {std}");
        assert!((kurtosis - 1.8).abs() < 0.05, "{kurtosis}");
    }

    #[test]
    fn normal_values_have_its_moments() {
        let values = filled(Init::Normal { mean: 1.0, std: 2.0 }, "a", 1);
        let (mean, std, kurtosis) = moments(&values);
        assert!((mean - 1.0).abs() < 0.05 && (std - 2.0).abs() < 0.04, "{mean} {std}");
        assert!((kurtosis - 3.0).abs() < 0.15, "{kurtosis}");
    }

    #[test]
    fn seed_and_path_decide() {
        let init = Init::Normal { mean: 0.0, std: 1.0 };
        let first = filled(init, "conv1.weight", 7);
        assert_eq!(first, filled(init, "conv1.weight", 7));
        assert_ne!(first, filled(init, "conv2.weight", 7));
        assert_ne!(first, filled(init, "conv1.weight", 8));
    }
}
