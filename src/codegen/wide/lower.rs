//! From loop IR to instructions on virtual registers.
//!
//! A vector of more lanes than a register has becomes several registers, its parts. An address is a running pointer
//! ([`PointerTable`]) and a constant offset. A load that may wait ([`Loads`]) and that one instruction reads is a
//! memory operand of it.

mod expression;
mod prefetch;
mod random;

use std::collections::HashMap;

use super::code::{Code, ConstantId, Element, Inst, Loop, MemoryOperand, Node, VectorOp};
use super::code::{Reg, Source, Width};
use crate::loops::motion::{Load, Loads};
use crate::loops::pointers::PointerTable;
use crate::loops::verifier::Verified;
use crate::loops::{Axis, Buffer, Expr, ForKind, Function, Index, Local, Scalar, Stmt, Type};

/// What the back end has no instructions for; another one compiles such a function.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no wide instructions for {0}")]
pub struct Unsupported(pub &'static str);

/// Bytes that an address may lie away from its pointer, and the lanes of a vector from each other.
const FAR: i64 = 1 << 30;

type Lowered<T> = Result<T, Unsupported>;

/// Lowers a function for vectors of at most `widest` bits. `broadcasts` says whether an instruction can read
/// one element of memory into all lanes.
pub fn lower(function: &Verified, widest: Width, broadcasts: bool) -> Lowered<Code> {
    let mut lowering = Lowering {
        function,
        widest,
        broadcasts,
        code: Code::default(),
        pointers: PointerTable::new(function),
        nodes: Vec::new(),
        locals: HashMap::new(),
        loads: Loads::of(function),
        operands: HashMap::new(),
        loaded: HashMap::new(),
        scalars: Vec::new(),
        constants: HashMap::new(),
    };
    lowering.statements(&function.body)?;
    let Lowering { code, pointers, nodes, .. } = lowering;
    Ok(Code { body: nodes, pointers: pointers.into_pointers(), ..code })
}

struct Lowering<'f> {
    function: &'f Function,
    widest: Width,
    broadcasts: bool,
    code: Code,
    pointers: PointerTable<'f>,
    /// Those of the body at hand so far.
    nodes: Vec<Node>,
    /// The parts of the function's registers.
    locals: HashMap<Local, Vec<Reg>>,
    loads: Loads,
    /// Registers whose load is an operand of the instruction that reads it, a source a part.
    operands: HashMap<Local, Vec<Source>>,
    /// The registers that hold what a load of a vector gave.
    loaded: HashMap<Load, Vec<Reg>>,
    /// Scalars of the statement at hand that several parts read.
    scalars: Vec<(*const Expr, Reg)>,
    constants: HashMap<Vec<u32>, ConstantId>,
}

