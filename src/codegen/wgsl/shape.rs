//! How a function is spread over invocations, and where these have to wait for each other.

use cranelift_entity::EntitySet;

use super::super::Error;
use super::WORKGROUP;
use crate::loops::visit::{Access, for_each_access, for_each_expr};
use crate::loops::{Atom, Axis, Buffer, Expr, ForKind, Function, Index, Scalar, Stmt};

/// What is known of a function before it is written.
pub(super) struct Shape<'f> {
    pub function: &'f Function,
    /// The leading parallel loops.
    pub grid: Vec<Axis>,
    /// What is inside of them.
    pub body: &'f [Stmt],
    /// The lanes of its vectors; 1 where it has none.
    pub lanes: u32,
    /// Rows of lanes of a workgroup, each of which computes a point of the grid.
    pub rows: u32,
    /// Whether the invocations of a workgroup meet at barriers.
    pub meets: bool,
    pub stored: EntitySet<Buffer>,
    loaded: EntitySet<Buffer>,
    /// Buffers of which a lane may load what another one has stored.
    pub shared: EntitySet<Buffer>,
    /// Buffers of bytes that are stored one by one, and not four lanes at once.
    pub in_single_bytes: EntitySet<Buffer>,
}

impl<'f> Shape<'f> {
    pub fn of(function: &'f Function) -> Result<Shape<'f>, Error> {
        let lanes = lanes(function)?;
        let (grid, body) = grid(function);
        let mut shape = Shape {
            function,
            grid,
            body,
            lanes,
            rows: WORKGROUP / lanes,
            meets: false,
            stored: EntitySet::new(),
            loaded: EntitySet::new(),
            shared: EntitySet::new(),
            in_single_bytes: EntitySet::new(),
        };
        shape.look_at_buffers()?;
        // A single invocation meets nobody.
        shape.meets = lanes > 1 && meets(&shape, body);
        // What is behind a condition runs for one point, and not for another.
        if shape.meets && has_branch_that_meets(&shape, body) {
            shape.rows = 1;
            // All rows compute that point, and must not see what one of them has stored.
            shape.shared.extend(shape.loaded.keys().filter(|buffer| shape.stored.contains(*buffer)));
        }
        Ok(shape)
    }

    /// Points of the grid.
    pub fn points(&self) -> u64 {
        self.grid.iter().map(|axis| self.function.axes[*axis].extent as u64).product()
    }

    /// Workgroups that compute them.
    pub fn groups(&self) -> u64 {
        self.points().div_ceil(u64::from(self.rows))
    }

    fn look_at_buffers(&mut self) -> Result<(), Error> {
        let mut accesses: Vec<Access<'f>> = Vec::new();
        for_each_access(self.function, &mut |access, _| accesses.push(access));
        for (buffer, data) in &self.function.buffers {
            if data.len > i32::MAX as usize {
                let message = format!("`{}` has {} elements; indices have 32 bits", data.name, data.len);
                return Err(Error::Unsupported(message));
            }
            let of_buffer = || accesses.iter().filter(|access| access.buffer == buffer);
            if of_buffer().any(|access| !access.is_store) {
                self.loaded.insert(buffer);
            }
            if of_buffer().any(|access| access.is_store) {
                self.stored.insert(buffer);
                let is_loaded = of_buffer().any(|access| !access.is_store);
                // Four bytes are stored by one lane.
                if is_loaded && (data.dtype.size() == 1 || !self.stay_in_lanes(of_buffer())) {
                    self.shared.insert(buffer);
                }
                let in_words = |access: &Access<'_>| self.is_aligned(access, 4);
                if data.dtype.size() == 1 && !of_buffer().filter(|access| access.is_store).all(in_words) {
                    self.in_single_bytes.insert(buffer);
                }
            }
        }
        Ok(())
    }

    /// Whether each element is touched by one lane only: by the same one in all accesses.
    fn stay_in_lanes<'a>(&self, accesses: impl Iterator<Item = &'a Access<'a>> + Clone) -> bool {
        let mut others = accesses.clone();
        let first = others.next();
        let is_vector = |access: &Access<'_>| access.lanes == self.lanes && access.stride != 0;
        self.lanes == 1
            || first.is_some_and(|first| {
                let is_same = |other: &Access<'_>| first.is_same_place(other);
                is_vector(first) && others.all(is_same) && self.tells_lanes_apart(first)
            })
            || accesses.clone().all(|access| self.is_aligned(access, i64::from(self.lanes)))
    }

