//! `cnnc run`: trains a model.
//!
//! The run's folder is made when the first step is compiled. However a run ends after that, interrupted or with a
//! loss that is not finite, its records, its checkpoint and the weights of its last good step are there.

use std::path::{Path, PathBuf};

use crate::base::diagnostic::Diagnostic;
use crate::base::files::{self, write_atomically};
use crate::base::numbers;
use crate::base::visible;
use crate::data::{Dataset, inspect};
use crate::elab::config::{DataSpec, Phase, Prepare, TrainSpec};
use crate::report::curves::Course;
use crate::report::{confusion, curves, gradients, matrix};
use crate::runtime::Store;
use crate::sched::Machine;
use crate::train::folder::Folder;
use crate::train::manifest::Manifest;
use crate::train::programs::StageTimes;
use crate::train::records::{self, FinalRecord, Records, RecordsError};
use crate::train::trainer::{Begun, Position, Session, train};
use crate::train::tuned::TUNED;
use crate::train::weights::Provenance;
use crate::train::{TrainError, checkpoint, restore};

use super::arguments::{DeviceName, MachineArguments, Mode, RunArguments};
use super::project::{Execution, Project, execution};
use super::resume::{self, Fingerprinting, Reconciled, Stored};
use super::screen::Screen;
use super::{Failure, Outcome, interrupts, lints, say, trained, tuned};

/// The file of the confusion matrix in a run's folder.
pub const CONFUSION: &str = "confusion.txt";

/// Trains as the file's train section says, or as a run in a folder was begun.
pub fn run(arguments: &RunArguments) -> Outcome {
    let mut phases = StageTimes::default();
    let stored = arguments.resume.as_deref().map(Stored::open).transpose()?;
    let subject = resume::subject(arguments, settings(arguments), stored.as_ref())?;
    let project = phases.time("read and parse", || match &subject.texts {
        Some(texts) => Project::load_texts(&subject.model, &[], texts),
        None => Project::load(&subject.model, &[]),
    })?;
    let spec = project.train()?;
    let data_spec = project.data(&spec)?;
    let machine = machine(arguments, stored.as_ref());
    let Execution { options, device, threads } = execution(&machine, spec.fast_math)?;
    check_out(arguments)?;
    let (data, is_read) = phases.time("open data", || -> Result<_, Failure> {
        let data = project.dataset_soon(&data_spec)?;
        let is_read = inspect::read_small(&data).map_err(|error| project.train_failure(error.into()))?;
        Ok((data, is_read))
    })?;
    check_validation(&project, &spec, &data_spec, &data)?;
    let fingerprinting = Fingerprinting::of(&data);
    let prepare = project.prepare(&data_spec, data.shape[0], data.full_scale)?;
    let augment = project.augment(&data_spec, &data, spec.seed);
    let augment = augment.map_err(|error| project.train_failure(error.into()))?;
    let subjects = tuned_subjects(&spec, &data, options.machine);
    let tuned = tuned::of_run(&arguments.tuned, arguments.resume.as_deref(), &subjects)?;
    let manifest = resume::manifest(&subject, &project, &spec, &data, &*device)?;
    let session = Session {
        recipe: &project.recipe(&spec, Some(data.shape)),
        spec: &spec,
        data: &data,
        provenance: &Provenance::of(&spec.model.name.text, &data, Prepare::text(&data_spec.prepare)),
        prepare: &prepare,
        augment: augment.as_ref(),
        shuffle: data_spec.shuffle || planted!("cli.run.shuffle"),
        drop_last: data_spec.drop_last,
        options: &options,
        tuned: tuned.as_ref(),
        device: &device,
        threads,
        most_steps: arguments.steps,
        interrupted: &interrupts::watch(),
    };
    let place = match stored {
        None => Place::New(manifest, fingerprinting),
        Some(stored) => {
            let data = fingerprinting.get().map_err(|error| project.train_failure(error))?;
            let now = Manifest { data, ..manifest };
            let run = stored.reconcile(now, &project, &spec, arguments.allow_changes)?;
            Place::Stored(Box::new(stored), run)
        }
    };
    let (init, texts) = (subject.init.as_deref(), project.texts());
    let call = Call { arguments, session: &session, init, project: &project, texts, is_read };
    call.conduct(place, phases).map_err(|end| end.failure(&project))
}

