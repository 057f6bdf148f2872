//! Statements: loops, branches, registers and stores.
//!
//! Cranelift's SSA form is built directly, since the control flow is structured: a loop's header has a parameter for
//! every register that its body changes, and one for every running pointer ([`super::address`]). Loops are unrolled
//! before ([`super::unroll`]).
//!
//! ```text
//! before:  jump header(initial...)
//! header(registers..., pointers...):  what depends on this loop's axis only;  jump body
//! body:    ...;  brif axis + 1 < extent, header(next...), after
//! after:
//! ```
//!
//! Every loop runs at least once: extents are constants, and an empty range of a parallel loop is sorted out before.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self, AbiParam, Block, BlockArg, InstBuilder, InstructionData, Opcode, Signature, Value, types,
};
use cranelift_codegen::isa::TargetIsa;
use cranelift_entity::SecondaryMap;
use cranelift_entity::packed_option::PackedOption;

use super::address::{Frame, Induction};
use super::expression::Form;
use super::unroll::{assigned, parts};
use crate::base::hash::HashMap;
use crate::base::target::Target;
use crate::loops::motion::{Load, Loads};
use crate::loops::pointers::{Pointer, PointerTable};
use crate::loops::verifier::Verified;
use crate::loops::{Axis, Expr, ForKind, Function, Local, Stmt};

/// The signature of every compiled function.
pub fn signature(isa: &dyn TargetIsa) -> Signature {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params.extend([AbiParam::new(types::I64); 4]);
    signature
}

/// Writes the Cranelift IR of a function.
pub fn lower(function: &Verified, code: &mut ir::Function, isa: &dyn TargetIsa, target: Target) {
    code.signature = signature(isa);
    let mut lowering = Lowering::new(function, code, isa, target);
    lowering.body();
    super::tie::order_factors(code);
}

/// The state of the lowering of one function.
pub struct Lowering<'a> {
    pub function: &'a Function,
    pub cursor: FuncCursor<'a>,
    pub target: Target,
    pub call_conv: cranelift_codegen::isa::CallConv,
    /// The function itself, and the loops around the current place from the outside in.
    pub frames: Vec<Frame>,
    pub pointers: PointerTable<'a>,
    pub pointer_values: SecondaryMap<Pointer, PackedOption<Value>>,
    pub loads: Loads,
    /// The parts of what has been loaded.
    pub loaded: HashMap<(Load, Form, usize), Value>,
    /// The scalars spread in the current statement.
    pub spread: Vec<(*const Expr, Value)>,
    pub parameters: Parameters,
    /// Where the parts of each register begin in `values`.
    first_part: SecondaryMap<Local, u32>,
    values: Vec<PackedOption<Value>>,
    /// Registers in the order of their declaration, to be forgotten at the end of their scope.
    declared: Vec<Local>,
    /// Registers whose load waits until they are read.
    waiting: Vec<(Local, &'a Expr)>,
}

/// The function's arguments.
#[derive(Clone, Copy)]
pub struct Parameters {
    pub buffers: Value,
    pub random: Value,
    pub low: Value,
    pub high: Value,
}

/// The values that an axis of a loop takes.
#[derive(Clone, Copy)]
enum Range {
    To(i64),
    /// From the function's `low` up to its `high`.
    Given,
}

