//! What a person sees of a run.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::{numbers, visible};
use crate::data::Targets;
use crate::elab::config::{Early, Metrics, Phase, Watch};
use crate::report::output;
use crate::report::progress::Progress;
use crate::report::table::{Align, Columns};
use crate::train::evaluate::Figures;
use crate::train::programs::StageTimes;
use crate::train::records::{EpochRecord, Evaluated, FinalRecord, Versioned};
use crate::train::trainer::{Observer, PhaseSize, Position, Session};

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
        (true, ("train loss".into(), 8, |record| numbers::loss(record.train_loss))),
        (accuracy, ("train acc".into(), 8, |record| numbers::percent(record.train_accuracy))),
        (top, (titled("train"), 8, |record| percent(record.top("train")))),
        (true, (format!("{split} loss"), 8, |record| record.loss.map_or("-".into(), numbers::loss))),
        (accuracy, (format!("{split} acc"), 8, |record| percent(record.accuracy))),
        (top, (titled(split), 8, |record| percent(record.top(record.split.name())))),
        (true, ("time".into(), 8, |record| numbers::duration(record.seconds))),
        (true, ("images/s".into(), 9, |record| numbers::grouped(record.images_per_second as u64))),
    ];
    all.into_iter().filter(|(shown, _)| *shown).map(|(_, column)| column).collect()
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), numbers::percent)
}

/// What a person sees.
pub struct Screen<'a> {
    pub progress: Progress,
    session: &'a Session<'a>,
    /// Without the accuracy of what has no classes.
    metrics: Metrics,
    /// Elements of all parameters.
    parameters: u64,
    columns: Columns,
    cells: Vec<fn(&EpochRecord) -> String>,
    epochs: u64,
    /// Where the run goes on.
    begun: Position,
    shown: Shown,
    time: bool,
    /// What is said of the model when its first step is done.
    notes: Option<Box<dyn FnOnce() -> Vec<String> + 'a>>,
    start: Instant,
    train_seconds: f64,
    /// Phases so far.
    phases: usize,
}

/// What is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Table,
    Json,
    Nothing,
}

impl<'a> Screen<'a> {
    pub fn new(
        arguments: &RunArguments,
        session: &'a Session<'a>,
        begun: &Position,
        notes: Box<dyn FnOnce() -> Vec<String> + 'a>,
    ) -> Screen<'a> {
        let epochs: u64 = session.spec.phases.iter().map(|phase| u64::from(phase.epochs)).sum();
        let left = epochs.saturating_sub(begun.epochs).saturating_mul(session.data.train.len() as u64);
        let images = left.saturating_sub(begun.begun.images());
        let shown = match (arguments.json, arguments.quiet) {
            (true, _) => Shown::Json,
            (false, true) => Shown::Nothing,
            (false, false) => Shown::Table,
        };
        let progress = if shown == Shown::Table { Progress::new(images) } else { Progress::hidden() };
        // What is wrong with the model is said where it is compiled.
        let graph = session.recipe.forward(session.spec.phases[0].batch, None).unwrap_or_default();
        let metrics = Metrics {
            accuracy: session.spec.metrics.accuracy && graph.scores.is_some(),
            ..session.spec.metrics
        };
        let table = columns(&metrics, session.evaluated());
        let titles: Vec<(&str, Align, usize)> =
            table.iter().map(|(title, width, _)| (title.as_str(), Align::Right, *width)).collect();
        Screen {
            progress,
            session,
            metrics,
            parameters: graph.parameters(),
            columns: Columns::new(&titles).within(output::width()),
            cells: table.iter().map(|(_, _, cell)| *cell).collect(),
            epochs,
            begun: *begun,
            shown,
            time: arguments.time,
            notes: Some(notes),
            start: Instant::now(),
            train_seconds: 0.0,
            phases: 0,
        }
    }

    /// Prints a line for people.
    pub fn line(&self, text: &str) {
        if self.shown == Shown::Table {
            self.progress.print(text);
        }
    }

    fn json(&self, value: &impl serde::Serialize) {
        self.progress.print(&visible::json(&serde_json::to_string(&Versioned::new(value)).expect("numbers")));
    }

    pub fn done(&self, result: &FinalRecord, folder: &Path) {
        if self.shown == Shown::Json {
            return self.json(result);
        }
        let accuracy = self.metrics.accuracy.then_some(("test_accuracy", Some(result.test_accuracy)));
        let top = result.top.iter().map(|(name, share)| (name.as_str(), *share));
        let shares = accuracy.into_iter().chain(top);
        let shares: String =
            shares.map(|(name, share)| format!("{} {}, ", name.replace('_', " "), percent(share))).collect();
        self.line(&format!(
            "\n{shares}test loss {}; trained for {} ({} in all)\nweights, curves and records are in {}",
            numbers::loss(result.test_loss),
            numbers::duration(self.train_seconds),
            numbers::duration(self.start.elapsed().as_secs_f64()),
            folder.display()
        ));
        if result.confusion.is_some() {
            self.line(&format!(
                "the confusion matrix is in {}",
                folder.join(super::run::CONFUSION).display()
            ));
        }
    }

    /// What is trained, on what.
    fn subject(&self) -> String {
        let Session { spec, data, .. } = self.session;
        let grouped = |count: usize| numbers::grouped(count as u64);
        let held_out = data
            .holdout
            .as_ref()
            .map_or(String::new(), |split| format!(", {} validation images", grouped(split.len())));
        let [channels, height, width] = data.shape;
        let targets = match &data.train.targets {
            Targets::Classes(_) => format!("{} classes", data.classes),
            targets @ Targets::Labels { .. } => format!("{}, of {}", targets.describe(), data.classes),
            targets @ Targets::Numbers { .. } => targets.describe(),
        };
        format!(
            "{}, {} parameters, on {}: {} training images{held_out}, {} test images, {channels}×{height}×{width}, {targets}",
            spec.name,
            numbers::grouped(self.parameters),
            spec.data.text,
            grouped(data.train.len()),
            grouped(data.test.len()),
        )
    }

    /// How many parameters a phase trains that freezes others.
    fn trained(&self, phase: &Phase) -> String {
        if phase.freeze.is_none() {
            return String::new();
        }
        let graph = self.session.recipe.forward(phase.batch, phase.freeze.as_ref()).unwrap_or_default();
        format!(", {} of the parameters trained", numbers::grouped(graph.parameters()))
    }
}

