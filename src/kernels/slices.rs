//! Kernels that run together, slice by slice.
//!
//! Where one kernel stores a tensor for the next one only, and both walk through it by the same leading dimensions (the
//! pictures, the rows), a slice of these can go through both before the next slice begins. The slice stays in a core's
//! cache, and the tensor needs the memory of a slice only.
//!
//! Here are the candidates, by the indices of their reads; the plan looks at their loops and decides.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::te::{Axis, Expr, Index, Program, Tensor};

use super::{Kernel, Kernels, Layouts, Nest};

/// Tensors of fewer bytes stay in the caches anyway.
const LARGE: i64 = 3 << 19;

/// A slice of so many bytes stays in a core's own cache, beside what else is there.
const GOOD_SLICE: i64 = 512 << 10;

/// A slice of more bytes leaves the caches that cores share, too.
const LARGEST_SLICE: i64 = 12 << 20;

/// What every slice reads again, at most.
const LARGEST_COMMON: i64 = 16 << 20;

/// An axis of a nest, and how many of its values make one slice; none where there is one slice only.
pub type Cut = Option<(Axis, i64)>;

/// Kernels that follow each other and may run slice by slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub kernels: Range<usize>,
    /// For each of them, what counts through the slices, the outermost first; the first are blocks of pictures.
    pub cuts: Vec<Vec<Cut>>,
    /// What one of them stores for a later one.
    pub private: Vec<Tensor>,
}

/// A tensor that one kernel stores for another one only, and how each of them counts through its leading dimensions.
struct Link {
    tensor: Tensor,
    from: usize,
    to: usize,
    stored: Vec<Cut>,
    read: Vec<Cut>,
}

/// The links to each kernel.
type Links = BTreeMap<usize, Vec<Link>>;

/// Kernels of which each but the last one has its only reader among them, in order.
#[derive(Clone, Default)]
struct Tree<'l> {
    kernels: Vec<usize>,
    links: Vec<&'l Link>,
}

/// Finds the groups and puts their kernels behind each other.
pub fn find(kernels: &mut Kernels, layouts: &mut Layouts) -> Vec<Group> {
    let links = links(kernels, layouts);
    let mut trees: BTreeMap<usize, Tree<'_>> = BTreeMap::new();
    for at in 0..kernels.kernels.len() {
        let mut tree = Tree { kernels: vec![at], links: Vec::new() };
        for link in links.get(&at).into_iter().flatten() {
            let from = &trees[&link.from];
            let joined = tree.joined(from, link);
            let depth = joined.depth(kernels, layouts);
            // A group that has slices already is not to get larger ones.
            if depth.is_some() && (from.links.is_empty() || depth >= from.depth(kernels, layouts)) {
                trees.remove(&link.from);
                tree = joined;
            }
        }
        trees.insert(at, tree);
    }
    let mut groups = Vec::new();
    let mut order: Vec<usize> = Vec::new();
    for tree in trees.values() {
        if let Some(cuts) = tree.cuts(kernels, layouts).filter(|_| !tree.links.is_empty()) {
            let kernels = order.len()..order.len() + tree.kernels.len();
            groups.push(Group { kernels, cuts, private: tree.private() });
        }
        order.extend(&tree.kernels);
    }
    drop(trees);
    let mut old: Vec<Option<Kernel>> = std::mem::take(&mut kernels.kernels).into_iter().map(Some).collect();
    kernels.kernels = order.into_iter().filter_map(|at| old[at].take()).collect();
    for tensor in groups.iter().flat_map(|group: &Group| &group.private) {
        layouts.entry(*tensor).and_modify(|layout| layout.dense = true);
    }
    groups
}

