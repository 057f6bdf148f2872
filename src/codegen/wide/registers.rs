//! Registers for virtual registers: a linear scan over intervals.
//!
//! The interval of a register runs from where it is first set to where it is last read; one that is alive when a loop
//! begins and is used in it lives until the loop ends. Registers that an instruction needs for itself are taken while
//! it runs. Where registers run out, the value that is used least lives in memory for good, and the instructions that
//! use it need registers of their own to bring it in: another scan. Many need none, as an instruction can read one of
//! its operands from memory. A value that was loaded lives where it came from, if nothing is written there: that costs
//! no slot and no store.

use std::collections::HashSet;

use super::code::{Code, Inst, MemoryOperand, Node, Reg, Source};
use crate::loops::pointers::Root;

/// Registers that an instruction may need beside those of its values, at most.
pub const SPARES: u8 = 5;
/// Some of the spare registers of an instruction: bit `n` is number `n`.
pub type Spares = u8;

/// Where a virtual register lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    Register(u8),
    /// A slot of the frame.
    Slot(usize),
    /// The place that it is loaded from: nothing sets it.
    Origin(MemoryOperand),
}

/// Where every virtual register lives, and how many slots that takes.
pub struct Assignment {
    pub locations: Vec<Location>,
    pub slots: usize,
    /// The registers that each instruction and branch has for itself, in their order.
    pub spares: Vec<[u8; SPARES as usize]>,
}

/// What an interval is for.
#[derive(Clone, Copy, Debug)]
enum Holder {
    Value(Reg),
    /// The instruction or branch of a number, and which of its spares.
    Spare(usize, u8),
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    holder: Holder,
    start: usize,
    end: usize,
    /// How often it is used, by the depth of the loops.
    weight: f64,
}

/// How often a scan may find values without a register before registers are set apart for all instructions.
const ROUNDS: usize = 8;

/// Gives out registers `0..count`. `spares` are those that an instruction needs for itself, given which of its values
/// live in memory.
pub fn assign(code: &Code, count: u8, spares: &dyn Fn(&Inst, &[bool]) -> Spares) -> Assignment {
    let mut spilled = vec![false; code.widths.len()];
    let origins = origins(code);
    for _ in 0..ROUNDS {
        let (assignment, more) = scan(code, count, &spilled, &origins, &|inst| spares(inst, &spilled));
        if more.is_empty() {
            return assignment;
        }
        for holder in more {
            if let Holder::Value(reg) = holder {
                spilled[reg] = true;
            }
        }
    }
    let first = count - SPARES;
    let (mut assignment, _) = scan(code, first, &spilled, &origins, &|_| 0);
    assignment.spares.fill(std::array::from_fn(|which| first + which as u8));
    assignment
}

/// One scan, with the values that live in memory already; what found no register is listed.
fn scan(
    code: &Code,
    count: u8,
    spilled: &[bool],
    origins: &[Option<MemoryOperand>],
    spares: &dyn Fn(&Inst) -> Spares,
) -> (Assignment, Vec<Holder>) {
    let (mut intervals, instructions) = Walker::intervals(code, spilled, spares);
    for interval in &mut intervals {
        if let Holder::Value(reg) = interval.holder
            && origins[reg].is_some()
        {
            interval.weight *= if planted!("codegen.registers.reload") { 1.0 } else { RELOAD };
        }
    }
    intervals.sort_by_key(|interval| interval.start);
    let mut assignment = Assignment {
        locations: vec![Location::Register(0); code.widths.len()],
        slots: 0,
        spares: vec![[0; SPARES as usize]; instructions],
    };
    let mut active: Vec<(Interval, u8)> = Vec::new();
    let mut free: Vec<u8> = (0..count).rev().collect();
    let mut more = Vec::new();
    for interval in intervals {
        if let Holder::Value(reg) = interval.holder
            && spilled[reg]
        {
            assignment.spill(interval.holder, origins);
            continue;
        }
        active.retain(|(other, register)| {
            let alive = other.end >= interval.start + usize::from(planted!("codegen.registers.alive"));
            if !alive {
                free.push(*register);
            }
            alive
        });
        if free.is_empty() {
            let least = (0..active.len()).min_by(|a, b| active[*a].0.weight.total_cmp(&active[*b].0.weight));
            let least = least.expect("there are registers");
            if planted!("codegen.registers.weight") || active[least].0.weight >= interval.weight {
                assignment.spill(interval.holder, origins);
                more.push(interval.holder);
                continue;
            }
            let (other, register) = active.swap_remove(least);
            assignment.spill(other.holder, origins);
            more.push(other.holder);
            free.push(register);
        }
        let register = free.pop().expect("one is free");
        assignment.give(interval.holder, register);
        active.push((interval, register));
    }
    (assignment, more)
}

