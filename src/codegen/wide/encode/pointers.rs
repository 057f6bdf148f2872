//! Running pointers: their registers and slots, and how loops move them.

use std::collections::HashMap;

use iced_x86::IcedError;
use iced_x86::code_asm::registers::gpr64::*;
use iced_x86::code_asm::{AsmMemoryOperand, AsmRegister64, qword_ptr};

use super::super::code::{Loop, MemoryOperand, Node, PointerId, PointerKind};
use super::{Done, Encoder};
use crate::loops::{Atom, Axis, Index};

impl Encoder<'_> {
    /// Registers for the pointers that an innermost loop uses most.
    pub(super) fn registers_for(&self, inner: &Loop) -> HashMap<PointerId, AsmRegister64> {
        let mut uses: Vec<(usize, PointerId)> = Vec::new();
        count_pointers(&inner.body, &mut uses);
        uses.sort_unstable_by(|a, b| b.cmp(a));
        let registers = [rsi, rdi, r8, r9, r10, r11, r12, r13, r14, rbx];
        uses.into_iter().map(|(_, pointer)| pointer).zip(registers).collect()
    }

    /// The values of pointers when a loop begins.
    pub(super) fn begin_pointers(&mut self, inner: &Loop) -> Done {
        let mut outer: Vec<(PointerId, AsmRegister64)> =
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
    fn set_pointer(&mut self, pointer: PointerId) -> Done {
        match self.pointers.get(&pointer) {
            Some(register) => self.asm.mov(*register, rax),
            None => {
                let slot = self.slot(pointer);
                self.asm.mov(qword_ptr(slot), rax)
            }
        }
    }

    pub(super) fn computed_pointers(&mut self, inner: &Loop) -> Done {
        let code = self.code;
        for pointer in &inner.pointers {
            let PointerKind::Computed { from, terms, axes } = &code.pointers[*pointer].kind else { continue };
            self.load_pointer(*from)?;
            self.sum(terms, axes)?;
            self.set_pointer(*pointer)?;
        }
        self.held = None;
        Ok(())
    }

    /// The value of a pointer into `rax`.
    fn load_pointer(&mut self, pointer: PointerId) -> Done {
        match self.pointers.get(&pointer) {
            Some(register) => self.asm.mov(rax, *register),
            None => {
                let slot = self.slot(pointer);
                self.asm.mov(rax, qword_ptr(slot))
            }
        }
    }

    /// Adds terms to `rax`.
    fn sum(&mut self, terms: &[(Atom, i64)], axes: &[(Axis, PointerId)]) -> Done {
        for (atom, coefficient) in terms {
            self.asm.push(rax)?;
            self.atom(atom, axes)?;
            self.asm.mov(rcx, *coefficient)?;
            self.asm.imul_2(rax, rcx)?;
            self.asm.pop(rcx)?;
            self.asm.add(rax, rcx)?;
        }
        Ok(())
    }

    /// The value of an index into `rax`.
    fn index(&mut self, index: &Index, axes: &[(Axis, PointerId)]) -> Done {
        self.asm.mov(rax, index.constant())?;
        self.sum(index.terms(), axes)
    }

    fn atom(&mut self, atom: &Atom, axes: &[(Axis, PointerId)]) -> Done {
        match atom {
            Atom::Axis(axis) => {
                let (_, number) = axes.iter().find(|(known, _)| known == axis).expect("a mentioned axis");
                self.load_pointer(*number)
            }
            Atom::Div(x, by) => {
                self.divide(x, *by, axes)?;
                let mut done = self.asm.create_label();
                self.asm.test(rdx, rdx)?;
                self.asm.jns(done)?;
                if !planted!("codegen.wide.quotient") {
                    self.asm.dec(rax)?;
                }
                self.asm.set_label(&mut done)?;
                self.asm.zero_bytes()
            }
            Atom::Rem(x, by) => {
                self.divide(x, *by, axes)?;
                let mut done = self.asm.create_label();
                self.asm.mov(rax, rdx)?;
                self.asm.test(rax, rax)?;
                self.asm.jns(done)?;
                self.asm.add(rax, rcx)?;
                self.asm.set_label(&mut done)?;
                self.asm.zero_bytes()
            }
            Atom::Min(x, y) => {
                self.both(x, y, axes)?;
                self.asm.cmovl(rax, rcx)
            }
            Atom::Max(x, y) => {
                self.both(x, y, axes)?;
                self.asm.cmovg(rax, rcx)
            }
        }
    }

    /// Divides towards zero: the quotient in `rax`, the remainder in `rdx`, the divisor in `rcx`.
    fn divide(&mut self, x: &Index, by: i64, axes: &[(Axis, PointerId)]) -> Done {
        self.index(x, axes)?;
        self.asm.mov(rcx, by)?;
        self.asm.cqo()?;
        self.asm.idiv(rcx)
    }

    /// Two indices compared: the first in `rcx`, the second in `rax`.
    fn both(&mut self, x: &Index, y: &Index, axes: &[(Axis, PointerId)]) -> Done {
        self.index(x, axes)?;
        self.asm.push(rax)?;
        self.index(y, axes)?;
        self.asm.pop(rcx)?;
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

fn count_pointers(nodes: &[Node], uses: &mut Vec<(usize, PointerId)>) {
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
