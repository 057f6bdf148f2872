//! Races of parallel loops: whether two iterations may access one element that one of them writes.
//!
//! Of parallel loops within each other, an iteration is a point of all of them. Two points first differ in one axis: those
//! before it are the same for both, so terms that mention these alone cancel, where all accesses have the same, and those
//! after it are like axes of serial loops. So each of the axes is looked at in turn as if it were the only parallel one.
//!
//! An address is a sum of digits: terms of the parallel axis, terms of the axes within the loop, the lanes, and the
//! distance between the two accesses. Sorted by size, a digit that is larger than all below it together can be read
//! off the address. If this holds for those of the parallel axis and for all above them, equal addresses have equal
//! parallel digits; if these tell iterations apart, two iterations never meet. So do they where all that is not of the
//! parallel axis stays within less than one step of it. This accepts blocks (`8*n + i`),
//! interleavings (`n + 8*i`) and an axis that is split by `/` and `%`. Where it fails, the elements of a small function
//! are counted out; what is left, it refuses. The verifier has seen that all accesses are moderate
//! (`bounds::is_moderate`), so no sum here leaves `i64`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::bounds::atom_index;
use super::visit::Access;
use super::{Atom, Axes, Axis, Buffer, Function, Index};

/// The races of the parallel loops over `grid`, outermost first, a message each buffer.
pub fn find(function: &Function, grid: &[Axis], accesses: &HashSet<Access<'_>>) -> Vec<String> {
    // Two points differ in no axis that has one value.
    let differing: Vec<usize> = (0..grid.len()).filter(|at| function.axes[grid[*at]].extent > 1).collect();
    if differing.is_empty() {
        return Vec::new();
    }
    let mut of_buffers: BTreeMap<Buffer, Vec<&Access<'_>>> = BTreeMap::new();
    for access in accesses {
        of_buffers.entry(access.buffer).or_default().push(access);
    }
    let race = |accesses: &[&Access<'_>]| {
        if !accesses.iter().any(|access| access.is_store) {
            return None;
        }
        let is_told = |at: &&usize| told_apart(&function.axes, &grid[..**at], grid[**at], accesses);
        let unclear = differing.iter().find(|at| !is_told(at))?;
        (!counted_apart(&function.axes, grid, accesses)).then_some(grid[*unclear])
    };
    let message = |buffer: Buffer, axis: Axis| {
        let (axis, buffer) = (&function.axes[axis].name, &function.buffers[buffer].name);
        format!("iterations of `{axis}` may touch the same element of `{buffer}`")
    };
    let races = of_buffers.into_iter().filter_map(|(buffer, accesses)| Some((buffer, race(&accesses)?)));
    races.map(|(buffer, axis)| message(buffer, axis)).collect()
}

/// Whether the addresses of some accesses say which iteration they belong to, where the `outer` axes are the same for all.
fn told_apart(axes: &Axes, outer: &[Axis], parallel: Axis, accesses: &[&Access<'_>]) -> bool {
    let Some(classes) = classes(axes, outer, parallel, accesses) else { return false };
    // Where the terms of the parallel axis differ, digits say nothing, and where those of outer axes do, they may be any.
    let Class { own, outer, .. } = &classes[0];
    if classes.iter().any(|class| class.own != *own || class.outer != *outer)
        || !is_injective(own, axes, parallel)
    {
        return false;
    }
    let digits: Vec<(i64, i64)> =
        own.iter().map(|(atom, size)| (size.abs(), span(&range(atom, axes)))).collect();
    let mut seen = HashSet::new();
    let stores = classes.iter().filter(|class| class.store);
    stores.flat_map(|store| classes.iter().map(move |other| (store, other))).all(|(store, other)| {
        let pair = Pair::of(axes, store, other);
        let constants = store.constants.iter().flat_map(|a| other.constants.iter().map(move |b| a - b));
        let distances: BTreeSet<i64> = constants.collect();
        distances.into_iter().all(|distance| {
            let serial = pair.digits(distance);
            let key = (serial, pair.reach(distance));
            seen.contains(&key) || {
                let apart = are_separate(&digits, &[(1, key.1)]) || are_separate(&digits, &key.0);
                seen.insert(key);
                apart
            }
        })
    })
}

/// Whether an access stores, its terms, its stride, its lanes.
type Form<'a> = (bool, &'a [(Atom, i64)], i64, u32);

/// Accesses that differ in the constants of their indices only.
struct Class {
    store: bool,
    /// Terms of the outer axes alone.
    outer: Terms,
    /// Terms of the parallel axis alone.
    own: Terms,
    /// All other terms.
    serial: Terms,
    /// Where these and the lanes can lead.
    range: (i64, i64),
    stride: i64,
    lanes: u32,
    constants: BTreeSet<i64>,
}

