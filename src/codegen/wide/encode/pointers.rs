//! Running pointers: their registers and slots, and how loops move them.

use std::collections::HashMap;

use iced_x86::IcedError;
use iced_x86::code_asm::registers::gpr64::*;
use iced_x86::code_asm::{AsmMemoryOperand, AsmRegister64, qword_ptr};

use super::super::code::{Loop, MemoryOperand, Node};
use super::{Done, Encoder};
use crate::loops::pointers::{Computed, Number, Pointer, PointerKind};

impl Encoder<'_> {
    /// Registers for the pointers that an innermost loop uses most.
    pub(super) fn registers_for(&self, inner: &Loop) -> HashMap<Pointer, AsmRegister64> {
        let mut uses: Vec<(usize, Pointer)> = Vec::new();
        count_pointers(&inner.body, &mut uses);
        uses.sort_unstable_by(|a, b| b.cmp(a));
        let registers = [rsi, rdi, r8, r9, r10, r11, r12, r13, r14, rbx];
        uses.into_iter().map(|(_, pointer)| pointer).zip(registers).collect()
    }

    /// The values of pointers when a loop begins.
    pub(super) fn begin_pointers(&mut self, inner: &Loop) -> Done {
        let mut outer: Vec<(Pointer, AsmRegister64)> =
            self.pointers.iter().map(|(pointer, register)| (*pointer, *register)).collect();
        outer.retain(|(pointer, _)| !inner.pointers.contains(pointer));
        outer.sort_unstable_by_key(|(pointer, _)| *pointer);
        for (pointer, register) in outer {
            let slot = self.slot(pointer);
            self.asm.mov(register, qword_ptr(slot))?;
        }
        for pointer in &inner.pointers {
            let PointerKind::Running { from, step } = self.code.pointers[*pointer].kind else { continue };
            let from = self.slot(from);
            self.asm.mov(rax, qword_ptr(from))?;
            if inner.parallel {
                let [start, _] = self.range();
                self.asm.mov(rcx, step)?;
                self.asm.imul_2(rcx, qword_ptr(start))?;
                self.asm.add(rax, rcx)?;
            }
            self.set_pointer(*pointer)?;
        }
        Ok(())
    }

    /// Gives a pointer the value of `rax`.
    fn set_pointer(&mut self, pointer: Pointer) -> Done {
        match self.pointers.get(&pointer) {
            Some(register) => self.asm.mov(*register, rax),
            None => {
                let slot = self.slot(pointer);
                self.asm.mov(qword_ptr(slot), rax)
            }
        }
    }

    pub(super) fn computed_pointers(&mut self, inner: &Loop) -> Done {
        for pointer in &inner.pointers {
            let PointerKind::Computed { from, value, step } = self.code.pointers[*pointer].kind else {
                continue;
            };
            self.value(value)?;
            self.asm.mov(rcx, step)?;
            self.asm.imul_2(rax, rcx)?;
            self.load_pointer(from, rcx)?;
            self.asm.add(rax, rcx)?;
            self.set_pointer(*pointer)?;
        }
        self.held = None;
        Ok(())
    }

    /// The value of a pointer into a register.
    fn load_pointer(&mut self, pointer: Pointer, to: AsmRegister64) -> Done {
        match self.pointers.get(&pointer) {
            Some(register) => self.asm.mov(to, *register),
            None => {
                let slot = self.slot(pointer);
                self.asm.mov(to, qword_ptr(slot))
            }
        }
    }

    /// A number into a register.
    fn load_number(&mut self, Number { pointer, constant }: Number, to: AsmRegister64) -> Done {
        let Some(pointer) = pointer else { return self.asm.mov(to, constant) };
        self.load_pointer(pointer, to)?;
        match i32::try_from(constant) {
            Ok(0) => Ok(()),
            Ok(constant) => self.asm.add(to, constant),
            Err(_) => {
                self.asm.mov(rdx, constant)?;
                self.asm.add(to, rdx)
            }
        }
    }

    /// What is not affine into `rax`; `rcx` and `rdx` are overwritten.
    fn value(&mut self, value: Computed) -> Done {
        match value {
            Computed::Quotient { of, by, .. } => {
                self.load_number(of, rax)?;
                match by.count_ones() {
                    1 => self.asm.sar(rax, by.trailing_zeros()),
                    _ => self.divide(by),
                }
            }
            Computed::Remainder { of, quotient, by } => {
                self.load_pointer(quotient, rax)?;
                self.asm.mov(rcx, by)?;
                self.asm.imul_2(rax, rcx)?;
                self.load_number(of, rcx)?;
                self.asm.sub(rcx, rax)?;
                self.asm.mov(rax, rcx)
            }
            Computed::Min(x, y) => {
                self.both(x, y)?;
                self.asm.cmovl(rax, rcx)
            }
            Computed::Max(x, y) => {
                self.both(x, y)?;
                self.asm.cmovg(rax, rcx)
            }
        }
    }

    /// Divides `rax` by a positive constant, rounding down.
    fn divide(&mut self, by: i64) -> Done {
        self.asm.mov(rcx, by)?;
        self.asm.cqo()?;
        self.asm.idiv(rcx)?;
        let mut done = self.asm.create_label();
        self.asm.test(rdx, rdx)?;
        self.asm.jns(done)?;
        if !planted!("codegen.wide.quotient") {
            self.asm.dec(rax)?;
        }
        self.asm.set_label(&mut done)?;
        self.asm.zero_bytes()
    }

    /// Two numbers compared: the first in `rcx`, the second in `rax`.
    fn both(&mut self, x: Number, y: Number) -> Done {
        self.load_number(x, rcx)?;
        self.load_number(y, rax)?;
        self.asm.cmp(rcx, rax)
    }

    pub(super) fn advance_pointers(&mut self, inner: &Loop) -> Done {
        for pointer in &inner.pointers {
            let PointerKind::Running { step, .. } = self.code.pointers[*pointer].kind else { continue };
            match (self.pointers.get(pointer).copied(), i32::try_from(step)) {
                (Some(register), Ok(step)) => self.asm.add(register, step)?,
                (Some(register), Err(_)) => {
                    self.asm.mov(rcx, step)?;
                    self.asm.add(register, rcx)?;
                }
                (None, _) => {
                    let slot = self.slot(*pointer);
                    self.asm.mov(rcx, step)?;
                    self.asm.add(qword_ptr(slot), rcx)?;
                }
            }
        }
        Ok(())
    }

    /// A place in memory as an operand; `rax` may be overwritten.
    pub(super) fn memory(&mut self, place: MemoryOperand) -> Result<AsmMemoryOperand, IcedError> {
        if let Some(register) = self.pointers.get(&place.pointer) {
            return Ok(*register + place.offset);
        }
        if self.held != Some(place.pointer) {
            let slot = self.slot(place.pointer);
            self.asm.mov(rax, qword_ptr(slot))?;
            self.held = Some(place.pointer);
        }
        Ok(rax + place.offset)
    }
}

fn count_pointers(nodes: &[Node], uses: &mut Vec<(usize, Pointer)>) {
    for node in nodes {
        match node {
            Node::Inst(inst) => {
                let Some(pointer) = inst.pointer() else { continue };
                match uses.iter_mut().find(|(_, known)| *known == pointer) {
                    Some((count, _)) => *count += 1,
                    None => uses.push((1, pointer)),
                }
            }
            Node::Loop(inner) => count_pointers(&inner.body, uses),
            Node::If { then, otherwise, .. } => {
                count_pointers(then, uses);
                count_pointers(otherwise, uses);
            }
        }
    }
}
