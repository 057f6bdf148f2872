//! Ops: their statements, and the scalar expressions of equations.

use std::collections::HashSet;

use super::calls::Given;
use super::{Audit, Known, Place};
use crate::base::span::Span;
use crate::elab::evaluate::{at, element};
use crate::elab::module::Callable;
use crate::elab::show::show_declared;
use crate::elab::value::Value;
use crate::elab::{arithmetic, functions, op};
use crate::syntax::ast::{
    BinaryOp, Binder, Block, Call, Else, Expr, ExprKind, IfExpr, Name, OpItem, OpStmtKind, TypeExpr, TypeKind,
};

impl Audit<'_> {
    pub(super) fn op(&mut self, item: &OpItem) {
        self.assigned = HashSet::new();
        self.parameters(&item.name, &item.params, Place::Constant);
        for (at_result, (name, ty)) in item.results.iter().enumerate() {
            self.result(ty);
            if item.results[..at_result].iter().any(|(other, _)| other.text == name.text) {
                self.report(at(format!("two results are named `{}`", name.text), name.span));
            }
        }
        let scalar = op::is_scalar(item);
        let mut before: Option<&Name> = None;
        for stmt in &item.body {
            before = match &stmt.kind {
                OpStmtKind::Let { name, value } => {
                    let known = self.expr(value, Place::Constant);
                    self.bind(&name.text, known);
                    None
                }
                OpStmtKind::Assert(assertion) => {
                    self.assertion(assertion, Place::Constant);
                    None
                }
                OpStmtKind::Equation { name, binders, body } => {
                    let again = before.is_some_and(|before| before.text == name.text);
                    self.equation(item, name, (binders, body), again && !scalar);
                    Some(name)
                }
            };
        }
        let defined = defined_by(item);
        for (name, _) in &item.results {
            if !defined.contains(name.text.as_str()) {
                self.report(at(format!("the result `{}` has no equation", name.text), name.span));
            }
        }
    }

    fn result(&mut self, ty: &TypeExpr) {
        match &ty.kind {
            TypeKind::Tensor { dims, .. } => {
                dims.iter().flatten().for_each(|dim| self.extent(dim, Place::Constant));
            }
            TypeKind::Named(_) => self.report(at("a result is a tensor", ty.span)),
        }
    }

    /// An equation; `again` says that the one before it is of the same tensor.
    fn equation(&mut self, item: &OpItem, name: &Name, (binders, body): (&[Binder], &Expr), again: bool) {
        let declared = item.results.iter().find(|(result, _)| result.text == name.text);
        if op::is_scalar(item)
            && let Some(binder) = binders.first()
        {
            return self.report(at(format!("`{}` has no axes", name.text), binder.index.span));
        }
        if !again && self.lookup(&name.text).is_some() {
            let error = at(format!("`{}` is already defined", name.text), name.span);
            let note = "the equations of one tensor stand side by side";
            return self.report(if op::is_scalar(item) { error } else { error.note(note) });
        }
        match declared {
            None if again => {
                let error = at(format!("`{}` is no result, so it has one equation", name.text), name.span);
                return self
                    .report(error.help("only results, whose shapes are declared, are given in pieces"));
            }
            Some((_, ty)) => self.check_axes(name, ty, binders.len()),
            None => {}
        }
        self.left_side(binders, declared.is_some());
        if declared.is_none() {
            self.open_axes(binders, body);
        }
        self.term(body);
        self.axes.clear();
        let defined = if op::is_scalar(item) { Known::Element } else { Known::Tensor(binders.len()) };
        self.bind(&name.text, defined);
    }

    fn check_axes(&mut self, name: &Name, ty: &TypeExpr, given: usize) {
        let TypeKind::Tensor { dims, .. } = &ty.kind else { return };
        if dims.as_ref().map_or(0, Vec::len) != given {
            let shown = show_declared(ty);
            let message = format!("`{}` is {shown}, but has {given} indices here", name.text);
            self.report(at(message, name.span));
        }
    }

    /// Brings the axes of a left side into scope.
    fn left_side(&mut self, binders: &[Binder], declared: bool) {
        for binder in binders {
            if let Some(bound) = &binder.bound {
                self.extent(bound, Place::Constant);
            }
            let mut names = Vec::new();
            match &binder.index.kind {
                ExprKind::Name(name) => names.push(name.as_str()),
                _ if !declared => {
                    self.report(at("the axes of an intermediate are plain names", binder.index.span));
                }
                _ => names_in(&binder.index, &mut names),
            }
            let plain = matches!(binder.index.kind, ExprKind::Name(_));
            names.retain(|name| plain || self.lookup(name).is_none());
            names.dedup();
            for name in names {
                if self.axes.iter().any(|axis| axis == name) {
                    self.report(at(format!("axis `{name}` is bound twice"), binder.index.span));
                }
                self.axes.push(name.to_owned());
            }
        }
    }

    /// Errors of axes without a bound that no read mentions.
    fn open_axes(&mut self, binders: &[Binder], body: &Expr) {
        let mut read = Vec::new();
        names_in_reads(body, &mut read);
        for binder in binders {
            let ExprKind::Name(name) = &binder.index.kind else { continue };
            if binder.bound.is_none() && !read.contains(&name.as_str()) {
                let error = at(format!("the extent of axis `{name}` is not known"), binder.index.span);
                self.report(error.help(format!("give a bound: `{name} < ...`")));
            }
        }
    }

    /// A scalar expression of an equation.
    fn term(&mut self, expr: &Expr) -> Known {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Number { .. } | ExprKind::Bool(_) | ExprKind::Infinity => {
                self.expr(expr, Place::Constant)
            }
            ExprKind::String(_) | ExprKind::List(_) => self.expr(expr, Place::Constant),
            ExprKind::Name(name) => self.name_term(name, span),
            ExprKind::Call(call) => self.call_term(call),
            ExprKind::Index { base, indices } => self.read(base, indices, span),
            ExprKind::Fill { read, outside } => {
                self.expr(outside, Place::Constant);
                match &read.kind {
                    ExprKind::Index { base, indices } => self.read(base, indices, read.span),
                    _ => self.misplaced("`else` follows the read of a tensor".into(), read.span),
                }
            }
            ExprKind::Reduce { binders, body, .. } => self.reduction(binders, body),
            ExprKind::Unary { op, operand } => match self.term(operand) {
                Known::Value(value) => {
                    self.computed(arithmetic::unary(*op, &value).map_err(|message| at(message, span)))
                }
                known => of_elements(&[known]),
            },
            ExprKind::Binary { op, left, right } => self.binary_term(*op, left, right, span),
            ExprKind::If(choice) => self.choice_term(choice),
            ExprKind::Pipe { .. } | ExprKind::As { .. } | ExprKind::Field { .. } => {
                self.misplaced("this does not stand in an equation".into(), span)
            }
        }
    }

    fn binary_term(&mut self, op: BinaryOp, left: &Expr, right: &Expr, span: Span) -> Known {
        match (self.term(left), self.term(right)) {
            (Known::Value(x), Known::Value(y)) => {
                self.computed(arithmetic::binary(op, &x, &y).map_err(|message| at(message, span)))
            }
            (x, y) => of_elements(&[x, y]),
        }
    }

    fn name_term(&mut self, name: &str, span: Span) -> Known {
        if self.axes.iter().any(|axis| axis == name) {
            return Known::Unknown;
        }
        match self.lookup(name) {
            Some(Known::Tensor(0)) => Known::Element,
            Some(Known::Tensor(axes)) => {
                let message = format!("`{name}` has {axes} axes, but 0 indices are given");
                self.misplaced(message, span)
            }
            Some(known) => known.clone(),
            None => {
                self.unknown_name(name, span);
                Known::Unknown
            }
        }
    }

    fn read(&mut self, base: &Expr, indices: &[Expr], span: Span) -> Known {
        if let ExprKind::Name(name) = &base.kind
            && !self.axes.iter().any(|axis| axis == name)
            && let Some(Known::Tensor(axes)) = self.lookup(name)
        {
            let (axes, given) = (*axes, indices.len());
            indices.iter().for_each(|index| self.index(index));
            if axes != given {
                let message = format!("`{name}` has {axes} axes, but {given} indices are given");
                self.report(at(message, span));
            }
            return Known::Element;
        }
        let mut list = self.term(base);
        for position in indices {
            list = match (list, self.term(position)) {
                (Known::Value(list), Known::Value(position)) => {
                    self.computed(element(&list, &position).map_err(|message| at(message, span)))
                }
                _ => Known::Unknown,
            };
        }
        list
    }

    /// An index of a read.
    fn index(&mut self, index: &Expr) {
        let wrong = match self.term(index) {
            Known::Element => true,
            Known::Value(value) => !matches!(value, Value::Int(_)),
            _ => false,
        };
        if wrong {
            self.report(at("an index is an integer of axes and constants", index.span));
        }
    }

    fn reduction(&mut self, binders: &[Binder], body: &Expr) -> Known {
        let depth = self.axes.len();
        for binder in binders {
            if let Some(bound) = &binder.bound {
                self.extent(bound, Place::Constant);
            }
            match &binder.index.kind {
                ExprKind::Name(name) => self.axes.push(name.clone()),
                _ => self.report(at("a reduction binds plain names", binder.index.span)),
            }
        }
        self.open_axes(binders, body);
        self.term(body);
        self.axes.truncate(depth);
        Known::Element
    }

    fn choice_term(&mut self, choice: &IfExpr) -> Known {
        let condition = self.term(&choice.condition);
        let decided = match condition {
            Known::Value(Value::Bool(value)) => Some(value),
            Known::Value(_) => {
                self.report(at("a condition is a truth value", choice.condition.span));
                None
            }
            _ => None,
        };
        let dead = self.dead;
        self.dead = dead || decided == Some(false);
        self.branch(&choice.then);
        self.dead = dead || decided == Some(true);
        match &choice.otherwise {
            Some(Else::Block(block)) => self.branch(block),
            Some(Else::If(next)) => drop(self.choice_term(next)),
            None => {
                let error = at("in an equation `if` needs an `else`", choice.span);
                self.computed(Err(error));
            }
        }
        self.dead = dead;
        Known::Unknown
    }

    fn branch(&mut self, block: &Block) {
        match (&block.tail, block.stmts.first()) {
            (_, Some(stmt)) => self.report(at("a branch in an equation is one expression", stmt.span)),
            (Some(tail), None) => drop(self.term(tail)),
            (None, None) => self.report(at("this branch has no value", block.span)),
        }
    }

    fn call_term(&mut self, call: &Call) -> Known {
        let callee = &call.callee;
        let mut given = Vec::new();
        for arg in &call.args {
            let known = self.term(&arg.value);
            given.push(Given::of(arg, known));
        }
        if callee.text == "uniform" && given.is_empty() {
            return Known::Element;
        }
        let result = of_elements(&given.iter().map(|given| given.known.clone()).collect::<Vec<_>>());
        let item = self.module.find(&callee.text, false);
        let own = item.filter(|item| !self.module.in_library(item.span().file));
        let is_function = functions::find(&callee.text).is_some() || op::is_elementwise(&callee.text);
        match own.or(item.filter(|_| !is_function)) {
            // In its own equations an op of a function's name is the function.
            Some(_) if is_function => {}
            Some(Callable::Op(item)) if op::is_scalar(item) => {
                self.item_call(Callable::Op(item), callee, &given);
                if item.results.len() > 1 {
                    let message = format!("`{}` has several results", item.name.text);
                    self.report(at(message, callee.span));
                }
            }
            Some(_) => self.report(op::no_scalar_op(callee)),
            None => {
                return match self.function_call(callee, given, false) {
                    Known::Unknown => result,
                    known => known,
                };
            }
        }
        result
    }
}

