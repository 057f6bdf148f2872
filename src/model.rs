//! The library: a model from a text, trained and run on a device, in a few types.
//!
//! A [`Model`] is what a `.cnn` file says. [`Model::training`] compiles the steps of its train section for a device;
//! [`Training`] then takes batches, predicts, gives the values of any layer, and reads and writes weights. Data
//! sections are for the command: here the program that calls has the pictures. Programs are compiled when a batch size
//! is first met, and all of them share the memory of one.

use std::path::Path;
use std::sync::Arc;

use crate::base::diagnostic::Diagnostic;
use crate::base::philox::RandomState;
use crate::base::source::SourceMap;
use crate::elab::config::{Moment, Overrides, TrainSpec};
use crate::elab::{self, Module};
use crate::graph::{Graph, Role, Sink};
use crate::lower::CompileOptions;
use crate::runtime::{Device, Instance, Store, Turns, Values};
use crate::train::programs::{StageTimes, compile, initialise};
use crate::train::recipe::Recipe;
use crate::train::{TrainError, restore, weights};

/// Why something of a model cannot be done, in words: errors of the file stand with their lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn of_source(sources: &SourceMap, errors: &[Diagnostic]) -> Error {
        Error(
            errors.iter().map(|error| error.render(sources, false)).collect::<String>().trim_end().to_owned(),
        )
    }
}

/// A model file.
pub struct Model {
    sources: SourceMap,
    module: Module,
}

impl Model {
    /// A model from a text; messages call it by the name.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn from_text(name: &str, text: &str) -> Result<Model, Error> {
        Model::read(&|sources| Module::from_text(sources, name, text))
    }

    /// A model from a file, and those that it uses.
    ///
    /// # Errors
    ///
    /// What is wrong with them, also that they cannot be read.
    pub fn load(path: &Path) -> Result<Model, Error> {
        Model::read(&|sources| elab::load(sources, path))
    }

    fn read(read: &dyn Fn(&mut SourceMap) -> Result<Module, Vec<Diagnostic>>) -> Result<Model, Error> {
        let mut sources = SourceMap::default();
        match read(&mut sources) {
            Ok(module) => Ok(Model { sources, module }),
            Err(errors) => Err(Error::of_source(&sources, &errors)),
        }
    }

    /// The training of the file's only train section, at its beginning: weights are those of its seed.
    ///
    /// # Errors
    ///
    /// Where there is no train section or there are several, and what is wrong with it or with the model.
    pub fn training(&self, device: &Arc<dyn Device>) -> Result<Training<'_>, Error> {
        let sections = self.module.train_sections();
        let [section] = sections.as_slice() else {
            return Err(Error(format!(
                "a training takes one train section, and there are {}",
                sections.len()
            )));
        };
        let spec = self.module.train_spec(section, &Overrides::default());
        let spec = spec.map_err(|errors| self.error(errors.into()))?;
        let recipe = Recipe::of(&self.module, &spec);
        let options = CompileOptions { machine: device.machine(), over: None, fast_math: spec.fast_math };
        let (store, programs) = (Store::on(device), Turns::new());
        let device = device.clone();
        let mut training = Training {
            model: self,
            recipe,
            spec,
            options,
            device,
            store,
            programs,
            probes: Vec::new(),
            steps: 0,
        };
        let step = training.graph(Key::Step(training.spec.phases[0].batch))?;
        training.initialise(&step)?;
        Ok(training)
    }

    fn error(&self, error: TrainError) -> Error {
        match error {
            TrainError::Source(errors) => Error::of_source(&self.sources, &errors),
            error => Error(error.to_string()),
        }
    }
}

/// Programs, each for so many samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Step(i64),
    Prediction(i64),
    /// Of the probe of a number.
    Probe(usize, i64),
}

impl Key {
    fn batch(self) -> i64 {
        match self {
            Key::Step(batch) | Key::Prediction(batch) | Key::Probe(_, batch) => batch,
        }
    }
}

