//! A model file as a command uses it: loaded, with a model chosen and settings replaced.

use std::path::Path;

use crate::base::diagnostic::Diagnostic;
use crate::base::source::SourceMap;
use crate::base::target::{Level, Target};
use crate::data::prepare::{Normalize, Prepare};
use crate::data::{Dataset, digits, idx};
use crate::elab::config::{DataSpec, Overrides, Prepare as PrepareStep, Source, TrainSpec};
use crate::elab::{self, ModelCall, Module};
use crate::runtime::Pool;
use crate::sched::Machine;
use crate::syntax::ast::Train;
use crate::train::TrainError;
use crate::train::recipe::Recipe;

use super::Failure;
use super::arguments::{MachineArguments, ModelArguments};

/// A loaded model file.
pub struct Project<'a> {
    pub sources: SourceMap,
    pub module: Module,
    arguments: &'a ModelArguments,
    overrides: Overrides,
}

impl<'a> Project<'a> {
    /// Loads the file; `flags` are settings like those of `--set`, from flags of their own.
    pub fn load(arguments: &'a ModelArguments, flags: &[String]) -> Result<Project<'a>, Failure> {
        let mut sources = SourceMap::default();
        let module = match elab::load(&mut sources, &arguments.file) {
            Ok(module) => module,
            Err(errors) => return Err(Failure::Source(sources, errors)),
        };
        let settings = [arguments.set.as_slice(), flags].concat();
        match Overrides::parse(&mut sources, &settings) {
            Ok(overrides) => Ok(Project { sources, module, arguments, overrides }),
            Err(errors) => Err(Failure::Source(sources, errors)),
        }
    }

    /// A failure with errors in the file.
    pub fn failure(&self, errors: Vec<Diagnostic>) -> Failure {
        Failure::Source(self.sources.clone(), errors)
    }

    /// A failure of training or running.
    pub fn train_failure(&self, error: TrainError) -> Failure {
        Failure::of(&self.sources, error)
    }

    /// The chosen train section: the one named by `--model`, or the only one.
    pub fn train(&self) -> Result<TrainSpec, Failure> {
        let section = self.train_section()?;
        self.module.train_spec(section, &self.overrides).map_err(|errors| self.failure(errors))
    }

    fn train_section(&self) -> Result<&Train, Failure> {
        let sections = self.module.train_sections();
        let name = |train: &Train| train.alias.as_ref().unwrap_or(&train.model).text.clone();
        let known = || sections.iter().map(|train| name(train)).collect::<Vec<_>>().join(", ");
        let file = self.arguments.file.display();
        match (&self.arguments.model, sections.as_slice()) {
            (_, []) => Err(Failure::Run(format!("{file} has no train section"))),
            (None, [only]) => Ok(only),
            (None, _) => Err(Failure::Usage(format!(
                "{file} has several train sections; choose one with --model: {}",
                known()
            ))),
            (Some(wanted), _) => {
                let found = sections.iter().find(|train| name(train) == *wanted);
                let unknown =
                    || Failure::Usage(format!("{file} trains no `{wanted}`; it trains {}", known()));
                found.copied().ok_or_else(unknown)
            }
        }
    }

    /// Whether the file has a train section to choose.
    pub fn has_train_section(&self) -> bool {
        !self.module.train_sections().is_empty()
    }

    /// The model without a train section: the one named by `--model`, or the last of the file.
    pub fn model(&self) -> Result<ModelCall, Failure> {
        let models = self.module.main_models();
        let file = self.arguments.file.display();
        let known = || models.iter().map(|model| model.name.text.as_str()).collect::<Vec<_>>().join(", ");
        let item = match (&self.arguments.model, models.as_slice()) {
            (_, []) => return Err(Failure::Run(format!("{file} has no model"))),
            (None, [only]) => only,
            (None, _) => {
                return Err(Failure::Usage(format!(
                    "{file} has several models; choose one with --model: {}",
                    known()
                )));
            }
            (Some(wanted), _) => models.iter().find(|model| model.name.text == *wanted).ok_or_else(|| {
                Failure::Usage(format!("{file} has no model `{wanted}`; it has {}", known()))
            })?,
        };
        Ok(ModelCall::new(item))
    }

    /// The data section that a train section names.
    pub fn data(&self, spec: &TrainSpec) -> Result<DataSpec, Failure> {
        let section = self.module.data(&spec.data).map_err(|error| self.failure(vec![error]))?;
        self.module.data_spec(section, &self.overrides).map_err(|errors| self.failure(errors))
    }

    /// The data itself, with its validation split and class names.
    pub fn dataset(&self, spec: &DataSpec) -> Result<Dataset, Failure> {
        self.read(spec).map_err(|error| self.train_failure(error.into()))
    }

    fn read(&self, spec: &DataSpec) -> Result<Dataset, crate::data::DataError> {
        let mut data = match &spec.source {
            Source::Digits => digits::load()?,
            Source::Idx(folder) => idx::load(self.arguments.data.as_deref().unwrap_or(folder))?,
        };
        if let Some(names) = &spec.classes {
            data.name_classes(names.clone())?;
        }
        if spec.holdout > 0 {
            data.hold_out(spec.holdout)?;
        }
        Ok(data)
    }

    /// What is done to every picture.
    pub fn prepare(&self, spec: &DataSpec, data: &Dataset) -> Result<Prepare, Failure> {
        let mut normalize = None;
        for PrepareStep::Normalize { mean, std } in &spec.prepare {
            if normalize.is_some() {
                return Err(Failure::Run("`prepare` normalises twice; once is supported".into()));
            }
            normalize = Some(Normalize { mean: mean.clone(), std: std.clone() });
        }
        Prepare::new(data.shape[0], data.full_scale, normalize.as_ref())
            .map_err(|error| self.train_failure(error.into()))
    }

    /// The graphs of a train section.
    pub fn recipe(&self, spec: &TrainSpec, sample: Option<[usize; 3]>) -> Recipe<'_> {
        let sample = sample.map(|shape| shape.map(|extent| extent as i64).to_vec());
        Recipe { sample, ..Recipe::of(&self.module, spec) }
    }
}

/// The machine that flags ask for.
pub fn machine(cpu: Option<Level>) -> Result<Machine, Failure> {
    let host = Target::host();
    match cpu {
        Some(level) if level > host.level => Err(Failure::Usage(format!("this machine has no `{level}`"))),
        Some(level) => Ok(Machine::of(Target::of(level))),
        None => Ok(Machine::of(host)),
    }
}

/// The threads that flags ask for.
pub fn pool(arguments: &MachineArguments) -> Result<Pool, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = arguments.threads.map_or(cores, usize::from);
    Pool::new(threads).map_err(|error| Failure::Run(format!("threads cannot be started: {error}")))
}

/// The name of a file without folder and ending.
pub fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned())
}
