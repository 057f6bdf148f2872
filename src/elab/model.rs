//! From a model and its arguments to the forward graph.

use std::sync::atomic::Ordering;

use super::Outcome;
use super::config::Metrics;
use super::elaborator::{Elaborator, InitRule};
use super::evaluate::{Argument, at, evaluate};
use super::foreign;
use super::module::{Callable, Module};
use super::ratio::{Loss, TOTAL, WEIGHT};
use super::selection::Selection;
use super::value::{TensorValue, Value};
use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::graph::{Graph, Role, Scores, Sink};
use crate::syntax::ast::{self, Expr, ExprKind, FnItem, FnKind, Name, Param, TypeKind};
use crate::te::DType;

/// A model with the arguments of its other parameters.
#[derive(Clone, Debug)]
pub struct ModelCall {
    pub name: Name,
    pub args: Vec<ast::Arg>,
}

impl ModelCall {
    /// A model without arguments.
    pub fn new(item: &FnItem) -> ModelCall {
        ModelCall { name: item.name.clone(), args: Vec::new() }
    }
}

/// What the graph of a model is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The extent of the first axis of the data.
    pub batch: i64,
    /// Whether `training` is true and states are updated.
    pub training: bool,
    /// The loss of a train section; without it the graph ends at the prediction.
    pub loss: Option<&'a Expr>,
    /// The shape of one sample, for models whose declared shape leaves axes open; others are checked against it.
    pub sample: Option<&'a [i64]>,
    /// Initialisers that replace those of the layers.
    pub init: &'a [InitRule],
    /// What is not trained.
    pub freeze: Option<&'a Selection>,
    /// Whether pictures have parts of others, and so two targets each.
    pub mixed: bool,
    /// What is counted of predictions that a loss compares with labels.
    pub metrics: Metrics,
}

impl Request<'_> {
    /// The prediction of a batch.
    pub fn inference(batch: i64) -> Request<'static> {
        Request {
            batch,
            training: false,
            loss: None,
            sample: None,
            init: &[],
            freeze: None,
            mixed: false,
            metrics: Metrics::default(),
        }
    }
}

impl Module {
    /// The forward graph of a model: its prediction and, where they are asked for, loss, metrics and updates.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the model or the loss, at the user's lines.
    pub fn graph(&self, model: &ModelCall, request: &Request<'_>) -> Result<Graph, Vec<Diagnostic>> {
        let mut elaborator = Elaborator::new(self, Graph::default(), request.training);
        elaborator.rules = request.init;
        elaborator.freeze = request.freeze;
        elaborator.used_rules = vec![false; request.init.len()];
        let done = elaborator.run_model(model, request);
        self.spent.fetch_add(elaborator.steps, Ordering::Relaxed);
        done.map_err(|error| vec![error])?;
        Ok(elaborator.graph)
    }

    /// The steps of all elaborations so far.
    pub fn steps(&self) -> usize {
        self.spent.load(Ordering::Relaxed)
    }

    /// The model of a name.
    ///
    /// # Errors
    ///
    /// Where no model has it.
    pub fn model(&self, name: &Name) -> Result<&FnItem, Diagnostic> {
        match self.find(&name.text, false) {
            Some(Callable::Fn(item)) if item.kind == FnKind::Model => Ok(item),
            Some(_) => Err(self.no_model(format!("`{}` is not a model", name.text), name)),
            None => Err(self.no_model(format!("unknown model `{}`", name.text), name)),
        }
    }
}

impl Module {
    fn no_model(&self, message: String, name: &Name) -> Diagnostic {
        let models = self.models();
        let known: Vec<&str> = models.iter().map(|model| model.name.text.as_str()).collect();
        let error = listed(at(message, name.span), "models", name, &known);
        let is_data = self.data_sections().iter().any(|data| data.name.text == name.text);
        if is_data {
            error.help(format!("`{}` is a data section: `train MODEL on DATA`", name.text))
        } else {
            error
        }
    }
}

