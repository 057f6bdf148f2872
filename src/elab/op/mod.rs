//! Ops: from equations with symbolic shapes to a program with concrete extents.
//!
//! [`instantiate`] binds an op's parameters to the types and values of one call and turns its equations into a
//! [`Program`]. [`term`] and [`calls`] convert scalar expressions, [`extents`] finds the extents of axes that no type
//! says from the indices that [`linear`] reads, [`equation`] makes results from pieces, [`pieces`] proves that those are
//! disjoint and cover. [`integers`] refuses what does not fit its bits. [`scalar`] maps ops on single numbers over
//! tensors.

mod calls;
mod compared;
mod equation;
mod extents;
mod index;
mod integers;
mod linear;
mod operators;
mod pieces;
mod scalar;
mod term;

use std::collections::{HashMap, HashSet};

use super::evaluate::{Argument, Context, at, count_steps};
use super::module::{Callable, Module};
use super::types::{element_type, evaluate_shape, has_axes};
use super::value::{TensorValue, Value};
use super::{Outcome, block};
use crate::base::span::Span;
use crate::graph;
use crate::syntax::ast::{
    Block, Call, Else, Expr, ExprKind, IfExpr, Name, OpItem, OpStmt, OpStmtKind, Param, TypeExpr, TypeKind,
};
use crate::te::{DType, Index, Program, Tensor};

pub(super) use calls::no_scalar_op;
pub(super) use operators::{
    FUNCTIONS, Function, binary, constant, elementwise_function, expression, function, is_elementwise, unary,
};
pub use term::{Kind, Term};

/// What a name in an op means.
#[derive(Clone, Debug)]
pub(super) enum Symbol {
    Const(Value),
    Tensor(Tensor),
    Term(Term),
}

/// An op that is being instantiated.
pub(super) struct Equations<'m> {
    pub module: &'m Module,
    /// Whether the op is the library's.
    pub library: bool,
    pub program: Program,
    pub names: HashMap<String, Symbol>,
    /// The axes in scope, the innermost last; one of extent 1 may stand for 0.
    pub axes: Vec<(String, Index)>,
    /// The names that axes of the op have had, and where they stood first.
    axis_names: HashMap<String, Span>,
    /// The extents of binders without a bound, by their places.
    extents: HashMap<Span, extents::Extent>,
    /// The position of the present element in its result: the counter of random numbers.
    pub element: Index,
    /// The root of the names of random streams.
    pub stream: String,
    pub draws: usize,
    /// The tensors whose elements are compared with the positions of an axis, and the extents of these axes.
    pub compared: Vec<(Tensor, i64)>,
    /// The op and those that are written in place around the present place, with the places of their items.
    pub within: Vec<(Name, Span)>,
    /// How deep the evaluation at compile time is nested.
    pub depth: usize,
    /// How deep the present term is nested, with the ops that are written in place around it.
    pub nesting: usize,
    /// How many expressions this elaboration has evaluated.
    pub steps: usize,
}

/// An op has at most so many expressions; every pass walks through them.
const MOST_EXPRESSIONS: usize = 50_000;

/// What comes after elaboration does with an expression costs so many steps.
const COST_OF_EXPRESSION: usize = 8;

/// An input of an op whose elements its equations compare with the positions of an axis: its place among the inputs,
/// and the extent of the axis.
pub type Compared = (usize, i64);

/// The arguments of a call of an op, matched to its parameters.
#[derive(Clone, Copy)]
pub struct Matched<'a> {
    pub callee: &'a Name,
    pub arguments: &'a [Argument],
    /// For each parameter, which argument it has.
    pub places: &'a [Option<usize>],
}

/// Instantiates an op for the arguments of a call; the program's inputs are the tensors among them in the order of
/// the parameters. `stream` is the path of the call: random numbers are drawn from streams named after it. `steps` counts
/// the work.
pub fn instantiate(
    module: &Module,
    item: &OpItem,
    Matched { callee, arguments, places }: Matched<'_>,
    stream: &str,
    steps: &mut usize,
) -> Outcome<(graph::Op, Vec<Compared>)> {
    let mut equations = Equations::new(module, item, stream, *steps);
    equations.bind(item, callee, arguments, places)?;
    if is_scalar(item) {
        equations.map_elements(item, callee, &tensor_arguments(item, arguments, places))?;
    } else {
        equations.run(item)?;
    }
    *steps = equations.steps.saturating_add(COST_OF_EXPRESSION * equations.program.exprs.len());
    let compared = equations.compared_inputs();
    Ok((graph::Op { name: item.name.text.clone(), program: equations.program }, compared))
}

/// Whether all parameters and results are single elements, so that a call with tensors maps over them.
pub fn is_scalar(item: &OpItem) -> bool {
    let result_is_element = |(_, ty): &(Name, TypeExpr)| element_dtype(ty).is_some();
    item.results.iter().all(result_is_element)
        && !item.params.iter().any(|param| has_axes(&param.ty))
        && item.params.iter().any(|param| element_type(&param.ty).is_some())
}

