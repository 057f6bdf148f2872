//! Divisions of integers that lose a remainder although a number is wanted: `1 / K` is 0.
//!
//! Where a number is wanted, the values say, and what the division is used for. So the file is elaborated once more
//! with `real(1) / K` in its place. A shape, an index or another integer refuses the number; an exact division changes
//! nothing; where the result is another one, the remainder was lost. Rounding may be meant in `real(...)` and
//! `floor(...)`, and in what is added to an axis, as the middle of a window is: there only `1 / 2` and others that
//! begin with a literal are warned of. What stands beside an element or another number is one, whatever is around.
//!
//! `x[i] else 1 / 2` divides all of the read. Where no parentheses say so, this has a warning of its own.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use super::named_warning;
use super::names::Words;
use crate::base::diagnostic::Diagnostic;
use crate::base::source::SourceMap;
use crate::base::span::{FileId, Span};
use crate::graph::{Graph, Init, OpId, Role};
use crate::syntax::ast::{
    BinaryOp, Binder, Block, Call, Else, Expr, ExprKind, File, IfExpr, Item, OpStmtKind, Param, SettingKind,
    Stmt, StmtKind, TypeKind, UnaryOp,
};

/// The name of the warning.
const NAME: &str = "rounded-division";

/// The name of the warning of a fill that ends before the operator behind it.
const NAME_OF_FILL: &str = "else-operand";

/// Each division of a file needs an elaboration; those of a longer file are not looked at.
const MOST: usize = 64;

/// The warnings of a file. `elaborate` gives what the models and sections of another text of it come to, where nothing
/// is wrong with that.
pub fn run(
    tree: &File,
    id: FileId,
    sources: &SourceMap,
    elaborate: &dyn Fn(&str) -> Option<u64>,
) -> Vec<Diagnostic> {
    let text = sources.text(id);
    let mut search = Search { words: Words::of(id, text), text, found: Vec::new(), fills: Vec::new() };
    tree.items.iter().for_each(|item| search.item(item));
    let mut warnings: Vec<Diagnostic> =
        search.fills.iter().filter_map(|fill| warning_of_fill(sources, fill)).collect();
    warnings.extend(lossy(search.found, text, sources, elaborate));
    warnings
}

/// The warnings of the divisions that lose a remainder.
fn lossy(
    mut divisions: Vec<Division>,
    text: &str,
    sources: &SourceMap,
    elaborate: &dyn Fn(&str) -> Option<u64>,
) -> Vec<Diagnostic> {
    divisions.truncate(MOST);
    if divisions.is_empty() {
        return Vec::new();
    }
    let Some(now) = elaborate(text) else { return Vec::new() };
    let all: Vec<(Span, Edit)> = divisions.iter().map(|division| (division.left, Edit::Real)).collect();
    let is_written = divisions.iter().any(|division| division.lossy == Some(true));
    if !is_written && elaborate(&edited(text, &all)) == Some(now) {
        return Vec::new();
    }
    let mut warned: Vec<Span> = Vec::new();
    let mut warnings = Vec::new();
    for division in &divisions {
        let holds = |inner: &Span| division.span.start <= inner.start && inner.end <= division.span.end;
        if !warned.iter().any(holds) && division.loses(text, now, elaborate) {
            warned.push(division.span);
            warnings.extend(warning(sources, division));
        }
    }
    warnings
}

/// What a graph computes, whatever its parts are called.
pub fn fingerprint(graph: &Graph, hasher: &mut impl Hasher) {
    let init = |init: &Init| format!("{init:?}");
    for (value, role) in &graph.inputs {
        let role = match role {
            Role::Param { init: filled, .. } | Role::State { init: filled, .. } => init(filled),
            Role::Data | Role::Target | Role::Partner | Role::Scalar(_) => format!("{role:?}"),
        };
        (value, &graph.values[*value].shape, role).hash(hasher);
    }
    let programs: HashMap<OpId, String> =
        graph.ops.iter().map(|(id, op)| (id, op.program.to_string())).collect();
    for node in &graph.nodes {
        (&programs[&node.op], &node.inputs, &node.results).hash(hasher);
    }
    for (value, sink) in &graph.outputs {
        (value, format!("{sink:?}")).hash(hasher);
    }
}