/// The targets of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// A class for each sample, or for each of its pixels, row-major.
    Classes(&'a [i32]),
    /// Numbers of the prediction's shape, row-major.
    Numbers(&'a [f32]),
}

/// The elements of a tensor, and its extents.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Values,
}

/// A model that is trained, with its weights and the states of its optimiser.
pub struct Training<'m> {
    model: &'m Model,
    recipe: Recipe<'m>,
    spec: TrainSpec,
    options: CompileOptions,
    device: Arc<dyn Device>,
    store: Store,
    programs: Turns<Key>,
    /// The paths of the layers that were asked for.
    probes: Vec<String>,
    steps: u64,
}

impl Training<'_> {
    /// Trains on so many samples, in one step of the first phase, and gives their loss. Schedules count its steps.
    ///
    /// # Errors
    ///
    /// Where samples or targets are of another size, the loss or a gradient is not finite, or there is no memory. All
    /// weights are as before then.
    pub fn step(&mut self, samples: usize, pictures: &[f32], targets: Targets<'_>) -> Result<f32, Error> {
        let (phase, step) = (&self.spec.phases[0], self.steps);
        let moment = Moment { step, steps: u64::MAX, epoch_steps: u64::MAX };
        let scalars = phase.scalars(moment);
        let random = RandomState { seed: self.spec.seed, step };
        let (program, store) = self.program(Key::Step(samples as i64), pictures, Some(targets))?;
        scalars.iter().for_each(|(name, value)| program.set_scalar(name, *value as f32));
        program.run(store, random).map_err(|error| Error(error.to_string()))?;
        let loss = program.scalar(&Sink::Loss, store).map_or(f32::NAN, |loss| loss as f32);
        if !program.is_accepted() {
            let what = if loss.is_finite() {
                "a gradient is not finite".into()
            } else {
                format!("the loss is {loss}")
            };
            return Err(Error(format!("{what} in step {}; the weights before it are kept", step + 1)));
        }
        program.commit(store);
        self.steps += 1;
        Ok(loss)
    }

    /// What the model says of so many samples.
    ///
    /// # Errors
    ///
    /// Where they are of another size, or there is no memory.
    pub fn predict(&mut self, samples: usize, pictures: &[f32]) -> Result<Tensor, Error> {
        self.run(Key::Prediction(samples as i64), pictures, &Sink::Prediction)
    }

    /// What a layer gives for so many samples, by its path as `cnnc summary` shows it.
    ///
    /// # Errors
    ///
    /// Where there is no such layer, and those of [`predict`](Training::predict).
    pub fn probe(&mut self, layer: &str, samples: usize, pictures: &[f32]) -> Result<Tensor, Error> {
        let known = self.probes.iter().position(|probe| probe == layer);
        let at = known.unwrap_or_else(|| {
            self.probes.push(layer.into());
            self.probes.len() - 1
        });
        self.run(Key::Probe(at, samples as i64), pictures, &Sink::Probe(layer.into()))
    }

    /// Writes the weights and running statistics as a file of safetensors.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let weights = restore::weights(&self.store).map_err(|fault| Error(fault.to_string()))?;
        weights::save(path, &weights, None).map_err(|error| Error(error.to_string()))
    }

    /// Reads the weights and running statistics of a file, of safetensors or of PyTorch. The optimiser goes on.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, and where tensors are missing, unknown or of another shape.
    pub fn load(&mut self, path: &Path) -> Result<(), Error> {
        let contents = weights::load(path).map_err(|error| Error(error.to_string()))?;
        let loaded = restore::replace(path, contents, &mut self.store);
        loaded.map_err(|error| self.model.error(error))
    }

    /// The steps that are done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn run(&mut self, key: Key, pictures: &[f32], sink: &Sink) -> Result<Tensor, Error> {
        let graph = self.graph(key)?;
        let output = graph.outputs.iter().find(|(_, found)| found == sink).map(|(value, _)| *value);
        let shape = output.map_or(&[][..], |value| &graph.values[value].shape);
        let (program, store) = self.program(key, pictures, None)?;
        program.run(store, RandomState::default()).map_err(|error| Error(error.to_string()))?;
        let values =
            program.output(sink, store).ok_or_else(|| Error("the model has no such output".into()))?;
        store.device().check().map_err(|fault| Error(fault.to_string()))?;
        Ok(Tensor { shape: shape.iter().map(|extent| *extent as usize).collect(), values })
    }

    /// The program of a key with its batch, and the store that it is bound to.
    fn program(
        &mut self,
        key: Key,
        pictures: &[f32],
        targets: Option<Targets<'_>>,
    ) -> Result<(&mut Instance, &mut Store), Error> {
        let graph = self.graph(key)?;
        check_sizes(&graph, key.batch(), pictures, targets)?;
        self.initialise(&graph)?;
        let Training { model, options, device, store, programs, .. } = self;
        let bound = programs.get(key, || -> Result<Instance, TrainError> {
            let executable = compile(&graph, options, &**device, &mut StageTimes::default())?;
            Ok(Instance::bind(executable, device, store)?)
        });
        let program = bound.map_err(|error| model.error(error))?;
        program.set_data(pictures);
        match targets {
            Some(Targets::Classes(labels)) => program.set_labels(&Role::Target, labels),
            Some(Targets::Numbers(numbers)) => program.set_targets(&Role::Target, numbers),
            None => {}
        }
        Ok((program, store))
    }

    fn graph(&self, key: Key) -> Result<Graph, Error> {
        let fail = |errors: Vec<Diagnostic>| self.model.error(errors.into());
        match key {
            Key::Step(batch) => self.recipe.step(batch, &self.spec.phases[0]).map_err(fail),
            Key::Prediction(batch) => self.recipe.inference(batch).map_err(fail),
            Key::Probe(at, batch) => {
                let (graph, layer) = (self.recipe.inference(batch).map_err(fail)?, &self.probes[at]);
                let value = graph.result_of(layer);
                let value = value.ok_or_else(|| Error(format!("no layer is called `{layer}`")))?;
                Ok(graph.probing([(value, layer.clone())]))
            }
        }
    }

    fn initialise(&mut self, graph: &Graph) -> Result<(), Error> {
        let made = initialise(graph, self.spec.seed, &mut self.store);
        made.map_err(|shortage| Error(shortage.to_string()))
    }
}