/// The element type of a result without axes.
fn element_dtype(ty: &TypeExpr) -> Option<DType> {
    match ty.kind {
        TypeKind::Tensor { dtype, dims: None } => Some(dtype),
        TypeKind::Tensor { .. } | TypeKind::Named(_) => None,
    }
}

/// The tensors among the arguments, in the order of the parameters.
pub fn tensor_arguments(item: &OpItem, arguments: &[Argument], places: &[Option<usize>]) -> Vec<TensorValue> {
    let values = item.params.iter().zip(places).filter_map(|(_, place)| place.map(|at| &arguments[at].value));
    let tensors = values.filter_map(|value| match value {
        Value::Tensor(tensor) => Some(tensor.clone()),
        _ => None,
    });
    tensors.collect()
}

/// What tells one instance of an op from another: the item, the values, and the types of tensors.
pub fn key(item: &OpItem, arguments: &[Argument], places: &[Option<usize>]) -> String {
    let mut key = format!("{} {:?}", item.name.text, item.span);
    for place in places {
        match place.map(|at| &arguments[at].value) {
            Some(Value::Tensor(tensor)) => key.push_str(&format!(" {tensor}")),
            Some(value) => key.push_str(&format!(" {value:?}")),
            None => key.push_str(" -"),
        }
    }
    key
}

impl<'m> Equations<'m> {
    fn new(module: &'m Module, item: &OpItem, stream: &str, steps: usize) -> Equations<'m> {
        Equations {
            module,
            library: module.in_library(item.span.file),
            program: Program::default(),
            names: HashMap::new(),
            axes: Vec::new(),
            axis_names: HashMap::new(),
            extents: HashMap::new(),
            element: Index::from(0),
            stream: stream.to_owned(),
            draws: 0,
            compared: Vec::new(),
            within: vec![(item.name.clone(), item.span)],
            depth: 0,
            nesting: 0,
            steps,
        }
    }

    /// Binds the parameters, then makes inputs of those that are tensors.
    fn bind(
        &mut self,
        item: &OpItem,
        callee: &Name,
        arguments: &[Argument],
        places: &[Option<usize>],
    ) -> Outcome<()> {
        for param in &item.params {
            check_parameter_type(param)?;
        }
        block::bind_parameters(self, &item.params, callee, arguments, places)?;
        for param in &item.params {
            let Some(Symbol::Const(Value::Tensor(tensor))) = self.names.get(&param.name.text) else {
                continue;
            };
            let tensor = tensor.clone();
            if !has_axes(&param.ty) && !is_scalar(item) && !tensor.shape.is_empty() {
                let message = format!("`{}` is one number, not a tensor {tensor}", param.name.text);
                return Err(at(message, callee.span));
            }
            let input = self.program.input(&param.name.text, tensor.dtype, tensor.shape);
            self.names.insert(param.name.text.clone(), Symbol::Tensor(input));
        }
        Ok(())
    }

    /// Runs the statements of an op whose results have declared shapes.
    fn run(&mut self, item: &OpItem) -> Outcome<()> {
        let mut declared: HashMap<String, (DType, Vec<i64>)> = HashMap::new();
        for (name, ty) in &item.results {
            let TypeKind::Tensor { dtype, dims } = &ty.kind else {
                return Err(at("a result is a tensor", ty.span));
            };
            let shape = evaluate_shape(self, &name.text, dims.as_deref().unwrap_or(&[]))?;
            if declared.insert(name.text.clone(), (*dtype, shape)).is_some() {
                return Err(at(format!("two results are named `{}`", name.text), name.span));
            }
        }
        let mut rest = item.body.as_slice();
        while let Some(stmt) = rest.first() {
            let count = group_length(rest);
            self.run_group(stmt, &rest[..count], &declared)?;
            rest = &rest[count..];
        }
        self.collect_outputs(item)
    }

    fn run_group(
        &mut self,
        stmt: &OpStmt,
        group: &[OpStmt],
        declared: &HashMap<String, (DType, Vec<i64>)>,
    ) -> Outcome<()> {
        match &stmt.kind {
            OpStmtKind::Let { name, value } => self.run_let(name, value),
            OpStmtKind::Assert(assertion) => block::check_assertion(self, assertion),
            OpStmtKind::Equation { name, .. } => self.define(name, group, declared.get(&name.text)),
        }
    }

    pub(super) fn run_let(&mut self, name: &Name, value: &Expr) -> Outcome<()> {
        let value = super::evaluate::evaluate(self, value)?;
        self.check_no_axis(name)?;
        self.names.insert(name.text.clone(), Symbol::Const(value));
        Ok(())
    }

    fn collect_outputs(&mut self, item: &OpItem) -> Outcome<()> {
        for (name, _) in &item.results {
            match self.names.get(&name.text) {
                Some(Symbol::Tensor(tensor)) if !self.program.inputs.contains(tensor) => {
                    self.program.outputs.push(*tensor);
                }
                _ => return Err(at(format!("the result `{}` has no equation", name.text), name.span)),
            }
        }
        Ok(())
    }
}

/// How many statements from the first on define the same result.
fn group_length(stmts: &[OpStmt]) -> usize {
    let defined = |stmt: &OpStmt| match &stmt.kind {
        OpStmtKind::Equation { name, .. } => Some(name.text.clone()),
        OpStmtKind::Let { .. } | OpStmtKind::Assert(_) => None,
    };
    let first = defined(&stmts[0]);
    stmts.iter().take_while(|stmt| first.is_some() && defined(stmt) == first).count().max(1)
}

fn check_parameter_type(param: &Param) -> Outcome<()> {
    match &param.ty.kind {
        TypeKind::Named(_) | TypeKind::Tensor { dims: None, .. } => Ok(()),
        TypeKind::Tensor { dims: Some(dims), .. } if !dims.is_empty() => Ok(()),
        TypeKind::Tensor { .. } => Err(at("this tensor has no axes", param.ty.span)),
    }
}

impl Context for Equations<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        match self.names.get(name) {
            Some(Symbol::Const(value)) => Some(value.clone()),
            Some(Symbol::Tensor(_) | Symbol::Term(_)) | None => None,
        }
    }

    fn without_value(&self, name: &str) -> Option<&'static str> {
        if self.axes.iter().any(|(axis, _)| axis == name) {
            return Some("an axis");
        }
        self.names.get(name).map(|symbol| match symbol {
            Symbol::Tensor(_) => "a tensor",
            Symbol::Term(_) | Symbol::Const(_) => "a value of the equations",
        })
    }

    fn names(&self) -> Vec<String> {
        let axes = self.axes.iter().map(|(name, _)| name.clone());
        let mut names: Vec<String> = self.names.keys().cloned().chain(axes).collect();
        names.sort_unstable();
        names
    }

    fn bind(&mut self, name: &str, value: Value) {
        self.names.insert(name.to_owned(), Symbol::Const(value));
    }

    fn depth(&mut self) -> &mut usize {
        &mut self.depth
    }

    fn tick(&mut self, cost: usize, span: Span) -> Outcome<()> {
        count_steps(&mut self.steps, cost, span)
    }

    fn as_context(&mut self) -> &mut dyn Context {
        self
    }
}

