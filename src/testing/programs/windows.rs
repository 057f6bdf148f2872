//! Steps that reduce over windows: contractions and poolings.

use crate::te::{Axis, Binary, DType, Expr, ExprId, Index, Reduction, Tensor};

use super::Generator;

/// How a window moves along a dimension.
#[derive(Clone, Copy)]
struct Window {
    kernel: i64,
    stride: i64,
    pad: i64,
    dilation: i64,
    out: i64,
}

/// A window that fits an extent.
fn window(g: &mut Generator, extent: i64, largest_pad: i64) -> Window {
    loop {
        let (kernel, stride, dilation) = (g.between(1, 4), g.between(1, 3), g.between(1, 2));
        let pad = g.between(0, largest_pad.min(kernel / 2));
        let room = extent + 2 * pad - dilation * (kernel - 1) - 1;
        if room >= 0 {
            return Window { kernel, stride, pad, dilation, out: room / stride + 1 };
        }
    }
}

impl Window {
    /// `s*i + d*u - p`.
    fn index(&self, g: &Generator, i: Axis, u: Axis) -> Index {
        let tap = Index::from(u).scale(self.dilation);
        Index::from(i).scale(self.stride).add(&tap, &g.program.axes).offset(-self.pad)
    }
}

/// A read that says what lies outside only where it can leave the tensor.
fn read_window(g: &mut Generator, x: Tensor, index: Vec<Index>, fill: f64) -> ExprId {
    match g.program.in_bounds(x, &index) {
        true => g.program.exprs.read(x, index),
        false => g.filled(x, index, fill),
    }
}

/// A convolution over one or two dimensions.
pub fn convolution(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let [batch, channels, height, width] = *g.shape(x).as_slice() else { return None };
    let (rows, columns) = (window(g, height, 2), window(g, width, 2));
    let out = g.between(1, g.limits.channels);
    let w = g.input("w", DType::F32, vec![out, channels, rows.kernel, columns.kernel]);
    let axes = g.axes(&[batch, out, rows.out, columns.out]);
    let taps = [("c", channels), ("u", rows.kernel), ("v", columns.kernel)];
    let taps = taps.map(|(name, extent)| g.program.axis(name, extent));
    let index = vec![
        axes[0].into(),
        taps[0].into(),
        rows.index(g, axes[2], taps[1]),
        columns.index(g, axes[3], taps[2]),
    ];
    let image = read_window(g, x, index, 0.0);
    let weight = g.read(w, &[axes[1], taps[0], taps[1], taps[2]]);
    let body = contraction(g, image, weight, &taps);
    let bound = g.bound(x) * (channels * rows.kernel * columns.kernel) as f64 / 2.0;
    Some(g.define("conv", vec![batch, out, rows.out, columns.out], axes, body, bound))
}

fn contraction(g: &mut Generator, x: ExprId, y: ExprId, axes: &[Axis]) -> ExprId {
    let product = g.binary(Binary::Mul, x, y);
    g.program.exprs.reduce(Reduction::Sum, axes.to_vec(), product)
}

/// A convolution in two groups, or one a channel, along the rows.
pub fn grouped(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let [batch, channels, height, width] = *g.shape(x).as_slice() else { return None };
    let groups = if channels % 2 == 0 && g.chance(0.5) { 2 } else { channels };
    let (inside, out) = (channels / groups, g.between(1, 2));
    let rows = window(g, height, 1);
    let w = g.input("w", DType::F32, vec![groups * out, inside, rows.kernel]);
    let axes = g.axes(&[batch, groups * out, rows.out, width]);
    let (c, u) = (g.program.axis("c", inside), g.program.axis("u", rows.kernel));
    let group = Index::from(axes[1]).div(out, &g.program.axes);
    let channel = group.scale(inside).add(&Index::from(c), &g.program.axes);
    let index = vec![axes[0].into(), channel, rows.index(g, axes[2], u), axes[3].into()];
    let image = read_window(g, x, index, 0.0);
    let weight = g.read(w, &[axes[1], c, u]);
    let body = contraction(g, image, weight, &[c, u]);
    let bound = g.bound(x) * (inside * rows.kernel) as f64 / 2.0;
    Some(g.define("grouped", vec![batch, groups * out, rows.out, width], axes, body, bound))
}

/// A matrix product with a bias.
pub fn linear(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let [batch, inner] = *g.shape(x).as_slice() else { return None };
    let out = g.between(1, g.limits.channels);
    let (w, b) = (g.input("w", DType::F32, vec![out, inner]), g.input("w", DType::F32, vec![out]));
    let (axes, k) = (g.axes(&[batch, out]), g.program.axis("k", inner));
    let (x_read, w_read) = (g.read(x, &[axes[0], k]), g.read(w, &[axes[1], k]));
    let sum = contraction(g, x_read, w_read, &[k]);
    let bias = g.read(b, &axes[1..]);
    let body = g.binary(Binary::Add, sum, bias);
    let bound = g.bound(x) * inner as f64 / 2.0 + 1.0;
    Some(g.define("linear", vec![batch, out], axes, body, bound))
}

/// The neutral element of a reduction.
fn neutral(op: Reduction) -> f64 {
    match op {
        Reduction::Sum => 0.0,
        Reduction::Prod => 1.0,
        Reduction::Max | Reduction::ArgMax => f64::NEG_INFINITY,
        Reduction::Min | Reduction::ArgMin => f64::INFINITY,
    }
}

fn any_pooling(g: &mut Generator) -> Reduction {
    g.pick(&[Reduction::Max, Reduction::Min, Reduction::Sum, Reduction::Prod])
}

