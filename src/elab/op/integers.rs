//! Integers that equations compute with. They have 32 bits, those of a `u8` have 8: an index or a constant that is
//! known to lie beyond is refused, so that none wraps.

use std::collections::BTreeSet;

use super::Outcome;
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::elab::evaluate::at;
use crate::te::{DType, Expr, ExprId, Index, Program};

/// An index as a number.
pub(super) fn number(program: &mut Program, index: &Index) -> Result<ExprId, String> {
    let (low, high) = index.range(&program.axes);
    if fits(DType::I32, low as f64) && fits(DType::I32, high as f64) {
        return Ok(program.exprs.add(Expr::Number(index.clone())));
    }
    Err(format!("an index used as a number has 32 bits, and this one runs from {low} to {high}"))
}

/// Checks that the constants and indices that an element of this type may be are among its values.
pub(super) fn check_stored(program: &Program, id: ExprId, dtype: DType, span: Span) -> Outcome<()> {
    if matches!(dtype, DType::F32 | DType::Bool) {
        return Ok(());
    }
    let (mut open, mut seen) = (vec![id], BTreeSet::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let ends = match &program.exprs[id] {
            Expr::Const(value) => [value.get(); 2],
            Expr::Number(index) => {
                let (low, high) = index.range(&program.axes);
                [low as f64, high as f64]
            }
            Expr::Select(_, x, y) => {
                open.extend([*x, *y]);
                continue;
            }
            _ => continue,
        };
        if let Some(outside) = ends.into_iter().find(|end| !fits(dtype, *end)) {
            return Err(beyond(dtype, outside, span));
        }
    }
    Ok(())
}

/// Checks that a fill value is one of the element type of the tensor that is read.
pub(super) fn check_fill(dtype: DType, fill: f64, span: Span) -> Outcome<()> {
    match dtype {
        DType::F32 => Ok(()),
        DType::I32 | DType::U8 | DType::Bool if fits(dtype, fill) => Ok(()),
        DType::I32 | DType::U8 | DType::Bool => Err(beyond(dtype, fill, span)),
    }
}

/// The smallest and the largest value of an integer type.
fn ends(dtype: DType) -> (i64, i64) {
    match dtype {
        DType::F32 | DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::U8 => (0, u8::MAX.into()),
        DType::Bool => (0, 1),
    }
}

fn fits(dtype: DType, value: f64) -> bool {
    let (least, most) = ends(dtype);
    value.fract() == 0.0 && value >= least as f64 && value <= most as f64
}

fn beyond(dtype: DType, value: f64, span: Span) -> Diagnostic {
    let (least, most) = ends(dtype);
    at(format!("{value} is no value of {dtype}"), span)
        .note(format!("the values of {dtype} are the integers from {least} to {most}"))
}
