//! Addresses: running pointers instead of index arithmetic.
//!
//! The address of an access is a pointer plus a constant displacement. A pointer is named by a [`Key`]: the buffer and
//! the terms of the index that are not constant, so accesses that differ by a constant share one. The pointer of a key
//! belongs to the innermost loop whose axis it mentions: there it is a block parameter that starts at the pointer of
//! the key without that axis and grows by a constant with every iteration. Terms that are not affine are computed
//! once at the top of that loop. An index as a number is a pointer without a buffer, and so is a loop's counter.

use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, Inst, InstBuilder, MemFlagsData, Value, types};

use super::statement::Lowering;
use crate::loops::{Atom, Axis, Buffer, Index};

/// What an axis is at the current place.
#[derive(Clone, Copy, Default, Debug)]
pub enum AxisValue {
    /// Not in scope.
    #[default]
    Free,
    /// Of an unrolled loop.
    Constant(i64),
    /// The axis of the loop `frame`, plus `offset` within an unrolled body.
    Loop { frame: usize, offset: i64 },
}

/// A loop that is being emitted, or the function around all of them.
pub struct Frame {
    header: Option<Block>,
    /// The jump from the header to the body; what depends on this loop and those around it is inserted before it.
    prelude: Inst,
    /// The axis's first value, if it is not 0.
    start: Option<Value>,
    axis: Option<Axis>,
    pub inductions: Vec<Induction>,
    pointers: Vec<(Key, Value)>,
}

/// A parameter of a loop's header that grows by a constant with every iteration.
pub struct Induction {
    pub parameter: Value,
    pub initial: Value,
    /// Growth when the axis grows by 1.
    pub step: i64,
}

impl Frame {
    /// The function itself.
    pub fn root(prelude: Inst) -> Frame {
        Frame { header: None, prelude, start: None, axis: None, inductions: Vec::new(), pointers: Vec::new() }
    }

    /// A loop whose axis starts at `start`, or at 0.
    pub fn of_loop(axis: Axis, header: Block, prelude: Inst, start: Option<Value>) -> Frame {
        Frame { header: Some(header), start, axis: Some(axis), ..Frame::root(prelude) }
    }
}

