//! Trained weights for the commands that run a model.

use std::path::{Path, PathBuf};

use crate::base::visible;
use crate::elab::config::{DataSpec, Described, Prepare};
use crate::graph::{Graph, Role};
use crate::runtime::Store;
use crate::runtime::store::Entry;
use crate::train::manifest::{Manifest, settings_differences};
use crate::train::weights::{self, Contents, Provenance};
use crate::train::{TrainError, folder, restore};

use super::project::Project;
use super::{Failure, Outcome, say};

/// The file of weights in a run's folder.
pub const WEIGHTS: &str = "model.safetensors";

/// What the file of `--weights` holds.
pub struct Weights {
    file: PathBuf,
    contents: Contents,
}

impl Weights {
    /// Reads the file of a path, if there is one.
    pub fn read(project: &Project<'_>, path: Option<&Path>) -> Result<Option<Weights>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let file = file_of(path).map_err(Failure::Run)?;
        let contents = weights::load(&file);
        let contents = contents.map_err(|error| project.train_failure(TrainError::from(error)))?;
        Ok(Some(Weights { file, contents }))
    }

    /// What they say of themselves.
    pub fn provenance(&self) -> &Provenance {
        &self.contents.provenance
    }

    /// Says where pictures are prepared in another way than those of the training were.
    pub fn compare_prepare(&self, data: Option<&DataSpec>) {
        let steps = data.map(|data| Prepare::text(&data.prepare)).unwrap_or_default();
        let Some(trained) = self.provenance().prepare.as_ref().filter(|trained| **trained != steps) else {
            return;
        };
        let show = |steps: &str| match steps {
            "" => "nothing".to_owned(),
            steps => format!("`{}`", visible::excerpt(steps)),
        };
        let here = if data.is_some() { "the data section" } else { "a file without a train section" };
        say(&format!(
            "warning: {}: in their training, `prepare` was {}; in {here} it is {}",
            self.file.display(),
            show(trained),
            show(&steps)
        ));
    }

    /// Says where samples are of another shape than those of the training were.
    pub fn compare_input(&self, sample: &[usize]) {
        if let Some(trained) = self.provenance().input.filter(|trained| trained[..] != *sample) {
            let file = self.file.display();
            say(&format!(
                "note: {file}: they were trained on samples of {trained:?}, and these are {sample:?}"
            ));
        }
    }
}

/// Says where the run in a folder split its images in another way, or gave the model other arguments, than these
/// settings do.
pub fn compare_settings(folder: &Path, now: &Described) {
    // One that says nothing, or nothing that can be read, matters where the run goes on.
    let Some(run) = Manifest::load(folder).ok().flatten() else { return };
    const PICTURES: [&str; 4] = ["data.test", "data.holdout", "data.seed", "data.background"];
    let matters = |key: &String| PICTURES.contains(&key.as_str()) || key.starts_with("args.");
    for difference in settings_differences(&run.settings, now).iter().filter(|other| matters(&other.key)) {
        say(&format!("note: the settings are not those of the run in {}: {difference}", folder.display()));
    }
}

/// The file of weights that a path means: a run's folder has one.
///
/// # Errors
///
/// A folder that has none, and a model file.
pub fn file_of(path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    let file = if path.is_dir() { path.join(WEIGHTS) } else { path.to_owned() };
    if path.is_dir() && !file.exists() {
        return Err(format!("{shown} has no {WEIGHTS}, so it is no folder of a run"));
    }
    if path.extension().is_some_and(|extension| extension == "cnn") && path.is_file() {
        return Err(format!("{shown} is a model file; weights are a run's folder or a file of tensors"));
    }
    Ok(file)
}

/// A model that is to have weights.
pub struct Subject<'a> {
    pub project: &'a Project<'a>,
    pub name: &'a str,
    /// Its model file.
    pub file: &'a Path,
}

impl Subject<'_> {
    /// Fills a store with the values of a graph's parameters and states. A graph that has none needs no weights. Tensors
    /// for which `spare` holds may be there as well.
    pub fn fill(
        &self,
        store: &mut Store,
        weights: Option<Weights>,
        graph: &Graph,
        spare: &dyn Fn(&str) -> bool,
    ) -> Outcome {
        match weights {
            Some(Weights { file, contents }) => {
                let of = contents.provenance.model.clone();
                let notes = restore::fill(&file, contents, graph, store, spare);
                let failed = |error| self.project.train_failure(misfit(error, of.as_deref()));
                tell(&file, store, &notes.map_err(failed)?);
                Ok(())
            }
            None if graph.inputs.iter().any(|(_, role)| is_kept(role)) => Err(Failure::Usage(format!(
                "`{}` has parameters, so it needs --weights FILE; {}",
                self.name,
                hint(self.name, self.file)
            ))),
            None => Ok(()),
        }
    }
}

/// An error with the model that the weights are of, if they say so.
fn misfit(error: TrainError, model: Option<&str>) -> TrainError {
    match (error, model) {
        (TrainError::Other(error), Some(model)) => TrainError::Other(format!(
            "{error}\n  they are weights of the model `{}`",
            visible::excerpt(model)
        )),
        (error, _) => error,
    }
}

/// Says what was left out of a file, and warns where values that were read from it are not finite.
pub fn tell(file: &Path, store: &Store, notes: &[String]) {
    notes.iter().for_each(|note| say(note));
    if let Some(warning) = not_finite(store) {
        say(&format!("warning: {}: {warning}", file.display()));
    }
}

/// What to say of weights of which some are not finite, as a training that went wrong leaves them.
fn not_finite(store: &Store) -> Option<String> {
    let bad = |entry: &Entry| entry.values().iter().filter(|value| !value.is_finite()).count();
    let mut broken = store.entries().iter().filter(|entry| bad(entry) > 0);
    let first = broken.next()?;
    let others = match broken.count() {
        0 => String::new(),
        1 => ", nor are those of 1 other tensor".into(),
        others => format!(", nor are those of {others} other tensors"),
    };
    let (bad, all) = (bad(first), first.len());
    Some(format!("{bad} of the {all} values of `{}` are not finite{others}", first.path))
}

fn is_kept(role: &Role) -> bool {
    matches!(role, Role::Param { .. } | Role::State { .. })
}

/// Where weights may be.
fn hint(name: &str, file: &Path) -> String {
    match newest(name) {
        Some(path) => format!("the newest run has {}", path.display()),
        None => format!("`cnnc run {}` makes them", file.display()),
    }
}

/// The weights of the model's last run in the folder of runs.
fn newest(name: &str) -> Option<PathBuf> {
    let path = folder::newest(Path::new(super::RUNS), name)?.join(WEIGHTS);
    path.is_file().then_some(path)
}
