//! `cnnc predict`: what a model says of pictures, or its raw outputs.
//!
//! Outputs of one score a class are shown as probabilities: their softmax, unless they are probabilities already (none
//! is negative and they sum to 1). Whether they are such scores says the loss of the train section; without one they
//! are taken for it. All others are shown and written as they are, in their own type. Pictures go through the data
//! section's `prepare`; raw inputs do not.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::base::files::write_atomically;
use crate::base::philox::RandomState;
use crate::data::{DataError, npy};
use crate::elab::config::{DataSpec, Source};
use crate::graph::{Graph, Role, Scores, Sink, samples};
use crate::lower::CompileOptions;
use crate::runtime::{Device, Instance, Store, Values};
use crate::train::TrainError;
use crate::train::programs::{StageTimes, advised, compile};
use crate::train::recipe::Recipe;

use super::arguments::PredictArguments;
use super::inputs::{Input, Reader};
use super::nested::Nested;
use super::project::{Execution, Project, Subject, execution};
use super::recent::Recent;
use super::said::{Class, Line, Said, Table, probabilities};
use super::trained::{self, Weights};
use super::{Failure, Outcome, picture, print, print_json, say};

/// What is printed of a picture has so many numbers at most, in rows at most.
const MOST_PRINTED: usize = 64;
const MOST_PRINTED_AXES: usize = 2;

/// So many programs are kept, each for pictures of one size.
const MOST_PROGRAMS: usize = 4;

/// Predicts and prints or writes.
pub fn run(arguments: &PredictArguments) -> Outcome {
    if arguments.images.is_empty() && arguments.input.is_none() {
        return Err(Failure::Usage("name pictures (files, or test:N), or raw inputs with --input".into()));
    }
    let output = arguments.output.as_deref().map(OutputFile::of).transpose()?;
    let project = Project::load(&arguments.model, &[])?;
    let subject = project.subject()?;
    let Execution { options, device, .. } = execution(&arguments.machine, subject.fast_math())?;
    let (project, subject) = (&project, &subject);
    let programs = Recent::new(MOST_PROGRAMS);
    let weights = Weights::read(project, arguments.weights.as_deref())?;
    let runner = Runner {
        arguments,
        project,
        subject,
        options,
        device,
        programs,
        current: Vec::new(),
        weights,
        store: None,
    };
    match &arguments.input {
        Some(input) => runner.raw(input, output),
        None => runner.pictures(output),
    }
}

/// Where outputs go.
#[derive(Clone, Copy)]
enum OutputFile<'a> {
    Npy(&'a Path),
    Png(&'a Path),
}

impl OutputFile<'_> {
    fn of(path: &Path) -> Result<OutputFile<'_>, Failure> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Ok(OutputFile::Npy(path)),
            Some("png") => Ok(OutputFile::Png(path)),
            _ => Err(Failure::Usage(format!("--output {}: the file is a .npy or a .png", path.display()))),
        }
    }
}

/// What pictures have been shown.
struct Shown {
    /// In place of lines, where `--csv` asks for it.
    table: Option<Table>,
    /// Whether the model gives scores of classes, once that is known.
    has_classes: Option<bool>,
}

/// What a model made of a batch.
struct Outputs {
    /// The size of the batch.
    batch: usize,
    /// The batch first, as most models have it.
    shape: Vec<usize>,
    values: Values,
}

/// A model that is compiled for the shapes that come.
struct Runner<'a> {
    arguments: &'a PredictArguments,
    project: &'a Project<'a>,
    subject: &'a Subject,
    options: CompileOptions,
    device: Arc<dyn Device>,
    /// By the shape of the batch, with the shape of what they say.
    programs: Recent<Vec<usize>, (Instance, Vec<usize>)>,
    /// The shape of what ran last.
    current: Vec<usize>,
    /// Until they are in the store.
    weights: Option<Weights>,
    store: Option<Store>,
}

