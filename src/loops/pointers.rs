//! Pointers: addresses without index arithmetic.
//!
//! The address of an access is a pointer and a constant distance. A pointer is named by its root and the terms of the
//! index that are not constant, so accesses that differ by a constant share one. It belongs to the innermost loop whose
//! axis its terms mention, its level: there it starts at the pointer without the term of that axis and grows by a
//! constant with every iteration, or, where the term is not affine, is computed once an iteration. An index as a number
//! is a pointer whose root is 0.
//!
//! ```text
//! for i < 4: for j < 8: x[100*i + j], x[100*i + j + 1], y[j / 2]
//!
//! p0 = x               p1 = p0 by 400 (i)     p2 = p1 by 4 (j)      x[..] is at p2 and p2 + 4
//! p3 = y    p4 = 0     p5 = p4 by 1 (j)       p6 = p3 + 4 * (p5 / 2)
//! ```
//!
//! Back ends walk a function and ask the table for the pointer of each access; what is left to them is to choose the
//! instructions of the four kinds.

use cranelift_entity::{PrimaryMap, entity_impl};

use super::{Atom, Axis, Buffer, Function, Index};

/// A pointer: one that runs through a loop, what it starts at, or one that is computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pointer(u32);
entity_impl!(Pointer, "p");

/// What a pointer is before any term is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// 0: the pointer is a number.
    Zero,
    /// The address of the buffer's first element.
    Buffer(Buffer),
    /// The address of the run's random state.
    RandomState,
}

/// What is known of a pointer. All distances are in bytes, or as they are where the root is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointerData {
    pub root: Root,
    /// In elements.
    pub terms: Vec<(Atom, i64)>,
    pub kind: PointerKind,
    /// The number of loops from the outside to the one that it belongs to; 0 for what no loop moves.
    pub level: usize,
}

/// How a pointer gets its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerKind {
    /// The root's.
    Root,
    /// Begins its loop at the value of `from`, which is of an outer level, and grows by `step` when the axis grows by
    /// 1.
    Running { from: Pointer, step: i64 },
    /// `from + value * step` in every iteration.
    Computed { from: Pointer, value: Computed, step: i64 },
}

/// What is not affine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Computed {
    /// Floor division by a positive constant of a number from `least` to `most`.
    Quotient {
        of: Number,
        by: i64,
        least: i64,
        most: i64,
    },
    /// What that division leaves.
    Remainder {
        of: Number,
        quotient: Pointer,
        by: i64,
    },
    Min(Number, Number),
    Max(Number, Number),
}

/// A pointer whose root is 0, or nothing, plus a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub pointer: Option<Pointer>,
    pub constant: i64,
}

/// The pointers of a function as far as it has been walked through.
pub struct PointerTable<'f> {
    function: &'f Function,
    pointers: PrimaryMap<Pointer, PointerData>,
    /// The function itself, then the loops around the current place from the outside in.
    levels: Vec<Level>,
}

#[derive(Default)]
struct Level {
    axis: Option<Axis>,
    /// In the order in which they can be computed.
    pointers: Vec<Pointer>,
}

