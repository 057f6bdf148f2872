//! How large a program of equations may be.
//!
//! No tensor has more than [`MOST_ELEMENTS`], and no equation is computed at more than [`MOST_POINTS`]. That holds of
//! every op and of every derived one when it is made, so that who asks for more is told at the op. What comes after
//! multiplies extents of one equation, its lanes and small factors of passes (the tiles of a convolution); all these
//! products are below 2^62 and need no checks of their own.

use super::expr::Expr;
use super::index::{Axes, Axis};
use super::program::{Piece, Program};

/// No tensor and no axis of a reduction is larger. So the position of an element is a number of 32 bits.
pub const MOST_ELEMENTS: i64 = 1 << 31;

/// No equation is computed at more points: a machine of 10^12 operations a second takes over an hour for these.
pub const MOST_POINTS: i64 = 1 << 52;

/// What is too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Elements of a tensor that an equation or a reduction inside of one needs.
    Elements(i128),
    /// Points at which an equation or a reduction inside of one is computed.
    Points(i128),
}

impl Excess {
    /// The limit, as a sentence.
    pub fn limit(&self) -> &'static str {
        match self {
            Excess::Elements(_) => "a tensor has at most 2^31 elements",
            Excess::Points(_) => "an equation is computed at 2^52 points at most",
        }
    }
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Excess::Elements(count) => write!(f, "needs a tensor of {count} elements for a reduction inside"),
            Excess::Points(count) => write!(f, "is computed at {count} points"),
        }
    }
}

/// Whether the equations of a program are small enough.
///
/// # Errors
///
/// What is too large first.
pub fn check(program: &Program) -> Result<(), Excess> {
    program.equations.iter().flat_map(|equation| &equation.pieces).try_for_each(|piece| of(program, piece))
}

/// Whether a piece of an equation is small enough, with the tensors that its normal form has for the reductions inside.
///
/// # Errors
///
/// What is too large first.
pub fn of(program: &Program, piece: &Piece) -> Result<(), Excess> {
    elements(product(&program.axes, &piece.axes))?;
    points(product(&program.axes, &piece.axes))?;
    let mut found = Ok(());
    program.for_each_expr(piece.body, &mut |id| {
        if let Expr::Reduce { axes, .. } = &program.exprs[id]
            && found.is_ok()
        {
            let is_root = id == piece.body;
            let own: Vec<Axis> =
                if is_root { piece.axes.clone() } else { program.free_axes(id).into_iter().collect() };
            let (results, each) = (product(&program.axes, &own), product(&program.axes, axes));
            found = elements(results).and_then(|()| points(results.saturating_mul(each)));
        }
    });
    found
}

fn elements(count: i128) -> Result<(), Excess> {
    if count <= MOST_ELEMENTS.into() { Ok(()) } else { Err(Excess::Elements(count)) }
}

fn points(count: i128) -> Result<(), Excess> {
    if count <= MOST_POINTS.into() { Ok(()) } else { Err(Excess::Points(count)) }
}

/// The points of some axes. Axes are few and their extents have 32 bits, but their product may have any number.
fn product(axes: &Axes, of: &[Axis]) -> i128 {
    of.iter().fold(1, |product: i128, axis| product.saturating_mul(axes[*axis].extent.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::te::parser::parse;

    fn excess(text: &str) -> Option<Excess> {
        check(&parse(text).unwrap_or_else(|error| panic!("{error}"))).err()
    }

    #[test]
    fn the_last_that_is_small_enough_and_the_next() {
        let of = |body: &str| {
            excess(&format!("program(x: f32[2]) -> (y: f32[1024]) {{\n  y[i < 1024] = {body};\n}}\n"))
        };
        let few = "sum[j < 1048576, k < 4194304] x[0]";
        assert_eq!(of(few), None);
        let many = of("sum[j < 1048576, k < 4194305] x[0]");
        assert_eq!(many, Some(Excess::Points(1024 * 1_048_576 * 4_194_305)));
        assert_eq!(
            of("exp(sum[j < 1048576, k < 4194304] x[0]) + 1.0"),
            None,
            "no axis of the equation is in it"
        );
        // The sum inside is computed for each `i` and `j`.
        let inside = |extent: i64| of(&format!("sum[j < {extent}] exp(sum[k < 2] x[(i + j) % 2])"));
        assert_eq!(inside(1 << 21), None);
        assert_eq!(inside((1 << 21) + 1), Some(Excess::Elements(1024 * ((1 << 21) + 1))));
        let all = "sum[a < 2147483648, b < 2147483648, c < 2147483648, d < 2147483648, e < 2147483648] x[0]";
        assert!(matches!(of(all), Some(Excess::Points(points)) if points > i128::MAX / 2), "{:?}", of(all));
    }
}
