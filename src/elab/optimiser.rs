//! Optimisers: ops of the library or of the user that give the next value of a parameter.
//!
//! `std/optimisers.cnn` says in its head which parameters such an op has. [`OptimSpec`] is the optimiser of a train
//! section with its hyperparameters; [`apply`] adds its ops to a graph that holds the gradients.

use super::config::{self, as_call, call_values};
use super::elaborator::Elaborator;
use super::evaluate::{Argument, at};
use super::module::{Callable, Module};
use super::types::element_type;
use super::{Outcome, Value, block};
use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::graph::{self, Graph, Init, Role, Sink};
use crate::syntax::ast::{Expr, Name, OpItem, Param};
use crate::te::DType;

/// The learning rate where none is given.
const LEARNING_RATE: f64 = 1e-3;

/// The scalars that the host computes for every step.
const SCALARS: [&str; 4] = ["lr", "first", "step_size", "bias_correction2_sqrt"];

/// The optimiser of a train section.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimSpec {
    /// The name of the op.
    pub op: String,
    /// The name of the group of parameters that it is for; empty for the main one.
    pub group: String,
    pub learning_rate: f64,
    /// The hyperparameters of the op, all of them.
    pub hyperparameters: Vec<(String, Value)>,
    /// The names of the states of each parameter.
    pub states: Vec<String>,
    /// The scalars that it takes in every step.
    pub scalars: Vec<String>,
    pub span: Span,
}

impl OptimSpec {
    /// The optimiser of `adam(1e-3, beta1=0.9)`: its first argument is the learning rate, the others are the op's
    /// hyperparameters. Where there is an op `NAME_KEY`, it takes the place of `NAME` for a `KEY` that is not 0.
    ///
    /// # Errors
    ///
    /// Where there is no such op, or its arguments are wrong.
    pub fn resolve(module: &Module, expr: &Expr) -> Result<OptimSpec, Diagnostic> {
        let call = as_call(expr, "an optimiser such as adam(1e-3)")?;
        let item = find(module, &call.callee)?;
        let layout = Layout::of(item)?;
        let names: Vec<&str> = std::iter::once("lr").chain(layout.hyperparameter_names()).collect();
        let given = call_values(&call, &names)?;
        let learning_rate = learning_rate(given[0].as_ref(), expr.span)?;
        let hyperparameters = layout.hyperparameters(&call.callee, &given[1..])?;
        let (item, layout) = variant(module, item, &hyperparameters).unwrap_or(Ok((item, layout)))?;
        let spec = OptimSpec {
            op: item.name.text.clone(),
            group: String::new(),
            learning_rate,
            hyperparameters,
            states: layout.states.iter().map(|param| param.name.text.clone()).collect(),
            scalars: layout.scalars.iter().map(|param| param.name.text.clone()).collect(),
            span: call.callee.span,
        };
        spec.try_out(module)?;
        Ok(spec)
    }

    /// The same for a group of parameters, with runtime scalars of its own.
    pub fn of_group(self, group: &str) -> OptimSpec {
        OptimSpec { group: group.to_owned(), ..self }
    }

    /// The same without weight decay.
    pub fn without_decay(&self) -> OptimSpec {
        let mut spec = self.clone();
        for (_, value) in spec.hyperparameters.iter_mut().filter(|(name, _)| name == "weight_decay") {
            *value = Value::Real(0.0);
        }
        spec
    }

    /// The values of the runtime scalars in a step, counted from 0; the schedule multiplies the learning rate with
    /// `factor`.
    pub fn scalars(&self, step: u64, factor: f64) -> Vec<(String, f64)> {
        let t = step as f64 + if planted!("elab.optimiser.correction") { 2.0 } else { 1.0 };
        let rate = self.learning_rate * factor;
        let value = |name: &str| match name {
            "first" => f64::from(step <= u64::from(planted!("elab.optimiser.first"))),
            "step_size" => rate / (1.0 - self.hyperparameter("beta1").powf(t)),
            "bias_correction2_sqrt" => {
                let beta = if planted!("elab.optimiser.betas") { "beta1" } else { "beta2" };
                (1.0 - self.hyperparameter(beta).powf(t)).sqrt()
            }
            _ => rate,
        };
        self.scalars.iter().map(|name| (self.scalar_name(name), value(name))).collect()
    }

    fn scalar_name(&self, name: &str) -> String {
        if self.group.is_empty() || planted!("elab.optimiser.group_rate") {
            name.to_owned()
        } else {
            format!("{name}.{}", self.group)
        }
    }

