//! `cnnc run`: trains a model.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::report::progress::Progress;
use crate::report::table::{Align, Columns};
use crate::report::{curves, numbers};
use crate::runtime::Store;
use crate::train::checkpoint::Checkpoint;
use crate::train::evaluate::Figures;
use crate::train::programs::{Phases, initialise};
use crate::train::records::{self, EpochRecord, FinalRecord, Records};
use crate::train::trainer::{Observer, Position, Session, train};
use crate::train::weights::{self, Tensors};

use super::arguments::RunArguments;
use super::project::{Project, machine, pool};
use super::{Failure, Outcome};

/// Trains as the file's train section says.
pub fn run(arguments: &RunArguments) -> Outcome {
    let mut phases = Phases::default();
    let project = phases.time("read and parse", || Project::load(&arguments.model, &settings(arguments)))?;
    let spec = project.train()?;
    let data_spec = project.data(&spec)?;
    let data = phases.time("open data", || project.dataset(&data_spec))?;
    let prepare = project.prepare(&data_spec, &data)?;
    let recipe = project.recipe(&spec, Some(data.shape));
    let (machine, pool) = (machine(arguments.machine.cpu)?, pool(&arguments.machine)?);
    let session = Session {
        recipe: &recipe,
        spec: &spec,
        data: &data,
        prepare: &prepare,
        shuffle: data_spec.shuffle,
        drop_last: data_spec.drop_last,
        machine: &machine,
        pool: &pool,
        most_steps: arguments.steps,
    };
    let mut store = Store::default();
    let position = begin(arguments, &project, &session, &mut store)?;
    let folder = folder(arguments, &spec.name)?;
    let mut records =
        open(arguments, &folder, position).map_err(|error| project.train_failure(error.into()))?;
    let epochs = spec.phases.iter().map(|phase| u64::from(phase.epochs)).sum();
    let mut screen = Screen::new(arguments, epochs, position, data.train.len() as u64);
    let result = train(&session, &mut store, position, &mut records, &mut screen, phases);
    screen.progress.finish();
    let result = result.map_err(|error| project.train_failure(error))?;
    save(&folder, &store).map_err(|error| project.train_failure(error))?;
    screen.done(&result, &folder);
    Ok(())
}

