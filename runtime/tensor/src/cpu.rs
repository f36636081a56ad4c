//! The fast backend: blocks, vector instructions and threads, the oracle's bits.
//!
//! Which instructions a processor has and how many threads there are decides only the speed: every sum has its order
//! from the spec, and a compiler may not change the order or fuse what is written apart.

mod along;
mod attention;
mod broadcast;
mod elementwise;
mod forms;
mod gemm;
mod integer;
mod moves;
mod room;
mod simd;
mod window;

use crate::{Halt, Tensor, oracle};
use samebit_spec::tensor::{Op, TensorError, TensorType, infer};

pub use simd::Level;

/// A right operand of products, laid out as the kernels read it.
#[derive(Debug)]
pub enum Packed {
    /// Of floats.
    Floats(gemm::Columns),
    /// Of bytes.
    Bytes(integer::Columns),
}

/// Computes one operation on the best instructions of this processor and the threads of the current `rayon` pool.
///
/// # Errors
/// As [`oracle::eval`].
pub fn eval(op: &Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>, TensorError> {
    eval_until(&Halt::never(), op, inputs)
}

/// As [`eval`], but that what may take long (products, convolutions, attention, pools) goes no further once `halt` says
/// so: whoever gives one asks it afterwards whether the result is whole.
///
/// # Errors
/// As [`oracle::eval`].
pub fn eval_until(halt: &Halt<'_>, op: &Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>, TensorError> {
    evaluate(Level::best(), halt, op, inputs)
}

/// Computes one operation on the instructions of `level`: what tests compare.
///
/// # Errors
/// As [`oracle::eval`].
pub fn eval_at(level: Level, op: &Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>, TensorError> {
    evaluate(level, &Halt::never(), op, inputs)
}

fn evaluate(level: Level, halt: &Halt<'_>, op: &Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>, TensorError> {
    let types: Vec<&TensorType> = inputs.iter().map(|input| input.of()).collect();
    let mut outputs = infer(op, &types)?;
    if let Some(outputs) = oracle::trivial(op, inputs, &outputs)? {
        return Ok(outputs);
    }
    if let Op::TopK { axis, k, largest } = op {
        let data = along::top_k(inputs[0], (*axis).into(), *k as usize, *largest);
        return Ok(outputs.into_iter().zip(data).map(|(of, data)| Tensor::made(of, data)).collect());
    }
    let of = outputs.remove(0);
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
        | Op::Clip { .. } => elementwise::one(level, op, inputs[0]),
        Op::Cast(to) => elementwise::cast(level, inputs[0], *to),
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Min | Op::Max | Op::Equal | Op::Less | Op::Greater => {
            elementwise::two(level, op, inputs[0], inputs[1], &of.shape)
        }
        Op::Where => elementwise::choose(level, inputs, &of.shape),
        Op::QuantizeLinear { axis } => elementwise::quantize(level, inputs, *axis),
        Op::DequantizeLinear { axis } => elementwise::dequantize(level, inputs, *axis),
        Op::MatMul => gemm::matmul(level, halt, inputs[0], inputs[1], &of.shape),
        Op::MatMulInteger { a_zero, b_zero } => {
            integer::matmul(level, halt, inputs[0], inputs[1], [*a_zero, *b_zero], &of.shape)
        }
        Op::Gemm { alpha, beta, transpose_a, transpose_b } => {
            gemm::gemm(level, halt, inputs, [alpha.value(), beta.value()], [*transpose_a, *transpose_b], &of)
        }
        Op::Conv { window, groups } => window::conv(level, halt, inputs, window, *groups as usize, &of.shape),
        Op::Attention { scale } => attention::attention(level, halt, inputs, scale.value(), &of.shape),
        Op::RotaryEmbedding { interleaved } => attention::rotary(level, inputs, *interleaved),
        Op::Softmax { axis } => along::softmax(level, inputs[0], (*axis).into()),
        Op::LayerNormalization { axis, epsilon } => along::layer_norm(level, inputs, (*axis).into(), epsilon.value()),
        Op::RmsNormalization { axis, epsilon } => along::rms_norm(level, inputs, (*axis).into(), epsilon.value()),
        Op::ReduceSum { axes, .. }
        | Op::ReduceMean { axes, .. }
        | Op::ReduceMax { axes, .. }
        | Op::ReduceMin { axes, .. } => along::reduce(level, op, inputs[0], axes),
        Op::ArgMax { axis, .. } => along::arg_max(level, inputs[0], (*axis).into()),
        Op::MaxPool(window) => window::max_pool(level, halt, inputs[0], window, &of.shape),
        Op::AveragePool { window, count_padding } => {
            window::average_pool(level, halt, inputs[0], window, *count_padding, &of.shape)
        }
        Op::Gather { axis } => moves::gather(inputs[0], inputs[1], (*axis).into())?,
        Op::Slice { starts, steps, .. } => moves::slice(inputs[0], starts, steps, &of.shape),
        Op::Transpose { order } => moves::transpose(inputs[0], order, &of.shape),
        Op::Pad { before, value, .. } => moves::pad(inputs[0], before, value.0, &of.shape),
        // These are runs in the oracle too; a reshape is done before.
        Op::Concat { .. } | Op::Reshape { .. } => return oracle::eval(op, inputs),
        Op::TopK { .. } => unreachable!("done before"),
    };
    Ok(vec![Tensor::made(of, data)])
}
