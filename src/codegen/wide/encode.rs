//! From instructions on virtual registers to machine code.
//!
//! The frame of a function holds every pointer, the counters of the outer loops and the vectors that found no register.
//! In an innermost loop the pointers that are used most and the counter have registers.

#[macro_use]
mod macros;
mod access;
mod compute;
mod pointers;

use std::collections::HashMap;

use iced_x86::code_asm::registers::{gpr32::*, gpr64::*};
use iced_x86::code_asm::{
    AsmMemoryOperand, AsmRegister64, AsmRegisterXmm, AsmRegisterYmm, AsmRegisterZmm, CodeAssembler,
    CodeLabel, dword_bcst, get_xmm, get_ymm, get_zmm, ptr, qword_ptr,
};
use iced_x86::{BlockEncoderOptions, BlockEncoderResult, IcedError, Instruction, Register};

use super::code::{Code, ConstantId, Inst, Loop, Node, Reg, Source, VectorOp, Width};
use super::registers::{Assignment, Location, SPARES, Spares, assign};
use crate::loops::pointers::{Pointer, PointerKind, Root};
use crate::loops::{Fold, Unary};

/// Bytes of the frame above the first slot: the saved registers.
const SAVED: i32 = 40;
/// Bytes of a page of the stack.
const PAGE: i32 = 4096;
/// Bytes of a slot for a vector.
const VECTOR: i32 = 64;

/// What becomes of a function.
pub struct Encoded {
    /// Instructions, and constants from a cache line on.
    pub bytes: Vec<u8>,
    /// Bytes of instructions.
    pub instructions: usize,
}

/// The machine code of a function.
///
/// # Errors
///
/// What the assembler refuses.
pub fn encode(code: &Code, registers: u8, evex: bool) -> Result<Encoded, IcedError> {
    let mut encoder = Encoder::new(code, registers, evex)?;
    encoder.function()?;
    encoder.finish()
}

/// What an instruction reads last.
#[derive(Clone, Copy)]
enum Operand {
    Reg(u8),
    Mem(AsmMemoryOperand),
}

fn xmm(register: u8) -> AsmRegisterXmm {
    get_xmm(Register::XMM0 + u32::from(register)).expect("one of 32")
}

fn ymm(register: u8) -> AsmRegisterYmm {
    get_ymm(Register::YMM0 + u32::from(register)).expect("one of 32")
}

fn zmm(register: u8) -> AsmRegisterZmm {
    get_zmm(Register::ZMM0 + u32::from(register)).expect("one of 32")
}

type Done = Result<(), IcedError>;

struct Encoder<'c> {
    asm: CodeAssembler,
    code: &'c Code,
    assignment: Assignment,
    /// Whether there are masks and 32 registers.
    evex: bool,
    /// Instructions and branches written so far.
    instructions: usize,
    /// What the one at hand has beside the registers of its values.
    spares: [u8; SPARES as usize],
    /// The constants with the labels of their places.
    constants: Vec<(Vec<u32>, CodeLabel)>,
    /// Constants of the encoder's own, by the bits of the even and of the odd lanes.
    own: HashMap<[u32; 2], usize>,
    /// The registers of pointers in the innermost loop at hand.
    pointers: HashMap<Pointer, AsmRegister64>,
    /// The pointer that `rax` holds.
    held: Option<Pointer>,
    /// Counters of outer loops so far.
    counters: i32,
    loops: i32,
}

