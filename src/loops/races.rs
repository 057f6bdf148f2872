//! Races of parallel loops: whether two iterations may touch one element that one of them writes.
//!
//! An address is a sum of digits: terms of the parallel axis, terms of the axes within the loop, the lanes, and the
//! distance between the two accesses. Sorted by size, a digit that is larger than all below it together can be read
//! off the address. If this holds for those of the parallel axis and for all above them, equal addresses have equal
//! parallel digits; if these tell iterations apart, two iterations never meet. So do they where all that is not of the
//! parallel axis stays within less than one step of it. This accepts blocks (`8*n + i`),
//! interleavings (`n + 8*i`) and an axis that is split by `/` and `%`. Where it fails, the elements of a small function
//! are counted out; what is left, it refuses.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Atom, Axes, Axis, Buffer, Function, Index};

/// An access.
#[derive(Clone, Debug, PartialEq)]
pub struct Touch {
    pub buffer: Buffer,
    pub index: Index,
    pub stride: i64,
    pub lanes: u32,
    pub store: bool,
}

/// The races of the loop over `parallel`, a message each buffer.
pub fn find(function: &Function, parallel: Axis, touched: &[Touch]) -> Vec<String> {
    if function.axes[parallel].extent <= 1 {
        return Vec::new();
    }
    let racing = |buffer: &Buffer| {
        let of_buffer: Vec<&Touch> = touched.iter().filter(|touch| touch.buffer == *buffer).collect();
        let mut seen = HashSet::new();
        let stores = of_buffer.iter().filter(|touch| touch.store);
        stores.flat_map(|store| of_buffer.iter().map(move |other| (store, other))).any(|(store, other)| {
            let digits = Digits::of(&function.axes, parallel, store, other);
            match digits {
                None => true,
                Some(digits) => {
                    seen.insert(digits.clone()) && !digits.tell_iterations_apart(&function.axes, parallel)
                }
            }
        })
    };
    let racing = |buffer: &Buffer| racing(buffer) && !counted_apart(function, parallel, buffer, touched);
    let name = &function.axes[parallel].name;
    let message = |buffer: Buffer| {
        format!("iterations of `{name}` may touch the same element of `{}`", function.buffers[buffer].name)
    };
    function.buffers.keys().filter(racing).map(message).collect()
}

/// Elements that are counted out, at most.
const LARGEST_COUNT: i64 = 1 << 21;

/// Whether no iteration touches an element that another one stores, by trying all.
fn counted_apart(function: &Function, parallel: Axis, buffer: &Buffer, touched: &[Touch]) -> bool {
    let of_buffer: Vec<&Touch> = touched.iter().filter(|touch| touch.buffer == *buffer).collect();
    let points = |touch: &&Touch| {
        let axes = axes_of(touch, parallel).into_iter();
        axes.map(|axis| function.axes[axis].extent).product::<i64>().saturating_mul(i64::from(touch.lanes))
    };
    if of_buffer.iter().map(points).fold(0, i64::saturating_add) > LARGEST_COUNT {
        return false;
    }
    let mut owner: HashMap<i64, i64> = HashMap::new();
    let mut apart = true;
    for touch in of_buffer.iter().filter(|touch| touch.store) {
        for_each_element(&function.axes, touch, parallel, &mut |iteration, element| {
            apart &= *owner.entry(element).or_insert(iteration) == iteration;
        });
    }
    for touch in of_buffer.iter().filter(|touch| !touch.store) {
        for_each_element(&function.axes, touch, parallel, &mut |iteration, element| {
            apart &= owner.get(&element).is_none_or(|owner| *owner == iteration);
        });
    }
    apart
}

/// The axes of an access, and the parallel one.
fn axes_of(touch: &Touch, parallel: Axis) -> BTreeSet<Axis> {
    let mut axes = BTreeSet::from([parallel]);
    touch.index.for_each_axis(&mut |axis| {
        axes.insert(axis);
    });
    axes
}

/// Visits the iteration and the element of every run of an access.
fn for_each_element(axes: &Axes, touch: &Touch, parallel: Axis, visit: &mut dyn FnMut(i64, i64)) {
    let own: Vec<Axis> = axes_of(touch, parallel).into_iter().collect();
    let points: i64 = own.iter().map(|axis| axes[*axis].extent).product();
    let mut at: HashMap<Axis, i64> = HashMap::new();
    for point in 0..points {
        let mut rest = point;
        for axis in &own {
            at.insert(*axis, rest % axes[*axis].extent);
            rest /= axes[*axis].extent;
        }
        let first = touch.index.evaluate(&|axis| at[&axis]);
        for lane in 0..i64::from(touch.lanes) {
            visit(at[&parallel], first + lane * touch.stride);
        }
    }
}

/// What the difference of two addresses is made of.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Digits {
    /// Terms of the parallel axis alone, the same in both.
    parallel: Vec<(Atom, i64)>,
    /// Sizes of one step and largest numbers of steps of everything else.
    serial: Vec<(i64, i64)>,
    /// The largest distance that everything else can make.
    reach: i64,
}