/// The figure of a rule, as it is written.
fn watched(watch: Watch) -> &'static str {
    match (watch.validation, watch.accuracy) {
        (true, true) => "val.accuracy",
        (true, false) => "val.loss",
        (false, true) => "training.accuracy",
        (false, false) => "training.loss",
    }
}

impl Observer for Screen<'_> {
    fn phase_begins(&mut self, phase: &Phase, size: PhaseSize) {
        let Session { spec, device, .. } = self.session;
        self.phases += 1;
        if self.phases == 1 {
            self.line(&self.subject());
            let memory = numbers::bytes(size.bytes);
            self.line(&format!("seed {}; {}, {memory} of memory", spec.seed, device.described()));
            if self.begun.steps > 0 && self.begun.epochs < self.epochs {
                let epoch = self.begun.epochs + 1;
                self.line(&format!(
                    "goes on in epoch {epoch}, after step {}",
                    numbers::grouped(self.begun.steps)
                ));
            }
        }
        let name = phase.name.as_ref().map_or(String::new(), |name| format!("phase {name}: "));
        let plural = if phase.epochs == 1 { "" } else { "s" };
        let (epochs, steps) = (phase.epochs, numbers::grouped(size.steps));
        let batch = numbers::grouped(size.batch as u64);
        self.line(&format!(
            "{name}{epochs} epoch{plural} of {steps} steps, batch {batch}{}",
            self.trained(phase)
        ));
    }

    fn first_step(&mut self, phases: &StageTimes) {
        if self.time {
            let total: Duration = phases.0.iter().map(|(_, time)| *time).sum();
            for (name, time) in phases.0.iter().chain(&[("until the first step is done", total)]) {
                self.progress.note(&format!("{:>9.3} ms  {name}", time.as_secs_f64() * 1e3));
            }
            self.progress.note("");
        }
        if self.shown == Shown::Table {
            for note in self.notes.take().map(|notes| notes()).unwrap_or_default() {
                self.progress.note(&note);
            }
        }
        self.line("");
        self.line(&self.columns.header());
        self.line(&self.columns.rule());
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
        if self.shown == Shown::Json {
            return self.json(record);
        }
        let cells: Vec<String> = self.cells.iter().map(|cell| cell(record)).collect();
        self.line(&self.columns.line(&cells));
    }

    fn stopped_early(&mut self, rule: Early, epoch: u64) {
        let (figure, patience) = (watched(rule.watch), rule.patience);
        let plural = if patience == 1 { "" } else { "s" };
        self.line(&format!(
            "stopped after epoch {epoch}: {figure} has not improved for {patience} epoch{plural}"
        ));
    }

    fn kept(&mut self, watch: Watch, epoch: Option<u64>, figure: Option<f64>) {
        let Some((epoch, figure)) = epoch.zip(figure) else { return };
        let shown = if watch.accuracy { numbers::percent(figure) } else { numbers::loss(figure) };
        let on = match (watch.validation, self.session.evaluated()) {
            (true, Evaluated::Test) => " on the test split",
            _ => "",
        };
        self.line(&format!(
            "\nthe weights are those of epoch {epoch}, the best {}{on}: {shown}",
            watched(watch)
        ));
    }
}
