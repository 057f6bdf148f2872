//! Addresses: the instructions of running pointers.
//!
//! Which pointers there are, and how each gets its value, says [`PointerTable`](crate::loops::pointers). Here a running
//! one is a parameter of its loop's header, and what is computed once an iteration stands at the top of the loop.

use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, Inst, InstBuilder, MemFlagsData, Value, types};

use super::statement::Lowering;
use crate::loops::pointers::{Computed, Number, Pointer, PointerKind, Root};
use crate::loops::{Axis, Buffer, Index};

/// A loop that is being emitted, or the function around all of them.
pub struct Frame {
    header: Option<Block>,
    /// The jump from the header to the body; what depends on this loop and those around it is inserted before it.
    prelude: Inst,
    /// The axis's first value, if it is not 0.
    start: Option<Value>,
    pub inductions: Vec<Induction>,
}

/// A parameter of a loop's header that grows by a constant with every iteration.
pub struct Induction {
    pub parameter: Value,
    pub initial: Value,
    pub step: i64,
}

impl Frame {
    /// The function itself.
    pub fn root(prelude: Inst) -> Frame {
        Frame { header: None, prelude, start: None, inductions: Vec::new() }
    }

    /// A loop whose axis starts at `start`, or at 0.
    pub fn of_loop(header: Block, prelude: Inst, start: Option<Value>) -> Frame {
        Frame { header: Some(header), start, ..Frame::root(prelude) }
    }
}

/// A pointer and a displacement in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub pointer: Value,
    pub displacement: i32,
}

