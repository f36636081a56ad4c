//! What can be done with tensors. Each operation is one of `spec/09-tensor.md`, section 9.5, or a few of them.
//!
//! Axes count from 0, and negative ones from the end. Two operands stretch to each other as NumPy's do.

use super::{Error, Result, Tensor, graph::dims};
use samebit_spec::tensor::{Bits, Dtype, Gelu, Op, Window};
use std::ops::Range;

mod sealed {
    pub trait Sealed {}
}

/// The second operand of an operation: a tensor, or a number that stretches to any shape.
pub trait Operand: sealed::Sealed {
    /// As a tensor.
    #[doc(hidden)]
    fn tensor(self) -> Result<Tensor>;
}

macro_rules! operand {
    ($($ty:ty, $it:ident => $tensor:expr;)*) => {$(
        impl sealed::Sealed for $ty {}

        impl Operand for $ty {
            fn tensor(self) -> Result<Tensor> {
                let $it = self;
                $tensor
            }
        }
    )*};
}

operand! {
    &Tensor, it => Ok(it.clone());
    Tensor, it => Ok(it);
    f32, it => Tensor::scalar(it);
    i32, it => Tensor::scalar(it);
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident = $op:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// When the operation does not take this element type.
        pub fn $name(&self) -> Result<Self> {
            Self::apply_one(stringify!($name), $op, &[self])
        }
    )*};
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident = $op:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// When the shapes do not stretch to each other, or the element types differ.
        pub fn $name(&self, other: impl Operand) -> Result<Self> {
            Self::apply_one(stringify!($name), Op::$op, &[self, &other.tensor()?])
        }
    )*};
}

macro_rules! reduce {
    ($($doc:literal $name:ident, $keep:ident = $op:ident;)*) => {$(
        #[doc = concat!($doc, " over these axes, which go; no axes mean all.")]
        ///
        /// # Errors
        /// When there is no such axis, or the operation does not take this element type.
        pub fn $name(&self, axes: &[isize]) -> Result<Self> {
            let axes = self.axes(stringify!($name), axes)?;
            Self::apply_one(stringify!($name), Op::$op { axes, keep: false }, &[self])
        }

        #[doc = concat!($doc, " over these axes, which stay as 1; no axes mean all.")]
        ///
        /// # Errors
        /// When there is no such axis, or the operation does not take this element type.
        pub fn $keep(&self, axes: &[isize]) -> Result<Self> {
            let axes = self.axes(stringify!($keep), axes)?;
            Self::apply_one(stringify!($keep), Op::$op { axes, keep: true }, &[self])
        }
    )*};
}

/// Element by element.
impl Tensor {
    unary! {
        /// `-x`.
        neg = Op::Neg;
        /// `|x|`.
        abs = Op::Abs;
        /// `e^x`.
        exp = Op::Exp;
        /// Natural logarithm.
        log = Op::Log;
        /// Square root.
        sqrt = Op::Sqrt;
        /// `1 / x`.
        reciprocal = Op::Reciprocal;
        /// Hyperbolic tangent.
        tanh = Op::Tanh;
        /// `1 / (1 + e^-x)`.
        sigmoid = Op::Sigmoid;
        /// Error function.
        erf = Op::Erf;
        /// Gaussian error linear unit, by the error function.
        gelu = Op::Gelu(Gelu::Erf);
        /// The same by the hyperbolic tangent.
        gelu_tanh = Op::Gelu(Gelu::Tanh);
        /// `max(x, 0)`.
        relu = Op::Relu;
    }

    binary! {
        /// `self + other`.
        add = Add;
        /// `self - other`.
        sub = Sub;
        /// `self * other`, element by element.
        mul = Mul;
        /// `self / other`.
        div = Div;
        /// The lesser of two.
        minimum = Min;
        /// The greater of two.
        maximum = Max;
        /// 1 where `self == other`, else 0.
        equal = Equal;
        /// 1 where `self < other`, else 0.
        less = Less;
        /// 1 where `self > other`, else 0.
        greater = Greater;
    }

    /// `x` held between two numbers.
    ///
    /// # Errors
    /// When the elements are not `f32`.
    pub fn clip(&self, low: f32, high: f32) -> Result<Self> {
        Self::apply_one("clip", Op::Clip { low: low.into(), high: high.into() }, &[self])
    }

