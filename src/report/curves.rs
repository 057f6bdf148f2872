//! Loss and accuracies over the epochs of a run, as a picture (SVG).

use std::ops::Range;
use std::path::Path;

use super::chart::{self, BLUE, Curve, Legend, ORANGE, Panel, value_range};
use crate::base::files::write_atomically;
use crate::train::records::{EpochRecord, Evaluated};

/// Of a panel, in pixels.
const SIZE: (u32, u32) = (480, 360);

/// Writes the picture of a run: loss on the left, and on its right accuracies in percent, where they are known;
/// training, and validation or test.
pub fn write(path: &Path, epochs: &[EpochRecord]) -> std::io::Result<()> {
    let svg = svg(epochs).map_err(|error| std::io::Error::other(error.to_string()))?;
    write_atomically(path, svg.as_bytes())
}

/// The picture as text.
///
/// # Errors
///
/// Where the drawing library fails.
pub fn svg(epochs: &[EpochRecord]) -> Result<String, Box<dyn std::error::Error>> {
    let percent = |share: f64| share * if planted!("report.curves.percent") { 1.0 } else { 100.0 };
    let loss = curves(epochs, |record| Some(record.train_loss), |record| record.loss);
    let accuracy =
        curves(epochs, |record| Some(percent(record.train_accuracy)), |record| record.accuracy.map(percent));
    let top = curves(
        epochs,
        |record| record.top("train").map(percent),
        |record| record.top(record.split.name()).map(percent),
    );
    let panel = |title, limit, curves: Vec<Curve>, legend| Panel {
        title,
        x_title: "epoch",
        x: epoch_range(epochs),
        y: value_range(&curves, limit),
        y_text: chart::plain,
        curves,
        legend,
    };
    let mut panels = vec![panel("loss", f64::INFINITY, loss, Legend::Above)];
    for (title, curves) in [("accuracy (%)", accuracy), ("top-k accuracy (%)", top)] {
        if curves.iter().any(|curve| !curve.points.is_empty()) {
            panels.push(panel(title, 100.0, curves, Legend::Below));
        }
    }
    chart::svg((SIZE.0 * panels.len() as u32, SIZE.1), &panels)
}

fn curves(
    epochs: &[EpochRecord],
    train: impl Fn(&EpochRecord) -> Option<f64>,
    validation: impl Fn(&EpochRecord) -> Option<f64>,
) -> Vec<Curve> {
    let points = |value: &dyn Fn(&EpochRecord) -> Option<f64>| {
        let point = |record| Some((record_epoch(record), value(record).filter(|value| value.is_finite())?));
        epochs.iter().filter_map(point).collect()
    };
    let label = match epochs.last().map(|record| record.split) {
        Some(Evaluated::Test) => "test",
        Some(Evaluated::Validation) | None => "validation",
    };
    let (mut blue, mut orange) = (points(&train), points(&validation));
    if planted!("report.curves.swapped") {
        std::mem::swap(&mut blue, &mut orange);
    }
    vec![
        Curve { label: "training".into(), color: BLUE, points: blue },
        Curve { label: label.into(), color: ORANGE, points: orange },
    ]
}

fn record_epoch(record: &EpochRecord) -> f64 {
    record.epoch as f64
}

fn epoch_range(epochs: &[EpochRecord]) -> Range<f64> {
    let last = epochs.iter().map(record_epoch).fold(1.0, f64::max);
    if last > 1.0 { 1.0..last } else { 0.5..1.5 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::records::TopFigures;

    fn epochs(count: u64, validation: bool) -> Vec<EpochRecord> {
        let record = |epoch: u64| {
            let progress = (-(epoch as f64) / 4.0).exp();
            EpochRecord {
                epoch,
                train_loss: 2.0 * progress + 0.02,
                train_accuracy: 1.0 - 0.6 * progress,
                split: Evaluated::Validation,
                loss: validation.then_some(1.8 * progress + 0.09),
                accuracy: validation.then_some(0.985 - 0.6 * progress),
                seconds: 1.0,
                images_per_second: 1.0,
                learning_rate: 0.001,
                top: TopFigures::new(),
            }
        };
        (1..=count).map(record).collect()
    }

    #[test]
    fn has_both_panels_and_curves() {
        let svg = svg(&epochs(15, true)).unwrap();
        for text in ["loss", "accuracy (%)", "training", "validation", "epoch", "<polyline"] {
            assert!(svg.contains(text), "no {text}");
        }
        assert_eq!(svg.matches("<circle").count(), 4 * 15);
    }

    #[test]
    fn validation_may_be_missing() {
        let svg = svg(&epochs(3, false)).unwrap();
        assert!(!svg.contains("validation"));
    }

    #[test]
    fn accuracies_are_drawn_where_they_are_known() {
        let mut records = epochs(3, true);
        for record in &mut records {
            record.top = TopFigures::from([("val_top3_accuracy".into(), Some(0.5))]);
        }
        assert!(svg(&records).unwrap().contains("top-k accuracy (%)"));
        for record in &mut records {
            (record.train_accuracy, record.accuracy, record.top) = (f64::NAN, None, TopFigures::new());
        }
        assert!(!svg(&records).unwrap().contains("accuracy"));
    }

    #[test]
    fn one_epoch_none_and_figures_that_are_not_finite_are_drawn() {
        svg(&[]).unwrap();
        assert_eq!(svg(&epochs(1, true)).unwrap().matches("<circle").count(), 4);
        let mut broken = epochs(3, true);
        broken[1].train_loss = f64::NAN;
        broken[2].train_loss = f64::INFINITY;
        assert_eq!(svg(&broken).unwrap().matches("<circle").count(), 10);
        assert!(!svg(&epochs(500, true)).unwrap().contains("<circle"));
    }

    #[test]
    fn writes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        write(&path, &epochs(15, true)).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("<svg"));
    }
}
