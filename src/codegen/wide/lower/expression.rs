//! Expressions as instructions.

use super::super::code::{Compare, ConstantId, Element, Inst, Reg, Source, VectorOp};
use super::{Lowered, Lowering, Unsupported};
use crate::loops::{Binary, Buffer, Expr, Fold, Index, Scalar, Type, Unary};

impl Lowering<'_> {
    /// A part of an expression in a register.
    pub(super) fn value(&mut self, expr: &Expr, part: usize) -> Lowered<Reg> {
        match expr {
            Expr::Local(local) if !self.operands.contains_key(local) => Ok(self.local(*local, part)),
            // Nothing here rearranges what is behind it.
            Expr::Unary(Unary::Fence, x) => self.value(x, part),
            _ => self.compute(expr, part, None),
        }
    }

    /// A part of an expression where an instruction may read memory.
    pub(super) fn source(&mut self, expr: &Expr, part: usize) -> Lowered<Source> {
        let scalar = self.type_of(expr).lanes == 1;
        Ok(match expr {
            Expr::Local(local) => match self.operands.get(local) {
                Some(sources) => sources[part],
                None => Source::Reg(self.local(*local, part)),
            },
            Expr::Load { buffer, index, stride: 1, .. }
                if !scalar && self.function.buffers[*buffer].dtype.size() == 4 =>
            {
                Source::MemoryOperand(self.place(*buffer, index, (part * self.widest.lanes()) as i64)?)
            }
            Expr::Splat(inner, _) => match &**inner {
                Expr::Load { buffer, index, .. }
                    if self.broadcasts && self.function.buffers[*buffer].dtype.size() == 4 =>
                {
                    Source::Broadcast(self.place(*buffer, index, 0)?)
                }
                inner => match self.constant_of(inner) {
                    Some(constant) => Source::Constant(constant),
                    None => Source::Reg(self.value(expr, part)?),
                },
            },
            Expr::Unary(Unary::Fence, x) => self.source(x, part)?,
            _ => match self.constant_of(expr) {
                Some(constant) => Source::Constant(constant),
                None => Source::Reg(self.value(expr, part)?),
            },
        })
    }

    /// The constant that a scalar is.
    fn constant_of(&mut self, expr: &Expr) -> Option<ConstantId> {
        let bits = match expr {
            Expr::Float(x) => x.to_bits(),
            Expr::Int(x) => *x as u32,
            Expr::Bool(x) => mask(*x),
            Expr::Number { index, lanes: 1, .. } if index.terms().is_empty() => index.constant() as u32,
            _ => return None,
        };
        Some(self.splat_constant(bits))
    }

    /// Writes the instructions of a part of an expression; the last one sets `to`, or a new register.
    pub(super) fn compute(&mut self, expr: &Expr, part: usize, to: Option<Reg>) -> Lowered<Reg> {
        if let Expr::Unary(Unary::Fence, x) = expr {
            return self.compute(x, part, to);
        }
        let ty = self.type_of(expr);
        let to = match (to, expr) {
            (Some(to), _) => to,
            (None, _) => self.temporary(ty),
        };
        let inst = match expr {
            Expr::Float(_) | Expr::Int(_) | Expr::Bool(_) | Expr::Local(_) => {
                Inst::Move { to, from: self.source(expr, part)? }
            }
            Expr::Number { index, stride, lanes } => self.number(to, index, *stride, *lanes, part),
            Expr::Load { buffer, index, stride, lanes } => {
                self.load(to, *buffer, index, (*stride, *lanes), part)?
            }
            Expr::Splat(inner, _) => self.splat(to, inner)?,
            Expr::Unary(op @ (Unary::ToBits | Unary::FromBits), x) => {
                let _ = op;
                Inst::Move { to, from: self.source(x, part)? }
            }
            Expr::Unary(op, x) => {
                let from = self.source(x, part)?;
                Inst::Unary { op: *op, to, from: self.without_broadcast(from, self.type_of(x)) }
            }
            Expr::Binary(op, x, y) => self.binary(to, *op, x, y, part)?,
            Expr::Fma(x, y, z) => {
                let z = self.value(z, part)?;
                let (x, y) = match (self.source(x, part)?, self.source(y, part)?) {
                    (Source::Reg(x), y) => (x, y),
                    (x, Source::Reg(y)) => (y, x),
                    (x, y) => (self.moved(x, ty), y),
                };
                Inst::Fma { to, x, y, z }
            }
            Expr::Select(condition, x, y) => self.select(to, condition, x, y, part)?,
            Expr::Fold(op, value) => self.fold(to, *op, value)?,
            Expr::Uniform { stream, element } => {
                let element = self.value(element, part)?;
                self.uniform(to, *stream, element, ty)
            }
        };
        self.inst(inst);
        Ok(to)
    }

    pub(super) fn moved(&mut self, from: Source, ty: Type) -> Reg {
        let to = self.temporary(ty);
        self.inst(Inst::Move { to, from });
        to
    }

    fn number(&mut self, to: Reg, index: &Index, stride: i64, lanes: u32, part: usize) -> Inst {
        let lane = |lane: usize| index.constant() + (part * self.widest.lanes() + lane) as i64 * stride;
        let offsets = (0..self.width(lanes).lanes()).map(|k| lane(k) as u32).collect();
        let offsets = self.constant(offsets);
        match self.pointers.number(index).pointer {
            None => Inst::Move { to, from: Source::Constant(offsets) },
            Some(pointer) => Inst::Number { to, pointer, offsets },
        }
    }

    fn load(
        &mut self,
        to: Reg,
        buffer: Buffer,
        index: &Index,
        (stride, lanes): (i64, u32),
        part: usize,
    ) -> Lowered<Inst> {
        let dtype = self.function.buffers[buffer].dtype;
        let element = if dtype.size() == 4 { Element::Word } else { Element::Byte };
        let from = self.place(buffer, index, (part * self.widest.lanes()) as i64 * stride)?;
        Ok(match (lanes, stride, element) {
            (1, ..) => Inst::LoadScalar { to, from, element },
            (_, 0, Element::Word) => Inst::Move { to, from: Source::Broadcast(from) },
            (_, 1, Element::Word) => Inst::Move { to, from: Source::MemoryOperand(from) },
            (_, 1, Element::Byte) => Inst::LoadBytes { to, from },
            (_, 0, Element::Byte) => {
                let scalar = self.temporary(Type::I32);
                self.inst(Inst::LoadScalar { to: scalar, from, element });
                Inst::Splat { to, from: scalar }
            }
            (_, _, Element::Word) => {
                let stride = self.stride(stride * dtype.size() as i64)?;
                let offsets = (0..self.width(lanes).lanes()).map(|k| (k as i32 * stride) as u32);
                Inst::Gather { to, from, offsets: self.constant(offsets.collect()) }
            }
            (_, _, Element::Byte) => return Err(Unsupported("bytes that lie apart")),
        })
    }

    fn splat(&mut self, to: Reg, inner: &Expr) -> Lowered<Inst> {
        if let Some(constant) = self.constant_of(inner) {
            return Ok(Inst::Move { to, from: Source::Constant(constant) });
        }
        if let Expr::Local(local) = inner
            && let Some(sources) = self.operands.get(local)
        {
            return Ok(Inst::Move { to, from: sources[0] });
        }
        match inner {
            Expr::Load { buffer, index, .. } if self.function.buffers[*buffer].dtype.size() == 4 => {
                Ok(Inst::Move { to, from: Source::Broadcast(self.place(*buffer, index, 0)?) })
            }
            _ => {
                let known = self.scalars.iter().find(|(expr, _)| std::ptr::eq(*expr, inner));
                let from = match known {
                    Some((_, from)) => *from,
                    None => {
                        let from = self.value(inner, 0)?;
                        self.scalars.push((inner, from));
                        from
                    }
                };
                Ok(Inst::Splat { to, from })
            }
        }
    }

    fn binary(&mut self, to: Reg, op: Binary, x: &Expr, y: &Expr, part: usize) -> Lowered<Inst> {
        let ty = self.type_of(x);
        let float = ty.scalar == Scalar::F32;
        let (mut a, mut b) = (self.source(x, part)?, self.source(y, part)?);
        if let Some(mut compare) = comparison(op) {
            if !matches!(a, Source::Reg(_)) && matches!(b, Source::Reg(_)) {
                (a, b, compare) = (b, a, compare.swapped());
            }
            let x = self.in_register(a, ty);
            return Ok(Inst::Compare { op: compare, float, to, x, y: b });
        }
        let join = joined(op, float);
        if join.commutes() && !matches!(a, Source::Reg(_)) {
            (a, b) = (b, a);
        }
        let x = self.in_register(a, ty);
        // These are several instructions, which all read `y`.
        let y = match join {
            VectorOp::MinF | VectorOp::MaxF => self.without_broadcast(b, ty),
            _ => b,
        };
        Ok(Inst::VectorOp { op: join, to, x, y })
    }

    fn without_broadcast(&mut self, source: Source, ty: Type) -> Source {
        match source {
            Source::Broadcast(_) => Source::Reg(self.moved(source, ty)),
            source => source,
        }
    }

    fn in_register(&mut self, source: Source, ty: Type) -> Reg {
        match source {
            Source::Reg(reg) => reg,
            source => self.moved(source, ty),
        }
    }

    fn select(&mut self, to: Reg, condition: &Expr, x: &Expr, y: &Expr, part: usize) -> Lowered<Inst> {
        if let Expr::Binary(op, left, right) = condition
            && let Some(mut compare) = comparison(*op)
        {
            let ty = self.type_of(left);
            let float = ty.scalar == Scalar::F32;
            if float && **left == *x && **right == *y && matches!(compare, Compare::Lt | Compare::Gt) {
                let op = if compare == Compare::Lt { VectorOp::LessF } else { VectorOp::GreaterF };
                let a = self.value(x, part)?;
                return Ok(Inst::VectorOp { op, to, x: a, y: self.source(y, part)? });
            }
            let (mut a, mut b) = (self.source(left, part)?, self.source(right, part)?);
            if !matches!(a, Source::Reg(_)) && matches!(b, Source::Reg(_)) {
                (a, b, compare) = (b, a, compare.swapped());
            }
            let left = self.in_register(a, ty);
            let (x, y) = (self.value(x, part)?, self.value(y, part)?);
            return Ok(Inst::SelectWhere { op: compare, float, left, right: b, to, x, y });
        }
        let mask = self.value(condition, part)?;
        let (x, y) = (self.value(x, part)?, self.value(y, part)?);
        Ok(Inst::Select { to, mask, x, y })
    }

    fn fold(&mut self, to: Reg, op: Fold, value: &Expr) -> Lowered<Inst> {
        let ty = self.type_of(value);
        let mut parts = Vec::new();
        for part in 0..self.parts(value) {
            parts.push(self.value(value, part)?);
        }
        let join = match op {
            Fold::Sum => VectorOp::AddF,
            Fold::Prod => VectorOp::MulF,
            Fold::Max => VectorOp::MaxF,
            Fold::Min => VectorOp::MinF,
        };
        while parts.len() > 1 {
            let upper = parts.split_off(parts.len() / 2);
            for (low, high) in parts.iter_mut().zip(upper) {
                let joined = self.temporary(ty);
                self.inst(Inst::VectorOp { op: join, to: joined, x: *low, y: Source::Reg(high) });
                *low = joined;
            }
        }
        Ok(Inst::Fold { op, to, from: parts[0] })
    }
}