impl<'c> Encoder<'c> {
    fn new(code: &'c Code, registers: u8, evex: bool) -> Result<Encoder<'c>, IcedError> {
        let mut asm = CodeAssembler::new(64)?;
        asm.set_prefer_vex(!evex);
        let assignment = assign(code, registers, &|inst, spilled| all_spares(inst, spilled, evex));
        let mut constants = Vec::new();
        for lanes in &code.constants {
            constants.push((lanes.clone(), asm.create_label()));
        }
        Ok(Encoder {
            asm,
            code,
            assignment,
            evex,
            instructions: 0,
            spares: [0; SPARES as usize],
            constants,
            own: HashMap::new(),
            pointers: HashMap::new(),
            held: None,
            counters: 0,
            loops: count_loops(&code.body),
        })
    }

    /// The bytes, with the constants behind the code.
    fn finish(&mut self) -> Result<Encoded, IcedError> {
        // The longest first: each then lies at a multiple of its length.
        self.constants.sort_by_key(|(lanes, _)| std::cmp::Reverse(lanes.len()));
        let mut pool = 0;
        for (lanes, label) in &mut self.constants {
            self.asm.set_label(label)?;
            let bytes: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
            self.asm.db(&bytes)?;
            pool += bytes.len();
        }
        let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS
            | BlockEncoderOptions::RETURN_CONSTANT_OFFSETS;
        let encoded = self.asm.assemble_options(0, options)?.inner;
        Ok(with_aligned_pool(self.asm.instructions(), encoded, pool))
    }

    fn function(&mut self) -> Done {
        self.asm.push(rbp)?;
        self.asm.mov(rbp, rsp)?;
        for register in [rbx, r12, r13, r14, r15] {
            self.asm.push(register)?;
        }
        let words = SAVED + 8 * self.word_slots();
        // A vector that crosses cache lines takes twice as long to write.
        self.reserve(words + VECTOR * (self.assignment.slots as i32 + 1))?;
        self.asm.and(rsp, -VECTOR)?;
        let [start, end] = self.range();
        self.asm.mov(qword_ptr(start), rdx)?;
        self.asm.mov(qword_ptr(end), rcx)?;
        for (pointer, data) in &self.code.pointers {
            if data.kind != PointerKind::Root {
                continue;
            }
            match data.root {
                Root::Buffer(buffer) => self.asm.mov(rax, qword_ptr(rdi + 8 * buffer.as_u32() as i32))?,
                Root::Zero => self.asm.xor(eax, eax)?,
                Root::RandomState => self.asm.mov(rax, rsi)?,
            }
            let slot = self.slot(pointer);
            self.asm.mov(qword_ptr(slot), rax)?;
        }
        let code = self.code;
        self.nodes(&code.body)?;
        self.asm.vzeroupper()?;
        self.asm.lea(rsp, rbp - SAVED)?;
        for register in [r15, r14, r13, r12, rbx, rbp] {
            self.asm.pop(register)?;
        }
        self.asm.ret()
    }

    /// Takes bytes of the stack. Every page is touched, as the one below the stack guards it.
    fn reserve(&mut self, bytes: i32) -> Done {
        for _ in 0..bytes / PAGE {
            self.asm.sub(rsp, PAGE)?;
            self.asm.test(qword_ptr(rsp), rsp)?;
        }
        self.asm.sub(rsp, bytes % PAGE)
    }

    // The frame, downwards from the saved registers: pointers, counters, the caller's range. At its end vectors.

    fn word_slot(&self, at: i32) -> AsmMemoryOperand {
        rbp - (SAVED + 8 * (at + 1))
    }

    fn slot(&self, pointer: Pointer) -> AsmMemoryOperand {
        self.word_slot(pointer.as_u32() as i32)
    }

    fn counter(&mut self) -> AsmMemoryOperand {
        self.counters += 1;
        self.word_slot(self.code.pointers.len() as i32 + self.counters - 1)
    }

    fn range(&self) -> [AsmMemoryOperand; 2] {
        let first = self.code.pointers.len() as i32 + self.loops;
        [self.word_slot(first), self.word_slot(first + 1)]
    }

    fn word_slots(&self) -> i32 {
        self.code.pointers.len() as i32 + self.loops + 2
    }

    fn vector_slot(&self, slot: usize) -> AsmMemoryOperand {
        rsp + VECTOR * slot as i32
    }

    fn nodes(&mut self, nodes: &[Node]) -> Done {
        for node in nodes {
            match node {
                Node::Inst(inst) => self.inst(inst)?,
                Node::Loop(inner) => self.for_loop(inner)?,
                Node::If { condition, then, otherwise } => self.branch(*condition, then, otherwise)?,
            }
        }
        Ok(())
    }

    fn branch(&mut self, condition: Reg, then: &[Node], otherwise: &[Node]) -> Done {
        let (mut skip, mut end) = (self.asm.create_label(), self.asm.create_label());
        self.take_spares();
        let condition = self.read(condition, 0)?;
        self.asm.vmovd(ecx, xmm(condition))?;
        self.asm.test(ecx, ecx)?;
        self.asm.je(skip)?;
        self.held = None;
        self.nodes(then)?;
        self.asm.jmp(end)?;
        self.asm.set_label(&mut skip)?;
        self.asm.zero_bytes()?;
        self.held = None;
        self.nodes(otherwise)?;
        self.asm.set_label(&mut end)?;
        self.asm.zero_bytes()?;
        self.held = None;
        Ok(())
    }

    fn for_loop(&mut self, inner: &Loop) -> Done {
        let innermost = inner.is_innermost();
        let (mut top, mut end) = (self.asm.create_label(), self.asm.create_label());
        self.held = None;
        if innermost {
            self.pointers = self.registers_for(inner);
        }
        let counter = self.counter();
        if inner.parallel {
            let [start, stop] = self.range();
            self.asm.mov(rcx, qword_ptr(stop))?;
            self.asm.sub(rcx, qword_ptr(start))?;
            self.asm.jle(end)?;
            self.asm.mov(qword_ptr(counter), rcx)?;
        } else if !innermost {
            self.asm.mov(rcx, inner.extent)?;
            self.asm.mov(qword_ptr(counter), rcx)?;
        }
        self.begin_pointers(inner)?;
        match (innermost, inner.parallel) {
            (true, true) => self.asm.mov(r15, qword_ptr(counter))?,
            (true, false) => self.asm.mov(r15, inner.extent)?,
            (false, _) => {}
        }
        self.asm.set_label(&mut top)?;
        self.held = None;
        self.computed_pointers(inner)?;
        self.nodes(&inner.body)?;
        self.advance_pointers(inner)?;
        match innermost {
            true => self.asm.dec(r15)?,
            false => self.asm.dec(qword_ptr(counter))?,
        }
        self.asm.jne(top)?;
        self.asm.set_label(&mut end)?;
        self.asm.zero_bytes()?;
        self.held = None;
        if innermost {
            self.pointers.clear();
        }
        Ok(())
    }

    /// The spare registers of the next instruction or branch.
    fn take_spares(&mut self) {
        self.spares = self.assignment.spares[self.instructions];
        self.instructions += 1;
    }

    fn width(&self, reg: Reg) -> Width {
        self.code.widths[reg]
    }

    fn spare(&self, which: u8) -> u8 {
        self.spares[usize::from(which)]
    }

    /// The machine register of a value; one that lives in memory is loaded into a spare register.
    fn read(&mut self, reg: Reg, spare: u8) -> Result<u8, IcedError> {
        match self.assignment.locations[reg] {
            Location::Register(register) => Ok(register),
            Location::Slot(slot) => {
                let (slot, spare) = (self.vector_slot(slot), self.spare(spare));
                two!(self, vmovups, self.width(reg), spare, Operand::Mem(ptr(slot)))?;
                Ok(spare)
            }
            Location::Origin(place) => {
                let (place, spare) = (self.memory(place)?, self.spare(spare));
                two!(self, vmovups, self.width(reg), spare, Operand::Mem(ptr(place)))?;
                Ok(spare)
            }
        }
    }

    /// The machine register to set for a value; [`Self::commit`] follows.
    fn target(&self, reg: Reg) -> u8 {
        match self.assignment.locations[reg] {
            Location::Register(register) => register,
            Location::Slot(_) | Location::Origin(_) => self.spare(2),
        }
    }

    /// Writes a value that lives in memory.
    fn commit(&mut self, reg: Reg, register: u8) -> Done {
        let Location::Slot(slot) = self.assignment.locations[reg] else { return Ok(()) };
        let slot = self.vector_slot(slot);
        self.store_vector(self.width(reg), ptr(slot), register)
    }

    fn constant(&self, constant: ConstantId) -> Operand {
        Operand::Mem(ptr(self.constants[constant].1))
    }

    /// A constant that the encoder itself needs, in all lanes.
    fn bits(&mut self, bits: u32) -> Operand {
        self.lanes([bits; 2])
    }

    /// The same with constants for the even and for the odd lanes.
    fn lanes(&mut self, bits: [u32; 2]) -> Operand {
        let at = match self.own.get(&bits) {
            Some(at) => *at,
            None => {
                let label = self.asm.create_label();
                self.constants.push((bits.repeat(Width::W512.lanes() / 2), label));
                self.own.insert(bits, self.constants.len() - 1);
                self.constants.len() - 1
            }
        };
        self.constant(at)
    }

    fn operand(&mut self, source: Source) -> Result<Operand, IcedError> {
        Ok(match source {
            Source::Reg(reg) => match self.assignment.locations[reg] {
                Location::Register(register) => Operand::Reg(register),
                Location::Slot(slot) => Operand::Mem(ptr(self.vector_slot(slot))),
                Location::Origin(place) => Operand::Mem(ptr(self.memory(place)?)),
            },
            Source::MemoryOperand(place) => Operand::Mem(ptr(self.memory(place)?)),
            Source::Broadcast(place) => Operand::Mem(dword_bcst(self.memory(place)?)),
            Source::Constant(constant) => self.constant(constant),
        })
    }

    /// An operand in a register.
    fn in_register(&mut self, operand: Operand, width: Width, spare: u8) -> Result<u8, IcedError> {
        match operand {
            Operand::Reg(register) => Ok(register),
            from => {
                let spare = self.spare(spare);
                two!(self, vmovups, width, spare, from)?;
                Ok(spare)
            }
        }
    }

    fn inst(&mut self, inst: &Inst) -> Done {
        self.take_spares();
        match inst.target() {
            // It is read where it came from.
            Some(to) if matches!(self.assignment.locations[to], Location::Origin(_)) => Ok(()),
            Some(to) => {
                let register = self.target(to);
                self.compute(inst, register, self.width(to))?;
                self.commit(to, register)
            }
            None => self.store(inst),
        }
    }
}

/// The spare registers that an instruction uses, given which values live in memory.
pub fn all_spares(inst: &Inst, spilled: &[bool], evex: bool) -> Spares {
    spares(inst, evex) | moves(inst, spilled)
}

/// The spare registers that an instruction uses where its values are in registers.
fn spares(inst: &Inst, evex: bool) -> Spares {
    let is_reg = |source: &Source| matches!(source, Source::Reg(_));
    match inst {
        Inst::VectorOp { op: VectorOp::MaxF, .. } | Inst::Fold { op: Fold::Max, .. } if !evex => 0b11111,
        Inst::VectorOp { op: VectorOp::MaxF | VectorOp::MinF | VectorOp::MulHigh, .. }
        | Inst::Fold { op: Fold::Max | Fold::Min, .. }
        | Inst::Unary { op: Unary::ToInt, .. } => 0b1111,
        Inst::Fold { .. } | Inst::Scatter { .. } => 0b111,
        Inst::SelectWhere { .. } | Inst::StoreBytes { .. } if !evex => 0b1111,
        Inst::Gather { .. } => 0b11,
        Inst::Compare { float: false, y, .. } if !evex && !is_reg(y) => 0b11,
        Inst::Unary { from, .. } if !is_reg(from) => 0b1,
        Inst::Number { .. } => 0b1,
        _ => 0,
    }
}

/// The spare registers through which an instruction moves values that live in memory: 2 is that of what it sets. One
/// operand, the last one mostly, is read where it is.
fn moves(inst: &Inst, spilled: &[bool]) -> Spares {
    let through = |spare: u8, reg: Reg| Spares::from(spilled[reg]) << spare;
    match inst {
        Inst::Fma { to, x, y, z } => {
            let x = if swaps(*x, *y, &|reg| spilled[reg]) { 0 } else { through(0, *x) };
            through(2, *to) | x | through(3, *z)
        }
        Inst::Move { to, .. } => through(2, *to),
        Inst::Store { from, .. } => through(0, *from),
        Inst::VectorOp { to, x, .. } if spares(inst, false) == 0 => through(2, *to) | through(0, *x),
        _ => {
            let mut found = inst.target().is_some_and(|reg| spilled[reg]);
            inst.for_each_read(&mut |reg| found |= spilled[reg]);
            if found { 0b1111 } else { 0 }
        }
    }
}

/// Whether the factors of a multiply-add change places: the first one lives in memory and only the second one does not.
fn swaps(x: Reg, y: Source, in_memory: &dyn Fn(Reg) -> bool) -> bool {
    matches!(y, Source::Reg(y) if in_memory(x) && !in_memory(y))
}

fn count_loops(nodes: &[Node]) -> i32 {
    let count = |node: &Node| match node {
        Node::Inst(_) => 0,
        Node::Loop(inner) => 1 + count_loops(&inner.body),
        Node::If { then, otherwise, .. } => count_loops(then) + count_loops(otherwise),
    };
    nodes.iter().map(count).sum()
}

/// Code of which the last `pool` bytes, the constants, begin at a cache line: a vector that crosses lines takes twice
/// as long to read. How long the code is, the assembler knows only in the end, so what reads constants is corrected.
fn with_aligned_pool(instructions: &[Instruction], encoded: BlockEncoderResult, pool: usize) -> Encoded {
    let mut bytes = encoded.code_buffer;
    let start = bytes.len() - pool;
    let gap = start.next_multiple_of(VECTOR as usize) - start;
    let places = encoded.new_instruction_offsets.iter().zip(&encoded.constant_offsets);
    for (instruction, (offset, constants)) in instructions.iter().zip(places) {
        if instruction.memory_base() == Register::RIP {
            let at = *offset as usize + constants.displacement_offset();
            let place = &mut bytes[at..at + 4];
            let distance = i32::from_le_bytes(place.try_into().expect("four bytes")) + gap as i32;
            place.copy_from_slice(&distance.to_le_bytes());
        }
    }
    bytes.splice(start..start, std::iter::repeat_n(0, gap));
    Encoded { bytes, instructions: start }
}
