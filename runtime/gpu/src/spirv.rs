//! WGSL to SPIR-V, and the one thing that WGSL cannot say: that a product and a sum stay two instructions.

use naga::{
    back::spv,
    front::wgsl,
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ValidationFlags, Validator},
};

/// Words of SPIR-V 1.3 for a kernel's text, without checks of indices: the kernels are ours, and the gate runs them on
/// every shape that is awkward.
///
/// # Errors
/// What the parser, the validator or the writer says.
pub fn compile(source: &str) -> Result<Vec<u32>, String> {
    let module = wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|error| error.emit_to_string(source))?;
    let unchecked = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 3),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..spv::Options::default()
    };
    spv::write_vec(&module, &info, &options, None).map_err(|error| error.to_string())
}

/// Words before the first instruction.
const HEADER: usize = 5;
const OP_DECORATE: u32 = 71;
const NO_CONTRACTION: u32 = 42;
/// `OpDecorate` .. `OpGroupMemberDecorate`: where decorations stand; the types behind them begin at `OpTypeVoid`.
const TYPES: core::ops::RangeInclusive<u32> = 19..=39;
/// `OpFNegate`, `OpFAdd`, `OpFSub`, `OpFMul`, `OpFDiv`: instructions with a type, then their result.
const ARITHMETIC: [u32; 5] = [127, 129, 131, 133, 136];

/// The module with every float instruction decorated `NoContraction`.
///
/// # Panics
/// Of words that are no module: this is for what [`compile`] gave.
#[must_use]
pub fn without_contraction(words: &[u32]) -> Vec<u32> {
    let mut results = Vec::new();
    let mut types_at = None;
    let mut at = HEADER;
    while at < words.len() {
        let (len, op) = ((words[at] >> 16) as usize, words[at] & 0xffff);
        assert!(len > 0, "an instruction of no words at {at}");
        if TYPES.contains(&op) {
            types_at.get_or_insert(at);
        }
        if ARITHMETIC.contains(&op) {
            results.push(words[at + 2]);
        }
        at += len;
    }
    let types_at = types_at.expect("a module has types");
    let mut patched = words[..types_at].to_vec();
    for result in results {
        patched.extend([3 << 16 | OP_DECORATE, result, NO_CONTRACTION]);
    }
    patched.extend_from_slice(&words[types_at..]);
    patched
}
