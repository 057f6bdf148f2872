//! Expressions as canonical text, with no more parentheses than the grammar needs.

use super::ast::*;
use super::layout::{Doc, PipeStep, group, nest, text};
use super::literal;
use super::print::{Body, Printer};

/// How tightly an expression holds together, in the order of the grammar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Expr,
    Pipe,
    Or,
    And,
    Comparison,
    Sum,
    Term,
    Unary,
    Fill,
    Postfix,
}

fn level(expr: &Expr) -> Level {
    match &expr.kind {
        ExprKind::If(_) | ExprKind::Reduce { .. } => Level::Expr,
        ExprKind::Pipe { .. } => Level::Pipe,
        ExprKind::As { expr, .. } if matches!(expr.kind, ExprKind::Pipe { .. }) => Level::Pipe,
        ExprKind::Binary { op, .. } => binary_level(*op),
        ExprKind::Unary { .. } => Level::Unary,
        ExprKind::Fill { .. } => Level::Fill,
        ExprKind::Number { .. }
        | ExprKind::Bool(_)
        | ExprKind::Infinity
        | ExprKind::String(_)
        | ExprKind::Name(_)
        | ExprKind::List(_)
        | ExprKind::Call(_)
        | ExprKind::As { .. }
        | ExprKind::Index { .. }
        | ExprKind::Field { .. } => Level::Postfix,
    }
}

fn binary_level(op: BinaryOp) -> Level {
    match op {
        BinaryOp::Or => Level::Or,
        BinaryOp::And => Level::And,
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => {
            Level::Comparison
        }
        BinaryOp::Add | BinaryOp::Sub => Level::Sum,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => Level::Term,
    }
}

/// The level of the right operand, and of the left one where operators of a level do not chain.
fn tighter(level: Level) -> Level {
    match level {
        Level::Expr => Level::Pipe,
        Level::Pipe => Level::Or,
        Level::Or => Level::And,
        Level::And => Level::Comparison,
        Level::Comparison => Level::Sum,
        Level::Sum => Level::Term,
        Level::Term => Level::Unary,
        Level::Unary => Level::Fill,
        Level::Fill | Level::Postfix => Level::Postfix,
    }
}

