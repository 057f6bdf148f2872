//! Registers of random functions, followed symbolically: wherever a value is read, its place holds what was set.

use std::collections::HashMap;

use super::*;
use crate::codegen::wide::code::{Loop, VectorOp, Width};
use crate::codegen::wide::{encode, lower};
use crate::loops::Buffer;
use crate::loops::pointers::{Pointer, PointerData, PointerKind};
use crate::loops::verifier::Verified;
use crate::testing::functions;

/// What a place holds: the result of an instruction that ran, or what memory holds.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Result(usize),
    /// At a pointer that has moved so often, in a buffer that was written so often.
    MemoryOperand {
        memory: MemoryOperand,
        moves: usize,
        writes: usize,
    },
    /// What an instruction left in a register of its own.
    Rest,
}

/// A machine that follows values.
struct Machine<'c> {
    code: &'c Code,
    assignment: &'c Assignment,
    /// What each virtual register has been set to.
    values: HashMap<Reg, Token>,
    registers: HashMap<u8, Token>,
    slots: HashMap<usize, Token>,
    moves: HashMap<Pointer, usize>,
    writes: HashMap<Root, usize>,
    /// Instructions that have run.
    steps: usize,
    /// Decides branches.
    state: u64,
    wrong: Vec<String>,
}

impl Machine<'_> {
    fn memory(&self, memory: MemoryOperand) -> Token {
        let root = self.code.pointers[memory.pointer].root;
        let moves = self.moves.get(&memory.pointer).copied().unwrap_or(0);
        Token::MemoryOperand { memory, moves, writes: self.writes.get(&root).copied().unwrap_or(0) }
    }

    fn read(&mut self, reg: Reg, what: &str) {
        let Some(expected) = self.values.get(&reg) else { return };
        let found = match self.assignment.locations[reg] {
            Location::Register(register) => self.registers.get(&register).cloned(),
            Location::Slot(slot) => self.slots.get(&slot).cloned(),
            Location::Origin(memory) => Some(self.memory(memory)),
        };
        if found.as_ref() != Some(expected) {
            let place = self.assignment.locations[reg];
            self.wrong.push(format!("{what} reads {reg} in {place:?}: {found:?}, not {expected:?}"));
        }
    }

    /// Registers of an instruction's own hold what it leaves there.
    fn spoil(&mut self, number: usize, spares: Spares) {
        for which in (0..SPARES).filter(|which| spares & (1 << which) != 0) {
            let register = self.assignment.spares[number][usize::from(which)];
            self.registers.insert(register, Token::Rest);
        }
    }

    fn inst(&mut self, inst: &Inst, number: usize, spares: Spares) {
        self.spoil(number, spares);
        let mut reads = Vec::new();
        inst.for_each_read(&mut |reg| reads.push(reg));
        reads.into_iter().for_each(|reg| self.read(reg, &format!("{inst:?}")));
        self.steps += 1;
        if let Some(to) = inst.target() {
            let token = match inst {
                Inst::Move { from: Source::MemoryOperand(memory), .. } => self.memory(*memory),
                _ => Token::Result(self.steps),
            };
            match self.assignment.locations[to] {
                Location::Register(register) => _ = self.registers.insert(register, token.clone()),
                Location::Slot(slot) => _ = self.slots.insert(slot, token.clone()),
                Location::Origin(_) => {}
            }
            self.values.insert(to, token);
            self.spoil(number, spares);
        } else if !matches!(inst, Inst::Prefetch { .. })
            && let Some(pointer) = inst.pointer()
        {
            *self.writes.entry(self.code.pointers[pointer].root).or_default() += 1;
        }
    }

    /// Runs nodes whose first instruction has a number, loops twice; the number of the next instruction.
    fn nodes(
        &mut self,
        nodes: &[Node],
        first: usize,
        spares: &dyn Fn(&Inst) -> Spares,
        spilled: &[bool],
    ) -> usize {
        let mut number = first;
        for node in nodes {
            match node {
                Node::Inst(inst) => {
                    self.inst(inst, number, spares(inst));
                    number += 1;
                }
                Node::Loop(inner) => {
                    let start = number;
                    for _ in 0..2 {
                        inner
                            .pointers
                            .iter()
                            .for_each(|pointer| *self.moves.entry(*pointer).or_default() += 1);
                        number = self.nodes(&inner.body, start, spares, spilled);
                    }
                }
                Node::If { condition, then, otherwise } => {
                    self.spoil(number, u8::from(spilled[*condition]));
                    self.read(*condition, "a branch");
                    self.state =
                        self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let (taken, after) = (self.state >> 62 & 1 == 1, number + 1 + count(then));
                    if taken {
                        self.nodes(then, number + 1, spares, spilled);
                    } else {
                        self.nodes(otherwise, after, spares, spilled);
                    }
                    number = after + count(otherwise);
                }
            }
        }
        number
    }
}