/// What the flags ask for; a run that goes on has its own device and vector level, where nothing else is asked for.
fn machine(arguments: &RunArguments, stored: Option<&Stored>) -> MachineArguments {
    let mut machine = arguments.machine.clone();
    if machine.device.is_none() && machine.cpu.is_none() {
        machine.device = stored.and_then(Stored::card);
    }
    if machine.device.as_ref().is_none_or(|device| *device == DeviceName::Cpu) {
        machine.cpu = machine.cpu.or_else(|| stored.and_then(Stored::level));
    }
    machine
}

/// Holds what a section asks of a validation split against the one that the data turn out to have.
fn check_validation(
    project: &Project<'_>,
    spec: &TrainSpec,
    data_spec: &DataSpec,
    data: &Dataset,
) -> Outcome {
    let errors = match &data.holdout {
        None => spec.check_without_validation(data_spec),
        Some(_) if data_spec.validates_on_test => {
            let problem =
                format!("`{}` has a validation split, so `validate = test` says nothing", data_spec.name);
            return Err(Failure::Run(format!("{problem}; leave it out")));
        }
        Some(_) => Vec::new(),
    };
    if errors.is_empty() { Ok(()) } else { Err(project.failure(errors)) }
}

/// What tiles of `--tuned` may be for.
fn tuned_subjects(spec: &TrainSpec, data: &Dataset, machine: Machine) -> Vec<tuned::Subject> {
    let subject = |phase: &Phase| {
        let batch = phase.batch.min(data.train.len() as i64);
        tuned::Subject::new(&spec.name, batch, tuned::mode(Mode::Train), machine)
    };
    let mut subjects: Vec<tuned::Subject> = spec.phases.iter().map(subject).collect();
    subjects.dedup();
    subjects
}

/// Whether a run's folder has what is only made after a checkpoint.
fn has_come_further(folder: &Path) -> bool {
    let later = [trained::WEIGHTS, "best.safetensors", "final.json"];
    let epochs = records::read_epochs(folder).map_or(0, |epochs| epochs.len());
    // The first epoch is written down before it is kept.
    epochs > 1 || later.iter().any(|name| folder.join(name).exists())
}

/// How a run ends before its end.
enum End {
    Failed(TrainError),
    Interrupted(String),
}

impl End {
    fn failure(self, project: &Project<'_>) -> Failure {
        match self {
            End::Failed(error) => project.train_failure(error),
            End::Interrupted(message) => Failure::Interrupted(message),
        }
    }
}

impl From<TrainError> for End {
    fn from(error: TrainError) -> End {
        End::Failed(error)
    }
}

/// What goes on with a run.
fn resume_command(folder: &Path) -> String {
    format!("cnnc run --resume {}", visible::word(folder))
}

/// Where a run's files are to be, and what is written down of it.
enum Place {
    New(Manifest, Fingerprinting),
    Stored(Box<Stored>, Reconciled),
}

/// A training and what the command line says beside it.
struct Call<'a> {
    arguments: &'a RunArguments,
    session: &'a Session<'a>,
    /// Weights to begin with.
    init: Option<&'a Path>,
    project: &'a Project<'a>,
    texts: Vec<(PathBuf, String)>,
    /// Whether all pictures could be read before the run.
    is_read: bool,
}

