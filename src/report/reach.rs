//! Receptive fields: which part of the input one element of a value depends on.
//!
//! The place of an element goes backwards through all equations as a box, one interval an axis; where several reads
//! meet, the box is the smallest that holds them. So the result is exact for convolutions and pooling and never too
//! small for anything else. A box may reach beyond a tensor, as that of an element near the border does: the field
//! is the same everywhere, but never larger than the input.
//!
//! A box of numbers would have to go all the way back for each layer. So the bounds are functions of a box ([`Bound`]),
//! and each value knows once how a box of its own lies in the data. Where bounds cannot say that, as behind a reshape,
//! boxes of numbers go back to the values that know.

use std::collections::{BTreeSet, HashMap};

use crate::graph::{Graph, Node, Role, Value};
use crate::te::{Atom, Axis, Expr, ExprId, Index, Piece, Program, Tensor};

use super::bound::{Bound, Interval, joined, known, whole};

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
    size: [i64; 2],
    /// The place of the node that computes a value.
    makers: HashMap<Value, usize>,
    /// What a box of each value that depends on the data is there; none where bounds cannot say it.
    maps: HashMap<Value, Option<Region>>,
    /// For values as a whole, the last box that holds it, and what that is in the data: found where nothing else was left
    /// to look at.
    wholes: HashMap<Value, (Region, Region)>,
}

