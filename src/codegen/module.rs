//! Compiled functions and the memory they live in.
//!
//! Each function is made by the back end that has the widest vectors for it, and all lie in one block of memory.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Mutex;

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::{CodegenError, Context, settings};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Module as _, ModuleError, ModuleReloc, default_libcall_names};

use super::cranelift;
use super::disassemble::disassemble;
use crate::base::memory::Shortage;
use crate::base::parallel;
use crate::base::philox::RandomState;
use crate::base::target::Target;
use crate::loops::verifier::{Invalid, Verified};
use crate::loops::{ForKind, Function, Stmt};

/// Why code could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Unsupported(String),
    #[error(transparent)]
    Shortage(#[from] Shortage),
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("`{name}` cannot be compiled: {reason}")]
    Compile { name: String, reason: String },
    #[error("Cranelift: {0}")]
    Codegen(#[from] CodegenError),
    #[error("Cranelift: {0}")]
    Flag(#[from] settings::SetError),
    #[error("Cranelift: {0}")]
    Module(#[from] Box<ModuleError>),
}

/// What every compiled function is: the buffers' addresses in the order of their ids, the random state, and the range
/// of the parallel loop's axis, which a function without one ignores.
type Entry = unsafe extern "C" fn(*const *mut u8, *const RandomState, i64, i64);

/// The native code of a list of functions.
pub struct Module {
    /// Owns the memory; only taken when the module is dropped.
    jit: Mutex<Option<JITModule>>,
    functions: Vec<Compiled>,
}

struct Compiled {
    name: String,
    entry: Entry,
    parallel_extent: Option<i64>,
    buffers: usize,
    code: Vec<u8>,
    /// Bytes of instructions; constants follow.
    instructions: usize,
}

/// A compiled function of a module.
#[derive(Clone, Copy)]
pub struct NativeFunction<'a> {
    entry: Entry,
    buffers: usize,
    /// The extent of the parallel loop that is the whole function; none where there is no such loop. Parallel loops
    /// within it are run as serial ones.
    pub parallel_extent: Option<i64>,
    module: PhantomData<&'a Module>,
}

impl NativeFunction<'_> {
    /// Runs iterations `range` of the parallel loop, or the whole function where there is none.
    ///
    /// # Safety
    ///
    /// `buffers` holds, for each buffer of the function in order, an address of as many elements as the buffer has,
    /// aligned to an element. No two overlap, and nothing else writes to them meanwhile but other ranges of this
    /// same kernel. `range` lies in `0..parallel_extent`.
    pub unsafe fn call(&self, buffers: &[*mut u8], random: &RandomState, range: Range<i64>) {
        assert_eq!(buffers.len(), self.buffers, "buffers of a kernel");
        // SAFETY: the code was compiled with this signature from a verified function, whose accesses lie in its
        // buffers, and the module that owns it outlives `self`; the caller answers for the buffers.
        unsafe { (self.entry)(buffers.as_ptr(), random, range.start, range.end) }
    }
}

impl Module {
    /// Compiles functions in parallel.
    pub fn compile(functions: &[Verified], target: Target) -> Result<Module, Error> {
        let isa = cranelift::isa(target)?;
        let codes = parallel::map_with(functions, Context::new, |context, index, function| {
            match wide(function, target) {
                Ok(code) => Ok(code),
                Err(_) => {
                    let id = FuncId::from_u32(index as u32);
                    cranelift::compile(context, id, function, &*isa, target)
                }
            }
        });
        let codes: Vec<Code> = codes.into_iter().collect::<Result<_, _>>()?;
        Module::place(isa, functions, codes)
    }

