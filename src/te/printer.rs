//! The text of a program of equations.
//!
//! ```text
//! program(x: f32[2, 5], w: f32[3, 5]) -> (y: f32[2, 3]) {
//!   y[n < 2, o < 3] = sum[k < 5] x[n, k] * w[o, k];
//! }
//! ```
//!
//! Tensors and axes have labels, which are their names made unique; every use of a name stands for one thing. Inside a
//! piece, a part that is used several times and is not small is written once, as `let $1 = ...;`, so the text of a
//! shared expression is never longer than a small multiple of its nodes. [`parser`](super::parser) reads it back.

use crate::base::hash::HashMap;
use std::collections::BTreeSet;
use std::fmt;

use super::expr::{Binary, Expr, ExprId, Reduction, Unary};
use super::index::{Atom, Axis, Index};
use super::program::{Equation, Piece, Program, Tensor};
use super::text::labels::Labels;

/// Lines of a signature that are longer are broken.
const LINE_WIDTH: usize = 110;
/// A shared part with fewer nodes is written out at every use.
const SMALLEST_SHARED_PART: usize = 4;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printer = Printer::new(self);
        write!(f, "program{}", printer.signed())
    }
}

/// Writes parts of a program, with one label a tensor.
pub struct Printer<'a> {
    program: &'a Program,
    labels: HashMap<Tensor, String>,
    /// The tensors in the order of the text.
    order: Vec<Tensor>,
}

impl<'a> Printer<'a> {
    /// A printer of a program's own equations.
    pub fn new(program: &'a Program) -> Printer<'a> {
        let mut used = Vec::new();
        for equation in &program.equations {
            used.push(equation.result);
            used.extend(equation.pieces.iter().flat_map(|piece| program.reads(piece.body)));
        }
        Printer::over(program, used)
    }

    /// A printer of a program's expressions that labels these tensors, its inputs and its outputs.
    pub fn over(program: &'a Program, tensors: impl IntoIterator<Item = Tensor>) -> Printer<'a> {
        let mut seen = BTreeSet::new();
        let all = program.inputs.iter().chain(&program.outputs).copied().chain(tensors);
        let order: Vec<Tensor> = all.filter(|tensor| seen.insert(*tensor)).collect();
        let mut given = Labels::default();
        let label = |tensor: &Tensor| (*tensor, given.next(&program.tensors[*tensor].name));
        let labels = order.iter().map(label).collect();
        Printer { program, labels, order }
    }

    /// The label of a tensor.
    pub fn label(&self, tensor: Tensor) -> String {
        self.labels.get(&tensor).cloned().unwrap_or_else(|| tensor.to_string())
    }

    /// `y: f32[2, 3]`.
    pub fn declaration(&self, tensor: Tensor) -> String {
        let data = &self.program.tensors[tensor];
        format!("{}: {}", self.label(tensor), type_text(data.dtype, &data.shape))
    }

    /// All tensors in the order of the text.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor> {
        self.order.iter().copied()
    }

    /// The tensors that are neither inputs nor outputs, in the order of the text.
    pub fn intermediates(&self) -> impl Iterator<Item = Tensor> {
        let given =
            |tensor: &Tensor| self.program.inputs.contains(tensor) || self.program.outputs.contains(tensor);
        self.order.iter().copied().filter(move |tensor| !given(tensor))
    }

    /// `(x: f32[2, 5]) -> (y: f32[2])`.
    pub fn signature(&self) -> String {
        let list = |tensors: &[Tensor]| -> Vec<String> {
            tensors.iter().map(|tensor| self.declaration(*tensor)).collect()
        };
        let (inputs, outputs) = (list(&self.program.inputs), list(&self.program.outputs));
        let line = format!("({}) -> ({})", inputs.join(", "), outputs.join(", "));
        if line.len() <= LINE_WIDTH {
            return line;
        }
        let broken = |list: &[String]| format!("(\n    {}\n)", list.join(",\n    "));
        format!("{} -> {}", broken(&inputs), broken(&outputs))
    }

    /// The signature and the equations in braces, with a line end.
    pub fn signed(&self) -> String {
        let mut text = format!("{} {{\n", self.signature());
        let defined: BTreeSet<Tensor> =
            self.program.equations.iter().map(|equation| equation.result).collect();
        let foreign = self.intermediates().filter(|tensor| !defined.contains(tensor));
        foreign.for_each(|tensor| text += &format!("  {};\n", self.declaration(tensor)));
        let mut declared: BTreeSet<Tensor> =
            self.program.inputs.iter().chain(&self.program.outputs).copied().collect();
        for equation in &self.program.equations {
            if declared.insert(equation.result) {
                text += &format!("  {};\n", self.declaration(equation.result));
            }
            text += &self.equation(equation);
        }
        text + "}\n"
    }

    fn equation(&self, equation: &Equation) -> String {
        let pieces = equation.pieces.iter();
        pieces.map(|piece| format!("  {}\n", self.piece(equation.result, piece))).collect()
    }

    /// `y[n < 2, c < 3] = body;`.
    pub fn piece(&self, result: Tensor, piece: &Piece) -> String {
        let mut writer = Writer::new(self, 1);
        let left = writer.left_side(result, piece);
        let body = writer.scope(piece.body);
        format!("{left} = {body};")
    }
}

/// `f32[2, 3]`, or `f32` for a scalar.
pub fn type_text(dtype: super::DType, shape: &[i64]) -> String {
    let shape: Vec<String> = shape.iter().map(i64::to_string).collect();
    if shape.is_empty() { dtype.to_string() } else { format!("{dtype}[{}]", shape.join(", ")) }
}

/// Writes the expressions of one piece or nest, in which every axis has one label.
pub struct Writer<'a> {
    printer: &'a Printer<'a>,
    labels: Labels,
    axes: HashMap<Axis, String>,
    /// The axes in the order in which they were met: the order of terms in an index.
    order: HashMap<Axis, usize>,
    /// The parts that have been written and have a name.
    locals: HashMap<ExprId, u32>,
    depth: usize,
}

