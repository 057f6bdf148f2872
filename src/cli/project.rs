//! A model file as a command uses it: loaded, with a model chosen and settings replaced.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::source::SourceMap;
use crate::base::span::Span;
use crate::base::target::{Level, Target};
use crate::data::augment::Augment;
use crate::data::prepare::Prepare;
use crate::data::{DataError, Dataset};
use crate::elab::config::{DataSpec, Described, Metrics, Overrides, TrainSpec};
use crate::elab::{self, ModelCall, Module};
use crate::lower::CompileOptions;
use crate::runtime::{Device, devices};
use crate::syntax::ast::{Data, Expr, ExprKind, FnItem, Train, TypeKind};
use crate::train::TrainError;
use crate::train::recipe::Recipe;

use super::arguments::{DeviceName, MachineArguments, ModelArguments};
use super::{Failure, say, sections};

/// What a command is about.
pub enum Subject {
    Trained(Box<TrainSpec>),
    /// A model without a train section.
    Model(ModelCall),
}

impl Subject {
    /// The model with its arguments.
    pub fn model(&self) -> &ModelCall {
        match self {
            Subject::Trained(spec) => &spec.model,
            Subject::Model(model) => model,
        }
    }

    /// The name of the train section, or that of the model.
    pub fn name(&self) -> &str {
        match self {
            Subject::Trained(spec) => &spec.name,
            Subject::Model(model) => &model.name.text,
        }
    }

    /// Whether ways that round otherwise are fine.
    pub fn fast_math(&self) -> bool {
        match self {
            Subject::Trained(spec) => spec.fast_math,
            Subject::Model(_) => true,
        }
    }

    /// The batch of a training; one sample without one.
    pub fn batch(&self) -> i64 {
        match self {
            Subject::Trained(spec) => spec.phases[0].batch,
            Subject::Model(_) => 1,
        }
    }
}

