//! What a run is, and the folder of one that goes on: what it was begun with, and what this call would change.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crate::base::files;
use crate::base::target::{Level, Target};
use crate::base::visible;
use crate::data::fingerprint::{self, Fingerprint};
use crate::data::{DataError, Dataset};
use crate::elab;
use crate::elab::config::TrainSpec;
use crate::runtime::Device;
use crate::train::folder::Folder;
use crate::train::manifest::{Asked, Change, Difference, Manifest, item_differences};
use crate::train::trainer::Position;
use crate::train::{TrainError, checkpoint};

use super::arguments::{ChoiceArguments, DeviceName, ModelArguments, RunArguments};
use super::project::Project;
use super::{Failure, say, trained};

/// A run that goes on.
pub struct Stored {
    pub folder: Folder,
    /// None in a folder of an earlier version.
    pub manifest: Option<Manifest>,
}

/// What a run that goes on is from here on.
pub struct Reconciled {
    pub manifest: Manifest,
    /// Whether figures of earlier epochs, the best one's among them, are no longer to be compared with those to come.
    pub forgets: bool,
}

/// The model of a call: where it is read, and its texts where those of a run's folder stand for the files.
pub struct Subject {
    pub model: ModelArguments,
    /// Weights to begin with.
    pub init: Option<PathBuf>,
    pub texts: Option<Vec<(PathBuf, String)>>,
}

/// The fingerprint of the data, which is taken while the model is compiled.
pub struct Fingerprinting(JoinHandle<Result<Fingerprint, DataError>>);

impl Fingerprinting {
    /// Begins to take it.
    pub fn of(data: &Dataset) -> Fingerprinting {
        let data = data.clone();
        Fingerprinting(std::thread::spawn(move || fingerprint::of(&data)))
    }

    /// Waits for it.
    pub fn get(self) -> Result<Fingerprint, TrainError> {
        let found = self.0.join().map_err(|_| TrainError::Other("the data could not be hashed".into()))?;
        Ok(found?)
    }
}

impl Stored {
    /// Claims the folder, before anything of it is read: another process may be about to write it.
    pub fn open(path: &Path) -> Result<Stored, Failure> {
        let failed = |error: TrainError| Failure::Run(error.to_string());
        if !path.is_dir() {
            return Err(Failure::Run(format!("{} is no folder of a run", path.display())));
        }
        let folder = Folder::open(path).map_err(|error| failed(error.into()))?;
        warn_of_no_claim(&folder);
        let manifest = Manifest::load(path).map_err(failed)?;
        if manifest.is_none() && checkpoint::position(path).map_err(failed)?.is_none() {
            return Err(Failure::Run(format!("{} is no folder of a run", path.display())));
        }
        if let Some(manifest) = &manifest
            && manifest.version != env!("CARGO_PKG_VERSION")
        {
            let (was, is) = (&manifest.version, env!("CARGO_PKG_VERSION"));
            say(&format!(
                "note: the run was begun by version {was}, and this is {is}; the last bits may differ"
            ));
        }
        Ok(Stored { folder, manifest })
    }

    /// The vector level for the rest of the run: its own, where this machine has it.
    pub fn level(&self) -> Option<Level> {
        let level: Level = self.manifest.as_ref()?.level.parse().ok()?;
        Some(level).filter(|level| *level <= Target::host().level)
    }

    /// The graphics card that it ran on, if it did.
    pub fn card(&self) -> Option<DeviceName> {
        let manifest = self.manifest.as_ref().filter(|manifest| manifest.device == "gpu")?;
        let name = manifest.level.split_once("; ").map(|(name, _)| name.to_owned());
        Some(DeviceName::Gpu(name))
    }

    /// Where the run stands; none where nothing is kept yet.
    pub fn position(&self) -> Result<Option<Position>, Failure> {
        checkpoint::position(self.folder.path()).map_err(|error| Failure::Run(error.to_string()))
    }