    /// The same numbers as another element type.
    ///
    /// # Errors
    /// Never.
    pub fn cast(&self, dtype: Dtype) -> Result<Self> {
        Self::apply_one("cast", Op::Cast(dtype), &[self])
    }

    /// Where `self`, of `u8`, is not 0, elements of `yes`, and elsewhere of `no`.
    ///
    /// # Errors
    /// When the shapes do not stretch to each other, or the element types differ.
    pub fn select(&self, yes: impl Operand, no: impl Operand) -> Result<Self> {
        Self::apply_one("select", Op::Where, &[self, &yes.tensor()?, &no.tensor()?])
    }
}

/// Products.
impl Tensor {
    /// `[.., m, k] x [.., k, n] -> [.., m, n]`, of `f32` or of `f16`; the outer axes stretch.
    ///
    /// # Errors
    /// When the inner dimensions differ.
    pub fn matmul(&self, other: &Self) -> Result<Self> {
        Self::apply_one("matmul", Op::MatMul, &[self, other])
    }

    /// The same of `i8` and `u8`, exact, with zero points taken off first; the result is `i32`.
    ///
    /// # Errors
    /// When the inner dimensions differ, or a zero point is none of its operand's type.
    pub fn matmul_integer(&self, other: &Self, self_zero: i32, other_zero: i32) -> Result<Self> {
        Self::apply_one("matmul_integer", Op::MatMulInteger { a_zero: self_zero, b_zero: other_zero }, &[self, other])
    }

    /// `x w^T + b` for `x [.., k]`, weights `w [n, k]` and `b [n]`: a layer as most models store it.
    ///
    /// # Errors
    /// When the lengths do not fit.
    pub fn linear(&self, w: &Self, b: Option<&Self>) -> Result<Self> {
        let op = Op::Gemm { alpha: 1.0.into(), beta: 1.0.into(), transpose_a: false, transpose_b: true };
        let own = self.dims();
        let inputs = |x| match b {
            Some(b) => vec![x, w, b],
            None => vec![x, w],
        };
        if own.len() == 2 {
            return Self::apply_one("linear", op, &inputs(self));
        }
        let (rows, k) = match own.split_last() {
            Some((k, outer)) => (outer.iter().product(), *k),
            None => return Err(Error::Axis { op: "linear", of: self.of().clone(), axis: -1 }),
        };
        let flat = self.reshape(&[rows, k])?;
        let made = Self::apply_one("linear", op, &inputs(&flat))?;
        let mut shape = own;
        if let (Some(last), Some(made)) = (shape.last_mut(), made.dims().last()) {
            *last = *made;
        }
        made.reshape(&shape)
    }

    /// `alpha * self * other`, either transposed first, and `beta * c` on top.
    ///
    /// # Errors
    /// When they are no matrices that fit.
    pub fn gemm(
        &self,
        other: &Self,
        c: Option<&Self>,
        (alpha, beta): (f32, f32),
        (transpose_a, transpose_b): (bool, bool),
    ) -> Result<Self> {
        let op = Op::Gemm { alpha: alpha.into(), beta: beta.into(), transpose_a, transpose_b };
        let inputs: Vec<&Self> = [self, other].into_iter().chain(c).collect();
        Self::apply_one("gemm", op, &inputs)
    }

    /// `[n, c, ..] * [m, c / groups, ..] -> [n, m, ..]` with one or two spatial axes, and a bias `[m]`. The window's
    /// lengths are the weights'.
    ///
    /// # Errors
    /// When channels, groups or window do not fit.
    pub fn conv(&self, weights: &Self, bias: Option<&Self>, window: &Window, groups: u32) -> Result<Self> {
        let inputs: Vec<&Self> = [self, weights].into_iter().chain(bias).collect();
        Self::apply_one("conv", Op::Conv { window: window.clone(), groups }, &inputs)
    }