/// A shape for the samples of a model that leaves axes open; none where it does not.
pub fn assumed_sample(item: &FnItem) -> Option<Vec<i64>> {
    const CHANNELS: i64 = 3;
    const OTHERS: i64 = 64;
    let TypeKind::Tensor { dims: Some(dims), .. } = &item.params.first()?.ty.kind else { return None };
    let is_param = |name: &str| item.params.iter().any(|param| param.name.text == name);
    let mut is_open = false;
    let extent = |(axis, dim): (usize, &Expr)| match &dim.kind {
        ExprKind::Number { value, .. } => Some(*value as i64),
        ExprKind::Name(name) if !is_param(name) => {
            is_open = true;
            Some(if axis == 0 { CHANNELS } else { OTHERS })
        }
        _ => None,
    };
    let sample: Option<Vec<i64>> = dims.iter().skip(1).enumerate().map(extent).collect();
    sample.filter(|_| is_open)
}

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
        if arguments.file.is_dir() {
            return Err(folder_for_file(&arguments.file));
        }
        Project::load_with(arguments, flags, &|sources| elab::load(sources, &arguments.file))
    }

    /// Loads a file from texts, by their paths: that of the model file is among them.
    pub fn load_texts(
        arguments: &'a ModelArguments,
        flags: &[String],
        texts: &[(PathBuf, String)],
    ) -> Result<Project<'a>, Failure> {
        Project::load_with(arguments, flags, &|sources| elab::load_texts(sources, &arguments.file, texts))
    }

    fn load_with(
        arguments: &'a ModelArguments,
        flags: &[String],
        load: &dyn Fn(&mut SourceMap) -> Result<Module, Vec<Diagnostic>>,
    ) -> Result<Project<'a>, Failure> {
        let mut sources = SourceMap::default();
        let module = match load(&mut sources) {
            Ok(module) => module,
            Err(errors) => return Err(Failure::Source(sources, errors)),
        };
        let settings = [arguments.choice.set.as_slice(), flags].concat();
        match Overrides::parse(&mut sources, &settings) {
            Ok(overrides) => Ok(Project { sources, module, arguments, overrides }),
            Err(errors) => Err(Failure::Source(sources, errors)),
        }
    }

    /// The same with another text of the model file; none where it does not parse.
    pub fn with_text(&self, text: &str) -> Option<Project<'a>> {
        let mut sources = SourceMap::default();
        let name = self.arguments.file.display().to_string();
        let module = Module::from_text(&mut sources, &name, text).ok()?;
        let overrides = Overrides::parse(&mut sources, &self.arguments.choice.set).ok()?;
        Some(Project { sources, module, arguments: self.arguments, overrides })
    }

    /// The texts of the user's files, by their absolute paths, that of the model file first.
    pub fn texts(&self) -> Vec<(PathBuf, String)> {
        let files = self.module.own_files().map(|id| (PathBuf::from(&self.sources.file(id).name), id));
        let aliases = self.module.aliases().iter().cloned();
        let mut texts: Vec<(PathBuf, String)> = files
            .chain(aliases)
            .map(|(path, id)| (elab::lexical(&path), self.sources.text(id).to_owned()))
            .collect();
        let mut seen = HashSet::new();
        texts.retain(|(path, _)| seen.insert(path.clone()));
        texts
    }

    /// The settings of a train section and its data section, as texts.
    pub fn described(&self, spec: &TrainSpec) -> Result<Described, Failure> {
        let data = self.module.data(&spec.data).map_err(|error| self.failure(vec![error]))?;
        let sections = self.module.train_sections();
        let train = sections.into_iter().find(|train| train.span == spec.span);
        Ok(self.module.described(train.expect("it was read from one"), data, &self.overrides))
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
        match self.subject()? {
            Subject::Trained(spec) => Ok(*spec),
            Subject::Model(model) => {
                let file = self.arguments.file.display();
                let name = &model.name.text;
                let sections = self.module.train_sections();
                let mut trainings = sections.iter().filter(|train| train.model.text == *name);
                if let Some(Train { alias: Some(alias), .. }) = trainings.next() {
                    let alias = &alias.text;
                    return Err(Failure::Usage(format!(
                        "{file} trains `{name}` by the train section `{alias}`; choose that with --model {alias}"
                    )));
                }
                Err(Failure::Run(format!(
                    "{file} has no train section for `{name}`; add `train {name} on DATA {{ ... }}`"
                )))
            }
        }
    }

    /// What a command is about: the train section or the model named by `--model`, else the only train section, else
    /// the only model.
    pub fn subject(&self) -> Result<Subject, Failure> {
        let (sections, models) = (self.module.train_sections(), self.module.main_models());
        let name_of = |train: &Train| train.alias.as_ref().unwrap_or(&train.model).text.clone();
        let trained = |section: &Train| {
            let spec = self.train_spec(section);
            spec.map(|spec| Subject::Trained(Box::new(spec))).map_err(|errors| self.failure(errors))
        };
        let alone = |model: &FnItem| {
            let args = self.overrides.arguments().to_vec();
            Ok(Subject::Model(ModelCall { name: model.name.clone(), args }))
        };
        let file = self.arguments.file.display();
        let mut known: Vec<String> = sections.iter().map(|train| name_of(train)).collect();
        known.extend(models.iter().map(|model| model.name.text.clone()));
        known.sort();
        known.dedup();
        let Some(wanted) = &self.arguments.choice.model else {
            return match (sections.as_slice(), models.as_slice()) {
                ([only], _) => trained(only),
                ([], [only]) => alone(only),
                ([], []) => Err(Failure::Run(format!("{file} has no model"))),
                _ => {
                    let known = known.join(", ");
                    Err(Failure::Usage(format!(
                        "{file} has several models; choose one with --model: {known}"
                    )))
                }
            };
        };
        if let Some(section) =
            sections.iter().find(|train| planted!("cli.project.model") || name_of(train) == *wanted)
        {
            return trained(section);
        }
        if let Some(model) = models.iter().find(|model| model.name.text == *wanted) {
            return alone(model);
        }
        let mut message = format!("{file} has no model `{wanted}`; it has {}", known.join(", "));
        if let Some(near) = nearest(wanted, known.iter().map(String::as_str)) {
            message += &format!("; did you mean `{near}`?");
        }
        Err(Failure::Usage(message))
    }

    /// The recipe of a subject. Where the model leaves axes open, they are those of the data, or else assumed: then a
    /// line on standard error says so.
    pub fn recipe_of(&self, subject: &Subject) -> Result<Recipe<'_>, Failure> {
        let sample = self.open_sample(subject)?;
        Ok(match subject {
            Subject::Trained(spec) => Recipe { sample, ..self.recipe(spec, None) },
            Subject::Model(model) => self.untrained(model, sample),
        })
    }

    /// The recipe of a model without a train section.
    pub fn untrained(&self, model: &ModelCall, sample: Option<Vec<i64>>) -> Recipe<'_> {
        Recipe {
            module: &self.module,
            model: model.clone(),
            loss: None,
            init: Vec::new(),
            sample,
            mixed: false,
            metrics: Metrics::default(),
            watched: None,
            gradient_norms: false,
        }
    }

    fn open_sample(&self, subject: &Subject) -> Result<Option<Vec<i64>>, Failure> {
        let item = self.module.model(&subject.model().name).map_err(|error| self.failure(vec![error]))?;
        let Some(assumed) = assumed_sample(item) else { return Ok(None) };
        if let Subject::Trained(spec) = subject {
            let data = self.dataset(&self.data(spec)?)?;
            return Ok(Some(data.shape.map(|extent| extent as i64).to_vec()));
        }
        say(&format!("note: `{}` takes inputs of several sizes; this is for {assumed:?}", item.name.text));
        Ok(Some(assumed))
    }

    /// The data section that a train section names.
    pub fn data(&self, spec: &TrainSpec) -> Result<DataSpec, Failure> {
        let section = self.module.data(&spec.data).map_err(|error| self.failure(vec![error]))?;
        self.data_spec(section).map_err(|errors| self.failure(errors))
    }

    /// The data itself, with its validation split and class names.
    pub fn dataset(&self, spec: &DataSpec) -> Result<Dataset, Failure> {
        let data = self.dataset_soon(spec)?;
        data.ready().map_err(|error| self.train_failure(error.into()))?;
        Ok(data)
    }

    /// The same, whose pictures may still be on their way: see [`Dataset::ready`].
    pub fn dataset_soon(&self, spec: &DataSpec) -> Result<Dataset, Failure> {
        sections::check_place(spec, self.arguments.choice.data.as_deref()).map_err(Failure::Usage)?;
        self.begin(spec).map_err(|error| self.train_failure(error.into()))
    }

    /// The settings of a data section.
    pub fn data_spec(&self, section: &Data) -> Result<DataSpec, Vec<Diagnostic>> {
        self.module.data_spec(section, &self.overrides)
    }

    /// The settings of a train section.
    pub fn train_spec(&self, section: &Train) -> Result<TrainSpec, Vec<Diagnostic>> {
        self.module.train_spec(section, &self.overrides)
    }

    /// Reads the data of a section, with its validation split and class names.
    ///
    /// # Errors
    ///
    /// What is wrong with the files or the settings.
    pub fn read(&self, spec: &DataSpec) -> Result<Dataset, DataError> {
        let data = self.begin(spec)?;
        data.ready()?;
        Ok(data)
    }

    fn begin(&self, spec: &DataSpec) -> Result<Dataset, DataError> {
        let mut data = sections::load(spec, self.arguments.choice.data.as_deref())?;
        data.prepare(&sections::geometry(&spec.prepare))?;
        if let Some(names) = spec.classes.as_ref().filter(|_| !planted!("cli.project.classes")) {
            data.name_classes(names.clone())?;
        }
        if let Some(apart) = sections::held_out(spec) {
            data.hold_out(&apart)?;
        }
        Ok(data)
    }

    /// What makes numbers of the pixels of so many channels, whose value `full_scale` means 1.0.
    pub fn prepare(&self, spec: &DataSpec, channels: usize, full_scale: f32) -> Result<Prepare, Failure> {
        Prepare::new(channels, full_scale, &sections::adjust(&spec.prepare))
            .map_err(|error| self.train_failure(error.into()))
    }

    /// What is done to training images at random; none where the section says nothing.
    ///
    /// # Errors
    ///
    /// A step that does not fit the data.
    pub fn augment(
        &self,
        spec: &DataSpec,
        data: &Dataset,
        seed: u64,
    ) -> Result<Option<Arc<Augment>>, DataError> {
        if spec.augment.is_empty() {
            return Ok(None);
        }
        let steps = sections::augment(&spec.augment);
        let augment = Augment::new(steps, data.shape, data.full_scale, seed)?;
        if data.train.has_numbers() {
            augment.check_numbers()?;
        }
        let augment = match sections::mix(&spec.augment) {
            Some(mix) => augment.with_mix(mix),
            None => augment,
        };
        augment.check_targets(data.train.targets.shape(), data.shape)?;
        Ok(Some(Arc::new(augment)))
    }

    /// The line of a place, as `file:line`, the file without its folders.
    pub fn line(&self, span: Span) -> String {
        let name = Path::new(&self.sources.file(span.file).name);
        let name = name.file_name().unwrap_or(name.as_os_str());
        format!("{}:{}", name.to_string_lossy(), self.sources.position(span).line)
    }

    /// The graphs of a train section.
    pub fn recipe(&self, spec: &TrainSpec, sample: Option<[usize; 3]>) -> Recipe<'_> {
        let sample = sample.map(|shape| shape.map(|extent| extent as i64).to_vec());
        Recipe { sample, ..Recipe::of(&self.module, spec) }
    }
}

