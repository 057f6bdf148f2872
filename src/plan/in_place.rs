//! Which tensors may be stored over what they replace.
//!
//! A result may take the memory of a tensor that nothing needs any more, if every launch that computes it reads of that
//! tensor only the elements that the same iteration stores afterwards. This is a question about the loops alone: each
//! load of the old tensor has the address of a store of the new one, and comes before it; and the stores of all
//! launches together store each element once.

use crate::base::hash::HashMap;
use std::collections::{BTreeMap, BTreeSet};

use super::Kept;
use super::slices::Unit;
use crate::kernels::{Kernels, Layout, Layouts};
use crate::loops::{Access, Axis, Buffer, Expr, Function, Index, Stmt};
use crate::sched::Launch;
use crate::te::Tensor;

/// For each tensor that is stored over another, that one.
pub type Replaced = HashMap<Tensor, Tensor>;

/// Finds what may replace what.
pub struct Search<'a> {
    layouts: &'a Layouts,
    launches: &'a [Launch],
    /// The first launch of each launch's unit.
    starts: Vec<usize>,
    /// The launches that need each tensor.
    users: BTreeMap<Tensor, BTreeSet<usize>>,
}

impl<'a> Search<'a> {
    /// A search among launches that run in this order, those of a unit slice by slice.
    pub fn new(layouts: &'a Layouts, launches: &'a [Launch], units: &[Unit]) -> Search<'a> {
        let starts = units.iter().flat_map(|unit| unit.launches.clone().map(|_| unit.launches.start));
        let mut users: BTreeMap<Tensor, BTreeSet<usize>> = BTreeMap::new();
        for (at, launch) in launches.iter().enumerate() {
            for tensor in &launch.buffers {
                users.entry(*tensor).or_default().insert(at);
            }
        }
        Search { layouts, launches, starts: starts.collect(), users }
    }

    /// The next values of kept tensors that may replace the present ones, by launches from `earliest` on.
    pub fn updates(&self, kept: &[Kept], earliest: usize) -> Replaced {
        let pairs = kept.iter().filter_map(|kept| Some((kept.present, kept.next?)));
        let from = |next: &Tensor| self.users.get(next).and_then(BTreeSet::first).copied();
        let pairs = pairs.filter(|(_, next)| {
            from(next).is_some_and(|first| planted!("plan.in_place.earliest") || first >= earliest)
        });
        pairs
            .filter(|(present, next)| self.replaces(*present, *next))
            .map(|(present, next)| (next, present))
            .collect()
    }

    /// Results that may replace what their launch needs last. Only tensors that `may` take part do.
    pub fn results(&self, kernels: &Kernels, may: &dyn Fn(Tensor) -> bool) -> Replaced {
        let mut replaced = Replaced::default();
        let mut gone: BTreeSet<Tensor> = BTreeSet::new();
        let dtype = |tensor: Tensor| kernels.program.tensors[tensor].dtype;
        for (new, users) in self.users.iter().filter(|(new, _)| may(**new)) {
            let Some(first) = users.first() else { continue };
            let mut olds = self.launches[*first].buffers.iter().filter(|old| {
                *old != new
                    && (planted!("plan.in_place.may") || may(**old))
                    && (planted!("plan.in_place.gone") || !gone.contains(old))
                    && (planted!("plan.in_place.dtype") || dtype(**old) == dtype(*new))
            });
            if let Some(old) = olds.find(|old| self.replaces(**old, *new)) {
                gone.insert(*old);
                replaced.insert(*new, *old);
            }
        }
        replaced
    }

    /// Whether a tensor may be stored in the memory of another, which nothing needs afterwards.
    fn replaces(&self, old: Tensor, new: Tensor) -> bool {
        if !planted!("plan.in_place.layout") && self.layouts[&old] != self.layouts[&new] {
            return false;
        }
        let writes = |at: &&usize| {
            let launch = &self.launches[**at];
            buffer(launch, new).is_some_and(|new| launch.function.buffers[new].access != Access::Read)
        };
        let writers: BTreeSet<usize> = self.users[&new].iter().filter(writes).copied().collect();
        let Some(first) = writers.first() else { return false };
        let old_users = self.users.get(&old);
        // Another launch of the unit needs the elements of later slices.
        let start = if planted!("plan.in_place.unit") { *first } else { self.starts[*first] };
        let is_free =
            |at: &usize| *at < start || writers.contains(at) || planted!("plan.in_place.read_later");
        old_users.into_iter().flatten().all(is_free)
            && (planted!("plan.in_place.before") || self.users[&new].iter().all(|at| at >= first))
            && self.stores_over(&writers, old, new)
    }

    /// Whether launches, which are all that store `new`, may store it in the memory of `old`.
    fn stores_over(&self, writers: &BTreeSet<usize>, old: Tensor, new: Tensor) -> bool {
        let mut stored = 0;
        for launch in writers.iter().map(|at| &self.launches[*at]) {
            let Some(new) = buffer(launch, new) else { return false };
            let old = buffer(launch, old);
            let access = |buffer: Buffer| launch.function.buffers[buffer].access;
            let walk = Walk::of(&launch.function, old, new);
            if !walk.fits()
                || (!planted!("plan.in_place.new_access") && access(new) != Access::Write)
                || (!planted!("plan.in_place.old_access")
                    && old.is_some_and(|old| access(old) != Access::Read))
            {
                return false;
            }
            stored += walk.stored;
        }
        planted!("plan.in_place.once") || stored == elements(&self.layouts[&new])
    }
}

