//! `cnnc check`: the mistakes of a file, without running anything.
//!
//! Every model is elaborated, for inference and, where a train section names it, as a training step; what no
//! elaboration comes by is looked at as far as that goes without a call. Data that is there is opened, because it says
//! the sizes that a model leaves open; data that is not there is no mistake of the file, unless all of it is to be
//! read.

use std::hash::{DefaultHasher, Hasher};

use crate::base::diagnostic::Diagnostic;
use crate::base::memory::Room;
use crate::base::numbers;
use crate::base::span::Span;
use crate::base::target::Target;
use crate::data::{DataError, Dataset, Split, Targets, inspect};
use crate::elab::ModelCall;
use crate::elab::config::{DataSpec, Source, TrainSpec};
use crate::lower::CompileOptions;
use crate::report::progress::Counting;
use crate::syntax;
use crate::syntax::ast::FnItem;
use crate::train::TrainError;
use crate::train::recipe::Recipe;

use super::arguments::{CheckArguments, ChoiceArguments, ModelArguments};
use super::project::{Project, assumed_sample};
use super::{Failure, Outcome, lints, of_command_line, print, say, show};

/// The elaborations of a file may take so many steps together.
const MOST_STEPS: usize = 12_000_000;

/// Files that take more steps are not elaborated again and again for a warning.
const MOST_STEPS_OF_LINT: usize = 500_000;

/// So many errors and warnings are shown at most.
const MOST_SHOWN: usize = 100;

/// Checks and prints.
pub fn run(arguments: &CheckArguments) -> Outcome {
    let CheckArguments { file, data, set } = arguments;
    let choice = ChoiceArguments { model: None, data: data.clone().flatten(), set: set.clone() };
    let model = ModelArguments { file: file.clone(), choice };
    let project = Project::load(&model, &[])?;
    let found = warnings(&project, arguments);
    let mut check = Check {
        project: &project,
        found,
        notes: Vec::new(),
        shapes: Vec::new(),
        reads: data.is_some().then(Vec::new),
    };
    check.sections();
    check.models();
    check.items();
    check.divisions(arguments);
    let Check { found, notes, .. } = check;
    let errors = found.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let warnings = found.len() - errors;
    let usage = of_command_line(&project.sources, &found);
    show(&project.sources, &first(found));
    if errors + warnings > MOST_SHOWN {
        say(&format!("note: {} more are not shown", errors + warnings - MOST_SHOWN));
    }
    for note in notes {
        say(&format!("note: {note}"));
    }
    match (errors, warnings) {
        (0, 0) => print(&format!("{}: no problems\n", file.display())),
        (0, _) => print(&format!("{}: {}\n", file.display(), counted(warnings, "warning"))),
        _ => {
            let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
            say(&format!("{}: {errors}, {warnings}", file.display()));
            Err(if usage { Failure::SaidUsage } else { Failure::Said })
        }
    }
}

/// What is shown where there is too much: errors go first.
fn first(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if found.len() > MOST_SHOWN {
        found.sort_by_key(|diagnostic| !diagnostic.is_error());
        found.truncate(MOST_SHOWN);
    }
    found
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// The lints of the model file itself.
fn warnings(project: &Project<'_>, arguments: &CheckArguments) -> Vec<Diagnostic> {
    let name = arguments.file.display().to_string();
    let Some(id) = project.sources.find(&name) else { return Vec::new() };
    let text = project.sources.text(id);
    lints::names::run(&syntax::parse(id, text).0, id, text)
}

struct Check<'a> {
    project: &'a Project<'a>,
    found: Vec<Diagnostic>,
    notes: Vec<String>,
    /// The shapes of the samples of each train section, where there is data.
    shapes: Vec<Option<[usize; 3]>>,
    /// The data sections of which every sample was read; none where only their heads are looked at.
    reads: Option<Vec<DataSpec>>,
}