/// The flags that stand for settings.
fn settings(arguments: &RunArguments) -> Vec<String> {
    let number = |key: &str, value: Option<u64>| value.map(|value| format!("train.{key}={value}"));
    [
        number("epochs", arguments.epochs.map(u64::from)),
        number("batch", arguments.batch.map(u64::from)),
        number("seed", arguments.seed),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The values to begin with: from `--resume`, `--init`, or none yet.
fn begin(
    arguments: &RunArguments,
    project: &Project<'_>,
    session: &Session<'_>,
    store: &mut Store,
) -> Result<Position, Failure> {
    let fail = |error| project.train_failure(error);
    if let Some(folder) = &arguments.resume {
        let checkpoint = Checkpoint::load(folder).map_err(fail)?;
        for (path, tensor) in &checkpoint.tensors {
            let trained = !path.starts_with("optim.");
            store.add(path, &tensor.shape, trained).values_mut().copy_from_slice(&tensor.elements);
        }
        return Ok(checkpoint.position);
    }
    if let Some(file) = &arguments.init {
        let graph =
            session.recipe.forward(1.max(session.spec.phases[0].batch)).map_err(|e| project.failure(e))?;
        initialise(&graph, session.spec.seed, store);
        let tensors = weights::load(file).map_err(|error| fail(error.into()))?;
        take(store, tensors).map_err(|error| fail(error.into()))?;
    }
    Ok(Position::default())
}

/// Sets all kept tensors from those of a file.
pub fn take(store: &mut Store, tensors: Tensors) -> Result<(), weights::WeightsError> {
    let shapes: Vec<(String, Vec<i64>)> =
        store.entries().iter().map(|entry| (entry.path.clone(), entry.shape.clone())).collect();
    let expected: Vec<(&str, &[i64])> =
        shapes.iter().map(|(path, shape)| (path.as_str(), shape.as_slice())).collect();
    let matched = weights::matching(&expected, tensors, &|_| false)?;
    for (entry, tensor) in store.entries_mut().iter_mut().zip(matched.tensors) {
        if let Some(tensor) = tensor {
            entry.values_mut().copy_from_slice(&tensor.elements);
        }
    }
    Ok(())
}

fn folder(arguments: &RunArguments, model: &str) -> Result<PathBuf, Failure> {
    let result = match (&arguments.resume, &arguments.out) {
        (Some(folder), _) => return Ok(folder.clone()),
        (None, Some(folder)) => records::create_folder(folder).map(|()| folder.clone()),
        (None, None) => records::create_next_folder(Path::new("runs"), model),
    };
    result.map_err(|error| Failure::Run(error.to_string()))
}

fn open(
    arguments: &RunArguments,
    folder: &Path,
    position: Position,
) -> Result<Records, records::RecordsError> {
    match arguments.resume {
        Some(_) => Records::resume(folder, position.epochs),
        None => Records::create(folder),
    }
}

/// Writes the trained weights and the curves.
fn save(folder: &Path, store: &Store) -> Result<(), crate::train::TrainError> {
    let entries: Vec<_> = store
        .entries()
        .iter()
        .filter(|entry| !entry.path.starts_with("optim."))
        .map(|entry| (entry.path.as_str(), entry.shape.as_slice(), entry.values()))
        .collect();
    weights::save(&folder.join("model.safetensors"), &entries)?;
    let epochs = records::read_epochs(folder)?;
    let path = folder.join("curves.svg");
    curves::write(&path, &epochs)
        .map_err(|error| crate::train::TrainError::Other(format!("{}: {error}", path.display())))
}

/// What a person sees.
struct Screen {
    progress: Progress,
    columns: Columns,
    epochs: u64,
    json: bool,
    time: bool,
    start: Instant,
    train_seconds: f64,
}

impl Screen {
    fn new(arguments: &RunArguments, epochs: u64, position: Position, images: u64) -> Screen {
        let left = epochs.saturating_sub(position.epochs);
        let progress = if arguments.json { Progress::hidden() } else { Progress::new(left * images) };
        let columns = Columns::new(&[
            ("epoch", Align::Right, 5),
            ("train loss", Align::Right, 10),
            ("train acc", Align::Right, 9),
            ("val loss", Align::Right, 8),
            ("val acc", Align::Right, 8),
            ("time", Align::Right, 8),
            ("images/s", Align::Right, 9),
        ]);
        let (json, time) = (arguments.json, arguments.time);
        Screen { progress, columns, epochs, json, time, start: Instant::now(), train_seconds: 0.0 }
    }

    fn done(&self, result: &FinalRecord, folder: &Path) {
        if self.json {
            println!("{}", serde_json::to_string(result).expect("two numbers"));
            return;
        }
        println!(
            "\ntest accuracy {}, test loss {:.4}; trained for {} ({} in all)\nweights, curves and records are in {}",
            numbers::percent(result.test_accuracy),
            result.test_loss,
            numbers::duration(self.train_seconds),
            numbers::duration(self.start.elapsed().as_secs_f64()),
            folder.display()
        );
    }
}

impl Observer for Screen {
    fn first_step(&mut self, phases: &Phases) {
        if self.time {
            let total: Duration = phases.0.iter().map(|(_, time)| *time).sum();
            for (name, time) in phases.0.iter().chain([&("until the first step is done", total)]) {
                eprintln!("{:>9.3} ms  {name}", time.as_secs_f64() * 1e3);
            }
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
        self.progress.advance(images, figures.loss(), figures.accuracy());
    }

    fn epoch(&mut self, record: &EpochRecord) {
        self.train_seconds += record.seconds;
        if self.json {
            println!("{}", serde_json::to_string(record).expect("numbers"));
            return;
        }
        let optional = |value: Option<f64>, show: &dyn Fn(f64) -> String| value.map_or("-".into(), show);
        let loss = |value: f64| format!("{value:.4}");
        let cells = [
            record.epoch.to_string(),
            loss(record.train_loss),
            numbers::percent(record.train_accuracy),
            optional(record.val_loss, &loss),
            optional(record.val_accuracy, &numbers::percent),
            numbers::duration(record.seconds),
            numbers::grouped(record.images_per_second as u64),
        ];
        self.progress.print(&self.columns.line(&cells));
    }
}
