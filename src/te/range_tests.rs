//! Ranges and the algebra of indices against a model in 128 bits, and the relations that ranges know.

use super::super::index::{Axes, Axis, AxisData, Index};
use crate::base::philox::{RandomState, uniform};

/// An index as it is written.
#[derive(Debug)]
enum Written {
    Axis(usize),
    Constant(i64),
    /// The first and a multiple of the second.
    Sum(Box<Written>, i64, Box<Written>),
    Div(Box<Written>, i64),
    Rem(Box<Written>, i64),
    Min(Box<Written>, Box<Written>),
    Max(Box<Written>, Box<Written>),
}

impl Written {
    fn value(&self, point: &[i64]) -> i128 {
        match self {
            Written::Axis(axis) => point[*axis].into(),
            Written::Constant(value) => (*value).into(),
            Written::Sum(x, k, y) => x.value(point) + i128::from(*k) * y.value(point),
            Written::Div(x, k) => x.value(point).div_euclid((*k).into()),
            Written::Rem(x, k) => x.value(point).rem_euclid((*k).into()),
            Written::Min(x, y) => x.value(point).min(y.value(point)),
            Written::Max(x, y) => x.value(point).max(y.value(point)),
        }
    }

    /// No number of the index, nor of what it is made of, is larger.
    fn magnitude(&self, extents: &[i64]) -> i128 {
        match self {
            Written::Axis(axis) => extents[*axis].into(),
            Written::Constant(value) => i128::from(*value).abs(),
            Written::Sum(x, k, y) => {
                let scaled = i128::from(*k).abs().max(1).saturating_mul(y.magnitude(extents));
                x.magnitude(extents).saturating_add(scaled)
            }
            Written::Div(x, k) | Written::Rem(x, k) => x.magnitude(extents).max((*k).into()),
            Written::Min(x, y) | Written::Max(x, y) => {
                x.magnitude(extents).saturating_add(y.magnitude(extents))
            }
        }
    }

    fn index(&self, list: &[Axis], axes: &Axes) -> Index {
        match self {
            Written::Axis(axis) => Index::from(list[*axis]),
            Written::Constant(value) => Index::from(*value),
            Written::Sum(x, k, y) => x.index(list, axes).add_scaled(&y.index(list, axes), *k, axes),
            Written::Div(x, k) => x.index(list, axes).div(*k, axes),
            Written::Rem(x, k) => x.index(list, axes).rem(*k, axes),
            Written::Min(x, y) => x.index(list, axes).min_with(&y.index(list, axes), axes),
            Written::Max(x, y) => x.index(list, axes).max_with(&y.index(list, axes), axes),
        }
    }
}

/// Draws indices.
struct Draw {
    seed: u64,
    at: u32,
}

impl Draw {
    fn below(&mut self, end: i64) -> i64 {
        self.at += 1;
        (f64::from(uniform(RandomState { seed: self.seed, step: 0 }, 0, self.at)) * end as f64) as i64
    }

    /// Mostly small; sometimes near a power of two.
    fn factor(&mut self) -> i64 {
        match self.below(8) {
            0 => (1_i64 << self.below(62)) + self.below(3) - 1,
            _ => 1 + self.below(6),
        }
    }

    fn written(&mut self, axes: usize, depth: i64) -> Written {
        let part = |draw: &mut Draw| Box::new(draw.written(axes, depth - 1));
        match self.below(if depth == 0 { 2 } else { 10 }) {
            0 => Written::Constant(self.below(13) - 6),
            1 => Written::Axis(self.below(axes as i64) as usize),
            2..=5 => {
                let sign = 1 - 2 * self.below(2);
                Written::Sum(part(self), sign * self.factor(), part(self))
            }
            6 => Written::Div(part(self), self.factor().max(1)),
            7 => Written::Rem(part(self), self.factor().max(1)),
            8 => Written::Min(part(self), part(self)),
            _ => Written::Max(part(self), part(self)),
        }
    }
}

fn for_each_point(extents: &[i64], visit: &mut dyn FnMut(&[i64])) {
    for number in 0..extents.iter().product::<i64>() {
        let mut rest = number;
        let point: Vec<i64> = extents
            .iter()
            .map(|extent| {
                let at = rest % extent;
                rest /= extent;
                at
            })
            .collect();
        visit(&point);
    }
}