impl<'f> PointerTable<'f> {
    /// None so far.
    pub fn new(function: &'f Function) -> PointerTable<'f> {
        PointerTable { function, pointers: PrimaryMap::new(), levels: vec![Level::default()] }
    }

    /// A loop begins.
    pub fn enter(&mut self, axis: Axis) {
        self.levels.push(Level { axis: Some(axis), pointers: Vec::new() });
    }

    /// The innermost loop ends: its pointers, those first that others need.
    pub fn leave(&mut self) -> Vec<Pointer> {
        self.levels.pop().map_or_else(Vec::new, |level| level.pointers)
    }

    /// All that have been asked for.
    pub fn into_pointers(self) -> PrimaryMap<Pointer, PointerData> {
        self.pointers
    }

    /// The pointer to an element, but for the constant of the index.
    pub fn element(&mut self, buffer: Buffer, index: &Index) -> Pointer {
        self.pointer(Root::Buffer(buffer), index.terms().to_vec())
    }

    /// The value of an index.
    pub fn number(&mut self, index: &Index) -> Number {
        let has_terms = !index.terms().is_empty();
        let pointer = has_terms.then(|| self.pointer(Root::Zero, index.terms().to_vec()));
        Number { pointer, constant: index.constant() }
    }

    /// The value of the axis of a loop around the current place.
    pub fn counter(&mut self, axis: Axis) -> Pointer {
        self.pointer(Root::Zero, vec![(Atom::Axis(axis), 1)])
    }

    /// The pointer to the random state.
    pub fn random_state(&mut self) -> Pointer {
        self.pointer(Root::RandomState, Vec::new())
    }

    fn pointer(&mut self, root: Root, terms: Vec<(Atom, i64)>) -> Pointer {
        let level = terms.iter().map(|(atom, _)| self.level_of(atom)).max().unwrap_or(0);
        let is_known = |pointer: &&Pointer| {
            let known = &self.pointers[**pointer];
            known.root == root && known.terms == terms
        };
        if let Some(known) = self.levels[level].pointers.iter().find(is_known) {
            return *known;
        }
        let kind = self.kind(root, &terms, level);
        let pointer = self.pointers.push(PointerData { root, terms, kind, level });
        self.levels[level].pointers.push(pointer);
        pointer
    }

    fn kind(&mut self, root: Root, terms: &[(Atom, i64)], level: usize) -> PointerKind {
        let Some(last) = self.last_term(terms, level) else { return PointerKind::Root };
        let mut others = terms.to_vec();
        let (atom, coefficient) = others.remove(last);
        let from = self.pointer(root, others);
        let step = coefficient * self.element_size(root);
        match atom {
            Atom::Axis(_) => PointerKind::Running { from, step },
            Atom::Div(x, by) => {
                let (of, (least, most)) = (self.number(&x), x.range(&self.function.axes));
                let value = Computed::Quotient { of, by, least, most };
                PointerKind::Computed { from, value, step }
            }
            Atom::Rem(x, by) => {
                let quotient = self.pointer(Root::Zero, vec![(Atom::Div(x.clone(), by), 1)]);
                let value = Computed::Remainder { of: self.number(&x), quotient, by };
                PointerKind::Computed { from, value, step }
            }
            Atom::Min(x, y) => {
                let value = Computed::Min(self.number(&x), self.number(&y));
                PointerKind::Computed { from, value, step }
            }
            Atom::Max(x, y) => {
                let value = Computed::Max(self.number(&x), self.number(&y));
                PointerKind::Computed { from, value, step }
            }
        }
    }

    /// The term to add last: one of the level that is not affine, else the one of the loop's own axis.
    fn last_term(&self, terms: &[(Atom, i64)], level: usize) -> Option<usize> {
        let of_level = || terms.iter().enumerate().filter(|(_, (atom, _))| self.level_of(atom) == level);
        let computed = of_level().find(|(_, (atom, _))| !matches!(atom, Atom::Axis(_)));
        computed.or_else(|| of_level().next()).map(|(at, _)| at)
    }

    /// The innermost loop that a term depends on.
    fn level_of(&self, atom: &Atom) -> usize {
        let mut innermost = 0;
        atom.for_each_axis(&mut |axis| {
            let level = self.levels.iter().rposition(|level| level.axis == Some(axis));
            innermost = innermost.max(level.expect("an axis of a loop around"));
        });
        innermost
    }

    fn element_size(&self, root: Root) -> i64 {
        match root {
            Root::Buffer(buffer) => self.function.buffers[buffer].dtype.size() as i64,
            Root::Zero | Root::RandomState => 1,
        }
    }
}

impl std::ops::Index<Pointer> for PointerTable<'_> {
    type Output = PointerData;

    fn index(&self, pointer: Pointer) -> &PointerData {
        &self.pointers[pointer]
    }
}

#[cfg(test)]
#[path = "pointers_tests.rs"]
mod tests;
