//! From loop IR to instructions on virtual registers.
//!
//! A vector of more lanes than a register has becomes several registers, its parts. An address is a running pointer and
//! a constant offset: a pointer is named by its buffer and the terms of the index that are not constant, and belongs
//! to the innermost loop whose axis these mention. A load that one instruction reads is a memory operand of it.

mod expression;
mod prefetch;
mod random;

use std::collections::{HashMap, HashSet};

use super::code::{
    Code, ConstantId, Element, Inst, Loop, MemoryOperand, Node, Pointer, PointerId, PointerKind, VectorOp,
};
use super::code::{Reg, Source, Width};
use crate::loops::verifier::Verified;
use crate::loops::{Atom, Axis, Buffer, Expr, ForKind, Function, Index, Local, Scalar, Stmt, Type};

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
    let code = Code::default();
    let mut uses = Uses::default();
    function.body.iter().for_each(|stmt| uses.count(stmt));
    let mut lowering = Lowering {
        function,
        widest,
        broadcasts,
        code,
        frames: vec![Frame::default()],
        locals: HashMap::new(),
        uses,
        pending: HashMap::new(),
        loaded: Vec::new(),
        scalars: Vec::new(),
        constants: HashMap::new(),
        random: None,
    };
    lowering.statements(&function.body)?;
    let root = lowering.frames.pop().expect("the function's own frame");
    lowering.code.body = root.nodes;
    Ok(lowering.code)
}

/// How often registers of the function are set and read.
#[derive(Default)]
struct Uses {
    sets: HashMap<Local, usize>,
    reads: HashMap<Local, usize>,
    /// Those that are put into all lanes.
    splats: HashSet<Local>,
}

impl Uses {
    fn count(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::For { body, .. } => body.iter().for_each(|stmt| self.count(stmt)),
            Stmt::Set { local, value } => {
                *self.sets.entry(*local).or_default() += 1;
                self.read(value);
            }
            Stmt::Store { value, .. } => self.read(value),
            Stmt::If { condition, then, otherwise } => {
                self.read(condition);
                then.iter().chain(otherwise).for_each(|stmt| self.count(stmt));
            }
        }
    }

    fn read(&mut self, expr: &Expr) {
        match expr {
            Expr::Local(local) => *self.reads.entry(*local).or_default() += 1,
            Expr::Float(_) | Expr::Int(_) | Expr::Bool(_) | Expr::Number { .. } | Expr::Load { .. } => {}
            Expr::Splat(x, _) => {
                if let Expr::Local(local) = **x {
                    self.splats.insert(local);
                }
                self.read(x);
            }
            Expr::Unary(_, x) | Expr::Fold(_, x) | Expr::Uniform { element: x, .. } => {
                self.read(x);
            }
            Expr::Binary(_, x, y) => [x, y].into_iter().for_each(|x| self.read(x)),
            Expr::Fma(x, y, z) | Expr::Select(x, y, z) => [x, y, z].into_iter().for_each(|x| self.read(x)),
        }
    }

    /// Whether a register is set and read in one place each.
    fn once(&self, local: Local) -> bool {
        self.sets.get(&local) == Some(&1) && self.reads.get(&local) == Some(&1)
    }
}

/// A loop that is being lowered, or the function around all of them.
#[derive(Default)]
struct Frame {
    axis: Option<Axis>,
    nodes: Vec<Node>,
    pointers: Vec<PointerId>,
}

/// A load that waits for the instruction that reads it.
#[derive(Clone)]
struct Pending {
    buffer: Buffer,
    /// One a part.
    sources: Vec<Source>,
    /// Whether it has been read, and needs no register.
    read: bool,
}

