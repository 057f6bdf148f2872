//! The norms of the gradients of a model's weights, from the first layer to the last, as a picture (SVG).

use std::path::Path;

use indexmap::IndexMap;

use super::chart::{self, BLUE, Curve, Legend, ORANGE, Panel, value_range};
use crate::base::files::write_atomically;
use crate::train::records::GradientNorms;

/// In pixels.
const SIZE: (u32, u32) = (960, 400);

/// Writes the picture of a run: a curve for its first and one for its last epoch, over those parameters that
/// `is_weight` picks.
pub fn write(path: &Path, norms: &GradientNorms, is_weight: impl Fn(&str) -> bool) -> std::io::Result<()> {
    let svg = svg(norms, is_weight).map_err(|error| std::io::Error::other(error.to_string()))?;
    write_atomically(path, svg.as_bytes())
}

fn svg(
    norms: &GradientNorms,
    is_weight: impl Fn(&str) -> bool,
) -> Result<String, Box<dyn std::error::Error>> {
    let curve = |color, (epoch, norms): (&u64, &IndexMap<String, f64>)| {
        let weights = norms.iter().filter(|(param, _)| is_weight(param));
        let places = weights.enumerate().filter(|(_, (_, norm))| **norm > 0.0);
        let points = places.map(|(at, (_, norm))| ((at + 1) as f64, norm.log10())).collect();
        Curve { label: format!("epoch {epoch}"), color, points }
    };
    let first = norms.first_key_value().map(|norms| curve(BLUE, norms));
    let last = if planted!("report.gradients.last") { norms.iter().nth(1) } else { norms.last_key_value() };
    let last = last.filter(|_| norms.len() > 1).map(|norms| curve(ORANGE, norms));
    let curves: Vec<Curve> = first.into_iter().chain(last).collect();
    let weights = curves.iter().flat_map(|curve| &curve.points).map(|(at, _)| *at).fold(2.0, f64::max);
    let panel = Panel {
        title: "mean norm of the gradient",
        x_title: "weight, in the order of the model",
        x: 1.0..weights,
        y: value_range(&curves, f64::INFINITY),
        y_text: Some(|exponent| format!("{:.0e}", 10_f64.powf(exponent))),
        curves,
        legend: Legend::Below,
        marks: Vec::new(),
    };
    chart::svg("Gradients", SIZE, &[panel])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norms(epochs: u64) -> GradientNorms {
        let of_epoch = |epoch: u64| {
            let norm = |at: i32| (format!("layer{at}.weight"), 10_f64.powi(-at) / epoch as f64);
            (epoch, (0..5).map(norm).chain([("bias".into(), 1.0)]).collect())
        };
        (1..=epochs).map(of_epoch).collect()
    }

    #[test]
    fn first_and_last_epoch_are_drawn() {
        let svg = svg(&norms(7), |param| param != "bias").unwrap();
        assert!(svg.contains("epoch 1") && svg.contains("epoch 7") && !svg.contains("epoch 2"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2 * 5);
    }

    #[test]
    fn few_norms_are_drawn_too() {
        assert_eq!(svg(&norms(1), |param| param == "bias").unwrap().matches("<circle").count(), 1);
        assert!(svg(&GradientNorms::new(), |_| true).is_ok());
        let dead = GradientNorms::from([(1, IndexMap::from([("a".to_owned(), 0.0)]))]);
        assert!(svg(&dead, |_| true).is_ok());
    }
}
