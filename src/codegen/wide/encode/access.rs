//! Loads and stores that are more than one instruction.

use iced_x86::code_asm::registers::gpr32::ecx;
use iced_x86::code_asm::registers::gpr64::{rax, rcx};
use iced_x86::code_asm::registers::k::k1;
use iced_x86::code_asm::{AsmMemoryOperand, byte_ptr, cl, dword_ptr, ptr, qword_ptr};

use super::super::code::{ConstantId, Element, Inst, MemoryOperand, Reg, Source, Width};
use super::{Done, Encoder, Operand, xmm, ymm, zmm};
use crate::loops::pointers::Pointer;

impl Encoder<'_> {
    /// Sets a register to what memory, another register or a pointer has.
    pub(super) fn load(&mut self, inst: &Inst, to: u8, width: Width) -> Done {
        match *inst {
            Inst::Move { from: Source::Broadcast(from), .. } => {
                let from = dword_ptr(self.memory(from)?);
                match width {
                    Width::W128 => self.asm.vbroadcastss(xmm(to), from),
                    Width::W256 => self.asm.vbroadcastss(ymm(to), from),
                    Width::W512 => self.asm.vbroadcastss(zmm(to), from),
                }
            }
            Inst::Move { from, .. } => match self.operand(from)? {
                Operand::Reg(from) if from == to => Ok(()),
                from => two!(self, vmovups, width, to, from),
            },
            Inst::LoadScalar { from, element, .. } => {
                let from = self.memory(from)?;
                match element {
                    Element::Word => self.asm.vmovss(xmm(to), dword_ptr(from)),
                    Element::Byte => {
                        self.asm.movzx(ecx, byte_ptr(from))?;
                        self.asm.vmovd(xmm(to), ecx)
                    }
                }
            }
            Inst::LoadBytes { from, .. } => {
                let from = ptr(self.memory(from)?);
                match width {
                    Width::W128 => self.asm.vpmovzxbd(xmm(to), from),
                    Width::W256 => self.asm.vpmovzxbd(ymm(to), from),
                    Width::W512 => self.asm.vpmovzxbd(zmm(to), from),
                }
            }
            Inst::Splat { from, .. } => {
                let from = self.read(from, 0)?;
                match width {
                    Width::W128 => self.asm.vbroadcastss(xmm(to), xmm(from)),
                    Width::W256 => self.asm.vbroadcastss(ymm(to), xmm(from)),
                    Width::W512 => self.asm.vbroadcastss(zmm(to), xmm(from)),
                }
            }
            Inst::Gather { from, offsets, .. } => self.gather(to, width, from, offsets),
            Inst::Number { pointer, offsets, .. } => self.number(to, width, pointer, offsets),
            _ => unreachable!("{inst:?} is no load"),
        }
    }

    /// Writes to memory, or asks for some of it.
    pub(super) fn store(&mut self, inst: &Inst) -> Done {
        match *inst {
            Inst::Store { to, from } => {
                let register = self.read(from, 0)?;
                let to = self.memory(to)?;
                self.store_vector(self.width(from), ptr(to), register)
            }
            Inst::StoreScalar { to, from, element } => {
                let from = self.read(from, 0)?;
                let to = self.memory(to)?;
                match element {
                    Element::Word => self.asm.vmovss(dword_ptr(to), xmm(from)),
                    Element::Byte => {
                        self.asm.vmovd(ecx, xmm(from))?;
                        self.asm.mov(byte_ptr(to), cl)
                    }
                }
            }
            Inst::StoreBytes { to, from } => self.store_bytes(to, from),
            Inst::Scatter { to, from, stride, element } => self.scatter(to, from, stride, element),
            Inst::Prefetch { from } => {
                let from = self.memory(from)?;
                self.asm.prefetcht0(byte_ptr(from))
            }
            _ => unreachable!("{inst:?} is no store"),
        }
    }

    fn gather(&mut self, to: u8, width: Width, from: MemoryOperand, offsets: ConstantId) -> Done {
        let base = match self.pointers.get(&from.pointer) {
            Some(register) => *register,
            None => {
                self.memory(from)?;
                rax
            }
        };
        let (places, all) = (self.spare(0), self.spare(1));
        let offsets = self.constant(offsets);
        two!(self, vmovups, width, places, offsets)?;
        if self.evex {
            self.asm.kxnorw(k1, k1, k1)?;
            return match width {
                Width::W128 => self.asm.vpgatherdd(xmm(to).k1(), ptr(base + xmm(places) + from.offset)),
                Width::W256 => self.asm.vpgatherdd(ymm(to).k1(), ptr(base + ymm(places) + from.offset)),
                Width::W512 => self.asm.vpgatherdd(zmm(to).k1(), ptr(base + zmm(places) + from.offset)),
            };
        }
        three_vex!(self, vpcmpeqd, width, all, all, Operand::Reg(all))?;
        match width {
            Width::W128 => self.asm.vpgatherdd_3(xmm(to), ptr(base + xmm(places) + from.offset), xmm(all)),
            _ => self.asm.vpgatherdd_3(ymm(to), ptr(base + ymm(places) + from.offset), ymm(all)),
        }
    }

    fn number(&mut self, to: u8, width: Width, pointer: Pointer, offsets: ConstantId) -> Done {
        let spare = self.spare(0);
        match self.pointers.get(&pointer) {
            Some(register) => self.asm.mov(rcx, *register)?,
            None => {
                let slot = self.slot(pointer);
                self.asm.mov(rcx, qword_ptr(slot))?;
            }
        }
        self.asm.vmovd(xmm(spare), ecx)?;
        match width {
            Width::W128 => self.asm.vpbroadcastd(xmm(spare), xmm(spare))?,
            Width::W256 => self.asm.vpbroadcastd(ymm(spare), xmm(spare))?,
            Width::W512 => self.asm.vpbroadcastd(zmm(spare), xmm(spare))?,
        }
        let offsets = self.constant(offsets);
        three!(self, vpaddd, width, to, spare, offsets)
    }

    fn store_bytes(&mut self, to: MemoryOperand, from: Reg) -> Done {
        let (width, from) = (self.width(from), self.read(from, 0)?);
        let to = ptr(self.memory(to)?);
        if self.evex {
            return match width {
                Width::W128 => self.asm.vpmovdb(to, xmm(from)),
                Width::W256 => self.asm.vpmovdb(to, ymm(from)),
                Width::W512 => self.asm.vpmovdb(to, zmm(from)),
            };
        }
        let (low, high) = (self.spare(2), self.spare(3));
        let byte = self.bits(0xff);
        three!(self, vandps, width, low, from, byte)?;
        if width == Width::W128 {
            self.asm.vpackusdw(xmm(low), xmm(low), xmm(low))?;
            self.asm.vpackuswb(xmm(low), xmm(low), xmm(low))?;
            return self.asm.vmovd(to, xmm(low));
        }
        self.asm.vextractf128(xmm(high), ymm(low), 1)?;
        self.asm.vpackusdw(xmm(low), xmm(low), xmm(high))?;
        self.asm.vpackuswb(xmm(low), xmm(low), xmm(low))?;
        self.asm.vmovq(to, xmm(low))
    }

    fn scatter(&mut self, to: MemoryOperand, from: Reg, stride: i32, element: Element) -> Done {
        let (width, from) = (self.width(from), self.read(from, 0)?);
        let to = self.memory(to)?;
        for quarter in 0..(width.lanes() / 4) as i32 {
            let part = match (quarter, width) {
                (0, _) => from,
                (_, Width::W512) => {
                    self.asm.vextractf32x4(xmm(self.spare(2)), zmm(from), quarter)?;
                    self.spare(2)
                }
                _ if self.evex => {
                    self.asm.vextractf32x4(xmm(self.spare(2)), ymm(from), quarter)?;
                    self.spare(2)
                }
                _ => {
                    self.asm.vextractf128(xmm(self.spare(2)), ymm(from), quarter)?;
                    self.spare(2)
                }
            };
            for lane in 0..4 {
                let place = to + (4 * quarter + lane) * stride;
                match element {
                    Element::Word => self.asm.vextractps(dword_ptr(place), xmm(part), lane)?,
                    Element::Byte => self.asm.vpextrb(byte_ptr(place), xmm(part), 4 * lane)?,
                }
            }
        }
        Ok(())
    }

    pub(super) fn store_vector(&mut self, width: Width, to: AsmMemoryOperand, from: u8) -> Done {
        match width {
            Width::W128 => self.asm.vmovups(to, xmm(from)),
            Width::W256 => self.asm.vmovups(to, ymm(from)),
            Width::W512 => self.asm.vmovups(to, zmm(from)),
        }
    }
}
