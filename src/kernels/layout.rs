//! Where the elements of a tensor lie.
//!
//! One dimension of a tensor may lie *across*, in blocks of `lanes` elements side by side: with the batch across,
//! element `[n, rest]` lies at `((n / lanes) * size(rest) + row_major(rest)) * lanes + n % lanes`, but for gaps of a
//! cache line between blocks and between channels where they would begin at unlucky distances. So the same element of
//! `lanes` pictures is one vector, for any channel count, kernel and stride. With the channels across, the same
//! pixel of `lanes` channels is one, which serves a single picture as well. Lanes beyond the last element are padding.
//! All other tensors are row-major. The dimension is found by following it from the inputs through the reads: an axis
//! that indexes it is a lane axis, and so is the dimension of a result that this axis indexes, or of a computed tensor
//! that is read beside.
//!
//! Padding is layout: a tensor that is read outside with a fill value gets a halo of that width, whose elements hold
//! the fill value at all times, so inner loops have no conditions. A reader that wants another fill tests its index.

use crate::base::hash::{HashMap, HashSet};

use super::{Kernel, Kernels, Nest};
use crate::te::{Atom, Axes, Axis, Expr, ExprId, Index, Program, Real, Tensor};

/// Bytes of a page.
const PAGE: i64 = 4096;
/// Bytes of a cache line, which is how long a gap is.
const LINE: i64 = 64;
/// A distance of a multiple of so many lines maps to four of the 64 sets of a cache, or fewer.
const FEW_SETS: i64 = 16;

/// A halo is not worth its memory beyond this many times the tensor.
const LARGEST_HALO: i64 = 4;

/// The layout of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The extents.
    pub shape: Vec<i64>,
    /// The dimension that lies across the lanes, if any.
    pub lane_dim: Option<usize>,
    /// Its elements side by side.
    pub lanes: i64,
    /// Elements before and after each dimension that hold `fill`.
    pub halo: Vec<(i64, i64)>,
    /// What the halo holds.
    pub fill: Option<Real>,
    /// Whether slices of the leading dimensions follow each other at one distance: gaps are between rows only.
    pub dense: bool,
}

impl Layout {
    /// The layout without a halo.
    pub fn new(shape: &[i64], lane_dim: Option<usize>, lanes: i64) -> Layout {
        let lanes = if lane_dim.is_some() { lanes } else { 1 };
        Layout {
            shape: shape.to_vec(),
            lane_dim,
            lanes,
            halo: vec![(0, 0); shape.len()],
            fill: None,
            dense: false,
        }
    }

    /// Whether an element of dimension `at` between `low` and `high` (inclusive) exists, in the tensor or its halo.
    pub fn holds(&self, at: usize, (low, high): (i64, i64)) -> bool {
        let (before, after) = self.halo[at];
        low >= -before && high < self.shape[at] + after
    }

    /// Elements of memory, padding included.
    pub fn len(&self) -> usize {
        let blocks = self.lane_dim.map_or(1, |at| self.blocks(at) * self.lanes);
        (self.block() * blocks) as usize
    }

