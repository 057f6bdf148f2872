//! Scalar expressions of equations.
//!
//! A [`Term`] is known at compile time, or an integer of axes, or differs from element to element. Integer constants
//! and indices fold; what has a fraction stays as it was written.

use super::{Equations, Symbol, index, integers, operators};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::elab::Outcome;
use crate::elab::arithmetic;
use crate::elab::evaluate::{at, calls_itself, count_steps, element, evaluate, number, unknown_name};
use crate::elab::value::Value;
use crate::syntax::ast::{BinaryOp, Binder, Block, Else, Expr, ExprKind, IfExpr, ReduceOp, UnaryOp};
use crate::te::size::MOST_ELEMENTS;
use crate::te::{self, Binary, DType, ExprId, Index, Reduction, Tensor};

/// An axis chooses among at most so many elements of a list.
const MOST_CHOICES: i64 = 4096;

/// A choice among more elements than so many is one between two halves first, so that no expression nests deep.
const LONGEST_CHAIN: i64 = 256;

/// Terms nest this deep, with the ops that are written in place around them.
const DEEPEST: usize = 500;

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Float,
    Int,
    Bool,
}

impl Kind {
    /// The kind of a tensor's elements.
    pub fn of(dtype: DType) -> Kind {
        match dtype {
            DType::F32 => Kind::Float,
            DType::I32 | DType::U8 => Kind::Int,
            DType::Bool => Kind::Bool,
        }
    }

    /// The element type of a tensor of this kind.
    pub fn dtype(self) -> DType {
        match self {
            Kind::Float => DType::F32,
            Kind::Int => DType::I32,
            Kind::Bool => DType::Bool,
        }
    }

    /// For messages.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::Float => "a number",
            Kind::Int => "an integer",
            Kind::Bool => "a truth value",
        }
    }
}

/// The value of a scalar expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    Const(Value),
    Index(Index),
    Scalar(ExprId, Kind),
}

impl Term {
    /// Whether it is known at compile time.
    pub(super) fn is_known(&self) -> bool {
        matches!(self, Term::Const(_))
    }
}

/// An error where a number that becomes a part of an equation is none of `f32`.
pub(super) fn check_single(term: &Term, span: Span) -> Outcome<()> {
    match term {
        Term::Const(Value::Real(value)) => {
            arithmetic::check_single(*value).map_err(|message| at(message, span))
        }
        Term::Const(_) | Term::Index(_) | Term::Scalar(..) => Ok(()),
    }
}

