//! Loss and accuracies over the epochs of a run, as a picture (SVG).

use std::ops::Range;
use std::path::Path;

use super::chart::{self, BLUE, Curve, Legend, Mark, ORANGE, Panel, value_range};
use crate::base::files::write_atomically;
use crate::base::visible;
use crate::train::records::{EpochRecord, Evaluated};

/// Of a panel, in pixels.
const SIZE: (u32, u32) = (480, 392);

/// No more steps are drawn.
const MOST_STEPS: usize = 500;

/// What is drawn of a run.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// The train section's.
    pub name: &'a str,
    pub epochs: &'a [EpochRecord],
    /// The losses of its training steps by their numbers, which a run of one epoch shows.
    pub steps: &'a [(u64, f64)],
    /// The epoch whose weights are kept, where that is not just the last.
    pub kept: Option<u64>,
}

/// Writes the picture of a run: loss on the left, and on its right accuracies in percent, where they are known;
/// training, and validation or test. Phases and the epoch whose weights are kept are marked. A run of one epoch has the
/// losses of its steps.
pub fn write(path: &Path, course: &Course<'_>) -> std::io::Result<()> {
    let svg = svg(course).map_err(|error| std::io::Error::other(error.to_string()))?;
    write_atomically(path, svg.as_bytes())
}

/// The picture as text.
///
/// # Errors
///
/// Where the drawing library fails.
pub fn svg(course: &Course<'_>) -> Result<String, Box<dyn std::error::Error>> {
    let epochs = course.epochs;
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
        y_text: None,
        curves,
        legend,
        marks: marks(course),
    };
    let first = if epochs.len() > 1 || course.steps.len() < 2 {
        panel("loss", f64::INFINITY, loss, Legend::Above)
    } else {
        steps(course.steps, loss)
    };
    let mut panels = vec![first];
    for (title, curves) in [("accuracy (%)", accuracy), ("top-k accuracy (%)", top)] {
        if curves.iter().any(|curve| !curve.points.is_empty()) {
            panels.push(panel(title, 100.0, curves, Legend::Below));
        }
    }
    chart::svg(&title(course), (SIZE.0 * panels.len() as u32, SIZE.1), &panels)
}

fn title(course: &Course<'_>) -> String {
    let plural = if course.epochs.len() == 1 { "" } else { "s" };
    let kept = course.kept.map_or(String::new(), |kept| format!(", weights of epoch {kept}"));
    format!("{}: {} epoch{plural}{kept}", visible::name(course.name), course.epochs.len())
}

/// Where phases begin, and the epoch that is kept.
fn marks(course: &Course<'_>) -> Vec<Mark> {
    let phases: Vec<(f64, &str)> = course
        .epochs
        .iter()
        .filter_map(|record| Some((record_epoch(record), record.phase.as_deref()?)))
        .collect();
    let begins = phases.iter().enumerate().filter(|(at, (_, name))| *at == 0 || phases[at - 1].1 != *name);
    let x = epoch_range(course.epochs);
    let mut marks: Vec<Mark> = begins
        .map(|(_, (epoch, name))| Mark { x: (epoch - 0.5).max(x.start), label: visible::name(name), row: 0 })
        .collect();
    let row = usize::from(!marks.is_empty());
    let kept = course.kept.map(|epoch| epoch as f64).filter(|epoch| x.start <= *epoch && *epoch <= x.end);
    marks.extend(kept.map(|x| Mark { x, label: "kept".into(), row }));
    marks
}

