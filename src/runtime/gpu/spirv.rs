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

/// Compiles WGSL.
///
/// # Errors
///
/// Where the text is not valid: that is a mistake of the compiler.
pub(super) fn compile(text: &str) -> Result<Vec<u32>, Fault> {
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
    Ok(decorated(&words))
}

/// The same with a decoration on every float operation.
fn decorated(words: &[u32]) -> Vec<u32> {
    let (mut targets, mut place) = (Vec::new(), words.len());
    let mut at = HEADER;
    while at < words.len() {
        let (length, op) = ((words[at] >> 16) as usize, words[at] & 0xffff);
        if TYPES.contains(&op) {
            place = place.min(at);
        }
        if op == OP_EXT_INST || FLOAT_OPS.iter().any(|ops| ops.contains(&op)) {
            targets.push(words[at + 2]);
        }
        at += length.max(1);
    }
    let mut out = words[..place].to_vec();
    for target in targets {
        out.extend([3 << 16 | OP_DECORATE, target, NO_CONTRACTION]);
    }
    out.extend(&words[place..]);
    out
}
