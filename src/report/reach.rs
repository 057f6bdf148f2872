//! Receptive fields: which part of the input one element of a value depends on.
//!
//! The place of an element goes backwards through all equations as a box, one interval an axis; where several reads
//! meet, the box is the smallest that holds them. So the result is exact for convolutions and pooling and never too
//! small for anything else. A box may reach beyond a tensor, as that of an element near the border does: the field
//! is the same everywhere, but never larger than the input.

use std::collections::{BTreeSet, HashMap};

use crate::graph::{Graph, Node, Role, Value};
use crate::te::{Atom, Axis, Expr, ExprId, Index, Piece, Program, Tensor};

/// The smallest and the largest index on an axis.
type Interval = (i64, i64);

/// One interval an axis.
type Region = Vec<Interval>;

/// What one element of a value sees of a picture, rows first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The height and width of the part that it depends on.
    pub size: [i64; 2],
    /// How far these parts of neighbours lie apart; none where the value has no neighbours in a direction.
    pub jump: Option<[i64; 2]>,
}

/// A graph of pictures, in which receptive fields are looked for.
pub struct Reach<'a> {
    graph: &'a Graph,
    data: Value,
    size: [i64; 2],
    /// The place of the node that computes a value.
    makers: HashMap<Value, usize>,
}

impl<'a> Reach<'a> {
    /// None where the graph's data are not pictures.
    pub fn of(graph: &'a Graph) -> Option<Reach<'a>> {
        let (data, _) = graph.inputs.iter().find(|(_, role)| *role == Role::Data)?;
        let [_, _, height, width] = graph.values[*data].shape[..] else { return None };
        let results = |(at, node): (usize, &'a Node)| node.results.iter().map(move |value| (*value, at));
        let makers = graph.nodes.iter().enumerate().flat_map(results).collect();
        Some(Reach { graph, data: *data, size: [height, width], makers })
    }

    /// The receptive field of a value's middle element; none where the value does not depend on the data.
    pub fn field(&self, value: Value) -> Option<Field> {
        let shape = &self.graph.values[value].shape;
        let middle: Vec<i64> = shape.iter().map(|extent| extent / 2).collect();
        let region = self.of_element(value, &middle)?;
        let size = |axis: usize| (region[axis + 2].1 - region[axis + 2].0 + 1).min(self.size[axis]);
        let jump = match shape[..] {
            [_, _, rows, columns] if rows > 1 && columns > 1 => {
                // The element before the middle one exists in both directions.
                let before = [middle[0], middle[1], middle[2] - 1, middle[3] - 1];
                let other = self.of_element(value, &before)?;
                Some([2, 3].map(|axis: usize| region[axis].1 - other[axis].1))
            }
            _ => None,
        };
        Some(Field { size: [size(0), size(1)], jump })
    }

    /// The part of the data that one element of a value depends on. Only the nodes that it depends on are looked at, from
    /// the last one.
    fn of_element(&self, value: Value, element: &[i64]) -> Option<Region> {
        let mut regions: HashMap<Value, Region> = HashMap::new();
        regions.insert(value, element.iter().map(|index| (*index, *index)).collect());
        let mut open: BTreeSet<usize> = self.makers.get(&value).copied().into_iter().collect();
        while let Some(at) = open.pop_last() {
            let node = &self.graph.nodes[at];
            let program = &self.graph.ops[node.op].program;
            let results = program.outputs.iter().zip(&node.results);
            let given = results.filter_map(|(tensor, value)| Some((*tensor, regions.remove(value)?))).collect();
            let reached = through(program, given);
            for (tensor, value) in program.inputs.iter().zip(&node.inputs) {
                if let Some(region) = reached.get(tensor) {
                    join(&mut regions, *value, region.clone());
                    open.extend(self.makers.get(value));
                }
            }
        }
        regions.remove(&self.data)
    }
}

fn join<K: std::hash::Hash + Eq>(regions: &mut HashMap<K, Region>, key: K, other: Region) {
    let region = regions.entry(key).or_insert_with(|| other.clone());
    for (interval, other) in region.iter_mut().zip(other) {
        *interval = (interval.0.min(other.0), interval.1.max(other.1));
    }
}

/// The regions of all tensors that the given regions of the results depend on.
fn through(program: &Program, mut regions: HashMap<Tensor, Region>) -> HashMap<Tensor, Region> {
    for equation in program.equations.iter().rev() {
        let Some(region) = regions.get(&equation.result).cloned() else { continue };
        for piece in &equation.pieces {
            let axes = match equation.pieces.len() {
                1 => Some(axes_of(piece, &region)),
                _ => axes_within(program, piece, &region),
            };
            if let Some(axes) = axes {
                let mut walk = Walk { program, axes, regions: &mut regions, seen: Default::default() };
                walk.expr(piece.body);
            }
        }
    }
    regions
}

/// The values of the axes of an only piece for which it stores into a region, also where that reaches beyond the
/// result.
fn axes_of(piece: &Piece, region: &[Interval]) -> HashMap<Axis, Interval> {
    let mut axes = HashMap::new();
    for (index, interval) in piece.at.iter().zip(region) {
        if let Some(axis) = index.as_axis() {
            axes.insert(axis, *interval);
        }
    }
    axes
}

/// The values of a piece's axes for which it stores into a region; none if it does not.
fn axes_within(program: &Program, piece: &Piece, region: &[Interval]) -> Option<HashMap<Axis, Interval>> {
    let whole = |axis: &Axis| (*axis, (0, program.axes[*axis].extent - 1));
    let mut axes: HashMap<Axis, Interval> = piece.axes.iter().map(whole).collect();
    for (index, (low, high)) in piece.at.iter().zip(region) {
        match index.terms() {
            [(Atom::Axis(axis), step)] if *step > 0 => {
                let interval = axes.get_mut(axis)?;
                let (first, last) = (low - index.constant(), high - index.constant());
                *interval =
                    (interval.0.max(-((-first).div_euclid(*step))), interval.1.min(last.div_euclid(*step)));
                if interval.0 > interval.1 {
                    return None;
                }
            }
            [] if !(*low..=*high).contains(&index.constant()) => return None,
            _ => {}
        }
    }
    Some(axes)
}

struct Walk<'a> {
    program: &'a Program,
    axes: HashMap<Axis, Interval>,
    regions: &'a mut HashMap<Tensor, Region>,
    seen: std::collections::HashSet<ExprId>,
}

impl Walk<'_> {
    fn expr(&mut self, id: ExprId) {
        if !self.seen.insert(id) {
            return;
        }
        let program = self.program;
        match &program.exprs[id] {
            Expr::Read { tensor, index, .. } => {
                let region = index.iter().map(|index| self.index(index)).collect();
                join(self.regions, *tensor, region);
            }
            Expr::Reduce { axes, body, .. } => {
                for axis in axes {
                    self.axes.insert(*axis, (0, program.axes[*axis].extent - 1));
                }
                self.expr(*body);
            }
            other => other.for_each_operand(&mut |operand| self.expr(operand)),
        }
    }