/// The losses of the steps of one epoch, with those of the epoch at its end.
fn steps(steps: &[(u64, f64)], of_epoch: Vec<Curve>) -> Panel {
    let finite: Vec<(f64, f64)> =
        steps.iter().filter(|(_, loss)| loss.is_finite()).map(|(step, loss)| (*step as f64, *loss)).collect();
    // A dot would be on another, and a line goes through all that is left.
    let every = finite.len().div_ceil(MOST_STEPS).max(1);
    let points: Vec<(f64, f64)> = finite.into_iter().step_by(every).collect();
    let ends = [steps.first(), steps.last()].map(|step| step.map_or(1.0, |(step, _)| *step as f64));
    let mut curves = vec![Curve { label: "training step".into(), color: BLUE, points }];
    let evaluated = of_epoch.into_iter().skip(1).map(|curve| Curve {
        points: curve.points.iter().map(|(_, loss)| (ends[1], *loss)).collect(),
        ..curve
    });
    curves.extend(evaluated);
    Panel {
        title: "loss",
        x_title: "step",
        x: ends[0]..ends[1].max(ends[0] + 1.0),
        y: value_range(&curves, f64::INFINITY),
        y_text: None,
        curves,
        legend: Legend::Above,
        marks: Vec::new(),
    }
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
                phase: None,
                top: TopFigures::new(),
            }
        };
        (1..=count).map(record).collect()
    }

    fn course(epochs: &[EpochRecord]) -> Course<'_> {
        Course { name: "Net", epochs, steps: &[], kept: None }
    }

    fn drawn(epochs: &[EpochRecord]) -> Result<String, Box<dyn std::error::Error>> {
        svg(&course(epochs))
    }

    #[test]
    fn has_both_panels_and_curves() {
        let svg = drawn(&epochs(15, true)).unwrap();
        for text in ["loss", "accuracy (%)", "training", "validation", "epoch", "<polyline"] {
            assert!(svg.contains(text), "no {text}");
        }
        assert_eq!(svg.matches("<circle").count(), 4 * 15);
    }

    #[test]
    fn validation_may_be_missing() {
        let svg = drawn(&epochs(3, false)).unwrap();
        assert!(!svg.contains("validation"));
    }

    #[test]
    fn accuracies_are_drawn_where_they_are_known() {
        let mut records = epochs(3, true);
        for record in &mut records {
            record.top = TopFigures::from([("val_top3_accuracy".into(), Some(0.5))]);
        }
        assert!(drawn(&records).unwrap().contains("top-k accuracy (%)"));
        for record in &mut records {
            (record.train_accuracy, record.accuracy, record.top) = (f64::NAN, None, TopFigures::new());
        }
        assert!(!drawn(&records).unwrap().contains("accuracy"));
    }

    #[test]
    fn one_epoch_none_and_figures_that_are_not_finite_are_drawn() {
        drawn(&[]).unwrap();
        assert_eq!(drawn(&epochs(1, true)).unwrap().matches("<circle").count(), 4);
        let mut broken = epochs(3, true);
        broken[1].train_loss = f64::NAN;
        broken[2].train_loss = f64::INFINITY;
        assert_eq!(drawn(&broken).unwrap().matches("<circle").count(), 10);
        assert!(!drawn(&epochs(500, true)).unwrap().contains("<circle"));
    }

    #[test]
    fn writes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        write(&path, &course(&epochs(15, true))).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("<svg"));
    }

    /// Today a picture does not say what it is of, nor where phases begin and which epoch is kept.
    #[test]
    fn says_what_it_is_of() {
        let mut records = epochs(9, true);
        let names = ["warm", "main", "fine"];
        for (at, record) in records.iter_mut().enumerate() {
            record.phase = Some(names[at / 3].into());
        }
        let course = Course { kept: Some(7), ..course(&records) };
        let svg = svg(&course).unwrap();
        for text in ["Net: 9 epochs, weights of epoch 7", "warm", "main", "fine", "kept"] {
            assert!(svg.contains(&format!("\n{text}\n")), "no {text}: {svg}");
        }
    }

    /// Today one epoch is a dot.
    #[test]
    fn one_epoch_has_its_steps() {
        let steps: Vec<(u64, f64)> = (1..=40).map(|step| (step, 1.0 / step as f64)).collect();
        let records = epochs(1, true);
        let shown = svg(&Course { steps: &steps, ..course(&records) }).unwrap();
        assert!(shown.contains("training step") && shown.contains("\nstep\n"), "{shown}");
        assert_eq!(shown.matches("<circle").count(), 40 + 1 + 2);
        let many: Vec<(u64, f64)> = (1..=100_000).map(|step| (step, f64::from(step as u32 % 7))).collect();
        let shown = svg(&Course { steps: &many, ..course(&records) }).unwrap();
        assert!(shown.len() < 40_000, "{}", shown.len());
    }
}