    /// Whether the elements with their halos, but without gaps, are no more than that.
    fn fits(&self, most: i64) -> bool {
        let extents = self
            .other_dims()
            .map(|at| self.halo[at].0.checked_add(self.shape[at])?.checked_add(self.halo[at].1));
        let size = extents.into_iter().try_fold(1_i64, |size, extent| size.checked_mul(extent?));
        size.is_some_and(|size| size <= most)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn blocks(&self, lane_dim: usize) -> i64 {
        (self.shape[lane_dim] + self.lanes - 1) / self.lanes
    }

    /// Elements of one lane in a block, with the gap that keeps blocks from starting at multiples of a page:
    /// the same element of many blocks would compete for one set of the cache.
    fn block(&self) -> i64 {
        let Some(first) = self.other_dims().next() else { return 1 };
        let size = self.padded(first) * self.stride(first);
        if self.has_gaps() && size * self.lanes * 4 % PAGE == 0 { size + self.gap() } else { size }
    }

    /// Elements of one lane from one index of the first dimension that is not across to the next, the channels of
    /// pictures mostly. As with blocks, there is a gap where the same pixel of many channels would compete for few sets.
    fn stride(&self, first: usize) -> i64 {
        let size: i64 = self.other_dims().filter(|at| *at != first).map(|at| self.padded(at)).product();
        let crowded = size > 1 && size * self.lanes * 4 % (FEW_SETS * LINE) == 0;
        if self.has_gaps() && crowded { size + self.gap() } else { size }
    }

    fn has_gaps(&self) -> bool {
        self.lane_dim.is_some() && !self.dense
    }

    /// A cache line, in elements of one lane.
    fn gap(&self) -> i64 {
        (LINE / (4 * self.lanes)).max(1)
    }

    /// The dimensions that are not across.
    fn other_dims(&self) -> impl Iterator<Item = usize> {
        (0..self.shape.len()).filter(|at| Some(*at) != self.lane_dim)
    }

    /// The extent of a dimension with its halo, and with the gap that keeps the rows of a dense layout apart.
    fn padded(&self, at: usize) -> i64 {
        let extent = self.halo[at].0 + self.shape[at] + self.halo[at].1;
        let is_row = self.dense && at + 1 == self.shape.len() && Some(at) != self.lane_dim;
        if is_row && extent * self.lanes * 4 % (FEW_SETS * LINE) == 0 { extent + self.gap() } else { extent }
    }

    /// The offset of an element.
    pub fn address(&self, index: &[Index], axes: &Axes) -> Index {
        let mut offset = Index::from(0);
        for (at, stride) in self.strides() {
            offset = offset.add_scaled(&index[at].offset(self.halo[at].0), stride, axes);
        }
        let Some(lane_dim) = self.lane_dim else { return offset };
        let block = index[lane_dim].div(self.lanes, axes);
        let lane = index[lane_dim].rem(self.lanes, axes);
        block.scale(self.block()).add(&offset, axes).scale(self.lanes).add(&lane, axes)
    }

    /// The offset of an element given by numbers: [`address`](Layout::address) without the algebra.
    pub fn offset(&self, index: &[i64]) -> usize {
        let offset: i64 = self.strides().map(|(at, stride)| (index[at] + self.halo[at].0) * stride).sum();
        let Some(lane_dim) = self.lane_dim else { return offset as usize };
        let (block, lane) = (index[lane_dim] / self.lanes, index[lane_dim] % self.lanes);
        ((block * self.block() + offset) * self.lanes + lane) as usize
    }

    /// The dimensions that are not across, from the last one, each with the elements of one lane between its indices.
    fn strides(&self) -> impl Iterator<Item = (usize, i64)> {
        let first = self.other_dims().next();
        let mut size = 1;
        (0..self.shape.len()).rev().filter(|at| Some(*at) != self.lane_dim).map(move |at| {
            let stride = if Some(at) == first { self.stride(at) } else { size };
            size *= self.padded(at);
            (at, stride)
        })
    }
}

/// The layouts of all stored tensors.
pub type Layouts = HashMap<Tensor, Layout>;

/// The dimension of tensors that lies across the lanes.
pub type LaneDims = HashMap<Tensor, usize>;

/// Chooses the layouts, given those of inputs.
pub fn choose(kernels: &Kernels, inputs: &LaneDims, lanes: i64) -> Layouts {
    let mut dimension = follow(&kernels.program, &kernels.kernels, inputs, lanes);
    for tensor in read_beside(kernels, &dimension) {
        dimension.remove(&tensor);
    }
    let mut layouts: Layouts = HashMap::default();
    for tensor in &kernels.stored {
        let shape = &kernels.program.tensors[*tensor].shape;
        layouts.insert(*tensor, Layout::new(shape, dimension.get(tensor).copied(), lanes));
    }
    for nest in kernels.kernels.iter().flat_map(|kernel| &kernel.nests) {
        for statement in &nest.statements {
            widen_halos(&kernels.program, statement.body, &mut layouts);
        }
    }
    layouts
}

/// The dimension of each tensor that lies across, as the inputs' imply.
pub fn follow(program: &Program, kernels: &[Kernel], inputs: &LaneDims, lanes: i64) -> LaneDims {
    let mut dimension = inputs.clone();
    let given: HashSet<Tensor> = program.inputs.iter().copied().collect();
    loop {
        let known = dimension.len();
        for nest in kernels.iter().flat_map(|kernel| &kernel.nests) {
            let Some(axis) = nest_axis(program, nest, &dimension, lanes) else { continue };
            for statement in &nest.statements {
                if let Some(at) = statement.at.iter().position(|index| index.as_axis() == Some(axis)) {
                    dimension.insert(statement.result, at);
                }
                for (tensor, at) in computed_along(program, &given, statement.body, axis) {
                    dimension.entry(tensor).or_insert(at);
                }
            }
        }
        if dimension.len() == known {
            return dimension;
        }
    }
}

/// The tensors that an expression reads along an axis and that are not given as inputs, and the dimension that it indexes.
fn computed_along(
    program: &Program,
    given: &HashSet<Tensor>,
    body: ExprId,
    axis: Axis,
) -> Vec<(Tensor, usize)> {
    let mut found = Vec::new();
    program.for_each_expr(body, &mut |id| {
        if let Expr::Read { tensor, index, .. } = &program.exprs[id]
            && let Some(at) = index.iter().position(|index| index.as_axis() == Some(axis))
            && !given.contains(tensor)
        {
            found.push((*tensor, at));
        }
    });
    found
}

/// The tensors that are read before the first or behind the last element of the dimension across. Lanes beyond the
/// last one hold anything, so such a tensor must not have any.
fn read_beside(kernels: &Kernels, dimension: &LaneDims) -> Vec<Tensor> {
    let program = &kernels.program;
    let mut found = Vec::new();
    for statement in kernels.kernels.iter().flat_map(|kernel| &kernel.nests).flat_map(|nest| &nest.statements)
    {
        program.for_each_expr(statement.body, &mut |id| {
            if let Expr::Read { tensor, index, .. } = &program.exprs[id]
                && let Some(at) = dimension.get(tensor)
            {
                let (low, high) = index[*at].range(&program.axes);
                let behind = high >= program.tensors[*tensor].shape[*at];
                if low < 0 || (behind && !planted!("kernels.layout.beside")) {
                    found.push(*tensor);
                }
            }
        });
    }
    found
}

/// Widens the halos of the tensors that an expression reads outside.
fn widen_halos(program: &Program, body: ExprId, layouts: &mut Layouts) {
    program.for_each_expr(body, &mut |id| {
        if let Expr::Read { tensor, index, fill: Some(fill) } = &program.exprs[id]
            && let Some(layout) = layouts.get_mut(tensor)
            && layout.fill.is_none_or(|other| other == *fill)
            && index.iter().all(Index::is_affine)
        {
            widen(program, layout, index, *fill);
        }
    });
}

fn widen(program: &Program, layout: &mut Layout, index: &[Index], fill: Real) {
    let mut wider = layout.clone();
    for (at, index) in index.iter().enumerate() {
        let (low, high) = index.range(&program.axes);
        let (before, after) = wider.halo[at];
        wider.halo[at] =
            (before.max(low.saturating_neg()), after.max(high.saturating_add(1) - layout.shape[at]));
    }
    let most = LARGEST_HALO * layout.shape.iter().product::<i64>() * layout.lanes;
    if !wider.fits(most) {
        return;
    }
    let widens_lanes = wider.lane_dim.is_some_and(|at| wider.halo[at] != (0, 0));
    if !widens_lanes && wider.len() as i64 <= most && wider.halo != layout.halo {
        wider.fill = Some(fill);
        *layout = wider;
    }
}

/// The axis of a nest that runs over the lanes, as far as the tensors known so far tell: a free one before one that is
/// reduced.
pub fn nest_axis(program: &Program, nest: &Nest, dimension: &LaneDims, lanes: i64) -> Option<Axis> {
    let mut found: Vec<Axis> = Vec::new();
    for statement in &nest.statements {
        program.for_each_expr(statement.body, &mut |id| {
            if let Expr::Read { tensor, index, .. } = &program.exprs[id]
                && let Some(at) = dimension.get(tensor)
                && let Some(axis) = lane_axis(&index[*at], lanes, &program.axes)
            {
                found.push(axis);
            }
        });
    }
    found.iter().find(|axis| nest.axes.contains(axis)).or(found.first()).copied()
}

/// The axis that runs through the lanes of an index: the index itself, or its last part where the dimension is split
/// into groups of whole blocks.
pub fn lane_axis(index: &Index, lanes: i64, axes: &Axes) -> Option<Axis> {
    if let Some(axis) = index.as_axis() {
        return Some(axis);
    }
    let mut found = None;
    for (atom, coefficient) in index.terms() {
        match atom {
            Atom::Axis(axis) if *coefficient == 1 && axes[*axis].extent % lanes == 0 => found = Some(*axis),
            _ if coefficient % lanes == 0 => {}
            _ => return None,
        }
    }
    found.filter(|_| index.constant() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_addresses() {
        let mut layout = Layout::new(&[11, 3, 5], Some(0), 8);
        layout.halo = vec![(0, 0), (0, 0), (1, 2)];
        for (n, c, i) in [(0, 0, 0), (7, 2, 4), (8, 0, -1), (10, 1, 6)] {
            assert_eq!(address(&layout, &[n, c, i]), Some(layout.offset(&[n, c, i]) as i64));
        }
        assert_eq!(layout.len(), 16 * 3 * 8);
    }

    fn address(layout: &Layout, index: &[i64]) -> Option<i64> {
        let index: Vec<Index> = index.iter().map(|index| Index::from(*index)).collect();
        layout.address(&index, &Axes::new()).as_constant()
    }

    /// 256 pixels of eight lanes are 128 lines: one line more between channels, which lie in 129 each.
    #[test]
    fn channels_that_would_compete_lie_apart() {
        for (shape, lane_dim) in [([16, 3, 16, 16], 0), ([3, 16, 16, 16], 1)] {
            let layout = Layout::new(&shape, Some(lane_dim), 8);
            let channel = |n: i64, c: i64| if lane_dim == 0 { [n, c, 0, 0] } else { [c, n, 0, 0] };
            let [first, second, next] =
                [channel(0, 0), channel(0, 1), channel(8, 0)].map(|at| layout.offset(&at));
            assert_eq!((second - first, next - first), (8 * 258, 8 * 3 * 258));
            assert_eq!(layout.len(), 2 * 8 * 3 * 258);
            for index in [channel(7, 2), channel(15, 1), [2, 2, 15, 3]] {
                assert_eq!(address(&layout, &index), Some(layout.offset(&index) as i64));
            }
        }
    }
}