fn links(kernels: &Kernels, layouts: &Layouts) -> Links {
    let program = &kernels.program;
    let mut readers: BTreeMap<Tensor, Vec<usize>> = BTreeMap::new();
    let mut writer: BTreeMap<Tensor, usize> = BTreeMap::new();
    for (at, kernel) in kernels.kernels.iter().enumerate() {
        let own = kernel.results();
        for tensor in kernel.reads(program).difference(&own) {
            readers.entry(*tensor).or_default().push(at);
        }
        writer.extend(own.into_iter().map(|tensor| (tensor, at)));
    }
    let mut found = Links::new();
    for (tensor, readers) in readers {
        let ([to], Some(from)) = (readers.as_slice(), writer.get(&tensor)) else { continue };
        let layout = &layouts[&tensor];
        // Nothing else of what the kernel does may be waited for, as it moves to its reader.
        let stored = kernels.kernels[*from].results();
        let alone = stored.iter().filter(|other| kernels.stored.contains(other)).eq([&tensor]);
        let fits = layout.lane_dim == Some(0)
            && layout.fill.is_none()
            && (alone || planted!("kernels.slices.alone"));
        if !fits || program.outputs.contains(&tensor) || bytes(program, tensor) < LARGE {
            continue;
        }
        let ([one], [other]) =
            (kernels.kernels[*from].nests.as_slice(), kernels.kernels[*to].nests.as_slice())
        else {
            continue;
        };
        if let Some((stored, read)) = leading(program, tensor, layout.lanes, one, other) {
            found.entry(*to).or_default().push(Link { tensor, from: *from, to: *to, stored, read });
        }
    }
    found
}

fn bytes(program: &Program, tensor: Tensor) -> i64 {
    (program.tensors[tensor].len() * program.tensors[tensor].dtype.size()) as i64
}

/// The leading dimensions that one nest stores by plain axes, and all reads of the other index by axes or quotients of
/// axes. Of the first dimension, which lies across so many lanes, the blocks count.
fn leading(
    program: &Program,
    tensor: Tensor,
    lanes: i64,
    from: &Nest,
    to: &Nest,
) -> Option<(Vec<Cut>, Vec<Cut>)> {
    let mut stored = from.statements.iter().filter(|statement| statement.result == tensor);
    let (at, None) = (&stored.next()?.at, stored.next()) else { return None };
    let mut reads: Vec<Vec<Index>> = Vec::new();
    for statement in &to.statements {
        program.for_each_expr(statement.body, &mut |id| {
            if let Expr::Read { tensor: other, index, .. } = &program.exprs[id]
                && *other == tensor
            {
                reads.push(index.clone());
            }
        });
    }
    let (mut by_store, mut by_read) = (Vec::new(), Vec::new());
    for (dimension, at) in at.iter().enumerate() {
        let block = if dimension == 0 { lanes } else { 1 };
        let index = &reads.first()?[dimension];
        let same = reads.iter().all(|read| read[dimension] == *index);
        let cut = |nest: &Nest, index: &Index| {
            let block = index.div(block, &program.axes);
            if block.as_constant().is_some() {
                return Some(None);
            }
            let loops = nest.axes.iter().filter(|axis| !decides_select(program, nest, **axis));
            loops.into_iter().find_map(|axis| quotient(program, *axis, &block)).map(Some)
        };
        let (Some(stored), Some(read), true) = (cut(from, at), cut(to, index), same) else {
            break;
        };
        by_store.push(stored);
        by_read.push(read);
    }
    (!by_store.is_empty()).then_some((by_store, by_read))
}

/// By what an axis is divided in an index that is nothing else.
fn quotient(program: &Program, axis: Axis, index: &Index) -> Option<(Axis, i64)> {
    let is_quotient = |by: &i64| Index::from(axis).div(*by, &program.axes) == *index;
    let largest = program.axes[axis].extent.min(64);
    let by = if index.mentions(axis) { (1..=largest).find(is_quotient) } else { None };
    by.map(|by| (axis, by))
}

/// Whether the value of an axis chooses among expressions: then it is no loop, but unrolled.
fn decides_select(program: &Program, nest: &Nest, axis: Axis) -> bool {
    let mut found = false;
    for statement in &nest.statements {
        program.for_each_expr(statement.body, &mut |id| {
            if let Expr::Select(condition, ..) = &program.exprs[id] {
                found |=
                    program.as_choice(*condition).is_some_and(|(index, _)| index.as_axis() == Some(axis));
            }
        });
    }
    found
}

