//! `cnnc predict`: what a model says of pictures, or its raw outputs.
//!
//! Outputs of one score a class are shown as probabilities: their softmax, unless they are probabilities already (none
//! is negative and they sum to 1). Whether they are such scores says the loss of the train section; without one they are
//! taken for it. Others are shown as they are. Pictures go through the data section's `prepare`; raw inputs do not.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use crate::base::philox::RandomState;
use crate::data::npy;
use crate::elab::config::{DataSpec, Source};
use crate::graph::{Graph, Sink};
use crate::report::numbers;
use crate::runtime::{Pool, Program, Store};
use crate::sched::Machine;
use crate::train::programs::{Phases, compile};
use crate::train::recipe::Recipe;

use super::arguments::PredictArguments;
use super::inputs::{self, Input};
use super::project::{Project, Subject, execution};
use super::{Failure, Outcome, picture, print, print_json, trained};

/// Probabilities sum to 1 but for rounding.
const SUM_TOLERANCE: f32 = 1e-3;

/// Predicts and prints or writes.
pub fn run(arguments: &PredictArguments) -> Outcome {
    if arguments.images.is_empty() && arguments.input.is_none() {
        return Err(Failure::Usage("name pictures (files, or test:N), or raw inputs with --input".into()));
    }
    let output = arguments.output.as_deref().map(OutputFile::of).transpose()?;
    let project = Project::load(&arguments.model, &[])?;
    let subject = project.subject()?;
    let (machine, pool) = execution(&arguments.machine, subject.fast_math())?;
    let (project, subject) = (&project, &subject);
    let runner = Runner { arguments, project, subject, machine, pool, programs: HashMap::new(), store: None };
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

/// What a model made of a batch.
#[derive(Default)]
struct Outputs {
    /// The batch first.
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// A model that is compiled for the shapes that come.
struct Runner<'a> {
    arguments: &'a PredictArguments,
    project: &'a Project<'a>,
    subject: &'a Subject,
    machine: Machine,
    pool: Pool,
    /// By the shape of the batch.
    programs: HashMap<Vec<usize>, (Program, Vec<usize>)>,
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
        let batch = self.arguments.batch.map_or(self.subject.batch() as usize, |batch| batch as usize);
        let mut all = Outputs::default();
        for chunk in array.elements.chunks(batch.saturating_mul(len)) {
            let shape = [&[chunk.len() / len], &array.shape[1..]].concat();
            all.push(self.outputs(&shape, chunk)?)?;
        }
        write(&all, output)
    }

    /// Runs pictures one by one, and prints or writes what comes out.
    fn pictures(mut self, output: Option<OutputFile<'_>>) -> Outcome {
        let data = match self.subject {
            Subject::Trained(spec) => Some(self.project.data(spec)?),
            Subject::Model(_) => None,
        };
        let names = data.as_ref().map(|data| self.class_names(data)).unwrap_or_default();
        let inputs = inputs::read(&self.arguments.images, self.project, self.subject, data.as_ref())?;
        let (mut all, mut has_classes) = (Outputs::default(), None);
        for input in &inputs {
            let shape = [&[1], &input.shape()[..]].concat();
            let outputs = self.outputs(&shape, &input.values(self.project, data.as_ref())?)?;
            match output {
                Some(_) => all.push(outputs)?,
                None if *has_classes.get_or_insert_with(|| self.has_classes(&shape)) => {
                    self.show(input, &outputs, &names)?
                }
                None => self.show_numbers(input, &outputs)?,
            }
        }
        write(&all, output)
    }

    fn outputs(&mut self, shape: &[usize], values: &[f32]) -> Result<Outputs, Failure> {
        if !self.programs.contains_key(shape) {
            let graph = self.graph(shape)?;
            if self.store.is_none() {
                self.store = Some(self.load(&graph)?);
            }
            let program = compile(&graph, &self.machine, &mut Phases::default());
            let program = program.map_err(|error| self.project.train_failure(error))?;
            self.programs.insert(shape.to_vec(), (program, prediction_shape(&graph)));
        }
        let (program, shape) = self.programs.get_mut(shape).expect("it was made above");
        let store = self.store.as_mut().expect("it was loaded with the first program");
        program.set_data(values);
        program.run(store, &self.pool, RandomState::default());
        let values = program.output(&Sink::Prediction, store).unwrap_or_default();
        Ok(Outputs { shape: shape.clone(), values })
    }

    fn graph(&self, shape: &[usize]) -> Result<Graph, Failure> {
        let sample = shape[1..].iter().map(|extent| *extent as i64).collect();
        let recipe = self.project.untrained(self.subject.model(), Some(sample));
        recipe.inference(shape[0] as i64).map_err(|errors| self.project.failure(errors))
    }

    fn load(&self, graph: &Graph) -> Result<Store, Failure> {
        let PredictArguments { model, weights, .. } = self.arguments;
        trained::store(self.project, self.subject.name(), &model.file, weights.as_deref(), graph)
    }

    /// The names of the classes: those of the section, or of a source that has names and is there. Others have their
    /// numbers.
    fn class_names(&self, data: &DataSpec) -> Vec<String> {
        match (&data.classes, &data.source) {
            (Some(names), _) => names.clone(),
            (None, Source::Cifar10(_) | Source::Cifar100(_) | Source::Folder(_)) => {
                self.project.read(data).map(|data| data.class_names).unwrap_or_default()
            }
            (None, _) => Vec::new(),
        }
    }

    /// Whether the prediction is one score a class: what the loss says of it.
    fn has_classes(&self, shape: &[usize]) -> bool {
        let Subject::Trained(spec) = self.subject else { return true };
        let sample = shape[1..].iter().map(|extent| *extent as i64).collect();
        let recipe = Recipe { sample: Some(sample), ..self.project.recipe(spec, None) };
        recipe.evaluation(self.subject.batch()).is_ok_and(|graph| graph.classes.is_some())
    }

    /// Prints a prediction that has no classes.
    fn show_numbers(&self, input: &Input, outputs: &Outputs) -> Outcome {
        let [1, _] = outputs.shape[..] else { return Err(no_scores(outputs)) };
        let (picture, label) = (&input.name, input.label.as_deref());
        let line = Line { picture, label, classes: Vec::new(), output: &outputs.values };
        if self.arguments.json { print_json(&line) } else { print(&line.text()) }
    }

    /// Prints the most probable classes of a picture.
    fn show(&self, input: &Input, outputs: &Outputs, names: &[String]) -> Outcome {
        let [1, _] = outputs.shape[..] else { return Err(no_scores(outputs)) };
        let mut classes: Vec<Class> = probabilities(&outputs.values)
            .into_iter()
            .enumerate()
            .map(|(class, probability)| {
                let name = names.get(class).cloned().unwrap_or_else(|| class.to_string());
                Class { class, name, probability }
            })
            .collect();
        classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        classes.truncate(usize::from(self.arguments.top));
        let line = Line { picture: &input.name, label: input.label.as_deref(), classes, output: &[] };
        if self.arguments.json { print_json(&line) } else { print(&line.text()) }
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
    /// Appends those of another batch.
    fn push(&mut self, other: Outputs) -> Outcome {
        match (self.shape.split_first_mut(), other.shape.split_first()) {
            (None, _) => *self = other,
            (Some((count, sample)), Some((more, other_sample))) if *sample == *other_sample => {
                *count += more;
                self.values.extend(other.values);
            }
            _ => {
                let message = "the outputs of these pictures have several sizes; take one at a time";
                return Err(Failure::Run(message.into()));
            }
        }
        Ok(())
    }
}

fn write(outputs: &Outputs, file: Option<OutputFile<'_>>) -> Outcome {
    let Outputs { shape, values } = outputs;
    match file {
        None => Ok(()),
        Some(OutputFile::Npy(path)) => {
            npy::write(path, shape, values).map_err(|error| Failure::Run(error.to_string()))
        }
        Some(OutputFile::Png(path)) => match shape.as_slice() {
            [1, channels @ (1 | 3), height, width] => {
                picture::write_png(path, [*channels, *height, *width], values).map_err(Failure::Run)
            }
            _ => {
                Err(Failure::Run(format!("the output {shape:?} is not one picture; write it to a .npy file")))
            }
        },
    }
}

/// A line of output.
#[derive(Serialize)]
struct Line<'a> {
    picture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    /// The most probable first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    classes: Vec<Class>,
    /// A prediction without classes.
    #[serde(skip_serializing_if = "<[f32]>::is_empty")]
    output: &'a [f32],
}