struct Lowering<'f> {
    function: &'f Function,
    widest: Width,
    broadcasts: bool,
    code: Code,
    frames: Vec<Frame>,
    /// The parts of the function's registers.
    locals: HashMap<Local, Vec<Reg>>,
    uses: Uses,
    pending: HashMap<Local, Pending>,
    /// Vectors that were loaded since the last change of block, with the registers that hold them.
    loaded: Vec<(Buffer, MemoryOperand, u32, Vec<Reg>)>,
    /// Scalars of the statement at hand that several parts read.
    scalars: Vec<(*const Expr, Reg)>,
    constants: HashMap<Vec<u32>, ConstantId>,
    /// The pointer to the caller's random state, once it is needed.
    random: Option<PointerId>,
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
                self.flush(None);
                let then = self.branch(then)?;
                let otherwise = self.branch(otherwise)?;
                self.node(Node::If { condition, then, otherwise });
                Ok(())
            }
        }
    }

    /// The nodes of a branch; its pointers belong to the loops around it.
    fn branch(&mut self, statements: &[Stmt]) -> Lowered<Vec<Node>> {
        let frame = self.frames.last_mut().expect("a frame");
        let outside = std::mem::take(&mut frame.nodes);
        self.statements(statements)?;
        self.flush(None);
        let frame = self.frames.last_mut().expect("a frame");
        Ok(std::mem::replace(&mut frame.nodes, outside))
    }

    fn for_loop(&mut self, axis: Axis, kind: ForKind, body: &[Stmt]) -> Lowered<()> {
        let extent = self.function.axes[axis].extent;
        if extent == 0 {
            return Ok(());
        }
        self.flush(None);
        self.frames.push(Frame { axis: Some(axis), ..Frame::default() });
        self.statements(body)?;
        self.flush(None);
        let Frame { nodes, pointers, .. } = self.frames.pop().expect("the loop's frame");
        let parallel = kind == ForKind::Parallel;
        let body = prefetch::ahead(nodes, &pointers, &self.code.pointers);
        self.node(Node::Loop(Loop { extent, parallel, body, pointers }));
        Ok(())
    }

    fn set(&mut self, local: Local, value: &Expr) -> Lowered<()> {
        let parts = self.parts(value);
        if let Some(pending) = self.postponed(local, value)? {
            self.pending.insert(local, pending);
            return Ok(());
        }
        let load = self.vector_load(local, value)?;
        let known =
            load.and_then(|load| self.loaded.iter().find(|known| (known.0, known.1, known.2) == load));
        if let Some((.., registers)) = known {
            self.locals.insert(local, registers.clone());
            return Ok(());
        }
        for part in 0..parts {
            let to = self.local(local, part);
            self.compute(value, part, Some(to))?;
        }
        if let Some((buffer, memory, lanes)) = load {
            self.loaded.push((buffer, memory, lanes, self.locals[&local].clone()));
        }
        Ok(())
    }

    /// What a register is loaded from that is set in this one place: another one may stand for the same.
    fn vector_load(&mut self, local: Local, value: &Expr) -> Lowered<Option<(Buffer, MemoryOperand, u32)>> {
        match value {
            Expr::Load { buffer, index, stride: 1, lanes } if *lanes > 1 && self.uses.sets[&local] == 1 => {
                Ok(Some((*buffer, self.place(*buffer, index, 0)?, *lanes)))
            }
            _ => Ok(None),
        }
    }

    /// The load that a register is set to, if the one instruction that reads it can read memory itself.
    fn postponed(&mut self, local: Local, value: &Expr) -> Lowered<Option<Pending>> {
        let parts = self.parts(value);
        let is_word = |buffer: &Buffer| self.function.buffers[*buffer].dtype.size() == 4;
        if !self.uses.once(local) {
            return Ok(None);
        }
        let (buffer, sources) = match value {
            Expr::Load { buffer, index, stride: 1, lanes: 4.. } if is_word(buffer) => {
                let place = |lowering: &mut Self, part| {
                    Ok(Source::MemoryOperand(lowering.place(
                        *buffer,
                        index,
                        (part * lowering.widest.lanes()) as i64,
                    )?))
                };
                (*buffer, (0..parts).map(|part| place(self, part)).collect::<Lowered<_>>()?)
            }
            Expr::Load { buffer, index, lanes: 1, .. }
                if is_word(buffer) && self.uses.splats.contains(&local) =>
            {
                (*buffer, vec![Source::Broadcast(self.place(*buffer, index, 0)?)])
            }
            Expr::Splat(inner, _) if self.broadcasts && parts == 1 => match &**inner {
                Expr::Local(local) => match self.pending.remove(local) {
                    Some(pending) => return Ok(Some(pending)),
                    None => return Ok(None),
                },
                Expr::Load { buffer, index, .. } if is_word(buffer) => {
                    (*buffer, vec![Source::Broadcast(self.place(*buffer, index, 0)?)])
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(Pending { buffer, sources, read: false }))
    }

    /// What a register that waits for its load is loaded from, by the instruction that reads it.
    fn waiting(&mut self, local: Local, part: usize) -> Option<Source> {
        let pending = self.pending.get_mut(&local)?;
        pending.read = true;
        Some(pending.sources[part])
    }

    /// Does the loads that wait, all or those of a buffer that is about to be written, and forgets those that are done.
    fn flush(&mut self, buffer: Option<Buffer>) {
        self.loaded.retain(|(loaded, ..)| buffer.is_some_and(|buffer| buffer != *loaded));
        let mut waiting: Vec<Local> = self.pending.keys().copied().collect();
        waiting.sort_unstable();
        for local in waiting {
            if buffer.is_some_and(|buffer| self.pending[&local].buffer != buffer) {
                continue;
            }
            let pending = self.pending.remove(&local).expect("it waits");
            if pending.read {
                continue;
            }
            for (part, from) in pending.sources.into_iter().enumerate() {
                let to = self.local(local, part);
                self.inst(Inst::Move { to, from });
            }
        }
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
        if !planted!("codegen.wide.flush") {
            self.flush(Some(buffer));
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

    fn node(&mut self, node: Node) {
        self.frames.last_mut().expect("a frame").nodes.push(node);
    }

    fn inst(&mut self, inst: Inst) {
        self.node(Node::Inst(inst));
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
        let pointer = self.pointer(Some(buffer), index.terms().to_vec());
        Ok(MemoryOperand { pointer, offset })
    }

    /// The running pointer of some terms, made where there is none yet.
    fn pointer(&mut self, buffer: Option<Buffer>, terms: Vec<(Atom, i64)>) -> PointerId {
        let moves = |axis: Axis| terms.iter().any(|(atom, _)| mentions(atom, axis));
        let owner = self.frames.iter().rposition(|frame| frame.axis.is_some_and(moves)).unwrap_or(0);
        let known = self.frames[owner].pointers.iter().find(|pointer| {
            let pointer = &self.code.pointers[**pointer];
            pointer.buffer == buffer && pointer.terms == terms
        });
        if let Some(known) = known {
            return *known;
        }
        let kind = match self.frames[owner].axis {
            None => PointerKind::Base,
            Some(axis) => self.kind(buffer, &terms, axis),
        };
        self.code.pointers.push(Pointer { buffer, terms, kind });
        let pointer = self.code.pointers.len() - 1;
        self.frames[owner].pointers.push(pointer);
        pointer
    }

    fn kind(&mut self, buffer: Option<Buffer>, terms: &[(Atom, i64)], axis: Axis) -> PointerKind {
        let size = buffer.map_or(1, |buffer| self.function.buffers[buffer].dtype.size() as i64);
        let (own, outer): (Vec<_>, Vec<_>) =
            terms.iter().cloned().partition(|(atom, _)| mentions(atom, axis));
        let from = self.pointer(buffer, outer);
        if let [(Atom::Axis(_), coefficient)] = own.as_slice() {
            return PointerKind::Running { from, step: coefficient * size };
        }
        let mut mentioned = Vec::new();
        own.iter().for_each(|(atom, _)| {
            Index::from_terms(vec![(atom.clone(), 1)], 0).for_each_axis(&mut |axis| {
                mentioned.push(axis);
            })
        });
        mentioned.sort_unstable();
        mentioned.dedup();
        let axes = mentioned.into_iter().map(|axis| (axis, self.pointer(None, vec![(Atom::Axis(axis), 1)])));
        let axes = axes.collect();
        let terms = own.into_iter().map(|(atom, coefficient)| (atom, coefficient * size)).collect();
        PointerKind::Computed { from, terms, axes }
    }
}

/// A distance in bytes.
fn near(bytes: i64, what: &'static str) -> Lowered<i32> {
    let bytes = if planted!("codegen.wide.far") { i64::from(bytes as i32) % FAR } else { bytes };
    i32::try_from(bytes).ok().filter(|_| bytes.abs() < FAR).ok_or(Unsupported(what))
}

fn mentions(atom: &Atom, axis: Axis) -> bool {
    match atom {
        Atom::Axis(other) => *other == axis,
        Atom::Div(x, _) | Atom::Rem(x, _) => x.mentions(axis),
        Atom::Min(x, y) | Atom::Max(x, y) => x.mentions(axis) || y.mentions(axis),
    }
}