impl<'l> Tree<'l> {
    /// Both trees, with the link between their last kernels.
    fn joined(&self, from: &Tree<'l>, link: &'l Link) -> Tree<'l> {
        let kernels = [from.kernels.as_slice(), &self.kernels].concat();
        Tree { kernels, links: [from.links.as_slice(), &self.links, &[link]].concat() }
    }

    fn private(&self) -> Vec<Tensor> {
        self.links.iter().map(|link| link.tensor).collect()
    }

    /// By how many dimensions the slices are cut, if there are some that are worth it.
    fn depth(&self, kernels: &Kernels, layouts: &Layouts) -> Option<usize> {
        Some(self.cuts(kernels, layouts)?[0].len())
    }

    /// The bytes of a slice by so many dimensions.
    fn slice_of(&self, depth: usize, program: &Program, layouts: &Layouts) -> i64 {
        let of = |tensor: &Tensor| {
            let (shape, lanes) = (&program.tensors[*tensor].shape, layouts[tensor].lanes);
            let slices = (shape[0] + lanes - 1) / lanes * shape[1..depth].iter().product::<i64>();
            bytes(program, *tensor) / slices
        };
        self.private().iter().map(of).sum()
    }

    /// Whether slices by an axis read different elements of all large tensors that hold pictures: else each of them would walk
    /// through a whole one again.
    fn reads_once(&self, kernel: usize, axis: Axis, kernels: &Kernels, layouts: &Layouts) -> bool {
        let (program, private) = (&kernels.program, self.private());
        let mut fits = true;
        for statement in kernels.kernels[kernel].nests.iter().flat_map(|nest| &nest.statements) {
            program.for_each_expr(statement.body, &mut |id| {
                if let Expr::Read { tensor, index, .. } = &program.exprs[id]
                    && !private.contains(tensor)
                    && layouts.get(tensor).is_some_and(|layout| layout.lane_dim.is_some())
                    && bytes(program, *tensor) >= LARGE
                {
                    fits &= index.iter().any(|index| index.mentions(axis));
                }
            });
        }
        fits
    }

    /// How each kernel counts through the slices, if they agree on some and these are worth it.
    fn cuts(&self, kernels: &Kernels, layouts: &Layouts) -> Option<Vec<Vec<Cut>>> {
        let program = &kernels.program;
        let mut depth = usize::MAX;
        let mut cuts: Vec<Vec<Cut>> = Vec::new();
        for at in &self.kernels {
            // How a kernel counts, as each of its links says.
            let stored = self.links.iter().filter(|link| link.from == *at).map(|link| &link.stored);
            let read = self.links.iter().filter(|link| link.to == *at).map(|link| &link.read);
            let mut link_cuts = stored.chain(read);
            let first = link_cuts.next()?;
            depth = depth.min(first.len());
            for link_cut in link_cuts {
                depth = depth.min(first.iter().zip(link_cut).take_while(|(one, other)| one == other).count());
            }
            let once = |cut: &&Cut| cut.is_none_or(|(axis, _)| self.reads_once(*at, axis, kernels, layouts));
            depth = depth.min(first.iter().take_while(once).count());
            cuts.push(first.clone());
        }
        let depth = (1..=depth)
            .find(|depth| self.slice_of(*depth, program, layouts) <= GOOD_SLICE)
            .or((depth > 0).then_some(depth))?;
        cuts.iter_mut().for_each(|cuts| cuts.truncate(depth));
        let common = self.kernels.iter().flat_map(|at| kernels.kernels[*at].reads(program));
        let has_no_slices =
            |tensor: &Tensor| layouts.get(tensor).is_some_and(|layout| layout.lane_dim.is_none());
        let common: i64 = common.filter(has_no_slices).map(|tensor| bytes(program, tensor)).sum();
        let has_slices = cuts.iter().all(|cuts| cuts.iter().any(Option::is_some));
        let fits = self.slice_of(depth, program, layouts) <= LARGEST_SLICE && common <= LARGEST_COMMON;
        (has_slices && fits).then_some(cuts)
    }
}