impl Equations<'_> {
    /// The term of an expression.
    pub(super) fn term(&mut self, expr: &Expr) -> Outcome<Term> {
        let span = expr.span;
        count_steps(&mut self.steps, 1, span)?;
        if self.program.exprs.len() > super::MOST_EXPRESSIONS {
            return Err(at("this op is too large", span)
                .note(format!("it comes to more than {} expressions", super::MOST_EXPRESSIONS)));
        }
        if self.nesting >= DEEPEST {
            return Err(self.nests_too_deeply(span));
        }
        self.nesting += 1;
        let term = match &expr.kind {
            ExprKind::Binary { op, left, right } => self.binary_term(*op, left, right, span),
            ExprKind::Unary { op, operand } => self.unary_term(*op, operand, span),
            ExprKind::Call(call) => self.call_term(call),
            ExprKind::If(choice) => self.if_term(choice),
            ExprKind::Reduce { op, binders, body } => self.reduce_term(*op, binders, body),
            _ => self.leaf(expr),
        };
        self.nesting -= 1;
        term
    }

    /// The error of an expression that nests too deep: of an op that comes by itself again, or of ops in ops.
    fn nests_too_deeply(&self, span: Span) -> Diagnostic {
        let again = self.within.split_last().filter(|(last, around)| around.contains(last));
        let error = match again {
            Some(((name, _), _)) => calls_itself(name, span),
            None => at("this nests too deeply", span),
        };
        error.note(format!("expressions nest at most {DEEPEST} deep, with those of the calls around them"))
    }

    /// The term of an expression without operators.
    fn leaf(&mut self, expr: &Expr) -> Outcome<Term> {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Number { value, integer } => number(*value, *integer, span).map(Term::Const),
            ExprKind::Bool(value) => Ok(Term::Const(Value::Bool(*value))),
            ExprKind::Infinity => Ok(Term::Const(Value::Real(f64::INFINITY))),
            ExprKind::String(_) | ExprKind::List(_) => evaluate(self, expr).map(Term::Const),
            ExprKind::Name(name) => self.name_term(name, span),
            ExprKind::Index { base, indices } => self.index_term(base, indices, None, span),
            ExprKind::Fill { read, outside } => self.fill_term(read, outside),
            _ => Err(at("this does not stand in an equation", span)),
        }
    }

    fn unary_term(&mut self, op: UnaryOp, operand: &Expr, span: Span) -> Outcome<Term> {
        let operand = self.term(operand)?;
        operators::unary(&mut self.program, op, &operand).map_err(|message| at(message, span))
    }

    fn binary_term(&mut self, op: BinaryOp, left: &Expr, right: &Expr, span: Span) -> Outcome<Term> {
        let (x, y) = (self.term(left)?, self.term(right)?);
        self.note_comparison(op, (left, &x), (right, &y));
        if !x.is_known() || !y.is_known() {
            check_single(&x, left.span)?;
            check_single(&y, right.span)?;
        }
        operators::binary(&mut self.program, op, &x, &y).map_err(|message| at(message, span))
    }

    /// The term as an expression of the program.
    pub(super) fn expression(&mut self, expr: &Expr) -> Outcome<(ExprId, Kind)> {
        let term = self.term(expr)?;
        check_single(&term, expr.span)?;
        operators::expression(&mut self.program, &term).map_err(|message| at(message, expr.span))
    }

    /// The term as an index: an integer of axes and constants.
    pub(super) fn index(&mut self, expr: &Expr) -> Outcome<Index> {
        let term = self.term(expr)?;
        match operators::as_index(&term) {
            Some(index) => index.map_err(|message| at(message, expr.span)),
            None => Err(at("an index is an integer of axes and constants", expr.span)),
        }
    }

    fn name_term(&mut self, name: &str, span: Span) -> Outcome<Term> {
        if let Some((_, index)) = self.axes.iter().rev().find(|(axis, _)| axis == name) {
            return Ok(match index.as_constant() {
                Some(value) => Term::Const(Value::Int(value)),
                None => Term::Index(index.clone()),
            });
        }
        match self.names.get(name) {
            Some(Symbol::Const(value)) => Ok(Term::Const(value.clone())),
            Some(Symbol::Term(term)) => Ok(term.clone()),
            Some(Symbol::Tensor(tensor)) => self.read(*tensor, Vec::new(), None, name, span),
            None => Err(self.unknown(name, span)),
        }
    }

    fn unknown(&self, name: &str, span: Span) -> Diagnostic {
        let known = super::Context::names(self);
        unknown_name(name, span, known.iter().map(String::as_str))
    }

    fn index_term(&mut self, base: &Expr, indices: &[Expr], fill: Option<f64>, span: Span) -> Outcome<Term> {
        if let ExprKind::Name(name) = &base.kind
            && let Some(Symbol::Tensor(tensor)) = self.names.get(name)
        {
            let (tensor, name) = (*tensor, name.clone());
            let mut index = Vec::new();
            for expr in indices {
                index.push(self.index(expr)?);
            }
            return self.read(tensor, index, fill, &name, span);
        }
        let (mut list, mut positions) = (base, indices.iter().collect::<Vec<_>>());
        while let ExprKind::Index { base, indices } = &list.kind {
            positions = indices.iter().chain(positions).collect();
            list = base;
        }
        let Term::Const(list) = self.term(list)? else {
            return Err(at("only tensors and lists have elements", base.span));
        };
        let mut terms = Vec::new();
        for position in positions {
            terms.push(self.term(position)?);
        }
        self.choose(&list, &terms).map_err(|message| at(message, span))
    }

    /// An element of a list whose position may depend on axes: a choice for each position.
    fn choose(&mut self, list: &Value, positions: &[Term]) -> Result<Term, String> {
        let Some((first, rest)) = positions.split_first() else { return Ok(Term::Const(list.clone())) };
        let index = match first {
            Term::Const(position) => return self.choose(&element(list, position)?, rest),
            Term::Index(index) => index.clone(),
            Term::Scalar(..) => return Err("a position is an integer of axes and constants".into()),
        };
        let Value::List(values) = list else { return Err(format!("{} has no elements", list.kind())) };
        let (low, high) = index.range(&self.program.axes);
        if low < 0 || high >= values.len() as i64 {
            let message =
                format!("the list has {} elements, the position runs from {low} to {high}", values.len());
            return Err(message);
        }
        if high - low >= MOST_CHOICES {
            let count = high - low + 1;
            return Err(format!(
                "an axis chooses among at most {MOST_CHOICES} elements of a list, and this is one of {count}"
            ));
        }
        self.choose_between(values, &index, (low, high), rest)
    }

    /// The element at an index that runs from `low` to `high`.
    fn choose_between(
        &mut self,
        values: &[Value],
        index: &Index,
        (low, high): (i64, i64),
        rest: &[Term],
    ) -> Result<Term, String> {
        if high - low > LONGEST_CHAIN {
            let middle = low + (high - low) / 2;
            let before = self.choose_between(values, index, (low, middle), rest)?;
            let after = self.choose_between(values, index, (middle + 1, high), rest)?;
            return self.chosen(Binary::Le, index, middle, &before, &after);
        }
        let mut chosen = self.element(&values[high as usize], rest)?;
        for at in (low..high).rev() {
            let element = self.element(&values[at as usize], rest)?;
            chosen = self.chosen(Binary::Eq, index, at, &element, &chosen)?;
        }
        Ok(chosen)
    }

    fn element(&mut self, value: &Value, rest: &[Term]) -> Result<Term, String> {
        if self.program.exprs.len() > super::MOST_EXPRESSIONS {
            return Err("this choice is too large".into());
        }
        self.steps += 1;
        let element = self.choose(value, rest)?;
        if let Term::Const(Value::Real(value)) = element {
            arithmetic::check_single(value)?;
        }
        Ok(element)
    }

    /// `if index op position { x } else { y }`.
    fn chosen(
        &mut self,
        op: Binary,
        index: &Index,
        position: i64,
        x: &Term,
        y: &Term,
    ) -> Result<Term, String> {
        let exprs = &mut self.program.exprs;
        let (number, wanted) = (exprs.add(te::Expr::Number(index.clone())), exprs.constant(position as f64));
        let here = exprs.binary(op, number, wanted);
        operators::select(&mut self.program, here, x, y)
    }

    /// `x[...] else value`.
    fn fill_term(&mut self, read: &Expr, outside: &Expr) -> Outcome<Term> {
        let fill = match evaluate(self, outside)? {
            Value::Int(value) => value as f64,
            Value::Real(value) => value,
            value => return Err(at(format!("this is {}, not a number", value.kind()), outside.span)),
        };
        arithmetic::check_single(fill).map_err(|message| at(message, outside.span))?;
        match &read.kind {
            ExprKind::Index { base, indices } => {
                if let ExprKind::Name(name) = &base.kind
                    && let Some(Symbol::Tensor(tensor)) = self.names.get(name)
                {
                    integers::check_fill(self.program.tensors[*tensor].dtype, fill, outside.span)?;
                }
                self.index_term(base, indices, Some(fill), read.span)
            }
            _ => Err(at("`else` follows the read of a tensor", read.span)),
        }
    }

    fn read(
        &mut self,
        tensor: Tensor,
        index: Vec<Index>,
        fill: Option<f64>,
        name: &str,
        span: Span,
    ) -> Outcome<Term> {
        let data = &self.program.tensors[tensor];
        let kind = Kind::of(data.dtype);
        if data.shape.len() != index.len() {
            let (axes, given) = (data.shape.len(), index.len());
            return Err(at(format!("`{name}` has {axes} axes, but {given} indices are given"), span));
        }
        let inside = self.program.in_bounds(tensor, &index);
        if !inside && fill.is_none() {
            return Err(self.out_of_bounds(tensor, &index, name, span));
        }
        index::check_reach(&index, &data.shape, &self.program.axes).map_err(|message| at(message, span))?;
        let fill = fill.filter(|_| !inside).map(te::Real::from);
        Ok(Term::Scalar(self.program.exprs.add(te::Expr::Read { tensor, index, fill }), kind))
    }

    fn out_of_bounds(&self, tensor: Tensor, index: &[Index], name: &str, span: Span) -> Diagnostic {
        let shape = &self.program.tensors[tensor].shape;
        let mut error = at(format!("this read of `{name}` may lie outside"), span);
        for (axis, (extent, index)) in shape.iter().zip(index).enumerate() {
            let (low, high) = index.range(&self.program.axes);
            if low < 0 || high >= *extent {
                error = error.note(format!(
                    "axis {axis} has {extent} elements, 0 to {}, and the index runs from {low} to {high}",
                    extent - 1
                ));
            }
        }
        error.help(format!("say what lies outside: `{name}[...] else 0`"))
    }

    fn reduce_term(&mut self, op: ReduceOp, binders: &[Binder], body: &Expr) -> Outcome<Term> {
        let (depth, mut axes, mut count) = (self.axes.len(), Vec::new(), 1_i64);
        for (name, extent) in self.bounds(binders)? {
            count = count.saturating_mul(extent);
            let index = if extent == 1 {
                Index::from(0)
            } else {
                axes.push(self.program.axis(&name, extent));
                Index::from(axes[axes.len() - 1])
            };
            self.axes.push((name, index));
        }
        if count > MOST_ELEMENTS {
            return Err(at("this reduction has more than 2^31 elements", body.span));
        }
        let result = self.expression(body);
        self.axes.truncate(depth);
        let (body_id, kind) = result?;
        if kind == Kind::Bool {
            return Err(at(format!("`{}` joins numbers, not truth values", op.word()), body.span)
                .help("write `if condition { 1 } else { 0 }`"));
        }
        Ok(self.reduced(op, axes, count, body_id, kind))
    }

    fn reduced(&mut self, op: ReduceOp, axes: Vec<te::Axis>, count: i64, body: ExprId, kind: Kind) -> Term {
        let exprs = &mut self.program.exprs;
        let mut join = |op| if axes.is_empty() { body } else { exprs.reduce(op, axes.clone(), body) };
        match op {
            ReduceOp::Sum => Term::Scalar(join(Reduction::Sum), kind),
            ReduceOp::Prod => Term::Scalar(join(Reduction::Prod), kind),
            ReduceOp::Max => Term::Scalar(join(Reduction::Max), kind),
            ReduceOp::Min => Term::Scalar(join(Reduction::Min), kind),
            ReduceOp::Mean => {
                let total = join(Reduction::Sum);
                let count = exprs.constant(count as f64);
                Term::Scalar(exprs.binary(Binary::Div, total, count), Kind::Float)
            }
        }
    }

    fn if_term(&mut self, choice: &IfExpr) -> Outcome<Term> {
        match self.term(&choice.condition)? {
            Term::Const(Value::Bool(true)) => self.block_term(&choice.then),
            Term::Const(Value::Bool(false)) => self.else_term(choice),
            Term::Scalar(condition, Kind::Bool) => {
                let (x, y) = (self.block_term(&choice.then)?, self.else_term(choice)?);
                check_single(&x, choice.then.span)?;
                check_single(&y, choice.span)?;
                operators::select(&mut self.program, condition, &x, &y)
                    .map_err(|message| at(message, choice.span))
            }
            Term::Const(_) | Term::Index(_) | Term::Scalar(..) => {
                Err(at("a condition is a truth value", choice.condition.span))
            }
        }
    }

    fn else_term(&mut self, choice: &IfExpr) -> Outcome<Term> {
        match &choice.otherwise {
            Some(Else::If(next)) => self.if_term(next),
            Some(Else::Block(block)) => self.block_term(block),
            None => Err(at("in an equation `if` needs an `else`", choice.span)),
        }
    }

    fn block_term(&mut self, block: &Block) -> Outcome<Term> {
        match (&block.tail, block.stmts.first()) {
            (_, Some(stmt)) => Err(at("a branch in an equation is one expression", stmt.span)),
            (Some(tail), None) => self.term(tail),
            (None, None) => Err(at("this branch has no value", block.span)),
        }
    }
}

/// A checked index for the outside.
pub(super) fn flat(indices: &[Index], shape: &[i64], axes: &te::Axes) -> Result<Index, String> {
    let mut flat = Index::from(0);
    for (index, extent) in indices.iter().zip(shape) {
        flat = index::add_scaled(index, &flat, *extent, axes)?;
    }
    Ok(flat)
}