    /// A compiled function, by its place in the list that was compiled.
    pub fn kernel(&self, index: usize) -> NativeFunction<'_> {
        let Compiled { entry, parallel_extent, buffers, .. } = &self.functions[index];
        NativeFunction {
            entry: *entry,
            buffers: *buffers,
            parallel_extent: *parallel_extent,
            module: PhantomData,
        }
    }

    /// The number of functions.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there is no function.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Bytes of all functions' code.
    pub fn bytes(&self) -> usize {
        self.functions.iter().map(|function| function.code.len()).sum()
    }

    /// The machine code of a function as text.
    pub fn assembly(&self, index: usize) -> String {
        let Compiled { name, code, instructions, .. } = &self.functions[index];
        let (instructions, constants) = code.split_at(*instructions);
        format!("{name}:\n{}", disassemble(instructions, constants))
    }

    fn place(isa: OwnedTargetIsa, functions: &[Verified], codes: Vec<Code>) -> Result<Module, Error> {
        let mut jit = new_jit(isa, codes.iter().map(|code| code.bytes.len() + CODE_PERIOD).sum())?;
        define(&mut jit, &vec![0; CODE_ALIGNMENT as usize], CODE_PERIOD as u64, &[])
            .map_err(Error::Module)?;
        let mut ids = Vec::new();
        for (code, function) in codes.iter().zip(functions) {
            let mut bytes = code.bytes.clone();
            bytes.resize(bytes.len().next_multiple_of(CODE_PERIOD), 0);
            ids.push(define(&mut jit, &bytes, code.alignment, &code.relocations).map_err(|error| {
                Error::Compile { name: function.name.clone(), reason: error.to_string() }
            })?);
        }
        jit.finalize_definitions().map_err(Box::new)?;
        let functions = functions
            .iter()
            .zip(codes)
            .zip(ids)
            .map(|((function, code), id)| Compiled {
                name: function.name.clone(),
                entry: entry(&jit, id),
                parallel_extent: parallel_extent(function),
                buffers: function.buffers.len(),
                code: code.bytes,
                instructions: code.instructions,
            })
            .collect();
        Ok(Module { jit: Mutex::new(Some(jit)), functions })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let jit = self.jit.get_mut().ok().and_then(Option::take);
        if let Some(jit) = jit {
            // SAFETY: kernels borrow the module, so none is running or can be called after this.
            unsafe { jit.free_memory() };
        }
    }
}

/// The extent of the parallel loop that is the whole body.
pub fn parallel_extent(function: &Function) -> Option<i64> {
    match function.body.as_slice() {
        [Stmt::For { axis, kind: ForKind::Parallel, .. }] => Some(function.axes[*axis].extent),
        _ => None,
    }
}

/// Why a function goes through Cranelift for a target; none where it is assembled without.
pub fn needs_cranelift(function: &Verified, target: Target) -> Option<String> {
    wide(function, target).err()
}

/// The machine code of a function.
pub(super) struct Code {
    pub bytes: Vec<u8>,
    /// Bytes of instructions, as far as they are known from constants behind them.
    pub instructions: usize,
    pub alignment: u64,
    pub relocations: Vec<ModuleReloc>,
}

#[cfg(target_arch = "x86_64")]
fn wide(function: &Verified, target: Target) -> Result<Code, String> {
    crate::codegen::wide::compile(function, target).map_err(|unsupported| unsupported.to_string())
}

#[cfg(not(target_arch = "x86_64"))]
fn wide(_: &Verified, target: Target) -> Result<Code, String> {
    Err(format!("no wide instructions for {}", target.level))
}

/// Functions begin at a cache line.
pub(super) const CODE_ALIGNMENT: u64 = 64;

/// And all of them at the same one of four lines, so that their loops do not depend on what lies before them. Zen 4 runs a
/// short loop slower at some addresses, which repeat after 256 bytes: a gradient of `digits` takes 0.118 ms where
/// functions begin at a multiple, and 0.101 ms at the other three lines.
const CODE_PERIOD: usize = 256;

fn new_jit(isa: OwnedTargetIsa, code_bytes: usize) -> Result<JITModule, Error> {
    let reserve = 2 * code_bytes + (1 << 16);
    let memory = ArenaMemoryProvider::new_with_size(reserve)
        .map_err(|error| Error::Unsupported(format!("no memory for {code_bytes} bytes of code: {error}")))?;
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    builder.memory_provider(Box::new(memory));
    Ok(JITModule::new(builder))
}

fn define(
    jit: &mut JITModule,
    bytes: &[u8],
    alignment: u64,
    relocations: &[ModuleReloc],
) -> Result<FuncId, Box<ModuleError>> {
    let signature = cranelift::signature(jit.isa());
    let id = jit.declare_anonymous_function(&signature).map_err(Box::new)?;
    jit.define_function_bytes(id, alignment, bytes, relocations).map_err(Box::new)?;
    Ok(id)
}

fn entry(jit: &JITModule, id: FuncId) -> Entry {
    let address = jit.get_finalized_function(id);
    // SAFETY: the address is that of a function which was compiled with the signature of `Entry`.
    unsafe { std::mem::transmute::<*const u8, Entry>(address) }
}