/// The error of a name that is none of these, with the nearest and all of them.
pub(super) fn listed(error: Diagnostic, what: &str, name: &Name, known: &[&str]) -> Diagnostic {
    let error = error.did_you_mean(nearest(&name.text, known.iter().copied()));
    match known {
        [] => error.note(format!("this file has no {what}")),
        [only] => error.note(format!("the only one is `{only}`")),
        _ => error.note(format!("the {what} are {}", known.join(", "))),
    }
}

impl<'m> Elaborator<'m> {
    fn run_model(&mut self, model: &ModelCall, request: &Request<'_>) -> Outcome<()> {
        if request.batch < 1 {
            return Err(Diagnostic::error(format!("the batch has {} samples", request.batch))
                .help("a batch has at least one"));
        }
        let item = self.module.model(&model.name)?;
        let data = self.data_input(item, model, request)?;
        let mut arguments = vec![Argument { name: None, value: Value::Tensor(data), span: None }];
        arguments.extend(self.model_arguments(model)?);
        let prediction = self.call_model(item, &model.name, &arguments)?;
        self.graph.outputs.push((prediction.id, Sink::Prediction));
        if let Some(loss) = request.loss {
            self.add_loss(loss, &prediction, request)?;
        }
        if self.training {
            let updates = std::mem::take(&mut self.updates);
            let sinks = updates.into_iter().map(|(state, next, _)| (next, Sink::Update(state)));
            self.graph.outputs.extend(sinks);
        }
        if let Some(freeze) = self.freeze {
            freeze.check("freeze", &self.tensor_paths())?;
        }
        self.check_rules()
    }

