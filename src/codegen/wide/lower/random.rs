//! Random numbers: Philox4x32-10 on all lanes at once, as `base::philox` defines it.

use super::super::code::{Inst, MemoryOperand, Reg, Source, VectorOp};
use super::Lowering;
use crate::loops::{Type, Unary};

/// Multipliers of a round, and what the two words of the key grow by.
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

impl Lowering<'_> {
    /// The instructions of `philox::uniform`; the last one, which is given back, sets `to`.
    pub(super) fn uniform(&mut self, to: Reg, stream: u32, element: Reg, ty: Type) -> Inst {
        let random = self.pointers.random_state();
        let word = |lowering: &mut Self, at: i32| {
            lowering.moved(Source::Broadcast(MemoryOperand { pointer: random, offset: 4 * at }), ty)
        };
        let mut key = [word(self, 0), word(self, 1)];
        let stream = Source::Constant(self.splat_constant(stream));
        let stream = self.moved(stream, ty);
        let mut counter = [element, stream, word(self, 2), word(self, 3)];
        for _ in 0..ROUNDS {
            let [c0, c1, c2, c3] = counter;
            let [a, b] = MULTIPLIERS.map(|factor| Source::Constant(self.splat_constant(factor)));
            let (a_high, a_low) =
                (self.join(VectorOp::MulHigh, c0, a, ty), self.join(VectorOp::MulI, c0, a, ty));
            let (b_high, b_low) =
                (self.join(VectorOp::MulHigh, c2, b, ty), self.join(VectorOp::MulI, c2, b, ty));
            let mixed = [(b_high, c1, key[0]), (a_high, c3, key[1])].map(|(product, word, key)| {
                let mixed = self.join(VectorOp::Xor, product, Source::Reg(word), ty);
                self.join(VectorOp::Xor, mixed, Source::Reg(key), ty)
            });
            counter = [mixed[0], b_low, mixed[1], a_low];
            for (key, step) in key.iter_mut().zip(WEYL) {
                let step = Source::Constant(self.splat_constant(step));
                *key = self.join(VectorOp::AddI, *key, step, ty);
            }
        }
        // The upper 24 bits as a number below 1.
        let [eight, low, scale] = [8, 0x00ff_ffff, (1.0_f32 / 16_777_216.0).to_bits()]
            .map(|bits| Source::Constant(self.splat_constant(bits)));
        let shifted = self.join(VectorOp::ShiftRight, counter[0], eight, ty);
        let bits = self.join(VectorOp::And, shifted, low, ty);
        let number = self.temporary(ty);
        self.inst(Inst::Unary { op: Unary::ToFloat, to: number, from: Source::Reg(bits) });
        Inst::VectorOp { op: VectorOp::MulF, to, x: number, y: scale }
    }

    fn join(&mut self, op: VectorOp, x: Reg, y: Source, ty: Type) -> Reg {
        let to = self.temporary(ty);
        self.inst(Inst::VectorOp { op, to, x, y });
        to
    }
}