/// A launch whose results lie where the plan says: what is stored over another tensor becomes a store to that. The
/// buffer of the result stays, without use, so that the others keep their numbers.
pub fn applied(launch: &Launch, replaced: &Replaced) -> Launch {
    let mut launch = launch.clone();
    for (new, tensor) in launch.buffers.clone().into_iter().enumerate() {
        let new = Buffer::from_u32(new as u32);
        let old = replaced.get(&tensor).and_then(|old| buffer(&launch, *old));
        if let Some(old) = old.filter(|_| {
            planted!("plan.in_place.applied") || launch.function.buffers[new].access == Access::Write
        }) {
            launch.function.buffers[old].access = Access::ReadWrite;
            redirect(&mut launch.function.body, new, old);
        }
    }
    launch
}

fn redirect(statements: &mut [Stmt], from: Buffer, to: Buffer) {
    for statement in statements {
        match statement {
            Stmt::For { body, .. } => redirect(body, from, to),
            Stmt::If { then, otherwise, .. } => {
                redirect(then, from, to);
                redirect(otherwise, from, to);
            }
            Stmt::Store { buffer, .. } if *buffer == from => *buffer = to,
            Stmt::Store { .. } | Stmt::Set { .. } => {}
        }
    }
}

fn buffer(launch: &Launch, tensor: Tensor) -> Option<Buffer> {
    let at = launch.buffers.iter().position(|other| *other == tensor)?;
    Some(Buffer::from_u32(at as u32))
}

/// The elements that launches store: those of the tensor, and those beside them in its last vectors.
fn elements(layout: &Layout) -> i64 {
    let extents = layout.shape.iter().enumerate().map(|(at, extent)| {
        match layout.across == Some(at) && !planted!("plan.in_place.lanes") {
            true => (*extent as u64).next_multiple_of(layout.lanes as u64) as i64,
            false => *extent,
        }
    });
    extents.product()
}

/// The elements of one access: the first, the step between them, how many.
type Touch<'a> = (&'a Index, i64, u32);

