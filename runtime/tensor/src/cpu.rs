//! The fast backend: blocks, vector instructions and threads, the oracle's bits.
//!
//! Which instructions a processor has and how many threads there are decides only the speed: every sum has its order
//! from the spec, and a compiler may not change the order or fuse what is written apart. Operations without a fast form
//! here go to [`oracle`].

mod along;
mod elementwise;
mod forms;
mod gemm;
mod integer;
mod room;
mod simd;
mod window;

use crate::{Data, Tensor, oracle};
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
    eval_at(Level::best(), op, inputs)
}

/// Computes one operation on the instructions of `level`: what tests compare.
///
/// # Errors
/// As [`oracle::eval`].
pub fn eval_at(level: Level, op: &Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>, TensorError> {
    let types: Vec<&TensorType> = inputs.iter().map(|input| input.of()).collect();
    let mut outputs = infer(op, &types)?;
    if let Some(outputs) = oracle::trivial(op, inputs, &outputs)? {
        return Ok(outputs);
    }
    let of = outputs.remove(0);
    let floats = inputs.iter().all(|input| matches!(input.data(), Data::F32(_)));
    let last = |axis: u8| usize::from(axis) + 1 == inputs[0].of().shape.rank();
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
        | Op::Clip { .. }
            if floats =>
        {
            elementwise::one(level, op, inputs[0])
        }
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Min | Op::Max if floats => {
            elementwise::two(level, op, inputs[0], inputs[1], &of.shape)
        }
        Op::MatMul => gemm::matmul(level, inputs[0], inputs[1], &of.shape),
        Op::MatMulInteger { a_zero, b_zero } => {
            integer::matmul(level, inputs[0], inputs[1], [*a_zero, *b_zero], &of.shape)
        }
        Op::Gemm { alpha, beta, transpose_a, transpose_b } => {
            gemm::gemm(level, inputs, [alpha.value(), beta.value()], [*transpose_a, *transpose_b], &of)
        }
        Op::Conv { window, groups } => window::conv(level, inputs, window, *groups as usize, &of.shape),
        Op::Attention { scale } => gemm::attention(level, inputs, scale.value(), &of.shape),
        Op::Softmax { axis } if last(*axis) => along::softmax(level, inputs[0]),
        Op::LayerNormalization { axis, epsilon } => along::layer_norm(level, inputs, (*axis).into(), epsilon.value()),
        Op::RmsNormalization { axis, epsilon } => along::rms_norm(level, inputs, (*axis).into(), epsilon.value()),
        Op::Transpose { order } => elementwise::transpose(inputs[0], order, &of.shape),
        _ => return oracle::eval(op, inputs),
    };
    Ok(vec![Tensor::made(of, data)])
}