    /// `softmax(scale * self k^T + mask) v` for queries `self [.., l, d]`, `k [.., s, d]`, `v [.., s, e]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn attention(&self, k: &Self, v: &Self, mask: Option<&Self>, scale: f32) -> Result<Self> {
        let inputs: Vec<&Self> = [self, k, v].into_iter().chain(mask).collect();
        Self::apply_one("attention", Op::Attention { scale: scale.into() }, &inputs)
    }

    /// Rotates pairs of `self [.., l, d]` by `cos [l, d/2]` and `sin [l, d/2]`: neighbours when `interleaved`, else half
    /// an axis apart.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn rotary(&self, cos: &Self, sin: &Self, interleaved: bool) -> Result<Self> {
        Self::apply_one("rotary", Op::RotaryEmbedding { interleaved }, &[self, cos, sin])
    }
}

/// Along axes.
impl Tensor {
    reduce! {
        "Sum" sum, sum_keep = ReduceSum;
        "Mean" mean, mean_keep = ReduceMean;
        "Greatest" max, max_keep = ReduceMax;
        "Least" min, min_keep = ReduceMin;
    }

    /// `e^x` divided by its sum along an axis.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn softmax(&self, axis: isize) -> Result<Self> {
        Self::apply_one("softmax", Op::Softmax { axis: self.axis("softmax", axis)? }, &[self])
    }

    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over the last axis.
    ///
    /// # Errors
    /// When scale or bias are not of the last axis' length.
    pub fn layer_norm(&self, scale: &Self, bias: &Self, epsilon: f32) -> Result<Self> {
        let op = Op::LayerNormalization { axis: self.axis("layer_norm", -1)?, epsilon: epsilon.into() };
        Self::apply_one("layer_norm", op, &[self, scale, bias])
    }

    /// `x / sqrt(mean(x^2) + epsilon) * scale` over the last axis.
    ///
    /// # Errors
    /// When `scale` is not of the last axis' length.
    pub fn rms_norm(&self, scale: &Self, epsilon: f32) -> Result<Self> {
        let op = Op::RmsNormalization { axis: self.axis("rms_norm", -1)?, epsilon: epsilon.into() };
        Self::apply_one("rms_norm", op, &[self, scale])
    }

    /// Index of the first greatest along an axis, as `i32`; the axis goes.
    ///
    /// # Errors
    /// When there is no such axis, or it is empty.
    pub fn argmax(&self, axis: isize) -> Result<Self> {
        Self::apply_one("argmax", Op::ArgMax { axis: self.axis("argmax", axis)?, keep: false }, &[self])
    }

    /// The `k` greatest along an axis, best first, and their indices.
    ///
    /// # Errors
    /// When there is no such axis, or it is shorter than `k`.
    pub fn topk(&self, k: u32, axis: isize) -> Result<(Self, Self)> {
        let op = Op::TopK { axis: self.axis("topk", axis)?, k, largest: true };
        let mut results = Self::apply("topk", op, &[self])?.into_iter();
        match (results.next(), results.next()) {
            (Some(values), Some(indices)) => Ok((values, indices)),
            _ => unreachable!("the specification gives this operation two results"),
        }
    }

    /// Greatest of each window of `[n, c, ..]`.
    ///
    /// # Errors
    /// When the window does not fit.
    pub fn max_pool(&self, window: &Window) -> Result<Self> {
        Self::apply_one("max_pool", Op::MaxPool(window.clone()), &[self])
    }

    /// Mean of each window of `[n, c, ..]`; padding counts as zeros, or not at all.
    ///
    /// # Errors
    /// When the window does not fit.
    pub fn avg_pool(&self, window: &Window, count_padding: bool) -> Result<Self> {
        Self::apply_one("avg_pool", Op::AveragePool { window: window.clone(), count_padding }, &[self])
    }

    /// `saturate(round(x / scale) + zero)`, of `zero`'s type; both scalars or of the axis' length.
    ///
    /// # Errors
    /// When scale and zero point do not fit.
    pub fn quantize_linear(&self, scale: &Self, zero: &Self, axis: isize) -> Result<Self> {
        let axis = self.quantised_axis("quantize_linear", scale, axis)?;
        Self::apply_one("quantize_linear", Op::QuantizeLinear { axis }, &[self, scale, zero])
    }

    /// `(x - zero) * scale`.
    ///
    /// # Errors
    /// When scale and zero point do not fit.
    pub fn dequantize_linear(&self, scale: &Self, zero: &Self, axis: isize) -> Result<Self> {
        let axis = self.quantised_axis("dequantize_linear", scale, axis)?;
        Self::apply_one("dequantize_linear", Op::DequantizeLinear { axis }, &[self, scale, zero])
    }

    /// The axis does not count with a scalar scale.
    fn quantised_axis(&self, op: &'static str, scale: &Self, axis: isize) -> Result<u8> {
        if scale.rank() == 0 { Ok(0) } else { self.axis(op, axis) }
    }
}

