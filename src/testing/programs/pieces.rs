//! Steps that move elements: reshapes, slices, and results in several pieces.

use crate::te::{DType, Equation, Index, Piece, Tensor, Unary};

use super::Generator;

/// Defines a tensor by `x` read at an index of the result's axes.
fn moved(
    g: &mut Generator,
    name: &str,
    x: Tensor,
    shape: Vec<i64>,
    index: impl FnOnce(&Generator, &[Index]) -> Vec<Index>,
) -> Tensor {
    let axes = g.axes(&shape);
    let at: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
    let index = index(g, &at);
    let body = g.program.exprs.read(x, index);
    let bound = g.bound(x);
    g.define(name, shape, axes, body, bound)
}

/// `[n, c, h, w]` as `[n, c*h*w]`.
pub fn flatten(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let [batch, channels, height, width] = *g.shape(x).as_slice() else { return None };
    Some(moved(g, "flat", x, vec![batch, channels * height * width], |g, at| {
        let axes = &g.program.axes;
        let j = &at[1];
        let row = j.div(width, axes).rem(height, axes);
        vec![at[0].clone(), j.div(height * width, axes), row, j.rem(width, axes)]
    }))
}

/// `[n, a*b]` as `[n, a, b, 1]`.
pub fn split(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let [batch, features] = *g.shape(x).as_slice() else { return None };
    let divisors: Vec<i64> = (1..=features.min(12)).filter(|k| features % k == 0).collect();
    let width = g.pick(&divisors);
    if features / width > 12 {
        return None;
    }
    Some(moved(g, "image", x, vec![batch, features / width, width, 1], |g, at| {
        vec![at[0].clone(), at[1].scale(width).add(&at[2], &g.program.axes)]
    }))
}

/// Exchanges two dimensions that are not the batch.
pub fn transpose(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let mut shape = g.shape(x);
    let rank = shape.len() as i64;
    let (a, b) = (g.between(1, rank - 1) as usize, g.between(1, rank - 1) as usize);
    if a == b {
        return None;
    }
    shape.swap(a, b);
    Some(moved(g, "turned", x, shape, |_, at| {
        let mut index = at.to_vec();
        index.swap(a, b);
        index
    }))
}

/// Every so-manieth element of a dimension, from somewhere on.
pub fn slice(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let mut shape = g.shape(x);
    let dimension = g.between(1, shape.len() as i64 - 1) as usize;
    let (start, step) = (g.below(shape[dimension].min(3)), g.between(1, 3));
    shape[dimension] = (shape[dimension] - start - 1) / step + 1;
    Some(moved(g, "slice", x, shape, |_, at| {
        let mut index = at.to_vec();
        index[dimension] = index[dimension].scale(step).offset(start);
        index
    }))
}

/// A dimension from its end to its start.
pub fn reverse(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let shape = g.shape(x);
    let dimension = g.between(1, shape.len() as i64 - 1) as usize;
    let last = shape[dimension] - 1;
    Some(moved(g, "reversed", x, shape, |_, at| {
        let mut index = at.to_vec();
        index[dimension] = index[dimension].scale(-1).offset(last);
        index
    }))
}

/// Every pixel twice in both directions.
pub fn upsample(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let [batch, channels, height, width] = *g.shape(x).as_slice() else { return None };
    if height.max(width) > 8 {
        return None;
    }
    Some(moved(g, "upsampled", x, vec![batch, channels, 2 * height, 2 * width], |g, at| {
        let axes = &g.program.axes;
        vec![at[0].clone(), at[1].clone(), at[2].div(2, axes), at[3].div(2, axes)]
    }))
}

/// A result of pieces along a dimension: each reads a tensor of its own and is stored at `step*a + start`.
struct Parts {
    dimension: usize,
    shape: Vec<i64>,
    /// Source, start, step, and whether the sign changes.
    parts: Vec<(Option<Tensor>, i64, i64, bool)>,
}

impl Parts {
    fn define(self, g: &mut Generator, name: &str, bound: f64) -> Tensor {
        let result = g.program.tensor(name, DType::F32, self.shape.clone());
        let mut pieces = Vec::new();
        for (source, start, step, negative) in &self.parts {
            let mut shape = self.shape.clone();
            shape[self.dimension] = match source {
                Some(source) => g.shape(*source)[self.dimension],
                None => 1,
            };
            let axes = g.axes(&shape);
            let mut at: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
            let mut body = match source {
                Some(source) => g.read(*source, &axes),
                None => g.constant(0.5),
            };
            if *negative {
                body = g.program.exprs.unary(Unary::Neg, body);
            }
            at[self.dimension] = at[self.dimension].scale(*step).offset(*start);
            pieces.push(Piece { axes, at, body });
        }
        g.program.equations.push(Equation { result, pieces });
        g.bounds.insert(result, bound);
        result
    }
}

/// The tensor behind itself, or behind another input, along a dimension that is not the batch.
pub fn concat(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let mut shape = g.shape(x);
    let dimension = g.between(1, shape.len() as i64 - 1) as usize;
    let own = shape[dimension];
    let itself = g.chance(0.5);
    let behind = if itself { own } else { g.between(1, 4) };
    if own + behind > 64 {
        return None;
    }
    shape[dimension] = behind;
    let other = if itself { x } else { g.input("x", DType::F32, shape.clone()) };
    shape[dimension] += own;
    let parts = vec![(Some(x), 0, 1, false), (Some(other), own, 1, true)];
    let bound = g.bound(x).max(1.0);
    Some(Parts { dimension, shape, parts }.define(g, "joined", bound))
}

/// The tensor and its negative, element by element in turn.
pub fn interleave(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let mut shape = g.shape(x);
    let dimension = g.between(1, shape.len() as i64 - 1) as usize;
    shape[dimension] *= 2;
    if shape[dimension] > 24 {
        return None;
    }
    let parts = vec![(Some(x), 0, 2, false), (Some(x), 1, 2, true)];
    let bound = g.bound(x);
    Some(Parts { dimension, shape, parts }.define(g, "woven", bound))
}

/// A border of constants around a dimension.
pub fn border(g: &mut Generator, x: Tensor) -> Option<Tensor> {
    let mut shape = g.shape(x);
    let dimension = g.between(1, shape.len() as i64 - 1) as usize;
    let own = shape[dimension];
    shape[dimension] += 2;
    let parts = vec![(None, 0, 1, false), (Some(x), 1, 1, false), (None, own + 1, 1, true)];
    let bound = g.bound(x).max(1.0);
    Some(Parts { dimension, shape, parts }.define(g, "bordered", bound))
}
