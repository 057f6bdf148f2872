//! Models from text to graphs, for tests.
#![allow(dead_code)] // Every test that includes this module uses a part of it.

use cnnc::base::diagnostic::Diagnostic;
use cnnc::base::source::SourceMap;
use cnnc::elab::config::{Metrics, Top};
use cnnc::elab::optimiser::{self, OptimSpec};
use cnnc::elab::{Library, ModelCall, Module, Request};
use cnnc::graph::{Graph, Role, Sink, Value};
use cnnc::passes;
use cnnc::runtime::Instance;
use cnnc::syntax::ast::{Expr, SettingKind};

/// A model file with its only model.
pub struct Model {
    pub module: Module,
    metrics: Metrics,
}

fn rendered(sources: &SourceMap, errors: &[Diagnostic]) -> String {
    errors.iter().map(|error| error.render(sources, false)).collect()
}

impl Model {
    /// Loads a text; panics with the rendered errors.
    pub fn new(text: &str) -> Model {
        Model::with_library(text, &Library::embedded())
    }

    /// The same over another library.
    pub fn with_library(text: &str, library: &Library) -> Model {
        let mut sources = SourceMap::default();
        match Module::with_library(&mut sources, "model.cnn", text, library) {
            Ok(module) => Model { module, metrics: Metrics::default() },
            Err(errors) => panic!("{}\n{text}", rendered(&sources, &errors)),
        }
    }

    /// A setting of the first train section.
    pub fn setting(&self, wanted: &str) -> Option<Expr> {
        let train = *self.module.train_sections().first()?;
        train.settings.iter().find_map(|setting| match &setting.kind {
            SettingKind::Key { name, value } if name.text == wanted => Some(value.clone()),
            SettingKind::Key { .. } | SettingKind::Phase { .. } => None,
        })
    }

    /// The same, whose graphs also count labels among the two best scores.
    pub fn counting_top(mut self) -> Model {
        self.metrics.top = Some(Top { k: 2, span: self.module.models()[0].name.span });
        self
    }

    /// The same, whose graphs count nothing.
    pub fn counting_nothing(mut self) -> Model {
        self.metrics.accuracy = false;
        self
    }

    /// The optimiser of the train section.
    pub fn optimiser(&self) -> Option<OptimSpec> {
        let expr = self.setting("optim")?;
        Some(OptimSpec::resolve(&self.module, &expr).unwrap_or_else(|error| panic!("{error:?}")))
    }

    /// The forward graph, with the loss where the train section has one.
    ///
    /// # Errors
    ///
    /// The messages of the elaborator.
    pub fn forward(&self, batch: i64, training: bool) -> Result<Graph, String> {
        let loss = self.setting("loss");
        let request = Request {
            batch,
            training,
            loss: loss.as_ref(),
            sample: None,
            init: &[],
            freeze: None,
            mixed: false,
            metrics: self.metrics,
        };
        let call = ModelCall::new(self.module.models()[0]);
        self.module.graph(&call, &request).map_err(|errors| format!("{errors:?}"))
    }

    /// The forward graph with the gradients of all parameters.
    pub fn gradients(&self, batch: i64, training: bool) -> Graph {
        let mut graph = self.forward(batch, training).unwrap_or_else(|error| panic!("{error}"));
        passes::autodiff::run(&mut graph).expect("it is small");
        graph
    }

    /// A whole step, which also gives its gradients.
    pub fn step(&self, batch: i64) -> Graph {
        let mut graph = self.gradients(batch, true);
        if let Some(optimiser) = self.optimiser() {
            let gradients = gradients(&graph);
            optimiser::apply(&mut graph, &self.module, &optimiser, &gradients)
                .unwrap_or_else(|error| panic!("{error:?}"));
        }
        graph
    }
}

/// The parameters and their gradients.
pub fn gradients(graph: &Graph) -> Vec<(Value, Value)> {
    let gradient = |(value, sink): &(Value, Sink)| match sink {
        Sink::Gradient(param) => Some((*param, *value)),
        _ => None,
    };
    graph.outputs.iter().filter_map(gradient).collect()
}

/// Gives a program inputs that differ from step to step: pictures, labels below 5, small numbers of the host.
pub fn set_inputs(program: &mut Instance, graph: &Graph, step: u64) {
    for (value, role) in &graph.inputs {
        let count = graph.values[*value].shape.iter().product::<i64>() as usize;
        let number = |at: usize| (at * 7 + step as usize * 3) % 31;
        match role {
            Role::Data => {
                program.set_data(&(0..count).map(|at| number(at) as f32 / 16.0 - 1.0).collect::<Vec<_>>());
            }
            Role::Target => {
                program.set_labels(role, &(0..count).map(|at| (number(at) % 5) as i32).collect::<Vec<_>>());
            }
            Role::Scalar(name) => program.set_scalar(name, if name == "first" { 1.0 } else { 0.01 }),
            Role::Partner | Role::Param { .. } | Role::State { .. } => {}
        }
    }
}