    /// The paths of all parameters and states.
    fn tensor_paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.paths.keys().cloned().collect();
        paths.sort_unstable();
        paths
    }

    pub(super) fn model_arguments(&mut self, model: &ModelCall) -> Outcome<Vec<Argument>> {
        let mut arguments = Vec::new();
        for arg in &model.args {
            let value = evaluate(self, &arg.value)?;
            arguments.push(Argument { name: arg.name.clone(), value, span: Some(arg.value.span) });
        }
        Ok(arguments)
    }

    /// Calls the model as the root of all paths.
    fn call_model(&mut self, item: &'m FnItem, name: &Name, arguments: &[Argument]) -> Outcome<TensorValue> {
        match self.call_root(item, name, arguments)? {
            Value::Tensor(tensor) => Ok(tensor),
            value => {
                let end = item.body.tail.as_ref().map_or(item.name.span, |tail| tail.span);
                Err(at(format!("the model's value is {}, not a tensor", value.kind()), end))
            }
        }
    }

    /// Adds the loss of the prediction, what it divides if it says so, and the metrics that are asked for. Those of mixed
    /// pictures are sums over both targets by their shares, so that any loss can be used.
    fn add_loss(&mut self, loss: &Expr, prediction: &TensorValue, request: &Request<'_>) -> Outcome<()> {
        let (callee, args) = match &loss.kind {
            ExprKind::Name(text) => (Name { text: text.clone(), span: loss.span }, &[][..]),
            ExprKind::Call(call) => (call.callee.clone(), call.args.as_slice()),
            _ => return Err(at("a loss is the name of a block or an op", loss.span)),
        };
        let Some(item) = self.module.find(&callee.text, false) else {
            let (own, library) = self.module.callable_names();
            let known = own.iter().chain(&library).map(String::as_str);
            let error = at(format!("unknown loss `{}`", callee.text), callee.span);
            return Err(foreign::suggest(error, foreign::LOSSES, &callee.text, known));
        };
        let (dtype, shape) = target_type(item, &callee, prediction, request.batch)?;
        let id = self.graph.input("target", dtype, shape.clone(), Role::Target);
        let target = self.tensor(id);
        self.labels.extend((dtype == DType::I32).then_some(id));
        let Loss { mut value, parts } = self.loss_of(loss, (&callee, args), prediction, &target)?;
        self.graph.scores = self.scores(prediction, &target);
        let mut counts = self.count(&request.metrics, prediction, &target)?;
        counts.extend(parts.into_iter().flat_map(|parts| [TOTAL, WEIGHT].into_iter().zip(parts)));
        if request.mixed {
            let id = self.graph.input("partner", dtype, shape, Role::Partner);
            let partner = self.tensor(id);
            let id = self.graph.input(SHARE, DType::F32, Vec::new(), Role::Scalar(SHARE.into()));
            let share = self.tensor(id);
            let other = self.loss_of(loss, (&callee, args), prediction, &partner)?;
            value = self.call_library(MIXED, &[&value, &other.value, &share], None, loss.span)?;
            let others = self.count(&request.metrics, prediction, &partner)?;
            let others = others.into_iter().map(|(_, count)| count).chain(other.parts.into_iter().flatten());
            let others = if planted!("elab.model.mixed_counts") { Vec::new() } else { others.collect() };
            for ((_, own), other) in counts.iter_mut().zip(&others) {
                *own = self.call_library(MIXED, &[own, other, &share], None, loss.span)?;
            }
        }
        self.graph.outputs.push((value.id, Sink::Loss));
        let sinks = counts.into_iter().map(|(name, count)| (count.id, Sink::Metric(name.into())));
        self.graph.outputs.extend(sinks);
        Ok(())
    }

    /// The loss of the prediction for a target: one number.
    fn loss_of(
        &mut self,
        loss: &Expr,
        (callee, args): (&Name, &[ast::Arg]),
        prediction: &TensorValue,
        target: &TensorValue,
    ) -> Outcome<Loss> {
        let mut arguments: Vec<Argument> = [prediction, target].map(tensor_argument).to_vec();
        for arg in args {
            let value = evaluate(self, &arg.value)?;
            arguments.push(Argument { name: arg.name.clone(), value, span: Some(arg.value.span) });
        }
        self.site = Some(callee.span);
        let value = self.call_with(callee, arguments, None).map_err(|error| {
            let error = self.relocate(error, callee);
            let of_pixels = format!("{}2d", callee.text);
            match prediction.shape.len() == 4 && self.module.find(&of_pixels, true).is_some() {
                true => error.note(format!("for labels of every pixel there is `{of_pixels}`")),
                false => error,
            }
        })?;
        self.loss_value(value, loss.span)
    }

    /// The classes that a prediction has scores for: one for each position of its second axis, where the loss looks for
    /// labels among so many positions.
    fn scores(&self, prediction: &TensorValue, target: &TensorValue) -> Option<Scores> {
        let scores = match (&prediction.shape[..], &target.shape[..]) {
            ([_, scores], _) => Scores::Samples(*scores),
            ([n, scores, h, w], labels) if *labels == [*n, *h, *w] => Scores::Pixels(*scores),
            _ => return None,
        };
        let is_compared = self.label_axes.contains(&scores.classes());
        (prediction.dtype == DType::F32 && is_compared).then_some(scores)
    }

    /// The numbers of predictions that metrics ask for, by the names of the library's ops; none where predictions are
    /// no scores of classes.
    fn count(
        &mut self,
        metrics: &Metrics,
        prediction: &TensorValue,
        target: &TensorValue,
    ) -> Outcome<Vec<(&'static str, TensorValue)>> {
        let scores = self.graph.scores;
        metrics.check(scores.and_then(Scores::of_samples))?;
        let k = metrics.top_k().map(|k| k as i64 + i64::from(planted!("elab.model.top")));
        let k = k.map(|k| Argument { name: None, value: Value::Int(k), span: None });
        let correct = if matches!(scores, Some(Scores::Pixels(_))) { CORRECT_PIXELS } else { CORRECT };
        let asked = [(CORRECT, correct, metrics.accuracy, None), (IN_TOP, IN_TOP, k.is_some(), k)];
        let mut counts = Vec::new();
        for (name, op, _, k) in asked.into_iter().filter(|(_, _, asked, _)| *asked && scores.is_some()) {
            let Some(Callable::Op(item)) = self.module.find(op, true) else { continue };
            let arguments: Vec<Argument> =
                [prediction, target].map(tensor_argument).into_iter().chain(k).collect();
            if let Value::Tensor(count) = self.call_op(item, &item.name, &arguments, None)? {
                counts.push((name, count));
            }
        }
        Ok(counts)
    }

    /// A rule for initialisers that no parameter has used is an error.
    fn check_rules(&self) -> Outcome<()> {
        let Some(unused) = self.used_rules.iter().position(|used| !used) else { return Ok(()) };
        let rule = &self.rules[unused];
        let mut known: Vec<&str> = self.paths.keys().filter_map(|path| path.rsplit('.').next()).collect();
        let (own, library) = self.module.callable_names();
        known.extend(own.iter().chain(&library).map(String::as_str));
        known.sort_unstable();
        Err(at(format!("`init` names `{}`, but the model has no such parameter", rule.target), rule.span)
            .did_you_mean(nearest(&rule.target, known.into_iter().filter(|name| *name != rule.target)))
            .note("a name is that of a block, for its tensors with two axes and more, or of a parameter"))
    }

    pub(super) fn push_root(&mut self, item: &'m FnItem) {
        let scopes = vec![std::collections::HashMap::new()];
        self.frames.push(super::elaborator::Frame { item, instance: 0, scopes });
    }

    /// Calls a model whose parameters have no prefix.
    fn call_root(&mut self, item: &'m FnItem, name: &Name, arguments: &[Argument]) -> Outcome<Value> {
        let names: Vec<&str> = item.params.iter().map(|param| param.name.text.as_str()).collect();
        let places = super::arguments::match_arguments(name, &names, arguments)?;
        self.push_root(item);
        let result = self.run_fn(item, name, arguments, &places);
        self.frames.pop();
        result
    }
}

