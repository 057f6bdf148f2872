//! From the text of a loop function to machine code that runs: what the fuzz target does with its bytes, and an
//! ordinary test with the seeds.
//!
//! What the verifier takes is compiled for every level that the machine has. If it is short it runs there, and gives
//! the interpreter's bits; nothing before or behind its buffers may change. The interpreter itself checks each access,
//! so a function that the verifier takes though it leaves a buffer is found as well.

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::codegen::Module;
use cnnc::loops::interpreter::{self, BufferMemory};
use cnnc::loops::parser::parse;
use cnnc::loops::verifier::Verified;
use cnnc::loops::{BufferData, DType, Expr, Function, Stmt, Unary};

/// Longer texts are not looked at.
const LONGEST_TEXT: usize = 4096;

/// Functions with more statements in unrolled form are not compiled: that they take long is no finding.
const MOST_NODES: u64 = 4096;

/// Functions that do more, or have more elements, do not run.
const MOST_WORK: u64 = 1 << 20;
const MOST_ELEMENTS: usize = 1 << 16;

/// Bytes before and behind a buffer that nothing may write to.
const MARGIN: usize = 4096;

const STATE: RandomState = RandomState { seed: 7, step: 3 };

/// What became of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// It is no function, or none that the verifier takes.
    Error,
    /// Machine code.
    Code,
    /// Machine code that gave the interpreter's results.
    Results,
}

/// Takes bytes as a text.
pub fn from_bytes(bytes: &[u8]) -> Reached {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= LONGEST_TEXT => from_text(text),
        _ => Reached::Error,
    }
}

/// Makes code of a text, and runs it.
pub fn from_text(text: &str) -> Reached {
    let Ok(function) = parse(text) else { return Reached::Error };
    let Ok(verified) = Verified::new(function.clone()) else { return Reached::Error };
    let printed = function.to_string();
    let read = parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(read.to_string(), printed, "a printed function is another one when it is read");
    if size(&function.body) > MOST_NODES {
        return Reached::Error;
    }
    let modules = targets().map(|target| {
        let module = Module::compile(std::slice::from_ref(&verified), target);
        (target, module.unwrap_or_else(|error| panic!("{error} at {}\n{printed}", target.level)))
    });
    let modules: Vec<(Target, Module)> = modules.collect();
    let elements = function.buffers.values().map(|data| data.len).fold(0, usize::saturating_add);
    if elements > MOST_ELEMENTS || work(&function, &function.body) > MOST_WORK {
        return Reached::Code;
    }
    let mut expected = filled(&function);
    let outcome = interpreter::run(&function, &mut expected, STATE);
    outcome.unwrap_or_else(|error| panic!("{error}\n{printed}"));
    for (target, module) in &modules {
        let actual = run(&function, module);
        // The bits of a NaN are not defined, so neither is what is computed from them.
        let is_defined = !takes_bits(&function.body);
        for ((actual, expected), data) in actual.iter().zip(&expected).zip(function.buffers.values()) {
            let same = !is_defined || actual.same_bits(expected);
            assert!(same, "`{}` at {}\n{printed}\n{actual:?}\n{expected:?}", data.name, target.level);
        }
    }
    Reached::Results
}

/// The levels that this machine has.
fn targets() -> impl Iterator<Item = Target> {
    let known = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512].into_iter();
    known.filter(|level| *level <= Target::host().level).map(Target::of)
}

/// Expressions and statements.
fn size(statements: &[Stmt]) -> u64 {
    statements
        .iter()
        .map(|statement| 1 + expressions(statement) + children(statement).map(size).sum::<u64>())
        .sum()
}

/// Lanes that are computed in a run.
fn work(function: &Function, statements: &[Stmt]) -> u64 {
    let cost = |statement: &Stmt| {
        let inside = children(statement).map(|body| work(function, body)).fold(0, u64::saturating_add);
        match statement {
            Stmt::For { axis, .. } => {
                inside.saturating_add(1).saturating_mul(function.axes[*axis].extent.unsigned_abs())
            }
            _ => inside.saturating_add(64 * expressions(statement)),
        }
    };
    statements.iter().map(cost).fold(0, u64::saturating_add)
}

fn children(statement: &Stmt) -> impl Iterator<Item = &[Stmt]> {
    let [one, other]: [&[Stmt]; 2] = match statement {
        Stmt::For { body, .. } => [body, &[]],
        Stmt::If { then, otherwise, .. } => [then, otherwise],
        Stmt::Set { .. } | Stmt::Store { .. } => [&[], &[]],
    };
    [one, other].into_iter()
}

fn expressions(statement: &Stmt) -> u64 {
    match statement {
        Stmt::For { .. } => 0,
        Stmt::Set { value, .. } | Stmt::Store { value, .. } => nodes(value, &mut |_| ()),
        Stmt::If { condition, .. } => nodes(condition, &mut |_| ()),
    }
}

/// Counts the nodes of an expression and shows them.
fn nodes(expr: &Expr, visit: &mut dyn FnMut(&Expr)) -> u64 {
    visit(expr);
    let mut count = 1;
    expr.for_each_operand(&mut |operand| count += nodes(operand, visit));
    count
}