/// The failure of a folder in the place of a model file, with the file that may be meant.
fn folder_for_file(folder: &Path) -> Failure {
    let shown = folder.display();
    let entries =
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_model =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cnn") && path.is_file();
    let first = entries.filter(is_model).min();
    Failure::Run(match first {
        _ if folder.join("run.json").is_file() => {
            format!(
                "{shown} is the folder of a run, not a model file; `cnnc run --resume {shown}` goes on with it"
            )
        }
        Some(file) => format!("{shown} is a folder, not a model file; it has {}", file.display()),
        None => format!("{shown} is a folder, not a model file"),
    })
}

/// What is asked for of a vector level; the host's best by default.
pub fn options(cpu: Option<Level>) -> Result<CompileOptions, Failure> {
    let host = Target::host();
    match cpu {
        Some(level) if level > host.level => Err(Failure::Usage(format!("this machine has no `{level}`"))),
        Some(level) => Ok(CompileOptions::of(Target::of(level))),
        None => Ok(CompileOptions::of(host)),
    }
}

/// What runs a program, and what it is lowered for.
pub struct Execution {
    pub options: CompileOptions,
    pub device: Arc<dyn Device>,
    /// Threads that make batches.
    pub threads: usize,
}

/// The device and the threads that flags name, for a model that allows fast math or does not.
pub fn execution(arguments: &MachineArguments, fast_math: bool) -> Result<Execution, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = arguments.threads.filter(|_| !planted!("cli.project.threads")).map_or(cores, usize::from);
    let device = match arguments.device.as_ref().unwrap_or(&DeviceName::Cpu) {
        DeviceName::Gpu(_) | DeviceName::Interpreter if arguments.cpu.is_some() => {
            return Err(Failure::Usage("--cpu is for the device cpu".into()));
        }
        DeviceName::Gpu(name) => {
            devices::gpu(name.as_deref()).map_err(|fault| Failure::Run(fault.to_string()))?
        }
        DeviceName::Interpreter => devices::interpreter(),
        DeviceName::Cpu => devices::cpu(options(arguments.cpu)?.machine.target, threads)
            .map_err(|error| Failure::Run(format!("{threads} threads cannot be started: {error}")))?,
    };
    let fast_math = fast_math || planted!("cli.project.fast_math");
    let options = CompileOptions { machine: device.machine(), over: None, fast_math };
    Ok(Execution { options, device, threads })
}