impl<'a> Writer<'a> {
    /// A writer without axes, for lines indented so many times.
    pub fn new(printer: &'a Printer<'a>, depth: usize) -> Writer<'a> {
        let (axes, order, locals) = (HashMap::default(), HashMap::default(), HashMap::default());
        Writer { printer, labels: Labels::default(), axes, order, locals, depth }
    }

    /// The label of an axis.
    pub fn axis(&mut self, axis: Axis) -> String {
        if let Some(label) = self.axes.get(&axis) {
            return label.clone();
        }
        let label = self.labels.next(&self.printer.program.axes[axis].name);
        self.order.insert(axis, self.order.len());
        self.axes.insert(axis, label.clone());
        label
    }

    /// `n < 2, c < 3`.
    pub fn binders(&mut self, axes: &[Axis]) -> String {
        let binder =
            |axis: &Axis| format!("{} < {}", self.axis(*axis), self.printer.program.axes[*axis].extent);
        axes.iter().map(binder).collect::<Vec<_>>().join(", ")
    }

    fn left_side(&mut self, result: Tensor, piece: &Piece) -> String {
        let label = self.printer.label(result);
        let axes = self.binders(&piece.axes);
        let identity = piece.at.len() == piece.axes.len()
            && piece.at.iter().zip(&piece.axes).all(|(at, axis)| at.as_axis() == Some(*axis));
        match (identity, piece.at.is_empty()) {
            (true, true) => label,
            (true, false) => format!("{label}[{axes}]"),
            (false, _) => format!("{} for {axes}", self.element(result, &piece.at)),
        }
    }

    /// `y[n, 2*h + 1]`; a scalar has no brackets.
    pub fn element(&mut self, tensor: Tensor, at: &[Index]) -> String {
        let label = self.printer.label(tensor);
        let at: Vec<String> = at.iter().map(|index| self.index(index)).collect();
        if at.is_empty() { label } else { format!("{label}[{}]", at.join(", ")) }
    }

    /// Starts a text in which no part has been written yet.
    pub fn forget_parts(&mut self) {
        self.locals.clear();
    }

    /// An expression with the axes that have labels so far: a block where it has shared parts.
    pub fn scope(&mut self, root: ExprId) -> String {
        let shared = self.shared_parts(root);
        if shared.is_empty() {
            return self.expr(root, 0);
        }
        self.depth += 1;
        let indent = "  ".repeat(self.depth);
        let mut text = String::from("{\n");
        for part in shared {
            let value = self.expr(part, 0);
            let number = self.locals.len() as u32 + 1;
            self.locals.insert(part, number);
            text += &format!("{indent}let ${number} = {value};\n");
        }
        text += &format!("{indent}{}\n", self.expr(root, 0));
        self.depth -= 1;
        text + &"  ".repeat(self.depth) + "}"
    }

    /// The parts that are used several times, without those inside reductions, operands first.
    fn shared_parts(&self, root: ExprId) -> Vec<ExprId> {
        let mut uses = HashMap::default();
        let mut order = Vec::new();
        self.count_uses(root, &mut uses, &mut order);
        let mut sizes = HashMap::default();
        order.retain(|id| uses[id] > 1 && self.size(*id, &mut sizes) >= SMALLEST_SHARED_PART);
        order
    }

    fn count_uses(&self, id: ExprId, uses: &mut HashMap<ExprId, usize>, order: &mut Vec<ExprId>) {
        let count = uses.entry(id).or_insert(0);
        *count += 1;
        if *count > 1 {
            return;
        }
        let expr = &self.printer.program.exprs[id];
        if !matches!(expr, Expr::Reduce { .. }) && !self.locals.contains_key(&id) {
            expr.for_each_operand(&mut |operand| self.count_uses(operand, uses, order));
        }
        if !self.locals.contains_key(&id) {
            order.push(id);
        }
    }

    /// The nodes of an expression written out; a reduction counts as large.
    fn size(&self, id: ExprId, known: &mut HashMap<ExprId, usize>) -> usize {
        if let Some(size) = known.get(&id) {
            return *size;
        }
        let expr = &self.printer.program.exprs[id];
        let mut size = 1_usize;
        match expr {
            Expr::Reduce { .. } => size = SMALLEST_SHARED_PART,
            _ => expr.for_each_operand(&mut |x| size = size.saturating_add(self.size(x, known))),
        }
        known.insert(id, size);
        size
    }

    /// An expression, in parentheses if it binds less tightly than `binding`.
    fn expr(&mut self, id: ExprId, binding: u8) -> String {
        if let Some(number) = self.locals.get(&id) {
            return format!("${number}");
        }
        match &self.printer.program.exprs[id] {
            Expr::Const(value) => constant(value.get(), binding),
            Expr::Number(index) => format!("int({})", self.index(index)),
            Expr::Read { tensor, index, fill } => {
                let element = self.element(*tensor, index);
                match fill {
                    Some(fill) => {
                        parenthesised(format!("{element} else {}", number(fill.get())), binding > 0)
                    }
                    None => element,
                }
            }
            Expr::Unary(op, x) => self.unary(*op, *x),
            Expr::Binary(op, x, y) => self.binary(*op, *x, *y, binding),
            Expr::Select(c, x, y) => {
                format!("if {} {{ {} }} else {{ {} }}", self.expr(*c, 1), self.expr(*x, 0), self.expr(*y, 0))
            }
            Expr::Reduce { op, axes, body } => {
                let axes = self.binders(axes);
                let text = format!("{}[{axes}] {}", reduction_name(*op), self.scope(*body));
                parenthesised(text, binding > 0)
            }
            Expr::Uniform { stream, element } => format!("uniform({stream}, {})", self.index(element)),
            Expr::Detach(x) => format!("detach({})", self.expr(*x, 0)),
        }
    }

    fn unary(&mut self, op: Unary, x: ExprId) -> String {
        match op {
            Unary::Neg => match self.printer.program.exprs[x] {
                Expr::Const(value) => format!("-({})", number(value.get())),
                _ => format!("-{}", self.expr(x, UNARY)),
            },
            Unary::Not => format!("!{}", self.expr(x, UNARY)),
            _ => format!("{}({})", unary_name(op), self.expr(x, 0)),
        }
    }

    fn binary(&mut self, op: Binary, x: ExprId, y: ExprId, binding: u8) -> String {
        match infix(op) {
            None => format!("{}({}, {})", binary_name(op), self.expr(x, 0), self.expr(y, 0)),
            Some(level) => {
                // Comparisons do not chain.
                let left = if level == COMPARISON { level + 1 } else { level };
                let text = format!("{} {} {}", self.expr(x, left), binary_name(op), self.expr(y, level + 1));
                parenthesised(text, level < binding)
            }
        }
    }

    /// `2*h + c / 3 - 1`: terms in the order in which their axes were bound.
    pub fn index(&mut self, index: &Index) -> String {
        let mut terms: Vec<(usize, String, i64)> = Vec::new();
        for (atom, coefficient) in index.terms() {
            let text = self.atom(atom, *coefficient);
            let mut first = usize::MAX;
            Index::from_terms(vec![(atom.clone(), 1)], 0)
                .for_each_axis(&mut |axis| first = first.min(self.order.get(&axis).copied().unwrap_or(0)));
            terms.push((first, text, *coefficient));
        }
        terms.sort();
        // A leading minus reads badly where another term could lead.
        terms.sort_by_key(|(_, _, coefficient)| *coefficient < 0);
        let mut text = String::new();
        for (_, term, coefficient) in &terms {
            push_signed(&mut text, *coefficient < 0, term);
        }
        if index.constant() != 0 || terms.is_empty() {
            push_signed(&mut text, index.constant() < 0, &index.constant().unsigned_abs().to_string());
        }
        text
    }

    /// An atom times the size of its coefficient.
    fn atom(&mut self, atom: &Atom, coefficient: i64) -> String {
        let text = match atom {
            Atom::Axis(axis) => self.axis(*axis),
            Atom::Div(x, k) => format!("{} / {k}", self.dividend(x)),
            Atom::Rem(x, k) => format!("{} % {k}", self.dividend(x)),
            Atom::Min(x, y) => format!("min({}, {})", self.index(x), self.index(y)),
            Atom::Max(x, y) => format!("max({}, {})", self.index(x), self.index(y)),
        };
        let divides = matches!(atom, Atom::Div(..) | Atom::Rem(..));
        match coefficient.unsigned_abs() {
            1 => text,
            k => format!("{k}*{}", parenthesised(text, divides)),
        }
    }

    fn dividend(&mut self, x: &Index) -> String {
        let single = x.constant() == 0 && matches!(x.terms(), [(_, 1)]);
        parenthesised(self.index(x), !single)
    }
}