fn pooled_bound(op: Reduction, bound: f64, terms: i64) -> f64 {
    match op {
        Reduction::Sum => bound * terms as f64,
        Reduction::Prod => bound.max(1.0).powi(terms.min(30) as i32),
        _ => bound,
    }
}

/// A pooling of rows and columns.
pub fn pooling(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let [batch, channels, height, width] = *g.shape(x).as_slice() else { return None };
    let op = any_pooling(g);
    if op == Reduction::Prod && g.bound(x) > 1.5 {
        return None;
    }
    let (rows, columns) = (window(g, height, 1), window(g, width, 1));
    let axes = g.axes(&[batch, channels, rows.out, columns.out]);
    let (u, v) = (g.program.axis("u", rows.kernel), g.program.axis("v", columns.kernel));
    let index = vec![axes[0].into(), axes[1].into(), rows.index(g, axes[2], u), columns.index(g, axes[3], v)];
    let outside = if op == Reduction::Max && g.chance(0.3) { 0.0 } else { neutral(op) };
    let read = read_window(g, x, index, outside);
    let body = g.program.exprs.reduce(op, vec![u, v], read);
    let bound = pooled_bound(op, g.bound(x), rows.kernel * columns.kernel);
    let empty = rows.pad + columns.pad > 0 && outside.is_infinite();
    let result = g.define("pool", vec![batch, channels, rows.out, columns.out], axes, body, bound);
    // A window that lies wholly in the padding is infinite; it must not meet arithmetic.
    Some(if empty { finite(g, result) } else { result })
}

/// `if abs(x) < 1000 { x } else { 0 }`.
fn finite(g: &mut Generator, x: Tensor) -> Tensor {
    g.pointwise("finite", x, |g, x, _| {
        let size = g.program.exprs.unary(crate::te::Unary::Abs, x);
        let (limit, zero) = (g.constant(1000.0), g.constant(0.0));
        let small = g.binary(Binary::Lt, size, limit);
        g.program.exprs.select(small, x, zero)
    })
}

/// A pooling of neighbouring channels.
pub fn channel_pooling(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let mut shape = g.shape(x);
    let size = g.between(2, 3);
    if shape[1] % size != 0 {
        return None;
    }
    let op = any_pooling(g);
    shape[1] /= size;
    let (axes, d) = (g.axes(&shape), g.program.axis("d", size));
    let mut index: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
    index[1] = index[1].scale(size).add(&Index::from(d), &g.program.axes);
    let read = g.program.exprs.read(x, index);
    let body = g.program.exprs.reduce(op, vec![d], read);
    let bound = pooled_bound(op, g.bound(x), size);
    Some(g.define("depth", shape, axes, body, bound))
}

/// Means over windows of different sizes: from `i*h / out` up to `((i + 1)*h + out - 1) / out`.
pub fn adaptive(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let mut shape = g.shape(x);
    let &[_, _, height, _] = shape.as_slice() else { return None };
    let out = g.between(1, height);
    shape[2] = out;
    let axes = g.axes(&shape);
    let i = Index::from(axes[2]);
    let start = i.scale(height).div(out, &g.program.axes);
    let end = i.scale(height).offset(height + out - 1).div(out, &g.program.axes);
    let u = g.program.axis("u", (height / out + 2).min(height));
    let row = start.add(&Index::from(u), &g.program.axes);
    let index = vec![axes[0].into(), axes[1].into(), row.clone(), axes[3].into()];
    let read = read_window(g, x, index, 0.0);
    let (row, end) = (Expr::Number(row), Expr::Number(end.clone()));
    let (row, end) = (g.program.exprs.add(row), g.program.exprs.add(end));
    let (inside, zero) = (g.binary(Binary::Lt, row, end), g.constant(0.0));
    let chosen = g.program.exprs.select(inside, read, zero);
    let sum = g.program.exprs.reduce(Reduction::Sum, vec![u], chosen);
    let start = g.program.exprs.add(Expr::Number(start));
    let count = g.binary(Binary::Sub, end, start);
    let body = g.binary(Binary::Div, sum, count);
    let bound = g.bound(x);
    Some(g.define("adaptive", shape, axes, body, bound))
}

/// The sum over a window whose reads stop at the border.
pub fn clamped(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let shape = g.shape(x);
    let (axes, u) = (g.axes(&shape), g.program.axis("u", 3));
    let mut index: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
    let last = shape.len() - 1;
    let program = &g.program.axes;
    let moved = index[last].add(&Index::from(u), program).offset(-1);
    let highest = Index::from(shape[last] - 1);
    index[last] = moved.max_with(&Index::from(0), program).min_with(&highest, program);
    let read = read_window(g, x, index, 0.0);
    let body = g.program.exprs.reduce(Reduction::Sum, vec![u], read);
    let bound = 3.0 * g.bound(x);
    Some(g.define("clamped", shape, axes, body, bound))
}

/// Sums of everything up to a position: a condition between two axes.
pub fn triangle(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let shape = g.shape(x);
    let last = shape.len() - 1;
    let (axes, k) = (g.axes(&shape), g.program.axis("k", shape[last]));
    let mut at = axes.clone();
    at[last] = k;
    let read = g.read(x, &at);
    let numbers = [k, axes[last]].map(|axis| g.program.exprs.add(Expr::Number(Index::from(axis))));
    let (before, zero) = (g.binary(Binary::Le, numbers[0], numbers[1]), g.constant(0.0));
    let chosen = g.program.exprs.select(before, read, zero);
    let body = g.program.exprs.reduce(Reduction::Sum, vec![k], chosen);
    let bound = g.bound(x) * shape[last] as f64 / 2.0 + 1.0;
    Some(g.define("triangle", shape, axes, body, bound))
}
