//! Reads turned around, against a look at all points: `axes | sums | indices` of a tensor of some shape.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::te::Expr;
use crate::te::parser::parse;

/// A read of a tensor and the axes around it.
struct Reading {
    program: Program,
    index: Vec<Index>,
    shape: Vec<i64>,
    outer: Vec<Axis>,
    inner: Vec<Axis>,
}

/// The values of axes at a point.
type Point = BTreeMap<Axis, i64>;

/// An element, and the points that reach it.
type Reached = (Vec<i64>, BTreeSet<Point>);

impl Reading {
    /// `i < 4 | u < 3 | 2*i + u` of `9`: either of the first two parts may be empty.
    fn new(text: &str, shape: &str) -> Reading {
        let parts: Vec<&str> = text.split('|').map(str::trim).collect();
        let [outer, inner, index] = parts.as_slice() else { panic!("{text}: three parts") };
        let extents: Vec<&str> =
            outer.split(", ").filter_map(|axis| Some(axis.split_once("< ")?.1)).collect();
        let left = if outer.is_empty() { "y".to_owned() } else { format!("y[{outer}]") };
        let result = if outer.is_empty() { "".to_owned() } else { format!("[{}]", extents.join(", ")) };
        let sum = if inner.is_empty() { "".to_owned() } else { format!("sum[{inner}] ") };
        let text = format!(
            "program(x: f32[{shape}]) -> (y: f32{result}) {{\n  {left} = {sum}(x[{index}] else 0);\n}}\n"
        );
        let program = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let piece = &program.equations[0].pieces[0];
        let (inner, body) = match &program.exprs[piece.body] {
            Expr::Reduce { axes, body, .. } => (axes.clone(), *body),
            _ => (Vec::new(), piece.body),
        };
        let Expr::Read { tensor, index, .. } = &program.exprs[body] else { panic!("{text}: no read") };
        let (index, shape) = (index.clone(), program.tensors[*tensor].shape.clone());
        Reading { outer: piece.axes.clone(), index, shape, inner, program }
    }

    /// All points of some axes.
    fn points(&self, axes: &[Axis]) -> Vec<Point> {
        axes.iter().fold(vec![Point::new()], |points, axis| {
            let with = |point: &Point, value: i64| {
                let mut point = point.clone();
                point.insert(*axis, value);
                point
            };
            let extent = self.program.axes[*axis].extent;
            points.iter().flat_map(|point| (0..extent).map(move |value| with(point, value))).collect()
        })
    }

    /// For each element, the points that read it: by a look at all of them.
    fn expected(&self) -> BTreeMap<Vec<i64>, BTreeSet<Point>> {
        let mut found: BTreeMap<Vec<i64>, BTreeSet<Point>> = BTreeMap::new();
        for point in self.points(&[self.outer.as_slice(), &self.inner].concat()) {
            let element = evaluated(&self.index, &point);
            let is_inside = element.iter().zip(&self.shape).all(|(at, extent)| (0..*extent).contains(at));
            if is_inside {
                found.entry(element).or_default().insert(point);
            }
        }
        found
    }

    /// The points that a piece finds for each of its elements, and how many it tries.
    fn found(&self, piece: &Inverse) -> (Vec<Reached>, usize) {
        let (mut found, mut tried) = (Vec::new(), 0);
        for at in self.points(&piece.axes) {
            let mut reached = BTreeSet::new();
            let remaining = if piece.unreached { Vec::new() } else { self.points(&piece.remaining) };
            tried += remaining.len();
            for rest in remaining {
                let known: Point = at.iter().chain(&rest).map(|(axis, value)| (*axis, *value)).collect();
                if let Some(point) = self.point(piece, &known) {
                    assert!(reached.insert(point), "{piece:?}: a point counts twice");
                }
            }
            found.push((evaluated(&piece.at, &at), reached));
        }
        (found, tried)
    }

    /// The point of the iteration that some values stand for, if there is one.
    fn point(&self, piece: &Inverse, known: &Point) -> Option<Point> {
        let mut point = Point::new();
        for axis in self.outer.iter().chain(&self.inner) {
            let value = match piece.solved.get(axis) {
                Some(index) => evaluated(std::slice::from_ref(index), known)[0],
                None => known[axis],
            };
            let is_inside = (0..self.program.axes[*axis].extent).contains(&value);
            assert!(is_inside || piece.guarded.contains(axis), "{piece:?}: {value} needs a guard");
            if !is_inside {
                return None;
            }
            point.insert(*axis, value);
        }
        // What is left in these pairs are axes of the piece, of its sums, and solved ones.
        let all: Point = known.iter().chain(&point).map(|(axis, value)| (*axis, *value)).collect();
        let is_equal = |(left, right): &(Index, Index)| {
            let pair = evaluated(&[left.clone(), right.clone()], &all);
            pair[0] == pair[1]
        };
        piece.equal.iter().all(is_equal).then_some(point)
    }