/// Checks the value of an index at every point, and that each lies in the range.
fn check(seed: u64) {
    let mut draw = Draw { seed, at: 0 };
    let extents = [1 + draw.below(7), 1 + draw.below(7), 1 + draw.below(3)];
    let mut axes = Axes::new();
    let list: Vec<Axis> =
        extents.iter().map(|extent| axes.push(AxisData { name: "i".into(), extent: *extent })).collect();
    let written = draw.written(extents.len(), 4);
    if written.magnitude(&extents) >= 1 << 62 {
        return;
    }
    let index = written.index(&list, &axes);
    let (low, high) = index.range(&axes);
    for_each_point(&extents, &mut |point| {
        let value = written.value(point);
        let place = |axis: Axis| list.iter().position(|other| *other == axis).expect("an axis of the list");
        assert_eq!(i128::from(index.evaluate(&|axis| point[place(axis)])), value, "{written:?} {point:?}");
        assert!(i128::from(low) <= value && value <= i128::from(high), "{written:?}: {low} to {high}");
    });
}

#[test]
fn no_value_lies_outside_the_range() {
    (0..4000).for_each(check);
}

#[test]
#[ignore = "a million indices, two minutes"]
fn no_value_of_a_million_indices_lies_outside_the_range() {
    (0..1_000_000).for_each(check);
}

#[test]
fn relations_make_ranges_narrow() {
    let mut axes = Axes::new();
    let mut axis = |extent| Index::from(axes.push(AxisData { name: "i".into(), extent }));
    let (i, u) = (axis(8), axis(5));
    let axes = &axes;
    let range = |index: &Index| index.range(axes);
    let number = |value: i64| Index::from(value);
    assert_eq!(range(&i.sub(&i.rem(4, axes), axes)), (0, 4));
    assert_eq!(range(&i.sub(&i.div(2, axes), axes)), (0, 4));
    assert_eq!(range(&i.sub(&i.div(4, axes).scale(4), axes)), (0, 3));
    assert_eq!(range(&i.offset(3).sub(&i.rem(4, axes).scale(2), axes)), (0, 7));
    assert_eq!(range(&u.sub(&i.min_with(&u, axes), axes)), (0, 4));
    assert_eq!(range(&i.max_with(&u, axes).sub(&u, axes)), (0, 7));
    assert_eq!(range(&i.max_with(&u, axes).sub(&i.min_with(&u, axes), axes)), (0, 7));
    assert_eq!(range(&i.min_with(&number(7).sub(&i, axes), axes)), (0, 3));
    assert_eq!(range(&i.max_with(&number(7).sub(&i, axes), axes)), (4, 7));
    let distance = i.offset(-3).max_with(&number(3).sub(&i, axes), axes);
    assert_eq!(range(&distance), (0, 4));
    assert_eq!(range(&distance.min_with(&number(6).sub(&distance, axes), axes)), (0, 3));
    assert_eq!(range(&i.scale(2).min_with(&number(7).sub(&i, axes).scale(3), axes)), (0, 8));
    assert_eq!(range(&i.scale(4).offset(1).rem(8, axes)), (1, 5));
    assert_eq!(i.scale(4_294_967_297).rem(4_294_967_296, axes), i);
    assert_eq!(i.scale(4_294_967_297).div(4_294_967_296, axes), i);
}

/// A loop over all pictures and rows, as schedules make them, in an address.
#[test]
fn digits_of_an_axis_do_not_hide_relations() {
    let mut axes = Axes::new();
    let mut axis = |extent| Index::from(axes.push(AxisData { name: "i".into(), extent }));
    let (n, i, u) = (axis(12), axis(2), axis(5));
    let axes = &axes;
    let row = n.div(2, axes).rem(2, axes).scale(4).add(&n.rem(2, axes).scale(2), axes).add(&i, axes);
    let start = n.div(4, axes).scale(16);
    let read = |index: Index| start.add(&index, axes).range(axes);
    let (least, most) = (row.min_with(&u, axes), row.max_with(&u, axes));
    assert_eq!(read(most.sub(&least, axes)), (0, 39));
    assert_eq!(read(u.sub(&least, axes)), (0, 36));
    assert_eq!(read(row.sub(&row.rem(4, axes), axes)).0, 0);
    let distance = row.offset(-2).max_with(&Index::from(2).sub(&row, axes), axes);
    let mirrored = distance.min_with(&Index::from(8).sub(&distance, axes), axes);
    assert_eq!((read(distance), read(mirrored)), ((0, 37), (0, 36)));
    let ahead = row.min_with(&Index::from(10).sub(&row, axes), axes);
    assert_eq!(read(ahead), (0, 37));
}

#[test]
fn what_does_not_fit_is_unknown() {
    let mut axes = Axes::new();
    let i = axes.push(AxisData { name: "i".into(), extent: 1 << 31 });
    let far = Index::from(i).scale(1 << 62);
    assert_eq!(far.range(&axes), (i64::MIN, i64::MAX));
    assert_eq!(far.offset(1).rem(8, &axes), Index::from(1));
    assert_eq!(far.offset(3).div(16, &axes).range(&axes), (i64::MIN, i64::MAX));
}