/// Moves: elements keep their bits.
impl Tensor {
    /// The same elements under other dimensions.
    ///
    /// # Errors
    /// When the products of the dimensions differ.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        Self::apply_one("reshape", Op::Reshape { dims: dims(shape) }, &[self])
    }

    /// Axis `i` of the result is axis `order[i]` of this.
    ///
    /// # Errors
    /// When `order` is no permutation of the axes.
    pub fn permute(&self, order: &[isize]) -> Result<Self> {
        let order = order.iter().map(|axis| self.axis("permute", *axis)).collect::<Result<_>>()?;
        Self::apply_one("permute", Op::Transpose { order }, &[self])
    }

    /// Two axes swapped.
    ///
    /// # Errors
    /// When there are no such axes.
    pub fn transpose(&self, one: isize, other: isize) -> Result<Self> {
        let (one, other) = (self.axis("transpose", one)?, self.axis("transpose", other)?);
        let mut order: Vec<u8> = (0..=u8::MAX).take(self.rank()).collect();
        order.swap(one.into(), other.into());
        Self::apply_one("transpose", Op::Transpose { order }, &[self])
    }

    /// A part of an axis.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn slice(&self, axis: isize, range: Range<usize>) -> Result<Self> {
        let axis: usize = self.axis("slice", axis)?.into();
        let (mut starts, mut ends) = (vec![0; self.rank()], dims(&self.dims()));
        if let [start, end] = dims(&[range.start, range.end])[..] {
            (starts[axis], ends[axis]) = (start, end);
        }
        let steps = vec![1; self.rank()];
        Self::apply_one("slice", Op::Slice { starts, ends, steps }, &[self])
    }

    /// Picks along an axis by `i32` indices, of any shape; a negative one counts from the end.
    ///
    /// # Errors
    /// When there is no such axis. An index outside it is told when the result is computed.
    pub fn gather(&self, axis: isize, indices: &Self) -> Result<Self> {
        Self::apply_one("gather", Op::Gather { axis: self.axis("gather", axis)? }, &[self, indices])
    }

    /// Joins tensors along an axis.
    ///
    /// # Errors
    /// When there are none or more than 64, or their other axes differ.
    pub fn concat(tensors: &[&Self], axis: isize) -> Result<Self> {
        let axis = match tensors {
            [first, ..] => first.axis("concat", axis)?,
            [] => 0,
        };
        Self::apply_one("concat", Op::Concat { axis }, tensors)
    }

    /// Elements before and behind each axis, all of one value.
    ///
    /// # Errors
    /// When there is not one number for each axis.
    pub fn pad(&self, before: &[usize], after: &[usize], value: f32) -> Result<Self> {
        let op = Op::Pad { before: dims(before), after: dims(after), value: Bits::from(value) };
        Self::apply_one("pad", op, &[self])
    }
}

impl Tensor {
    /// An axis counted from 0.
    pub(crate) fn axis(&self, op: &'static str, axis: isize) -> Result<u8> {
        let rank = isize::try_from(self.rank()).unwrap_or(0);
        let from_start = if axis < 0 { axis + rank } else { axis };
        let known = (0..rank).contains(&from_start);
        let missing = || Error::Axis { op, of: self.of().clone(), axis };
        if known { u8::try_from(from_start).map_err(|_| missing()) } else { Err(missing()) }
    }

    /// Axes counted from 0, ascending.
    fn axes(&self, op: &'static str, axes: &[isize]) -> Result<Vec<u8>> {
        let mut axes = axes.iter().map(|axis| self.axis(op, *axis)).collect::<Result<Vec<u8>>>()?;
        axes.sort_unstable();
        Ok(axes)
    }
}
