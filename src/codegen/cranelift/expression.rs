//! Expressions, one 128-bit part of a vector at a time; loads, stores and calls.
//!
//! A vector of 16 lanes is four parts. Each part is computed on its own from the leaves up, so that few values are
//! alive at once; only what is a scalar in every lane is shared by the parts of a statement.

use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir::types::{F32, F32X4, I8, I32, I32X4, I64};
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, Signature, Value};

use super::address::Address;
use super::statement::Lowering;
use super::unroll::{lanes, parts};
use super::vector;
use crate::base::philox::{self, RandomState};
use crate::loops::{AccessMode, Binary, Buffer, DType, Expr, Index, Scalar, Type};

/// How memory becomes a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Form {
    /// As the load says.
    Plain,
    /// A scalar put into all lanes.
    Splat,
}

impl Lowering<'_> {
    /// One part of an expression: the only one of a scalar, or lanes `4 * part ..` of a vector.
    pub fn part(&mut self, expr: &Expr, part: usize) -> Value {
        match expr {
            Expr::Float(x) => self.cursor.ins().f32const(*x),
            Expr::Int(x) => self.cursor.ins().iconst(I32, i64::from(*x as u32)),
            Expr::Bool(x) => self.cursor.ins().iconst(I8, i64::from(*x)),
            Expr::Local(local) => self.local(*local, part),
            Expr::Number { index, stride, lanes } => self.index_number(index, *stride, *lanes, part),
            Expr::Load { .. } => self.shared(expr, Form::Plain, part),
            Expr::Splat(value, _) => self.splat(value),
            Expr::Unary(op, x) => {
                let x = self.part(x, part);
                vector::unary(&mut self.cursor, *op, x)
            }
            Expr::Binary(op @ (Binary::Shl | Binary::Shr), x, y) => self.shift(*op, x, y, part),
            Expr::Binary(op, x, y) => {
                let (x, y) = (self.part(x, part), self.part(y, part));
                vector::binary(&mut self.cursor, *op, x, y)
            }
            Expr::Fma(x, y, z) => {
                let (x, y, z) = (self.part(x, part), self.part(y, part), self.part(z, part));
                self.fma(x, y, z)
            }
            Expr::Select(condition, x, y) => {
                let (condition, x, y) = (self.part(condition, part), self.part(x, part), self.part(y, part));
                vector::select(&mut self.cursor, condition, x, y)
            }
            Expr::Fold(op, value) => self.fold(*op, value),
            Expr::Uniform { stream, element } => {
                let element = self.part(element, part);
                self.uniform(*stream, element)
            }
        }
    }

    fn index_number(&mut self, index: &Index, stride: i64, lanes: u32, part: usize) -> Value {
        let offsets = [0, 1, 2, 3].map(|lane| (4 * part as i64 + lane) * stride);
        let base = match self.number(index) {
            Ok(constant) if lanes == 1 => return self.cursor.ins().iconst(I32, i64::from(constant as u32)),
            Ok(constant) => {
                return vector::constant(&mut self.cursor, I32X4, offsets.map(|x| (constant + x) as u32));
            }
            Err(base) => self.cursor.ins().ireduce(I32, base),
        };
        if lanes == 1 {
            return base;
        }
        let base = vector::splat(&mut self.cursor, base);
        if offsets == [0; 4] {
            return base;
        }
        let offsets = vector::constant(&mut self.cursor, I32X4, offsets.map(|x| x as u32));
        self.cursor.ins().iadd(base, offsets)
    }

    fn splat(&mut self, value: &Expr) -> Value {
        let at = &mut self.cursor;
        match value {
            Expr::Float(x) => return vector::constant(at, F32X4, [x.to_bits(); 4]),
            Expr::Int(x) => return vector::constant(at, I32X4, [*x as u32; 4]),
            Expr::Bool(x) => return vector::constant(at, I32X4, [if *x { u32::MAX } else { 0 }; 4]),
            Expr::Load { .. } => return self.shared(value, Form::Splat, 0),
            _ => {}
        }
        let known = self.spread.iter().find(|(expr, _)| std::ptr::eq(*expr, value));
        if let Some((_, known)) = known {
            return *known;
        }
        let scalar = self.part(value, 0);
        let result = vector::splat(&mut self.cursor, scalar);
        self.spread.push((value, result));
        result
    }

    /// A part of a load, or of one before it that gives the same.
    fn shared(&mut self, load: &Expr, form: Form, part: usize) -> Value {
        let key = self.loads.number(load).map(|load| (load, form, part));
        if let Some(value) = key.and_then(|key| self.loaded.get(&key)) {
            return *value;
        }
        let value = self.load(load, form, part);
        self.loaded.extend(key.map(|key| (key, value)));
        value
    }

    fn load(&mut self, load: &Expr, form: Form, part: usize) -> Value {
        let Expr::Load { buffer, index, stride, lanes } = load else { unreachable!("{load:?} is no load") };
        let (buffer, size) = (*buffer, self.function.buffers[*buffer].dtype.size() as i64);
        let first = self.address(buffer, index);
        let lane = |this: &mut Self, lane: i64| this.plus(first, (4 * part as i64 + lane) * stride * size);
        match (lanes, stride) {
            (1, _) if form == Form::Plain => self.load_scalar(buffer, first),
            (1, _) | (_, 0) => {
                let scalar = self.load_scalar(buffer, first);
                vector::splat(&mut self.cursor, scalar)
            }
            (_, 1) => {
                let address = lane(self, 0);
                self.load_vector(buffer, address)
            }
            _ => {
                let scalars = [0, 1, 2, 3].map(|k| {
                    let address = lane(self, k);
                    self.load_scalar(buffer, address)
                });
                self.gather(scalars)
            }
        }
    }

    fn load_vector(&mut self, buffer: Buffer, Address { pointer, displacement }: Address) -> Value {
        let flags = self.load_flags(buffer);
        let ins = self.cursor.ins();
        match self.function.buffers[buffer].dtype {
            DType::F32 if self.target.fma() => ins.load(F32X4, flags, pointer, displacement),
            DType::F32 => {
                // Cranelift 0.135 folds a load into `cmpps` even where the address is not aligned, which traps in the
                // encoding without AVX. It does not fold through a change of type, which costs nothing.
                let loaded = ins.load(I32X4, flags, pointer, displacement);
                vector::bits(&mut self.cursor, F32X4, loaded)
            }
            DType::I32 => ins.load(I32X4, flags, pointer, displacement),
            DType::U8 | DType::Bool => {
                let packed = ins.load(I32, flags, pointer, displacement);
                vector::widen_bytes(&mut self.cursor, packed)
            }
        }
    }

    fn load_scalar(&mut self, buffer: Buffer, Address { pointer, displacement }: Address) -> Value {
        let flags = self.load_flags(buffer);
        match self.function.buffers[buffer].dtype {
            DType::F32 => self.cursor.ins().load(F32, flags, pointer, displacement),
            DType::I32 => self.cursor.ins().load(I32, flags, pointer, displacement),
            DType::U8 | DType::Bool => self.cursor.ins().uload8(I32, flags, pointer, displacement),
        }
    }

    fn load_flags(&self, buffer: Buffer) -> MemFlagsData {
        let flags = MemFlagsData::new().with_notrap();
        match self.function.buffers[buffer].access {
            AccessMode::Read => flags.with_readonly(),
            AccessMode::Write | AccessMode::ReadWrite => flags,
        }
    }

    fn gather(&mut self, scalars: [Value; 4]) -> Value {
        let first = vector::splat(&mut self.cursor, scalars[0]);
        let rest = scalars.into_iter().zip(0..).skip(1);
        rest.fold(first, |vector, (scalar, lane)| self.cursor.ins().insertlane(vector, scalar, lane))
    }

    /// Writes all parts of a value.
    pub fn store(&mut self, buffer: Buffer, index: &Index, stride: i64, value: &Expr) {
        let size = self.function.buffers[buffer].dtype.size() as i64;
        let first = self.address(buffer, index);
        let lanes = lanes(self.function, value);
        // All parts are computed before the first is written, as the value may read what is overwritten.
        let values: Vec<Value> =
            (0..parts(lanes)).map(|part| self.stored_part(buffer, value, part)).collect();
        for (part, value) in (0_i64..).zip(values) {
            let lane = |this: &mut Self, lane: i64| this.plus(first, (4 * part + lane) * stride * size);
            match (lanes, stride) {
                (1, _) => self.store_scalar(buffer, first, value),
                (_, 1) => {
                    let address = lane(self, 0);
                    self.store_vector(buffer, address, value);
                }
                _ => (0..4).for_each(|k| {
                    let scalar = self.cursor.ins().extractlane(value, k as u8);
                    let address = lane(self, k);
                    self.store_scalar(buffer, address, scalar);
                }),
            }
        }
    }

    /// A part of a value to be stored; masks become numbers.
    fn stored_part(&mut self, buffer: Buffer, value: &Expr, part: usize) -> Value {
        let result = self.part(value, part);
        let bytes = matches!(self.function.buffers[buffer].dtype, DType::U8 | DType::Bool);
        let truth = |ty: Type| ty.scalar == Scalar::Bool && ty.lanes > 1;
        if !bytes || !self.function.type_of(value).is_ok_and(truth) {
            return result;
        }
        let one = vector::constant(&mut self.cursor, I32X4, [1; 4]);
        self.cursor.ins().band(result, one)
    }

    fn store_scalar(&mut self, buffer: Buffer, address: Address, value: Value) {
        let flags = MemFlagsData::new().with_notrap();
        let Address { pointer, displacement } = address;
        let bytes = self.function.buffers[buffer].dtype.size() == 1;
        match bytes && self.cursor.func.dfg.value_type(value) == I32 {
            true => self.cursor.ins().istore8(flags, value, pointer, displacement),
            false => self.cursor.ins().store(flags, value, pointer, displacement),
        };
    }

    fn store_vector(&mut self, buffer: Buffer, address: Address, value: Value) {
        let flags = MemFlagsData::new().with_notrap();
        let Address { pointer, displacement } = address;
        let value = match self.function.buffers[buffer].dtype {
            DType::F32 | DType::I32 => value,
            DType::U8 | DType::Bool => vector::narrow_to_bytes(&mut self.cursor, value),
        };
        self.cursor.ins().store(flags, value, pointer, displacement);
    }

    /// Cranelift shifts all lanes alike.
    fn shift(&mut self, op: Binary, x: &Expr, y: &Expr, part: usize) -> Value {
        let x = self.part(x, part);
        if let Expr::Splat(amount, _) = y {
            let amount = self.part(amount, 0);
            return vector::binary(&mut self.cursor, op, x, amount);
        }
        let y = self.part(y, part);
        if !self.cursor.func.dfg.value_type(x).is_vector() {
            return vector::binary(&mut self.cursor, op, x, y);
        }
        self.by_lane([x, y], |this, [x, y]| vector::binary(&mut this.cursor, op, x, y))
    }

    fn fma(&mut self, x: Value, y: Value, z: Value) -> Value {
        if self.target.fma() {
            return self.cursor.ins().fma(x, y, z);
        }
        self.by_lane([x, y, z], |this, factors| {
            let address = fused_multiply_add as *const () as i64;
            this.call(address, &factors)
        })
    }

    fn fold(&mut self, op: crate::loops::Fold, value: &Expr) -> Value {
        let count = parts(lanes(self.function, value));
        let mut values: Vec<Value> = (0..count).map(|part| self.part(value, part)).collect();
        while values.len() > 1 {
            let upper = values.split_off(values.len() / 2);
            for (low, high) in values.iter_mut().zip(upper) {
                *low = vector::binary(&mut self.cursor, vector::fold_operation(op), *low, high);
            }
        }
        vector::fold(&mut self.cursor, op, values[0])
    }

    fn uniform(&mut self, stream: u32, element: Value) -> Value {
        let random = self.parameters.random;
        let stream = self.cursor.ins().iconst(I32, i64::from(stream));
        let address = draw_uniform as *const () as i64;
        self.by_lane([element], |this, [element]| this.call(address, &[random, stream, element]))
    }

    /// Applies a scalar function that gives `f32` or `i32` to every lane of vectors, or once to scalars.
    fn by_lane<const N: usize>(
        &mut self,
        operands: [Value; N],
        mut apply: impl FnMut(&mut Self, [Value; N]) -> Value,
    ) -> Value {
        if !self.cursor.func.dfg.value_type(operands[0]).is_vector() {
            return apply(self, operands);
        }
        let lanes = [0, 1, 2, 3].map(|lane| {
            let scalars = operands.map(|operand| self.cursor.ins().extractlane(operand, lane));
            apply(self, scalars)
        });
        self.gather(lanes)
    }

    /// The address so many bytes further, by another pointer where a displacement cannot say it.
    fn plus(&mut self, Address { pointer, displacement }: Address, bytes: i64) -> Address {
        let total = i64::from(displacement) + bytes;
        match i32::try_from(total) {
            Ok(displacement) => Address { pointer, displacement },
            Err(_) => Address { pointer: self.cursor.ins().iadd_imm_s(pointer, total), displacement: 0 },
        }
    }

    /// Calls a function of the host that returns an `f32`.
    fn call(&mut self, address: i64, arguments: &[Value]) -> Value {
        let at = &mut self.cursor;
        let mut signature = Signature::new(self.call_conv);
        let types = arguments.iter().map(|value| AbiParam::new(at.func.dfg.value_type(*value)));
        signature.params.extend(types);
        signature.returns.push(AbiParam::new(F32));
        let signature = import(at, signature);
        let callee = at.ins().iconst(I64, address);
        let call = at.ins().call_indirect(signature, callee, arguments);
        at.func.dfg.first_result(call)
    }
}

/// The entry of a signature in the function's table, which holds each once.
fn import(at: &mut FuncCursor, signature: Signature) -> ir::SigRef {
    let known = at.func.dfg.signatures.iter().find(|(_, known)| **known == signature);
    match known.map(|(reference, _)| reference) {
        Some(reference) => reference,
        None => at.func.import_signature(signature),
    }
}

/// `base::philox::uniform`, for compiled code.
extern "C" fn draw_uniform(state: *const RandomState, stream: u32, element: u32) -> f32 {
    // SAFETY: compiled code passes on the pointer that `Kernel::call` made from a reference.
    philox::uniform(unsafe { *state }, stream, element)
}

/// `a * b + c` with one rounding, where the machine has no instruction for it.
extern "C" fn fused_multiply_add(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}
