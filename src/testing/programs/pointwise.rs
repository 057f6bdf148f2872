//! Steps that work element by element, and statistics.

use crate::te::{Axis, Binary, DType, Expr, ExprId, Index, Reduction, Tensor, Unary};

use super::Generator;

/// A smooth or piecewise smooth function of one number.
pub fn unary(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let functions: Vec<Unary> = [Unary::Neg].into_iter().chain(Unary::FUNCTIONS).collect();
    let op = g.pick(&functions);
    let result = g.pointwise("f", x, |g, x, _| {
        let argument = match op {
            Unary::Log | Unary::Sqrt | Unary::Rsqrt => positive(g, x),
            Unary::Exp | Unary::Expm1 => g.program.exprs.unary(Unary::Tanh, x),
            Unary::Log1p => {
                let (bounded, half) = (g.program.exprs.unary(Unary::Tanh, x), g.constant(0.5));
                g.binary(Binary::Mul, bounded, half)
            }
            _ => x,
        };
        let value = g.program.exprs.unary(op, argument);
        if op == Unary::Floor { g.binary(Binary::Add, value, x) } else { value }
    });
    let bound = 2.0 * g.bound(x) + 1.0;
    g.bounds.insert(result, bound.max(3.0));
    Some(result)
}

/// `x * x + 0.71`.
fn positive(g: &mut Generator, x: ExprId) -> ExprId {
    let square = g.binary(Binary::Mul, x, x);
    let offset = g.constant(0.71);
    g.binary(Binary::Add, square, offset)
}

fn joined(g: &mut Generator, op: Binary, x: ExprId, y: ExprId) -> ExprId {
    match op {
        Binary::Div => {
            let y = positive(g, y);
            g.binary(op, x, y)
        }
        Binary::Pow => {
            let (base, power) = (positive(g, x), g.program.exprs.unary(Unary::Tanh, y));
            g.binary(op, base, power)
        }
        _ => g.binary(op, x, y),
    }
}

fn any_binary(g: &mut Generator) -> Binary {
    g.pick(&[Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Pow, Binary::Min, Binary::Max])
}

fn bound_of(op: Binary, x: f64, y: f64) -> f64 {
    match op {
        Binary::Mul => x * y,
        Binary::Div => x / 0.71,
        Binary::Pow => x * x + 0.71,
        _ => x + y,
    }
}

/// A function of two numbers, the second from another input of the batch.
pub fn binary(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let (op, shape) = (any_binary(g), g.shape(x));
    let other = g.input("x", DType::F32, shape);
    let bound = bound_of(op, g.bound(x), 1.0);
    let result = g.pointwise("g", x, |g, x, axes| {
        let y = g.read(other, axes);
        joined(g, op, x, y)
    });
    g.bounds.insert(result, bound);
    Some(result)
}

/// A function of an element and a parameter a channel, or of one for all.
pub fn broadcast(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let (op, shape) = (any_binary(g), g.shape(x));
    let per_channel = g.chance(0.8);
    let other = g.input("w", DType::F32, if per_channel { vec![shape[1]] } else { Vec::new() });
    let bound = bound_of(op, g.bound(x), 1.0);
    let result = g.pointwise("g", x, |g, x, axes| {
        let y = g.read(other, if per_channel { &axes[1..2] } else { &[] });
        joined(g, op, x, y)
    });
    g.bounds.insert(result, bound);
    Some(result)
}

/// A choice by a comparison with a number.
pub fn select(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let op = g.pick(&[Binary::Gt, Binary::Lt, Binary::Ge, Binary::Le]);
    let bound = g.pick(&[0.0, 0.123_456_7]);
    Some(g.pointwise("relu", x, |g, x, _| {
        let (bound, slope) = (g.constant(bound), g.constant(0.25));
        let condition = g.binary(op, x, bound);
        let small = g.binary(Binary::Mul, x, slope);
        let otherwise = if g.chance(0.5) { bound } else { small };
        g.program.exprs.select(condition, x, otherwise)
    }))
}