impl<'a> Reach<'a> {
    /// None where the graph's data are not pictures.
    pub fn of(graph: &'a Graph) -> Option<Reach<'a>> {
        let (data, _) = graph.inputs.iter().find(|(_, role)| *role == Role::Data)?;
        let [_, _, height, width] = graph.values[*data].shape[..] else { return None };
        let results = |(at, node): (usize, &'a Node)| node.results.iter().map(move |value| (*value, at));
        let makers = graph.nodes.iter().enumerate().flat_map(results).collect();
        let maps = HashMap::from([(*data, Some(itself(4)))]);
        let mut reach = Reach { graph, size: [height, width], makers, maps, wholes: HashMap::new() };
        for node in &graph.nodes {
            let outputs = &graph.ops[node.op].program.outputs;
            for (tensor, value) in outputs.iter().zip(&node.results) {
                if let Some(map) = reach.map_of(node, *tensor) {
                    reach.maps.insert(*value, map);
                }
            }
        }
        Some(reach)
    }

    /// The receptive field of a value's middle element; none where the value does not depend on the data.
    pub fn field(&mut self, value: Value) -> Option<Field> {
        let shape = &self.graph.values[value].shape;
        let middle: Vec<i64> = shape.iter().map(|extent| extent / 2).collect();
        let region = self.of_element(value, &middle)?;
        let size = [0, 1].map(|axis| (region[axis + 2].1 - region[axis + 2].0 + 1).min(self.size[axis]));
        let jump = match shape[..] {
            [_, _, rows, columns] if rows > 1 && columns > 1 => {
                // The element before the middle one exists in both directions.
                let before = [middle[0], middle[1], middle[2] - 1, middle[3] - 1];
                let other = self.of_element(value, &before)?;
                let end =
                    |axis: usize| if planted!("report.reach.jump") { other[axis].0 } else { other[axis].1 };
                Some([2, 3].map(|axis: usize| region[axis].1 - end(axis)))
            }
            _ => None,
        };
        Some(Field { size, jump })
    }

    /// What a box of a result is in the data, if it depends on them; none inside where bounds cannot say it.
    fn map_of(&self, node: &Node, result: Tensor) -> Option<Option<Region>> {
        let depends = |input: &Value| self.maps.contains_key(input);
        if !node.inputs.iter().any(depends) {
            return None;
        }
        let program = &self.graph.ops[node.op].program;
        let given = HashMap::from([(result, itself(program.tensors[result].shape.len()))]);
        let Some(reached) = through(program, given) else { return Some(None) };
        let mut map: Option<Region> = None;
        for (tensor, value) in program.inputs.iter().zip(&node.inputs) {
            let (Some(region), Some(beyond)) = (reached.get(tensor), self.maps.get(value)) else { continue };
            let beyond = beyond.as_ref().and_then(|beyond| after(beyond, region));
            let Some(all) = beyond.and_then(|beyond| join(map.take(), beyond)) else { return Some(None) };
            map = Some(all);
        }
        map.map(Some)
    }

    /// The part of the data that one element of a value depends on.
    fn of_element(&mut self, value: Value, element: &[i64]) -> Option<Vec<(i64, i64)>> {
        let mut found: Option<Region> = None;
        let mut passed: Vec<(Value, Region)> = Vec::new();
        let mut regions: HashMap<Value, Region> = HashMap::new();
        regions.insert(value, element.iter().map(|index| whole(*index, *index)).collect());
        let mut open = BTreeSet::from([(self.makers.get(&value).copied(), value)]);
        // From the last node: what reads a value has been looked at before it.
        while let Some((maker, value)) = open.pop_last() {
            let (Some(map), Some(region)) = (self.maps.get(&value), regions.remove(&value)) else { continue };
            if let Some(map) = map {
                found = Some(join(found, after(map, &region)?)?);
                continue;
            }
            if found.is_none() && open.is_empty() && self.is_whole(value, &region) {
                if let Some((_, data)) = self.wholes.get(&value).filter(|(known, _)| *known == region) {
                    found = Some(data.clone());
                    break;
                }
                passed.push((value, region.clone()));
            }
            let node = &self.graph.nodes[maker?];
            let program = &self.graph.ops[node.op].program;
            let results = program.outputs.iter().zip(&node.results);
            let given = results.filter(|(_, result)| **result == value);
            let reached = through(program, given.map(|(tensor, _)| (*tensor, region.clone())).collect())?;
            for (tensor, value) in program.inputs.iter().zip(&node.inputs) {
                if let Some(region) = reached.get(tensor)
                    && self.maps.contains_key(value)
                {
                    let all = join(regions.remove(value), region.clone())?;
                    regions.insert(*value, all);
                    open.insert((self.makers.get(value).copied(), *value));
                }
            }
        }
        let found = found?;
        self.wholes.extend(passed.into_iter().map(|(value, region)| (value, (region, found.clone()))));
        found.iter().map(known).collect()
    }

    /// Whether a box holds all elements of a value.
    fn is_whole(&self, value: Value, region: &Region) -> bool {
        let extents = &self.graph.values[value].shape;
        let holds = |(low, high), extent: i64| low <= 0 && high >= extent - 1;
        region
            .iter()
            .zip(extents)
            .all(|(interval, extent)| known(interval).is_some_and(|ends| holds(ends, *extent)))
    }
}

/// A box as a function of itself.
fn itself(rank: usize) -> Region {
    (0..rank).map(|axis| [Bound::of_axis(axis); 2]).collect()
}

/// A box that depends on one that depends on a third.
fn after(map: &Region, inner: &Region) -> Option<Region> {
    let bound = |bound: &Bound, side: usize| bound.after(|axis| inner[axis][side]);
    map.iter().map(|[low, high]| Some([bound(low, 0)?, bound(high, 1)?])).collect()
}

/// The smallest box that holds both.
fn join(region: Option<Region>, other: Region) -> Option<Region> {
    let Some(region) = region else { return Some(other) };
    region.into_iter().zip(other).map(|(one, other)| joined(one, other)).collect()
}

/// The regions of all tensors that the given regions of the results depend on.
fn through(program: &Program, mut regions: HashMap<Tensor, Region>) -> Option<HashMap<Tensor, Region>> {
    for equation in program.equations.iter().rev() {
        let Some(region) = regions.get(&equation.result).cloned() else { continue };
        let numbers = || region.iter().map(known).collect::<Option<Vec<_>>>();
        for piece in &equation.pieces {
            let axes = match equation.pieces.len() {
                1 => Some(axes_of(piece, &region)),
                _ => axes_within(program, piece, &numbers()?),
            };
            if let Some(axes) = axes {
                let mut walk = Walk { program, axes, regions: &mut regions, seen: Default::default() };
                walk.expr(piece.body)?;
            }
        }
    }
    Some(regions)
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
fn axes_within(program: &Program, piece: &Piece, region: &[(i64, i64)]) -> Option<HashMap<Axis, Interval>> {
    let all = |axis: &Axis| (*axis, (0, program.axes[*axis].extent - 1));
    let mut axes: HashMap<Axis, (i64, i64)> = piece.axes.iter().map(all).collect();
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
    Some(axes.into_iter().map(|(axis, (low, high))| (axis, whole(low, high))).collect())
}

struct Walk<'a> {
    program: &'a Program,
    axes: HashMap<Axis, Interval>,
    regions: &'a mut HashMap<Tensor, Region>,
    seen: std::collections::HashSet<ExprId>,
}

impl Walk<'_> {
    /// None where bounds cannot say what is read.
    fn expr(&mut self, id: ExprId) -> Option<()> {
        if !self.seen.insert(id) {
            return Some(());
        }
        let program = self.program;
        match &program.exprs[id] {
            Expr::Read { tensor, index, .. } => {
                let region = index.iter().map(|index| self.index(index)).collect::<Option<_>>()?;
                let all = join(self.regions.remove(tensor), region)?;
                self.regions.insert(*tensor, all);
                return Some(());
            }
            Expr::Reduce { axes, .. } => {
                for axis in axes {
                    self.axes.insert(*axis, whole(0, program.axes[*axis].extent - 1));
                }
            }
            _ => {}
        }
        let mut all = Some(());
        program.exprs[id].for_each_operand(&mut |operand| all = all.and_then(|()| self.expr(operand)));
        all
    }

    fn index(&self, index: &Index) -> Option<Interval> {
        let mut sum = whole(index.constant(), index.constant());
        for (atom, step) in index.terms() {
            let [low, high] = self.atom(atom)?;
            // The sides change where the index falls.
            let term = if *step < 0 { [high.fixed()?, low.fixed()?] } else { [low, high] };
            for (sum, term) in sum.iter_mut().zip(term) {
                *sum = sum.plus(term.times(step.checked_abs()?)?)?;
            }
        }
        Some(sum)
    }

    fn atom(&self, atom: &Atom) -> Option<Interval> {
        let numbers = |index: &Index| known(&self.index(index)?);
        let (low, high) = match atom {
            Atom::Axis(axis) => {
                let all = || whole(0, self.program.axes[*axis].extent - 1);
                return Some(self.axes.get(axis).copied().unwrap_or_else(all));
            }
            Atom::Div(x, by) => {
                let (low, high) = numbers(x)?;
                (low.div_euclid(*by), high.div_euclid(*by))
            }
            Atom::Rem(x, by) => {
                let (low, high) = numbers(x)?;
                let is_one_run = low.div_euclid(*by) == high.div_euclid(*by);
                if is_one_run { (low.rem_euclid(*by), high.rem_euclid(*by)) } else { (0, by - 1) }
            }
            Atom::Min(x, y) => {
                let (x, y) = (numbers(x)?, numbers(y)?);
                (x.0.min(y.0), x.1.min(y.1))
            }
            Atom::Max(x, y) => {
                let (x, y) = (numbers(x)?, numbers(y)?);
                (x.0.max(y.0), x.1.max(y.1))
            }
        };
        Some(whole(low, high))
    }
}
