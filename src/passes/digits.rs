//! Dimensions as their readers see them.
//!
//! The gradient of a linear layer is a matrix, and what reads it goes back through the reshape before the layer:
//! `dx[n, 784*c + 28*i + j]`. Where all readers take a dimension apart into the same digits, which index their own
//! results, the tensor gets one dimension a digit, `dx[n, c, i, j]`. Then its elements are those of its readers, and
//! what computes them can be one kernel.

use crate::base::hash::HashMap;
use std::collections::{BTreeMap, BTreeSet};

use crate::te::{Atom, Equation, Expr, Index, Piece, Program, Tensor};

/// The extents of the digits of each dimension, the first digit the most significant.
type Digits = Vec<Vec<i64>>;

/// Takes apart the dimensions of all tensors whose readers agree.
pub fn run(program: &mut Program) {
    let digits = agreed(program);
    if digits.is_empty() {
        return;
    }
    for mut equation in std::mem::take(&mut program.equations) {
        for piece in &mut equation.pieces {
            piece.body = program.rewrite(piece.body, &mut |program, expr| match expr {
                Expr::Read { tensor, index, fill } if digits.contains_key(&tensor) => {
                    let index = index.iter().zip(&digits[&tensor]).flat_map(|(index, digits)| {
                        parts(program, index, digits.iter().product()).expect("agreed on")
                    });
                    let index = index.map(|(index, _)| index).collect();
                    program.exprs.add(Expr::Read { tensor, index, fill })
                }
                expr => program.exprs.add(expr),
            });
        }
        // After the reads, which were agreed on in the old axes.
        if let Some(digits) = digits.get(&equation.result) {
            define_by_digits(program, &mut equation, digits);
        }
        program.equations.push(equation);
    }
    for (tensor, digits) in digits {
        program.tensors[tensor].shape = digits.concat();
    }
}

/// The tensors to change.
fn agreed(program: &Program) -> BTreeMap<Tensor, Digits> {
    let whole = |equation: &&Equation| match equation.pieces.as_slice() {
        [Piece { axes, at, .. }] => {
            at.iter().filter_map(Index::as_axis).eq(axes.iter().copied()) && at.len() == axes.len()
        }
        _ => false,
    };
    let mut open: BTreeSet<Tensor> =
        program.equations.iter().filter(whole).map(|equation| equation.result).collect();
    program.outputs.iter().for_each(|output| _ = open.remove(output));
    let mut found: BTreeMap<Tensor, Digits> = BTreeMap::new();
    for piece in program.equations.iter().flat_map(|equation| &equation.pieces) {
        program.for_each_expr(piece.body, &mut |id| {
            let Expr::Read { tensor, index, .. } = &program.exprs[id] else { return };
            if !open.contains(tensor) {
                return;
            }
            let digits = digits_of(program, *tensor, index, &piece.at);
            let known = found.get(tensor);
            match digits {
                Some(digits) if known.is_none_or(|known| *known == digits) => {
                    _ = found.insert(*tensor, digits)
                }
                _ => _ = open.remove(tensor),
            }
        });
    }
    found.retain(|tensor, digits| open.contains(tensor) && digits.iter().any(|digits| digits.len() > 1));
    found
}

/// The digits into which a read takes each dimension apart; none where they do not index the element `at` that its
/// reader computes.
fn digits_of(program: &Program, tensor: Tensor, index: &[Index], at: &[Index]) -> Option<Digits> {
    let shape = &program.tensors[tensor].shape;
    let dimensions = index.iter().zip(shape).map(|(index, extent)| parts(program, index, *extent));
    let dimensions: Vec<Vec<(Index, i64)>> = dimensions.collect::<Option<_>>()?;
    let found: Vec<Index> = dimensions.iter().flatten().map(|(index, _)| index.clone()).collect();
    let digits = dimensions.iter().map(|parts| parts.iter().map(|(_, extent)| *extent).collect());
    program.is_same_element(&found, at).then(|| digits.collect())
}

/// The digits of an index that counts from 0 up to an extent, with their extents.
fn parts(program: &Program, index: &Index, extent: i64) -> Option<Vec<(Index, i64)>> {
    if extent == 1 {
        return Some(vec![(index.clone(), 1)]);
    }
    let mut terms = index.terms().to_vec();
    terms.sort_by_key(|(_, coefficient)| *coefficient);
    let mut weight = 1;
    let mut parts = Vec::new();
    for (atom, coefficient) in terms {
        let Atom::Axis(axis) = atom else { return None };
        if coefficient != weight {
            return None;
        }
        let digits = program.axes[axis].extent;
        parts.push((Index::from(axis), digits));
        weight *= digits;
    }
    parts.reverse();
    (index.constant() == 0 && weight == extent).then_some(parts)
}

/// Gives an equation's piece an axis for each digit.
fn define_by_digits(program: &mut Program, equation: &mut Equation, digits: &Digits) {
    let piece = &mut equation.pieces[0];
    let mut replace = HashMap::default();
    let mut axes = Vec::new();
    for (axis, digits) in piece.axes.iter().zip(digits) {
        let own: Vec<_> = match digits.as_slice() {
            [_] => vec![*axis],
            _ => digits.iter().map(|extent| program.axis("d", *extent)).collect(),
        };
        let value = own.iter().zip(digits).fold(Index::from(0), |value, (axis, extent)| {
            value.scale(*extent).add(&Index::from(*axis), &program.axes)
        });
        replace.insert(*axis, value);
        axes.extend(own);
    }
    piece.body = program.substitute(piece.body, &replace);
    piece.at = axes.iter().map(|axis| Index::from(*axis)).collect();
    piece.axes = axes;
}