    fn hyperparameter(&self, name: &str) -> f64 {
        let found = self.hyperparameters.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.as_real()).unwrap_or(0.0)
    }

    /// Runs the op's assertions on a parameter with one element.
    fn try_out(&self, module: &Module) -> Outcome<()> {
        let mut graph = Graph::default();
        let role = Role::Param { path: "p".into(), init: Init::Constant(0.0) };
        let p = graph.input("p", DType::F32, vec![1], role);
        apply(&mut graph, module, self, &[(p, p)])
    }
}

/// Adds an optimiser to a graph: for every pair of a parameter and its gradient the op, its states and the updates.
///
/// # Errors
///
/// What is wrong with the op, at the train section's line.
pub fn apply(
    graph: &mut Graph,
    module: &Module,
    optim: &OptimSpec,
    grads: &[(graph::Value, graph::Value)],
) -> Result<(), Diagnostic> {
    let callee = Name { text: optim.op.clone(), span: optim.span };
    let item = find(module, &callee)?;
    let names = optim.scalars.iter().map(|name| optim.scalar_name(name));
    let scalars: Vec<graph::Value> = names.map(|name| scalar_input(graph, name)).collect();
    let mut elaborator = Elaborator::new(module, std::mem::take(graph), true);
    let result = grads
        .iter()
        .try_for_each(|(p, g)| apply_one(&mut elaborator, item, &callee, optim, (*p, *g), &scalars));
    *graph = elaborator.graph;
    result.map_err(|error| relocated(module, error, optim.span))
}

/// The input of a runtime scalar: the one that is there, or a new one.
fn scalar_input(graph: &mut Graph, name: String) -> graph::Value {
    let found = graph.inputs.iter().find(|(_, role)| matches!(role, Role::Scalar(known) if *known == name));
    match found {
        Some((value, _)) => *value,
        None => graph.input(name.clone(), DType::F32, Vec::new(), Role::Scalar(name)),
    }
}

fn apply_one<'m>(
    elaborator: &mut Elaborator<'m>,
    item: &'m OpItem,
    callee: &Name,
    optim: &OptimSpec,
    (p, g): (graph::Value, graph::Value),
    scalars: &[graph::Value],
) -> Outcome<()> {
    let path = param_path(&elaborator.graph, p);
    let states = add_states(&mut elaborator.graph, &optim.states, p, &path);
    let tensors = [&p, &g].into_iter().chain(&states).chain(scalars);
    let mut arguments: Vec<Argument> = tensors
        .map(|id| Argument { name: None, value: Value::Tensor(elaborator.tensor(*id)), span: None })
        .collect();
    for (name, value) in &optim.hyperparameters {
        let name = Name { text: name.clone(), span: optim.span };
        arguments.push(Argument { name: Some(name), value: value.clone(), span: None });
    }
    let results = match elaborator.call_op(item, callee, &arguments, None)? {
        Value::Results(values) => values,
        value => vec![value],
    };
    if let Some(node) = elaborator.graph.nodes.last_mut() {
        node.path = format!("optim.{path}");
    }
    for (result, target) in results.into_iter().zip(std::iter::once(p).chain(states)) {
        if let Value::Tensor(tensor) = block::single(result, callee.span)? {
            elaborator.graph.outputs.push((tensor.id, Sink::Update(target)));
        }
    }
    Ok(())
}

/// The states of a parameter, which begin at 0.
fn add_states(graph: &mut Graph, names: &[String], param: graph::Value, path: &str) -> Vec<graph::Value> {
    let shape = graph.values[param].shape.clone();
    let mut add = |name: &String| {
        let path = format!("optim.{name}.{path}");
        let role = Role::State { path: path.clone(), init: Init::Constant(0.0) };
        graph.input(path, DType::F32, shape.clone(), role)
    };
    names.iter().map(&mut add).collect()
}

fn param_path(graph: &Graph, param: graph::Value) -> String {
    let found = graph.inputs.iter().find(|(value, _)| *value == param);
    match found {
        Some((_, Role::Param { path, .. } | Role::State { path, .. })) => path.clone(),
        Some((_, Role::Data | Role::Target | Role::Partner | Role::Scalar(_))) | None => {
            graph.values[param].name.clone()
        }
    }
}

/// An assertion of the library's op is an error of the train section.
fn relocated(module: &Module, mut error: Diagnostic, span: Span) -> Diagnostic {
    error.labels.retain(|label| !module.in_library(label.span.file));
    if error.labels.is_empty() { error.primary(span, "") } else { error }
}

