//! One function through Cranelift.

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{Context, ir};
use cranelift_module::{FuncId, ModuleReloc};

use super::{isa, statement};
use crate::base::target::Target;
use crate::codegen::module::{CODE_ALIGNMENT, Code, Error};
use crate::loops::{ForKind, Function, Stmt};

/// The Cranelift IR that a function is lowered to, as text.
pub fn clif(function: &Function, target: Target) -> Result<String, Error> {
    let isa = isa::build(target)?;
    let mut code = ir::Function::new();
    lower(function, &mut code, &*isa, target)?;
    Ok(code.display().to_string())
}

fn lower(
    function: &Function,
    code: &mut ir::Function,
    isa: &dyn TargetIsa,
    target: Target,
) -> Result<(), Error> {
    let parallel = |stmt: &Stmt| matches!(stmt, Stmt::For { kind: ForKind::Parallel, .. });
    if function.body.len() > 1 && function.body.iter().any(parallel) {
        return Err(Error::ParallelNotAlone(function.name.clone()));
    }
    statement::lower(function, code, isa, target);
    Ok(())
}

/// Compiles a verified function; `id` is its number in the module.
pub(in crate::codegen) fn compile(
    context: &mut Context,
    id: FuncId,
    function: &Function,
    isa: &dyn TargetIsa,
    target: Target,
) -> Result<Code, Error> {
    context.clear();
    lower(function, &mut context.func, isa, target)?;
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
