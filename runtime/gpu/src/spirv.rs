//! WGSL to SPIR-V, and the one thing that WGSL cannot say: that a product and a sum stay two instructions.

use crate::{
    elements,
    kernels::{Dot, Kind, Mac, Operand, Reduction, Spec},
};
use naga::{
    back::spv,
    front::wgsl,
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ValidationFlags, Validator},
};
use samebit_tensor::{Dtype, Gelu, Op};

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

/// A kernel for operands of one buffer each.
fn spec(kind: Kind, inputs: &[Dtype], outputs: &[Dtype]) -> Spec {
    let operands = |dtypes: &[Dtype]| dtypes.iter().map(|dtype| Operand { dtype: *dtype, pieces: 1 }).collect();
    Spec { kind, inputs: operands(inputs), outputs: operands(outputs), piece: 25 }
}

/// The module of a product of `f32` with this protection, as it goes to a driver, two results of a thread along each side.
///
/// # Errors
/// As [`compile`].
pub fn product(mac: Mac) -> Result<Vec<u32>, String> {
    let kind = Kind::Product { mac, conv: false, bias: false, size: 2 };
    let spec = spec(kind, &[Dtype::F32; 2], &[Dtype::F32]);
    let words = compile(&spec.source())?;
    Ok(if spec.needs_passthrough() { without_contraction(&words) } else { words })
}

/// The modules of the other kernels, by name, for tools that look at them: every operation once, of `f32` where it takes that.
#[must_use]
pub fn kernels() -> Vec<(String, Result<Vec<u32>, String>)> {
    use Dtype::{F16, F32, I8, I32, U8};
    let each = |element: String| Kind::Each { element, present: None };
    let mut list: Vec<(String, Spec)> = Vec::new();
    let mut add = |name: &str, kind: Kind, inputs: &[Dtype], outputs: &[Dtype]| {
        list.push((name.to_owned(), spec(kind, inputs, outputs)));
    };
    for op in [
        Op::Neg,
        Op::Abs,
        Op::Exp,
        Op::Log,
        Op::Sqrt,
        Op::Reciprocal,
        Op::Tanh,
        Op::Sigmoid,
        Op::Erf,
        Op::Gelu(Gelu::Erf),
        Op::Gelu(Gelu::Tanh),
        Op::Relu,
        Op::Clip { low: 0.0.into(), high: 1.0.into() },
    ] {
        let name = if op == Op::Gelu(Gelu::Tanh) { "GeluTanh" } else { op.name() };
        add(name, each(elements::one(&op, F32)), &[F32], &[F32]);
    }
    for (from, to) in [F32, F16, I32, I8, U8].into_iter().flat_map(|from| [F32, F16, I32, I8, U8].map(|to| (from, to)))
    {
        add(&format!("Cast-{from}-{to}"), each(elements::cast(from, to)), &[from], &[to]);
    }
    for op in [Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Min, Op::Max] {
        for dtype in [F32, I32] {
            add(&format!("{}-{dtype}", op.name()), each(elements::two(&op, dtype)), &[dtype; 2], &[dtype]);
        }
    }
    for op in [Op::Equal, Op::Less, Op::Greater] {
        add(op.name(), each(elements::two(&op, F32)), &[F32; 2], &[U8]);
    }
    add("Where", each(elements::CHOOSE.to_owned()), &[U8, F32, F32], &[F32]);
    add("QuantizeLinear", each(elements::quantize(I8)), &[F32, F32, I8], &[I8]);
    add("DequantizeLinear", each(elements::DEQUANTIZE.to_owned()), &[I8, F32, I8], &[F32]);
    add("RotaryEmbedding", each(elements::ROTARY.to_owned()), &[F32; 3], &[F32]);
    add("Gemm-end", each(elements::GEMM_ADD.to_owned()), &[F32; 2], &[F32]);
    add("Attention-scores", each(elements::SCORES_MASK.to_owned()), &[F32; 2], &[F32]);
    for which in ["pooled max", "pooled mean", "pooled mean with padding"] {
        add(&which.replace(' ', "-"), each(which.to_owned()), &[F32], &[F32]);
    }
    for (name, body) in [("Slice", elements::STEPS), ("Pad", elements::PAD)] {
        add(name, each(body.to_owned()), &[F16], &[F16]);
    }
    add("Gather", each(elements::GATHER.to_owned()), &[U8, I32], &[U8]);
    let concat = Kind::Each { element: elements::CONCAT.to_owned(), present: Some(elements::CONCAT_PRESENT) };
    add("Concat", concat, &[I8], &[I8]);
    add("Gather-check", Kind::Check, &[I32], &[]);
    add("Softmax", Kind::Softmax, &[F32], &[F32]);
    add("LayerNormalization", Kind::Norm { centred: true }, &[F32; 3], &[F32]);
    add("RMSNormalization", Kind::Norm { centred: false }, &[F32; 2], &[F32]);
    for how in [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min] {
        add(&format!("Reduce{how:?}"), Kind::Reduce(how), &[F32], &[F32]);
    }
    add("ArgMax", Kind::Pick { values: false }, &[F32], &[I32]);
    add("TopK", Kind::Pick { values: true }, &[F32], &[F32, I32]);
    add("Conv", Kind::Product { mac: Mac::Barrier, conv: true, bias: true, size: 2 }, &[F32; 3], &[F32]);
    add("MatMulInteger", Kind::Bytes { dot: Dot::Bytes, size: 2 }, &[U8, I8], &[I32]);
    list.into_iter().map(|(name, spec)| (name, compile(&spec.source()))).collect()
}
