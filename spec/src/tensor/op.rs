//! The operations of version 1, by their ONNX names (`spec/09-tensor.md`, section 9.5).

use super::Dtype;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// A binary32 attribute as its bits, so that an encoded operation is compared and hashed without asking what equal
/// floats are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Bits(pub u32);

impl Bits {
    /// The number.
    #[must_use]
    pub const fn value(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl From<f32> for Bits {
    fn from(value: f32) -> Self {
        Self(value.to_bits())
    }
}

/// How `Gelu` is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Gelu {
    /// By the error function.
    Erf,
    /// By the hyperbolic tangent (Hendrycks and Gimpel 2016).
    Tanh,
}

/// How a window slides over the spatial axes of `[N, C, L]` or `[N, C, H, W]`: one number per spatial axis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Window {
    /// Length of the window.
    pub kernel: Vec<u32>,
    /// From one window to the next.
    pub strides: Vec<u32>,
    /// From one element of a window to the next.
    pub dilations: Vec<u32>,
    /// Elements of padding before the first.
    pub before: Vec<u32>,
    /// Elements of padding behind the last.
    pub after: Vec<u32>,
}

/// One operation with its attributes. Axes count from 0; a guest resolves negative ones.
///
/// The order of operands is ONNX's. What each computes, in which order and with which rounding, is normative in
/// `spec/09-tensor.md`; a changed order would be a new version, never a new meaning of an old one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Op {
    // Elementwise, one operand.
    /// `-x`.
    Neg,
    /// `|x|`.
    Abs,
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Error function.
    Erf,
    /// Gaussian error linear unit.
    Gelu(Gelu),
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, low), high)`.
    Clip {
        /// Least result.
        low: Bits,
        /// Greatest result.
        high: Bits,
    },
    /// Changes the element type.
    Cast(Dtype),

    // Elementwise, two operands, broadcast.
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The lesser.
    Min,
    /// The greater.
    Max,
    /// `a == b`, as `u8`.
    Equal,
    /// `a < b`, as `u8`.
    Less,
    /// `a > b`, as `u8`.
    Greater,
    /// `condition ? a : b`, broadcast.
    Where,

    // Products.
    /// `[.., m, k] x [.., k, n] -> [.., m, n]`, of `f32` or of `f16`, to `f32`.
    MatMul,
    /// The same of 8-bit integers to `i32`, zero points taken off.
    MatMulInteger {
        /// Zero point of the left operand.
        a_zero: i32,
        /// Zero point of the right operand.
        b_zero: i32,
    },
    /// `alpha * a * b + beta * c`; the third operand may be absent.
    Gemm {
        /// Factor of the product.
        alpha: Bits,
        /// Factor of the third operand.
        beta: Bits,
        /// Whether `a` is `[k, m]`.
        transpose_a: bool,
        /// Whether `b` is `[n, k]`.
        transpose_b: bool,
    },
    /// `[n, c, ..] * [m, c / groups, ..] -> [n, m, ..]`, with an optional bias `[m]`.
    Conv {
        /// How the kernel slides; its lengths are the weights'.
        window: Window,
        /// Into how many groups the channels fall.
        groups: u32,
    },
    /// `softmax(scale * q k^T + mask) v`; the mask may be absent.
    Attention {
        /// Factor of the scores.
        scale: Bits,
    },
    /// Rotates pairs of `x [.., l, d]` by `cos [l, d/2]` and `sin [l, d/2]`.
    RotaryEmbedding {
        /// Whether a pair is two neighbours; otherwise it is `i` and `i + d/2`.
        interleaved: bool,
    },

    // Quantisation.
    /// `saturate(round(x / scale) + zero)`; scale and zero point are scalars or of the axis' length.
    QuantizeLinear {
        /// Axis that scale and zero point run along when they are not scalars.
        axis: u8,
    },
    /// `(x - zero) * scale`.
    DequantizeLinear {
        /// As above.
        axis: u8,
    },

    // Along axes.
    /// `e^(x - max) / sum` along an axis.
    Softmax {
        /// The axis.
        axis: u8,
    },
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over the axes from `axis` on.
    LayerNormalization {
        /// First normalised axis.
        axis: u8,
        /// Added to the variance.
        epsilon: Bits,
    },
    /// `x / sqrt(mean(x^2) + epsilon) * scale` over the axes from `axis` on.
    RmsNormalization {
        /// First normalised axis.
        axis: u8,
        /// Added to the mean of squares.
        epsilon: Bits,
    },
    /// Sum over axes.
    ReduceSum {
        /// Axes that go, ascending; none means all.
        axes: Vec<u8>,
        /// Whether they stay as 1.
        keep: bool,
    },
    /// Mean over axes.
    ReduceMean {
        /// Axes that go, ascending; none means all.
        axes: Vec<u8>,
        /// Whether they stay as 1.
        keep: bool,
    },
    /// Greatest over axes.
    ReduceMax {
        /// Axes that go, ascending; none means all.
        axes: Vec<u8>,
        /// Whether they stay as 1.
        keep: bool,
    },
    /// Least over axes.
    ReduceMin {
        /// Axes that go, ascending; none means all.
        axes: Vec<u8>,
        /// Whether they stay as 1.
        keep: bool,
    },
    /// Index of the first greatest along an axis, as `i32`.
    ArgMax {
        /// The axis.
        axis: u8,
        /// Whether it stays as 1.
        keep: bool,
    },
    /// The `k` greatest (or least) along an axis, best first, and their indices.
    TopK {
        /// The axis.
        axis: u8,
        /// How many.
        k: u32,
        /// Whether the greatest are asked.
        largest: bool,
    },
    /// Greatest of each window; padding never counts.
    MaxPool(Window),
    /// Mean of each window.
    AveragePool {
        /// How the window slides.
        window: Window,
        /// Whether padding counts as zeros.
        count_padding: bool,
    },

    // Moves: the bits stay as they are.
    /// Picks along an axis by `i32` indices; a negative one counts from the end.
    Gather {
        /// The axis.
        axis: u8,
    },
    /// Joins along an axis.
    Concat {
        /// The axis.
        axis: u8,
    },
    /// From `starts` to before `ends` by `steps`, one number per axis.
    Slice {
        /// First index.
        starts: Vec<u32>,
        /// Behind the last index.
        ends: Vec<u32>,
        /// From one to the next, at least 1.
        steps: Vec<u32>,
    },
    /// Axis `i` of the result is axis `order[i]` of the operand.
    Transpose {
        /// A permutation of the axes.
        order: Vec<u8>,
    },
    /// The same elements under other dimensions.
    Reshape {
        /// The dimensions.
        dims: Vec<u32>,
    },
    /// Elements of `value` before and behind, one number per axis.
    Pad {
        /// Before the first.
        before: Vec<u32>,
        /// Behind the last.
        after: Vec<u32>,
        /// The element, as the low bits of this.
        value: Bits,
    },
}

impl Op {
    /// The name of ONNX (`RmsNormalization` is ONNX's `RMSNormalization`).
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Neg => "Neg",
            Self::Abs => "Abs",
            Self::Exp => "Exp",
            Self::Log => "Log",
            Self::Sqrt => "Sqrt",
            Self::Reciprocal => "Reciprocal",
            Self::Tanh => "Tanh",
            Self::Sigmoid => "Sigmoid",
            Self::Erf => "Erf",
            Self::Gelu(_) => "Gelu",
            Self::Relu => "Relu",
            Self::Clip { .. } => "Clip",
            Self::Cast(_) => "Cast",
            Self::Add => "Add",
            Self::Sub => "Sub",
            Self::Mul => "Mul",
            Self::Div => "Div",
            Self::Min => "Min",
            Self::Max => "Max",
            Self::Equal => "Equal",
            Self::Less => "Less",
            Self::Greater => "Greater",
            Self::Where => "Where",
            Self::MatMul => "MatMul",
            Self::MatMulInteger { .. } => "MatMulInteger",
            Self::Gemm { .. } => "Gemm",
            Self::Conv { .. } => "Conv",
            Self::Attention { .. } => "Attention",
            Self::RotaryEmbedding { .. } => "RotaryEmbedding",
            Self::QuantizeLinear { .. } => "QuantizeLinear",
            Self::DequantizeLinear { .. } => "DequantizeLinear",
            Self::Softmax { .. } => "Softmax",
            Self::LayerNormalization { .. } => "LayerNormalization",
            Self::RmsNormalization { .. } => "RMSNormalization",
            Self::ReduceSum { .. } => "ReduceSum",
            Self::ReduceMean { .. } => "ReduceMean",
            Self::ReduceMax { .. } => "ReduceMax",
            Self::ReduceMin { .. } => "ReduceMin",
            Self::ArgMax { .. } => "ArgMax",
            Self::TopK { .. } => "TopK",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool { .. } => "AveragePool",
            Self::Gather { .. } => "Gather",
            Self::Concat { .. } => "Concat",
            Self::Slice { .. } => "Slice",
            Self::Transpose { .. } => "Transpose",
            Self::Reshape { .. } => "Reshape",
            Self::Pad { .. } => "Pad",
        }
    }

    /// How many values the operation gives.
    #[must_use]
    pub const fn outputs(&self) -> usize {
        match self {
            Self::TopK { .. } => 2,
            _ => 1,
        }
    }
}
