//! `cnnc run`: trains a model.
//!
//! The run's folder is made when the first step is compiled. However a run ends after that, interrupted or with a
//! loss that is not finite, its records, its checkpoint and the weights of its last good step are there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::files::write_atomically;
use crate::base::{numbers, visible};
use crate::elab::config::{Metrics, Phase};
use crate::report::progress::Progress;
use crate::report::table::{Align, Columns};
use crate::report::{confusion, curves, gradients};
use crate::runtime::Store;
use crate::train::claim::{Claim, claim};
use crate::train::evaluate::Figures;
use crate::train::programs::Phases;
use crate::train::records::{self, EpochRecord, FinalRecord, Records, RecordsError};
use crate::train::trainer::{Observer, Position, Session, train};
use crate::train::tuned::TUNED;
use crate::train::{TrainError, restore};

use super::arguments::{Mode, RunArguments};
use super::project::{Project, execution};
use super::{Failure, Outcome, interrupts, say, trained, tuned};

/// The file of the confusion matrix in a run's folder.
const CONFUSION: &str = "confusion.txt";

/// Trains as the file's train section says.
pub fn run(arguments: &RunArguments) -> Outcome {
    let mut phases = Phases::default();
    let project = phases.time("read and parse", || Project::load(&arguments.model, &settings(arguments)))?;
    let spec = project.train()?;
    let data_spec = project.data(&spec)?;
    let (machine, pool) = execution(&arguments.machine, spec.fast_math)?;
    check_out(arguments)?;
    let data = phases.time("open data", || project.dataset(&data_spec))?;
    let prepare = project.prepare(&data_spec, data.shape[0], data.full_scale)?;
    let augment = project.augment(&data_spec, &data, spec.seed);
    let augment = augment.map_err(|error| project.train_failure(error.into()))?;
    let subject = |phase: &Phase| {
        let batch = phase.batch.min(data.train.len() as i64);
        tuned::Subject::new(&spec.name, batch, tuned::mode(Mode::Train), machine.target.level)
    };
    let mut subjects: Vec<tuned::Subject> = spec.phases.iter().map(subject).collect();
    subjects.dedup();
    let tuned = tuned::of_run(&arguments.tuned, arguments.resume.as_deref(), &subjects)?;
    let session = Session {
        recipe: &project.recipe(&spec, Some(data.shape)),
        spec: &spec,
        data: &data,
        prepare: &prepare,
        augment: augment.as_ref(),
        shuffle: data_spec.shuffle || planted!("cli.run.shuffle"),
        drop_last: data_spec.drop_last,
        machine: &machine,
        tuned: tuned.as_ref(),
        pool: &pool,
        most_steps: arguments.steps,
        interrupted: &interrupts::watch(),
    };
    conduct(arguments, &session, phases).map_err(|end| match end {
        End::Failed(error) => project.train_failure(error),
        End::Interrupted(message) => Failure::Interrupted(message),
    })
}

/// How a run ends before its end.
enum End {
    Failed(TrainError),
    Interrupted(String),
}

impl From<TrainError> for End {
    fn from(error: TrainError) -> End {
        End::Failed(error)
    }
}

