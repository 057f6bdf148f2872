//! The oracle: what a program of equations means, computed slowly and obviously, in `f64`.
//!
//! In: a program, the values of its inputs, the random state. Out: the values of all tensors. Beside every value goes
//! its *magnitude*: what the value would be if no summand cancelled another. Rounding errors of any evaluation order
//! in `f32` are a small multiple of it, so tests compare against a bound and need no guessed tolerance.

use cranelift_entity::SecondaryMap;

use super::expr::{Binary, Expr, ExprId, LARGEST_ANGLE, Reduction, Unary};
use super::index::{Axis, Index};
use super::program::{Piece, Program, Tensor, TensorData};
use crate::base::philox::{self, RandomState};

/// A value and its magnitude.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    pub value: f64,
    pub magnitude: f64,
}

/// From here on a value is near the end of single precision, and nothing is known of how native code goes on: the
/// magnitude of what follows is infinite.
pub const HUGE: f64 = 1e30;

impl Number {
    /// Whether an evaluation in another order or precision may give `found`: NaN and infinities stand at the same places,
    /// and finite values are `tolerance` magnitudes apart, at most, or `least`. None where nothing is known.
    pub fn agrees(self, found: f64, tolerance: f64, least: f64) -> Option<bool> {
        let Number { value, magnitude } = self;
        if value.is_nan() || value.is_infinite() {
            return Some(found == value || (found.is_nan() && value.is_nan()));
        }
        if magnitude == f64::INFINITY {
            return None;
        }
        Some((found - value).abs() <= tolerance * magnitude + least)
    }

    /// The same, out of bounds where its value is.
    fn in_range(self) -> Number {
        let Number { value, magnitude } = self;
        let is_huge = value.is_finite() && value.abs() >= HUGE;
        Number { value, magnitude: if is_huge { f64::INFINITY } else { magnitude } }
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number { value, magnitude: value.abs() }
    }
}

/// The elements of every tensor, in row-major order; empty where a tensor was neither given nor computed.
pub type Values = SecondaryMap<Tensor, Vec<Number>>;

/// Runs all equations in order. `values` holds the inputs and receives the rest.
///
/// # Panics
///
/// Where a read without a fill value is out of bounds, or an input is missing: the verifier rules both out.
pub fn run(program: &Program, values: &mut Values, random: RandomState) {
    for equation in &program.equations {
        let data = &program.tensors[equation.result];
        let mut result = vec![Number::from(f64::NAN); data.len()];
        for piece in &equation.pieces {
            run_piece(program, values, random, piece, data, &mut result);
        }
        values[equation.result] = result;
    }
}

fn run_piece(
    program: &Program,
    values: &Values,
    random: RandomState,
    piece: &Piece,
    data: &TensorData,
    out: &mut [Number],
) {
    let mut point = Point { program, values, random, at: SecondaryMap::new() };
    for_each_point(&mut point, &piece.axes, &mut |point| {
        let offset = offset(&data.shape, &piece.at, point).expect("a piece stores inside its result");
        out[offset] = point.evaluate(piece.body);
    });
}

/// A place of evaluation: a value for every axis in scope.
struct Point<'a> {
    program: &'a Program,
    values: &'a Values,
    random: RandomState,
    at: SecondaryMap<Axis, i64>,
}

fn for_each_point(point: &mut Point<'_>, axes: &[Axis], visit: &mut dyn FnMut(&mut Point<'_>)) {
    let Some((first, rest)) = axes.split_first() else { return visit(point) };
    for value in 0..point.program.axes[*first].extent {
        point.at[*first] = value;
        for_each_point(point, rest, visit);
    }
}

/// The row-major offset of an element, or none where it lies outside.
fn offset(shape: &[i64], index: &[Index], point: &Point<'_>) -> Option<usize> {
    let mut offset = 0;
    for (extent, index) in shape.iter().zip(index) {
        let at = index.evaluate(&|axis| point.at[axis]);
        if at < 0 || at >= *extent {
            return None;
        }
        offset = offset * extent + at;
    }
    Some(offset as usize)
}