impl Runner<'_> {
    /// Runs all inputs of a file in batches.
    fn raw(mut self, input: &Path, output: Option<OutputFile<'_>>) -> Outcome {
        let array = npy::read(input).map_err(|error| Failure::Run(error.to_string()))?;
        let len = array.elements.len().checked_div(array.shape.first().copied().unwrap_or(0)).unwrap_or(0);
        if len == 0 {
            return Err(Failure::Run(format!(
                "{} has no inputs: its shape is {:?}",
                input.display(),
                array.shape
            )));
        }
        let (batch, note) = self.batch(array.shape[0], &array.shape[1..])?;
        if batch < array.shape[0] {
            let help = format!("run all inputs at once: --batch {}", array.shape[0]);
            let rest = Some(array.shape[0] % batch).filter(|rest| *rest > 0);
            let batches: Vec<usize> = std::iter::once(batch).chain(rest).collect();
            self.check_joins(&batches, &array.shape[1..], &help)?;
        }
        note.iter().for_each(|note| say(note));
        let mut all = None;
        for chunk in array.elements.chunks(batch.saturating_mul(len)) {
            let shape = [&[chunk.len() / len], &array.shape[1..]].concat();
            join(&mut all, self.outputs(&shape, chunk)?)?;
        }
        write(all, output)
    }

    /// How many of so many inputs are run at once, and what to say of that: as many as `--batch` says, else those of
    /// the file's batch, but all where the model mixes them.
    fn batch(&self, inputs: usize, sample: &[usize]) -> Result<(usize, Option<String>), Failure> {
        let asked = self.arguments.batch.map(|batch| batch as usize);
        let batch = asked.unwrap_or(self.subject.batch() as usize);
        if batch >= inputs || samples::are_apart(&self.graph(&[&[batch.max(2)], sample].concat())?) {
            return Ok((batch, None));
        }
        let name = self.subject.name();
        let note = format!(
            "note: `{name}` mixes the inputs of a batch, so with --batch {batch} it does not say what it says of all"
        );
        Ok(asked.map_or((inputs, None), |batch| (batch, Some(note))))
    }

    /// Runs pictures one by one, and prints or writes what comes out. Those that cannot be read are named, and the
    /// others go on; then it ends as a failure.
    fn pictures(mut self, output: Option<OutputFile<'_>>) -> Outcome {
        let data = match self.subject {
            Subject::Trained(spec) => Some(self.project.data(spec)?),
            Subject::Model(_) => None,
        };
        let data = data.as_ref();
        let known = self.weights.as_ref().and_then(|weights| weights.provenance().classes.clone());
        let mut reader = Reader::new(self.project, self.subject, data, known.as_deref());
        let words = reader.list(&self.arguments.images)?;
        let names = known.clone().or_else(|| data.map(|data| self.class_names(data))).unwrap_or_default();
        self.weights.iter().for_each(|weights| weights.compare_prepare(data));
        let (mut all, mut joined, mut bad) = (None, BTreeSet::new(), 0);
        let mut shown = Shown { table: self.arguments.csv.as_ref().map(|_| Table::new()), has_classes: None };
        for word in &words {
            let input = match reader.read(word)? {
                Ok(input) => input,
                Err(message) => {
                    say(&format!("error: {message}"));
                    bad += 1;
                    continue;
                }
            };
            let shape = [&[1], &input.shape()[..]].concat();
            if output.is_some() && words.len() > 1 && joined.insert(input.shape()) {
                self.check_joins(&[1], &input.shape(), "take one picture at a time")?;
            }
            let outputs = self.outputs(&shape, &input.values(self.project, data)?)?;
            match output {
                Some(_) => join(&mut all, outputs)?,
                None => self.show(&input, &outputs, &names, &mut shown)?,
            }
        }
        if bad > 0 && output.is_some() {
            say(&format!("error: nothing is written, as {bad} of {} pictures cannot be read", words.len()));
            return Err(Failure::Said);
        }
        write(all, output)?;
        if let (Some(path), Some(table)) = (&self.arguments.csv, &shown.table) {
            let failed = |error: &dyn std::fmt::Display| Failure::Run(format!("{}: {error}", path.display()));
            let bytes = table.bytes().map_err(|error| failed(&error))?;
            write_atomically(path, &bytes).map_err(|error| failed(&error))?;
        }
        if bad > 0 { Err(Failure::Said) } else { Ok(()) }
    }

    fn outputs(&mut self, shape: &[usize], values: &[f32]) -> Result<Outputs, Failure> {
        // One has the memory at a time.
        if self.current != shape
            && let Some((program, _)) =
                self.programs.get(&*std::mem::replace(&mut self.current, shape.to_vec()))
        {
            program.release();
        }
        if self.programs.get(shape).is_none() {
            self.programs.make_room();
            let graph = self.graph(shape)?;
            if self.store.is_none() {
                self.store = Some(self.load(&graph, &shape[1..])?);
            }
            let bound = self.bind(&graph);
            let program = bound.map_err(|error| {
                let graph_of = &mut |batch: i64| self.graph(&[&[batch as usize], &shape[1..]].concat()).ok();
                self.project.train_failure(advised(error, shape[0] as i64, &self.options, graph_of))
            })?;
            self.programs.put(shape.to_vec(), (program, prediction_shape(&graph)));
        }
        let batch = shape[0];
        let (program, shape) = self.programs.get(shape).expect("it was made above");
        let store = self.store.as_mut().expect("it was loaded with the first program");
        program.lease().map_err(|error| Failure::Run(error.to_string()))?;
        program.set_data(values);
        let run = program.run(store, RandomState::default());
        run.map_err(|error| Failure::Run(error.to_string()))?;
        let values = program.output(&Sink::Prediction, store).expect("every model has a prediction");
        self.device.check().map_err(|fault| Failure::Run(fault.to_string()))?;
        Ok(Outputs { batch, shape: shape.clone(), values })
    }

    /// The program of a graph, with the weights that were loaded.
    fn bind(&mut self, graph: &Graph) -> Result<Instance, TrainError> {
        let executable = compile(graph, &self.options, &*self.device, &mut StageTimes::default())?;
        let store = self.store.as_mut().expect("it was loaded before");
        Ok(Instance::bind(executable, &self.device, store)?)
    }

    /// Checks that outputs of these batches, one behind the other, are those of all inputs: that the batch is their
    /// first axis, and no other. An extent may be equal to it by chance, so batches that do not come say how the shape
    /// moves.
    fn check_joins(&self, batches: &[usize], sample: &[usize], help: &str) -> Outcome {
        let shape_at = |batch: usize| Ok(prediction_shape(&self.graph(&[&[batch], sample].concat())?));
        let first = batches[0];
        let others = [first - 1, first + 1, 2 * first].into_iter().filter(|other| *other > 0);
        let mut shapes: Vec<(usize, Vec<usize>)> =
            others.filter_map(|other| Some((other, shape_at(other).ok()?))).collect();
        let is_fixed = shapes.is_empty();
        for batch in batches {
            shapes.push((*batch, shape_at(*batch)?));
        }
        let shape = shape_at(first)?;
        let problem = if shapes.iter().any(|(batch, shape)| shape.first() != Some(batch)) {
            format!("has no axis for the batch; {help}")
        } else if shapes.iter().any(|(_, found)| found[1..] != shape[1..]) {
            format!("has other axes that depend on the batch; {help}")
        } else if is_fixed {
            format!(
                "may have no axis for the batch: the model takes {first} inputs and no other number; give it so many"
            )
        } else {
            return Ok(());
        };
        Err(Failure::Run(format!("the output {shape:?} {problem}")))
    }

    fn graph(&self, shape: &[usize]) -> Result<Graph, Failure> {
        let sample = shape[1..].iter().map(|extent| *extent as i64).collect();
        let recipe = self.project.untrained(self.subject.model(), Some(sample));
        recipe.inference(shape[0] as i64).map_err(|errors| self.project.failure(errors))
    }

    fn load(&mut self, graph: &Graph, sample: &[usize]) -> Result<Store, Failure> {
        let weights = self.weights.take();
        weights.iter().for_each(|weights| weights.compare_input(sample));
        let of_loss = LazyCell::new(|| self.parameters_of_loss(sample));
        let (name, file) = (self.subject.name(), &self.arguments.model.file);
        let mut store = Store::on(&self.device);
        let subject = trained::Subject { project: self.project, name, file };
        subject.fill(&mut store, weights, graph, &|path| of_loss.contains(path))?;
        Ok(store)
    }

    /// The paths of what the training has beside the model: a loss may have parameters.
    fn parameters_of_loss(&self, sample: &[usize]) -> BTreeSet<String> {
        let graph = self.evaluation(sample);
        let inputs = graph.map(|graph| graph.inputs).unwrap_or_default();
        let paths = inputs.into_iter().filter_map(|(_, role)| match role {
            Role::Param { path, .. } | Role::State { path, .. } => Some(path),
            Role::Data | Role::Target | Role::Partner | Role::Scalar(_) => None,
        });
        paths.collect()
    }

    /// The graph with the loss, where there is one.
    fn evaluation(&self, sample: &[usize]) -> Option<Graph> {
        let Subject::Trained(spec) = self.subject else { return None };
        let sample = sample.iter().map(|extent| *extent as i64).collect();
        let recipe = Recipe { sample: Some(sample), ..self.project.recipe(spec, None) };
        recipe.evaluation(self.subject.batch()).ok()
    }

    /// The names of the classes where the weights do not say them: those of the section, or of a source that has names
    /// and is there. Others have their numbers.
    fn class_names(&self, data: &DataSpec) -> Vec<String> {
        match (&data.classes, &data.source) {
            (Some(names), _) => names.clone(),
            (None, Source::Cifar10(_) | Source::Cifar100(_) | Source::Folder(_)) => {
                self.project.read(data).map(|data| data.class_names).unwrap_or_default()
            }
            (None, _) => Vec::new(),
        }
    }

    /// Whether a prediction of one number a class is one score a class: what the loss says of it.
    fn has_classes(&self, sample: &[usize]) -> bool {
        let scores = |graph: Graph| graph.scores.and_then(Scores::of_samples);
        matches!(self.subject, Subject::Model(_)) || self.evaluation(sample).and_then(scores).is_some()
    }

    /// Prints the most probable classes of a picture, or what the model says that is no score a class; or adds that to
    /// the table.
    fn show(&self, input: &Input, outputs: &Outputs, names: &[String], shown: &mut Shown) -> Outcome {
        let sample = input.shape();
        let has_classes = *shown.has_classes.get_or_insert_with(|| self.has_classes(&sample));
        let is_long = shown.table.is_none() && !self.arguments.json && !outputs.is_short();
        let said = match (&outputs.shape[..], outputs.values.floats()) {
            ([1, _], Some(scores)) if has_classes => self.said_of(scores, names),
            _ if is_long => return Err(no_scores(outputs)),
            _ => Said::Output { output: outputs.of_sample() },
        };
        let line = Line { picture: &input.name, label: input.label.as_deref(), said };
        match &mut shown.table {
            Some(table) => {
                table.add(&line);
                Ok(())
            }
            None if self.arguments.json => print_json(&line),
            None => print(&line.text()),
        }
    }

    /// What scores say: no class where one is NaN, as it may be the best one.
    fn said_of(&self, scores: &[f32], names: &[String]) -> Said<'static> {
        match scores.iter().filter(|score| score.is_nan()).count() {
            0 => Said::Classes { classes: self.classes(scores, names) },
            bad => {
                let unclassified = format!("{bad} of the {} scores are NaN", scores.len());
                Said::NoClass { classes: [], unclassified }
            }
        }
    }

    /// The most probable classes of scores.
    fn classes(&self, scores: &[f32], names: &[String]) -> Vec<Class> {
        let mut classes: Vec<Class> = probabilities(scores)
            .into_iter()
            .enumerate()
            .map(|(class, probability)| {
                let name = names.get(class).cloned().unwrap_or_else(|| class.to_string());
                Class { class, name, probability }
            })
            .collect();
        classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        classes.truncate(usize::from(self.arguments.top) + usize::from(planted!("cli.predict.top")));
        classes
    }
}

