//! The graphs that a training needs, for any batch size.

use crate::base::diagnostic::Diagnostic;
use crate::data::Dataset;
use crate::elab::config::TrainSpec;
use crate::elab::optimiser::{self, OptimSpec};
use crate::elab::{InitRule, ModelCall, Module, Request};
use crate::graph::{Graph, Role, Sink, Value};
use crate::passes::autodiff;
use crate::syntax::ast::Expr;
use crate::te::DType;

use super::error::TrainError;

/// A model with its arguments, its loss and its initialisers.
pub struct Recipe<'m> {
    pub module: &'m Module,
    pub model: ModelCall,
    /// None for a model that is only run.
    pub loss: Option<Expr>,
    pub init: Vec<InitRule>,
    /// The shape of one sample of the data, where there is data.
    pub sample: Option<Vec<i64>>,
}

impl<'m> Recipe<'m> {
    /// What a train section asks for, whatever the data.
    pub fn of(module: &'m Module, spec: &TrainSpec) -> Recipe<'m> {
        Recipe {
            module,
            model: spec.model.clone(),
            loss: Some(spec.loss.clone()),
            init: spec.init.clone(),
            sample: None,
        }
    }

    fn request(&self, batch: i64) -> Request<'_> {
        Request {
            batch,
            training: false,
            loss: self.loss.as_ref(),
            sample: self.sample.as_deref(),
            init: &self.init,
        }
    }

    /// The forward graph of a training step: prediction, loss, metrics, new running statistics.
    ///
    /// # Errors
    ///
    /// What is wrong with the model.
    pub fn forward(&self, batch: i64) -> Result<Graph, Vec<Diagnostic>> {
        self.module.graph(&self.model, &Request { training: true, ..self.request(batch) })
    }

    /// The forward graph with the gradients of all parameters.
    ///
    /// # Errors
    ///
    /// What is wrong with the model.
    pub fn gradients(&self, batch: i64) -> Result<Graph, Vec<Diagnostic>> {
        let mut graph = self.forward(batch)?;
        autodiff::run(&mut graph);
        Ok(graph)
    }

    /// Whether data with labels fits a graph with a loss.
    ///
    /// # Errors
    ///
    /// Where the loss compares with something else than labels, or a label is no class of the prediction.
    pub fn check_data(&self, graph: &Graph, data: &Dataset) -> Result<(), TrainError> {
        let target = graph.inputs.iter().find(|(_, role)| *role == Role::Target);
        if let Some((target, _)) = target
            && graph.values[*target].dtype != DType::I32
        {
            let mut error =
                Diagnostic::error("this loss compares numbers, but the data has labels of classes");
            if let Some(loss) = &self.loss {
                error = error.primary(loss.span, "");
            }
            return Err(
                vec![error.help("a loss for labels declares its second parameter as `i32[N]`")].into()
            );
        }
        let prediction = graph.outputs.iter().find(|(_, sink)| *sink == Sink::Prediction);
        match prediction.map(|(value, _)| graph.values[*value].shape.as_slice()) {
            Some([_, classes]) => Ok(data.check_labels(*classes as usize)?),
            _ => Ok(()),
        }
    }

    /// A whole training step: forward, backward, update.
    ///
    /// # Errors
    ///
    /// What is wrong with the model or the optimiser.
    pub fn step(&self, batch: i64, optim: &OptimSpec) -> Result<Graph, Vec<Diagnostic>> {
        self.step_of(self.forward(batch)?, optim)
    }

    /// The training step of a [`forward`](Recipe::forward) graph.
    ///
    /// # Errors
    ///
    /// What is wrong with the optimiser.
    pub fn step_of(&self, mut graph: Graph, optim: &OptimSpec) -> Result<Graph, Vec<Diagnostic>> {
        autodiff::run(&mut graph);
        let gradients: Vec<(Value, Value)> = graph
            .outputs
            .iter()
            .filter_map(|(value, sink)| match sink {
                Sink::Gradient(param) => Some((*param, *value)),
                Sink::Loss | Sink::Prediction | Sink::Metric(_) | Sink::Update(_) => None,
            })
            .collect();
        optimiser::apply(&mut graph, self.module, optim, &gradients).map_err(|error| vec![error])?;
        graph.outputs.retain(|(_, sink)| !matches!(sink, Sink::Gradient(_) | Sink::Prediction));
        Ok(graph)
    }

    /// Prediction, loss and metrics outside of training.
    ///
    /// # Errors
    ///
    /// What is wrong with the model.
    pub fn evaluation(&self, batch: i64) -> Result<Graph, Vec<Diagnostic>> {
        self.module.graph(&self.model, &self.request(batch))
    }

    /// The prediction alone.
    ///
    /// # Errors
    ///
    /// What is wrong with the model.
    pub fn inference(&self, batch: i64) -> Result<Graph, Vec<Diagnostic>> {
        self.module.graph(&self.model, &Request { loss: None, ..self.request(batch) })
    }
}
