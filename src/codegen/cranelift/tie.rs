//! The order of the factors of fused multiply-adds.
//!
//! On x86-64 Cranelift writes the result of `fma(x, y, z)` over `x`, so `x` is copied if it is used again. The factors
//! commute; this puts first the one that is used here for the last time.

use cranelift_codegen::ir::{Block, Function, Inst, InstructionData, Opcode, Value, ValueDef};
use cranelift_entity::{EntitySet, SecondaryMap};

/// Swaps factors where that saves a copy.
pub fn order_factors(code: &mut Function) {
    let escaping = escaping(code);
    let blocks: Vec<Block> = code.layout.blocks().collect();
    for block in blocks {
        let mut live: SecondaryMap<Value, bool> = SecondaryMap::new();
        let mut next = code.layout.last_inst(block);
        while let Some(inst) = next {
            let kept = |value: Value| escaping.contains(value) || live[value];
            if let Some([x, y]) = factors(code, inst)
                && kept(x)
                && !kept(y)
            {
                swap_factors(code, inst);
            }
            code.dfg.inst_values(inst).for_each(|value| live[value] = true);
            next = code.layout.prev_inst(inst);
        }
    }
}

/// The values that are used in another block than the one that defines them.
fn escaping(code: &Function) -> EntitySet<Value> {
    let mut found = EntitySet::new();
    for block in code.layout.blocks() {
        for inst in code.layout.block_insts(block) {
            for value in code.dfg.inst_values(inst) {
                let home = match code.dfg.value_def(value) {
                    ValueDef::Result(inst, _) => code.layout.inst_block(inst),
                    ValueDef::Param(block, _) => Some(block),
                    ValueDef::Union(..) => None,
                };
                if home != Some(block) {
                    found.insert(value);
                }
            }
        }
    }
    found
}

fn factors(code: &Function, inst: Inst) -> Option<[Value; 2]> {
    match &code.dfg.insts[inst] {
        InstructionData::Ternary { opcode: Opcode::Fma, args } => Some([args[0], args[1]]),
        _ => None,
    }
}

fn swap_factors(code: &mut Function, inst: Inst) {
    if let InstructionData::Ternary { args, .. } = &mut code.dfg.insts[inst] {
        args.swap(0, 1);
    }
}
