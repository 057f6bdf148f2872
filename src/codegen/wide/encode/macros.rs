//! One instruction in the three widths of vectors.

/// An instruction of a result, a register and an operand, in the width at hand.
macro_rules! three {
    ($encoder:expr, $op:ident, $width:expr, $to:expr, $x:expr, $y:expr $(, $imm:expr)?) => {{
        let (width, to, x) = ($width, $to, $x);
        let asm = &mut $encoder.asm;
        match (width, $y) {
            (Width::W128, Operand::Reg(y)) => asm.$op(xmm(to), xmm(x), xmm(y) $(, $imm)?),
            (Width::W128, Operand::Mem(y)) => asm.$op(xmm(to), xmm(x), y $(, $imm)?),
            (Width::W256, Operand::Reg(y)) => asm.$op(ymm(to), ymm(x), ymm(y) $(, $imm)?),
            (Width::W256, Operand::Mem(y)) => asm.$op(ymm(to), ymm(x), y $(, $imm)?),
            (Width::W512, Operand::Reg(y)) => asm.$op(zmm(to), zmm(x), zmm(y) $(, $imm)?),
            (Width::W512, Operand::Mem(y)) => asm.$op(zmm(to), zmm(x), y $(, $imm)?),
        }
    }};
}

/// The same where there is no 512-bit form.
macro_rules! three_vex {
    ($encoder:expr, $op:ident, $width:expr, $to:expr, $x:expr, $y:expr $(, $imm:expr)?) => {{
        let (width, to, x) = ($width, $to, $x);
        let asm = &mut $encoder.asm;
        match (width, $y) {
            (Width::W128, Operand::Reg(y)) => asm.$op(xmm(to), xmm(x), xmm(y) $(, $imm)?),
            (Width::W128, Operand::Mem(y)) => asm.$op(xmm(to), xmm(x), y $(, $imm)?),
            (_, Operand::Reg(y)) => asm.$op(ymm(to), ymm(x), ymm(y) $(, $imm)?),
            (_, Operand::Mem(y)) => asm.$op(ymm(to), ymm(x), y $(, $imm)?),
        }
    }};
}

/// A comparison into the mask register.
macro_rules! into_mask {
    ($encoder:expr, $op:ident, $width:expr, $x:expr, $y:expr, $imm:expr) => {{
        let (width, x) = ($width, $x);
        let asm = &mut $encoder.asm;
        match (width, $y) {
            (Width::W128, Operand::Reg(y)) => asm.$op(k1, xmm(x), xmm(y), $imm),
            (Width::W128, Operand::Mem(y)) => asm.$op(k1, xmm(x), y, $imm),
            (Width::W256, Operand::Reg(y)) => asm.$op(k1, ymm(x), ymm(y), $imm),
            (Width::W256, Operand::Mem(y)) => asm.$op(k1, ymm(x), y, $imm),
            (Width::W512, Operand::Reg(y)) => asm.$op(k1, zmm(x), zmm(y), $imm),
            (Width::W512, Operand::Mem(y)) => asm.$op(k1, zmm(x), y, $imm),
        }
    }};
}

/// An instruction of a result and an operand.
macro_rules! two {
    ($encoder:expr, $op:ident, $width:expr, $to:expr, $from:expr $(, $imm:expr)?) => {{
        let (width, to) = ($width, $to);
        let asm = &mut $encoder.asm;
        match (width, $from) {
            (Width::W128, Operand::Reg(from)) => asm.$op(xmm(to), xmm(from) $(, $imm)?),
            (Width::W128, Operand::Mem(from)) => asm.$op(xmm(to), from $(, $imm)?),
            (Width::W256, Operand::Reg(from)) => asm.$op(ymm(to), ymm(from) $(, $imm)?),
            (Width::W256, Operand::Mem(from)) => asm.$op(ymm(to), from $(, $imm)?),
            (Width::W512, Operand::Reg(from)) => asm.$op(zmm(to), zmm(from) $(, $imm)?),
            (Width::W512, Operand::Mem(from)) => asm.$op(zmm(to), from $(, $imm)?),
        }
    }};
}
