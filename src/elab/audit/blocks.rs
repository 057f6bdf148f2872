//! Statements and expressions of blocks, and the constants of ops.

use std::collections::HashMap;

use super::{Audit, Known, Place};
use crate::base::span::Span;
use crate::elab::evaluate::{at, element, number};
use crate::elab::show::show_declared;
use crate::elab::value::Value;
use crate::elab::{arithmetic, functions};
use crate::syntax::ast::{
    Arg, Assert, BinaryOp, Block, DeclareKind, Else, Expr, ExprKind, IfExpr, Label, Name, Stmt, StmtKind,
    TypeExpr, TypeKind,
};
use crate::te::DType;
/// Longer lists are not followed.
const MOST_KNOWN: usize = 1024;

impl Audit<'_> {
    /// A block in a scope of its own, and its value.
    pub(super) fn block(&mut self, block: &Block, place: Place) -> Known {
        self.scopes.push(HashMap::new());
        for stmt in &block.stmts {
            if place == Place::Constant {
                self.report(at("statements do not stand here", stmt.span));
                break;
            }
            self.statement(stmt);
        }
        let value = match &block.tail {
            Some(tail) => self.expr(tail, place),
            None => Known::Value(Value::None),
        };
        self.scopes.pop();
        value
    }

    fn statement(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Let { targets, value } => self.let_statement(targets, value),
            StmtKind::Declare { kind, name, ty, init } => self.declaration(*kind, name, ty, init),
            StmtKind::Assign { name, value } => {
                self.expr(value, Place::Block);
                if self.lookup(&name.text).is_none() {
                    let error = at(format!("no variable is named `{}`", name.text), name.span);
                    self.report(error.help(format!("write `let {} = ...;`", name.text)));
                }
            }
            StmtKind::Update { name, value } => {
                self.update(name);
                self.expr(value, Place::Block);
            }
            StmtKind::For { var, lo, hi, body } => {
                self.extent(lo, Place::Block);
                self.extent(hi, Place::Block);
                self.scopes.push(HashMap::new());
                self.bind(&var.text, Known::Unknown);
                body.iter().for_each(|stmt| self.statement(stmt));
                self.scopes.pop();
            }
            StmtKind::Assert(assertion) => self.assertion(assertion, Place::Block),
            StmtKind::If(choice) => drop(self.choice(choice, Place::Block)),
        }
    }

    fn let_statement(&mut self, targets: &[Name], value: &Expr) {
        let known = self.expr(value, Place::Block);
        if let [target] = targets {
            if let Known::Results(count) = known {
                let error = at(format!("this op has {count} results"), value.span);
                self.report(error.help("name all of them: `let (a, b) = ...;`"));
            }
            return self.bind(&target.text, known);
        }
        let found = match known {
            Known::Results(count) if count != targets.len() => Some(format!("{count} results")),
            Known::Value(value) => Some(value.kind()),
            _ => None,
        };
        if let Some(found) = found {
            self.report(at(format!("{} names for {found}", targets.len()), value.span));
        }
        for target in targets {
            self.bind(&target.text, Known::Unknown);
        }
    }

    fn declaration(&mut self, kind: DeclareKind, name: &Name, ty: &TypeExpr, init: &Expr) {
        match &ty.kind {
            TypeKind::Tensor { dtype: DType::F32, dims } => {
                for dim in dims.iter().flatten() {
                    self.extent(dim, Place::Block);
                }
            }
            TypeKind::Tensor { .. } | TypeKind::Named(_) => {
                let shown = show_declared(ty);
                let message = format!("parameters and states are tensors of f32, not {shown}");
                self.report(at(message, ty.span));
            }
        }
        if let Known::Value(value) = self.expr(init, Place::Block)
            && !matches!(value, Value::Scheme(_))
            && value.as_real().is_none()
        {
            let error = at(format!("an initialiser is needed, not {}", value.kind()), init.span);
            self.computed(Err(error));
        }
        let known = if kind == DeclareKind::Param { Known::Param } else { Known::Unknown };
        self.bind(&name.text, known);
    }

    fn update(&mut self, name: &Name) {
        if matches!(self.lookup(&name.text), None | Some(Known::Value(_) | Known::Param)) {
            let error = at(format!("no state is named `{}`", name.text), name.span);
            self.report(error.note("`<-` gives the next value of what `state` declares in the same block"));
        }
    }

    pub(super) fn assertion(&mut self, assertion: &Assert, place: Place) {
        self.condition(&assertion.condition, place);
        self.text(&assertion.message, place);
    }

    /// A condition; its value where it is known.
    fn condition(&mut self, expr: &Expr, place: Place) -> Option<bool> {
        match self.expr(expr, place) {
            Known::Value(Value::Bool(value)) => Some(value),
            Known::Value(value) => {
                let error = at(format!("a condition is a truth value, not {}", value.kind()), expr.span);
                self.computed(Err(error));
                None
            }
            _ => None,
        }
    }

    /// Both branches; constants do not matter in one that is never taken.
    fn choice(&mut self, choice: &IfExpr, place: Place) -> Known {
        let condition = self.condition(&choice.condition, place);
        let dead = self.dead;
        self.dead = dead || condition == Some(false);
        let then = self.block(&choice.then, place);
        self.dead = dead || condition == Some(true);
        let otherwise = match &choice.otherwise {
            None => Known::Value(Value::None),
            Some(Else::Block(block)) => self.block(block, place),
            Some(Else::If(next)) => self.choice(next, place),
        };
        self.dead = dead;
        match condition {
            Some(true) => then,
            Some(false) => otherwise,
            None => Known::Unknown,
        }
    }

    /// An expression of a block, or one that is known at compile time.
    pub(super) fn expr(&mut self, expr: &Expr, place: Place) -> Known {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Number { value, integer } => {
                let value = number(*value, *integer, span);
                self.computed(value)
            }
            ExprKind::Bool(value) => Known::Value(Value::Bool(*value)),
            ExprKind::Infinity => Known::Value(Value::Real(f64::INFINITY)),
            ExprKind::String(text) => Known::Value(Value::String(text.clone())),
            ExprKind::Name(name) => self.name(name, span, place),
            ExprKind::List(items) => self.list(items, place),
            ExprKind::Call(call) => self.call(call, None, None, place),
            ExprKind::Pipe { .. } | ExprKind::As { .. } => self.pipe(expr, None, place),
            ExprKind::Index { base, indices } => self.element(base, indices, span, place),
            ExprKind::Unary { op, operand } => match self.expr(operand, place) {
                Known::Value(value) => {
                    self.computed(arithmetic::unary(*op, &value).map_err(|message| at(message, span)))
                }
                _ => Known::Unknown,
            },
            ExprKind::Binary { op, left, right } => self.binary(*op, left, right, span, place),
            ExprKind::If(choice) => self.choice(choice, place),
            ExprKind::Field { .. } => self.misplaced("`.` does not stand here".into(), span),
            ExprKind::Fill { .. } => {
                self.misplaced("`else` after a read stands only in the equations of an op".into(), span)
            }
            ExprKind::Reduce { op, .. } => {
                self.misplaced(format!("`{}[...]` stands only in the equations of an op", op.word()), span)
            }
        }
    }

    pub(super) fn misplaced(&mut self, message: String, span: Span) -> Known {
        self.report(at(message, span));
        Known::Unknown
    }

    fn name(&mut self, name: &str, span: Span, place: Place) -> Known {
        match self.lookup(name) {
            Some(Known::Tensor(_)) if place == Place::Constant => {
                let message = format!("`{name}` is a tensor, and what stands here is known at compile time");
                return self.misplaced(message, span);
            }
            Some(known) => return known.clone(),
            None => {}
        }
        if name == "none" {
            return Known::Value(Value::None);
        }
        let plain = functions::find(name)
            .filter(|function| function.parameters.iter().all(|parameter| parameter.default.is_some()));
        if plain.is_some() {
            return Known::Unknown;
        }
        if place == Place::Block && name == "training" {
            return Known::Unknown;
        }
        if self.axes.iter().any(|axis| axis == name) {
            let message = format!("`{name}` is an axis, and what stands here is known at compile time");
            return self.misplaced(message, span);
        }
        self.unknown_name(name, span);
        Known::Unknown
    }

    fn list(&mut self, items: &[Arg], place: Place) -> Known {
        let mut values = Some(Vec::new());
        for item in items {
            if let Some(name) = &item.name {
                self.report(at("this list has no keys", name.span));
            }
            match (self.expr(&item.value, place), &mut values) {
                (Known::Value(value), Some(values)) => values.push(value),
                _ => values = None,
            }
        }
        let list = values.map(Value::list).filter(|list| list.size() <= MOST_KNOWN);
        list.map_or(Known::Unknown, Known::Value)
    }

    /// A chain of calls and reshapes; `label` is the name after it.
    fn pipe(&mut self, expr: &Expr, label: Option<&Label>, place: Place) -> Known {
        match &expr.kind {
            ExprKind::Pipe { value, call } => {
                let piped = self.pipe(value, None, place);
                self.call(call, Some(piped), label, place)
            }
            ExprKind::As { expr, label: Label::Type(ty) } => {
                self.pipe(expr, None, place);
                self.reshape(ty, place);
                Known::Unknown
            }
            ExprKind::As { expr, label } => self.pipe(expr, Some(label), place),
            ExprKind::Call(call) => self.call(call, None, label, place),
            _ => self.expr(expr, place),
        }
    }

    fn reshape(&mut self, ty: &TypeExpr, place: Place) {
        if place == Place::Constant {
            return self.report(at("a reshape does not stand here", ty.span));
        }
        match &ty.kind {
            TypeKind::Tensor { dims: Some(dims), .. } => dims.iter().for_each(|dim| self.extent(dim, place)),
            _ => self.report(at("a reshape names all axes: `as f32[N, C]`", ty.span)),
        }
    }

    fn element(&mut self, base: &Expr, indices: &[Expr], span: Span, place: Place) -> Known {
        let mut value = self.expr(base, place);
        for index in indices {
            let position = self.expr(index, place);
            value = match (value, position) {
                (Known::Value(list), Known::Value(position)) => {
                    self.computed(element(&list, &position).map_err(|message| at(message, span)))
                }
                _ => Known::Unknown,
            };
        }
        value
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr, span: Span, place: Place) -> Known {
        let x = self.expr(left, place);
        let decided = matches!(
            (op, &x),
            (BinaryOp::And, Known::Value(Value::Bool(false)))
                | (BinaryOp::Or, Known::Value(Value::Bool(true)))
        );
        let dead = self.dead;
        self.dead = dead || decided;
        let y = self.expr(right, place);
        self.dead = dead;
        match (x, y) {
            (x, _) if decided => x,
            (Known::Value(x), Known::Value(y)) => {
                self.computed(arithmetic::binary(op, &x, &y).map_err(|message| at(message, span)))
            }
            _ => Known::Unknown,
        }
    }
}
