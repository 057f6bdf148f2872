//! The steps of a schedule: values that say what shall become of a nest's loops.
//!
//! A step names axes of the nest that it is applied to, and the axes that it makes are the next ones of the nest's
//! table. So the same steps give the same loops wherever they begin with the same nest. None but a restriction changes
//! which elements are computed, beside those beyond the end of a last block, and only lanes that are summed apart
//! change the order of a sum. That no two iterations of the parallel loop meet, and that every access is inside its
//! buffer, is for the verifier of the function that comes out.
//!
//! A step changes the nest in place: most are never taken back, and whoever tries one out, to see whether vectors still
//! have their addresses, tries it on a copy. What does not hold is found before anything changes, by who can change
//! nothing.

use super::nest::{Lane, LoopNest};
use crate::te::{Axes, Axis, Index};

/// One step. `a` and `b` are free loops in the examples, `k` and `l` are sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Splits a loop into blocks: `axis = factor * block + rest`. The rest is not placed yet. The blocks cover the
    /// extent; where it is not a multiple, the caller sees to the points beyond. An axis of one element, which has no
    /// loop, can be split too.
    ///
    /// ```text
    /// for a < 6: y[a]   split a by 2   for ab < 3: y[2 * ab + al]
    /// ```
    ///
    /// Not legal where the factor is no positive number, or the nest has no such axis as a loop or without a place.
    Split { axis: Axis, factor: i64 },
    /// Runs a free loop over `start..start + count` only.
    ///
    /// ```text
    /// for a < 6: y[a]   restrict a to 4..6   for a < 2: y[a + 4]
    /// ```
    ///
    /// Not legal where that is no part of an outer loop.
    Restrict { axis: Axis, start: i64, count: i64 },
    /// Makes the elements of an axis that has no place yet the lanes of vectors. Where a reduction runs over them, they
    /// are summed apart and folded at the end.
    ///
    /// ```text
    /// for ab < 3: y[2 * ab + al]   vectorize al × 2   for ab < 3: y[2 * ab + (0, 1)]
    /// ```
    ///
    /// Not legal where there are lanes already, or the axis is a loop.
    Vectorize { axis: Axis, reduced: bool },
    /// Joins several free loops, each the next one inside the other, into one that runs over all their points in the
    /// same order.
    ///
    /// ```text
    /// for a < 6: for b < 4: y[a, b]   flatten a b   for ab < 24: y[ab / 4, ab % 4]
    /// ```
    ///
    /// Not legal where that is not how they stand.
    Flatten { axes: Vec<Axis> },
    /// Joins two reduction loops, of which the second is the next one inside the first, into one that runs over all
    /// their points, in the same order.
    ///
    /// ```text
    /// sum k < 2: sum l < 8: x[k, l]   join k l   sum kl < 16: x[kl / 8, kl % 8]
    /// ```
    ///
    /// Not legal where that is not how they stand.
    Join { first: Axis, second: Axis },
    /// Unrolls a block of a free axis into the register tile.
    ///
    /// ```text
    /// for a < 6: y[a]   tile a by 2   for ab < 3: y[2 * ab], y[2 * ab + 1]
    /// ```
    ///
    /// Not legal where the factor does not divide the extent, or the axis is no outer loop.
    Tile { axis: Axis, factor: i64 },
    /// Splits a reduction loop into blocks. The order of the sum stays.
    ///
    /// ```text
    /// sum k < 8: x[k]   block k by 4   sum kb < 2: sum kl < 4: x[4 * kb + kl]
    /// ```
    ///
    /// Not legal where the factor does not divide the extent, or the axis is no reduction loop.
    Block { axis: Axis, factor: i64 },
    /// Makes the loops of some indices, which are theirs alone, the outermost ones: they count slices.
    ///
    /// ```text
    /// for a < 6: for b < 4: y[a, b]   slice b   for b < 4 (slices): for a < 6: y[a, b]
    /// ```
    ///
    /// Not legal where they are no outer loops.
    Slice { loops: Vec<Axis> },
    /// Unrolls the innermost reduction loop.
    ///
    /// ```text
    /// sum k < 2: x[k]   unroll k   x[0] + x[1]
    /// ```
    ///
    /// Not legal where the axis is another one.
    Unroll { axis: Axis },
    /// Puts the outer loops in another order.
    ///
    /// ```text
    /// for a < 6: for b < 4: y[a, b]   reorder b a   for b < 4: for a < 6: y[a, b]
    /// ```
    ///
    /// Not legal where these are others.
    Reorder { order: Vec<Axis> },
}

