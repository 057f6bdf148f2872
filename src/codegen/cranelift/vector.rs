//! Operations on one 128-bit value or one scalar, as Cranelift IR.
//!
//! A truth value is an `i8` of 0 or 1 as a scalar and a mask of all-zeros or all-ones `i32`s as a vector.

use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I8X16, I32, I32X4};
use cranelift_codegen::ir::{ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value};

use crate::loops::{Binary, Fold, Unary};

/// The bits of a value as another type of the same size.
pub fn bits(at: &mut FuncCursor, ty: Type, x: Value) -> Value {
    if at.func.dfg.value_type(x) == ty {
        return x;
    }
    at.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), x)
}

/// A constant vector.
pub fn constant(at: &mut FuncCursor, ty: Type, lanes: [u32; 4]) -> Value {
    let bytes: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
    let constant = at.func.dfg.constants.insert(ConstantData::from(bytes));
    at.ins().vconst(ty, constant)
}

/// A scalar in all four lanes; a truth value becomes a mask.
pub fn splat(at: &mut FuncCursor, x: Value) -> Value {
    match at.func.dfg.value_type(x) {
        F32 => at.ins().splat(F32X4, x),
        I32 => at.ins().splat(I32X4, x),
        _ => {
            let wide = at.ins().uextend(I32, x);
            let mask = at.ins().ineg(wide);
            at.ins().splat(I32X4, mask)
        }
    }
}

/// A function of one value.
pub fn unary(at: &mut FuncCursor, op: Unary, x: Value) -> Value {
    let vector = at.func.dfg.value_type(x).is_vector();
    let (float, int) = if vector { (F32X4, I32X4) } else { (F32, I32) };
    match op {
        Unary::Neg => at.ins().fneg(x),
        Unary::Abs => at.ins().fabs(x),
        Unary::Sqrt => at.ins().sqrt(x),
        Unary::Floor => at.ins().floor(x),
        Unary::Not if vector => at.ins().bnot(x),
        Unary::Not => at.ins().bxor_imm_u(x, 1),
        Unary::ToFloat => at.ins().fcvt_from_sint(float, x),
        Unary::ToInt => at.ins().fcvt_to_sint_sat(int, x),
        Unary::ToBits => bits(at, int, x),
        Unary::FromBits => bits(at, float, x),
        // What this compiles by rearranges nothing.
        Unary::Fence => x,
    }
}

/// A function of two values, other than a shift of a vector.
pub fn binary(at: &mut FuncCursor, op: Binary, x: Value, y: Value) -> Value {
    match at.func.dfg.value_type(x).lane_type() {
        F32 => float_binary(at, op, x, y),
        _ => int_binary(at, op, x, y),
    }
}

fn float_binary(at: &mut FuncCursor, op: Binary, x: Value, y: Value) -> Value {
    match op {
        Binary::Add => at.ins().fadd(x, y),
        Binary::Sub => at.ins().fsub(x, y),
        Binary::Mul => at.ins().fmul(x, y),
        Binary::Div => at.ins().fdiv(x, y),
        Binary::Min => minimum(at, x, y),
        Binary::Max => maximum(at, x, y),
        Binary::Eq => at.ins().fcmp(FloatCC::Equal, x, y),
        Binary::Ne => at.ins().fcmp(FloatCC::NotEqual, x, y),
        Binary::Lt => at.ins().fcmp(FloatCC::LessThan, x, y),
        Binary::Le => at.ins().fcmp(FloatCC::LessThanOrEqual, x, y),
        Binary::Gt => at.ins().fcmp(FloatCC::LessThan, y, x),
        Binary::Ge => at.ins().fcmp(FloatCC::LessThanOrEqual, y, x),
        Binary::And | Binary::Or | Binary::Shl | Binary::Shr => unreachable!("{op:?} of f32 is ill-typed"),
    }
}

fn int_binary(at: &mut FuncCursor, op: Binary, x: Value, y: Value) -> Value {
    match op {
        Binary::Add => at.ins().iadd(x, y),
        Binary::Sub => at.ins().isub(x, y),
        Binary::Mul => at.ins().imul(x, y),
        Binary::Min => at.ins().smin(x, y),
        Binary::Max => at.ins().smax(x, y),
        Binary::Eq => at.ins().icmp(IntCC::Equal, x, y),
        Binary::Ne => at.ins().icmp(IntCC::NotEqual, x, y),
        Binary::Lt => at.ins().icmp(IntCC::SignedLessThan, x, y),
        Binary::Le => at.ins().icmp(IntCC::SignedLessThanOrEqual, x, y),
        Binary::Gt => at.ins().icmp(IntCC::SignedGreaterThan, x, y),
        Binary::Ge => at.ins().icmp(IntCC::SignedGreaterThanOrEqual, x, y),
        Binary::And => at.ins().band(x, y),
        Binary::Or => at.ins().bor(x, y),
        Binary::Shl => at.ins().ishl(x, y),
        Binary::Shr => at.ins().sshr(x, y),
        Binary::Div => unreachable!("division of i32 is ill-typed"),
    }
}

