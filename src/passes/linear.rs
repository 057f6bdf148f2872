//! Sums are linear: factors that do not vary move out, and deviations from a mean sum to 0.
//!
//! `sum[k] a[k] * b` becomes `b * sum[k] a[k]`, also where the product stands in an equation of its own, so that
//! several statistics over one domain become the same few sums, and one pass over the data computes them: this is what
//! makes the backward pass of a batch normalisation one reducing and one element-wise pass. Works on canonical
//! equations.
//!
//! Deviations from a detached mean sum to what its rounding left: who detaches it asks for that. No pass after this one
//! sees `detach`.

use crate::base::hash::HashMap;

use crate::te::{Axis, Binary, Equation, Expr, ExprId, Index, Piece, Program, Reduction, Tensor};

/// Opens products at most so many times for one sum.
const MOST_OPENINGS: usize = 8;

/// Simplifies all sums.
pub fn run(program: &mut Program) {
    let mut known = Known::default();
    for equation in std::mem::take(&mut program.equations) {
        let equation = match simplified(program, &known, &equation) {
            Some(Simplified::Zero) => zero(program, equation),
            Some(Simplified::Product { outer, inner }) => factored(program, equation, outer, inner),
            None => equation,
        };
        known.remember(program, &equation);
        program.equations.push(equation);
    }
    attach(program);
}

/// Removes every `detach`.
fn attach(program: &mut Program) {
    for mut equation in std::mem::take(&mut program.equations) {
        for piece in &mut equation.pieces {
            piece.body = program.rewrite(piece.body, &mut |program, expr| match expr {
                Expr::Detach(x) => x,
                expr => program.exprs.add(expr),
            });
        }
        program.equations.push(equation);
    }
}

/// The equations so far that later ones can look through.
#[derive(Default)]
struct Known {
    /// Element-wise ones: their axes and what they are at them.
    element_wise: HashMap<Tensor, (Vec<Axis>, ExprId)>,
    /// Plain sums, by their piece.
    sums: HashMap<Tensor, Piece>,
    /// Sums divided by a number.
    means: HashMap<Tensor, (Tensor, f64)>,
}

/// What a sum is.
enum Simplified {
    Zero,
    /// `outer * sum inner`
    Product {
        outer: ExprId,
        inner: ExprId,
    },
}

impl Known {
    fn remember(&mut self, program: &Program, equation: &Equation) {
        let [piece] = equation.pieces.as_slice() else { return };
        let identity = piece.at.len() == piece.axes.len()
            && piece.at.iter().zip(&piece.axes).all(|(at, axis)| at.as_axis() == Some(*axis));
        if !identity {
            return;
        }
        if let Expr::Reduce { op: Reduction::Sum, .. } = &program.exprs[piece.body] {
            self.sums.insert(equation.result, piece.clone());
        }
        if !matches!(program.exprs[piece.body], Expr::Reduce { .. }) {
            self.element_wise.insert(equation.result, (piece.axes.clone(), piece.body));
        }
        let (sum, number) = match &program.exprs[piece.body] {
            Expr::Binary(Binary::Div, x, y) => (*x, program.exprs.as_constant(*y)),
            Expr::Binary(Binary::Mul, x, y) => (*x, program.exprs.as_constant(*y).map(|scale| 1.0 / scale)),
            _ => return,
        };
        if let (Expr::Read { tensor, index, .. }, Some(number)) = (&program.exprs[sum], number)
            && index.iter().zip(&piece.axes).all(|(index, axis)| index.as_axis() == Some(*axis))
        {
            self.means.insert(equation.result, (*tensor, number));
        }
    }
}