impl Lowering<'_> {
    /// The address of an element at the current place.
    pub fn address(&mut self, buffer: Buffer, index: &Index) -> Address {
        let pointer = self.pointers.element(buffer, index);
        let pointer = self.pointer(pointer);
        let bytes = index.constant() * self.function.buffers[buffer].dtype.size() as i64;
        let near = if planted!("codegen.cranelift.far") { i64::from(bytes as i32) } else { bytes };
        match i32::try_from(near) {
            Ok(displacement) if displacement.checked_add(MARGIN).is_some() => {
                Address { pointer, displacement }
            }
            _ => {
                let pointer = self.cursor.ins().iadd_imm_s(pointer, bytes);
                Address { pointer, displacement: 0 }
            }
        }
    }

    /// The value of an index at the current place: a constant, or an `i64`.
    pub fn number(&mut self, index: &Index) -> Result<i64, Value> {
        let Number { pointer, constant } = self.pointers.number(index);
        let Some(pointer) = pointer else { return Ok(constant) };
        let varying = self.pointer(pointer);
        match constant {
            0 => Err(varying),
            _ => Err(self.cursor.ins().iadd_imm_s(varying, constant)),
        }
    }

    /// Makes the axis of the innermost loop its first induction, by which the loop ends.
    pub fn open_counter(&mut self, axis: Axis) {
        let counter = self.pointers.counter(axis);
        self.pointer(counter);
    }

    /// The value of a pointer, with the instructions that make it where there are none yet.
    fn pointer(&mut self, pointer: Pointer) -> Value {
        if let Some(value) = self.pointer_values[pointer].expand() {
            return value;
        }
        let data = &self.pointers[pointer];
        let (root, kind, level) = (data.root, data.kind, data.level);
        let value = match kind {
            PointerKind::Root => self.root(root),
            PointerKind::Running { from, step } => self.induction(level, from, step),
            PointerKind::Computed { from, value, step } => {
                let from = self.pointer(from);
                let value = self.computed(level, value);
                self.in_prelude(level, |this| {
                    let offset = this.scaled(value, step);
                    this.cursor.ins().iadd(from, offset)
                })
            }
        };
        self.pointer_values[pointer] = value.into();
        value
    }

    fn root(&mut self, root: Root) -> Value {
        let (table, random) = (self.parameters.buffers, self.parameters.random);
        self.in_prelude(0, |this| match root {
            Root::Zero => this.cursor.ins().iconst(types::I64, 0),
            Root::RandomState => random,
            Root::Buffer(buffer) => {
                let flags = MemFlagsData::trusted().with_readonly();
                this.cursor.ins().load(types::I64, flags, table, 8 * buffer.as_u32() as i32)
            }
        })
    }

    fn induction(&mut self, level: usize, from: Pointer, step: i64) -> Value {
        let from = self.pointer(from);
        let frame = &self.frames[level];
        let header = frame.header.expect("only loops have an axis");
        let initial = match frame.start {
            None => from,
            Some(start) => self.in_prelude(level - 1, |this| {
                let offset = this.scaled(start, step);
                this.cursor.ins().iadd(from, offset)
            }),
        };
        let parameter = self.cursor.func.dfg.append_block_param(header, types::I64);
        self.frames[level].inductions.push(Induction { parameter, initial, step });
        parameter
    }

    fn scaled(&mut self, value: Value, factor: i64) -> Value {
        match factor {
            1 => value,
            _ if factor > 0 && factor.count_ones() == 1 => {
                self.cursor.ins().ishl_imm_u(value, i64::from(factor.trailing_zeros()))
            }
            _ => self.cursor.ins().imul_imm_s(value, factor),
        }
    }

    /// Emits at the end of a loop's prelude.
    fn in_prelude<R>(&mut self, level: usize, emit: impl FnOnce(&mut Self) -> R) -> R {
        let place = self.cursor.position();
        let prelude = self.frames[level].prelude;
        self.cursor.goto_inst(prelude);
        let result = emit(self);
        self.cursor.set_position(place);
        result
    }

    /// The value of a number in the prelude of a loop, which is not outside those it depends on.
    fn operand(&mut self, level: usize, Number { pointer, constant }: Number) -> Value {
        let Some(pointer) = pointer else {
            return self.in_prelude(level, |this| this.cursor.ins().iconst(types::I64, constant));
        };
        let varying = self.pointer(pointer);
        match constant {
            0 => varying,
            _ => self.in_prelude(level, |this| this.cursor.ins().iadd_imm_s(varying, constant)),
        }
    }

    fn computed(&mut self, level: usize, value: Computed) -> Value {
        match value {
            Computed::Quotient { of, by, least, most } => {
                let of = self.operand(level, of);
                self.in_prelude(level, |this| this.quotient(of, by, (least, most)))
            }
            Computed::Remainder { of, quotient, by } => {
                let (of, quotient) = (self.operand(level, of), self.pointer(quotient));
                self.in_prelude(level, |this| {
                    let multiple = this.scaled(quotient, by);
                    this.cursor.ins().isub(of, multiple)
                })
            }
            Computed::Min(x, y) => self.choice(level, x, y, IntCC::SignedLessThan),
            Computed::Max(x, y) => self.choice(level, x, y, IntCC::SignedGreaterThan),
        }
    }

    fn choice(&mut self, level: usize, x: Number, y: Number, condition: IntCC) -> Value {
        let (x, y) = (self.operand(level, x), self.operand(level, y));
        self.in_prelude(level, |this| {
            let first = this.cursor.ins().icmp(condition, x, y);
            this.cursor.ins().select(first, x, y)
        })
    }

    /// Floor division by a positive constant, by shift or by multiplication with the reciprocal.
    ///
    /// For `0 <= x < 2^31` and `k <= 2^(s-31)`, `x / k` is `x * (2^s / k + 1) >> s`: the factor exceeds the true
    /// `2^s / k` by at most 1, which adds at most `x / 2^s < 1 / k` to the quotient. Negative `x` are moved up by a
    /// multiple of `k` before.
    fn quotient(&mut self, x: Value, k: i64, (low, high): (i64, i64)) -> Value {
        if k.count_ones() == 1 {
            return self.cursor.ins().sshr_imm_u(x, i64::from(k.trailing_zeros()));
        }
        let multiples = if planted!("codegen.cranelift.negative") { 0 } else { low.min(0).div_euclid(k) };
        let shift = 31 + i64::from(64 - (k - 1).leading_zeros());
        let moved = self.cursor.ins().iadd_imm_s(x, -multiples * k);
        let quotient = if high - multiples * k < 1 << 31 && k < 1 << 31 {
            let product = self.cursor.ins().imul_imm_s(moved, (1_i64 << shift) / k + 1);
            self.cursor.ins().ushr_imm_u(product, shift)
        } else {
            self.cursor.ins().udiv_imm_u(moved, k)
        };
        self.cursor.ins().iadd_imm_s(quotient, multiples)
    }
}

/// Bytes that may be added to a displacement for the later parts of a vector.
const MARGIN: i32 = 1 << 20;