/// A choice by a comparison with another input and with the position.
pub fn compare(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let shape = g.shape(x);
    let other = g.input("x", DType::F32, shape);
    let join = g.pick(&[Binary::And, Binary::Or]);
    Some(g.pointwise("chosen", x, |g, x, axes| {
        let y = g.read(other, axes);
        let larger = g.binary(Binary::Gt, x, y);
        let last = *axes.last().unwrap_or(&axes[0]);
        let position = g.program.exprs.add(Expr::Number(Index::from(last)));
        let one = g.constant(1.0);
        let first = g.binary(Binary::Lt, position, one);
        let mut condition = g.binary(join, larger, first);
        if g.chance(0.3) {
            condition = g.program.exprs.unary(Unary::Not, condition);
        }
        g.program.exprs.select(condition, x, y)
    }))
}

/// Drops elements at random.
pub fn dropout(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let stream = g.below(1000) as u32;
    let shape = g.shape(x);
    let result = g.pointwise("dropped", x, |g, x, axes| {
        let mut element = Index::from(0);
        for (axis, extent) in axes.iter().zip(&shape) {
            element = element.scale(*extent).add(&Index::from(*axis), &g.program.axes);
        }
        let drawn = g.program.exprs.add(Expr::Uniform { stream, element });
        let (rate, scale, zero) = (g.constant(0.25), g.constant(4.0 / 3.0), g.constant(0.0));
        let kept = g.binary(Binary::Ge, drawn, rate);
        let scaled = g.binary(Binary::Mul, x, scale);
        g.program.exprs.select(kept, scaled, zero)
    });
    let bound = 1.5 * g.bound(x);
    g.bounds.insert(result, bound);
    Some(result)
}

/// An output with a part through which no gradient passes; finite differences would see it, so that part does not
/// depend on an input: it is a function of the position.
pub fn detach(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    Some(g.pointwise("detached", x, |g, x, axes| {
        let last = *axes.last().unwrap_or(&axes[0]);
        let position = g.program.exprs.add(Expr::Number(Index::from(last)));
        let tenth = g.constant(0.125);
        let number = g.binary(Binary::Mul, position, tenth);
        let detached = g.program.exprs.add(Expr::Detach(number));
        g.binary(Binary::Add, x, detached)
    }))
}

/// Softmax over the channels in one equation.
pub fn softmax(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let channels = g.shape(x)[1];
    let result = g.pointwise("softmax", x, |g, read, axes| {
        let at = |channel: Axis| -> Vec<Axis> {
            axes.iter().enumerate().map(|(at, axis)| if at == 1 { channel } else { *axis }).collect()
        };
        let (k, l) = (g.program.axis("k", channels), g.program.axis("l", channels));
        let (first, second) = (g.read(x, &at(k)), g.read(x, &at(l)));
        let largest = g.program.exprs.reduce(Reduction::Max, vec![k], first);
        let mut shifted_exp = |value: ExprId| {
            let shifted = g.binary(Binary::Sub, value, largest);
            g.program.exprs.unary(Unary::Exp, shifted)
        };
        let (above, term) = (shifted_exp(read), shifted_exp(second));
        let below = g.program.exprs.reduce(Reduction::Sum, vec![l], term);
        g.binary(Binary::Div, above, below)
    });
    g.bounds.insert(result, 1.0);
    Some(result)
}

/// Normalises every channel by the mean and the variance over the batch and the pixels.
pub fn statistics(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let shape = g.shape(x);
    let count = shape.iter().product::<i64>() / shape[1];
    let mean = channel_mean(g, x, None, count);
    let variance = channel_mean(g, x, Some(mean), count);
    let result = g.pointwise("normal", x, |g, x, axes| {
        let (mean, variance) = (g.read(mean, &axes[1..2]), g.read(variance, &axes[1..2]));
        let epsilon = g.constant(0.5);
        let shifted = g.binary(Binary::Sub, x, mean);
        let sum = g.binary(Binary::Add, variance, epsilon);
        let scale = g.program.exprs.unary(Unary::Rsqrt, sum);
        g.binary(Binary::Mul, shifted, scale)
    });
    g.bounds.insert(result, 3.0);
    Some(result)
}