impl Printer<'_> {
    /// An expression where any may stand.
    pub(super) fn expr(&mut self, expr: &Expr) -> Doc {
        self.at(Level::Expr, expr)
    }

    /// An expression where only those of a level may stand without parentheses.
    fn at(&mut self, least: Level, expr: &Expr) -> Doc {
        if level(expr) >= least { self.bare(expr) } else { self.parenthesised(expr) }
    }

    fn parenthesised(&mut self, expr: &Expr) -> Doc {
        let mut parts = self.comments_before(expr.span.start);
        parts.extend([text("("), self.bare(expr), text(")")]);
        Doc::Concat(parts)
    }

    fn bare(&mut self, expr: &Expr) -> Doc {
        match &expr.kind {
            ExprKind::Number { value, integer } => self.literal(expr.span, || number(*value, *integer)),
            ExprKind::Bool(value) => self.leaf(expr.span, if *value { "true" } else { "false" }),
            ExprKind::Infinity => self.leaf(expr.span, "inf"),
            ExprKind::String(value) => self.literal(expr.span, || literal::quote(value)),
            ExprKind::Name(name) => self.leaf(expr.span, name),
            ExprKind::List(args) => {
                let open = self.leaf(expr.span, "");
                let items = self.args(args, " = ");
                let comments = self.comments_before(expr.span.end.saturating_sub(1));
                Doc::Concat(vec![open, self.list("[", items, comments, "]")])
            }
            ExprKind::Call(call) => self.call(call, expr.span.end),
            ExprKind::Pipe { .. } => self.pipe(expr),
            ExprKind::As { expr: inner, .. } if matches!(inner.kind, ExprKind::Pipe { .. }) => {
                self.pipe(expr)
            }
            ExprKind::As { expr, label } => {
                Doc::Concat(vec![self.at(Level::Postfix, expr), text(" as "), self.label(label)])
            }
            ExprKind::Index { base, indices } => self.index(base, indices),
            ExprKind::Field { base, name } => {
                Doc::Concat(vec![self.at(Level::Postfix, base), text("."), self.name(name)])
            }
            ExprKind::Fill { read, outside } => self.fill(read, outside),
            ExprKind::Reduce { op, binders, body } => self.reduce(expr, *op, binders, body),
            ExprKind::Unary { op, operand } => {
                let sign = self.leaf(expr.span, op.sign());
                Doc::Concat(vec![sign, self.at(Level::Unary, operand)])
            }
            ExprKind::Binary { .. } => self.binary(expr),
            ExprKind::If(branches) => self.branches(branches),
        }
    }

    fn index(&mut self, base: &Expr, indices: &[Expr]) -> Doc {
        let ends_in_reduction = ends_in_reduction(base);
        let base = if ends_in_reduction { self.parenthesised(base) } else { self.at(Level::Postfix, base) };
        Doc::Concat(vec![base, self.tight_list(indices)])
    }

    /// `read else outside`, where only a minus may stand before what lies outside.
    fn fill(&mut self, read: &Expr, outside: &Expr) -> Doc {
        let read = self.at(Level::Postfix, read);
        let outside = match &outside.kind {
            ExprKind::Unary { op: UnaryOp::Neg, operand } => {
                Doc::Concat(vec![text("-"), self.at(Level::Postfix, operand)])
            }
            _ => self.at(Level::Postfix, outside),
        };
        Doc::Concat(vec![read, text(" else "), outside])
    }

    fn reduce(&mut self, expr: &Expr, op: ReduceOp, binders: &[Binder], body: &Expr) -> Doc {
        let word = self.leaf(expr.span, op.word());
        let binders = self.binders(binders);
        group(vec![word, binders, nest(vec![Doc::Line(" "), self.expr(body)])])
    }

    pub(super) fn binders(&mut self, binders: &[Binder]) -> Doc {
        let docs = binders.iter().map(|binder| self.binder(binder)).collect();
        self.list("[", docs, Vec::new(), "]")
    }

    fn binder(&mut self, binder: &Binder) -> Doc {
        let tight = std::mem::replace(&mut self.tight, true);
        let mut parts = vec![self.at(Level::Sum, &binder.index)];
        if let Some(bound) = &binder.bound {
            parts.extend([text(" < "), self.at(Level::Sum, bound)]);
        }
        self.tight = tight;
        Doc::Concat(parts)
    }

    /// `[i, 2*j+1]`
    pub(super) fn tight_list(&mut self, items: &[Expr]) -> Doc {
        let tight = std::mem::replace(&mut self.tight, true);
        let docs = items.iter().map(|item| self.expr(item)).collect();
        self.tight = tight;
        self.list("[", docs, Vec::new(), "]")
    }

    /// An `if` with all its branches: all on one line, or each entry on its own.
    pub(super) fn branches(&mut self, branches: &IfExpr) -> Doc {
        let inline = self.on_one_line(branches.span, is_small(branches));
        let layout = if inline { Body::Inline(" ") } else { Body::Lines };
        let tight = std::mem::replace(&mut self.tight, false);
        let mut parts = Vec::new();
        let mut branch = branches;
        loop {
            let word = self.leaf(branch.span, "if ");
            parts.extend([word, self.expr(&branch.condition), text(" "), self.block(&branch.then, layout)]);
            match &branch.otherwise {
                None => break,
                Some(Else::Block(block)) => {
                    parts.extend([text(" else "), self.block(block, layout)]);
                    break;
                }
                Some(Else::If(next)) => {
                    parts.push(text(" else "));
                    branch = next;
                }
            }
        }
        self.tight = tight;
        group(parts)
    }

    fn label(&mut self, label: &Label) -> Doc {
        match label {
            Label::Name(name) => self.name(name),
            Label::String(text) => self.text(text),
            Label::Type(ty) => self.ty(ty),
        }
    }

    /// A call, whose closing parenthesis, if it has arguments, is the last byte before `end`.
    fn call(&mut self, call: &Call, end: u32) -> Doc {
        let callee = self.name(&call.callee);
        let tight = std::mem::replace(&mut self.tight, false);
        let args = self.args(&call.args, "=");
        self.tight = tight;
        let comments = self.comments_before(end.saturating_sub(1));
        Doc::Concat(vec![callee, self.list("(", args, comments, ")")])
    }

    /// Arguments, with what stands between a name and its value.
    pub(super) fn args(&mut self, args: &[Arg], sign: &str) -> Vec<Doc> {
        let arg = |arg: &Arg| match &arg.name {
            Some(name) => Doc::Concat(vec![self.name(name), text(sign), self.expr(&arg.value)]),
            None => self.expr(&arg.value),
        };
        args.iter().map(arg).collect()
    }
}