/// A step that may not be taken. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {rule}")]
pub struct Illegal {
    /// As it would have been written down.
    pub step: String,
    /// What does not hold.
    pub rule: &'static str,
}

impl Step {
    /// Takes the step and writes it down, unless it would leave everything as it is.
    ///
    /// # Errors
    ///
    /// Where it is not legal.
    pub fn apply(self, nest: &mut LoopNest) -> Result<(), Illegal> {
        if self.leaves(nest) {
            return Ok(());
        }
        self.check(nest).map_err(|rule| Illegal { step: self.text(&nest.axes), rule })?;
        self.change(nest);
        nest.took(self);
        Ok(())
    }

    /// As it is written down.
    pub fn text(&self, axes: &Axes) -> String {
        let name = |axis: &Axis| axes[*axis].name.as_str();
        let names = |axes: &[Axis]| axes.iter().map(name).collect::<Vec<_>>().join(" ");
        match self {
            Step::Split { axis, factor } => format!("split {} by {factor}", name(axis)),
            Step::Restrict { axis, start, count } => {
                format!("restrict {} to {start}..{}", name(axis), start + count)
            }
            Step::Vectorize { axis, reduced } => {
                let how = if *reduced { " (lanes are summed apart, then pairwise)" } else { "" };
                format!("vectorize {} × {}{how}", name(axis), axes[*axis].extent)
            }
            Step::Flatten { axes } => format!("flatten {}", names(axes)),
            Step::Join { first, second } => format!("join {} {}", name(first), name(second)),
            Step::Tile { axis, factor } => format!("tile {} by {factor}", name(axis)),
            Step::Block { axis, factor } => format!("block {} by {factor}", name(axis)),
            Step::Slice { loops } => format!("slice {}", names(loops)),
            Step::Unroll { axis } => format!("unroll {}", name(axis)),
            Step::Reorder { order } => format!("reorder {}", names(order)),
        }
    }

    /// Whether it asks for what is so already.
    fn leaves(&self, nest: &LoopNest) -> bool {
        match self {
            Step::Restrict { axis, start, count } => *start == 0 && *count == nest.extent(*axis),
            Step::Tile { factor, .. } => *factor == 1,
            Step::Reorder { order } => *order == nest.outer,
            _ => false,
        }
    }

