//! What an operation costs (`spec/09-tensor.md`, section 9.6): a closed integer formula of shapes, charged before
//! anything is computed, the same on every backend.
//!
//! Rates are in sixteenths of a fuel; one fuel is what the table of chapter 03 means by it. They were measured on the
//! CPU backend, one thread (`cargo xtask bench tensor`).

use super::{Dtype, Op, TensorType, infer::scores};

/// Of any operation: the call, the check, the allocation.
const BASE: u64 = 2_000;
/// Sixteenths per multiplication and addition of `f32` or `f16`.
const PER_MAC: u64 = 8;
/// Sixteenths per multiplication and addition of bytes.
const PER_MAC_BYTE: u64 = 3;
/// Sixteenths per byte read or written.
const PER_BYTE: u64 = 16;
/// Sixteenths per element of a basic operation.
const PER_ELEMENT: u64 = 16;
/// Sixteenths per element of a division or a root.
const PER_DIVIDE: u64 = 32;
/// Sixteenths per element of a function.
const PER_FUNCTION: u64 = 160;
/// Sixteenths per element that changes its type or is chosen.
const PER_PICK: u64 = 64;
/// Sixteenths per element that a pool's window meets.
const PER_PLACE: u64 = 256;
/// Sixteenths per multiplication and addition of a convolution: its columns are gathered first.
const PER_CONV_MAC: u64 = 16;
/// Sixteenths per multiplication and addition where few maps share what they read: [`FEW_MAPS`].
const PER_NARROW_MAC: u64 = 64;
/// Maps of a group below which a convolution is no product worth the name.
const FEW_MAPS: u32 = 4;
/// Sixteenths per element of lines that do not lie together, beside the rest.
const PER_TURN: u64 = 256;
/// Sixteenths per element that is compared while selecting, and binary digit of the number selected.
const PER_COMPARE: u64 = 128;

