//! Loss and accuracy over the epochs of a run, as a picture (SVG).

use std::ops::Range;
use std::path::Path;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::base::files::write_atomically;
use crate::train::records::EpochRecord;

/// In pixels.
const SIZE: (u32, u32) = (960, 360);
const TRAIN: RGBColor = RGBColor(31, 119, 180);
const VALIDATION: RGBColor = RGBColor(214, 94, 0);
const GRID: RGBColor = RGBColor(225, 225, 225);
const INK: RGBColor = RGBColor(60, 60, 60);
/// Runs with more epochs have lines without dots.
const MOST_DOTS: usize = 60;

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A curve: a value an epoch, where there is a finite one.
struct Curve {
    label: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Writes the picture of a run: loss on the left, accuracy in percent on the right, training and validation.
pub fn write(path: &Path, epochs: &[EpochRecord]) -> std::io::Result<()> {
    let svg = svg(epochs).map_err(|error| std::io::Error::other(error.to_string()))?;
    write_atomically(path, svg.as_bytes())
}

/// The picture as text.
pub fn svg(epochs: &[EpochRecord]) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let panels = root.split_evenly((1, 2));
        let percent = |share: f64| share * 100.0;
        let loss = curves(epochs, |record| Some(record.train_loss), |record| record.val_loss);
        let accuracy = curves(
            epochs,
            |record| Some(percent(record.train_accuracy)),
            |record| record.val_accuracy.map(percent),
        );
        let x = epoch_range(epochs);
        let (above, below) = (SeriesLabelPosition::UpperRight, SeriesLabelPosition::LowerRight);
        draw(&panels[0], "loss", x.clone(), value_range(&loss, f64::INFINITY), &loss, above)?;
        draw(&panels[1], "accuracy (%)", x, value_range(&accuracy, 100.0), &accuracy, below)?;
        root.present()?;
    }
    Ok(svg)
}

fn curves(
    epochs: &[EpochRecord],
    train: impl Fn(&EpochRecord) -> Option<f64>,
    validation: impl Fn(&EpochRecord) -> Option<f64>,
) -> [Curve; 2] {
    let points = |value: &dyn Fn(&EpochRecord) -> Option<f64>| {
        let point = |record| Some((record_epoch(record), value(record).filter(|value| value.is_finite())?));
        epochs.iter().filter_map(point).collect()
    };
    [
        Curve { label: "training", color: TRAIN, points: points(&train) },
        Curve { label: "validation", color: VALIDATION, points: points(&validation) },
    ]
}

fn record_epoch(record: &EpochRecord) -> f64 {
    record.epoch as f64
}

fn epoch_range(epochs: &[EpochRecord]) -> Range<f64> {
    let last = epochs.iter().map(record_epoch).fold(1.0, f64::max);
    if last > 1.0 { 1.0..last } else { 0.5..1.5 }
}

/// The range of all values with some air, never above `limit`.
fn value_range(curves: &[Curve], limit: f64) -> Range<f64> {
    let values = || curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return 0.0..1.0;
    }
    let air = if high > low { (high - low) * 0.06 } else { low.abs().max(1e-3) * 0.1 };
    let top = if high <= limit { (high + air).min(limit) } else { high + air };
    let bottom = if low >= 0.0 { (low - air).max(0.0) } else { low - air };
    bottom..top
}

fn draw<'b>(
    panel: &DrawingArea<SVGBackend<'b>, plotters::coord::Shift>,
    title: &str,
    x: Range<f64>,
    y: Range<f64>,
    curves: &[Curve],
    legend: SeriesLabelPosition,
) -> Drawn {
    let mut chart = ChartBuilder::on(panel)
        .margin(12)
        .margin_right(20)
        .caption(title, ("sans-serif", 18).into_font().color(&INK))
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(x.clone(), y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .x_desc("epoch")
        .x_labels(x_label_count(&x))
        .y_labels(6)
        .x_label_formatter(&|epoch| if epoch.fract() == 0.0 { format!("{epoch}") } else { String::new() })
        .y_label_formatter(&|value| tick(*value))
        .draw()?;
    for curve in curves.iter().filter(|curve| !curve.points.is_empty()) {
        draw_curve(&mut chart, curve)?;
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(("sans-serif", 13).into_font().color(&INK))
        .draw()?;
    Ok(())
}

/// At most a label an epoch.
fn x_label_count(x: &Range<f64>) -> usize {
    ((x.end - x.start) as usize + 1).min(10)
}

fn tick(value: f64) -> String {
    let text = if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.4}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn draw_curve<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, curve: &Curve) -> Drawn {
    let color = curve.color;
    let line = LineSeries::new(curve.points.iter().copied(), color.stroke_width(2));
    chart
        .draw_series(line)?
        .label(curve.label)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    if curve.points.len() <= MOST_DOTS {
        chart.draw_series(curve.points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(count: u64, validation: bool) -> Vec<EpochRecord> {
        let record = |epoch: u64| {
            let progress = (-(epoch as f64) / 4.0).exp();
            EpochRecord {
                epoch,
                train_loss: 2.0 * progress + 0.02,
                train_accuracy: 1.0 - 0.6 * progress,
                val_loss: validation.then_some(1.8 * progress + 0.09),
                val_accuracy: validation.then_some(0.985 - 0.6 * progress),
                seconds: 1.0,
                images_per_second: 1.0,
                learning_rate: 0.001,
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
    fn ranges_have_air_within_limits() {
        let curve = |points: &[(f64, f64)]| [Curve { label: "", color: TRAIN, points: points.to_vec() }];
        assert_eq!(value_range(&curve(&[(1.0, 0.0), (2.0, 100.0)]), 100.0), 0.0..100.0);
        assert_eq!(value_range(&curve(&[(1.0, 2.0)]), f64::INFINITY), 1.8..2.2);
        assert_eq!(value_range(&curve(&[]), 100.0), 0.0..1.0);
    }

    #[test]
    fn writes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        write(&path, &epochs(15, true)).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("<svg"));
    }
}
