//! Which loads may wait, and which give the same value.
//!
//! A load that is done where it is read fills no machine register before, and none at all where the instruction that
//! reads it can read memory. It may wait until there if nothing is stored to its buffer meanwhile and no loop or branch
//! begins or ends in between. A load of the same elements as one before it in a block of statements, with no store to
//! the buffer in between, gives the same value.
//!
//! ```text
//! a = x[i; 8]          waits for the sum
//! b = x[i; 8]          is the same load as a
//! y[i] = a + b
//! c = y[i; 8]          waits for the product
//! d = y[8; 8]          does not, as y changes before it is read
//! y[i] = c * 2
//! z[i] = d
//! ```
//!
//! Both are facts of the loops; what a back end makes of them depends on its instructions.

use cranelift_entity::{EntitySet, SecondaryMap, entity_impl};

use super::visit::Access;
use super::{Buffer, Expr, Function, Local, Stmt};
use crate::base::hash::HashMap;

/// Loads of one value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Load(u32);
entity_impl!(Load, "load");

/// What is known of a function's loads.
pub struct Loads {
    /// By where they stand in the function.
    of: HashMap<*const Expr, Load>,
    waiting: EntitySet<Local>,
    uses: SecondaryMap<Local, Uses>,
}

/// How often a register is set and read, in the text of the function.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Uses {
    sets: u32,
    reads: u32,
    /// Reads that put it into all lanes.
    splats: u32,
}

impl Loads {
    /// Those of a function, which has to stay where it is.
    pub fn of(function: &Function) -> Loads {
        let (of, waiting, uses) = (HashMap::default(), EntitySet::new(), SecondaryMap::new());
        let mut loads = Loads { of, waiting, uses };
        function.body.iter().for_each(|stmt| loads.count(stmt));
        let mut walk = Walk { loads, count: 0, known: HashMap::default(), open: Vec::new() };
        walk.block(&function.body);
        walk.loads
    }

    /// Which load an expression is, if it is one.
    pub fn number(&self, expr: &Expr) -> Option<Load> {
        self.of.get(&std::ptr::from_ref(expr)).copied()
    }

    /// Whether the load that a register is set to may be done where the register is first read.
    pub fn waits(&self, local: Local) -> bool {
        self.waiting.contains(local)
    }

    /// Whether a register is set in one place only.
    pub fn is_set_once(&self, local: Local) -> bool {
        self.uses[local].sets == 1
    }

    /// Whether a register is read in one place only.
    pub fn is_read_once(&self, local: Local) -> bool {
        self.uses[local].reads == 1
    }

    /// Whether all that reads a register puts it into all lanes.
    pub fn is_only_splat(&self, local: Local) -> bool {
        let Uses { reads, splats, .. } = self.uses[local];
        reads > 0 && reads == splats
    }

    fn count(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::For { body, .. } => body.iter().for_each(|stmt| self.count(stmt)),
            Stmt::Set { local, value } => {
                self.uses[*local].sets += 1;
                self.count_reads(value);
            }
            Stmt::Store { value, .. } => self.count_reads(value),
            Stmt::If { condition, then, otherwise } => {
                self.count_reads(condition);
                then.iter().chain(otherwise).for_each(|stmt| self.count(stmt));
            }
        }
    }

    fn count_reads(&mut self, expr: &Expr) {
        match expr {
            Expr::Local(local) => self.uses[*local].reads += 1,
            Expr::Splat(x, _) => {
                if let Expr::Local(local) = **x {
                    self.uses[local].splats += 1;
                }
            }
            _ => {}
        }
        expr.for_each_operand(&mut |operand| self.count_reads(operand));
    }
}

/// The buffer of an expression that is nothing but a load, or one put into all lanes.
pub fn loaded_buffer(value: &Expr) -> Option<Buffer> {
    match value {
        Expr::Load { buffer, .. } => Some(*buffer),
        Expr::Splat(value, _) => match &**value {
            Expr::Load { buffer, .. } => Some(*buffer),
            _ => None,
        },
        _ => None,
    }
}

struct Walk<'f> {
    loads: Loads,
    /// Different loads so far.
    count: u32,
    /// What has been loaded in the block at hand and is still there.
    known: HashMap<Access<'f>, Load>,
    /// Registers that are set to a load of this block and have not been read.
    open: Vec<(Local, Buffer)>,
}

impl<'f> Walk<'f> {
    /// A body: a block of its own, as far as no loop or branch divides it.
    fn block(&mut self, body: &'f [Stmt]) {
        self.divide();
        body.iter().for_each(|stmt| self.statement(stmt));
        if !planted!("loops.motion.branch") {
            self.divide();
        }
    }

    /// A new block of statements begins.
    fn divide(&mut self) {
        self.known.clear();
        self.open.clear();
    }

    fn statement(&mut self, stmt: &'f Stmt) {
        match stmt {
            Stmt::For { body, .. } => self.block(body),
            Stmt::Set { local, value } => self.set(*local, value),
            Stmt::Store { buffer, value, .. } => {
                self.read(value);
                if !planted!("loops.motion.store") {
                    self.open.retain(|(_, loaded)| loaded != buffer);
                }
                if !planted!("loops.motion.known") {
                    self.known.retain(|load, _| load.buffer != *buffer);
                }
            }
            Stmt::If { condition, then, otherwise } => {
                self.read(condition);
                self.block(then);
                self.block(otherwise);
            }
        }
    }

    fn set(&mut self, local: Local, value: &'f Expr) {
        let through = self.loaded_through(value);
        self.read(value);
        let is_single = planted!("loops.motion.single") || self.loads.is_set_once(local);
        if let Some(buffer) = through.or_else(|| loaded_buffer(value))
            && is_single
        {
            self.open.push((local, buffer));
        }
    }

    /// The buffer of a load that waits in a register which this alone reads, to put it into all lanes.
    fn loaded_through(&self, value: &Expr) -> Option<Buffer> {
        let Expr::Splat(inner, _) = value else { return None };
        let Expr::Local(local) = **inner else { return None };
        let open = self.open.iter().find(|(open, _)| *open == local)?;
        self.loads.is_read_once(local).then_some(open.1)
    }

    fn read(&mut self, expr: &'f Expr) {
        match expr {
            Expr::Local(local) => {
                if let Some(at) = self.open.iter().position(|(open, _)| open == local) {
                    self.open.swap_remove(at);
                    self.loads.waiting.insert(*local);
                }
            }
            Expr::Load { buffer, index, stride, lanes } => {
                let (buffer, stride, lanes) = (*buffer, *stride, *lanes);
                let access = Access { buffer, index, stride, lanes, is_store: false };
                let load = *self.known.entry(access).or_insert(Load(self.count));
                self.count = self.count.max(load.0 + 1);
                self.loads.of.insert(std::ptr::from_ref(expr), load);
            }
            _ => expr.for_each_operand(&mut |operand| self.read(operand)),
        }
    }
}

#[cfg(test)]
#[path = "motion_tests.rs"]
mod tests;
