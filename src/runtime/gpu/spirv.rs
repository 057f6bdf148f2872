//! SPIR-V in which every operation on floats is computed as it stands.

use crate::runtime::device::Fault;

/// The decoration of a result that must not be computed in another way (SPIR-V, 3.20).
const NO_CONTRACTION: u32 = 42;

const OP_EXT_INST: u32 = 12;
const OP_DECORATE: u32 = 71;
/// Arithmetic from `OpFNegate` to `OpDot`, and comparisons from `OpFOrdEqual` to `OpFUnordGreaterThanEqual`.
const FLOAT_OPS: [std::ops::RangeInclusive<u32>; 2] = [127..=148, 180..=191];
/// What may come before types: instructions of these numbers declare them.
const TYPES: std::ops::RangeInclusive<u32> = 19..=39;
/// The words of the header.
const HEADER: usize = 5;

/// Compiles WGSL; `marks` the operations that are to be kept as they are.
///
/// # Errors
///
/// Where the text is not valid: that is a mistake of the compiler.
pub(super) fn compile(text: &str, marks: bool) -> Result<Vec<u32>, Fault> {
    let module = naga::front::wgsl::parse_str(text)
        .map_err(|error| Fault(format!("a shader is not valid: {}", error.emit_to_string(text))))?;
    let capabilities = naga::valid::Capabilities::all();
    let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
    let info = validator
        .validate(&module)
        .map_err(|error| Fault(format!("a shader is not valid: {}", error.emit_to_string(text))))?;
    let unchecked = naga::proc::BoundsCheckPolicies::default();
    let options = naga::back::spv::Options {
        lang_version: (1, 3),
        flags: naga::back::spv::WriterFlags::empty(),
        bounds_check_policies: unchecked,
        zero_initialize_workgroup_memory: naga::back::spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    let words = naga::back::spv::write_vec(&module, &info, &options, None)
        .map_err(|error| Fault(format!("a shader cannot be compiled: {error}")))?;
    Ok(if marks { decorated(&words) } else { words })
}

/// The same with a decoration on every float operation.
fn decorated(words: &[u32]) -> Vec<u32> {
    let is_float = |op: u32| op == OP_EXT_INST || FLOAT_OPS.iter().any(|ops| ops.contains(&op));
    let targets = instructions(words).filter(|(op, _)| is_float(*op)).map(|(_, instruction)| instruction[2]);
    let decorations = targets.flat_map(|target| [3 << 16 | OP_DECORATE, target, NO_CONTRACTION]);
    let mut decorations: Vec<u32> = decorations.collect();
    let mut out = words[..HEADER].to_vec();
    for (op, instruction) in instructions(words) {
        if TYPES.contains(&op) {
            out.append(&mut decorations);
        }
        out.extend(instruction);
    }
    out
}

/// The instructions of a module.
fn instructions(words: &[u32]) -> impl Iterator<Item = (u32, &[u32])> {
    let mut rest = &words[HEADER..];
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let length = ((first >> 16) as usize).clamp(1, rest.len());
        let (instruction, behind) = rest.split_at(length);
        rest = behind;
        Some((first & 0xffff, instruction))
    })
}