impl Assignment {
    fn give(&mut self, holder: Holder, register: u8) {
        match holder {
            Holder::Value(reg) => self.locations[reg] = Location::Register(register),
            Holder::Spare(instruction, which) => self.spares[instruction][usize::from(which)] = register,
        }
    }

    fn spill(&mut self, holder: Holder, origins: &[Option<MemoryOperand>]) {
        let Holder::Value(reg) = holder else { return };
        self.locations[reg] = match origins[reg] {
            Some(origin) => Location::Origin(origin),
            None => Location::Slot(self.slots),
        };
        self.slots += usize::from(origins[reg].is_none());
    }
}

/// Where each value can be read again wherever it is used: it is loaded once, from a buffer that the function does not
/// write, and used in the body of the same loop, before the pointer moves on.
fn origins(code: &Code) -> Vec<Option<MemoryOperand>> {
    let (written, set) = (HashSet::new(), HashSet::new());
    let mut found = Origins { code, written, set, origins: vec![None; code.widths.len()] };
    found.collect_written(&code.body);
    found.walk(&code.body);
    found.origins
}

struct Origins<'c> {
    code: &'c Code,
    written: HashSet<Root>,
    /// The values that have been set so far.
    set: HashSet<Reg>,
    origins: Vec<Option<MemoryOperand>>,
}

impl Origins<'_> {
    fn collect_written(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Inst(Inst::Prefetch { .. }) => {}
                Node::Inst(inst) if inst.target().is_none() => {
                    self.written.extend(inst.pointer().map(|pointer| self.code.pointers[pointer].root));
                }
                Node::Inst(_) => {}
                Node::Loop(_) if planted!("codegen.registers.written_loop") => {}
                Node::Loop(inner) => self.collect_written(&inner.body),
                Node::If { .. } if planted!("codegen.registers.written_if") => {}
                Node::If { then, otherwise, .. } => {
                    self.collect_written(then);
                    self.collect_written(otherwise);
                }
            }
        }
    }

    /// Looks at a body: a value that is also set or read in another one has no origin.
    fn walk(&mut self, nodes: &[Node]) {
        let mut here: HashSet<Reg> = HashSet::new();
        for node in nodes {
            match node {
                Node::Inst(inst) => {
                    let mut foreign = Vec::new();
                    inst.for_each_read(&mut |reg| foreign.extend((!here.contains(&reg)).then_some(reg)));
                    if !planted!("codegen.registers.foreign") {
                        foreign.into_iter().for_each(|reg| self.origins[reg] = None);
                    }
                    let Some(to) = inst.target() else { continue };
                    here.insert(to);
                    let is_first = self.set.insert(to) || planted!("codegen.registers.first");
                    self.origins[to] = self.origin(inst).filter(|_| is_first);
                }
                Node::Loop(inner) => self.walk(&inner.body),
                Node::If { condition, then, otherwise } => {
                    if !planted!("codegen.registers.condition") {
                        self.origins[*condition] = None;
                    }
                    self.walk(then);
                    self.walk(otherwise);
                }
            }
        }
    }

    fn origin(&self, inst: &Inst) -> Option<MemoryOperand> {
        match inst {
            Inst::Move { from: Source::MemoryOperand(memory), .. } => {
                let root = self.code.pointers[memory.pointer].root;
                (planted!("codegen.registers.written") || !self.written.contains(&root)).then_some(*memory)
            }
            _ => None,
        }
    }
}