/// The type of the target that a loss takes as its second parameter: labels, or numbers. Its axes are those of the
/// prediction that have their names; where others stand there, it is as large as the prediction.
fn target_type(
    item: Callable<'_>,
    callee: &Name,
    prediction: &TensorValue,
    batch: i64,
) -> Outcome<(DType, Vec<i64>)> {
    let [first, param, ..] = item.params() else {
        return Err(at(format!("`{}` does not take a prediction and a target", callee.text), callee.span)
            .note("a loss has two parameters without defaults: the prediction and the target"));
    };
    let TypeKind::Tensor { dtype, dims } = &param.ty.kind else {
        return Ok((DType::F32, prediction.shape.clone()));
    };
    let dims = dims.as_deref().unwrap_or_default();
    let extents: Option<Vec<i64>> = dims.iter().map(|dim| extent_of(dim, first, prediction)).collect();
    Ok(match (dtype, extents) {
        // Labels of samples, whatever their axis is called.
        (DType::I32, _) if dims.len() < 2 => (DType::I32, vec![batch]),
        (DType::I32, Some(shape)) => (DType::I32, shape),
        (DType::I32, None) => {
            let message =
                format!("the labels of `{}` have axes that its prediction does not have", callee.text);
            let error = at(message, callee.span);
            return Err(error.note("such as `prediction: f32[N, C, H, W], label: i32[N, H, W]`"));
        }
        (_, Some(shape)) if !dims.is_empty() => (DType::F32, shape),
        _ => (DType::F32, prediction.shape.clone()),
    })
}

/// The extent of an axis that the declared prediction names, too, or of a number.
fn extent_of(dim: &Expr, declared: &Param, prediction: &TensorValue) -> Option<i64> {
    match (&dim.kind, &declared.ty.kind) {
        (ExprKind::Number { value, integer: true }, _) => Some(*value as i64),
        (ExprKind::Name(name), TypeKind::Tensor { dims: Some(dims), .. }) => {
            let has_name = |dim: &Expr| matches!(&dim.kind, ExprKind::Name(other) if other == name);
            prediction.shape.get(dims.iter().position(has_name)?).copied()
        }
        _ => None,
    }
}

fn tensor_argument(tensor: &TensorValue) -> Argument {
    Argument { name: None, value: Value::Tensor(tensor.clone()), span: None }
}

/// The library's op that counts right predictions, and the name of its metric.
pub const CORRECT: &str = "correct";
/// The library's op that adds up the shares of right pixels of each sample.
const CORRECT_PIXELS: &str = "correct2d";
/// The library's op that counts labels among the best scores, and the name of its metric.
pub const IN_TOP: &str = "in_top";
/// The library's block for the losses of mixed pictures.
const MIXED: &str = "mixed";
/// The runtime scalar that says what is left of each picture where they are mixed, 0 to 1.
pub const SHARE: &str = "share";