    /// Compares the run with what this call makes of it, and gives what `run.json` is to say; refuses what is not
    /// allowed.
    pub fn reconcile(
        &self,
        mut now: Manifest,
        project: &Project<'_>,
        spec: &TrainSpec,
        allow_changes: bool,
    ) -> Result<Reconciled, Failure> {
        let folder = self.folder.path().display();
        let Some(then) = &self.manifest else {
            say(&format!("note: {folder} has no run.json, so nothing tells whether this is the same run"));
            now.name_texts(&project.texts(), &[]);
            return Ok(Reconciled { manifest: now, forgets: false });
        };
        let stands = self.position()?;
        let position = stands.unwrap_or_default();
        let found = self.differences(then, &now, project, stands.is_some())?;
        let (more, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|difference| asks_for_more(difference, then, spec, &position));
        if !others.is_empty() && !allow_changes {
            let lines: Vec<String> = others.iter().map(|other| format!("\n  {other}")).collect();
            return Err(Failure::Run(format!(
                "this is not the run in {folder} (then -> now):{}\n--allow-changes goes on all the same",
                lines.concat()
            )));
        }
        let is_of_metrics = |difference: &Difference| difference.key == "train.metrics";
        if position.begun.images() > 0 && others.iter().any(is_of_metrics) {
            return Err(Failure::Run(format!(
                "`metrics` can only change where an epoch begins, and the run in {folder} stands within epoch {}",
                position.seen_epochs()
            )));
        }
        let epochs: u64 = spec.phases.iter().map(|phase| u64::from(phase.epochs)).sum();
        if position.epochs >= epochs {
            let more = match &spec.phases[spec.phases.len() - 1].name {
                None => "--epochs N asks for more".to_owned(),
                Some(last) => format!("a model file with more epochs in the phase `{last}` asks for more"),
            };
            let done = format!("the run in {folder} is done; {more}");
            if !others.is_empty() {
                return Err(Failure::Run(format!("{done}, and without them nothing is changed")));
            }
            say(&format!("note: {done}"));
        }
        now.name_texts(&project.texts(), &then.all_texts());
        now.changes.clone_from(&then.changes);
        let what: Vec<String> = others.iter().chain(&more).map(Difference::to_string).collect();
        if !what.is_empty() {
            now.changes.push(Change { step: position.steps, what, texts: then.texts.clone() });
        }
        Ok(Reconciled { manifest: now, forgets: others.iter().any(changes_figures) })
    }

    fn differences(
        &self,
        then: &Manifest,
        now: &Manifest,
        project: &Project<'_>,
        has_begun: bool,
    ) -> Result<Vec<Difference>, Failure> {
        let mut found = then.differences(now);
        found.extend(self.changed_items(then, project)?);
        if !has_begun && then.weights != now.weights {
            let key = "the weights to begin with are others".into();
            found.push(Difference { key, then: None, now: None });
        }
        Ok(found)
    }

    fn changed_items(&self, then: &Manifest, project: &Project<'_>) -> Result<Vec<Difference>, Failure> {
        let present = project.texts();
        let texts = match then.read_texts(self.folder.path()) {
            Ok(texts) => texts,
            // The copies are damaged, but here is what they were copies of, or another model.
            Err(_) if then.has_texts(&present) => return Ok(Vec::new()),
            Err(error) => {
                let key = format!("the model cannot be compared: {error}");
                return Ok(vec![Difference { key, then: None, now: None }]);
            }
        };
        if texts == present || planted!("cli.resume.items") {
            return Ok(Vec::new());
        }
        let model = ModelArguments { file: then.asked.file.clone(), choice: ChoiceArguments::default() };
        let before = Project::load_texts(&model, &[], &texts)?;
        Ok(item_differences(&before.module.items(), &project.module.items()))
    }
}

/// Says that nothing keeps other processes out of a folder.
pub fn warn_of_no_claim(folder: &Folder) {
    if !folder.is_claimed() {
        let folder = folder.path().display();
        say(&format!("note: {folder} cannot be locked; let no other process train in it"));
    }
}

