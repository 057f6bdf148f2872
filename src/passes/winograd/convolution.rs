//! Convolutions, and gradients by their inputs: the taps are summed, the pixels are those of the result.

use crate::base::hash::HashMap;

use crate::te::{Binary, Equation, Index, Piece, Program, Reduction};

use super::matrices::{inwards, outwards};
use super::{Filtering, INWARDS, OUTWARDS, Rewrite, Roles, SMALLER_TILES, Scheme};
use super::{copies, define, elements, indices, tiles, transformed_input};

pub const REWRITE: Rewrite = Rewrite { roles, cost, transform };

fn roles(program: &Program, filtering: &Filtering) -> Option<Roles> {
    let Filtering { piece, summed, input, filter, pixels, taps, .. } = filtering;
    let (of_input, of_weights) = (program.free_axes(*input), program.free_axes(*filter));
    let in_place = taps.iter().all(|tap| summed.contains(&tap.axis) && of_weights.contains(&tap.axis))
        && pixels.iter().all(|axis| piece.axes.contains(axis) && !of_weights.contains(axis));
    let shared = summed.iter().all(|axis| of_weights.contains(axis) && of_input.contains(axis));
    let pictures = filtering.pictures(program, *input)?;
    let outputs = filtering.axes(program, &piece.axes, *filter);
    let channels = filtering.axes(program, summed, *filter);
    let apart = filtering.axes(program, &piece.axes, *input) == [pictures]
        && piece.axes.first() == Some(&pictures)
        && !outputs.contains(&pictures);
    let fits = in_place && shared && apart && !channels.is_empty() && !outputs.is_empty();
    fits.then_some(Roles { pictures, outputs, channels })
}

/// Vector operations a result: products, the transforms of all channels, and a share of that of the weights.
fn cost(scheme: &Scheme, [inputs, outputs]: [f64; 2], vectors: f64) -> f64 {
    let (results, points) = ((scheme.m * scheme.m) as f64, (scheme.points() * scheme.points()) as f64);
    let products = points * inputs * outputs * SMALLER_TILES;
    let transforms = INWARDS * points * inputs + OUTWARDS * points * outputs;
    let weights = points * inputs * outputs * results / vectors;
    (products + transforms + weights) / results
}

fn transform(program: &mut Program, filtering: &Filtering, roles: &Roles, scheme: &Scheme) {
    let Roles { pictures, outputs, channels } = roles;
    let result = filtering.result;

    let [a, b] = elements(program, scheme);
    let [first, second] = filtering.taps;
    let body = inwards(program, scheme.taps, [a, b], &mut |program, u, v| {
        program.substitute(filtering.filter, &HashMap::from_iter([first.at(u), second.at(v)]))
    });
    let weights = define(program, (result, "weights"), &[&[a, b], outputs, channels], body);

    let ([a, b], [t, s]) = (elements(program, scheme), tiles(program, filtering, scheme));
    let body = transformed_input(program, filtering, scheme, [a, b], [t, s]);
    let input = define(program, (result, "tiles"), &[&[*pictures, t, s, a, b], channels], body);

    let ([a, b], [t, s]) = (elements(program, scheme), tiles(program, filtering, scheme));
    let n = program.copy_axis(*pictures);
    let [o, c] = [outputs, channels].map(|axes| copies(program, axes));
    let of_weights = program.exprs.read(weights, indices(&[&[a, b], &o, &c]));
    let of_input = program.exprs.read(input, indices(&[&[n, t, s, a, b], &c]));
    let product = program.exprs.binary(Binary::Mul, of_weights, of_input);
    let body = program.exprs.reduce(Reduction::Sum, c, product);
    let products = define(program, (result, "products"), &[&[n, t, s, a, b], &o], body);

    let [i, j] = filtering.pixels.map(Index::from);
    let [row, column] = [&i, &j].map(|pixel| pixel.rem(scheme.m, &program.axes));
    let [t, s] = [&i, &j].map(|pixel| pixel.div(scheme.m, &program.axes));
    let body = outwards(program, scheme.results, [&row, &column], &mut |program, a, b| {
        let tile = [Index::from(*pictures), t.clone(), s.clone(), a.into(), b.into()];
        let index = tile.into_iter().chain(outputs.iter().map(|axis| Index::from(*axis))).collect();
        program.exprs.read(products, index)
    });
    let piece = Piece { body, ..filtering.piece.clone() };
    program.equations.push(Equation { result: filtering.result, pieces: vec![piece] });
}