/// What it costs to read a value again where it came from, beside one that has to be stored for that.
const RELOAD: f64 = 0.25;

/// Uses inside a loop count so many times.
const LOOP_WEIGHT: f64 = 8.0;

struct Walker<'s> {
    spares: &'s dyn Fn(&Inst) -> Spares,
    spilled: &'s [bool],
    intervals: Vec<Option<Interval>>,
    /// Those of instructions' own registers.
    own: Vec<Interval>,
    instructions: usize,
    position: usize,
    weight: f64,
    /// The registers used since the innermost loop began.
    touched: Vec<Reg>,
}

impl Walker<'_> {
    /// All intervals, and the number of instructions.
    fn intervals(code: &Code, spilled: &[bool], spares: &dyn Fn(&Inst) -> Spares) -> (Vec<Interval>, usize) {
        let mut walker = Walker {
            spares,
            spilled,
            intervals: vec![None; code.widths.len()],
            own: Vec::new(),
            instructions: 0,
            position: 0,
            weight: 1.0,
            touched: Vec::new(),
        };
        walker.walk(&code.body);
        let intervals = walker.intervals.into_iter().flatten().chain(walker.own);
        (intervals.collect(), walker.instructions)
    }

    fn walk(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Inst(inst) => {
                    // What is read here is free for what is set here.
                    inst.for_each_read(&mut |reg| self.touch(reg));
                    self.spare((self.spares)(inst));
                    self.position += 1;
                    if let Some(reg) = inst.target() {
                        self.touch(reg);
                    }
                    self.position += 1;
                }
                Node::Loop(inner) => {
                    let (start, outside) = (self.position, std::mem::take(&mut self.touched));
                    self.weight *= LOOP_WEIGHT;
                    self.walk(&inner.body);
                    self.weight /= LOOP_WEIGHT;
                    self.position += 1;
                    let mut inside = std::mem::replace(&mut self.touched, outside);
                    inside.sort_unstable();
                    inside.dedup();
                    for reg in &inside {
                        let interval = self.intervals[*reg].as_mut().expect("it was touched");
                        if interval.start < start && !planted!("codegen.registers.loop") {
                            interval.end = self.position;
                        }
                    }
                    if !planted!("codegen.registers.touched") {
                        self.touched.extend(inside);
                    }
                }
                Node::If { condition, then, otherwise } => {
                    self.touch(*condition);
                    let is_spilled = self.spilled[*condition] && !planted!("codegen.registers.if_spare");
                    self.spare(u8::from(is_spilled));
                    self.position += 1;
                    self.walk(then);
                    self.walk(otherwise);
                }
            }
        }
    }

    /// Registers of an instruction's or a branch's own are taken from where it reads to where it sets.
    fn spare(&mut self, spares: Spares) {
        let (start, end) = (self.position, self.position + 1);
        for which in (0..SPARES).filter(|which| spares & (1 << which) != 0) {
            let holder = Holder::Spare(self.instructions, which);
            self.own.push(Interval { holder, start, end, weight: f64::INFINITY });
        }
        self.instructions += 1;
    }

    fn touch(&mut self, reg: Reg) {
        let (position, weight) = (self.position, self.weight);
        let new = Interval { holder: Holder::Value(reg), start: position, end: position, weight: 0.0 };
        let interval = self.intervals[reg].get_or_insert(new);
        interval.end = position;
        interval.weight += weight;
        self.touched.push(reg);
    }
}

#[cfg(test)]
#[path = "registers_tests.rs"]
mod tests;
