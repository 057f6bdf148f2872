//! The graphs that a training needs, for any batch size.

use std::collections::HashMap;

use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::data::{Dataset, Targets};
use crate::elab::config::{Metrics, Phase, TrainSpec};
use crate::elab::optimiser::{self, OptimSpec};
use crate::elab::selection::Selection;
use crate::elab::{InitRule, ModelCall, Module, Request, gradients};
use crate::graph::{Graph, Role, Sink, Value, ValueData};
use crate::passes::accept;
use crate::passes::autodiff::{self, TooLarge};
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
    /// Whether training pictures have parts of others, and so two targets each.
    pub mixed: bool,
    pub metrics: Metrics,
    /// Where a rule watches the accuracy.
    pub watched: Option<Span>,
    /// Whether a training step reports the norm of every gradient.
    pub gradient_norms: bool,
}

/// When a prediction has classes.
const NO_CLASSES: &str = "it is where the loss compares the labels with the positions of an axis that has as many as there are scores";

impl<'m> Recipe<'m> {
    /// What a train section asks for, whatever the data.
    pub fn of(module: &'m Module, spec: &TrainSpec) -> Recipe<'m> {
        Recipe {
            module,
            model: spec.model.clone(),
            loss: Some(spec.loss.clone()),
            init: spec.init.clone(),
            sample: None,
            mixed: spec.mixed,
            metrics: spec.metrics,
            watched: spec.watched_accuracy(),
            gradient_norms: spec.log_gradients,
        }
    }

    fn request(&self, batch: i64) -> Request<'_> {
        Request {
            batch,
            training: false,
            loss: self.loss.as_ref(),
            sample: self.sample.as_deref(),
            init: &self.init,
            freeze: None,
            mixed: false,
            metrics: self.metrics,
        }
    }

    /// The forward graph of a training step: prediction, loss, metrics, new running statistics.
    ///
    /// # Errors
    ///
    /// What is wrong with the model, and parts in `freeze` that it does not have.
    pub fn forward(&self, batch: i64, freeze: Option<&Selection>) -> Result<Graph, Vec<Diagnostic>> {
        self.module
            .graph(&self.model, &Request { training: true, freeze, mixed: self.mixed, ..self.request(batch) })
    }

    /// The forward graph with the gradients of all parameters.
    ///
    /// # Errors
    ///
    /// What is wrong with the model.
    pub fn gradients(&self, batch: i64) -> Result<Graph, Vec<Diagnostic>> {
        let mut graph = self.forward(batch, None)?;
        autodiff::run(&mut graph).map_err(|error| too_large(&graph, error))?;
        Ok(graph)
    }

    /// Whether the targets of data are those that the loss of a graph is for.
    ///
    /// # Errors
    ///
    /// Other targets, a label that is no class of the prediction, and those of [`check_rules`](Recipe::check_rules).
    pub fn check_data(&self, graph: &Graph, data: &Dataset) -> Result<(), TrainError> {
        self.check_targets(graph, &data.train.targets)?;
        self.check_rules(graph)?;
        match graph.scores {
            Some(scores) => Ok(data.check_labels(scores.classes() as usize)?),
            None => Ok(()),
        }
    }

    /// Whether targets are of the type and shape that the loss of a graph takes.
    ///
    /// # Errors
    ///
    /// At the loss, where they are not.
    pub fn check_targets(&self, graph: &Graph, targets: &Targets) -> Result<(), Vec<Diagnostic>> {
        let Some(loss) = &self.loss else { return Ok(()) };
        let target = graph.inputs.iter().find(|(_, role)| *role == Role::Target);
        let Some(ValueData { dtype, shape, .. }) = target.map(|(target, _)| &graph.values[*target]) else {
            return Ok(());
        };
        let wanted: Vec<usize> = shape.iter().skip(1).map(|extent| *extent as usize).collect();
        let error = |text: &str| Diagnostic::error(text).primary(loss.span, "");
        match (targets, *dtype == DType::I32) {
            (Targets::Classes(_), false) => {
                let error = error("this loss compares numbers, but the data has labels of classes");
                Err(vec![error.help("a loss for labels declares its second parameter as `i32[N]`")])
            }
            (Targets::Numbers { .. }, true) => {
                let error = error("this loss compares labels of classes, but the data has numbers");
                Err(vec![error.help("labels of classes are saved as integers; `mse` compares numbers")])
            }
            (Targets::Labels { .. }, false) => {
                let error = error("this loss compares numbers, but the data has labels of classes");
                Err(vec![error.help("numbers are saved as float32")])
            }
            // One number may have axes of its own.
            _ if trimmed(targets.shape()) == trimmed(&wanted) => Ok(()),
            _ => {
                let (wants, has) = (shown(&wanted), shown(targets.shape()));
                Err(vec![error(&format!("this loss takes targets {wants}, but those of the data are {has}"))])
            }
        }
    }

    /// Whether the prediction of a graph is what the rules watch.
    ///
    /// # Errors
    ///
    /// Where an accuracy is watched of what has no classes.
    pub fn check_rules(&self, graph: &Graph) -> Result<(), Vec<Diagnostic>> {
        match self.watched {
            Some(span) if graph.scores.is_none() => {
                let error = "the accuracy is watched here, but the prediction is not one score a class";
                Err(vec![Diagnostic::error(error).primary(span, "").note(NO_CLASSES).help("watch a loss")])
            }
            _ => Ok(()),
        }
    }

