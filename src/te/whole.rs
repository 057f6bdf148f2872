//! Whole numbers in expressions.
//!
//! Arithmetic is that of `f32`, which has all whole numbers up to 2^24. [`is_beyond`] says of an integer result whether
//! its expression may have larger ones on the way, so that it is to be computed in `i32`.

use crate::base::hash::HashMap;

use super::expr::{Binary, Expr, ExprId, Reduction, Unary};
use super::program::{DType, Program, Tensor};

/// The largest whole number up to which `f32` has all of them.
const LARGEST: f64 = (1 << 24) as f64;

/// The least and the largest value of an expression.
type Range = (f64, f64);

/// Whether a result holds integers and its expression may go beyond what `f32` has exactly.
pub fn is_beyond(program: &Program, result: Tensor, id: ExprId) -> bool {
    let is_integer = matches!(program.tensors[result].dtype, DType::I32 | DType::U8);
    is_integer && Ranges::default().go_beyond(program, id)
}

/// The type of a reduction that stands within the expression of a result.
pub fn type_within(program: &Program, result: Tensor, reduction: ExprId) -> DType {
    let is_whole = Whole::default().is_whole(program, reduction);
    if is_whole && is_beyond(program, result, reduction) { DType::I32 } else { DType::F32 }
}

/// The expressions that have been looked at, and whether they are arithmetic of integers.
#[derive(Default)]
struct Whole(HashMap<ExprId, bool>);

impl Whole {
    fn is_whole(&mut self, program: &Program, id: ExprId) -> bool {
        if let Some(known) = self.0.get(&id) {
            return *known;
        }
        let is_whole = match program.exprs[id].clone() {
            Expr::Const(value) => value.get().fract() == 0.0,
            Expr::Number(_) => true,
            Expr::Read { tensor, .. } => program.tensors[tensor].dtype != DType::F32,
            Expr::Unary(Unary::Neg | Unary::Abs, x) => self.is_whole(program, x),
            Expr::Unary(Unary::Floor, x) => match program.exprs[x] {
                Expr::Binary(Binary::Div, x, y) => self.is_whole(program, x) && self.is_whole(program, y),
                _ => self.is_whole(program, x),
            },
            Expr::Unary(Unary::Not, _) => true,
            Expr::Binary(op, x, y) if is_arithmetic(op) => {
                self.is_whole(program, x) && self.is_whole(program, y)
            }
            Expr::Binary(op, ..) => !matches!(op, Binary::Div | Binary::Pow),
            Expr::Select(_, x, y) => self.is_whole(program, x) && self.is_whole(program, y),
            Expr::Reduce { body, .. } => self.is_whole(program, body),
            Expr::Detach(x) => self.is_whole(program, x),
            Expr::Unary(..) | Expr::Uniform { .. } => false,
        };
        self.0.insert(id, is_whole);
        is_whole
    }
}

/// Whether an operation of integers is one again, and is computed as one.
fn is_arithmetic(op: Binary) -> bool {
    matches!(op, Binary::Add | Binary::Sub | Binary::Mul | Binary::Min | Binary::Max)
}

/// The ranges of the expressions that have been looked at.
#[derive(Default)]
struct Ranges {
    known: HashMap<ExprId, Range>,
    /// Whether one of them is beyond what `f32` has exactly.
    beyond: bool,
}

impl Ranges {
    /// Whether arithmetic in an expression may go beyond what `f32` has exactly.
    fn go_beyond(mut self, program: &Program, id: ExprId) -> bool {
        match &program.exprs[id] {
            // What is only moved, or is a number already, has no arithmetic.
            Expr::Read { .. } | Expr::Number(_) => return false,
            Expr::Reduce { op, axes, body } => {
                let (low, high) = self.of(program, *body);
                let most = low.abs().max(high.abs());
                let count: f64 = axes.iter().map(|axis| program.axes[*axis].extent as f64).product();
                self.beyond |= match op {
                    Reduction::Sum => most * count > LARGEST,
                    Reduction::Prod => most > 1.0,
                    Reduction::Max | Reduction::Min => false,
                    Reduction::ArgMax | Reduction::ArgMin => return false,
                };
            }
            _ => _ = self.of(program, id),
        }
        self.beyond
    }

    fn of(&mut self, program: &Program, id: ExprId) -> Range {
        if let Some(range) = self.known.get(&id) {
            return *range;
        }
        let (low, high) = self.find(program, id);
        self.beyond |= !(low >= -LARGEST && high <= LARGEST);
        self.known.insert(id, (low, high));
        (low, high)
    }

    fn find(&mut self, program: &Program, id: ExprId) -> Range {
        match program.exprs[id].clone() {
            Expr::Const(value) => (value.get(), value.get()),
            Expr::Number(index) => {
                let (low, high) = index.range(&program.axes);
                (low as f64, high as f64)
            }
            Expr::Read { tensor, .. } => match program.tensors[tensor].dtype {
                DType::U8 | DType::Bool => (0.0, 255.0),
                DType::I32 | DType::F32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
            },
            Expr::Unary(Unary::Floor, x) => match program.exprs[x] {
                // The quotient is at most as large, whatever it is divided by.
                Expr::Binary(Binary::Div, x, y) => {
                    let (low, high) = self.of(program, x);
                    self.of(program, y);
                    let most = low.abs().max(high.abs());
                    (-most, most)
                }
                _ => self.of(program, x),
            },
            Expr::Unary(Unary::Neg | Unary::Abs, x) => {
                let (low, high) = self.of(program, x);
                let most = low.abs().max(high.abs());
                (-most, most)
            }
            Expr::Binary(op, x, y) if is_arithmetic(op) => {
                let (x, y) = (self.of(program, x), self.of(program, y));
                combined(op, x, y)
            }
            Expr::Select(_, x, y) => {
                let (x, y) = (self.of(program, x), self.of(program, y));
                (x.0.min(y.0), x.1.max(y.1))
            }
            Expr::Unary(..) | Expr::Binary(..) => (0.0, 1.0),
            Expr::Reduce { .. } | Expr::Uniform { .. } | Expr::Detach(_) => (0.0, 0.0),
        }
    }
}

/// The range of an operation; the ends of the operands give it.
fn combined(op: Binary, x: Range, y: Range) -> Range {
    let result = |a: f64, b: f64| match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Min => a.min(b),
        _ => a.max(b),
    };
    let ends = [result(x.0, y.0), result(x.0, y.1), result(x.1, y.0), result(x.1, y.1)];
    ends.into_iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)))
}