fn warning(sources: &SourceMap, division: &Division) -> Option<Diagnostic> {
    let message = "this division of integers rounds down, where a number is wanted".to_owned();
    let fix = format!("write `real({}) / ...`", sources.slice(division.left));
    named_warning(sources, NAME, division.span, message, &fix)
}

fn warning_of_fill(sources: &SourceMap, fill: &FilledOperand) -> Option<Diagnostic> {
    let message = format!("this `{}` takes all of the read, not what follows `else`", fill.sign);
    let (read, rest) = (sources.slice(fill.read), sources.slice(fill.rest));
    let outside = sources.slice(fill.outside);
    let fix = format!("write `({read} else {outside}) {rest}`, or `{read} else ({outside} {rest})`");
    named_warning(sources, NAME_OF_FILL, fill.outside.to(fill.rest), message, &fix)
}

/// `read else outside` as the left operand of a product or a quotient, where both might be meant for the outside.
struct FilledOperand {
    read: Span,
    outside: Span,
    /// The operator and its right operand.
    rest: Span,
    sign: &'static str,
}

/// A division that may be one of integers.
struct Division {
    span: Span,
    left: Span,
    /// Whether the operands of a comparison hold it, the innermost one.
    compared: Option<[Span; 2]>,
    /// In sections and defaults, where all is written out: whether there is a remainder.
    lossy: Option<bool>,
}

impl Division {
    fn loses(&self, text: &str, now: u64, elaborate: &dyn Fn(&str) -> Option<u64>) -> bool {
        if self.lossy == Some(false) {
            return false;
        }
        let Some(then) = elaborate(&edited(text, &[(self.left, Edit::Real)])) else { return false };
        if then == now && self.lossy.is_none() {
            return false;
        }
        // Integers are compared with integers: both sides take `%`.
        let same = |sides: [Span; 2]| edited(text, &sides.map(|side| (side, Edit::Same)));
        self.compared.is_none_or(|sides| elaborate(&same(sides)).is_none())
    }
}

/// What is written in place of an expression.
#[derive(Clone, Copy)]
enum Edit {
    /// The same as a number.
    Real,
    /// The same, where it is an integer; an error, where it is not.
    Same,
}

/// The text with some expressions replaced.
fn edited(text: &str, edits: &[(Span, Edit)]) -> String {
    let mut inserts: Vec<(usize, String)> = Vec::new();
    for (span, edit) in edits {
        let (start, end) = (span.start as usize, span.end as usize);
        let written = text.get(start..end).unwrap_or("");
        let (before, after) = match edit {
            Edit::Real => ("real(", ")".to_owned()),
            Edit::Same => ("(", format!(") - ({written}) % 1")),
        };
        inserts.push((start, before.to_owned()));
        inserts.push((end, after));
    }
    inserts.sort_by_key(|(at, _)| *at);
    let (mut result, mut done) = (String::new(), 0);
    for (at, insert) in inserts {
        result.push_str(text.get(done..at).unwrap_or(""));
        result.push_str(&insert);
        done = at;
    }
    result + text.get(done..).unwrap_or("")
}

/// What is around an expression.
#[derive(Clone, Default)]
struct Place {
    /// The axes in scope.
    axes: Vec<String>,
    /// Whether rounding may be meant.
    rounds: bool,
    compared: Option<[Span; 2]>,
    /// Whether all is written out, and is a number unless that is an error.
    of_numbers: bool,
}

impl Place {
    fn of_numbers() -> Place {
        Place { of_numbers: true, ..Place::default() }
    }
}

/// The walk through a file; an inner division is found before the one around it.
struct Search<'a> {
    words: Words<'a>,
    text: &'a str,
    found: Vec<Division>,
    fills: Vec<FilledOperand>,
}