fn takes_bits(statements: &[Stmt]) -> bool {
    let mut found = false;
    let mut visit = |expr: &Expr| found |= matches!(expr, Expr::Unary(Unary::ToBits, _));
    for statement in statements {
        match statement {
            Stmt::Set { value, .. } | Stmt::Store { value, .. } => _ = nodes(value, &mut visit),
            Stmt::If { condition, .. } => _ = nodes(condition, &mut visit),
            Stmt::For { .. } => {}
        }
    }
    found || statements.iter().flat_map(children).any(takes_bits)
}

/// Numbers of all kinds.
fn filled(function: &Function) -> Vec<BufferMemory> {
    let number = |at: usize| match at % 29 {
        7 => f32::INFINITY,
        17 => -0.0,
        23 => 1e-40,
        _ => ((at * 7919 + 13) % 257) as f32 * 0.125 - 16.0,
    };
    let memory = |data: &BufferData| match data.dtype {
        DType::F32 => (0..data.len).map(number).collect::<Vec<f32>>().into(),
        DType::I32 => {
            (0..data.len).map(|at| (number(at) as i32).wrapping_mul(1000)).collect::<Vec<i32>>().into()
        }
        DType::U8 => (0..data.len).map(|at| (at * 37) as u8).collect::<Vec<u8>>().into(),
        DType::Bool => (0..data.len).map(|at| u8::from(at % 3 == 0)).collect::<Vec<u8>>().into(),
    };
    function.buffers.values().map(memory).collect()
}

/// A buffer between margins. It begins at an element, and at nothing larger than that.
struct Guarded {
    memory: Vec<u64>,
    bytes: usize,
    start: usize,
}

/// What margins hold.
const UNTOUCHED: u64 = 0xa5a5_a5a5_a5a5_a5a5;

impl Guarded {
    fn new(content: &[u8], element: usize) -> Guarded {
        let (bytes, start) = (content.len(), MARGIN + element);
        let mut memory = vec![UNTOUCHED; (start + bytes + MARGIN).div_ceil(8)];
        for (at, byte) in content.iter().enumerate() {
            let (word, shift) = ((start + at) / 8, (start + at) % 8);
            let mut all = memory[word].to_ne_bytes();
            all[shift] = *byte;
            memory[word] = u64::from_ne_bytes(all);
        }
        Guarded { memory, bytes, start }
    }

    fn address(&mut self) -> *mut u8 {
        self.memory.as_mut_ptr().cast::<u8>().wrapping_add(self.start)
    }

    /// The content, where the margins are as they were.
    fn content(&self) -> Option<Vec<u8>> {
        let all: Vec<u8> = self.memory.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let (before, rest) = all.split_at(self.start);
        let (content, behind) = rest.split_at(self.bytes);
        let untouched = |margin: &[u8]| margin.iter().all(|byte| *byte == UNTOUCHED as u8);
        (untouched(before) && untouched(behind)).then(|| content.to_vec())
    }
}

/// Runs the only function of a module on filled buffers.
fn run(function: &Function, module: &Module) -> Vec<BufferMemory> {
    let memories = filled(function);
    let guarded =
        |(memory, data): (&BufferMemory, &BufferData)| Guarded::new(&bytes_of(memory), data.dtype.size());
    let mut buffers: Vec<Guarded> = memories.iter().zip(function.buffers.values()).map(guarded).collect();
    let addresses: Vec<*mut u8> = buffers.iter_mut().map(Guarded::address).collect();
    let kernel = module.kernel(0);
    let extent = kernel.parallel_extent.unwrap_or(0);
    let ranges = [0..extent / 3, extent / 3..extent];
    let parts = if kernel.parallel_extent.is_some() { &ranges[..] } else { &ranges[..1] };
    for range in parts {
        // SAFETY: the addresses are those of buffers of the declared lengths, which live until the call returns.
        unsafe { kernel.call(&addresses, &STATE, range.clone()) };
    }
    let contents = buffers.iter().zip(function.buffers.values()).map(|(buffer, data)| {
        let content = buffer.content().unwrap_or_else(|| panic!("`{}` was left\n{function}", data.name));
        memory_of(data.dtype, &content)
    });
    contents.collect()
}

fn bytes_of(memory: &BufferMemory) -> Vec<u8> {
    match memory {
        BufferMemory::F32(data) => data.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        BufferMemory::I32(data) => data.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        BufferMemory::U8(data) => data.clone(),
    }
}

fn memory_of(dtype: DType, bytes: &[u8]) -> BufferMemory {
    let words = bytes.chunks_exact(4).map(|word| word.try_into().expect("four bytes"));
    match dtype {
        DType::F32 => words.map(f32::from_ne_bytes).collect::<Vec<f32>>().into(),
        DType::I32 => words.map(i32::from_ne_bytes).collect::<Vec<i32>>().into(),
        DType::U8 | DType::Bool => bytes.to_vec().into(),
    }
}