    fn index(&self, index: &Index) -> Interval {
        let mut sum = (index.constant(), index.constant());
        for (atom, step) in index.terms() {
            let (low, high) = self.atom(atom);
            let (a, b) = (low * step, high * step);
            sum = (sum.0 + a.min(b), sum.1 + a.max(b));
        }
        sum
    }

    fn atom(&self, atom: &Atom) -> Interval {
        match atom {
            Atom::Axis(axis) => {
                let whole = (0, self.program.axes[*axis].extent - 1);
                self.axes.get(axis).copied().unwrap_or(whole)
            }
            Atom::Div(x, by) => {
                let (low, high) = self.index(x);
                (low.div_euclid(*by), high.div_euclid(*by))
            }
            Atom::Rem(x, by) => {
                let (low, high) = self.index(x);
                let is_one_run = low.div_euclid(*by) == high.div_euclid(*by);
                if is_one_run { (low.rem_euclid(*by), high.rem_euclid(*by)) } else { (0, by - 1) }
            }
            Atom::Min(x, y) => {
                let (x, y) = (self.index(x), self.index(y));
                (x.0.min(y.0), x.1.min(y.1))
            }
            Atom::Max(x, y) => {
                let (x, y) = (self.index(x), self.index(y));
                (x.0.max(y.0), x.1.max(y.1))
            }
        }
    }
}
