//! Which tensors may be stored over what they replace.
//!
//! A result may take the memory of a tensor that nothing needs any more, if every launch that computes it reads of that
//! tensor only the elements that the same iteration stores afterwards. This is a question about the loops alone: each
//! load of the old tensor has the address of a store of the new one, and comes before it; and the stores of all
//! launches together store each element once.

use crate::base::hash::HashMap;
use std::collections::{BTreeMap, BTreeSet};

use super::Persistent;
use super::slices::Unit;
use crate::kernels::{Kernels, Layout, Layouts};
use crate::loops::visit::{Access, Around, for_each_access};
use crate::loops::{AccessMode, Axis, Buffer, Function, Stmt};
use crate::sched::Launch;
use crate::te::Tensor;

/// For each tensor that is stored over another, that one.
pub type Aliases = HashMap<Tensor, Tensor>;

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

    /// The next values of persistent tensors that may replace the present ones, by launches from `earliest` on.
    pub fn updates(&self, persistent: &[Persistent], earliest: usize) -> Aliases {
        let pairs = persistent.iter().filter_map(|persistent| Some((persistent.present, persistent.next?)));
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
    pub fn results(&self, kernels: &Kernels, may: &dyn Fn(Tensor) -> bool) -> Aliases {
        let mut aliases = Aliases::default();
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
                aliases.insert(*new, *old);
            }
        }
        aliases
    }

    /// Whether a tensor may be stored in the memory of another, which nothing needs afterwards.
    fn replaces(&self, old: Tensor, new: Tensor) -> bool {
        if !planted!("plan.in_place.layout") && self.layouts[&old] != self.layouts[&new] {
            return false;
        }
        let writes = |at: &&usize| {
            let launch = &self.launches[**at];
            buffer(launch, new).is_some_and(|new| launch.function.buffers[new].access != AccessMode::Read)
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
                || (!planted!("plan.in_place.new_access") && access(new) != AccessMode::Write)
                || (!planted!("plan.in_place.old_access")
                    && old.is_some_and(|old| access(old) != AccessMode::Read))
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
pub fn applied(launch: &Launch, aliases: &Aliases) -> Launch {
    let mut launch = launch.clone();
    for (new, tensor) in launch.buffers.clone().into_iter().enumerate() {
        let new = Buffer::from_u32(new as u32);
        let old = aliases.get(&tensor).and_then(|old| buffer(&launch, *old));
        if let Some(old) = old.filter(|_| {
            planted!("plan.in_place.applied") || launch.function.buffers[new].access == AccessMode::Write
        }) {
            launch.function.buffers[old].access = AccessMode::ReadWrite;
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
        match layout.lane_dim == Some(at) && !planted!("plan.in_place.lanes") {
            true => (*extent as u64).next_multiple_of(layout.lanes as u64) as i64,
            false => *extent,
        }
    });
    extents.product()
}

/// What a function does with an old tensor and a new one.
#[derive(Default)]
struct Walk<'a> {
    /// The stores of the new tensor so far, and the loops around each.
    stores: Vec<(Access<'a>, Vec<Axis>)>,
    /// The loads of the old tensor, and the loops around each.
    loads: Vec<(Access<'a>, Vec<Axis>)>,
    /// How many elements are stored.
    stored: i64,
    /// Whether a load of the old tensor comes after a store to its place, or a store depends on a condition.
    clashes: bool,
}

impl<'a> Walk<'a> {
    fn of(function: &'a Function, old: Option<Buffer>, new: Buffer) -> Walk<'a> {
        let mut walk = Walk::default();
        for_each_access(function, &mut |access, around| {
            if access.is_store && access.buffer == new {
                walk.store(function, access, around);
            } else if !access.is_store && Some(access.buffer) == old {
                walk.load(access, around);
            }
        });
        walk
    }

    /// Whether each load is one of elements that its own iteration stores later.
    fn fits(&self) -> bool {
        let has_store = |(load, loops): &(Access<'_>, Vec<Axis>)| {
            self.stores.iter().any(|(store, around)| {
                store.is_same_place(load) && (planted!("plan.in_place.around") || loops.starts_with(around))
            })
        };
        !self.clashes && (planted!("plan.in_place.has_store") || self.loads.iter().all(has_store))
    }

    fn store(&mut self, function: &Function, access: Access<'a>, around: Around<'_>) {
        let times: i64 = around.loops.iter().map(|axis| function.axes[*axis].extent).product();
        self.stored += times * i64::from(access.lanes);
        self.clashes |= around.in_branch && !planted!("plan.in_place.branch");
        self.stores.push((access, around.loops.to_vec()));
    }

    fn load(&mut self, access: Access<'a>, around: Around<'_>) {
        let is_stored = self.stores.iter().any(|(store, _)| store.is_same_place(&access));
        self.clashes |= !planted!("plan.in_place.clash") && is_stored;
        self.loads.push((access, around.loops.to_vec()));
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
