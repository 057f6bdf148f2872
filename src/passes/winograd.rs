//! Winograd's minimal filtering: convolutions of 3×3 by tiles, with fewer multiplications.
//!
//! `y[n, o, i, j] = sum[c, u, v] x[n, c, i + u, j + v] * w[o, c, u, v]` becomes, for tiles of `m × m` results,
//!
//! ```text
//! U[a, b, o, c]         = T w T'       once for all tiles
//! V[n, t, s, a, b, c]   = B x B'       of each tile t, s: m + 2 by m + 2 elements of x
//! M[n, t, s, a, b, o]   = sum[c] U * V
//! y[n, o, m*t+r, m*s+q] = R M R'
//! ```
//!
//! with the matrices of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015): `(m + 2)²`
//! multiplications a tile and channel instead of `9 m²`, which are 4 times fewer for `m = 4`, 2.25 times for `m = 2`.
//! The result is another sum of other numbers, so it rounds otherwise, and `fast_math = false` leaves it out. A
//! convolution is recognised by its form; the gradient by its input is one as well, and that by its weights is one whose
//! filters are tiles of the gradient of the results (`winograd::gradient`).
//!
//! Which matrix row makes an element is a choice by the element's index. The scheduler unrolls the loops that decide
//! such choices, so none is left in the code.

mod convolution;
mod gradient;
mod matrices;

use crate::base::hash::HashMap;

use crate::te::{
    Atom, Axis, Binary, DType, Equation, Expr, ExprId, Index, Piece, Program, Reduction, Tensor,
};

use matrices::{SCHEMES, Scheme, TAPS};

/// What a multiply-add of the small products costs beside one of a direct convolution, whose tiles are larger.
const SMALLER_TILES: f64 = 1.15;

/// The direct way must cost at least so many times what the transformed one does.
const WORTH: f64 = 1.4;

/// Vector operations for an element of a transformed input, and of products that are transformed to results.
const INWARDS: f64 = 8.0;
const OUTWARDS: f64 = 6.0;

/// Transforms the convolutions that are worth it, `lanes` pictures being computed side by side.
pub fn run(program: &mut Program, lanes: i64) {
    for equation in std::mem::take(&mut program.equations) {
        let done = filtering(program, &equation).is_some_and(|filtering| {
            [convolution::REWRITE, gradient::REWRITE]
                .iter()
                .any(|rewrite| rewrite.take(program, &filtering, lanes))
        });
        if !done {
            program.equations.push(equation);
        }
    }
}

/// A sum of products of which one factor is read at `pixel + tap`, in two of its indices.
struct Filtering {
    result: Tensor,
    piece: Piece,
    summed: Vec<Axis>,
    /// The read with windows.
    input: ExprId,
    /// The other one.
    filter: ExprId,
    pixels: [Axis; 2],
    taps: [Tap; 2],
}

/// What the axes of a filtering are to the network.
struct Roles {
    pictures: Axis,
    /// The axes of the result that only the filter has.
    outputs: Vec<Axis>,
    /// Those of the input, but for windows and pictures.
    channels: Vec<Axis>,
}

/// A kind of filtering that tiles can replace.
struct Rewrite {
    /// The roles, if it is of the kind.
    roles: fn(&Program, &Filtering) -> Option<Roles>,
    /// Vector operations a pixel, given the points of channels and of outputs, and how many vectors of pixels there are.
    cost: fn(&Scheme, [f64; 2], f64) -> f64,
    /// Adds the equations that replace it.
    transform: fn(&mut Program, &Filtering, &Roles, &Scheme),
}

impl Rewrite {
    /// Replaces a filtering by the equations above, if it is of the kind and that is worth it.
    fn take(&self, program: &mut Program, filtering: &Filtering, lanes: i64) -> bool {
        let Some(roles) = (self.roles)(program, filtering) else { return false };
        let channels = [&roles.channels, &roles.outputs].map(|axes| points(program, axes));
        let pictures = program.axes[roles.pictures].extent;
        let cost = |scheme: &Scheme, vectors: f64| (self.cost)(scheme, channels, vectors);
        let products = channels.iter().product();
        let found = scheme(program, filtering, [pictures, lanes], products, cost);
        found.map(|scheme| (self.transform)(program, filtering, &roles, scheme)).is_some()
    }
}

/// An axis of taps, and whether it walks backwards through the input.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tap {
    axis: Axis,
    backwards: bool,
}

impl Tap {
    /// The value of the axis at the tap of a number, counted forwards through the input.
    fn at(self, number: i64) -> (Axis, Index) {
        (self.axis, Index::from(if self.backwards { TAPS - 1 - number } else { number }))
    }
}

impl Filtering {
    /// The axes that are free or summed, but for those of the windows, in which a factor is read.
    fn axes(&self, program: &Program, of: &[Axis], factor: ExprId) -> Vec<Axis> {
        let read = program.free_axes(factor);
        let is_window =
            |axis: &Axis| self.pixels.contains(axis) || self.taps.iter().any(|tap| tap.axis == *axis);
        of.iter().copied().filter(|axis| read.contains(axis) && !is_window(axis)).collect()
    }

    /// The pictures: the axis alone that is the first index of a factor.
    fn pictures(&self, program: &Program, factor: ExprId) -> Option<Axis> {
        match &program.exprs[factor] {
            Expr::Read { index, .. } => index.first()?.as_axis(),
            _ => None,
        }
    }
}