impl Search<'_> {
    fn item(&mut self, item: &Item) {
        let (place, section) = (Place::default(), Place::of_numbers());
        match item {
            Item::Use(_) => {}
            Item::Fn(item) => {
                self.defaults(&item.params);
                self.block(&item.body, &place);
            }
            Item::Op(item) => {
                self.defaults(&item.params);
                item.body.iter().for_each(|stmt| self.op_stmt(&stmt.kind));
            }
            Item::Data(item) => item.settings.iter().for_each(|one| self.setting(&one.kind, &section)),
            Item::Train(item) => {
                item.args.iter().for_each(|arg| self.expr(&arg.value, &section));
                item.settings.iter().for_each(|one| self.setting(&one.kind, &section));
            }
        }
    }

    fn defaults(&mut self, params: &[Param]) {
        for param in params {
            let is_number = matches!(&param.ty.kind, TypeKind::Named(name) if name == "float");
            let place = if is_number { Place::of_numbers() } else { Place::default() };
            param.default.iter().for_each(|default| self.expr(default, &place));
        }
    }

    fn setting(&mut self, setting: &SettingKind, place: &Place) {
        match setting {
            SettingKind::Key { value, .. } => self.expr(value, place),
            SettingKind::Phase { settings, .. } => {
                settings.iter().for_each(|one| self.setting(&one.kind, place));
            }
        }
    }

    fn op_stmt(&mut self, stmt: &OpStmtKind) {
        match stmt {
            OpStmtKind::Let { value, .. } => self.expr(value, &Place::default()),
            OpStmtKind::Assert(_) => {}
            OpStmtKind::Equation { binders, body, .. } => {
                self.expr(body, &self.within(binders, &Place::default()));
            }
        }
    }

    /// The place within binders; the words of their indices that are no axes do no harm.
    fn within(&self, binders: &[Binder], place: &Place) -> Place {
        let mut place = place.clone();
        let words = binders.iter().flat_map(|binder| self.words.within(binder.index.span));
        place.axes.extend(words.map(str::to_owned));
        place
    }

    fn block(&mut self, block: &Block, place: &Place) {
        block.stmts.iter().for_each(|stmt| self.stmt(stmt, place));
        block.tail.iter().for_each(|tail| self.expr(tail, place));
    }

    fn stmt(&mut self, stmt: &Stmt, place: &Place) {
        match &stmt.kind {
            StmtKind::Let { value, .. }
            | StmtKind::Assign { value, .. }
            | StmtKind::Update { value, .. }
            | StmtKind::Declare { init: value, .. } => self.expr(value, place),
            StmtKind::For { body, .. } => body.iter().for_each(|stmt| self.stmt(stmt, place)),
            StmtKind::If(choice) => self.choice(choice, place),
            StmtKind::Assert(_) => {}
        }
    }

    fn choice(&mut self, choice: &IfExpr, place: &Place) {
        self.expr(&choice.condition, place);
        self.block(&choice.then, place);
        match &choice.otherwise {
            Some(Else::Block(block)) => self.block(block, place),
            Some(Else::If(next)) => self.choice(next, place),
            None => {}
        }
    }

    fn expr(&mut self, expr: &Expr, place: &Place) {
        match &expr.kind {
            ExprKind::Binary { op, left, right } => self.binary(expr.span, *op, (left, right), place),
            ExprKind::Unary { operand, .. } => self.expr(operand, place),
            ExprKind::Call(call) => self.call(call, place),
            ExprKind::Pipe { value, call } => {
                self.expr(value, place);
                self.call(call, place);
            }
            ExprKind::As { expr, .. } => self.expr(expr, place),
            // What stands in the brackets is a position.
            ExprKind::Index { base, .. } | ExprKind::Field { base, .. } => self.expr(base, place),
            ExprKind::Fill { read, outside } => {
                self.expr(read, place);
                self.expr(outside, place);
            }
            ExprKind::Reduce { binders, body, .. } => self.expr(body, &self.within(binders, place)),
            ExprKind::List(items) => items.iter().for_each(|item| self.expr(&item.value, place)),
            ExprKind::If(choice) => self.choice(choice, place),
            ExprKind::Number { .. }
            | ExprKind::Bool(_)
            | ExprKind::Infinity
            | ExprKind::String(_)
            | ExprKind::Name(_) => {}
        }
    }

    fn call(&mut self, call: &Call, place: &Place) {
        let rounds = matches!(call.callee.text.as_str(), "real" | "floor");
        let inner = Place { rounds, compared: None, ..place.clone() };
        call.args.iter().for_each(|arg| self.expr(&arg.value, &inner));
    }

    fn binary(&mut self, span: Span, op: BinaryOp, (left, right): (&Expr, &Expr), place: &Place) {
        let sides = [left.span, right.span];
        for (side, other) in [(left, right), (right, left)] {
            let mut inner = place.clone();
            let beside_number = is_number(other);
            match op {
                BinaryOp::Add | BinaryOp::Sub if !beside_number => {
                    inner.rounds |= self.mentions_axis(other, place);
                }
                BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div if beside_number => {
                    inner.rounds = false;
                }
                BinaryOp::Add
                | BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::Div
                | BinaryOp::Rem
                | BinaryOp::And
                | BinaryOp::Or => {}
                BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => {
                    inner.compared = Some(sides)
                }
            }
            self.expr(side, &inner);
        }
        self.filled_operand(op, left, right);
        let number = |side: &Expr| matches!(side.kind, ExprKind::Number { integer: false, .. });
        let meant = place.rounds && integer(left).is_none();
        if op != BinaryOp::Div || number(left) || number(right) || meant {
            return;
        }
        let lossy = match (integer(left), integer(right)) {
            (Some(x), Some(y)) => x.checked_rem(y).map(|rest| rest != 0),
            _ => None,
        };
        let lossy = lossy.filter(|_| place.of_numbers);
        self.found.push(Division { span, left: left.span, compared: place.compared, lossy });
    }

    /// Takes note of `x[i] else 1 / 2` without parentheses.
    fn filled_operand(&mut self, op: BinaryOp, left: &Expr, right: &Expr) {
        let ExprKind::Fill { read, outside } = &left.kind else { return };
        let product = matches!(op, BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem);
        let constant = |expr: &Expr| !is_number(expr) || matches!(expr.kind, ExprKind::Number { .. });
        if !product || integer(outside) == Some(0) || !constant(outside) || !constant(right) {
            return;
        }
        let between = self.text.get(outside.span.end as usize..right.span.start as usize).unwrap_or("");
        let Some(at) = between.find(op.sign()).filter(|at| !between[..*at].contains(')')) else { return };
        let start = outside.span.end + at as u32;
        let rest = Span { start, ..right.span };
        let (read, outside) = (read.span, outside.span);
        self.fills.push(FilledOperand { read, outside, rest, sign: op.sign() });
    }

    fn mentions_axis(&self, expr: &Expr, place: &Place) -> bool {
        place.axes.iter().any(|axis| self.words.count(axis, expr.span) > 0)
    }
}