impl Lowering<'_> {
    fn statements(&mut self, statements: &[Stmt]) -> Lowered<()> {
        statements.iter().try_for_each(|stmt| self.statement(stmt))
    }

    fn statement(&mut self, stmt: &Stmt) -> Lowered<()> {
        self.scalars.clear();
        match stmt {
            Stmt::For { axis, kind, body } => self.for_loop(*axis, *kind, body),
            Stmt::Set { local, value } => self.set(*local, value),
            Stmt::Store { buffer, index, stride, value } => self.store(*buffer, index, *stride, value),
            Stmt::If { condition, then, otherwise } => {
                let condition = self.value(condition, 0)?;
                let then = self.body(then)?;
                let otherwise = self.body(otherwise)?;
                self.nodes.push(Node::If { condition, then, otherwise });
                Ok(())
            }
        }
    }

    /// The nodes of a body.
    fn body(&mut self, statements: &[Stmt]) -> Lowered<Vec<Node>> {
        let outside = std::mem::take(&mut self.nodes);
        self.statements(statements)?;
        Ok(std::mem::replace(&mut self.nodes, outside))
    }

    fn for_loop(&mut self, axis: Axis, kind: ForKind, body: &[Stmt]) -> Lowered<()> {
        let extent = self.function.axes[axis].extent;
        if extent == 0 {
            return Ok(());
        }
        self.pointers.enter(axis);
        let nodes = self.body(body)?;
        let pointers = self.pointers.leave();
        // Threads share the outermost loop.
        let parallel = kind == ForKind::Parallel && self.function.grid().first() == Some(&axis);
        let body = prefetch::ahead(nodes, &pointers, &self.pointers);
        self.nodes.push(Node::Loop(Loop { extent, parallel, body, pointers }));
        Ok(())
    }

    fn set(&mut self, local: Local, value: &Expr) -> Lowered<()> {
        if self.loads.waits(local)
            && self.loads.is_read_once(local)
            && let Some(sources) = self.operand(local, value)?
        {
            self.operands.insert(local, sources);
            return Ok(());
        }
        let load = self.vector_load(local, value);
        if let Some(registers) = load.and_then(|load| self.loaded.get(&load)) {
            self.locals.insert(local, registers.clone());
            return Ok(());
        }
        for part in 0..self.parts(value) {
            let to = self.local(local, part);
            self.compute(value, part, Some(to))?;
        }
        if let Some(load) = load {
            self.loaded.insert(load, self.locals[&local].clone());
        }
        Ok(())
    }

    /// The load of a vector that a register is set to in this one place: another one may stand for the same.
    fn vector_load(&self, local: Local, value: &Expr) -> Option<Load> {
        let is_vector = matches!(value, Expr::Load { stride: 1, lanes: 2.., .. });
        self.loads.number(value).filter(|_| is_vector && self.loads.is_set_once(local))
    }

    /// What the one instruction that reads a register can read in its place, a source a part.
    fn operand(&mut self, local: Local, value: &Expr) -> Lowered<Option<Vec<Source>>> {
        let parts = self.parts(value);
        let is_word = |buffer: &Buffer| self.function.buffers[*buffer].dtype.size() == 4;
        Ok(match value {
            Expr::Load { buffer, index, stride: 1, lanes: 4.. } if is_word(buffer) => {
                let step = self.widest.lanes();
                let part =
                    |part| Ok(Source::MemoryOperand(self.place(*buffer, index, (part * step) as i64)?));
                Some((0..parts).map(part).collect::<Lowered<_>>()?)
            }
            Expr::Load { buffer, index, lanes: 1, .. }
                if is_word(buffer) && self.loads.is_only_splat(local) =>
            {
                Some(vec![Source::Broadcast(self.place(*buffer, index, 0)?)])
            }
            Expr::Splat(inner, _) if self.broadcasts && parts == 1 => match &**inner {
                Expr::Local(local) => self.operands.remove(local),
                Expr::Load { buffer, index, .. } if is_word(buffer) => {
                    Some(vec![Source::Broadcast(self.place(*buffer, index, 0)?)])
                }
                _ => None,
            },
            _ => None,
        })
    }

    fn store(&mut self, buffer: Buffer, index: &Index, stride: i64, value: &Expr) -> Lowered<()> {
        let ty = self.type_of(value);
        let data = &self.function.buffers[buffer];
        let element = if data.dtype.size() == 4 { Element::Word } else { Element::Byte };
        let size = data.dtype.size() as i64;
        // All parts are computed before the first is written, as the value may read what is overwritten.
        let mut parts = Vec::new();
        for part in 0..self.parts(value) {
            let mut from = self.value(value, part)?;
            if ty.scalar == Scalar::Bool {
                let one = Source::Constant(self.splat_constant(1));
                let to = self.temporary(ty);
                self.inst(Inst::VectorOp { op: VectorOp::And, to, x: from, y: one });
                from = to;
            }
            parts.push(from);
        }
        for (part, from) in parts.into_iter().enumerate() {
            let to = self.place(buffer, index, (part * self.widest.lanes()) as i64 * stride)?;
            let inst = match (ty.lanes, stride, element) {
                (1, ..) => Inst::StoreScalar { to, from, element },
                (_, 1, Element::Word) => Inst::Store { to, from },
                (_, 1, Element::Byte) => Inst::StoreBytes { to, from },
                _ => {
                    let stride = self.stride(stride * size)?;
                    Inst::Scatter { to, from, stride, element }
                }
            };
            self.inst(inst);
        }
        Ok(())
    }

    fn type_of(&self, expr: &Expr) -> Type {
        self.function.type_of(expr).expect("the function is verified")
    }

    /// Registers that a value takes.
    fn parts(&self, expr: &Expr) -> usize {
        (self.type_of(expr).lanes as usize).div_ceil(self.widest.lanes())
    }

    fn width(&self, lanes: u32) -> Width {
        Width::of_lanes((lanes as usize).min(self.widest.lanes()))
    }

    fn temporary(&mut self, ty: Type) -> Reg {
        self.code.widths.push(self.width(ty.lanes));
        self.code.widths.len() - 1
    }

    fn local(&mut self, local: Local, part: usize) -> Reg {
        let ty = self.function.locals[local].ty;
        let known = self.locals.get(&local).cloned();
        let parts = known.unwrap_or_else(|| {
            let count = (ty.lanes as usize).div_ceil(self.widest.lanes());
            let parts: Vec<Reg> = (0..count).map(|_| self.temporary(ty)).collect();
            self.locals.insert(local, parts.clone());
            parts
        });
        parts[part]
    }

    fn inst(&mut self, inst: Inst) {
        self.nodes.push(Node::Inst(inst));
    }

    fn constant(&mut self, mut lanes: Vec<u32>) -> ConstantId {
        lanes.resize(Width::W512.lanes(), 0);
        let (constants, pool) = (&mut self.constants, &mut self.code.constants);
        *constants.entry(lanes).or_insert_with_key(|lanes| {
            pool.push(lanes.clone());
            pool.len() - 1
        })
    }

    fn splat_constant(&mut self, bits: u32) -> ConstantId {
        self.constant(vec![bits; Width::W512.lanes()])
    }

    /// The distance of lanes in bytes.
    fn stride(&self, bytes: i64) -> Lowered<i32> {
        near(bytes.saturating_mul(self.widest.lanes() as i64), "lanes far apart")?;
        near(bytes, "lanes far apart")
    }

    /// An element of a buffer, `further` elements after the one at `index`.
    fn place(&mut self, buffer: Buffer, index: &Index, further: i64) -> Lowered<MemoryOperand> {
        let size = self.function.buffers[buffer].dtype.size() as i64;
        let offset = near((index.constant() + further) * size, "a far constant address")?;
        let pointer = self.pointers.element(buffer, index);
        Ok(MemoryOperand { pointer, offset })
    }
}

/// A distance in bytes.
fn near(bytes: i64, what: &'static str) -> Lowered<i32> {
    let bytes = if planted!("codegen.wide.far") { i64::from(bytes as i32) % FAR } else { bytes };
    i32::try_from(bytes).ok().filter(|_| bytes.abs() < FAR).ok_or(Unsupported(what))
}

#[cfg(test)]
#[path = "lower_tests.rs"]
mod tests;