fn find<'m>(module: &'m Module, name: &Name) -> Outcome<&'m OpItem> {
    match module.find(&name.text, false) {
        Some(Callable::Op(item)) if Layout::of(item).is_ok() => Ok(item),
        Some(Callable::Op(item)) => Layout::of(item).map(|_| item),
        Some(Callable::Fn(_)) => Err(at(format!("`{}` is not an optimiser", name.text), name.span)),
        None => {
            let known = optimisers(module);
            Err(at(format!("unknown optimiser `{}`", name.text), name.span)
                .did_you_mean(nearest(&name.text, known.iter().map(String::as_str))))
        }
    }
}

/// The names of all ops that are optimisers.
fn optimisers(module: &Module) -> Vec<String> {
    let (own, library) = module.callable_names();
    let mut names = [own, library].concat();
    names.retain(|name| match module.find(name, false) {
        Some(Callable::Op(item)) => Layout::of(item).is_ok(),
        Some(Callable::Fn(_)) | None => false,
    });
    names.sort_unstable();
    names
}

/// The op `NAME_KEY` for a hyperparameter `KEY` that is not 0, where there is one.
fn variant<'m>(
    module: &'m Module,
    item: &OpItem,
    hyperparameters: &[(String, Value)],
) -> Option<Outcome<(&'m OpItem, Layout<'m>)>> {
    let on = |value: &Value| !matches!(value, Value::Bool(false)) && value.as_real() != Some(0.0);
    let names = hyperparameters.iter().filter(|(_, value)| on(value));
    let found = names
        .filter_map(|(key, _)| module.find(&format!("{}_{key}", item.name.text), false))
        .find_map(|callable| match callable {
            Callable::Op(item) => Some(item),
            Callable::Fn(_) => None,
        })?;
    Some(Layout::of(found).map(|layout| (found, layout)))
}

fn learning_rate(argument: Option<&Argument>, span: Span) -> Outcome<f64> {
    let Some(argument) = argument else { return Ok(LEARNING_RATE) };
    match argument.value.as_real() {
        Some(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err(at(
            format!("the learning rate is a number from 0 on, not {}", argument.value),
            argument.span.unwrap_or(span),
        )),
    }
}

/// The parameters of an optimiser by what they are.
struct Layout<'m> {
    states: &'m [Param],
    scalars: &'m [Param],
    hyperparameters: &'m [Param],
}

impl<'m> Layout<'m> {
    fn of(item: &'m OpItem) -> Outcome<Layout<'m>> {
        let elements = item.params.iter().take_while(|param| element_type(&param.ty).is_some()).count();
        let states = item.results.len() - 1;
        if !super::op::is_scalar(item) || elements < 2 + states {
            return Err(at(format!("`{}` is not an optimiser", item.name.text), item.name.span).note(
                "an optimiser is an op on single numbers: p, g, a state for every result after the first, \
                 runtime scalars, and hyperparameters",
            ));
        }
        let scalars = &item.params[2 + states..elements];
        if let Some(unknown) = scalars.iter().find(|param| !SCALARS.contains(&param.name.text.as_str())) {
            let message = format!("no runtime scalar is named `{}`", unknown.name.text);
            return Err(at(message, unknown.name.span).note(format!("there are {}", SCALARS.join(", "))));
        }
        Ok(Layout { states: &item.params[2..2 + states], scalars, hyperparameters: &item.params[elements..] })
    }

    fn hyperparameter_names(&self) -> impl Iterator<Item = &'m str> {
        self.hyperparameters.iter().map(|param| param.name.text.as_str())
    }

    /// The values of the hyperparameters, given or default.
    fn hyperparameters(&self, callee: &Name, given: &[Option<Argument>]) -> Outcome<Vec<(String, Value)>> {
        let mut values = Vec::new();
        for (param, argument) in self.hyperparameters.iter().zip(given) {
            let value = match (argument, &param.default) {
                (Some(argument), _) => argument.value.clone(),
                (None, Some(default)) => config::constant(default)?,
                (None, None) => return Err(super::arguments::missing(callee, &param.name.text)),
            };
            let span = argument.as_ref().and_then(|argument| argument.span).unwrap_or(callee.span);
            let value = config::accept_constant(&callee.text, param, value, span)?;
            config::check_range(&format!("`{}` of `{}`", param.name.text, callee.text), &value, span)?;
            values.push((param.name.text.clone(), value));
        }
        Ok(values)
    }
}