    /// Whether a lane of an access touches no element of another one, also where loops run on. Whatever is a multiple of
    /// all lanes together tells that lanes are the same; what is left of the loops must not lead to the next lane.
    fn tells_lanes_apart(&self, access: &Access<'_>) -> bool {
        let stride = access.stride.abs();
        let is_whole = |coefficient: i64| coefficient % (stride * i64::from(self.lanes)) == 0;
        // A point of the grid touches what no other one stores.
        let varies = |atom: &Atom| {
            let mut varies = false;
            atom.for_each_axis(&mut |axis| varies |= !self.grid.contains(&axis));
            varies
        };
        let terms = access.index.terms().iter().filter(|(atom, by)| varies(atom) && !is_whole(*by));
        let (low, high) = Index::from_terms(terms.cloned().collect(), 0).range(&self.function.axes);
        high - low < stride
    }

    /// Whether an access is of whole vectors, each from a multiple of a number on.
    fn is_aligned(&self, access: &Access<'_>, unit: i64) -> bool {
        access.stride == 1 && access.lanes == self.lanes && self.lanes > 1 && is_multiple(access.index, unit)
    }
}

fn is_multiple(index: &Index, unit: i64) -> bool {
    index.constant() % unit == 0 && index.terms().iter().all(|(_, coefficient)| coefficient % unit == 0)
}

/// The leading parallel loops and what is inside of them.
fn grid(function: &Function) -> (Vec<Axis>, &[Stmt]) {
    let (mut grid, mut body) = (Vec::new(), function.body.as_slice());
    while let [Stmt::For { axis, kind: ForKind::Parallel, body: inside }] = body {
        grid.push(*axis);
        body = inside;
    }
    (grid, body)
}

/// The lanes of a function's vectors.
fn lanes(function: &Function) -> Result<u32, Error> {
    let mut lanes = 1;
    let mut differ = false;
    let mut see = |found: u32| {
        differ |= found > 1 && lanes > 1 && found != lanes;
        lanes = lanes.max(found);
    };
    function.locals.values().for_each(|local| see(local.ty.lanes));
    for_each_access(function, &mut |access, _| see(access.lanes));
    for_each_expr(&function.body, &mut |expr| match expr {
        Expr::Splat(_, lanes) | Expr::Number { lanes, .. } => see(*lanes),
        _ => {}
    });
    match differ {
        true => Err(Error::Unsupported(format!("`{}` has vectors of several widths", function.name))),
        false => Ok(lanes),
    }
}

/// Whether statements make the invocations of a workgroup meet.
pub(super) fn meets(shape: &Shape<'_>, body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::For { body, .. } => meets(shape, body),
        Stmt::Set { value, .. } => folds(value),
        Stmt::Store { buffer, value, .. } => {
            shape.shared.contains(*buffer) || shape.packs_bytes(*buffer, value) || folds(value)
        }
        Stmt::If { condition, then, otherwise } => {
            folds(condition) || meets(shape, then) || meets(shape, otherwise)
        }
    })
}

fn has_branch_that_meets(shape: &Shape<'_>, body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::For { body, .. } => has_branch_that_meets(shape, body),
        Stmt::Set { .. } | Stmt::Store { .. } => false,
        Stmt::If { then, otherwise, .. } => meets(shape, then) || meets(shape, otherwise),
    })
}

/// Whether the lanes of a vector are joined in an expression.
pub(super) fn folds(expr: &Expr) -> bool {
    let mut found = matches!(expr, Expr::Fold(..));
    expr.for_each_operand(&mut |operand| found |= folds(operand));
    found
}

impl Shape<'_> {
    /// Whether the lanes of a store make words together.
    pub fn packs_bytes(&self, buffer: Buffer, value: &Expr) -> bool {
        let is_byte = self.function.buffers[buffer].dtype.size() == 1;
        let is_vector = || self.function.type_of(value).is_ok_and(|ty| ty.lanes > 1);
        is_byte && !self.in_single_bytes.contains(buffer) && is_vector()
    }

    /// The type of an expression's elements.
    pub fn scalar(&self, expr: &Expr) -> Scalar {
        self.function.type_of(expr).map_or(Scalar::F32, |ty| ty.scalar)
    }
}