/// The classes of accesses; none if the parallel axis enters one of them together with other axes.
fn classes(axes: &Axes, outer: &[Axis], parallel: Axis, accesses: &[&Access<'_>]) -> Option<Vec<Class>> {
    let mut constants: BTreeMap<Form<'_>, BTreeSet<i64>> = BTreeMap::new();
    for Access { index, stride, lanes, is_store, .. } in accesses {
        constants.entry((*is_store, index.terms(), *stride, *lanes)).or_default().insert(index.constant());
    }
    let class = |((store, terms, stride, lanes), constants): (Form<'_>, _)| {
        let [outer, own, serial] = split(terms, outer, parallel)?;
        let spread = stride * (i64::from(lanes) - 1);
        let (low, high) = Index::from_terms(serial.clone(), 0).range(axes);
        let range = (low + spread.min(0), high + spread.max(0));
        Some(Class { store, outer, own, serial, range, stride, lanes, constants })
    };
    constants.into_iter().map(class).collect()
}

/// Elements that are counted out, at most.
const LARGEST_COUNT: i64 = 1 << 21;

/// Whether no point of the parallel loops touches an element that another one stores, by trying all.
fn counted_apart(axes: &Axes, grid: &[Axis], accesses: &[&Access<'_>]) -> bool {
    let points = |access: &&Access<'_>| {
        let axes = axes_of(access, grid).into_iter().map(|axis| axes[axis].extent);
        axes.fold(i64::from(access.lanes), i64::saturating_mul)
    };
    if accesses.iter().map(points).fold(0, i64::saturating_add) > LARGEST_COUNT {
        return false;
    }
    let mut owner: HashMap<i64, i64> = HashMap::new();
    let mut apart = true;
    for access in accesses.iter().filter(|access| access.is_store) {
        for_each_element(axes, access, grid, &mut |iteration, element| {
            apart &= *owner.entry(element).or_insert(iteration) == iteration;
        });
    }
    for access in accesses.iter().filter(|access| !access.is_store) {
        for_each_element(axes, access, grid, &mut |iteration, element| {
            apart &= owner.get(&element).is_none_or(|owner| *owner == iteration);
        });
    }
    apart
}

/// The parallel axes, outermost first, and then the other ones of an access.
fn axes_of(access: &Access<'_>, grid: &[Axis]) -> Vec<Axis> {
    let mut serial = BTreeSet::new();
    access.index.for_each_axis(&mut |axis| {
        serial.extend((!grid.contains(&axis)).then_some(axis));
    });
    grid.iter().copied().chain(serial).collect()
}

/// Visits the number of the point and the element of every run of an access.
fn for_each_element(axes: &Axes, access: &Access<'_>, grid: &[Axis], visit: &mut dyn FnMut(i64, i64)) {
    let own = axes_of(access, grid);
    let count = |axes_of: &[Axis]| axes_of.iter().map(|axis| axes[*axis].extent).product::<i64>();
    let (points, iterations) = (count(&own), count(grid));
    let mut at: HashMap<Axis, i64> = HashMap::new();
    for point in 0..points {
        let mut rest = point;
        for axis in &own {
            at.insert(*axis, rest % axes[*axis].extent);
            rest /= axes[*axis].extent;
        }
        let first = access.index.evaluate(&|axis| at[&axis]);
        for lane in 0..i64::from(access.lanes) {
            visit(point % iterations, first + lane * access.stride);
        }
    }
}

/// What the difference of two addresses is made of, but for the parallel axis and the constants.
struct Pair {
    /// Sizes of one step and largest numbers of steps.
    serial: Vec<(i64, i64)>,
    ranges: [(i64, i64); 2],
}

impl Pair {
    fn of(axes: &Axes, store: &Class, other: &Class) -> Pair {
        let mut terms: Vec<&(Atom, i64)> = store.serial.iter().collect();
        terms.extend(other.serial.iter().filter(|term| !store.serial.contains(term)));
        let mut serial: Vec<(i64, i64)> =
            terms.into_iter().map(|(atom, size)| (size.abs(), span(&range(atom, axes)))).collect();
        let lanes = |class: &Class| (class.stride.abs(), i64::from(class.lanes) - 1);
        let (one, two) = (lanes(store), lanes(other));
        match one.0 == two.0 {
            true => serial.push((one.0, one.1.max(two.1))),
            false => serial.extend([one, two]),
        }
        Pair { serial, ranges: [store.range, other.range] }
    }

    /// The digits with those of a distance of the constants.
    fn digits(&self, distance: i64) -> Vec<(i64, i64)> {
        let mut digits = self.serial.clone();
        digits.push((distance.abs(), 1));
        digits.retain(|(size, steps)| *size > 0 && *steps > 0);
        digits.sort_unstable();
        digits
    }

    /// The largest distance of two elements that one iteration touches.
    fn reach(&self, distance: i64) -> i64 {
        let [(low, high), (other_low, other_high)] = self.ranges;
        (high + distance - other_low).max(other_high - distance - low).max(0)
    }
}

/// Whether the parallel digits, and all above one of them, are larger than what is below them.
fn are_separate(parallel: &[(i64, i64)], serial: &[(i64, i64)]) -> bool {
    let parallel = parallel.iter().map(|(size, steps)| (*size, *steps, true));
    let serial = serial.iter().map(|(size, steps)| (*size, *steps, false));
    let mut digits: Vec<(i64, i64, bool)> = parallel.chain(serial).collect();
    digits.sort_unstable();
    let (mut span, mut above, mut group) = (0_i64, false, 0);
    for (size, steps, is_parallel) in digits {
        // Serial digits that are multiples of one separate digit are separate together.
        let in_group = !is_parallel && group > 0 && size % group == 0;
        if (is_parallel || above) && !in_group {
            if size <= span {
                return false;
            }
            group = if is_parallel { 0 } else { size };
        }
        above |= is_parallel;
        span = span.saturating_add(size.saturating_mul(steps));
    }
    true
}

fn range(atom: &Atom, axes: &Axes) -> (i64, i64) {
    atom_index(atom, axes).range(axes)
}

fn span((low, high): &(i64, i64)) -> i64 {
    high - low
}

/// Terms with their coefficients.
type Terms = Vec<(Atom, i64)>;

/// The terms of the outer axes alone, those of the parallel axis alone, and those without it.
fn split(terms: &[(Atom, i64)], outer: &[Axis], parallel: Axis) -> Option<[Terms; 3]> {
    let [mut fixed, mut own, mut serial] = [const { Vec::new() }; 3];
    for (atom, coefficient) in terms {
        let kind = match (mentions(atom, &|axis| axis == parallel), mentions(atom, &|axis| axis != parallel))
        {
            (true, true) => return None,
            (true, false) => &mut own,
            (false, _) if mentions(atom, &|axis| !outer.contains(&axis)) => &mut serial,
            (false, _) => &mut fixed,
        };
        kind.push((atom.clone(), *coefficient));
    }
    Some([fixed, own, serial])
}

fn mentions(atom: &Atom, wanted: &dyn Fn(Axis) -> bool) -> bool {
    let mut found = false;
    atom.for_each_axis(&mut |axis| found |= wanted(axis));
    found
}

fn value(atom: &Atom, iteration: i64) -> i64 {
    match atom {
        Atom::Axis(_) => iteration,
        Atom::Div(x, k) => x.evaluate(&|_| iteration).div_euclid(*k),
        Atom::Rem(x, k) => x.evaluate(&|_| iteration).rem_euclid(*k),
        Atom::Min(x, y) => x.evaluate(&|_| iteration).min(y.evaluate(&|_| iteration)),
        Atom::Max(x, y) => x.evaluate(&|_| iteration).max(y.evaluate(&|_| iteration)),
    }
}

/// Whether the terms of the parallel axis differ between any two iterations.
fn is_injective(terms: &[(Atom, i64)], axes: &Axes, parallel: Axis) -> bool {
    if Known::of(terms, axes).determine(&Index::from(parallel)) {
        return true;
    }
    let extent = axes[parallel].extent;
    let digits = |iteration| terms.iter().map(|(atom, _)| value(atom, iteration)).collect::<Vec<i64>>();
    let mut seen = HashSet::new();
    extent <= LARGEST_COUNT && (0..extent).all(|iteration| seen.insert(digits(iteration)))
}

/// Indices that are looked at, at most: those of a schedule are few, those of a text may be of any number.
const MOST_INDICES: usize = 1 << 10;

/// What follows from the values of atoms.
struct Known<'a> {
    axes: &'a Axes,
    /// The numbers by which the atoms divide.
    divisors: BTreeSet<i64>,
    /// Whether an index follows, as far as that is known; one that is looked at does not yet.
    follows: HashMap<Index, bool>,
}