impl Digits {
    /// None if the parallel axis enters differently or together with other axes.
    fn of(axes: &Axes, parallel: Axis, store: &Touch, other: &Touch) -> Option<Digits> {
        let (own, serial) = split(&store.index, parallel)?;
        let (others, more) = split(&other.index, parallel)?;
        if own != others {
            return None;
        }
        let mut terms = serial;
        more.into_iter().for_each(|term| {
            if !terms.contains(&term) {
                terms.push(term)
            }
        });
        let steps = |(atom, size): &(Atom, i64)| {
            let (low, high) = super::bounds::atom_index(atom, axes).range(axes);
            (size.abs(), high - low)
        };
        let mut serial: Vec<(i64, i64)> = terms.iter().map(steps).collect();
        let lanes = |touch: &Touch| (touch.stride.abs(), i64::from(touch.lanes) - 1);
        serial.push(lanes(store));
        if lanes(other).0 != lanes(store).0 {
            serial.push(lanes(other));
        } else if let Some(last) = serial.last_mut() {
            last.1 = last.1.max(lanes(other).1);
        }
        serial.push(((store.index.constant() - other.index.constant()).abs(), 1));
        serial.retain(|(size, steps)| *size > 0 && *steps > 0);
        serial.sort_unstable();
        Some(Digits { parallel: own, serial, reach: reach(axes, parallel, store, other) })
    }

    fn tell_iterations_apart(&self, axes: &Axes, parallel: Axis) -> bool {
        let extent = axes[parallel].extent;
        let block = [(1, self.reach)];
        is_injective(&self.parallel, extent)
            && (self.are_separate(&block, extent) || self.are_separate(&self.serial, extent))
    }

    /// Whether the parallel digits, and all above one of them, are larger than what is below them.
    fn are_separate(&self, serial: &[(i64, i64)], extent: i64) -> bool {
        let parallel = self.parallel.iter().map(|(atom, size)| (size.abs(), largest(atom, extent), true));
        let serial = serial.iter().map(|(size, steps)| (*size, *steps, false));
        let mut digits: Vec<(i64, i64, bool)> = parallel.chain(serial).collect();
        digits.sort_unstable();
        let (mut span, mut above, mut group) = (0, false, 0);
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
            span += size * steps;
        }
        true
    }
}

/// The largest distance of two elements that one iteration touches by these accesses.
fn reach(axes: &Axes, parallel: Axis, store: &Touch, other: &Touch) -> i64 {
    let range = |touch: &Touch| {
        let serial = touch.index.terms().iter().filter(|(atom, _)| !mentions(atom, &|axis| axis == parallel));
        let sum = serial.fold(Index::from(touch.index.constant()), |sum, (atom, k)| {
            sum.add_scaled(&super::bounds::atom_index(atom, axes), *k, axes)
        });
        let (low, high) = sum.range(axes);
        let spread = touch.stride * (i64::from(touch.lanes) - 1);
        (low + spread.min(0), high + spread.max(0))
    };
    let ((low, high), (other_low, other_high)) = (range(store), range(other));
    (high - other_low).max(other_high - low).max(0)
}

/// Terms with their coefficients.
type Terms = Vec<(Atom, i64)>;

/// The terms of the parallel axis alone and those without it.
fn split(index: &Index, parallel: Axis) -> Option<(Terms, Terms)> {
    let (mut own, mut serial) = (Vec::new(), Vec::new());
    for (atom, coefficient) in index.terms() {
        match (mentions(atom, &|axis| axis == parallel), mentions(atom, &|axis| axis != parallel)) {
            (true, true) => return None,
            (true, false) => own.push((atom.clone(), *coefficient)),
            (false, _) => serial.push((atom.clone(), *coefficient)),
        }
    }
    Some((own, serial))
}

fn mentions(atom: &Atom, wanted: &dyn Fn(Axis) -> bool) -> bool {
    let mut found = false;
    let mut visit = |axis| found |= wanted(axis);
    match atom {
        Atom::Axis(axis) => visit(*axis),
        Atom::Div(x, _) | Atom::Rem(x, _) => x.for_each_axis(&mut visit),
        Atom::Min(x, y) | Atom::Max(x, y) => {
            x.for_each_axis(&mut visit);
            y.for_each_axis(&mut visit);
        }
    }
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

/// The difference of an atom's largest and smallest value.
fn largest(atom: &Atom, extent: i64) -> i64 {
    if matches!(atom, Atom::Axis(_)) {
        return extent - 1;
    }
    let (low, high) = (0..extent)
        .map(|iteration| value(atom, iteration))
        .fold((i64::MAX, i64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    high - low
}

/// Whether the terms of the parallel axis differ between any two iterations.
fn is_injective(terms: &[(Atom, i64)], extent: i64) -> bool {
    if terms.iter().any(|(atom, _)| matches!(atom, Atom::Axis(_))) {
        return true;
    }
    let digits = |iteration| terms.iter().map(|(atom, _)| value(atom, iteration)).collect::<Vec<i64>>();
    let mut seen = HashSet::new();
    (0..extent).all(|iteration| seen.insert(digits(iteration)))
}