impl<'a> Lowering<'a> {
    fn new(function: &'a Function, code: &'a mut ir::Function, isa: &dyn TargetIsa, target: Target) -> Self {
        let entry = code.dfg.make_block();
        code.layout.append_block(entry);
        let mut parameter = || code.dfg.append_block_param(entry, types::I64);
        let parameters =
            Parameters { buffers: parameter(), random: parameter(), low: parameter(), high: parameter() };
        let mut cursor = FuncCursor::new(code);
        cursor.goto_bottom(entry);
        let mut first_part = SecondaryMap::new();
        let mut count = 0;
        for (local, data) in &function.locals {
            first_part[local] = count;
            count += parts(data.ty.lanes) as u32;
        }
        Lowering {
            function,
            cursor,
            target,
            call_conv: isa.default_call_conv(),
            frames: Vec::new(),
            pointers: PointerTable::new(function),
            pointer_values: SecondaryMap::new(),
            loads: Loads::of(function),
            loaded: HashMap::default(),
            spread: Vec::new(),
            parameters,
            first_part,
            values: vec![None.into(); count as usize],
            declared: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn body(&mut self) {
        let start = self.new_block();
        let prelude = self.cursor.ins().jump(start, &[]);
        self.frames.push(Frame::root(prelude));
        self.start_block(start);
        match self.function.body.as_slice() {
            [Stmt::For { axis, kind: ForKind::Parallel, body }] => self.parallel(*axis, body),
            body => self.block(body),
        }
        self.cursor.ins().return_(&[]);
    }

    fn parallel(&mut self, axis: Axis, body: &'a [Stmt]) {
        let (run, done) = (self.new_block(), self.new_block());
        let Parameters { low, high, .. } = self.parameters;
        let any = self.cursor.ins().icmp(IntCC::SignedLessThan, low, high);
        self.cursor.ins().brif(any, run, &[], done, &[]);
        self.start_block(run);
        self.counted_loop(axis, Range::Given, body);
        self.cursor.ins().jump(done, &[]);
        self.start_block(done);
    }

    fn block(&mut self, body: &'a [Stmt]) {
        for stmt in body {
            self.statement(stmt);
        }
    }

    fn statement(&mut self, stmt: &'a Stmt) {
        self.spread.clear();
        match stmt {
            Stmt::For { axis, kind: _, body } => self.serial(*axis, body),
            Stmt::Set { local, value } => self.set(*local, value),
            Stmt::Store { buffer, index, stride, value } => self.store(*buffer, index, *stride, value),
            Stmt::If { condition, then, otherwise } => self.branch(condition, then, otherwise),
        }
    }

    fn serial(&mut self, axis: Axis, body: &'a [Stmt]) {
        match self.function.axes[axis].extent {
            ..=0 => {}
            1 => self.scope(body), // An unrolled iteration: nothing mentions its axis.
            extent => self.counted_loop(axis, Range::To(extent), body),
        }
    }

    fn counted_loop(&mut self, axis: Axis, range: Range, body: &'a [Stmt]) {
        let carried = self.carried(body);
        let initial = self.current_values(&carried);
        let (header, inside, after) = (self.new_block(), self.new_block(), self.new_block());
        let before = self.cursor.ins().jump(header, &[]);
        self.become_parameters(header, &carried);
        self.start_block(header);
        let prelude = self.cursor.ins().jump(inside, &[]);
        let start = match range {
            Range::To(_) => None,
            Range::Given => Some(self.parameters.low),
        };
        self.frames.push(Frame::of_loop(header, prelude, start));
        self.pointers.enter(axis);
        self.start_block(inside);
        self.open_counter(axis);
        self.scope(body);
        self.pointers.leave();

        let frame = self.frames.pop().expect("the frame pushed above");
        let registers = self.current_values(&carried);
        let pointers = self.next_pointers(&frame);
        let more = self.more(range, pointers[0]);
        let latch: Vec<BlockArg> = registers.into_iter().chain(pointers).map(BlockArg::from).collect();
        self.cursor.ins().brif(more, header, &latch, after, &[]);
        let initial = initial.into_iter().chain(frame.inductions.iter().map(|induction| induction.initial));
        let initial: Vec<BlockArg> = initial.map(BlockArg::from).collect();
        let destination = self.cursor.func.dfg.block_call(header, &initial);
        self.cursor.func.dfg.insts[before] = InstructionData::Jump { opcode: Opcode::Jump, destination };
        self.start_block(after);
    }

    /// The running pointers in the next round; the counter is the first.
    fn next_pointers(&mut self, frame: &Frame) -> Vec<Value> {
        let grow = |induction: &Induction| self.cursor.ins().iadd_imm_s(induction.parameter, induction.step);
        frame.inductions.iter().map(grow).collect()
    }

    /// Whether there is another round, by its counter.
    fn more(&mut self, range: Range, next: Value) -> Value {
        match range {
            Range::To(extent) => self.cursor.ins().icmp_imm_s(IntCC::NotEqual, next, extent),
            Range::Given => self.cursor.ins().icmp(IntCC::SignedLessThan, next, self.parameters.high),
        }
    }

    fn branch(&mut self, condition: &Expr, then: &'a [Stmt], otherwise: &'a [Stmt]) {
        let condition = self.part(condition, 0);
        let mut carried = self.carried(then);
        carried.extend(self.carried(otherwise));
        carried.sort_unstable();
        carried.dedup();
        let before = self.current_values(&carried);
        let (yes, no, after) = (self.new_block(), self.new_block(), self.new_block());
        self.cursor.ins().brif(condition, yes, &[], no, &[]);
        for (block, body) in [(yes, then), (no, otherwise)] {
            self.set_values(&carried, &before);
            self.start_block(block);
            self.scope(body);
            let results: Vec<BlockArg> =
                self.current_values(&carried).into_iter().map(BlockArg::from).collect();
            self.cursor.ins().jump(after, &results);
        }
        self.become_parameters(after, &carried);
        self.start_block(after);
    }

    /// A body whose declarations end with it.
    fn scope(&mut self, body: &'a [Stmt]) {
        let outer = self.declared.len();
        self.block(body);
        for local in self.declared.split_off(outer) {
            for slot in self.slots(local) {
                self.values[slot] = None.into();
            }
        }
    }

    /// Sets a register. A value of many parts is computed part by part, which keeps few of them alive at once; no
    /// part of the register changes before all are there, as the value may read it.
    fn set(&mut self, local: Local, value: &'a Expr) {
        let slots = self.slots(local);
        if !self.declared.contains(&local) {
            self.declared.push(local);
        }
        if self.loads.waits(local) {
            self.waiting.push((local, value));
            return;
        }
        let values: Vec<Value> = (0..slots.len()).map(|part| self.part(value, part)).collect();
        for (slot, value) in slots.zip(values) {
            self.values[slot] = value.into();
        }
    }

    /// The value of one part of a register.
    pub fn local(&mut self, local: Local, part: usize) -> Value {
        let slot = self.first_part[local] as usize + part;
        if let Some(value) = self.values[slot].expand() {
            return value;
        }
        let waiting = self.waiting.iter().rfind(|(other, _)| *other == local);
        let (_, load) = waiting.expect("a verified function sets before it reads");
        let value = self.part(load, part);
        self.values[slot] = value.into();
        value
    }

    fn start_block(&mut self, block: Block) {
        self.cursor.insert_block(block);
    }

    fn new_block(&mut self) -> Block {
        self.cursor.func.dfg.make_block()
    }

    fn slots(&self, local: Local) -> std::ops::Range<usize> {
        let first = self.first_part[local] as usize;
        first..first + parts(self.function.locals[local].ty.lanes)
    }

    /// The registers of the surrounding scopes that a body changes.
    fn carried(&self, body: &'a [Stmt]) -> Vec<Local> {
        let mut locals = assigned(body);
        locals.retain(|local| self.values[self.first_part[*local] as usize].is_some());
        locals
    }

    fn current_values(&self, locals: &[Local]) -> Vec<Value> {
        let slots = locals.iter().flat_map(|local| self.slots(*local));
        slots.map(|slot| self.values[slot].expect("a register in scope")).collect()
    }

    fn set_values(&mut self, locals: &[Local], values: &[Value]) {
        let slots = locals.iter().flat_map(|local| self.slots(*local)).collect::<Vec<_>>();
        for (slot, value) in slots.into_iter().zip(values) {
            self.values[slot] = (*value).into();
        }
    }

    /// Makes registers parameters of a block.
    fn become_parameters(&mut self, block: Block, locals: &[Local]) {
        for value in locals.iter().flat_map(|local| self.slots(*local)).collect::<Vec<_>>() {
            let old = self.values[value].expect("a register in scope");
            let ty = self.cursor.func.dfg.value_type(old);
            self.values[value] = self.cursor.func.dfg.append_block_param(block, ty).into();
        }
    }
}