fn push_signed(text: &mut String, negative: bool, term: &str) {
    text.push_str(match (text.is_empty(), negative) {
        (true, false) => "",
        (true, true) => "-",
        (false, false) => " + ",
        (false, true) => " - ",
    });
    text.push_str(term);
}

fn parenthesised(text: String, needed: bool) -> String {
    if needed { format!("({text})") } else { text }
}

/// A constant; negative ones are put in parentheses behind an operator.
fn constant(value: f64, binding: u8) -> String {
    parenthesised(number(value), value.is_sign_negative() && !value.is_nan() && binding > 0)
}

/// A number that reads back as the same one; every NaN is `nan`.
pub fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "nan".into(),
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value}"),
        _ => format!("{value:?}"),
    }
}

const COMPARISON: u8 = 3;
const UNARY: u8 = 6;

/// How tightly an infix operator binds; none where it is written as a function.
fn infix(op: Binary) -> Option<u8> {
    Some(match op {
        Binary::Or => 1,
        Binary::And => 2,
        Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => COMPARISON,
        Binary::Add | Binary::Sub => 4,
        Binary::Mul | Binary::Div => 5,
        Binary::Pow | Binary::Min | Binary::Max => return None,
    })
}

/// The operator or function in the text.
pub fn binary_name(op: Binary) -> &'static str {
    match op {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::Pow => "pow",
        Binary::Min => "min",
        Binary::Max => "max",
        Binary::Eq => "==",
        Binary::Ne => "!=",
        Binary::Lt => "<",
        Binary::Le => "<=",
        Binary::Gt => ">",
        Binary::Ge => ">=",
        Binary::And => "&&",
        Binary::Or => "||",
    }
}

/// The function's name in the text.
pub fn unary_name(op: Unary) -> &'static str {
    match op {
        Unary::Neg => "-",
        Unary::Exp => "exp",
        Unary::Expm1 => "expm1",
        Unary::Log => "log",
        Unary::Log1p => "log1p",
        Unary::Sqrt => "sqrt",
        Unary::Rsqrt => "rsqrt",
        Unary::Tanh => "tanh",
        Unary::Sigmoid => "sigmoid",
        Unary::Erf => "erf",
        Unary::Sin => "sin",
        Unary::Cos => "cos",
        Unary::Abs => "abs",
        Unary::Floor => "floor",
        Unary::Not => "!",
    }
}

/// The reduction's name in the text.
pub fn reduction_name(op: Reduction) -> &'static str {
    match op {
        Reduction::Sum => "sum",
        Reduction::Prod => "prod",
        Reduction::Max => "max",
        Reduction::Min => "min",
        Reduction::ArgMax => "argmax",
        Reduction::ArgMin => "argmin",
    }
}