/// The mean of a channel, or of the squared differences from its mean.
fn channel_mean(g: &mut Generator, x: Tensor, mean: Option<Tensor>, count: i64) -> Tensor {
    let shape = g.shape(x);
    let axes = g.axes(&shape);
    let mut body = g.read(x, &axes);
    if let Some(mean) = mean {
        let mean = g.read(mean, &axes[1..2]);
        let shifted = g.binary(Binary::Sub, body, mean);
        body = g.binary(Binary::Mul, shifted, shifted);
    }
    let mut summed = axes.clone();
    let channel = summed.remove(1);
    let sum = g.program.exprs.reduce(Reduction::Sum, summed, body);
    let count = g.constant(count as f64);
    let body = g.binary(Binary::Div, sum, count);
    g.define("mean", vec![shape[1]], vec![channel], body, 1.0)
}

/// The entry of the label, one a picture; the rest of the chain goes on with the input.
pub fn label(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let shape = g.shape(x);
    if shape.len() != 2 || g.program.inputs.iter().any(|t| g.program.tensors[*t].dtype == DType::I32) {
        return None;
    }
    let label = g.input("label", DType::I32, vec![shape[0]]);
    let axes = g.axes(&shape);
    let (read, wanted) = (g.read(x, &axes), g.read(label, &axes[..1]));
    let channel = g.program.exprs.add(Expr::Number(Index::from(axes[1])));
    let (equal, zero) = (g.binary(Binary::Eq, channel, wanted), g.constant(0.0));
    let chosen = g.program.exprs.select(equal, read, zero);
    let body = g.program.exprs.reduce(Reduction::Sum, vec![axes[1]], chosen);
    let bound = g.bound(x);
    let entry = g.define("entry", vec![shape[0]], vec![axes[0]], body, bound);
    g.ask_for(entry);
    Some(g.pointwise("minus_entry", x, |g, x, axes| {
        let entry = g.read(entry, &axes[..1]);
        g.binary(Binary::Sub, x, entry)
    }))
}

/// The position of the largest channel as an output; the rest of the chain goes on with the input.
pub fn winner(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let shape = g.shape(x);
    let op = g.pick(&[Reduction::ArgMax, Reduction::ArgMin]);
    let mut axes = g.axes(&shape);
    let read = g.read(x, &axes);
    let channel = axes.remove(1);
    let body = g.program.exprs.reduce(op, vec![channel], read);
    let rest = [&shape[..1], &shape[2..]].concat();
    let winner = g.program.tensor("winner", DType::I32, rest);
    g.program.define(winner, axes, body);
    g.ask_for(winner);
    Some(g.pointwise("masked", x, |g, x, axes| {
        let others = [&axes[..1], &axes[2..]].concat();
        let won = g.read(winner, &others);
        let channel = g.program.exprs.add(Expr::Number(Index::from(axes[1])));
        let (is_winner, half) = (g.binary(Binary::Eq, won, channel), g.constant(0.5));
        let small = g.binary(Binary::Mul, x, half);
        g.program.exprs.select(is_winner, x, small)
    }))
}

/// The sum with an earlier tensor of the same shape.
pub fn residual(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let shape = g.shape(x);
    let same = |t: &Tensor| {
        let data = &g.program.tensors[*t];
        *t != x && data.shape == shape && data.dtype == DType::F32
    };
    let candidates: Vec<Tensor> = g.program.tensors.keys().filter(same).collect();
    if candidates.is_empty() {
        return None;
    }
    let other = g.pick(&candidates);
    let bound = g.bound(x) + g.bound(other);
    let result = g.pointwise("sum", x, |g, x, axes| {
        let y = g.read(other, axes);
        g.binary(Binary::Add, x, y)
    });
    g.bounds.insert(result, bound);
    Some(result)
}