/// The instructions and branches among nodes.
fn count(nodes: &[Node]) -> usize {
    let of = |node: &Node| match node {
        Node::Inst(_) => 1,
        Node::Loop(inner) => count(&inner.body),
        Node::If { then, otherwise, .. } => 1 + count(then) + count(otherwise),
    };
    nodes.iter().map(of).sum()
}

/// What is wrong with the registers of some code; how many values live in slots, and where they came from.
fn follow(code: &Code, registers: u8, evex: bool) -> (Vec<String>, usize, usize) {
    let assignment = assign(code, registers, &|inst, spilled| encode::all_spares(inst, spilled, evex));
    let in_memory = |location: &Location| !matches!(location, Location::Register(_));
    let spilled: Vec<bool> = assignment.locations.iter().map(in_memory).collect();
    let mut wrong = Vec::new();
    for state in 0..4 {
        let mut machine = Machine {
            code,
            assignment: &assignment,
            values: HashMap::new(),
            registers: HashMap::new(),
            slots: HashMap::new(),
            moves: HashMap::new(),
            writes: HashMap::new(),
            steps: 0,
            state,
            wrong: Vec::new(),
        };
        machine.nodes(&code.body, 0, &|inst| encode::all_spares(inst, &spilled, evex), &spilled);
        wrong.append(&mut machine.wrong);
    }
    let origins = assignment.locations.iter().filter(|location| matches!(location, Location::Origin(_)));
    (wrong, assignment.slots, origins.count())
}

#[test]
fn values_are_where_they_are_read() {
    let (mut slots, mut origins) = (0, 0);
    for seed in 0..200 {
        let function = Verified::new(functions::function(seed)).expect("it is valid");
        for (widest, evex) in [(Width::W256, false), (Width::W512, true)] {
            let Ok(code) = lower::lower(&function, widest, evex) else { continue };
            for registers in [10, 16] {
                let (wrong, in_slots, from_origins) = follow(&code, registers, evex);
                assert!(wrong.is_empty(), "{} of {registers} registers: {wrong:#?}", function.name);
                slots += in_slots;
                origins += from_origins;
            }
        }
    }
    assert!(slots > 500 && origins > 30, "{slots} values in slots, {origins} where they came from");
}

/// The addition of two values.
fn add(to: Reg, x: Reg, y: Reg) -> Node {
    Node::Inst(Inst::VectorOp { op: VectorOp::AddF, to, x, y: Source::Reg(y) })
}

fn load(to: Reg, offset: i32) -> Node {
    Node::Inst(Inst::Move {
        to,
        from: Source::MemoryOperand(MemoryOperand { pointer: Pointer::from_u32(0), offset }),
    })
}

/// Before a loop whose pointer moves `before` runs, and in it `inside`, between uses of more values than there are
/// registers, all of them used more often than value `values`.
fn crowded(values: usize, before: Vec<Node>, inside: Vec<Node>) -> Code {
    let pointer = |root| PointerData { root, terms: Vec::new(), kind: PointerKind::Root, level: 0 };
    let mut body = before;
    body.extend((0..values).map(|to| Node::Inst(Inst::Move { to, from: Source::Constant(0) })));
    let uses = |from: usize, step: usize| -> Vec<Node> {
        (0..values).map(|at| add(from + at, at, (at + step) % values)).collect()
    };
    let inside = [uses(values + 2, 1), inside, uses(2 * values + 2, 2)].concat();
    body.push(Node::Loop(Loop {
        extent: 4,
        parallel: false,
        body: inside,
        pointers: vec![Pointer::from_u32(0)],
    }));
    Code {
        widths: vec![Width::W256; 3 * values + 2],
        pointers: [Root::Buffer(Buffer::from_u32(0)), Root::Zero].map(pointer).into_iter().collect(),
        constants: vec![vec![0; 8]],
        body,
    }
}

/// Followed with few registers and with more, and the places of the values with few.
fn places(code: &Code) -> Vec<Location> {
    for registers in 9..=16 {
        let (wrong, ..) = follow(code, registers, false);
        assert!(wrong.is_empty(), "{registers} registers: {wrong:#?}");
    }
    assign(code, 9, &|inst, spilled| encode::all_spares(inst, spilled, false)).locations
}

/// A condition, or a value, that is loaded before the loop.
#[test]
fn what_is_used_least_lives_in_memory() {
    let branch = Node::If { condition: 8, then: vec![add(9, 0, 1)], otherwise: Vec::new() };
    for reader in [branch, add(9, 0, 8)] {
        let place = places(&crowded(8, vec![load(8, 0)], vec![reader]))[8];
        assert!(
            matches!(place, Location::Slot(_)),
            "the pointer moves on, so it is kept in a slot: {place:?}"
        );
    }
}

#[test]
fn a_value_that_is_loaded_twice_has_no_origin() {
    let inside = vec![load(8, 0), add(9, 0, 8), load(8, 32), add(9, 1, 8)];
    let place = places(&crowded(8, Vec::new(), inside))[8];
    assert!(matches!(place, Location::Slot(_)), "{place:?}");
}
