//! Instructions that set a register.

use iced_x86::code_asm::registers::k::k1;

use super::super::code::{Compare, Inst, Reg, Source, VectorOp, Width};
use super::{Done, Encoder, Operand, swaps, xmm, ymm, zmm};
use crate::codegen::wide::registers::Location;
use crate::loops::{Fold, Unary};

/// Predicates of comparisons.
const GREATER_OR_EQUAL: i32 = 0x1d;
const UNORDERED: i32 = 3;
const ORDERED: i32 = 7;

impl Encoder<'_> {
    /// Sets a register.
    pub(super) fn compute(&mut self, inst: &Inst, to: u8, width: Width) -> Done {
        match *inst {
            Inst::Unary { op, from, .. } => self.unary(op, to, width, from),
            Inst::VectorOp { op, x, y, .. } => {
                // An address in `rax` is good until the next value is read from memory.
                let x = self.read(x, 0)?;
                let y = self.operand(y)?;
                self.join(op, width, to, x, y)
            }
            Inst::Fma { x, y, z, .. } => self.fma(to, width, x, y, z),
            Inst::Compare { op, float, x, y, .. } => {
                let x = self.read(x, 0)?;
                let y = self.operand(y)?;
                self.compare(op, float, width, x, y, to)?;
                if self.evex { self.mask_to_vector(width, to) } else { Ok(()) }
            }
            Inst::Select { mask, x, y, .. } => {
                let mask = self.read(mask, 3)?;
                if self.evex {
                    match width {
                        Width::W128 => self.asm.vpmovd2m(k1, xmm(mask))?,
                        Width::W256 => self.asm.vpmovd2m(k1, ymm(mask))?,
                        Width::W512 => self.asm.vpmovd2m(k1, zmm(mask))?,
                    }
                }
                self.select(to, width, mask, x, y)
            }
            Inst::SelectWhere { op, float, left, right, x, y, .. } => {
                let left = self.read(left, 0)?;
                let right = self.operand(right)?;
                let mask = self.spare(3);
                self.compare(op, float, width, left, right, mask)?;
                self.select(to, width, mask, x, y)
            }
            Inst::Fold { op, from, .. } => self.fold(op, to, from),
            _ => self.load(inst, to, width),
        }
    }

    /// The mask register as all bits, or none, of every lane.
    fn mask_to_vector(&mut self, width: Width, to: u8) -> Done {
        match width {
            Width::W128 => self.asm.vpmovm2d(xmm(to), k1),
            Width::W256 => self.asm.vpmovm2d(ymm(to), k1),
            Width::W512 => self.asm.vpmovm2d(zmm(to), k1),
        }
    }

    fn unary(&mut self, op: Unary, to: u8, width: Width, from: Source) -> Done {
        let from = self.operand(from)?;
        match op {
            Unary::Neg | Unary::Abs | Unary::Not => {
                let from = self.in_register(from, width, 0)?;
                match op {
                    Unary::Abs => {
                        let rest = self.bits(!(1 << 31));
                        three!(self, vandps, width, to, from, rest)
                    }
                    _ => {
                        let flipped = self.bits(if op == Unary::Neg { 1 << 31 } else { u32::MAX });
                        three!(self, vxorps, width, to, from, flipped)
                    }
                }
            }
            Unary::Sqrt => two!(self, vsqrtps, width, to, from),
            Unary::Floor if self.evex => two!(self, vrndscaleps, width, to, from, 9),
            Unary::Floor => match (width, from) {
                (Width::W128, Operand::Reg(from)) => self.asm.vroundps(xmm(to), xmm(from), 9),
                (Width::W128, Operand::Mem(from)) => self.asm.vroundps(xmm(to), from, 9),
                (_, Operand::Reg(from)) => self.asm.vroundps(ymm(to), ymm(from), 9),
                (_, Operand::Mem(from)) => self.asm.vroundps(ymm(to), from, 9),
            },
            Unary::ToFloat => two!(self, vcvtdq2ps, width, to, from),
            Unary::ToInt => {
                let from = self.in_register(from, width, 0)?;
                self.truncate(to, width, from)
            }
            Unary::ToBits | Unary::FromBits | Unary::Fence => unreachable!("they are moves"),
        }
    }

    /// Towards zero. The machine gives the smallest integer for what has none: the largest for numbers too large is its
    /// complement, and NaN's is cleared.
    fn truncate(&mut self, to: u8, width: Width, from: u8) -> Done {
        let (found, mask) = (self.spare(1), self.spare(3));
        two!(self, vcvttps2dq, width, found, Operand::Reg(from))?;
        let limit = self.bits(2_147_483_648_f32.to_bits());
        self.float_mask(width, from, limit, GREATER_OR_EQUAL, mask)?;
        three!(self, vxorps, width, found, found, Operand::Reg(mask))?;
        if planted!("codegen.wide.to_int") {
            return two!(self, vmovups, width, to, Operand::Reg(found));
        }
        self.float_mask(width, from, Operand::Reg(from), ORDERED, mask)?;
        three!(self, vandps, width, to, found, Operand::Reg(mask))
    }

    /// A comparison of `f32` as a vector of masks.
    fn float_mask(&mut self, width: Width, x: u8, y: Operand, predicate: i32, to: u8) -> Done {
        if !self.evex {
            return three_vex!(self, vcmpps, width, to, x, y, predicate);
        }
        into_mask!(self, vcmpps, width, x, y, predicate)?;
        self.mask_to_vector(width, to)
    }

    /// Spare registers 1, 3 and 4 are overwritten.
    fn join(&mut self, op: VectorOp, width: Width, to: u8, x: u8, y: Operand) -> Done {
        match op {
            VectorOp::AddF => three!(self, vaddps, width, to, x, y),
            VectorOp::SubF => three!(self, vsubps, width, to, x, y),
            VectorOp::MulF => three!(self, vmulps, width, to, x, y),
            VectorOp::DivF => three!(self, vdivps, width, to, x, y),
            VectorOp::LessF => three!(self, vminps, width, to, x, y),
            VectorOp::GreaterF => three!(self, vmaxps, width, to, x, y),
            VectorOp::AddI => three!(self, vpaddd, width, to, x, y),
            VectorOp::SubI => three!(self, vpsubd, width, to, x, y),
            VectorOp::MulI => three!(self, vpmulld, width, to, x, y),
            VectorOp::MinI => three!(self, vpminsd, width, to, x, y),
            VectorOp::MaxI => three!(self, vpmaxsd, width, to, x, y),
            VectorOp::And => three!(self, vandps, width, to, x, y),
            VectorOp::Or => three!(self, vorps, width, to, x, y),
            VectorOp::Xor => three!(self, vxorps, width, to, x, y),
            VectorOp::MulHigh => self.multiply_high(width, to, x, y),
            VectorOp::ShiftLeft => three!(self, vpsllvd, width, to, x, y),
            VectorOp::ShiftRight => three!(self, vpsravd, width, to, x, y),
            VectorOp::MinF | VectorOp::MaxF => self.extreme(op, width, to, x, y),
        }
    }

    /// The machine multiplies every other lane to 64 bits: the even ones as they stand, the odd ones shifted.
    fn multiply_high(&mut self, width: Width, to: u8, x: u8, y: Operand) -> Done {
        let (even, odd) = (self.spare(1), self.spare(3));
        three!(self, vpmuludq, width, even, x, y)?;
        two!(self, vpsrlq, width, even, Operand::Reg(even), 32)?;
        two!(self, vpsrlq, width, odd, Operand::Reg(x), 32)?;
        three!(self, vpmuludq, width, odd, odd, y)?;
        let upper = self.lanes([0, u32::MAX]);
        three!(self, vandps, width, odd, odd, upper)?;
        three!(self, vorps, width, to, even, Operand::Reg(odd))
    }

    /// In both orders the machine's minimum gives the same, but for NaN and for zeros of two signs, where it gives its
    /// second operand: there the union of the bits is a NaN and -0. The maximum of zeros is the intersection, and NaN
    /// needs a mask.
    fn extreme(&mut self, op: VectorOp, width: Width, to: u8, x: u8, y: Operand) -> Done {
        let y = self.in_register(y, width, 1)?;
        let (one, other) = (self.spare(3), self.spare(1));
        if op == VectorOp::MinF && planted!("codegen.wide.minimum") {
            return three!(self, vminps, width, to, x, Operand::Reg(y));
        }
        if op == VectorOp::MinF {
            three!(self, vminps, width, one, x, Operand::Reg(y))?;
            three!(self, vminps, width, other, y, Operand::Reg(x))?;
            return three!(self, vorps, width, to, one, Operand::Reg(other));
        }
        three!(self, vmaxps, width, one, x, Operand::Reg(y))?;
        match self.evex {
            true => into_mask!(self, vcmpps, width, x, Operand::Reg(y), UNORDERED)?,
            false => three_vex!(self, vcmpps, width, self.spare(4), x, Operand::Reg(y), UNORDERED)?,
        }
        // `other` may be `y`, which is not needed after this.
        three!(self, vmaxps, width, other, y, Operand::Reg(x))?;
        three!(self, vandps, width, one, one, Operand::Reg(other))?;
        let unordered = if self.evex { other } else { self.spare(4) };
        if self.evex {
            self.mask_to_vector(width, unordered)?;
        }
        three!(self, vorps, width, to, one, Operand::Reg(unordered))
    }

    /// `x * y + z`, in the form that overwrites the operand which is no longer needed.
    fn fma(&mut self, to: u8, width: Width, mut x: Reg, mut y: Source, z: Reg) -> Done {
        let in_memory = |reg: Reg| !matches!(self.assignment.locations[reg], Location::Register(_));
        if let Source::Reg(other) = y
            && swaps(x, y, &in_memory)
        {
            (x, y) = (other, Source::Reg(x));
        }
        let x = self.read(x, 0)?;
        let z = self.read(z, 3)?;
        let y = self.operand(y)?;
        if to == z {
            return three!(self, vfmadd231ps, width, to, x, y);
        }
        if to == x {
            return three!(self, vfmadd132ps, width, to, z, y);
        }
        if let Operand::Reg(y) = y
            && y == to
        {
            return three!(self, vfmadd132ps, width, to, z, Operand::Reg(x));
        }
        two!(self, vmovaps, width, to, Operand::Reg(z))?;
        three!(self, vfmadd231ps, width, to, x, y)
    }

    /// A comparison: into the mask register where there is one, else into `to`.
    fn compare(&mut self, op: Compare, float: bool, width: Width, x: u8, y: Operand, to: u8) -> Done {
        let predicate = match op {
            Compare::Eq => 0,
            Compare::Lt => 0x11,
            Compare::Le => 0x12,
            Compare::Ne => 4,
            Compare::Ge => GREATER_OR_EQUAL,
            Compare::Gt => 0x1e,
        };
        match (float, self.evex) {
            (true, true) => into_mask!(self, vcmpps, width, x, y, predicate),
            (true, false) => three_vex!(self, vcmpps, width, to, x, y, predicate),
            (false, true) => {
                let predicate = match op {
                    Compare::Eq => 0,
                    Compare::Lt => 1,
                    Compare::Le => 2,
                    Compare::Ne => 4,
                    Compare::Ge => 5,
                    Compare::Gt => 6,
                };
                into_mask!(self, vpcmpd, width, x, y, predicate)
            }
            (false, false) => {
                let y = self.in_register(y, width, 1)?;
                let (first, second) = match op {
                    Compare::Lt | Compare::Ge => (y, x),
                    _ => (x, y),
                };
                match op {
                    Compare::Eq | Compare::Ne => {
                        three_vex!(self, vpcmpeqd, width, to, first, Operand::Reg(second))?;
                    }
                    _ => three_vex!(self, vpcmpgtd, width, to, first, Operand::Reg(second))?,
                }
                if matches!(op, Compare::Ne | Compare::Le | Compare::Ge) {
                    let all = self.bits(u32::MAX);
                    three!(self, vxorps, width, to, to, all)?;
                }
                Ok(())
            }
        }
    }

    /// `x` where the mask, in the mask register or in `mask`, is set, else `y`.
    fn select(&mut self, to: u8, width: Width, mask: u8, x: Reg, y: Reg) -> Done {
        let (x, y) = (self.read(x, 0)?, self.read(y, 1)?);
        match (self.evex, width) {
            (true, Width::W128) => self.asm.vblendmps(xmm(to).k1(), xmm(y), xmm(x)),
            (true, Width::W256) => self.asm.vblendmps(ymm(to).k1(), ymm(y), ymm(x)),
            (true, Width::W512) => self.asm.vblendmps(zmm(to).k1(), zmm(y), zmm(x)),
            (false, Width::W128) => self.asm.vblendvps(xmm(to), xmm(y), xmm(x), xmm(mask)),
            (false, _) => self.asm.vblendvps(ymm(to), ymm(y), ymm(x), ymm(mask)),
        }
    }

    fn fold(&mut self, op: Fold, to: u8, from: Reg) -> Done {
        let join = match op {
            Fold::Sum => VectorOp::AddF,
            Fold::Prod => VectorOp::MulF,
            Fold::Max => VectorOp::MaxF,
            Fold::Min => VectorOp::MinF,
        };
        let width = self.width(from);
        let mut low = self.read(from, 0)?;
        let (sum, high) = (self.spare(0), self.spare(2));
        if width == Width::W512 {
            self.asm.vextractf32x8(ymm(high), zmm(low), 1)?;
            self.join(join, Width::W256, sum, low, Operand::Reg(high))?;
            low = sum;
        }
        if width >= Width::W256 {
            match self.evex {
                true => self.asm.vextractf32x4(xmm(high), ymm(low), 1)?,
                false => self.asm.vextractf128(xmm(high), ymm(low), 1)?,
            }
            self.fold_step(join, sum, low, high)?;
            low = sum;
        }
        self.asm.vmovhlps(xmm(high), xmm(low), xmm(low))?;
        self.fold_step(join, sum, low, high)?;
        self.asm.vpermilps(xmm(high), xmm(sum), 0x55)?;
        self.fold_step(join, sum, sum, high)?;
        two!(self, vmovups, Width::W128, to, Operand::Reg(sum))
    }

    fn fold_step(&mut self, join: VectorOp, to: u8, low: u8, high: u8) -> Done {
        self.join(join, Width::W128, to, low, Operand::Reg(high))
    }
}