/// The bits of a truth value's lane.
fn mask(truth: bool) -> u32 {
    if truth { u32::MAX } else { 0 }
}

impl Compare {
    /// The comparison of the same operands in the other order.
    fn swapped(self) -> Compare {
        match self {
            Compare::Eq | Compare::Ne => self,
            Compare::Lt => Compare::Gt,
            Compare::Le if planted!("codegen.wide.swapped") => Compare::Gt,
            Compare::Le => Compare::Ge,
            Compare::Gt => Compare::Lt,
            Compare::Ge => Compare::Le,
        }
    }
}

impl VectorOp {
    /// Whether the operands may change places without a change of any bit.
    fn commutes(self) -> bool {
        use VectorOp::*;
        match self {
            AddF | MulF | MinF | MaxF | AddI | MulI | MinI | MaxI | And | Or | Xor => true,
            SubI if planted!("codegen.wide.commutes") => true,
            SubF | DivF | LessF | GreaterF | SubI | MulHigh | ShiftLeft | ShiftRight => false,
        }
    }
}

fn comparison(op: Binary) -> Option<Compare> {
    Some(match op {
        Binary::Eq => Compare::Eq,
        Binary::Ne => Compare::Ne,
        Binary::Lt => Compare::Lt,
        Binary::Le => Compare::Le,
        Binary::Gt => Compare::Gt,
        Binary::Ge => Compare::Ge,
        _ => return None,
    })
}

fn joined(op: Binary, float: bool) -> VectorOp {
    match (op, float) {
        (Binary::Add, true) => VectorOp::AddF,
        (Binary::Sub, true) => VectorOp::SubF,
        (Binary::Mul, true) => VectorOp::MulF,
        (Binary::Div, _) => VectorOp::DivF,
        (Binary::Min, true) => VectorOp::MinF,
        (Binary::Max, true) => VectorOp::MaxF,
        (Binary::Add, false) => VectorOp::AddI,
        (Binary::Sub, false) => VectorOp::SubI,
        (Binary::Mul, false) => VectorOp::MulI,
        (Binary::Min, false) => VectorOp::MinI,
        (Binary::Max, false) => VectorOp::MaxI,
        (Binary::And, _) => VectorOp::And,
        (Binary::Or, _) => VectorOp::Or,
        (Binary::Shl, _) => VectorOp::ShiftLeft,
        (Binary::Shr, _) => VectorOp::ShiftRight,
        (Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge, _) => {
            unreachable!("comparisons are no joins")
        }
    }
}
