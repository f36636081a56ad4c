//! The oracle: every operation as `spec/09-tensor.md` tells it, one element after the other, with no thought of speed.
//!
//! What the spec's text leaves open would be decided here; the vectors are made by it, and every other backend is held
//! against it bit by bit.

mod along;
mod elementwise;
mod index;
mod moves;
mod product;
mod window;

pub(crate) use along::{LANES, count, tree};
pub(crate) use moves::check;

use crate::{Data, Tensor};
use samebit_spec::tensor::{Op, TensorError, TensorType, infer};

/// Computes one operation.
///
/// # Errors
/// What [`infer`] refuses, and [`TensorError::Index`] for an index outside its axis.
pub fn eval(op: &Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>, TensorError> {
    let types: Vec<&TensorType> = inputs.iter().map(|input| input.of()).collect();
    let outputs = infer(op, &types)?;
    if let Some(outputs) = trivial(op, inputs, &outputs)? {
        return Ok(outputs);
    }
    let of = &outputs[0];
    let data = match op {
        Op::Neg
        | Op::Abs
        | Op::Exp
        | Op::Log
        | Op::Sqrt
        | Op::Reciprocal
        | Op::Tanh
        | Op::Sigmoid
        | Op::Erf
        | Op::Gelu(_)
        | Op::Relu
        | Op::Clip { .. } => elementwise::one(op, inputs[0]),
        Op::Cast(to) => elementwise::cast(inputs[0], *to),
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Min | Op::Max | Op::Equal | Op::Less | Op::Greater => {
            elementwise::two(op, inputs[0], inputs[1], &of.shape)
        }
        Op::Where => elementwise::choose(inputs, &of.shape),
        Op::QuantizeLinear { axis } => elementwise::quantize(inputs, *axis),
        Op::DequantizeLinear { axis } => elementwise::dequantize(inputs, *axis),
        Op::MatMul => product::matmul(inputs[0], inputs[1], &of.shape),
        Op::MatMulInteger { a_zero, b_zero } => product::integers(inputs[0], inputs[1], [*a_zero, *b_zero], &of.shape),
        Op::Gemm { alpha, beta, transpose_a, transpose_b } => {
            product::gemm(inputs, [alpha.value(), beta.value()], [*transpose_a, *transpose_b], &of.shape)
        }
        Op::Conv { window, groups } => window::conv(inputs, window, *groups as usize, &of.shape),
        Op::Attention { scale } => product::attention(inputs, scale.value(), of),
        Op::RotaryEmbedding { interleaved } => product::rotary(inputs, *interleaved),
        Op::Softmax { axis } => along::softmax(inputs[0], (*axis).into()),
        Op::LayerNormalization { axis, epsilon } => along::layer_norm(inputs, (*axis).into(), epsilon.value()),
        Op::RmsNormalization { axis, epsilon } => along::rms_norm(inputs, (*axis).into(), epsilon.value()),
        Op::ReduceSum { axes, .. }
        | Op::ReduceMean { axes, .. }
        | Op::ReduceMax { axes, .. }
        | Op::ReduceMin { axes, .. } => along::reduce(op, inputs[0], axes, of),
        Op::ArgMax { axis, .. } => along::arg_max(inputs[0], (*axis).into()),
        Op::TopK { axis, k, largest } => {
            let [values, indices] = along::top_k(inputs[0], (*axis).into(), *k as usize, *largest);
            let [first, second] = <[TensorType; 2]>::try_from(outputs).expect("TopK gives two");
            return Ok(vec![Tensor::made(first, values), Tensor::made(second, indices)]);
        }
        Op::MaxPool(window) => window::max_pool(inputs[0], window, &of.shape),
        Op::AveragePool { window, count_padding } => window::average_pool(inputs[0], window, *count_padding, &of.shape),
        Op::Gather { axis } => moves::gather(inputs[0], inputs[1], (*axis).into())?,
        Op::Concat { axis } => moves::concat(inputs, (*axis).into()),
        Op::Slice { starts, steps, .. } => moves::slice(inputs[0], starts, steps, &of.shape),
        Op::Transpose { order } => moves::transpose(inputs[0], order, &of.shape),
        Op::Reshape { .. } => unreachable!("done before"),
        Op::Pad { before, value, .. } => moves::pad(inputs[0], before, value.0, &of.shape),
    };
    Ok(vec![Tensor::made(of.clone(), data)])
}

/// What needs no arithmetic: results without elements, whatever the operands' other dimensions are, and other dimensions
/// for the same elements.
pub(crate) fn trivial(op: &Op, inputs: &[&Tensor], outputs: &[TensorType]) -> Result<Option<Vec<Tensor>>, TensorError> {
    if matches!(op, Op::Reshape { .. }) {
        return Ok(Some(vec![inputs[0].reshaped(outputs[0].clone())]));
    }
    if outputs.iter().any(|output| output.shape.elements() != 0) {
        return Ok(None);
    }
    if let Op::Gather { axis } = op {
        moves::check(inputs[1].integers(), inputs[0].dims()[usize::from(*axis)])?;
    }
    Ok(Some(outputs.iter().cloned().map(Tensor::empty).collect()))
}

/// Builds elements of the same type as `like` by picking; what moves keeps its bits.
fn pick(like: &Tensor, offsets: impl Iterator<Item = usize>) -> Data {
    match like.data() {
        Data::F32(data) => Data::F32(offsets.map(|at| data[at]).collect()),
        Data::F16(data) => Data::F16(offsets.map(|at| data[at]).collect()),
        Data::I32(data) => Data::I32(offsets.map(|at| data[at]).collect()),
        Data::I8(data) => Data::I8(offsets.map(|at| data[at]).collect()),
        Data::U8(data) => Data::U8(offsets.map(|at| data[at]).collect()),
    }
}