    /// A whole training step: forward, backward, update.
    ///
    /// # Errors
    ///
    /// What is wrong with the model or the phase.
    pub fn step(&self, batch: i64, phase: &Phase) -> Result<Graph, Vec<Diagnostic>> {
        let freeze = phase.freeze.as_ref().filter(|_| !planted!("train.recipe.freeze"));
        self.step_of(self.forward(batch, freeze)?, phase)
    }

    /// Elaborates the smaller last batch of an epoch of so many images, where there is one.
    ///
    /// # Errors
    ///
    /// What is wrong with the model for so few samples, and how they are left out.
    pub fn last_batch(&self, images: usize, phase: &Phase) -> Result<(), Vec<Diagnostic>> {
        let batch = (phase.batch as usize).min(images).max(1);
        let rest = images % batch;
        if rest == 0 {
            return Ok(());
        }
        let samples = if rest == 1 { "sample" } else { "samples" };
        let advice = format!(
            "the last batch of an epoch has {rest} {samples}: `drop_last = true` in the data section leaves it out, \
             or take another `batch` than {batch}"
        );
        match self.forward(rest as i64, phase.freeze.as_ref()) {
            Ok(_) => Ok(()),
            Err(errors) => Err(errors.into_iter().map(|error| error.help(advice.clone())).collect()),
        }
    }

    /// The training step of a [`forward`](Recipe::forward) graph.
    ///
    /// # Errors
    ///
    /// What is wrong with the optimisers, and a phase in which nothing is trained.
    pub fn step_of(&self, mut graph: Graph, phase: &Phase) -> Result<Graph, Vec<Diagnostic>> {
        autodiff::run(&mut graph).map_err(|error| too_large(&graph, error))?;
        let mut gradients: Vec<(Value, Value)> = graph
            .outputs
            .iter()
            .filter_map(|(value, sink)| match sink {
                Sink::Gradient(param) => Some((*param, *value)),
                _ => None,
            })
            .collect();
        if gradients.is_empty() && phase.freeze.is_some() {
            let error =
                Diagnostic::error("nothing is trained: all parameters that the loss depends on are frozen");
            return Err(vec![error.primary(phase.optim.span, "")]);
        }
        self.update(&mut graph, phase, &mut gradients).map_err(|error| vec![error])?;
        graph.outputs.retain(|(_, sink)| !matches!(sink, Sink::Gradient(_) | Sink::Prediction));
        Ok(graph)
    }

    /// Clipping, the optimiser of every parameter, and whether the step is accepted.
    fn update(
        &self,
        graph: &mut Graph,
        phase: &Phase,
        grads: &mut [(Value, Value)],
    ) -> Result<(), Diagnostic> {
        if self.gradient_norms && !planted!("train.recipe.norms") {
            gradients::report_norms(graph, self.module, phase.optim.span, grads)?;
        }
        let derived = grads.to_vec();
        let norm = match phase.clip {
            Some(kind) => gradients::clip(graph, self.module, kind, phase.optim.span, grads)?,
            None => None,
        };
        if self.gradient_norms && planted!("train.recipe.norms") {
            gradients::report_norms(graph, self.module, phase.optim.span, grads)?;
        }
        let paths: Vec<(Value, String)> = graph.inputs.iter().filter_map(path_of_param).collect();
        check_groups(phase, &paths)?;
        let path_of: HashMap<Value, &str> =
            paths.iter().map(|(value, path)| (*value, path.as_str())).collect();
        let mut optimisers: Vec<(OptimSpec, Vec<(Value, Value)>)> = Vec::new();
        for (param, gradient) in grads.iter().copied() {
            let path = path_of.get(&param).copied().unwrap_or_default();
            let optim = phase.optimiser_of(path, graph.values[param].shape.len());
            match optimisers.iter_mut().find(|(known, _)| *known == optim) {
                Some((_, pairs)) => pairs.push((param, gradient)),
                None => optimisers.push((optim, vec![(param, gradient)])),
            }
        }
        optimisers
            .iter()
            .try_for_each(|(optim, pairs)| optimiser::apply(graph, self.module, optim, pairs))?;
        accept::run(graph, &derived, norm.as_slice());
        Ok(())
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

/// A shape without axes of extent 1.
fn trimmed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|extent| *extent != 1).collect()
}

/// The axes of a sample's target, after that of the batch.
fn shown(shape: &[usize]) -> String {
    let extents: Vec<String> = shape.iter().map(|extent| format!(", {extent}")).collect();
    format!("[N{}]", extents.concat())
}

/// The error of a gradient that is too large.
fn too_large(graph: &Graph, TooLarge { op, node, excess }: TooLarge) -> Vec<Diagnostic> {
    let error = Diagnostic::error(format!("the gradient `{op}` {excess}")).note(excess.limit());
    let span = graph.nodes[node].span;
    vec![span.into_iter().fold(error, |error, span| error.primary(span, ""))]
}

fn path_of_param((value, role): &(Value, Role)) -> Option<(Value, String)> {
    match role {
        Role::Param { path, .. } => Some((*value, path.clone())),
        Role::Data | Role::Target | Role::Partner | Role::State { .. } | Role::Scalar(_) => None,
    }
}

/// An error where a group of parameters is empty.
fn check_groups(phase: &Phase, paths: &[(Value, String)]) -> Result<(), Diagnostic> {
    let empty = phase.groups.iter().find(|group| !paths.iter().any(|(_, path)| group.holds(path)));
    let Some(group) = empty else { return Ok(()) };
    let message = format!("`groups` names `{}`, but no trained parameter is called so", group.target);
    let known = paths.iter().flat_map(|(_, path)| path.split('.'));
    Err(Diagnostic::error(message).primary(group.span, "").did_you_mean(nearest(&group.target, known)))
}