/// Holds what is given against what a graph takes.
fn check_sizes(
    graph: &Graph,
    batch: i64,
    pictures: &[f32],
    targets: Option<Targets<'_>>,
) -> Result<(), Error> {
    let input = |wanted: Role| {
        graph.inputs.iter().find(|(_, role)| *role == wanted).map(|(value, _)| &graph.values[*value])
    };
    let check = |what: &str, given: usize, shape: &[i64]| {
        let wanted = shape.iter().product::<i64>() as usize;
        let error =
            || Error(format!("{batch} samples have {wanted} {what} ({shape:?}), and {given} are given"));
        if given == wanted { Ok(()) } else { Err(error()) }
    };
    if let Some(data) = input(Role::Data) {
        check("pixels", pictures.len(), &data.shape)?;
    }
    match (input(Role::Target), targets) {
        (None, _) | (_, None) => Ok(()),
        (Some(target), Some(Targets::Classes(labels))) if target.dtype == crate::te::DType::I32 => {
            check("labels", labels.len(), &target.shape)
        }
        (Some(target), Some(Targets::Numbers(numbers))) if target.dtype == crate::te::DType::F32 => {
            check("targets", numbers.len(), &target.shape)
        }
        (Some(target), Some(_)) => Err(Error(format!("the loss takes targets of {}", target.dtype))),
    }
}
