//! Gradients by the weights of convolutions: the pixels are summed, the taps are those of the result.
//!
//! `dw[o, c, u, v] = sum[n, i, j] dy[n, o, i, j] * x[n, c, i + u, j + v]` slides tiles of `dy` over tiles of `x`:
//!
//! ```text
//! F[n, a, b, o, t, s] = T dy T'      of each tile t, s: m by m elements of dy
//! V[n, a, b, c, t, s] = B x B'       m + 2 by m + 2 elements of x
//! D[a, b, o, c]       = sum[n, t, s] F * V
//! dw[o, c, u, v]      = R D R'
//! ```
//!
//! The tiles stand last, as the sum walks through them.

use crate::base::hash::HashMap;

use crate::te::{Binary, Equation, Index, Piece, Program, Reduction};

use super::matrices::{inwards, outwards};
use super::{Filtering, INWARDS, Rewrite, Roles, SMALLER_TILES, Scheme};
use super::{copies, define, elements, indices, pixel, tiles, transformed_input};

/// What it costs to join the lanes of one sum.
const FOLD: f64 = 10.0;

pub const REWRITE: Rewrite = Rewrite { roles, cost, transform };

fn roles(program: &Program, filtering: &Filtering) -> Option<Roles> {
    let Filtering { piece, summed, input, filter, pixels, taps, .. } = filtering;
    let (of_input, of_filter) = (program.free_axes(*input), program.free_axes(*filter));
    let in_place = taps.iter().all(|tap| piece.axes.contains(&tap.axis) && !of_filter.contains(&tap.axis))
        && pixels.iter().all(|axis| summed.contains(axis) && of_filter.contains(axis));
    let pictures = filtering.pictures(program, *input)?;
    let mut rest = summed.iter().filter(|axis| !pixels.contains(axis));
    let sums_pictures = rest.next() == Some(&pictures)
        && rest.next().is_none()
        && filtering.pictures(program, *filter) == Some(pictures);
    let outputs = filtering.axes(program, &piece.axes, *filter);
    let channels = filtering.axes(program, &piece.axes, *input);
    let apart = outputs.iter().all(|axis| !of_input.contains(axis));
    let forwards = planted!("passes.winograd.forwards") || taps.iter().all(|tap| !tap.backwards);
    let fits = in_place && sums_pictures && apart && forwards && !outputs.is_empty() && !channels.is_empty();
    fits.then_some(Roles { pictures, outputs, channels })
}

/// Vector operations a pixel: products, the transforms of all channels, and a share of joining lanes.
fn cost(scheme: &Scheme, [inputs, outputs]: [f64; 2], vectors: f64) -> f64 {
    let (pixels, points) = ((scheme.m * scheme.m) as f64, (scheme.points() * scheme.points()) as f64);
    let products = points * inputs * outputs * SMALLER_TILES;
    let transforms = INWARDS * points * (inputs + outputs);
    let folds = FOLD * points * inputs * outputs * pixels / vectors;
    (products + transforms + folds) / pixels
}

fn transform(program: &mut Program, filtering: &Filtering, roles: &Roles, scheme: &Scheme) {
    let Roles { pictures, outputs, channels } = roles;
    let result = filtering.result;

    let ([a, b], [t, s]) = (elements(program, scheme), tiles(program, filtering, scheme));
    let [i, j] = filtering.pixels;
    let body = inwards(program, scheme.tile_taps, [a, b], &mut |program, row, column| {
        let at = HashMap::from_iter([(i, pixel(t, scheme, row)), (j, pixel(s, scheme, column))]);
        program.substitute(filtering.filter, &at)
    });
    let filters = define(program, (result, "filters"), &[&[*pictures, a, b], outputs, &[t, s]], body);

    let ([a, b], [t, s]) = (elements(program, scheme), tiles(program, filtering, scheme));
    let n = program.copy_axis(*pictures);
    let body = transformed_input(program, filtering, scheme, [a, b], [t, s]);
    let body = program.substitute(body, &HashMap::from_iter([(*pictures, Index::from(n))]));
    let input = define(program, (result, "tiles"), &[&[n, a, b], channels, &[t, s]], body);

    let ([a, b], [t, s]) = (elements(program, scheme), tiles(program, filtering, scheme));
    let n = program.copy_axis(*pictures);
    let [o, c] = [outputs, channels].map(|axes| copies(program, axes));
    let of_filters = program.exprs.read(filters, indices(&[&[n, a, b], &o, &[t, s]]));
    let of_input = program.exprs.read(input, indices(&[&[n, a, b], &c, &[t, s]]));
    let product = program.exprs.binary(Binary::Mul, of_filters, of_input);
    let body = program.exprs.reduce(Reduction::Sum, vec![n, t, s], product);
    let products = define(program, (result, "products"), &[&[a, b], &o, &c], body);

    let [row, column] = filtering.taps.map(|tap| Index::from(tap.axis));
    let body = outwards(program, scheme.tap_results, [&row, &column], &mut |program, a, b| {
        let rest = indices(&[outputs, channels]);
        program.exprs.read(products, [vec![a.into(), b.into()], rest].concat())
    });
    let piece = Piece { body, ..filtering.piece.clone() };
    program.equations.push(Equation { result: filtering.result, pieces: vec![piece] });
}