impl Check<'_> {
    fn add(&mut self, errors: Vec<Diagnostic>) {
        for error in errors {
            if !self.found.contains(&error) {
                self.found.push(error);
            }
        }
    }

    /// Adds the errors of a file; others become notes.
    fn add_failure(&mut self, failure: Failure) {
        match failure {
            Failure::Source(_, errors) => self.add(errors),
            Failure::Run(message) | Failure::Usage(message) => self.add(vec![Diagnostic::error(message)]),
            Failure::Interrupted(_) | Failure::Said | Failure::SaidUsage => {}
        }
    }

    fn sections(&mut self) {
        let module = &self.project.module;
        for section in module.data_sections() {
            self.add(self.project.data_spec(section).err().unwrap_or_default());
        }
        for section in module.train_sections() {
            match self.project.train_spec(section) {
                Ok(spec) => self.training(&spec),
                Err(errors) => self.add(errors),
            }
        }
    }

    /// A train section: its step, its evaluation, and whether the data fits.
    fn training(&mut self, spec: &TrainSpec) {
        let data_spec = match self.project.data(spec) {
            Ok(data_spec) => data_spec,
            Err(failure) => return self.add_failure(failure),
        };
        let data = match self.project.read(&data_spec) {
            Ok(data) => {
                self.pictures(spec, &data_spec, &data);
                self.samples(&data_spec, &data);
                Some(data)
            }
            Err(DataError::Missing { folder, .. } | DataError::NoFolder { folder, .. })
                if self.reads.is_none() =>
            {
                let (name, folder) = (&spec.name, folder.display());
                self.notes.push(format!("the data of `{name}` was not looked at: it is not in {folder}"));
                None
            }
            Err(error) => return self.add_failure(Failure::Run(error.to_string())),
        };
        self.shapes.push(data.as_ref().map(|data| data.shape));
        match self.elaborate(spec, &data_spec, data.as_ref()) {
            Err(TrainError::Source(errors)) => self.add(errors),
            Err(error) => self.add(vec![Diagnostic::error(error.to_string())]),
            Ok(warnings) => self.add(warnings),
        }
    }

    /// Reads every sample of a data section, once.
    fn samples(&mut self, data_spec: &DataSpec, data: &Dataset) {
        let Some(read) = self.reads.as_mut().filter(|read| !read.contains(data_spec)) else { return };
        read.push(data_spec.clone());
        let images =
            [&data.train, &data.test].into_iter().chain(&data.holdout).map(Split::len).sum::<usize>();
        let bar = Counting::new(&data_spec.name, images as u64);
        let found = inspect::run(data, &|| bar.advance());
        bar.finish();
        let images = numbers::grouped(images as u64);
        self.notes.push(format!("all {images} images of `{}` were read", data_spec.name));
        self.add(found.errors.into_iter().map(Diagnostic::error).collect());
        self.add(found.warnings.into_iter().map(Diagnostic::warning).collect());
    }

    /// Whether what is done to pictures fits the data.
    fn pictures(&mut self, spec: &TrainSpec, data_spec: &DataSpec, data: &Dataset) {
        if let Err(failure) = self.project.prepare(data_spec, data.shape[0], data.full_scale) {
            self.add_failure(failure);
        }
        if let Err(error) = self.project.augment(data_spec, data, spec.seed) {
            self.add(vec![Diagnostic::error(error.to_string())]);
        }
    }

    /// Elaborates all that a training needs and gives the warnings about its layers.
    fn elaborate(
        &self,
        spec: &TrainSpec,
        data_spec: &DataSpec,
        data: Option<&Dataset>,
    ) -> Result<Vec<Diagnostic>, TrainError> {
        let recipe = recipe(self.project, spec, data.map(|data| data.shape));
        let mut warnings = Vec::new();
        for phase in &spec.phases {
            self.check_work(phase.optim.span)?;
            let step = recipe.step(phase.batch, phase)?;
            if let Some((data, false)) = data.map(|data| (data, data_spec.drop_last)) {
                recipe.last_batch(data.train.len(), phase)?;
            }
            warnings.extend(lints::layers::run(&step, &self.project.sources));
            let options = CompileOptions { fast_math: spec.fast_math, ..CompileOptions::of(Target::host()) };
            let step_of = |batch| recipe.step(batch, phase).ok();
            let too_large = |room| lints::memory::run(&spec.name, &step, room, &options, &step_of);
            warnings.extend(Room::total().and_then(too_large));
        }
        let graph = recipe.evaluation(spec.phases[0].batch)?;
        match data {
            Some(data) => recipe.check_data(&graph, data)?,
            // What the targets of arrays are, only the file says.
            None if matches!(data_spec.source, Source::Npz(_)) => recipe.check_rules(&graph)?,
            None => {
                recipe.check_targets(&graph, &Targets::default())?;
                recipe.check_rules(&graph)?;
            }
        }
        Ok(warnings)
    }

    /// An error where all elaborations together have taken too long.
    fn check_work(&self, span: Span) -> Result<(), Vec<Diagnostic>> {
        if self.project.module.steps() <= MOST_STEPS {
            return Ok(());
        }
        let error =
            Diagnostic::error("this file takes too long to check").primary(span, "not looked at any more");
        Err(vec![error.note(format!("more than {MOST_STEPS} expressions were evaluated"))])
    }

    /// What is wrong with items whether they are called or not, where elaboration has not said it.
    fn items(&mut self) {
        for error in self.project.module.audit() {
            let said = |other: &Diagnostic| other.message == error.message && other.span() == error.span();
            if !self.found.iter().any(said) {
                self.found.push(error);
            }
        }
    }

    /// The models that no train section names.
    fn models(&mut self) {
        for item in untrained_models(self.project) {
            if needs_arguments(item) {
                let name = &item.name.text;
                self.notes.push(format!("`{name}` was not elaborated: no train section gives its arguments"));
                continue;
            }
            let recipe = self.project.untrained(&ModelCall::new(item), assumed_sample(item));
            let found = self.check_work(item.name.span).and_then(|()| recipe.inference(1).map(|_| ()));
            self.add(found.err().unwrap_or_default());
        }
    }

    /// The divisions that lose a remainder, where nothing is wrong with the file.
    fn divisions(&mut self, arguments: &CheckArguments) {
        let sources = &self.project.sources;
        let id = sources.find(&arguments.file.display().to_string());
        // Each of them is an elaboration more.
        let is_small = self.project.module.steps() <= MOST_STEPS_OF_LINT;
        let Some(id) = id.filter(|_| is_small && !self.found.iter().any(Diagnostic::is_error)) else {
            return;
        };
        let tree = syntax::parse(id, sources.text(id)).0;
        let elaborate = |text: &str| fingerprint(&self.project.with_text(text)?, &self.shapes);
        self.found.extend(lints::divisions::run(&tree, id, sources, &elaborate));
    }
}