impl Call<'_> {
    fn conduct(&self, place: Place, phases: StageTimes) -> Result<(), End> {
        let mut store = Store::on(self.session.device);
        let begun = self.begin(&place, &mut store)?;
        if self.session.is_over(&begun.position) && begun.position.epochs < self.session.epochs() {
            let steps = numbers::grouped(begun.position.steps);
            say(&format!(
                "note: the run has done {steps} steps, and --steps counts all of them: none is left"
            ));
        }
        let mut screen =
            Screen::new(self.arguments, self.session, &begun.position, Box::new(|| self.notes()));
        let (records, position) = (begun.records, begun.position);
        let (mut place, mut folder) = (Some(place), None);
        let mut open = || {
            let opened = self.open(place.take().expect("it is opened once"))?;
            let path = opened.path().to_owned();
            folder = Some(opened);
            if let Some(tuned) = self.session.tuned {
                tuned.save(&path.join(TUNED))?;
            }
            Ok(match records {
                None if position != Position::default() => {
                    Records::resume_earlier(&path, position.epochs, position.steps)?
                }
                None => Records::create(&path)?,
                Some(lengths) => Records::resume(&path, lengths)?,
            })
        };
        let result = train(self.session, &mut store, begun, &mut open, &mut screen, phases);
        screen.progress.finish();
        let Some(folder) = folder else { return result.map(|_| ()).map_err(End::Failed) };
        let folder = folder.path();
        match result {
            Ok(record) => {
                save(folder, self.session, &store)?;
                save_confusion(folder, &record, &self.session.data.class_names)?;
                screen.done(&record, folder);
                if let Ok(Some(position)) = checkpoint::position(folder)
                    && position.epochs < self.session.epochs()
                {
                    screen.line(&format!("go on with: {}", resume_command(folder)));
                }
                match screen.progress.lost() {
                    Some(error) => Err(TrainError::Other(format!("standard output: {error}")).into()),
                    None => Ok(()),
                }
            }
            Err(error @ TrainError::Interrupted { .. }) => {
                save(folder, self.session, &store)?;
                Err(End::Interrupted(format!("{error}; go on with: {}", resume_command(folder))))
            }
            Err(TrainError::NotFinite(error)) => {
                save(folder, self.session, &store)?;
                let error = error.text(&|span| self.project.line(span));
                Err(TrainError::Other(format!("{error}; they are in {}", folder.display())).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What is to be known of the data, and what `cnnc check` says of the layers, a line each.
    fn notes(&self) -> Vec<String> {
        let unread = "the pictures are read when they are needed; `cnnc check --data` reads them all before";
        let unread = (!self.is_read).then(|| unread.to_owned());
        let of_data =
            self.session.data.notes.iter().cloned().chain(unread).map(|note| format!("note: {note}"));
        let phase = &self.session.spec.phases[0];
        // What is wrong with the model has been said.
        let Ok(step) = self.session.recipe.step(phase.batch, phase) else { return of_data.collect() };
        let sources = &self.project.sources;
        let warnings = lints::layers::run(&step, sources);
        let place = |warning: &Diagnostic| {
            warning.span().map_or(String::new(), |span| format!("{}: ", sources.place(span)))
        };
        let of_layers = warnings.iter().map(|warning| format!("note: {}{}", place(warning), warning.message));
        of_data.chain(of_layers).collect()
    }

    /// The values to begin with: of a checkpoint, of a file, or none yet.
    fn begin(&self, place: &Place, store: &mut Store) -> Result<Begun, TrainError> {
        let session = self.session;
        if let Place::Stored(stored, run) = place {
            let folder = stored.folder.path();
            match restore::resume(session, folder, store)? {
                Some(begun) if run.forgets => return Ok(begun.without_figures()),
                Some(begun) => return Ok(begun),
                None if has_come_further(folder) => {
                    let message = "the checkpoint is gone, without which the run cannot go on";
                    return Err(TrainError::Other(format!("{}: {message}", folder.display())));
                }
                None => say("note: the run has not come to a checkpoint, and begins again"),
            }
        }
        let graph = || session.recipe.forward(session.spec.phases[0].batch, None);
        if let Some(file) = self.init {
            let file = trained::file_of(file).map_err(TrainError::Other)?;
            let notes = restore::load(&file, &graph()?, store)?;
            trained::tell(&file, store, &notes);
        } else if let Some(from) = &session.spec.weights {
            let notes = restore::pretrained(from, &graph()?, session.spec.seed, store)?;
            trained::tell(&from.file, store, &notes);
        }
        Ok(Begun::default())
    }

    /// The run's folder, which says what the run is.
    fn open(&self, place: Place) -> Result<Folder, RecordsError> {
        match place {
            Place::Stored(stored, Reconciled { manifest, .. }) => {
                let Stored { folder, manifest: before } = *stored;
                if before.as_ref() != Some(&manifest) {
                    let path = folder.path();
                    let failed = |source| RecordsError::Io { path: path.to_owned(), source };
                    manifest.save(path, &self.texts).map_err(failed)?;
                }
                Ok(folder)
            }
            Place::New(mut manifest, fingerprinting) => {
                manifest.data =
                    fingerprinting.get().map_err(|error| RecordsError::Data(error.to_string()))?;
                manifest.name_texts(&self.texts, &[]);
                let folder = match &self.arguments.out {
                    Some(path) => Folder::create(path, &manifest, &self.texts)?,
                    None => {
                        let (root, name) = (Path::new(super::RUNS), &self.session.spec.name);
                        Folder::create_next(root, name, &manifest, &self.texts)?
                    }
                };
                resume::warn_of_no_claim(&folder);
                Ok(folder)
            }
        }
    }
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

/// Fails early where `--out` names something that is there.
fn check_out(arguments: &RunArguments) -> Outcome {
    match &arguments.out {
        Some(path) if path.exists() => {
            Err(Failure::Run(RecordsError::Exists { path: path.clone() }.to_string()))
        }
        _ => Ok(()),
    }
}

/// Writes the weights, the curves and, where their norms were written down, the picture of the gradients. One that a
/// run left before its settings were changed goes.
fn save(folder: &Path, session: &Session<'_>, store: &Store) -> Result<(), TrainError> {
    restore::save(&folder.join(trained::WEIGHTS), store, session.provenance)?;
    let path = folder.join("curves.svg");
    let epochs = records::read_epochs(folder)?;
    // One epoch makes no curve, but its steps do.
    let steps = if epochs.len() > 1 { Vec::new() } else { records::read_steps(folder)? };
    let kept = checkpoint::position(folder)?.filter(|_| session.spec.save.is_some());
    let course = Course {
        name: &session.spec.name,
        epochs: &epochs,
        steps: &steps,
        kept: kept.and_then(|kept| kept.best_epoch),
    };
    curves::write(&path, &course).map_err(|error| failed(&path, &error))?;
    let norms = records::read_gradients(folder)?;
    let path = folder.join("gradients.svg");
    if norms.is_empty() {
        return files::remove(&path).map_err(|error| failed(&path, &error));
    }
    let is_weight = |param: &str| store.position(param).is_some_and(|at| store.entries()[at].shape.len() > 1);
    gradients::write(&path, &norms, is_weight).map_err(|error| failed(&path, &error))
}

/// Writes the confusion matrix as text and picture, where it is among the metrics.
fn save_confusion(folder: &Path, record: &FinalRecord, names: &[String]) -> Result<(), TrainError> {
    let [text, picture] = [CONFUSION, "confusion.svg"].map(|name| folder.join(name));
    let (written, drawn) = match &record.confusion {
        Some(confusion) => {
            let rows = confusion::text(confusion, names, None);
            let contents = format!("{rows}\n{}", confusion::by_class(confusion, names));
            (write_atomically(&text, contents.as_bytes()), matrix::write(&picture, confusion, names))
        }
        None => (files::remove(&text), files::remove(&picture)),
    };
    written.map_err(|error| failed(&text, &error))?;
    drawn.map_err(|error| failed(&picture, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> TrainError {
    TrainError::Other(format!("{}: {error}", path.display()))
}