/// What is computed of these: an element where one of them is.
fn of_elements(parts: &[Known]) -> Known {
    let differs = |known: &Known| matches!(known, Known::Element);
    if parts.iter().any(differs) { Known::Element } else { Known::Unknown }
}

/// The tensors that have an equation.
fn defined_by(item: &OpItem) -> HashSet<&str> {
    let names = item.body.iter().filter_map(|stmt| match &stmt.kind {
        OpStmtKind::Equation { name, .. } => Some(name.text.as_str()),
        OpStmtKind::Let { .. } | OpStmtKind::Assert(_) => None,
    });
    names.collect()
}

/// All names in an expression.
fn names_in<'a>(expr: &'a Expr, names: &mut Vec<&'a str>) {
    visit(expr, &mut |expr| {
        if let ExprKind::Name(name) = &expr.kind {
            names.push(name);
        }
    });
}

/// All names in the indices of an expression's reads.
fn names_in_reads<'a>(expr: &'a Expr, names: &mut Vec<&'a str>) {
    visit(expr, &mut |expr| {
        if let ExprKind::Index { indices, .. } = &expr.kind {
            indices.iter().for_each(|index| names_in(index, names));
        }
    });
}

/// Calls `see` for an expression and all in it.
fn visit<'a>(expr: &'a Expr, see: &mut dyn FnMut(&'a Expr)) {
    see(expr);
    match &expr.kind {
        ExprKind::Call(call) => call.args.iter().for_each(|arg| visit(&arg.value, see)),
        ExprKind::List(items) => items.iter().for_each(|item| visit(&item.value, see)),
        ExprKind::Index { base, indices } => {
            visit(base, see);
            indices.iter().for_each(|index| visit(index, see));
        }
        ExprKind::Fill { read, outside } => {
            visit(read, see);
            visit(outside, see);
        }
        ExprKind::Reduce { body, .. } => visit(body, see),
        ExprKind::Unary { operand, .. } => visit(operand, see),
        ExprKind::Binary { left, right, .. } => {
            visit(left, see);
            visit(right, see);
        }
        ExprKind::If(choice) => visit_choice(choice, see),
        ExprKind::Number { .. }
        | ExprKind::Bool(_)
        | ExprKind::Infinity
        | ExprKind::String(_)
        | ExprKind::Name(_)
        | ExprKind::Pipe { .. }
        | ExprKind::As { .. }
        | ExprKind::Field { .. } => {}
    }
}

fn visit_choice<'a>(choice: &'a IfExpr, see: &mut dyn FnMut(&'a Expr)) {
    visit(&choice.condition, see);
    choice.then.tail.iter().for_each(|tail| visit(tail, see));
    match &choice.otherwise {
        Some(Else::Block(block)) => block.tail.iter().for_each(|tail| visit(tail, see)),
        Some(Else::If(next)) => visit_choice(next, see),
        None => {}
    }
}
