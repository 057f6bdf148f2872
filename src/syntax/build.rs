//! The grammar's actions that are more than a constructor, and the checks that a grammar cannot make.

use std::cell::{Cell, RefCell};

use crate::base::diagnostic::Diagnostic;
use crate::base::span::{FileId, Span};
use crate::te::DType;

use super::ast::*;
use super::literal;

/// What the parser's actions know: the text under the tokens.
pub struct Build<'a> {
    file: FileId,
    text: &'a str,
    diagnostics: RefCell<Vec<Diagnostic>>,
    /// Whether statements of the item may have been taken out.
    pub repaired: Cell<bool>,
}

impl<'a> Build<'a> {
    /// For the items of one file.
    pub fn new(file: FileId, text: &'a str) -> Build<'a> {
        Build { file, text, diagnostics: RefCell::default(), repaired: Cell::new(false) }
    }

    /// What the checks have found since the last call.
    pub fn take_diagnostics(&self) -> Vec<Diagnostic> {
        self.diagnostics.take()
    }

    fn report(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    pub fn span(&self, start: u32, end: u32) -> Span {
        Span { file: self.file, start, end }
    }

    pub fn text(&self, start: u32, end: u32) -> String {
        self.text[start as usize..end as usize].to_owned()
    }

    pub fn name(&self, start: u32, end: u32) -> Name {
        Name { text: self.text(start, end), span: self.span(start, end) }
    }

    pub fn text_literal(&self, start: u32, end: u32) -> Text {
        Text { value: literal::string(&self.text(start, end)), span: self.span(start, end) }
    }

    pub fn expr(&self, kind: ExprKind, start: u32, end: u32) -> Expr {
        Expr { kind, span: self.span(start, end) }
    }

    pub fn number(&self, start: u32, end: u32) -> Expr {
        let (value, integer) = literal::number(&self.text(start, end));
        self.expr(ExprKind::Number { value, integer }, start, end)
    }

    pub fn string(&self, start: u32, end: u32) -> Expr {
        self.expr(ExprKind::String(literal::string(&self.text(start, end))), start, end)
    }

    pub fn unary(&self, op: UnaryOp, operand: Expr, start: u32, end: u32) -> Expr {
        self.expr(ExprKind::Unary { op, operand: Box::new(operand) }, start, end)
    }

    pub fn binary(&self, op: BinaryOp, left: Expr, right: Expr, start: u32, end: u32) -> Expr {
        self.expr(ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }, start, end)
    }

    pub fn call(&self, call: Call, start: u32, end: u32) -> Expr {
        self.expr(ExprKind::Call(call), start, end)
    }

    /// `value |> call as label`, where the three places are the pipe's start, the call's end and the label's end.
    pub fn pipe(&self, value: Expr, call: Call, label: Option<Label>, places: [u32; 3]) -> Expr {
        let [start, step, end] = places;
        let pipe = self.expr(ExprKind::Pipe { value: Box::new(value), call }, start, step);
        match label {
            Some(label) => self.label(pipe, label, start, end),
            None => pipe,
        }
    }

    /// `expr as label`: only a call has an instance to name.
    pub fn label(&self, expr: Expr, label: Label, start: u32, end: u32) -> Expr {
        let instance = match &label {
            Label::Name(name) => Some(name.span),
            Label::String(text) => Some(text.span),
            Label::Type(_) => None,
        };
        let calls = matches!(expr.kind, ExprKind::Call(_) | ExprKind::Pipe { .. });
        if let Some(span) = instance.filter(|_| !calls) {
            let error = Diagnostic::error("an instance name may follow only a call")
                .primary(span, "this names nothing")
                .secondary(expr.span, "not a call of a block");
            self.report(error.help("to name a value, write `let name = value;`"));
        }
        self.expr(ExprKind::As { expr: Box::new(expr), label }, start, end)
    }

    /// `read else outside`: only a read has an outside.
    pub fn fill(&self, read: Expr, outside: Expr, start: u32, end: u32) -> Expr {
        if !matches!(read.kind, ExprKind::Index { .. }) {
            let error = Diagnostic::error("`else` says what lies outside a read")
                .primary(read.span, "this is not a read such as `x[n, c, i, j]`");
            self.report(error.help("a choice is written `if condition { a } else { b }`"));
        }
        self.expr(ExprKind::Fill { read: Box::new(read), outside: Box::new(outside) }, start, end)
    }

    /// An op: at least one equation says what it is.
    pub fn op(&self, op: OpItem) -> OpItem {
        let has_equations = op.body.iter().any(|stmt| matches!(stmt.kind, OpStmtKind::Equation { .. }));
        if !has_equations && !self.repaired.get() {
            let error = Diagnostic::error(format!("the op `{}` has no equations", op.name.text))
                .primary(op.name.span, "");
            let result = op.results.first().map_or("y", |(name, _)| &name.text);
            self.report(error.help(format!(
                "an equation says every element of `{result}`, as in `{result}[n] = 2 * x[n];`"
            )));
        }
        op
    }

    /// Arguments: those by name come last.
    pub fn args(&self, args: Vec<Arg>) -> Vec<Arg> {
        let named = args.iter().position(|arg| arg.name.is_some()).unwrap_or(args.len());
        if let Some(late) = args[named..].iter().find(|arg| arg.name.is_none()) {
            let error = Diagnostic::error("an argument without a name follows one with a name")
                .primary(late.value.span, "this needs a name, or must come earlier");
            self.report(match &args[named].name {
                Some(name) => error.secondary(name.span, "the first with a name"),
                None => error,
            });
        }
        args
    }

    /// A block, where an `if` in last place is the value.
    pub fn block(&self, mut stmts: Vec<Stmt>, tail: Option<Expr>, start: u32, end: u32) -> Block {
        let tail = tail.or_else(|| {
            let last = stmts.pop_if(|stmt| matches!(stmt.kind, StmtKind::If(_)))?;
            match last.kind {
                StmtKind::If(branches) => Some(Expr { kind: ExprKind::If(branches), span: last.span }),
                _ => None,
            }
        });
        Block { stmts, tail: tail.map(Box::new), span: self.span(start, end) }
    }
}

/// The element type of a word that the lexer knows as one.
pub fn element_type(word: &str) -> DType {
    match word {
        "f32" => DType::F32,
        "i32" => DType::I32,
        "u8" => DType::U8,
        _ => DType::Bool,
    }
}

/// The reduction of a word that the lexer knows as one.
pub fn reduction(word: &str) -> ReduceOp {
    match word {
        "sum" => ReduceOp::Sum,
        "prod" => ReduceOp::Prod,
        "max" => ReduceOp::Max,
        "min" => ReduceOp::Min,
        _ => ReduceOp::Mean,
    }
}

/// A list with one more item at its front.
pub fn prepend<T>(first: T, mut rest: Vec<T>) -> Vec<T> {
    rest.insert(0, first);
    rest
}