impl Point<'_> {
    fn evaluate(&mut self, id: ExprId) -> Number {
        let program = self.program;
        match &program.exprs[id] {
            Expr::Const(value) => value.get().into(),
            Expr::Number(index) => (index.evaluate(&|axis| self.at[axis]) as f64).into(),
            Expr::Read { tensor, index, fill } => {
                match (offset(&program.tensors[*tensor].shape, index, self), fill) {
                    (Some(offset), _) => self.values[*tensor][offset],
                    (None, Some(fill)) => fill.get().into(),
                    (None, None) => panic!("read of {tensor} out of bounds"),
                }
            }
            Expr::Unary(op, x) => unary(*op, self.evaluate(*x)),
            Expr::Binary(op, x, y) => binary(*op, self.evaluate(*x), self.evaluate(*y)),
            Expr::Select(condition, x, y) => {
                let chosen = if self.evaluate(*condition).value != 0.0 { x } else { y };
                self.evaluate(*chosen)
            }
            Expr::Reduce { op, axes, body } => self.reduce(*op, axes, *body),
            Expr::Uniform { stream, element } => {
                let element = element.evaluate(&|axis| self.at[axis]) as u32;
                f64::from(philox::uniform(self.random, *stream, element)).into()
            }
            Expr::Detach(x) => self.evaluate(*x),
        }
    }

    fn reduce(&mut self, op: Reduction, axes: &[Axis], body: ExprId) -> Number {
        let mut state = Accumulator::new(op);
        for_each_point(self, axes, &mut |point| {
            let element = point.evaluate(body);
            state.add(element);
        });
        state.result()
    }
}

struct Accumulator {
    op: Reduction,
    total: Number,
    best: i64,
    count: i64,
}

impl Accumulator {
    fn new(op: Reduction) -> Accumulator {
        let start = match op {
            Reduction::Sum => 0.0,
            Reduction::Prod => 1.0,
            Reduction::Max | Reduction::ArgMax => f64::NEG_INFINITY,
            Reduction::Min | Reduction::ArgMin => f64::INFINITY,
        };
        let total = match op {
            Reduction::Sum | Reduction::Prod => start.into(),
            _ => Number { value: start, magnitude: 0.0 },
        };
        Accumulator { op, total, best: 0, count: 0 }
    }

    fn add(&mut self, x: Number) {
        match self.op {
            Reduction::Sum => self.total = binary(Binary::Add, self.total, x),
            Reduction::Prod => self.total = binary(Binary::Mul, self.total, x),
            Reduction::Max => self.total = binary(Binary::Max, self.total, x),
            Reduction::Min => self.total = binary(Binary::Min, self.total, x),
            Reduction::ArgMax => self.challenge(x, x.value > self.total.value),
            Reduction::ArgMin => self.challenge(x, x.value < self.total.value),
        }
        self.count += 1;
    }

    /// Takes the element as the best so far if it is better, or the first NaN.
    fn challenge(&mut self, x: Number, better: bool) {
        if better || (x.value.is_nan() && !self.total.value.is_nan()) {
            self.total = x;
            self.best = self.count;
        }
    }

    fn result(self) -> Number {
        match self.op {
            Reduction::Sum | Reduction::Prod | Reduction::Max | Reduction::Min => self.total,
            Reduction::ArgMax | Reduction::ArgMin => (self.best as f64).into(),
        }
    }
}