impl<'a> Known<'a> {
    fn of(terms: &[(Atom, i64)], axes: &'a Axes) -> Known<'a> {
        let mut divisors = BTreeSet::new();
        terms.iter().for_each(|(atom, _)| divide(atom, &mut divisors));
        let follows = terms.iter().map(|(atom, _)| (atom_index(atom, axes), true)).collect();
        Known { axes, divisors, follows }
    }

    /// Whether an index follows: it is a constant, one of the atoms, or its quotient and its remainder by a number follow.
    fn determine(&mut self, index: &Index) -> bool {
        if let Some(known) = self.follows.get(index) {
            return *known;
        }
        if self.follows.len() >= MOST_INDICES {
            return false;
        }
        self.follows.insert(index.clone(), false);
        let follows = index.as_constant().is_some()
            || self.divisors.clone().into_iter().any(|k| {
                self.determine(&index.div(k, self.axes)) && self.determine(&index.rem(k, self.axes))
            });
        self.follows.insert(index.clone(), follows);
        follows
    }
}

/// The numbers by which an atom divides, and those in it.
fn divide(atom: &Atom, divisors: &mut BTreeSet<i64>) {
    let mut within = |index: &Index| index.terms().iter().for_each(|(atom, _)| divide(atom, divisors));
    match atom {
        Atom::Axis(_) => {}
        Atom::Div(x, k) | Atom::Rem(x, k) => {
            within(x);
            divisors.insert(*k);
        }
        Atom::Min(x, y) | Atom::Max(x, y) => {
            within(x);
            within(y);
        }
    }
}

#[cfg(test)]
#[path = "races_tests.rs"]
mod tests;