/// The recipe of a train section for samples of a shape, or of an assumed one.
fn recipe<'m>(project: &'m Project<'_>, spec: &TrainSpec, shape: Option<[usize; 3]>) -> Recipe<'m> {
    let mut recipe = project.recipe(spec, shape);
    if shape.is_none() {
        recipe.sample = project.module.model(&spec.model.name).ok().and_then(assumed_sample);
    }
    recipe
}

/// The models that no train section names.
fn untrained_models<'m>(project: &'m Project<'_>) -> impl Iterator<Item = &'m FnItem> {
    let sections = project.module.train_sections();
    let is_trained = move |item: &FnItem| sections.iter().any(|section| section.model.text == item.name.text);
    project.module.main_models().into_iter().filter(move |item| !is_trained(item))
}

fn needs_arguments(item: &FnItem) -> bool {
    item.params.iter().skip(1).any(|param| param.default.is_none())
}

/// What the graphs of a file compute; none where anything is wrong with it. The shapes are those of the samples of its
/// train sections.
fn fingerprint(project: &Project<'_>, shapes: &[Option<[usize; 3]>]) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    for section in project.module.data_sections() {
        project.data_spec(section).ok()?;
    }
    for (section, shape) in project.module.train_sections().into_iter().zip(shapes) {
        let spec = project.train_spec(section).ok()?;
        let recipe = recipe(project, &spec, *shape);
        for phase in &spec.phases {
            lints::divisions::fingerprint(&recipe.step(phase.batch, phase).ok()?, &mut hasher);
        }
        lints::divisions::fingerprint(&recipe.evaluation(1).ok()?, &mut hasher);
    }
    for item in untrained_models(project).filter(|item| !needs_arguments(item)) {
        let recipe = project.untrained(&ModelCall::new(item), assumed_sample(item));
        lints::divisions::fingerprint(&recipe.inference(1).ok()?, &mut hasher);
        lints::divisions::fingerprint(&recipe.forward(1, None).ok()?, &mut hasher);
    }
    Some(hasher.finish())
}