fn no_scores(outputs: &Outputs) -> Failure {
    Failure::Run(format!(
        "the output {:?} is not one score a class; write it with --output FILE.png or FILE.npy",
        outputs.shape
    ))
}

fn prediction_shape(graph: &Graph) -> Vec<usize> {
    let prediction = graph.outputs.iter().find(|(_, sink)| *sink == Sink::Prediction);
    let shape = prediction.map_or(&[][..], |(value, _)| &graph.values[*value].shape);
    shape.iter().map(|extent| *extent as usize).collect()
}

impl Outputs {
    fn begins_with_batch(&self) -> bool {
        self.shape.first() == Some(&self.batch)
    }

    /// Those of a batch of one picture, without the axis of the batch.
    fn of_sample(&self) -> Nested<'_> {
        let shape = if self.begins_with_batch() { &self.shape[1..] } else { &self.shape[..] };
        Nested { shape, values: &self.values, from: 0 }
    }

    /// Whether they fit in a line: no picture, and few numbers.
    fn is_short(&self) -> bool {
        self.of_sample().shape.len() <= MOST_PRINTED_AXES && self.values.len() <= MOST_PRINTED
    }
}

/// Appends the outputs of a batch to those before. Both begin with the batch.
fn join(all: &mut Option<Outputs>, more: Outputs) -> Outcome {
    let Some(all) = all else {
        *all = Some(more);
        return Ok(());
    };
    if all.shape[1..] != more.shape[1..] {
        let message = "the outputs of these pictures have several sizes; take one at a time";
        return Err(Failure::Run(message.into()));
    }
    all.batch += more.batch;
    all.shape[0] = all.batch;
    all.values.append(more.values);
    Ok(())
}

fn write(outputs: Option<Outputs>, file: Option<OutputFile<'_>>) -> Outcome {
    let (Some(Outputs { shape, values, .. }), Some(file)) = (outputs, file) else { return Ok(()) };
    match file {
        OutputFile::Npy(path) => {
            write_npy(path, &shape, &values).map_err(|error| Failure::Run(error.to_string()))
        }
        OutputFile::Png(path) => match shape.as_slice() {
            [1, channels @ (1 | 3), height, width] => {
                picture::write_png(path, [*channels, *height, *width], &values).map_err(Failure::Run)
            }
            _ => {
                Err(Failure::Run(format!("the output {shape:?} is not one picture; write it to a .npy file")))
            }
        },
    }
}

fn write_npy(path: &Path, shape: &[usize], values: &Values) -> Result<(), DataError> {
    match values {
        Values::F32(values) => npy::write(path, shape, values),
        Values::I32(values) => npy::write(path, shape, values),
        Values::U8(values) => npy::write(path, shape, values),
        Values::Bool(values) => npy::write(path, shape, values),
    }
}
