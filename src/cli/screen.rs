//! What a person sees of a run.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::{numbers, visible};
use crate::elab::config::Metrics;
use crate::report::progress::Progress;
use crate::report::table::{Align, Columns};
use crate::train::evaluate::Figures;
use crate::train::programs::Phases;
use crate::train::records::{EpochRecord, Evaluated, FinalRecord};
use crate::train::trainer::{Observer, Position, Session};

use super::arguments::RunArguments;

/// A column of the table of epochs: title, width, and the cell of an epoch.
type Column = (String, usize, fn(&EpochRecord) -> String);

/// The columns of what the metrics ask for.
fn columns(metrics: &Metrics, split: Evaluated) -> Vec<Column> {
    let (accuracy, top) = (metrics.accuracy, metrics.top.is_some());
    let split = split.name();
    let titled = |split: &str| format!("{split} top{}", metrics.top_k().unwrap_or_default());
    let all: [(bool, Column); 9] = [
        (true, ("epoch".into(), 5, |record| record.epoch.to_string())),
        (true, ("train loss".into(), 10, |record| numbers::loss(record.train_loss))),
        (accuracy, ("train acc".into(), 9, |record| numbers::percent(record.train_accuracy))),
        (top, (titled("train"), 9, |record| percent(record.top("train")))),
        (true, (format!("{split} loss"), 9, |record| record.loss.map_or("-".into(), numbers::loss))),
        (accuracy, (format!("{split} acc"), 8, |record| percent(record.accuracy))),
        (top, (titled(split), 9, |record| percent(record.top(record.split.name())))),
        (true, ("time".into(), 8, |record| numbers::duration(record.seconds))),
        (true, ("images/s".into(), 9, |record| numbers::grouped(record.images_per_second as u64))),
    ];
    all.into_iter().filter(|(shown, _)| *shown).map(|(_, column)| column).collect()
}

/// The metrics without the accuracy of what has no classes.
fn counted(session: &Session<'_>) -> Metrics {
    let graph = session.recipe.forward(session.spec.phases[0].batch, None);
    // What is wrong with the model is said where it is compiled.
    let has_classes = graph.is_ok_and(|graph| graph.classes.is_some());
    Metrics { accuracy: session.spec.metrics.accuracy && has_classes, ..session.spec.metrics }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), numbers::percent)
}

/// What a person sees.
pub struct Screen {
    pub progress: Progress,
    metrics: Metrics,
    columns: Columns,
    cells: Vec<fn(&EpochRecord) -> String>,
    epochs: u64,
    json: bool,
    time: bool,
    start: Instant,
    train_seconds: f64,
}

impl Screen {
    pub fn new(arguments: &RunArguments, session: &Session<'_>, position: &Position) -> Screen {
        let epochs: u64 = session.spec.phases.iter().map(|phase| u64::from(phase.epochs)).sum();
        let left = epochs.saturating_sub(position.epochs).saturating_mul(session.data.train.len() as u64);
        let images = left.saturating_sub(position.begun.images());
        let progress = if arguments.json { Progress::hidden() } else { Progress::new(images) };
        let metrics = counted(session);
        let table = columns(&metrics, session.evaluated());
        let titles: Vec<(&str, Align, usize)> =
            table.iter().map(|(title, width, _)| (title.as_str(), Align::Right, *width)).collect();
        Screen {
            progress,
            metrics,
            columns: Columns::new(&titles),
            cells: table.iter().map(|(_, _, cell)| *cell).collect(),
            epochs,
            json: arguments.json,
            time: arguments.time,
            start: Instant::now(),
            train_seconds: 0.0,
        }
    }

    pub fn done(&self, result: &FinalRecord, folder: &Path) {
        if self.json {
            self.progress.print(&visible::json(&serde_json::to_string(result).expect("numbers")));
            return;
        }
        let accuracy = self.metrics.accuracy.then_some(("test_accuracy", Some(result.test_accuracy)));
        let top = result.top.iter().map(|(name, share)| (name.as_str(), *share));
        let shares = accuracy.into_iter().chain(top);
        let shares: String =
            shares.map(|(name, share)| format!("{} {}, ", name.replace('_', " "), percent(share))).collect();
        self.progress.print(&format!(
            "\n{shares}test loss {}; trained for {} ({} in all)\nweights, curves and records are in {}",
            numbers::loss(result.test_loss),
            numbers::duration(self.train_seconds),
            numbers::duration(self.start.elapsed().as_secs_f64()),
            folder.display()
        ));
        if result.confusion.is_some() {
            self.progress.print(&format!(
                "the confusion matrix is in {}",
                folder.join(super::run::CONFUSION).display()
            ));
        }
    }
}

impl Observer for Screen {
    fn first_step(&mut self, phases: &Phases) {
        if self.time {
            let total: Duration = phases.0.iter().map(|(_, time)| *time).sum();
            for (name, time) in phases.0.iter().chain(&[("until the first step is done", total)]) {
                self.progress.note(&format!("{:>9.3} ms  {name}", time.as_secs_f64() * 1e3));
            }
            self.progress.note("");
        }
        if !self.json {
            self.progress.print(&self.columns.header());
            self.progress.print(&self.columns.rule());
        }
    }

    fn epoch_begins(&mut self, epoch: u64) {
        self.progress.begin_epoch(epoch, self.epochs);
    }

    fn step(&mut self, images: u64, figures: &Figures) {
        let accuracy = self.metrics.accuracy.then(|| figures.accuracy());
        self.progress.advance(images, figures.loss(), accuracy);
    }

    fn epoch(&mut self, record: &EpochRecord) {
        self.train_seconds += record.seconds;
        if self.json {
            self.progress.print(&visible::json(&serde_json::to_string(record).expect("numbers")));
            return;
        }
        let cells: Vec<String> = self.cells.iter().map(|cell| cell(record)).collect();
        self.progress.print(&self.columns.line(&cells));
    }
}