/// Whether an expression of an equation is a number for certain, and no integer of axes: whether it holds, outside of
/// positions and conditions, an element, a number with a point, or what gives numbers.
fn is_number(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number { integer, .. } => !integer,
        ExprKind::Infinity | ExprKind::Fill { .. } => true,
        ExprKind::Index { base, .. } => !matches!(base.kind, ExprKind::List(_)),
        ExprKind::Reduce { body, .. } => is_number(body),
        ExprKind::Unary { operand, .. } => is_number(operand),
        ExprKind::Binary { left, right, .. } => is_number(left) || is_number(right),
        ExprKind::Call(call) => match call.callee.text.as_str() {
            "min" | "max" | "abs" | "floor" | "detach" => call.args.iter().any(|arg| is_number(&arg.value)),
            _ => true,
        },
        ExprKind::Bool(_)
        | ExprKind::String(_)
        | ExprKind::Name(_)
        | ExprKind::List(_)
        | ExprKind::If(_)
        | ExprKind::Pipe { .. }
        | ExprKind::As { .. }
        | ExprKind::Field { .. } => false,
    }
}

/// An integer that is written out.
fn integer(expr: &Expr) -> Option<i64> {
    match &expr.kind {
        ExprKind::Number { value, integer: true } => Some(*value as i64),
        ExprKind::Unary { op: UnaryOp::Neg, operand } => integer(operand)?.checked_neg(),
        ExprKind::Binary { op, left, right } => {
            let (x, y) = (integer(left)?, integer(right)?);
            match op {
                BinaryOp::Add => x.checked_add(y),
                BinaryOp::Sub => x.checked_sub(y),
                BinaryOp::Mul => x.checked_mul(y),
                _ => None,
            }
        }
        _ => None,
    }
}