// Chains of operators, whose left spines are taken apart without recursion.
impl Printer<'_> {
    fn binary(&mut self, expr: &Expr) -> Doc {
        let level = level(expr);
        let mut first = expr;
        let mut chain = Vec::new();
        while let ExprKind::Binary { op, left, right } = &first.kind {
            let chains = binary_level(*op) == level && (chain.is_empty() || level != Level::Comparison);
            if !chains {
                break;
            }
            chain.push((*op, &**right));
            first = left;
        }
        let least = if level == Level::Comparison { Level::Sum } else { level };
        let mut parts = vec![self.at(least, first)];
        let rest = chain.into_iter().rev().map(|(op, right)| self.operand(op, right, level)).collect();
        parts.push(nest(rest));
        group(parts)
    }

    /// `+ right`, with the space before it.
    fn operand(&mut self, op: BinaryOp, right: &Expr, level: Level) -> Doc {
        let mut parts = self.comments_before(right.span.start);
        let tight = self.tight && matches!(level, Level::Sum | Level::Term);
        let (before, behind) = if tight { ("", "") } else { (" ", " ") };
        parts.extend([Doc::Line(before), text(format!("{}{behind}", op.sign()))]);
        parts.push(self.at(tighter(level), right));
        Doc::Concat(parts)
    }

    fn pipe(&mut self, expr: &Expr) -> Doc {
        let mut value = expr;
        let mut chain = Vec::new();
        while let Some((input, call, label, end)) = pipe_step(value) {
            chain.push((call, label, end));
            value = input;
        }
        let value = self.at(Level::Pipe, value);
        let steps = chain.into_iter().rev().map(|(call, label, end)| self.step(call, label, end)).collect();
        Doc::Pipe(Box::new(value), steps)
    }

    fn step(&mut self, call: &Call, label: Option<&Label>, end: u32) -> PipeStep {
        let comments = self.comments_before(call.callee.span.start);
        let comments = (!comments.is_empty()).then_some(Doc::Concat(comments));
        let begins_line = comments.is_some() || self.step_begins_line(call.callee.span.start);
        let call = if call.args.is_empty() { self.name(&call.callee) } else { self.call(call, end) };
        let mut parts = vec![text("|> "), call];
        if let Some(label) = label {
            parts.extend([text(" as "), self.label(label)]);
        }
        PipeStep { comments, step: Doc::Concat(parts), begins_line }
    }
}

/// Whether every branch has at most one entry, which is no loop.
fn is_small(branches: &IfExpr) -> bool {
    let small = |block: &Block| {
        let has_loop = block.stmts.iter().any(|stmt| matches!(stmt.kind, StmtKind::For { .. }));
        !has_loop && block.stmts.len() + usize::from(block.tail.is_some()) <= 1
    };
    let mut branch = branches;
    loop {
        match &branch.otherwise {
            _ if !small(&branch.then) => return false,
            None => return true,
            Some(Else::Block(block)) => return small(block),
            Some(Else::If(next)) => branch = next,
        }
    }
}

/// The last step of a pipe: its input, call, label and the end of the call.
fn pipe_step(expr: &Expr) -> Option<(&Expr, &Call, Option<&Label>, u32)> {
    match &expr.kind {
        ExprKind::Pipe { value, call } => Some((value, call, None, expr.span.end)),
        ExprKind::As { expr, label } => match &expr.kind {
            ExprKind::Pipe { value, call } => Some((value, call, Some(label), expr.span.end)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether an expression's last word would begin a reduction if `[` followed.
fn ends_in_reduction(expr: &Expr) -> bool {
    let word = match &expr.kind {
        ExprKind::Name(name) => name,
        ExprKind::Field { name, .. } | ExprKind::As { label: Label::Name(name), .. } => &name.text,
        _ => return false,
    };
    literal::is_reduction(word)
}

/// A number that reads back as itself.
fn number(value: f64, integer: bool) -> String {
    if integer { format!("{value:.0}") } else { format!("{value:?}") }
}
