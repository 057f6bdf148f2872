//! The matrices of the transforms, and expressions of matrix products that share their parts.
//!
//! A scheme is made for points `p`: 0, 1 and -1, with 2 and -2 for tiles of four, and infinity. Filtering with any number
//! of taps has the same transform of the input; the other two hold powers of the points, as many as there are taps or
//! results. So filters of three taps in tiles of `m` results and filters of `m` taps with three results share a scheme.

use crate::te::{Axis, Binary, Expr, ExprId, Index, Program};

/// Taps of the filters in one direction, or results where the filter is what is slid over the input.
pub const TAPS: i64 = 3;

type Matrix = &'static [&'static [f64]];

/// The transforms in one direction. In those of inputs, rows that come in pairs differ in the sign of their odd columns;
/// in those of results, columns that come in pairs are equal or opposite.
pub struct Scheme {
    /// Elements of a tile.
    pub m: i64,
    /// Of `m + 2` elements of the input.
    pub input: Matrix,
    /// Of three taps.
    pub taps: Matrix,
    /// To `m` results.
    pub results: Matrix,
    /// Of `m` taps.
    pub tile_taps: Matrix,
    /// To three results.
    pub tap_results: Matrix,
}

pub const SCHEMES: [Scheme; 2] = [
    Scheme {
        m: 4,
        input: &[
            &[4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
            &[0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
            &[0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
            &[0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
            &[0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
            &[0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
        ],
        taps: &[
            &[1.0 / 4.0, 0.0, 0.0],
            &[-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            &[-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            &[1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
            &[1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
            &[0.0, 0.0, 1.0],
        ],
        results: &[
            &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
            &[0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
            &[0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
            &[0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
        ],
        tile_taps: &[
            &[1.0 / 4.0, 0.0, 0.0, 0.0],
            &[-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            &[-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0, 1.0 / 6.0],
            &[1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0, 1.0 / 3.0],
            &[1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0, -1.0 / 3.0],
            &[0.0, 0.0, 0.0, 1.0],
        ],
        tap_results: &[
            &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
            &[0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
            &[0.0, 1.0, 1.0, 4.0, 4.0, 1.0],
        ],
    },
    Scheme {
        m: 2,
        input: &[
            &[1.0, 0.0, -1.0, 0.0],
            &[0.0, 1.0, 1.0, 0.0],
            &[0.0, -1.0, 1.0, 0.0],
            &[0.0, 1.0, 0.0, -1.0],
        ],
        taps: &[&[1.0, 0.0, 0.0], &[0.5, 0.5, 0.5], &[0.5, -0.5, 0.5], &[0.0, 0.0, 1.0]],
        results: &[&[1.0, 1.0, 1.0, 0.0], &[0.0, 1.0, -1.0, -1.0]],
        tile_taps: &[&[1.0, 0.0], &[0.5, 0.5], &[0.5, -0.5], &[0.0, 1.0]],
        tap_results: &[&[1.0, 1.0, 1.0, 0.0], &[0.0, 1.0, -1.0, 0.0], &[0.0, 1.0, 1.0, -1.0]],
    },
];

impl Scheme {
    /// Elements of a transformed tile in one direction.
    pub fn points(&self) -> i64 {
        self.m + TAPS - 1
    }
}

/// Elements of `T X T'`, where `element` gives those of `X`: the one at `a, b`.
pub fn inwards(
    program: &mut Program,
    matrix: Matrix,
    [a, b]: [Axis; 2],
    element: &mut dyn FnMut(&mut Program, i64, i64) -> ExprId,
) -> ExprId {
    let width = matrix[0].len() as i64;
    let columns: Vec<Vec<ExprId>> = (0..width)
        .map(|column| {
            let elements: Vec<ExprId> = (0..width).map(|row| element(program, row, column)).collect();
            by_parity(program, matrix, &elements)
        })
        .collect();
    let mut rows = Vec::new();
    for at in 0..matrix.len() {
        let row: Vec<ExprId> = columns.iter().map(|column| column[at]).collect();
        let elements = by_parity(program, matrix, &row);
        rows.push(chosen(program, &Index::from(b), &elements));
    }
    chosen(program, &Index::from(a), &rows)
}

/// Elements of `T X T'`, where `element` gives those of `X` and the columns of `T` come in pairs: the one at `row, column`.
pub fn outwards(
    program: &mut Program,
    matrix: Matrix,
    [row, column]: [&Index; 2],
    element: &mut dyn FnMut(&mut Program, i64, i64) -> ExprId,
) -> ExprId {
    let points = matrix[0].len() as i64;
    let mut rows = Vec::new();
    for coefficients in matrix {
        let mut joined = Vec::new();
        for b in 0..points {
            let elements: Vec<ExprId> = (0..points).map(|a| element(program, a, b)).collect();
            joined.push(by_pairs(program, coefficients, &elements));
        }
        let results: Vec<ExprId> = matrix.iter().map(|row| by_pairs(program, row, &joined)).collect();
        rows.push(chosen(program, column, &results));
    }
    chosen(program, row, &rows)
}

/// Rows of a matrix times a vector. Of two rows that differ in the sign of their odd columns, one is the sum of an even
/// and an odd part, the other one their difference.
fn by_parity(program: &mut Program, matrix: &[&[f64]], terms: &[ExprId]) -> Vec<ExprId> {
    let is_mirror = |one: &[f64], other: &[f64]| {
        one.iter().zip(other).enumerate().all(|(at, (x, y))| *x == if at % 2 == 0 { *y } else { -*y })
    };
    let mut found = Vec::new();
    while found.len() < matrix.len() {
        let row = matrix[found.len()];
        match matrix.get(found.len() + 1) {
            Some(next) if is_mirror(row, next) => {
                let [even, odd] = [0, 1].map(|parity| {
                    let part = |(at, x): (usize, &f64)| if at % 2 == parity { *x } else { 0.0 };
                    let row: Vec<f64> = row.iter().enumerate().map(part).collect();
                    combination(program, &row, terms)
                });
                found.push(program.exprs.binary(Binary::Add, even, odd));
                found.push(program.exprs.binary(Binary::Sub, even, odd));
            }
            _ => found.push(combination(program, row, terms)),
        }
    }
    found
}

/// A row times a vector. Neighbours with equal or opposite numbers are joined first: other rows use the same sum.
fn by_pairs(program: &mut Program, row: &[f64], terms: &[ExprId]) -> ExprId {
    let (mut numbers, mut joined) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < row.len() {
        let is_pair = at % 2 == 1 && at + 1 < row.len() - 1 && row[at].abs() == row[at + 1].abs();
        let op = if is_pair && row[at] == row[at + 1] { Binary::Add } else { Binary::Sub };
        numbers.push(row[at]);
        joined.push(match is_pair {
            true => program.exprs.binary(op, terms[at], terms[at + 1]),
            false => terms[at],
        });
        at += 1 + usize::from(is_pair);
    }
    combination(program, &numbers, &joined)
}

/// `sum[k] numbers[k] * terms[k]`.
fn combination(program: &mut Program, numbers: &[f64], terms: &[ExprId]) -> ExprId {
    let mut total: Option<ExprId> = None;
    let mut summands: Vec<(&f64, &ExprId)> =
        numbers.iter().zip(terms).filter(|(number, _)| **number != 0.0).collect();
    summands.sort_by_key(|(number, _)| **number < 0.0); // A positive one first saves a negation.
    for (number, term) in summands {
        let size = program.exprs.constant(number.abs());
        let product = program.exprs.product(size, *term);
        total = Some(match (total, *number < 0.0) {
            (None, true) => program.exprs.negation(product),
            (None, false) => product,
            (Some(total), true) => program.exprs.binary(Binary::Sub, total, product),
            (Some(total), false) => program.exprs.binary(Binary::Add, total, product),
        });
    }
    total.unwrap_or_else(|| program.exprs.constant(0.0))
}

/// The element that an index counts to.
fn chosen(program: &mut Program, index: &Index, elements: &[ExprId]) -> ExprId {
    let (last, rest) = elements.split_last().expect("a choice among something");
    rest.iter().enumerate().rev().fold(*last, |otherwise, (at, element)| {
        let (number, value) =
            (program.exprs.add(Expr::Number(index.clone())), program.exprs.constant(at as f64));
        let condition = program.exprs.binary(Binary::Eq, number, value);
        program.exprs.choice(condition, *element, otherwise)
    })
}