    /// Inverts the read, compares with all points, and says what that takes: `3 pieces, 1 unreached, 8 tried, i guarded`.
    fn inverted(mut self) -> String {
        let (expected, Reading { index, shape, outer, inner, .. }) = (self.expected(), &self);
        let (index, shape, outer, inner) = (index.clone(), shape.clone(), outer.clone(), inner.clone());
        let pieces = invert(&mut self.program, &index, &shape, &outer, &inner);
        let (mut left, mut tried, mut guards) = (expected, 0, BTreeSet::new());
        let mut elements = BTreeSet::new();
        for piece in &pieces {
            let (found, count) = self.found(piece);
            tried += count;
            for (element, points) in found {
                let wanted = left.remove(&element).unwrap_or_default();
                assert_eq!(points, wanted, "{element:?} by {piece:?}");
                assert!(elements.insert(element), "{piece:?} has an element of another piece");
            }
            let name = |axis: &Axis| format!(", {} guarded", self.program.axes[*axis].name);
            guards.extend(piece.guarded.iter().map(name));
            guards.extend(piece.equal.iter().map(|_| ", compared".to_owned()));
        }
        assert_eq!(elements.len() as i64, shape.iter().product::<i64>(), "some elements are in no piece");
        assert!(left.is_empty(), "nothing reaches {left:?}");
        let unreached = pieces.iter().filter(|piece| piece.unreached).count();
        let guards: String = guards.into_iter().collect();
        format!("{} pieces, {unreached} unreached, {tried} tried{guards}", pieces.len())
    }
}

fn evaluated(index: &[Index], point: &Point) -> Vec<i64> {
    index.iter().map(|index| index.evaluate(&|axis| point[&axis])).collect()
}

fn check(cases: &[(&str, &str, &str)]) {
    for (text, shape, wanted) in cases {
        assert_eq!(Reading::new(text, shape).inverted(), *wanted, "{text} of {shape}");
    }
}

#[test]
fn digits_are_read_off_the_element() {
    check(&[
        ("i < 6 | | i", "6", "1 pieces, 0 unreached, 6 tried"),
        ("i < 4 | u < 4 | 4*i + u", "16", "1 pieces, 0 unreached, 16 tried"),
        ("i < 2, j < 3 | u < 2 | 6*i + u + 2*j", "12", "1 pieces, 0 unreached, 12 tried"),
        ("i < 4 | u < 4 | 4*i + u + 1", "18", "3 pieces, 2 unreached, 16 tried"),
        ("i < 4 | | i", "6", "2 pieces, 1 unreached, 4 tried"),
        ("n < 2 | u < 5 | u + 3", "8", "2 pieces, 1 unreached, 10 tried"),
        ("i < 2 | | 3", "5", "3 pieces, 2 unreached, 2 tried"),
        ("i < 3, j < 4 | | j, i", "4, 3", "1 pieces, 0 unreached, 12 tried"),
    ]);
}

#[test]
fn stride_1_is_solved_for_the_result() {
    check(&[
        ("i < 6 | u < 3 | i + u - 1", "6", "1 pieces, 0 unreached, 18 tried, i guarded"),
        ("i < 6 | | i - 2", "6", "1 pieces, 0 unreached, 6 tried, i guarded"),
        ("i < 8 | u < 3 | i + 2*u - 2", "8", "1 pieces, 0 unreached, 24 tried, i guarded"),
        ("i < 4, j < 4 | | i + j", "7", "1 pieces, 0 unreached, 28 tried, i guarded"),
        (
            "i < 5, j < 4 | u < 3, v < 3 | i + u - 1, j + v - 1",
            "5, 4",
            "1 pieces, 0 unreached, 180 tried, i guarded, j guarded",
        ),
        ("i < 3, j < 3 | | i, j + i", "3, 5", "1 pieces, 0 unreached, 15 tried, j guarded"),
    ]);
}

