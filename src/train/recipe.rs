//! The graphs that a training needs, for any batch size.

use crate::base::diagnostic::Diagnostic;
use crate::elab::config::TrainSpec;
use crate::elab::optimiser::{self, OptimSpec};
use crate::elab::{InitRule, ModelCall, Module, Request};
use crate::graph::{Graph, Sink, Value};
use crate::passes::autodiff;
use crate::syntax::ast::Expr;

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

    /// A whole training step: forward, backward, update.
    ///
    /// # Errors
    ///
    /// What is wrong with the model or the optimiser.
    pub fn step(&self, batch: i64, optim: &OptimSpec) -> Result<Graph, Vec<Diagnostic>> {
        let mut graph = self.gradients(batch)?;
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