/// Fuel of `op` on operands of these types with these results, as [`super::infer`] gave them.
///
/// Never overflows: no tensor has 2^31 elements, no product of three lengths of operands and results 2^93, and the
/// sum saturates at `u64::MAX`, which no job has.
#[must_use]
pub fn fuel(op: &Op, inputs: &[&TensorType], outputs: &[TensorType]) -> u64 {
    let read = inputs.first().map_or(0, |input| input.shape.elements());
    let made = outputs.first().map_or(0, |output| output.shape.elements());
    let moved: u128 = inputs
        .iter()
        .map(|input| u128::from(input.bytes()))
        .chain(outputs.iter().map(|output| output.bytes().into()))
        .sum();
    let inner = |operand: usize| inputs[operand].shape.dims().last().copied().unwrap_or(1);
    let [read, made] = [u128::from(read), u128::from(made)];
    let work = match op {
        Op::MatMul => macs(made, inner(0).into(), PER_MAC),
        Op::MatMulInteger { .. } => macs(made, inner(0).into(), PER_MAC_BYTE),
        Op::Gemm { transpose_a, .. } => {
            let dims = inputs[0].shape.dims();
            macs(made, dims[usize::from(!transpose_a)].into(), PER_MAC) + made * u128::from(2 * PER_ELEMENT)
        }
        Op::Conv { groups, .. } => {
            let per_output: u128 = inputs[1].shape.dims()[1..].iter().map(|dim| u128::from(*dim)).product();
            let maps = inputs[1].shape.dims()[0] / (*groups).max(1);
            let rate = if maps < FEW_MAPS { PER_NARROW_MAC } else { PER_CONV_MAC };
            macs(made, per_output, rate) + made * u128::from(PER_ELEMENT)
        }
        Op::Attention { .. } => {
            // Two products over the scores, and a softmax on them.
            let scores = u128::from(scores(&inputs[0].shape, &inputs[1].shape));
            let keys = inputs[1].shape.dims().iter().rev().nth(1).copied().unwrap_or(1);
            macs(scores, inner(0).into(), PER_MAC)
                + macs(made, keys.into(), PER_MAC)
                + scores * u128::from(PER_FUNCTION + PER_DIVIDE)
        }
        Op::Exp | Op::Log | Op::Tanh | Op::Sigmoid | Op::Erf | Op::Gelu(_) => made * u128::from(PER_FUNCTION),
        Op::Softmax { axis } => made * u128::from(PER_FUNCTION + PER_DIVIDE) + turned(&[*axis], inputs[0]),
        Op::Sqrt | Op::Reciprocal => made * u128::from(PER_DIVIDE),
        Op::Div if inputs[0].dtype == Dtype::F32 => made * u128::from(PER_DIVIDE),
        Op::Div | Op::Cast(_) | Op::Where | Op::QuantizeLinear { .. } => made * u128::from(PER_PICK),
        Op::LayerNormalization { .. } | Op::RmsNormalization { .. } | Op::RotaryEmbedding { .. } => {
            made * u128::from(4 * PER_ELEMENT)
        }
        Op::ReduceSum { axes, .. }
        | Op::ReduceMean { axes, .. }
        | Op::ReduceMax { axes, .. }
        | Op::ReduceMin { axes, .. } => read * u128::from(PER_ELEMENT) + turned(axes, inputs[0]),
        Op::ArgMax { axis, .. } => read * u128::from(2 * PER_ELEMENT) + turned(&[*axis], inputs[0]),
        Op::TopK { axis, k, .. } => {
            read * u128::from(PER_COMPARE) * u128::from(k.max(&1).ilog2() + 1) + turned(&[*axis], inputs[0])
        }
        Op::MaxPool(window) | Op::AveragePool { window, .. } => {
            let per_output: u128 = window.kernel.iter().map(|len| u128::from(*len)).product();
            macs(made, per_output, PER_PLACE)
        }
        Op::Neg
        | Op::Abs
        | Op::Relu
        | Op::Clip { .. }
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Min
        | Op::Max
        | Op::Equal
        | Op::Less
        | Op::Greater
        | Op::DequantizeLinear { .. } => made * u128::from(PER_ELEMENT),
        Op::Gather { .. } | Op::Concat { .. } | Op::Slice { .. } | Op::Transpose { .. } | Op::Pad { .. } => {
            // A gathered operand may be far larger than what is taken from it.
            let sizes = outputs.iter().map(|output| u128::from(output.bytes())).sum::<u128>();
            let indices = if matches!(op, Op::Gather { .. }) { inputs[1].bytes() } else { 0 };
            return settle((2 * sizes + u128::from(indices)) * u128::from(PER_BYTE));
        }
        // Only the dimensions change.
        Op::Reshape { .. } => return BASE,
    };
    settle(work + moved * u128::from(PER_BYTE))
}

/// Bytes that the definition of `op` makes on the way, beside its results: counted with them against the job's memory.
#[must_use]
pub fn scratch(op: &Op, inputs: &[&TensorType]) -> u64 {
    match op {
        // The scores, the scores with their mask, the weights.
        Op::Attention { .. } => scores(&inputs[0].shape, &inputs[1].shape).saturating_mul(3 * Dtype::F32.size()),
        _ => 0,
    }
}

/// What lines cost that are not the last axes: their elements are brought together first.
fn turned(axes: &[u8], of: &TensorType) -> u128 {
    // Axes are ascending; none means all.
    let rank = of.shape.rank();
    let together = axes.iter().rev().enumerate().all(|(behind, axis)| usize::from(*axis) + behind + 1 == rank);
    if together { 0 } else { u128::from(of.shape.elements()) * u128::from(PER_TURN) }
}

fn macs(outputs: u128, inner: u128, rate: u64) -> u128 {
    outputs * inner * u128::from(rate)
}

fn settle(sixteenths: u128) -> u64 {
    let fuel = sixteenths.div_ceil(16) + u128::from(BASE);
    u64::try_from(fuel).unwrap_or(u64::MAX)
}

// What every byte costs beside its element keeps an operation on wide elements dearer than on narrow ones.
const _: () = assert!(Dtype::F32.size() == 4 && PER_BYTE > 0);