fn conduct(arguments: &RunArguments, session: &Session<'_>, phases: Phases) -> Result<(), End> {
    let mut store = Store::default();
    // Before anything of the folder is read: another process may be about to write it.
    let resumed = arguments.resume.as_deref().filter(|folder| folder.is_dir());
    let mut held = resumed.map(claimed).transpose().map_err(TrainError::from)?;
    let position = begin(arguments, session, &mut store)?;
    let mut screen = Screen::new(arguments, session, &position);
    let mut folder = None;
    let mut open = || {
        let (path, records) = open(arguments, session, &position)?;
        if arguments.resume.is_none() {
            held = Some(claimed(&path)?);
        }
        folder = Some(path);
        Ok(records)
    };
    let result = train(session, &mut store, position, &mut open, &mut screen, phases);
    screen.progress.finish();
    let Some(folder) = folder else { return result.map(|_| ()).map_err(End::Failed) };
    match result {
        Ok(record) => {
            save(&folder, &store)?;
            save_confusion(&folder, &record, &session.data.class_names)?;
            screen.done(&record, &folder);
            Ok(())
        }
        Err(error @ TrainError::Interrupted { .. }) => {
            save(&folder, &store)?;
            let (file, folder) = (arguments.model.file.display(), folder.display());
            Err(End::Interrupted(format!("{error}; go on with: cnnc run {file} --resume {folder}")))
        }
        Err(error @ TrainError::NotFinite(_)) => {
            save(&folder, &store)?;
            Err(TrainError::Other(format!("{error}; they are in {}", folder.display())).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Claims a run's folder, and says where that keeps nobody out.
fn claimed(folder: &Path) -> Result<Claim, RecordsError> {
    let claim = claim(folder)?;
    if !claim.holds() {
        say(&format!("note: {} cannot be locked; let no other process train in it", folder.display()));
    }
    Ok(claim)
}

/// The flags that stand for settings.
fn settings(arguments: &RunArguments) -> Vec<String> {
    let number = |key: &str, value: Option<u64>| value.map(|value| format!("train.{key}={value}"));
    [
        number("epochs", arguments.epochs.filter(|_| !planted!("cli.run.epochs")).map(u64::from)),
        number("batch", arguments.batch.filter(|_| !planted!("cli.run.batch")).map(u64::from)),
        number("seed", arguments.seed.filter(|_| !planted!("cli.run.seed"))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The values to begin with: from `--resume`, `--init`, or none yet.
fn begin(arguments: &RunArguments, session: &Session<'_>, store: &mut Store) -> Result<Position, TrainError> {
    if let Some(folder) = &arguments.resume {
        return restore::resume(session, folder, store);
    }
    let graph = || session.recipe.forward(session.spec.phases[0].batch, None);
    if let Some(file) = &arguments.init {
        restore::load(file, &graph()?, store)?;
        trained::warn(file, store);
    } else if let Some(from) = &session.spec.weights {
        let skipped = restore::pretrained(from, &graph()?, session.spec.seed, store)?;
        trained::warn(&from.file, store);
        if !skipped.is_empty() {
            let file = from.file.display();
            say(&format!("note: auxiliary heads in {file} are not used ({} tensors)", skipped.len()));
        }
    }
    Ok(Position::default())
}

/// Fails early where `--out` names something that is there.
fn check_out(arguments: &RunArguments) -> Outcome {
    match &arguments.out {
        Some(path) if path.exists() => {
            Err(Failure::Run(RecordsError::Exists { path: path.clone() }.to_string()))
        }
        _ => Ok(()),
    }
}

/// The run's folder and the files of its records; the tiles that were chosen are one of them.
fn open(
    arguments: &RunArguments,
    session: &Session<'_>,
    position: &Position,
) -> Result<(PathBuf, Records), RecordsError> {
    let (folder, records) = match (&arguments.resume, &arguments.out) {
        (Some(folder), _) => (folder.clone(), Records::resume(folder, position.epochs, position.steps)?),
        (None, Some(folder)) => {
            records::create_folder(folder)?;
            (folder.clone(), Records::create(folder)?)
        }
        (None, None) => {
            let folder = records::create_next_folder(Path::new(super::RUNS), &session.spec.name)?;
            let records = Records::create(&folder)?;
            (folder, records)
        }
    };
    if let Some(tuned) = session.tuned {
        tuned.save(&folder.join(TUNED))?;
    }
    Ok((folder, records))
}

/// Writes the weights, the curves and, where their norms were written down, the picture of the gradients.
fn save(folder: &Path, store: &Store) -> Result<(), TrainError> {
    restore::save(&folder.join("model.safetensors"), store)?;
    let path = folder.join("curves.svg");
    curves::write(&path, &records::read_epochs(folder)?).map_err(|error| failed(&path, &error))?;
    let norms = records::read_gradients(folder)?;
    if norms.is_empty() {
        return Ok(());
    }
    let path = folder.join("gradients.svg");
    let is_weight = |param: &str| store.position(param).is_some_and(|at| store.entries()[at].shape.len() > 1);
    gradients::write(&path, &norms, is_weight).map_err(|error| failed(&path, &error))
}

/// Writes the confusion matrix, where it is among the metrics.
fn save_confusion(folder: &Path, record: &FinalRecord, names: &[String]) -> Result<(), TrainError> {
    let Some(matrix) = &record.confusion else { return Ok(()) };
    let path = folder.join(CONFUSION);
    write_atomically(&path, confusion::text(matrix, names).as_bytes()).map_err(|error| failed(&path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> TrainError {
    TrainError::Other(format!("{}: {error}", path.display()))
}

/// A column of the table of epochs: title, width, and the cell of an epoch.
type Column = (String, usize, fn(&EpochRecord) -> String);

/// The columns of what the metrics ask for.
fn columns(metrics: &Metrics) -> Vec<Column> {
    let (accuracy, top) = (metrics.accuracy, metrics.top.is_some());
    let titled = |split: &str| format!("{split} top{}", metrics.top_k().unwrap_or_default());
    let all: [(bool, Column); 9] = [
        (true, ("epoch".into(), 5, |record| record.epoch.to_string())),
        (true, ("train loss".into(), 10, |record| numbers::loss(record.train_loss))),
        (accuracy, ("train acc".into(), 9, |record| numbers::percent(record.train_accuracy))),
        (top, (titled("train"), 9, |record| percent(record.top("train")))),
        (true, ("val loss".into(), 8, |record| record.val_loss.map_or("-".into(), numbers::loss))),
        (accuracy, ("val acc".into(), 8, |record| percent(record.val_accuracy))),
        (top, (titled("val"), 8, |record| percent(record.top("val")))),
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
struct Screen {
    progress: Progress,
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
    fn new(arguments: &RunArguments, session: &Session<'_>, position: &Position) -> Screen {
        let epochs: u64 = session.spec.phases.iter().map(|phase| u64::from(phase.epochs)).sum();
        let left = epochs.saturating_sub(position.epochs).saturating_mul(session.data.train.len() as u64);
        let images = left.saturating_sub(position.begun.images());
        let progress = if arguments.json { Progress::hidden() } else { Progress::new(images) };
        let metrics = counted(session);
        let table = columns(&metrics);
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

    fn done(&self, result: &FinalRecord, folder: &Path) {
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
            self.progress.print(&format!("the confusion matrix is in {}", folder.join(CONFUSION).display()));
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
