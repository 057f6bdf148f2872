//! SPIR-V in which every operation on floats is computed as it stands.

use crate::runtime::device::Fault;

/// The decoration of a result that must not be computed in another way (SPIR-V, 3.20).
const NO_CONTRACTION: u32 = 42;

/// The capability and the mode of an entry in which signs of zeros, infinities and NaN are kept (SPIR-V, 3.31 and 3.6).
const SIGNED_ZERO_INF_NAN_PRESERVE: u32 = 4466;
const PRESERVE_MODE: u32 = 4461;

const OP_EXTENSION: u32 = 10;
const OP_EXT_INST: u32 = 12;
const OP_ENTRY_POINT: u32 = 15;
const OP_EXECUTION_MODE: u32 = 16;
const OP_CAPABILITY: u32 = 17;
const OP_DECORATE: u32 = 71;
/// Arithmetic from `OpFNegate` to `OpDot`, and comparisons from `OpFOrdEqual` to `OpFUnordGreaterThanEqual`.
const FLOAT_OPS: [std::ops::RangeInclusive<u32>; 2] = [127..=148, 180..=191];
/// What may come before types: instructions of these numbers declare them.
const TYPES: std::ops::RangeInclusive<u32> = 19..=39;
/// The words of the header.
const HEADER: usize = 5;

/// Compiles WGSL.
///
/// # Errors
///
/// Where the text is not valid: that is a mistake of the compiler.
pub(super) fn compile(text: &str, preserves: bool) -> Result<Vec<u32>, Fault> {
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
    Ok(decorated(&words, preserves))
}

/// The same with a decoration on every float operation and, where `preserves`, zeros and NaN that are told apart.
fn decorated(words: &[u32], preserves: bool) -> Vec<u32> {
    let mut targets = Vec::new();
    let mut entry = 0;
    for (op, instruction) in instructions(words) {
        if op == OP_EXT_INST || FLOAT_OPS.iter().any(|ops| ops.contains(&op)) {
            targets.push(instruction[2]);
        }
        if op == OP_ENTRY_POINT {
            entry = instruction[2];
        }
    }
    let mut out = words[..HEADER].to_vec();
    let (mut is_capable, mut has_mode, mut is_decorated) = (!preserves, !preserves, false);
    for (op, instruction) in instructions(words) {
        if !is_capable && op != OP_CAPABILITY {
            is_capable = true;
            out.extend([2 << 16 | OP_CAPABILITY, SIGNED_ZERO_INF_NAN_PRESERVE]);
            out.extend(extension("SPV_KHR_float_controls"));
        }
        // Modes come behind entry points and before all else that is left.
        if !has_mode && op == OP_EXECUTION_MODE {
            has_mode = true;
            out.extend([4 << 16 | OP_EXECUTION_MODE, entry, PRESERVE_MODE, 32]);
        }
        if !is_decorated && TYPES.contains(&op) {
            is_decorated = true;
            out.extend(targets.iter().flat_map(|target| [3 << 16 | OP_DECORATE, *target, NO_CONTRACTION]));
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

/// What says that a module needs an extension.
fn extension(name: &str) -> Vec<u32> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize((name.len() + 1).next_multiple_of(4), 0);
    let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let words: Vec<u32> = words.collect();
    [vec![(words.len() as u32 + 1) << 16 | OP_EXTENSION], words].concat()
}