/// Whether figures of an epoch before a change say something else than those after it.
fn changes_figures(difference: &Difference) -> bool {
    let key = difference.key.as_str();
    let starts = ["train.save", "train.loss", "data.", "pictures of ", "class ", "`", "the model "];
    key.ends_with(".stop") || starts.iter().any(|start| key.starts_with(start))
}

/// Whether a difference is a number of epochs that the run can still come to.
fn asks_for_more(difference: &Difference, then: &Manifest, spec: &TrainSpec, position: &Position) -> bool {
    let mut first = 0;
    for phase in &spec.phases {
        let key = match &phase.name {
            Some(name) => format!("train.{name}.epochs"),
            None => "train.epochs".into(),
        };
        let before: u64 = then.settings.get(&key).and_then(|epochs| epochs.parse().ok()).unwrap_or(0);
        if difference.key == key {
            let (end, done) = (first + before, position.seen_epochs());
            let is_last = done <= end || phase.name == spec.phases[spec.phases.len() - 1].name;
            return is_last && u64::from(phase.epochs) > before && first + u64::from(phase.epochs) >= done;
        }
        first += before;
    }
    false
}

/// What a call is about. What a run in a folder was begun with holds where the call says nothing else.
pub fn subject(
    arguments: &RunArguments,
    flags: Vec<String>,
    stored: Option<&Stored>,
) -> Result<Subject, Failure> {
    let mut choice = arguments.choice.clone();
    choice.set.extend(flags);
    let Some(stored) = stored else {
        let file = arguments.file.clone().expect("clap asks for it");
        let model = ModelArguments { file, choice };
        return Ok(Subject { model, init: arguments.init.clone(), texts: None });
    };
    let Some(manifest) = &stored.manifest else {
        let folder = stored.folder.path().display();
        let file = arguments.file.clone().ok_or_else(|| {
            Failure::Usage(format!(
                "{folder} has no run.json, which says what was run in it; name the model file: \
                 cnnc run FILE --resume {}",
                visible::word(stored.folder.path())
            ))
        })?;
        return Ok(Subject { model: ModelArguments { file, choice }, init: None, texts: None });
    };
    let asked = &manifest.asked;
    if !planted!("cli.resume.set") {
        choice.set = [asked.set.clone(), choice.set].concat();
    }
    choice.model = choice.model.or_else(|| asked.model.clone());
    choice.data = choice.data.or_else(|| asked.data.clone());
    let texts = match arguments.file {
        Some(_) => None,
        None => {
            let texts = manifest.read_texts(stored.folder.path());
            Some(texts.map_err(|error| Failure::Run(error.to_string()))?)
        }
    };
    let file = arguments.file.clone().unwrap_or_else(|| asked.file.clone());
    Ok(Subject { model: ModelArguments { file, choice }, init: asked.init.clone(), texts })
}

/// What this call would write down of a run, but for the data.
pub fn manifest(
    subject: &Subject,
    project: &Project<'_>,
    spec: &TrainSpec,
    data: &Dataset,
    device: &dyn Device,
) -> Result<Manifest, Failure> {
    let ModelArguments { file, choice } = &subject.model;
    let absolute = |path: &PathBuf| elab::lexical(path);
    let asked = Asked {
        file: absolute(file),
        model: choice.model.clone(),
        data: choice.data.as_ref().map(absolute),
        set: choice.set.clone(),
        init: subject.init.as_ref().map(absolute),
    };
    let mut manifest = Manifest::new(spec.name.clone(), asked);
    manifest.settings = project.described(spec)?;
    manifest.device = device.kind().into();
    manifest.level = device.identity();
    manifest.classes.clone_from(&data.class_names);
    let weights = subject.init.as_deref().or(spec.weights.as_ref().map(|weights| weights.file.as_path()));
    // One that is not there is an error where it is read, if it is needed.
    manifest.weights = weights.and_then(|file| files::hash(&trained::file_of(file).ok()?).ok());
    Ok(manifest)
}