fn simplified(program: &mut Program, known: &Known, equation: &Equation) -> Option<Simplified> {
    let [piece] = equation.pieces.as_slice() else { return None };
    let Expr::Reduce { op: Reduction::Sum, axes, body } = program.exprs[piece.body].clone() else {
        return None;
    };
    let factors = opened(program, known, &axes, body);
    let varies =
        |program: &Program, factor: ExprId| program.free_axes(factor).iter().any(|axis| axes.contains(axis));
    let (mut inner, outer): (Vec<ExprId>, Vec<ExprId>) =
        factors.into_iter().partition(|factor| varies(program, *factor));
    if let [only] = inner.as_slice()
        && is_deviation(program, known, piece, &axes, *only)
    {
        return Some(Simplified::Zero);
    }
    if outer.is_empty() || inner.is_empty() {
        return None;
    }
    inner.sort();
    let product = |program: &mut Program, factors: Vec<ExprId>| {
        let one = program.exprs.constant(1.0);
        factors.into_iter().fold(one, |product, factor| program.exprs.exact_product(product, factor))
    };
    let (outer, inner) = (product(program, outer), product(program, inner));
    let inner = program.exprs.reduce(Reduction::Sum, axes, inner);
    Some(Simplified::Product { outer, inner })
}

/// The factors of a sum's body. One that is defined as a product of which a part does not vary is opened.
fn opened(program: &mut Program, known: &Known, axes: &[Axis], body: ExprId) -> Vec<ExprId> {
    let mut factors = program.exprs.signed_factors(body);
    for _ in 0..MOST_OPENINGS {
        let opening = (0..factors.len()).find_map(|at| Some((at, parts(program, known, axes, factors[at])?)));
        let Some((at, parts)) = opening else { break };
        factors.splice(at..=at, parts);
    }
    factors
}

fn parts(program: &mut Program, known: &Known, axes: &[Axis], factor: ExprId) -> Option<Vec<ExprId>> {
    let Expr::Read { tensor, index, .. } = program.exprs[factor].clone() else { return None };
    let (own, body) = known.element_wise.get(&tensor)?;
    if !program.in_bounds(tensor, &index) || program.exprs.signed_factors(*body).len() < 2 {
        return None;
    }
    let replace: HashMap<Axis, Index> = own.iter().copied().zip(index).collect();
    let body = program.substitute(*body, &replace);
    let parts = program.exprs.signed_factors(body);
    let fixed = |part: &ExprId| !program.free_axes(*part).iter().any(|axis| axes.contains(axis));
    parts.iter().any(fixed).then_some(parts)
}

/// Whether an expression is `x - mean(x)`, the mean taken over exactly the points that are summed.
fn is_deviation(program: &Program, known: &Known, piece: &Piece, axes: &[Axis], id: ExprId) -> bool {
    let Expr::Binary(Binary::Sub, x, mean) = &program.exprs[id] else { return false };
    let Expr::Read { tensor, index, .. } = &program.exprs[*mean] else { return false };
    let Some((sum, count)) = known.means.get(tensor) else { return false };
    let Some(summed) = known.sums.get(sum) else { return false };
    let Expr::Reduce { axes: summed_axes, body, .. } = &program.exprs[summed.body] else { return false };
    let points: i64 = axes.iter().map(|axis| program.axes[*axis].extent).product();
    let same_place = index.iter().zip(&piece.axes).all(|(index, axis)| index.as_axis() == Some(*axis));
    same_place
        && summed.axes == piece.axes
        && summed_axes == axes
        && body == x
        && (planted!("passes.linear.count") || *count == points as f64)
}

fn zero(program: &mut Program, mut equation: Equation) -> Equation {
    for piece in &mut equation.pieces {
        piece.body = program.exprs.constant(0.0);
    }
    equation
}

/// Gives the inner sum an equation of its own and returns the product.
fn factored(program: &mut Program, mut equation: Equation, outer: ExprId, inner: ExprId) -> Equation {
    let data = program.tensors[equation.result].clone();
    let piece = &mut equation.pieces[0];
    let free = program.free_axes(inner);
    let axes: Vec<Axis> = piece.axes.iter().copied().filter(|axis| free.contains(axis)).collect();
    let shape = axes.iter().map(|axis| program.axes[*axis].extent).collect();
    let sum = program.derived(equation.result, "sum", data.dtype, shape);
    let read = program.exprs.read(sum, axes.iter().map(|axis| Index::from(*axis)).collect());
    piece.body = program.exprs.exact_product(read, outer);
    program.define(sum, axes, inner);
    equation
}