#[derive(Serialize)]
struct Class {
    class: usize,
    name: String,
    probability: f32,
}

impl Line<'_> {
    fn text(&self) -> String {
        let percent = |class: &Class| numbers::percent(f64::from(class.probability));
        let classes = self.classes.iter().map(|class| format!("{} {}", class.name, percent(class)));
        let said: Vec<String> = classes.chain(self.output.iter().map(f32::to_string)).collect();
        let said = said.join(", ");
        let label = self.label.map_or(String::new(), |label| format!("   (labelled {label})"));
        format!("{:<12} {said}{label}\n", self.picture)
    }
}

/// The softmax of scores, or the scores themselves where they are probabilities.
fn probabilities(scores: &[f32]) -> Vec<f32> {
    let sum: f32 = scores.iter().sum();
    if (sum - 1.0).abs() < SUM_TOLERANCE && scores.iter().all(|score| *score >= 0.0) {
        return scores.to_vec();
    }
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f32 = powers.iter().sum();
    powers.iter().map(|power| power / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_become_probabilities_once() {
        let sure = probabilities(&[0.0, 1000.0]);
        assert_eq!(sure, [0.0, 1.0]);
        assert_eq!(probabilities(&sure), sure);
        assert_eq!(probabilities(&[3.0, 3.0]), [0.5, 0.5]);
        assert_eq!(probabilities(&[0.25, 0.75]), [0.25, 0.75]);
        let mixed = probabilities(&[-1.0, 2.0]);
        assert!((mixed.iter().sum::<f32>() - 1.0).abs() < 1e-6 && mixed[1] > 0.9, "{mixed:?}");
    }
}