fn unary(op: Unary, x: Number) -> Number {
    let v = x.value;
    let (value, slope) = match op {
        Unary::Neg => (-v, 1.0),
        Unary::Exp => (v.exp(), v.exp()),
        Unary::Expm1 => (v.exp_m1(), v.exp()),
        Unary::Log => (v.ln(), 1.0 / v),
        Unary::Log1p => (v.ln_1p(), 1.0 / (1.0 + v)),
        Unary::Sqrt => (v.sqrt(), 0.5 / v.sqrt()),
        Unary::Rsqrt => (1.0 / v.sqrt(), 0.5 / (v * v.sqrt())),
        Unary::Tanh => (v.tanh(), 1.0 - v.tanh() * v.tanh()),
        Unary::Sigmoid => (sigmoid(v), sigmoid(v) * (1.0 - sigmoid(v))),
        Unary::Erf => (erf(v), std::f64::consts::FRAC_2_SQRT_PI * (-v * v).exp()),
        Unary::Sin => (angle(v).sin(), angle(v).cos()),
        Unary::Cos => (angle(v).cos(), angle(v).sin()),
        Unary::Abs => (v.abs(), 1.0),
        Unary::Floor => (v.floor(), 0.0),
        Unary::Not => return f64::from(v == 0.0).into(),
    };
    let magnitude = match op {
        Unary::Neg | Unary::Abs => x.magnitude,
        _ => value.abs() + scaled(slope.abs(), x.magnitude),
    };
    Number { value, magnitude }.in_range()
}

fn binary(op: Binary, x: Number, y: Number) -> Number {
    let (a, b) = (x.value, y.value);
    let truth = |value: bool| Number::from(f64::from(value));
    let number = match op {
        Binary::Add => Number { value: a + b, magnitude: x.magnitude + y.magnitude },
        Binary::Sub => Number { value: a - b, magnitude: x.magnitude + y.magnitude },
        Binary::Mul => Number { value: a * b, magnitude: scaled(x.magnitude, y.magnitude) },
        Binary::Div => Number { value: a / b, magnitude: quotient_magnitude(x, y) },
        Binary::Pow => power(x, y),
        Binary::Min => Number { value: smaller(a, b), magnitude: larger_magnitude(x, y) },
        Binary::Max => Number { value: -smaller(-a, -b), magnitude: larger_magnitude(x, y) },
        Binary::Eq => truth(a == b),
        Binary::Ne => truth(a != b),
        Binary::Lt => truth(a < b),
        Binary::Le => truth(a <= b),
        Binary::Gt => truth(a > b),
        Binary::Ge => truth(a >= b),
        Binary::And => truth(a != 0.0 && b != 0.0),
        Binary::Or => truth(a != 0.0 || b != 0.0),
    };
    number.in_range()
}

/// A product of magnitudes, where nothing times anything is nothing: what lies outside a softmax pooling's window has
/// an infinite magnitude and the weight 0.
fn scaled(x: f64, y: f64) -> f64 {
    if x == 0.0 || y == 0.0 { 0.0 } else { x * y }
}

/// The magnitude of a quotient; what is divided by infinity is nothing.
fn quotient_magnitude(x: Number, y: Number) -> f64 {
    let b = y.value;
    if b.is_infinite() { 0.0 } else { scaled(x.magnitude, y.magnitude) / (b * b) }
}

/// The magnitude of the larger or smaller of two: rounding can turn the choice between them, but not to an infinite
/// one, the fill value of a padded pooling.
fn larger_magnitude(x: Number, y: Number) -> f64 {
    match (x.value.is_infinite(), y.value.is_infinite()) {
        (true, false) => y.magnitude,
        (false, true) => x.magnitude,
        _ => x.magnitude.max(y.magnitude),
    }
}

fn power(x: Number, y: Number) -> Number {
    let value = x.value.powf(y.value);
    let relative = y.value.abs() * x.magnitude / x.value.abs().max(f64::MIN_POSITIVE)
        + x.value.abs().max(f64::MIN_POSITIVE).ln().abs() * y.magnitude;
    let magnitude = if relative < f64::MAX { value.abs() * (1.0 + relative) } else { f64::INFINITY };
    Number { value, magnitude }
}

fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// An angle that has a sine.
fn angle(x: f64) -> f64 {
    if x.abs() < LARGEST_ANGLE { x } else { f64::NAN }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The error function: its power series near 0, a continued fraction for the tail (Abramowitz and Stegun 7.1.6 and
/// 7.1.14).
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let t = x.abs();
    if t > 6.0 {
        return x.signum();
    }
    if t > 2.5 {
        let fraction = (1..=120).rev().fold(0.0, |tail, k| f64::from(k) / 2.0 / (t + tail));
        let tail = (-t * t).exp() / (t + fraction) / std::f64::consts::PI.sqrt();
        return x.signum() * (1.0 - tail);
    }
    let (mut term, mut sum) = (t, t);
    for n in 1..120 {
        term *= 2.0 * t * t / f64::from(2 * n + 1);
        sum += term;
    }
    x.signum() * std::f64::consts::FRAC_2_SQRT_PI * (-t * t).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::te::DType;

    #[test]
    fn error_function_at_known_points() {
        for (x, expected) in
            [(0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9), (3.0, 0.999_977_909_503_001_4)]
        {
            assert!((erf(x) - expected).abs() < 1e-14, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
    }

    #[test]
    fn agreement_is_of_single_elements() {
        let three = Number { value: 3.0, magnitude: 8.0 };
        assert_eq!(three.agrees(3.5, 0.1, 0.0), Some(true));
        for far in [4.0, 2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(three.agrees(far, 0.1, 0.0), Some(false), "{far}");
        }
        let (nan, infinite) = (Number::from(f64::NAN), Number::from(f64::INFINITY));
        assert_eq!(
            [nan.agrees(f64::NAN, 0.1, 0.0), infinite.agrees(f64::INFINITY, 0.1, 0.0)],
            [Some(true); 2]
        );
        for found in [0.0, 3e38, f64::NEG_INFINITY] {
            let judged = [nan.agrees(found, 0.1, 0.0), infinite.agrees(found, 0.1, 0.0)];
            assert_eq!(judged, [Some(false); 2], "{found}");
        }
        assert_eq!(infinite.agrees(f64::NAN, 0.1, 0.0), Some(false));
        let unknown = Number { value: 3.0, magnitude: f64::NAN };
        assert_eq!(
            unknown.agrees(3.0, 0.1, 0.0),
            Some(false),
            "a magnitude that is no number proves nothing"
        );
    }

    /// What left the range of single precision once is not judged, but infinities on purpose are numbers like others.
    #[test]
    fn magnitudes_know_the_range_of_single_precision() {
        let of = Number::from;
        let back = binary(Binary::Div, binary(Binary::Mul, of(1e25), of(1e25)), of(1e50));
        assert_eq!(back.agrees(1.0, 0.1, 0.0), None);
        assert_eq!(binary(Binary::Max, of(2.0), of(f64::NEG_INFINITY)), of(2.0));
        assert_eq!(binary(Binary::Div, of(2.0), of(f64::INFINITY)), of(0.0));
        assert_eq!(unary(Unary::Exp, of(f64::NEG_INFINITY)), of(0.0));
    }

    #[test]
    fn a_sum_of_products() {
        let mut program = Program::default();
        let (a, b) = (program.input("a", DType::F32, vec![2, 3]), program.input("b", DType::F32, vec![3]));
        let (i, k) = (program.axis("i", 2), program.axis("k", 3));
        let x = program.exprs.read(a, vec![i.into(), k.into()]);
        let y = program.exprs.read(b, vec![k.into()]);
        let product = program.exprs.binary(Binary::Mul, x, y);
        let body = program.exprs.reduce(Reduction::Sum, vec![k], product);
        let c = program.tensor("c", DType::F32, vec![2]);
        program.define(c, vec![i], body);
        let mut values = Values::new();
        values[a] = [1.0, 2.0, 3.0, -1.0, 0.0, 1.0].map(Number::from).to_vec();
        values[b] = [1.0, 1.0, 2.0].map(Number::from).to_vec();
        run(&program, &mut values, RandomState::default());
        assert_eq!(values[c], [Number::from(9.0), Number { value: 1.0, magnitude: 3.0 }]);
    }
}