/// A walk through a function in the order in which it runs.
struct Walk<'a> {
    function: &'a Function,
    old: Option<Buffer>,
    new: Buffer,
    /// The loops around the statement at hand.
    loops: Vec<Axis>,
    in_branch: bool,
    /// The stores of the new tensor so far, and the loops around each.
    stores: Vec<(Touch<'a>, Vec<Axis>)>,
    /// The loads of the old tensor, and the loops around each.
    loads: Vec<(Touch<'a>, Vec<Axis>)>,
    /// How many elements are stored.
    stored: i64,
    /// Whether a load of the old tensor comes after a store to its place, or a store depends on a condition.
    clashes: bool,
}

impl<'a> Walk<'a> {
    fn of(function: &'a Function, old: Option<Buffer>, new: Buffer) -> Walk<'a> {
        let mut walk = Walk {
            function,
            old,
            new,
            loops: Vec::new(),
            in_branch: false,
            stores: Vec::new(),
            loads: Vec::new(),
            stored: 0,
            clashes: false,
        };
        walk.statements(&function.body);
        walk
    }

    /// Whether each load is one of elements that its own iteration stores later.
    fn fits(&self) -> bool {
        let has_store = |(touch, loops): &(Touch<'_>, Vec<Axis>)| {
            self.stores.iter().any(|(stored, around)| {
                stored == touch && (planted!("plan.in_place.around") || loops.starts_with(around))
            })
        };
        !self.clashes && (planted!("plan.in_place.has_store") || self.loads.iter().all(has_store))
    }

    fn statements(&mut self, statements: &'a [Stmt]) {
        for statement in statements {
            match statement {
                Stmt::For { axis, body, .. } => {
                    self.loops.push(*axis);
                    self.statements(body);
                    self.loops.pop();
                }
                Stmt::Set { value, .. } => self.expr(value),
                Stmt::Store { buffer, index, stride, value } => {
                    self.expr(value);
                    if *buffer == self.new {
                        let lanes = self.function.type_of(value).map_or(1, |ty| ty.lanes);
                        self.store((index, *stride, lanes));
                    }
                }
                Stmt::If { condition, then, otherwise } => {
                    self.expr(condition);
                    let outside = std::mem::replace(&mut self.in_branch, true);
                    self.statements(then);
                    self.statements(otherwise);
                    self.in_branch = outside;
                }
            }
        }
    }

    fn store(&mut self, touch: Touch<'a>) {
        let times: i64 = self.loops.iter().map(|axis| self.function.axes[*axis].extent).product();
        self.stored += times * i64::from(touch.2);
        self.clashes |= self.in_branch && !planted!("plan.in_place.branch");
        self.stores.push((touch, self.loops.clone()));
    }

    fn expr(&mut self, expr: &'a Expr) {
        if let Expr::Load { buffer, index, stride, lanes } = expr
            && Some(*buffer) == self.old
        {
            let touch = (index, *stride, *lanes);
            self.clashes |=
                !planted!("plan.in_place.clash") && self.stores.iter().any(|(stored, _)| *stored == touch);
            self.loads.push((touch, self.loops.clone()));
        }
        expr.for_each_operand(&mut |operand| self.expr(operand));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::parser::parse;

    /// Whether a function may store `y` over `x`, both of 64 elements.
    fn fits(body: &str) -> bool {
        let text = format!("fn f(x: read f32[64], y: write f32[64]) {{ {body} }}");
        let function = parse(&text).expect("it parses");
        crate::loops::verifier::verify(&function).expect("it is valid");
        let [x, y] = [0, 1].map(Buffer::from_u32);
        let walk = Walk::of(&function, Some(x), y);
        walk.fits() && walk.stored == 64
    }

    #[test]
    fn elements_may_be_replaced_by_their_own_results() {
        assert!(fits("for i in 0..64 { y[i] = x[i] + 1.0 }"));
        assert!(fits("for i in 0..8 { a: f32x8 = x[8*i; 8] y[8*i] = a + a }"));
        assert!(fits(
            "for i in 0..32 { a: f32 = x[2*i] b: f32 = x[2*i + 1] y[2*i] = a + b y[2*i + 1] = a - b }"
        ));
        assert!(fits("for i in 0..64 { a: f32 = 0.0 for k in 0..3 { a = a + x[i] } y[i] = a }"));
        assert!(fits("for i in 0..32 { y[i] = x[i] } for i in 0..32 { y[i + 32] = x[i + 32] }"));
    }

    #[test]
    fn elements_that_others_need_may_not() {
        let refused = [
            // A neighbour.
            "for i in 0..63 { y[i] = x[i + 1] } y[63] = 0.0",
            // After the store.
            "for i in 0..64 { y[i] = 0.0 a: f32 = x[i] if a > 0.0 { a = 0.0 } }",
            "for i in 0..64 { y[i] = 0.0 } a: f32 = 0.0 for i in 0..64 { a = a + x[i] }",
            // For other elements as well.
            "a: f32 = x[0] for i in 0..64 { y[i] = x[i] + a }",
            // More than once, or not at all.
            "for k in 0..2 { for i in 0..64 { y[i] = x[i] } }",
            "a: f32 = x[0] for k in 0..2 { y[0] = a } for i in 0..62 { y[i + 1] = x[i + 1] }",
            "for i in 0..32 { y[i] = x[i] }",
            "for i in 0..64 { if x[i] > 0.0 { y[i] = x[i] } }",
        ];
        for body in refused {
            assert!(!fits(body), "{body}");
        }
    }
}

#[cfg(test)]
#[path = "in_place_tests.rs"]
mod search_tests;