fn filtering(program: &Program, equation: &Equation) -> Option<Filtering> {
    let [piece] = equation.pieces.as_slice() else { return None };
    let Expr::Reduce { op: Reduction::Sum, axes: summed, body } = &program.exprs[piece.body] else {
        return None;
    };
    let Expr::Binary(Binary::Mul, one, other) = program.exprs[*body] else { return None };
    let is_whole = piece.at.iter().filter_map(Index::as_axis).eq(piece.axes.iter().copied());
    if !is_whole || piece.at.len() != piece.axes.len() {
        return None;
    }
    [(one, other), (other, one)].into_iter().find_map(|(input, filter)| {
        let is_read = matches!(program.exprs[filter], Expr::Read { fill: None, .. });
        let (pixels, taps) = windows(program, input).filter(|_| is_read)?;
        let (piece, summed) = (piece.clone(), summed.clone());
        Some(Filtering { result: equation.result, piece, summed, input, filter, pixels, taps })
    })
}

/// The pixels and the taps beside them, if a read has two indices `i + u + k` or `i - u + k`, with three taps `u` each,
/// and these axes nowhere else.
fn windows(program: &Program, input: ExprId) -> Option<([Axis; 2], [Tap; 2])> {
    let Expr::Read { index, .. } = &program.exprs[input] else { return None };
    let extent = |axis: Axis| program.axes[axis].extent;
    let pair = |index: &Index| {
        let [(Atom::Axis(one), a), (Atom::Axis(other), b)] = index.terms() else { return None };
        let as_pair = |(pixel, forwards): (Axis, i64), (axis, step): (Axis, i64)| {
            let is_window = forwards == 1 && step.abs() == 1 && extent(axis) == TAPS && extent(pixel) > TAPS;
            is_window.then_some((pixel, Tap { axis, backwards: step < 0 }))
        };
        as_pair((*one, *a), (*other, *b)).or_else(|| as_pair((*other, *b), (*one, *a)))
    };
    let found: Vec<(usize, (Axis, Tap))> =
        index.iter().enumerate().filter_map(|(at, index)| Some((at, pair(index)?))).collect();
    let [(first, (i, u)), (second, (j, v))] = found[..] else { return None };
    let mut others = index.iter().enumerate().filter(|(at, _)| *at != first && *at != second);
    let apart = others.all(|(_, index)| ![i, j, u.axis, v.axis].iter().any(|axis| index.mentions(*axis)));
    (apart && i != j && u.axis != v.axis).then_some(([i, j], [u, v]))
}

/// The cheapest scheme whose tiles fill the pixels, if it is much cheaper than the direct way. `cost` is that of a scheme
/// in vector operations a pixel, given how many vectors of pixels there are; `products` are those of a pixel and tap.
fn scheme(
    program: &Program,
    filtering: &Filtering,
    [pictures, lanes]: [i64; 2],
    products: f64,
    cost: impl Fn(&Scheme, f64) -> f64,
) -> Option<&'static Scheme> {
    let extent = |axis: &Axis| program.axes[*axis].extent;
    if pictures < lanes {
        return None;
    }
    let vectors = pictures as u64 as f64 / lanes as f64;
    let pixels: i64 = filtering.pixels.iter().map(extent).product();
    let direct = (TAPS * TAPS) as f64 * products;
    let fits = |scheme: &&Scheme| filtering.pixels.iter().all(|axis| extent(axis) % scheme.m == 0);
    SCHEMES
        .iter()
        .filter(fits)
        .map(|scheme| (scheme, cost(scheme, vectors.ceil() * pixels as f64)))
        .filter(|(_, cost)| cost * WORTH < direct)
        .min_by(|one, other| one.1.total_cmp(&other.1))
        .map(|(scheme, _)| scheme)
}

/// The points of a product of some axes.
fn points(program: &Program, axes: &[Axis]) -> f64 {
    axes.iter().map(|axis| program.axes[*axis].extent).product::<i64>() as f64
}

fn indices(axes: &[&[Axis]]) -> Vec<Index> {
    axes.concat().into_iter().map(Index::from).collect()
}

fn copies(program: &mut Program, axes: &[Axis]) -> Vec<Axis> {
    axes.iter().map(|axis| program.copy_axis(*axis)).collect()
}

/// The tiles of rows and columns.
fn tiles(program: &mut Program, filtering: &Filtering, scheme: &Scheme) -> [Axis; 2] {
    filtering.pixels.map(|axis| program.axis("t", program.axes[axis].extent / scheme.m))
}

/// The axes of the elements of a transformed tile.
fn elements(program: &mut Program, scheme: &Scheme) -> [Axis; 2] {
    ["a", "b"].map(|name| program.axis(name, scheme.points()))
}

/// Where a tile's element of a number stands among the pixels of one direction.
fn pixel(tile: Axis, scheme: &Scheme, number: i64) -> Index {
    Index::from(tile).scale(scheme.m).offset(number)
}

/// Defines a new tensor, a part of the way to another one, with a dimension for each axis.
fn define(program: &mut Program, (of, part): (Tensor, &str), axes: &[&[Axis]], body: ExprId) -> Tensor {
    let axes = axes.concat();
    let shape = axes.iter().map(|axis| program.axes[*axis].extent).collect();
    let tensor = program.derived(of, part, DType::F32, shape);
    program.define(tensor, axes, body);
    tensor
}

/// An element of the transformed input of a tile.
fn transformed_input(
    program: &mut Program,
    filtering: &Filtering,
    scheme: &Scheme,
    elements: [Axis; 2],
    [t, s]: [Axis; 2],
) -> ExprId {
    let Filtering { input, pixels, taps, .. } = filtering;
    matrices::inwards(program, scheme.input, elements, &mut |program, row, column| {
        let at = [(pixels[0], pixel(t, scheme, row)), (pixels[1], pixel(s, scheme, column))];
        program.substitute(
            *input,
            &HashMap::from_iter([at[0].clone(), at[1].clone(), taps[0].at(0), taps[1].at(0)]),
        )
    })
}