/// The part of an address that is not constant: a buffer, or none for a number, and terms in elements.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Key {
    buffer: Option<Buffer>,
    terms: Vec<(Atom, i64)>,
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
        let size = self.function.buffers[buffer].dtype.size() as i64;
        let (terms, constant) = self.resolve(index);
        let pointer = self.pointer(Key { buffer: Some(buffer), terms });
        let bytes = constant * size;
        let bytes = if planted!("codegen.cranelift.far") { i64::from(bytes as i32) } else { bytes };
        match i32::try_from(bytes) {
            Ok(displacement) if displacement.checked_add(MARGIN).is_some() => {
                Address { pointer, displacement }
            }
            _ => {
                let pointer = self.cursor.ins().iadd_imm_s(pointer, constant * size);
                Address { pointer, displacement: 0 }
            }
        }
    }

    /// The value of an index at the current place: a constant, or an `i64`.
    pub fn number(&mut self, index: &Index) -> Result<i64, Value> {
        let (terms, constant) = self.resolve(index);
        if terms.is_empty() {
            return Ok(constant);
        }
        let varying = self.pointer(Key { buffer: None, terms });
        match constant {
            0 => Err(varying),
            _ => Err(self.cursor.ins().iadd_imm_s(varying, constant)),
        }
    }

    /// Makes the axis of the innermost loop its first induction, by which the loop ends.
    pub fn open_counter(&mut self, axis: Axis) {
        self.axes[axis] = AxisValue::Loop { frame: self.frames.len() - 1, offset: 0 };
        self.pointer(Key { buffer: None, terms: vec![(Atom::Axis(axis), 1)] });
    }

    /// The terms and the constant of an index once the axes of unrolled loops are numbers.
    fn resolve(&self, index: &Index) -> (Vec<(Atom, i64)>, i64) {
        if !index.is_affine() {
            let resolved = index.substitute(&|axis| self.resolved_axis(axis), &self.function.axes);
            return (resolved.terms().to_vec(), resolved.constant());
        }
        let mut constant = index.constant();
        let mut terms = Vec::with_capacity(index.terms().len());
        for (atom, coefficient) in index.terms() {
            let Atom::Axis(axis) = atom else { unreachable!("the index is affine") };
            match self.axes[*axis] {
                AxisValue::Constant(value) => constant += coefficient * value,
                AxisValue::Loop { offset, .. } => {
                    constant += coefficient * offset;
                    terms.push((atom.clone(), *coefficient));
                }
                AxisValue::Free => panic!("{axis} is not in scope"),
            }
        }
        (terms, constant)
    }

    fn resolved_axis(&self, axis: Axis) -> Option<Index> {
        match self.axes[axis] {
            AxisValue::Constant(value) => Some(Index::from(value)),
            AxisValue::Loop { .. } if planted!("codegen.cranelift.unrolled") => None,
            AxisValue::Loop { offset: 0, .. } => None,
            AxisValue::Loop { offset, .. } => Some(Index::from(axis).offset(offset)),
            AxisValue::Free => panic!("{axis} is not in scope"),
        }
    }

    /// The innermost loop that a term depends on.
    fn frame_of(&self, atom: &Atom) -> usize {
        let mut innermost = 0;
        atom.for_each_axis(&mut |axis| match self.axes[axis] {
            AxisValue::Loop { frame, .. } => innermost = innermost.max(frame),
            AxisValue::Constant(_) | AxisValue::Free => {}
        });
        innermost
    }

    fn pointer(&mut self, key: Key) -> Value {
        let level = key.terms.iter().map(|(atom, _)| self.frame_of(atom)).max().unwrap_or(0);
        if let Some((_, value)) = self.frames[level].pointers.iter().find(|(known, _)| *known == key) {
            return *value;
        }
        let value = match self.innermost_term(&key, level) {
            None => self.base(key.buffer),
            Some(at) => {
                let mut outer = key.clone();
                let (atom, coefficient) = outer.terms.remove(at);
                let outer = self.pointer(outer);
                let step = coefficient * self.size_of(key.buffer);
                if matches!(atom, Atom::Axis(axis) if self.frames[level].axis == Some(axis)) {
                    self.induction(level, outer, step)
                } else {
                    self.offset_pointer(level, outer, &atom, step)
                }
            }
        };
        self.frames[level].pointers.push((key, value));
        value
    }

    /// The term to add last: one that is not affine, else the one of the loop's own axis.
    fn innermost_term(&self, key: &Key, level: usize) -> Option<usize> {
        let of_level = |(_, (atom, _)): &(usize, &(Atom, i64))| self.frame_of(atom) == level;
        let terms = || key.terms.iter().enumerate().filter(of_level);
        let general = terms().find(|(_, (atom, _))| !matches!(atom, Atom::Axis(_)));
        general.or_else(|| terms().next()).map(|(at, _)| at)
    }

    fn size_of(&self, buffer: Option<Buffer>) -> i64 {
        buffer.map_or(1, |buffer| self.function.buffers[buffer].dtype.size() as i64)
    }

    /// The address of a buffer's first element.
    fn base(&mut self, buffer: Option<Buffer>) -> Value {
        let table = self.parameters.buffers;
        self.in_prelude(0, |this| match buffer {
            None => this.cursor.ins().iconst(types::I64, 0),
            Some(buffer) => {
                let flags = MemFlagsData::trusted().with_readonly();
                this.cursor.ins().load(types::I64, flags, table, 8 * buffer.as_u32() as i32)
            }
        })
    }

    fn induction(&mut self, level: usize, outer: Value, step: i64) -> Value {
        let frame = &self.frames[level];
        let header = frame.header.expect("only loops have an axis");
        let initial = match frame.start {
            None => outer,
            Some(start) => self.in_prelude(level - 1, |this| {
                let offset = this.scaled(start, step);
                this.cursor.ins().iadd(outer, offset)
            }),
        };
        let parameter = self.cursor.func.dfg.append_block_param(header, types::I64);
        self.frames[level].inductions.push(Induction { parameter, initial, step });
        parameter
    }

    fn offset_pointer(&mut self, level: usize, outer: Value, atom: &Atom, step: i64) -> Value {
        let value = self.atom(level, atom);
        self.in_prelude(level, |this| {
            let offset = this.scaled(value, step);
            this.cursor.ins().iadd(outer, offset)
        })
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

    /// The value of an index in the prelude of a loop, which is not outside those it depends on.
    fn operand(&mut self, level: usize, index: &Index) -> Value {
        match index.terms() {
            [] => self.in_prelude(level, |this| this.cursor.ins().iconst(types::I64, index.constant())),
            terms => {
                let varying = self.pointer(Key { buffer: None, terms: terms.to_vec() });
                match index.constant() {
                    0 => varying,
                    constant => {
                        self.in_prelude(level, |this| this.cursor.ins().iadd_imm_s(varying, constant))
                    }
                }
            }
        }
    }

    fn atom(&mut self, level: usize, atom: &Atom) -> Value {
        match atom {
            Atom::Axis(_) => unreachable!("an axis belongs to the loop that binds it"),
            Atom::Div(x, k) => self.quotient(level, x, *k),
            Atom::Rem(x, k) => {
                let quotient = self.quotient(level, x, *k);
                let x = self.operand(level, x);
                self.in_prelude(level, |this| {
                    let multiple = this.scaled(quotient, *k);
                    this.cursor.ins().isub(x, multiple)
                })
            }
            Atom::Min(x, y) => self.choice(level, x, y, IntCC::SignedLessThan),
            Atom::Max(x, y) => self.choice(level, x, y, IntCC::SignedGreaterThan),
        }
    }

    fn choice(&mut self, level: usize, x: &Index, y: &Index, condition: IntCC) -> Value {
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
    fn quotient(&mut self, level: usize, x: &Index, k: i64) -> Value {
        let (low, high) = x.range(&self.function.axes);
        let x = self.operand(level, x);
        self.in_prelude(level, |this| {
            if k.count_ones() == 1 {
                return this.cursor.ins().sshr_imm_u(x, i64::from(k.trailing_zeros()));
            }
            let multiples = if planted!("codegen.cranelift.negative") { 0 } else { low.min(0).div_euclid(k) };
            let shift = 31 + i64::from(64 - (k - 1).leading_zeros());
            let moved = this.cursor.ins().iadd_imm_s(x, -multiples * k);
            let quotient = if high - multiples * k < 1 << 31 && k < 1 << 31 {
                let product = this.cursor.ins().imul_imm_s(moved, (1_i64 << shift) / k + 1);
                this.cursor.ins().ushr_imm_u(product, shift)
            } else {
                this.cursor.ins().udiv_imm_u(moved, k)
            };
            this.cursor.ins().iadd_imm_s(quotient, multiples)
        })
    }
}

/// Bytes that may be added to a displacement for the later parts of a vector.
const MARGIN: i32 = 1 << 20;