#[test]
fn strides_have_residue_classes() {
    check(&[
        ("i < 4 | u < 3 | 2*i + u", "9", "2 pieces, 0 unreached, 14 tried, i guarded"),
        ("i < 4 | u < 2 | 3*i + u", "12", "3 pieces, 1 unreached, 8 tried"),
        ("i < 3 | | 2*i", "5", "2 pieces, 1 unreached, 3 tried"),
        ("n < 2 | u < 3 | 2*u", "5", "2 pieces, 1 unreached, 6 tried"),
        // Fewer elements than phases.
        ("i < 4 | u < 3 | 5*i + u", "2", "2 pieces, 0 unreached, 2 tried"),
        // A dilation: 2 and 3 have no common divisor, 4 and 6 have 2, and 4 and 8 have 4.
        ("i < 3 | u < 3 | 2*i + 3*u", "11", "2 pieces, 0 unreached, 17 tried, i guarded"),
        ("i < 4 | u < 3 | 4*i + 6*u", "26", "4 pieces, 2 unreached, 20 tried, i guarded"),
        ("i < 3 | u < 3 | 4*i + 8*u", "25", "4 pieces, 3 unreached, 21 tried, i guarded"),
        (
            "i < 2, j < 2 | u < 3, v < 3 | 2*i + u, 2*j + v",
            "5, 5",
            "4 pieces, 0 unreached, 64 tried, i guarded, j guarded",
        ),
    ]);
}

#[test]
fn the_result_may_walk_backwards() {
    check(&[
        ("i < 6 | | -i + 5", "6", "1 pieces, 0 unreached, 6 tried"),
        ("i < 3 | u < 4 | u - i + 2", "6", "1 pieces, 0 unreached, 24 tried, i guarded"),
        ("i < 3 | u < 3 | 2*u - i", "4", "1 pieces, 0 unreached, 12 tried, i guarded"),
        ("i < 4 | u < 3 | 2*i - u + 2", "9", "2 pieces, 0 unreached, 14 tried, i guarded"),
    ]);
}

#[test]
fn axes_of_a_single_point_stand_in_no_way() {
    check(&[
        ("i < 1 | u < 1 | i + u", "1", "1 pieces, 0 unreached, 1 tried"),
        ("i < 3 | u < 1 | 2*i + u", "5", "2 pieces, 1 unreached, 3 tried"),
        ("i < 1 | u < 3 | 2*i + u", "3", "1 pieces, 0 unreached, 3 tried"),
        ("i < 4 | u < 1 | -2*u + i", "4", "1 pieces, 0 unreached, 4 tried"),
        ("i < 4, j < 1 | | i / 5, j", "1, 1", "1 pieces, 0 unreached, 4 tried"),
        (" | | 2", "3", "2 pieces, 1 unreached, 1 tried"),
    ]);
}

/// All points are compared: right, but slow.
#[test]
fn what_cannot_be_solved_is_compared() {
    check(&[
        ("i < 6 | | i / 2", "3", "1 pieces, 0 unreached, 18 tried, compared"),
        ("i < 8 | u < 2 | i % 4 + u", "5", "1 pieces, 0 unreached, 80 tried, compared"),
        ("i < 4 | u < 3 | min(i + u, 3)", "4", "1 pieces, 0 unreached, 48 tried, compared"),
        ("i < 4 | | -2*i + 6", "7", "1 pieces, 0 unreached, 28 tried, compared"),
        ("i < 4 | | i, i", "4, 4", "1 pieces, 0 unreached, 16 tried, compared"),
        ("i < 3, j < 3 | | i, 2*j + i", "3, 7", "1 pieces, 0 unreached, 63 tried, compared"),
        ("i < 3 | u < 3, v < 3 | 2*i + u + v", "9", "1 pieces, 0 unreached, 243 tried, compared"),
        // More phases than there may be pieces.
        ("i < 2 | u < 2 | 5000*i + u", "9000", "1 pieces, 0 unreached, 36000 tried, compared"),
    ]);
}

#[test]
fn every_stride_dilation_and_padding_gives_all_points() {
    let signed = |k: i64, rest: &str| format!("{} {}{rest}", if k < 0 { "-" } else { "+" }, k.abs());
    for (stride, dilation) in (-5..6).flat_map(|stride| (-6..7).map(move |dilation| (stride, dilation))) {
        for (extent, taps, padding) in [(1, 3, 0), (3, 1, 1), (3, 2, 0), (3, 4, 2), (4, 3, -1)] {
            let terms = [signed(stride, "*i"), signed(dilation, "*u"), signed(-padding, "")];
            let text = format!("i < {extent} | u < {taps} | 0 {}", terms.join(" "));
            for shape in ["1", "7", "12"] {
                Reading::new(&text, shape).inverted();
            }
        }
    }
}
