//! One function through Cranelift.

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{Context, ir};
use cranelift_module::{FuncId, ModuleReloc};

use super::{isa, statement, unroll};
use crate::base::target::Target;
use crate::codegen::module::{CODE_ALIGNMENT, Code, Error};
use crate::loops::verifier::Verified;

/// The Cranelift IR that a function is lowered to, as text.
pub fn clif(function: &Verified, target: Target) -> Result<String, Error> {
    let isa = isa::build(target)?;
    let mut code = ir::Function::new();
    statement::lower(&unroll::unrolled(function)?, &mut code, &*isa, target);
    Ok(code.display().to_string())
}

/// Compiles a function; `id` is its number in the module.
pub(in crate::codegen) fn compile(
    context: &mut Context,
    id: FuncId,
    function: &Verified,
    isa: &dyn TargetIsa,
    target: Target,
) -> Result<Code, Error> {
    context.clear();
    statement::lower(&unroll::unrolled(function)?, &mut context.func, isa, target);
    let failed = |error: &dyn std::fmt::Display| Error::Compile {
        name: function.name.clone(),
        reason: error.to_string(),
    };
    context.compile(isa, &mut ControlPlane::default()).map_err(|error| failed(&error.inner))?;
    let compiled = context.compiled_code().ok_or_else(|| failed(&"no code"))?;
    let relocations = compiled.buffer.relocs().iter();
    Ok(Code {
        bytes: compiled.code_buffer().to_vec(),
        instructions: compiled.code_buffer().len(),
        alignment: u64::from(compiled.buffer.alignment).max(CODE_ALIGNMENT),
        relocations: relocations
            .map(|reloc| ModuleReloc::from_mach_reloc(reloc, &context.func, id))
            .collect(),
    })
}
