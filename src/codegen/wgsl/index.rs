//! Indices as WGSL: `i32` expressions of the loops' variables.

use super::expression::int;
use super::prelude::{Helper, Prelude};
use crate::loops::{Atom, Axes, Axis, Index};

/// The name of a loop's variable.
pub(super) fn axis_name(axes: &Axes, axis: Axis) -> String {
    format!("{}_{}", identifier(&axes[axis].name), axis.as_u32())
}

/// A name with letters that WGSL knows only; those who use it put a number behind, so it is no word of the language.
pub(super) fn identifier(name: &str) -> String {
    let known = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let name: String = name.chars().map(known).collect();
    let name = name.trim_matches('_');
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => name.to_owned(),
        _ => format!("v{name}"),
    }
}

/// The text of an index, of type `i32`. Numbers are those of 32 bits: sums and products wrap as those of the loops do,
/// where these are cut to 32 bits.
pub(super) fn text(index: &Index, axes: &Axes, prelude: &mut Prelude) -> String {
    let mut terms = Vec::new();
    for (atom, coefficient) in index.terms() {
        let atom = atom_text(atom, axes, prelude);
        terms.push(if *coefficient == 1 { atom } else { format!("{} * {atom}", int(*coefficient as i32)) });
    }
    if index.constant() != 0 || terms.is_empty() {
        terms.push(int(index.constant() as i32));
    }
    match terms.as_slice() {
        [one] => one.clone(),
        _ => format!("({})", terms.join(" + ")),
    }
}

fn atom_text(atom: &Atom, axes: &Axes, prelude: &mut Prelude) -> String {
    match atom {
        Atom::Axis(axis) => axis_name(axes, *axis),
        Atom::Div(x, k) => quotient(x, *k, ('/', "floor_div", Helper::FloorDiv), axes, prelude),
        Atom::Rem(x, k) => quotient(x, *k, ('%', "floor_rem", Helper::FloorRem), axes, prelude),
        Atom::Min(x, y) => format!("min({}, {})", text(x, axes, prelude), text(y, axes, prelude)),
        Atom::Max(x, y) => format!("max({}, {})", text(x, axes, prelude), text(y, axes, prelude)),
    }
}

/// A quotient or remainder that rounds down: of a number that is not negative by an instruction without signs.
fn quotient(
    x: &Index,
    k: i64,
    (symbol, function, helper): (char, &str, Helper),
    axes: &Axes,
    prelude: &mut Prelude,
) -> String {
    let operand = text(x, axes, prelude);
    if x.range(axes).0 >= 0 {
        return format!("i32(u32({operand}) {symbol} {k}u)");
    }
    prelude.need(helper);
    format!("{function}({operand}, {k}i)")
}