/// The second where the first is true, else the third.
pub fn select(at: &mut FuncCursor, condition: Value, x: Value, y: Value) -> Value {
    let ty = at.func.dfg.value_type(x);
    if !ty.is_vector() {
        return at.ins().select(condition, x, y);
    }
    let mask = bits(at, ty, condition);
    at.ins().bitselect(mask, x, y)
}

/// `x < y ? x : y`, which is one instruction on x86-64.
fn less(at: &mut FuncCursor, x: Value, y: Value) -> Value {
    let condition = at.ins().fcmp(FloatCC::LessThan, x, y);
    select(at, condition, x, y)
}

/// `x > y ? x : y`, which is one instruction on x86-64.
fn greater(at: &mut FuncCursor, x: Value, y: Value) -> Value {
    let condition = at.ins().fcmp(FloatCC::LessThan, y, x);
    select(at, condition, x, y)
}

/// The smaller one. In both orders the machine's minimum gives the same, but for NaN and for zeros of two signs, where
/// it gives its second operand: there the union of the bits is a NaN and -0.
fn minimum(at: &mut FuncCursor, x: Value, y: Value) -> Value {
    if cfg!(not(target_arch = "x86_64")) || !at.func.dfg.value_type(x).is_vector() {
        return at.ins().fmin(x, y);
    }
    let (one, other) = (less(at, x, y), less(at, y, x));
    at.ins().bor(one, other)
}

/// The larger one: as the smaller one, but that zeros of two signs need the intersection of the bits, and so NaN a
/// mask of its own.
fn maximum(at: &mut FuncCursor, x: Value, y: Value) -> Value {
    if cfg!(not(target_arch = "x86_64")) || !at.func.dfg.value_type(x).is_vector() {
        return at.ins().fmax(x, y);
    }
    let (one, other) = (greater(at, x, y), greater(at, y, x));
    let both = at.ins().band(one, other);
    if planted!("codegen.cranelift.maximum") {
        return both;
    }
    let nan = at.ins().fcmp(FloatCC::Unordered, x, y);
    let nan = bits(at, F32X4, nan);
    at.ins().bor(both, nan)
}

/// The four lanes joined: 0 with 2 and 1 with 3, then those.
pub fn fold(at: &mut FuncCursor, op: Fold, x: Value) -> Value {
    let op = fold_operation(op);
    let upper = swap_halves(at, x);
    let pairs = binary(at, op, x, upper);
    let (first, second) = (at.ins().extractlane(pairs, 0), at.ins().extractlane(pairs, 1));
    match op {
        Binary::Min | Binary::Max => {
            let (first, second) = (splat(at, first), splat(at, second));
            let joined = binary(at, op, first, second);
            at.ins().extractlane(joined, 0)
        }
        _ => binary(at, op, first, second),
    }
}

/// The operation that joins two lanes.
pub fn fold_operation(op: Fold) -> Binary {
    match op {
        Fold::Sum => Binary::Add,
        Fold::Prod => Binary::Mul,
        Fold::Max => Binary::Max,
        Fold::Min => Binary::Min,
    }
}

fn swap_halves(at: &mut FuncCursor, x: Value) -> Value {
    let mask: Vec<u8> = (8..16).chain(0..8).collect();
    let mask = at.func.dfg.immediates.push(ConstantData::from(mask));
    let x = bits(at, I8X16, x);
    let swapped = at.ins().shuffle(x, x, mask);
    bits(at, F32X4, swapped)
}

/// Four bytes, in the low end of an `i32`, as four `i32`s.
pub fn widen_bytes(at: &mut FuncCursor, packed: Value) -> Value {
    let vector = at.ins().scalar_to_vector(I32X4, packed);
    let bytes = bits(at, I8X16, vector);
    let halves = at.ins().uwiden_low(bytes);
    at.ins().uwiden_low(halves)
}

/// The low bytes of four `i32`s, in an `i32`.
pub fn narrow_to_bytes(at: &mut FuncCursor, x: Value) -> Value {
    let mask = constant(at, I32X4, [0xff; 4]);
    let masked = at.ins().band(x, mask);
    let halves = at.ins().snarrow(masked, masked);
    let bytes = at.ins().unarrow(halves, halves);
    let vector = bits(at, I32X4, bytes);
    at.ins().extractlane(vector, 0)
}