    /// What does not hold, where the step is not legal.
    fn check(&self, nest: &LoopNest) -> Result<(), &'static str> {
        let divides = |axis: Axis, factor: i64| factor > 0 && nest.extent(axis) % factor == 0;
        let are_outer = |loops: &[Axis]| loops.iter().all(|axis| nest.outer.contains(axis));
        match self {
            Step::Split { axis, factor } => {
                require(*factor > 0, "the factor is not positive")?;
                require(nest.mentions(*axis) || nest.is_single(*axis), "the nest has no such axis")?;
                require(!nest.is_unrolled(*axis), "it is unrolled")
            }
            Step::Restrict { axis, start, count } => {
                require(are_outer(&[*axis]), "it is no outer loop")?;
                let is_part = *start >= 0 && *count > 0 && *start <= nest.extent(*axis) - count;
                require(is_part, "that is no part of the loop")
            }
            Step::Vectorize { axis, .. } => {
                require(nest.lane.is_none(), "there are lanes already")?;
                require(!nest.placed().any(|placed| placed == axis), "the axis is a loop")
            }
            Step::Flatten { axes } => {
                require(place(&nest.outer, axes).is_some(), "they are not so in each other")
            }
            Step::Join { first, second } => {
                let stand_so = place(&nest.reduce, &[*first, *second]).is_some();
                require(stand_so, "they are no reduction loops in each other")
            }
            Step::Tile { axis, factor } => {
                require(divides(*axis, *factor), "that does not divide the loop")?;
                require(are_outer(&[*axis]), "it is no outer loop")
            }
            Step::Block { axis, factor } => {
                require(divides(*axis, *factor), "that does not divide the loop")?;
                require(nest.reduce.contains(axis), "it is no reduction loop")
            }
            Step::Slice { loops } => require(are_outer(loops), "they are no outer loops"),
            Step::Unroll { axis } => {
                require(nest.reduce.last() == Some(axis), "it is not the innermost reduction loop")
            }
            Step::Reorder { order } => {
                let are_same =
                    order.len() == nest.outer.len() && nest.outer.iter().all(|axis| order.contains(axis));
                require(are_same, "these are other loops")
            }
        }
    }

    /// Does what is legal.
    fn change(&self, nest: &mut LoopNest) {
        match self {
            Step::Split { axis, factor } => _ = split(nest, *axis, *factor),
            Step::Restrict { axis, start, count } => {
                let part = nest.axis(nest.axes[*axis].name.clone(), *count);
                nest.substitute(*axis, &Index::from(part).offset(*start));
                nest.outer.iter_mut().filter(|other| **other == *axis).for_each(|other| *other = part);
            }
            Step::Vectorize { axis, reduced } => nest.lane = Some(Lane { axis: *axis, reduced: *reduced }),
            Step::Flatten { axes } => flatten(nest, axes),
            Step::Join { first, second } => join(nest, *first, *second),
            Step::Tile { axis, factor } => {
                let (_, rest) = split(nest, *axis, *factor);
                nest.tile.push(rest);
            }
            Step::Block { axis, factor } => {
                let at = nest.reduce.iter().position(|other| other == axis).unwrap_or(0);
                let (block, rest) = split(nest, *axis, *factor);
                let inside = usize::from(nest.reduce.get(at) == Some(&block));
                nest.reduce.insert(at + inside, rest);
            }
            Step::Slice { loops } => {
                nest.outer.retain(|axis| !loops.contains(axis));
                nest.outer.splice(..0, loops.iter().copied());
                nest.slices = loops.len();
            }
            Step::Unroll { axis } => {
                nest.reduce.pop();
                nest.unrolled.insert(0, *axis);
            }
            Step::Reorder { order } => nest.outer.clone_from(order),
        }
    }
}

/// The axes of the blocks and of the rest. Where there is one block, its loop goes.
fn split(nest: &mut LoopNest, axis: Axis, factor: i64) -> (Axis, Axis) {
    if nest.is_single(axis) {
        nest.replace.insert(axis, Index::from(axis));
    }
    let data = nest.axes[axis].clone();
    let block = nest.axis(format!("{}b", data.name), (data.extent + factor - 1) / factor);
    let rest = nest.axis(format!("{}l", data.name), factor);
    let single = nest.extent(block) == 1;
    let outer = if single { Index::from(0) } else { Index::from(block).scale(factor) };
    let index = outer.add(&Index::from(rest), &nest.axes);
    nest.substitute(axis, &index);
    for loops in [&mut nest.outer, &mut nest.reduce] {
        if let Some(at) = loops.iter().position(|other| *other == axis) {
            loops.splice(at..=at, (!single).then_some(block));
        }
    }
    (block, rest)
}

fn flatten(nest: &mut LoopNest, axes: &[Axis]) {
    let name = axes.iter().map(|axis| nest.axes[*axis].name.as_str()).collect::<String>();
    let mut weight = axes.iter().map(|axis| nest.extent(*axis)).product();
    let flat = nest.axis(name, weight);
    for axis in axes {
        let extent = nest.extent(*axis);
        weight /= extent;
        let digit = Index::from(flat).div(weight, &nest.axes).rem(extent, &nest.axes);
        nest.substitute(*axis, &digit);
    }
    if let Some(at) = place(&nest.outer, axes) {
        nest.outer.splice(at..at + axes.len(), [flat]);
    }
}

fn join(nest: &mut LoopNest, first: Axis, second: Axis) {
    let [one, other] = [first, second].map(|axis| nest.axes[axis].clone());
    let joined = nest.axis(format!("{}{}", one.name, other.name), one.extent * other.extent);
    let index = Index::from(joined);
    nest.substitute(first, &index.div(other.extent, &nest.axes));
    nest.substitute(second, &index.rem(other.extent, &nest.axes));
    if let Some(at) = place(&nest.reduce, &[first, second]) {
        nest.reduce.splice(at..at + 2, [joined]);
    }
}

/// Where some loops are among others, each the next one inside the other.
fn place(loops: &[Axis], wanted: &[Axis]) -> Option<usize> {
    loops.windows(wanted.len().max(1)).position(|loops| loops == wanted)
}

fn require(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}