/// Whether an op draws random numbers, itself or by an op that its equations call.
pub fn draws<'m>(module: &'m Module, item: &'m OpItem) -> bool {
    RandomnessCheck { module, library: false, seen: HashSet::new(), open: vec![item] }.run()
}

struct RandomnessCheck<'m> {
    module: &'m Module,
    library: bool,
    seen: HashSet<Span>,
    /// The ops that are still to be looked at: chains of calls may be long.
    open: Vec<&'m OpItem>,
}

impl<'m> RandomnessCheck<'m> {
    fn run(mut self) -> bool {
        while let Some(item) = self.open.pop() {
            if self.seen.insert(item.span) && self.op(item) {
                return true;
            }
        }
        false
    }

    fn op(&mut self, item: &OpItem) -> bool {
        self.library = self.module.in_library(item.span.file);
        item.body.iter().any(|stmt| match &stmt.kind {
            OpStmtKind::Equation { body, .. } => self.expr(body),
            OpStmtKind::Let { .. } | OpStmtKind::Assert(_) => false,
        })
    }

    fn expr(&mut self, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Call(call) => self.call(call),
            ExprKind::Fill { read, outside } => self.expr(read) || self.expr(outside),
            ExprKind::Reduce { body, .. } => self.expr(body),
            ExprKind::Unary { operand, .. } => self.expr(operand),
            ExprKind::Binary { left, right, .. } => self.expr(left) || self.expr(right),
            ExprKind::If(choice) => self.choice(choice),
            ExprKind::Number { .. }
            | ExprKind::Bool(_)
            | ExprKind::Infinity
            | ExprKind::String(_)
            | ExprKind::Name(_)
            | ExprKind::List(_)
            | ExprKind::Pipe { .. }
            | ExprKind::As { .. }
            | ExprKind::Index { .. }
            | ExprKind::Field { .. } => false,
        }
    }

    fn call(&mut self, call: &Call) -> bool {
        if call.callee.text == "uniform" && call.args.is_empty() {
            return true;
        }
        if call.args.iter().any(|arg| self.expr(&arg.value)) {
            return true;
        }
        match self.module.find(&call.callee.text, self.library) {
            // The library's ops of a function's name are that function.
            Some(Callable::Op(item))
                if is_elementwise(&call.callee.text) && self.module.in_library(item.span.file) =>
            {
                false
            }
            Some(Callable::Op(item)) => {
                self.open.push(item);
                false
            }
            _ => false,
        }
    }

    fn choice(&mut self, choice: &IfExpr) -> bool {
        self.expr(&choice.condition)
            || self.block(&choice.then)
            || match &choice.otherwise {
                Some(Else::Block(block)) => self.block(block),
                Some(Else::If(next)) => self.choice(next),
                None => false,
            }
    }

    fn block(&mut self, block: &Block) -> bool {
        block.tail.as_ref().is_some_and(|tail| self.expr(tail))
    }
}
